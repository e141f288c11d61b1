"""mpremote against QEMU's console, as a pseudo-terminal and as a TCP socket: exec, run, fs, mount, repl."""

import os
import subprocess
import sys

import pexpect
import pytest

MPREMOTE = [sys.executable, "-m", "mpremote"]
RAM_DISK = """
import vfs
class RAM:
    def __init__(self, count):
        self.data = bytearray(count * 512)
    def readblocks(self, n, buf, off=0):
        at = n * 512 + off
        buf[:] = self.data[at : at + len(buf)]
    def writeblocks(self, n, buf, off=0):
        at = n * 512 + off
        self.data[at : at + len(buf)] = buf
    def ioctl(self, op, arg):
        return {4: len(self.data) // 512, 5: 512, 6: 0}.get(op)
disk = RAM(1024)
vfs.VfsLfs2.mkfs(disk)
vfs.mount(vfs.VfsLfs2(disk), "/ram")
"""


@pytest.fixture(scope="module", params=("pty", "tcp"))
def machine(request):
    return {"console": request.param}


@pytest.fixture
def mpremote(module_guest):
    """Run mpremote with some arguments and return its output; a failure shows both streams."""

    def run(*arguments, timeout=60):
        command = [*MPREMOTE, "connect", module_guest.port, *map(str, arguments)]
        # without buffering, so that mpremote's own lines and the guest's come in their order
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.replace("\r\n", "\n")

    yield run
    module_guest.check_logs()


@pytest.fixture
def fs(mpremote):
    """Run `mpremote fs ...` on a file system in the guest's memory, mounted on /ram."""
    mpremote("exec", RAM_DISK)
    return lambda *arguments: mpremote("resume", "fs", *arguments)


def test_exec_prints_the_guests_output(mpremote):
    assert mpremote("exec", "print(6 * 7)") == "42\n"


def test_exec_of_code_that_raises_fails_with_the_traceback(mpremote):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        mpremote("exec", "1 / 0")


def test_eval_prints_a_value(mpremote):
    assert mpremote("eval", "[1, 2] + [3]") == "[1, 2, 3]\n"


def test_run_runs_a_local_script(mpremote, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nfor i in range(3):\n    print(i, sys.platform)\n# " + "x" * 20000)
    assert mpremote("run", script).splitlines()[2].startswith("2 ")


def test_soft_reset_forgets_names(mpremote):
    mpremote("exec", "kept = 1")
    assert mpremote("resume", "exec", "print('kept' in globals())") == "True\n"
    assert mpremote("soft-reset", "exec", "print('kept' in globals())") == "False\n"


def test_fs_cp_and_cat_carry_the_same_bytes(fs, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * 200)
    fs("cp", source, ":/ram/file")
    fs("cp", ":/ram/file", back)
    assert back.read_bytes() == source.read_bytes()
    source.write_text("text\nof two lines\n")
    fs("cp", source, ":/ram/text")
    assert fs("cat", ":/ram/text") == "text\nof two lines\n"


def test_fs_ls_mkdir_and_rm(fs, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 1234)
    fs("mkdir", ":/ram/folder")
    fs("cp", source, ":/ram/folder/file")
    assert "folder/" in fs("ls", ":/ram")
    assert "1234 file" in fs("ls", ":/ram/folder")
    fs("rm", ":/ram/folder/file")
    assert "file" not in fs("ls", ":/ram/folder").splitlines()[-1].split()
    fs("rmdir", ":/ram/folder")
    assert "folder" not in fs("ls", ":/ram")


def test_mount_imports_a_module_from_the_host(mpremote, tmp_path):
    (tmp_path / "hosted.py").write_text("value = 'from the host'\n")
    (tmp_path / "data.bin").write_bytes(bytes(range(256)) * 64)
    out = mpremote(
        "mount", tmp_path, "exec", "import hosted; print(hosted.value); print(len(open('data.bin', 'rb').read()))"
    )
    assert out.splitlines()[-2:] == ["from the host", "16384"]


def test_mounted_host_folder_can_be_written(mpremote, tmp_path):
    mpremote("mount", tmp_path, "exec", "f = open('made', 'w'); f.write('by the guest'); f.close()")
    assert (tmp_path / "made").read_text() == "by the guest"


def test_repl_is_interactive(new_guest):
    """On the pseudo-terminal only: mpremote's repl wants a file descriptor, which pyserial's sockets do not have."""
    guest = new_guest(console="pty")
    guest.wait_prompt()
    command = [*MPREMOTE[1:], "connect", guest.port, "repl"]
    child = pexpect.spawn(MPREMOTE[0], command, timeout=20, encoding="utf-8")
    try:
        child.expect("Connected to MicroPython")
        child.send("\r")
        child.expect(">>> ")
        child.send("'in' + 'teractive'\r")
        child.expect("'interactive'\r\n>>> ")
        child.send("while True: pass\r\r\r")
        child.expect(r"\.\.\. \r\n")
        child.send("\x03")
        child.expect("KeyboardInterrupt")
        child.expect(">>> ")
        child.send("\x04")
        child.expect("soft reboot")
        child.expect(">>> ")
        child.send("\x1d")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
