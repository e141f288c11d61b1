"""virtio-9p in QEMU: a folder of this machine, seen from the guest and from here."""

import hashlib
import os

import bus
import pytest
from session import RemoteError, build_folder, qemu_version

BOOT_S = 90  # on a loaded machine
KERNEL = build_folder() / "supply" / "kernel" / "linux"
LINUX = (r"^sifive_plic_(read|write): Invalid (register|enable) (read|write) 0x2.[08]c$", "^CSR_STVEC: reserved mode")
CONF = "label it\n  kernel ../boot/linux\n  append console=ttyS0 from=folder\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


def share(folder, more="", model="none", variant=None):
    device = (variant or bus.Variant()).device("virtio-9p", fsdev="f") + ",mount_tag=host"
    return ["-fsdev", f"local,id=f,path={folder},security_model={model}{more}", "-device", device]


@pytest.fixture(scope="module", params=bus.variants("virtio-9p", full=False), ids=str)
def machine(request, folder):
    """Each transport and ring once; on one of them modes and owners are in attributes, if this machine has those."""
    legacy = request.param.transport == "mmio-legacy"
    model = "none"
    if legacy:
        try:
            os.setxattr(folder, "user.virtfs.test", b"1")
            model = "mapped-xattr"
        except OSError:
            pass
    return {"legacy": legacy, "extra": share(folder, model=model, variant=request.param)}


@pytest.fixture
def mounted(guest, folder):
    """The guest with the folder at /host; the folder is empty."""
    os.system(f"rm -rf '{folder}'/*")
    guest.exec("import os, sys, vfs, virtio\nd = virtio.open('9p0')\ns = d.vfs()\nvfs.mount(s, '/host')")
    yield guest
    assert guest.eval("(vfs.umount('/host'), s._client.fids, d.queues[0].in_flight)") == (None, 0, 0)


def test_what_the_device_is(mounted):
    assert mounted.exec("print(d)").strip().endswith(" 'host' DRIVER_OK>")
    assert mounted.eval("d.tag") == "host"


def test_files_from_here_are_read_there(mounted, folder):
    data = os.urandom(5_000_001)
    (folder / "big").write_bytes(data)
    (folder / "notes.txt").write_text("grüß\nzwei\n")
    assert mounted.eval("[line for line in open('/host/notes.txt')]") == ["grüß\n", "zwei\n"]
    code = "import hashlib\nh = hashlib.sha256(open('/host/big', 'rb').read()).digest().hex()\n"
    assert mounted.exec(code + "print(h)", timeout=30).strip() == hashlib.sha256(data).hexdigest()
    assert mounted.eval("os.stat('/host/big')[6]") == len(data)
    where = (folder / "big").stat()
    inode = mounted.eval("os.stat('/host/big')[1]")
    assert inode == where.st_ino or qemu_version() >= (8, 0)  # newer ones number files themselves
    assert inode == mounted.eval("os.stat('/host/big')[1]") != mounted.eval("os.stat('/host')[1]")
    assert mounted.eval("os.stat('/host/big')[8]") == int(where.st_mtime)
    assert mounted.eval("os.statvfs('/host')[9]") == 255


def test_files_from_there_are_read_here(mounted, folder):
    code = """
with open('/host/n\u00e4me', 'w') as f:
    print('one', file=f)
    f.write('zw\u00f6lf\\n')
with open('/host/n\u00e4me', 'a') as f:
    f.write('more\\n')
with open('/host/bin', 'wb') as f:
    f.write(bytes(range(256)) * 8192)
with open('/host/bin', 'r+b') as f:
    f.seek(1000)
    f.write(b'HERE')
"""
    mounted.exec(code)
    assert (folder / "näme").read_text() == "one\nzwölf\nmore\n"
    data = bytearray(bytes(range(256)) * 8192)
    data[1000:1004] = b"HERE"
    assert (folder / "bin").read_bytes() == data
    mounted.exec("s.truncate('/bin', 10)\ns.utime('/bin', 1000000000, 1000000001)")
    assert (folder / "bin").stat().st_size == 10
    assert (folder / "bin").stat().st_mtime == 1_000_000_001


def test_folders_names_and_moving(mounted, folder):
    names = [f"{i}-{'ü' * (i % 30)}" for i in range(400)]
    (folder / "many").mkdir()
    for name in names:
        (folder / "many" / name).touch()
    assert sorted(mounted.eval("os.listdir('/host/many')", timeout=30)) == sorted(names)
    long = "l" * 255
    code = f"os.mkdir('/host/new')\nos.chdir('/host/new')\nopen('{long}', 'w').close()\nos.rename('{long}', 'short')\n"
    mounted.exec(code + "os.chdir('/')\nos.rename('/host/new', '/host/newer')")
    assert [path.name for path in (folder / "newer").iterdir()] == ["short"]
    mounted.exec("os.remove('/host/newer/short')\nos.rmdir('/host/newer')")
    assert not (folder / "newer").exists()
    mounted.exec("s.symlink('many', '/ln')")
    assert mounted.eval("(len(os.listdir('/host/ln')), s.readlink('/ln'))") == (400, "many")


@pytest.mark.parametrize(
    "code, error",
    [
        ("open('/host/nix')", "OSError: [Errno 2] ENOENT: 9p0: look up /nix: no such file or directory"),
        ("os.mkdir('/host/d')", "OSError: [Errno 17] EEXIST: 9p0: mkdir /d: exists"),
        ("os.rmdir('/host/d')", "OSError: (39, '9p0: remove /d: directory not empty')"),
        ("open('/host/' + 'l' * 256, 'w')", "name too long"),
        ("open('/host/d')", "OSError: [Errno 21] EISDIR: 9p: /d: is a directory"),
        ("os.rename('/host/nix', '/host/d/y')", "ENOENT: 9p0: rename /nix to /d/y"),
    ],
)
def test_errors_of_the_host_have_its_numbers(mounted, folder, code, error):
    (folder / "d").mkdir()
    (folder / "d/x").touch()
    with pytest.raises(RemoteError) as info:
        mounted.exec(code)
    assert error in str(info.value)


def test_modules_are_imported_from_the_folder(mounted, folder):
    (folder / "lib").mkdir()
    (folder / "lib/mod_of_host.py").write_text("x = 42\n")
    assert mounted.exec("sys.path.append('/host/lib')\nimport mod_of_host\nprint(mod_of_host.x)") == "42\n"
    mounted.exec("sys.path.pop()")


def test_words_of_u_boot_for_a_folder(mounted, folder):
    (folder / "f.bin").write_bytes(b"0123456789")
    (folder / "sub").mkdir()
    out = mounted.exec(
        "import fs.cmd as c\nb = bytearray(10)\nc.ls('9p', '0', '/')\nc.load('9p host', b, '/f.bin')\nprint(b)"
    )
    assert mounted.exec("print(c.fstype('9p 0'))\nc.fsinfo('9p 0')").startswith('9p\nFilesystem: 9p "host"')
    assert "        10 f.bin" in out and "<DIR>" in out and "10 bytes read" in out and "bytearray(b'0123456789')" in out


def test_ctrl_c_takes_a_slow_read_back(new_guest, folder):
    (folder / "slow").write_bytes(bytes(8 << 20))
    guest = new_guest(extra=share(folder, ",throttling.bps-read=2000000"))
    guest.wait_prompt()
    guest.exec("import virtio\nd = virtio.open('9p0')\ns = d.vfs()")
    guest.begin("print('go')\ns.read('/slow')")
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    assert guest.end(60)[1].strip().endswith("KeyboardInterrupt:")
    assert guest.eval("s.size('/slow')", timeout=60) == 8 << 20
    assert guest.eval("(s._client.fids, s._client.error, d.queues[0].in_flight)", timeout=60) == (1, None, 0)


def test_linux_starts_from_a_folder_without_a_disk(new_guest, tmp_path):
    (tmp_path / "extlinux").mkdir()
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/linux").write_bytes(KERNEL.read_bytes())
    (tmp_path / "extlinux/extlinux.conf").write_text(CONF)
    guest = new_guest(autoboot=True, allow=LINUX, extra=share(tmp_path))
    guest.expect("9p0 9p /extlinux/extlinux.conf", 30)
    guest.expect("Kernel command line: console=ttyS0 from=folder\r", BOOT_S)


def test_boot_py_in_a_folder_runs_with_the_folder_as_root(new_guest, tmp_path):
    (tmp_path / "boot.py").write_text("import helper\nprint('boot', helper.x)\nopen('made', 'w').close()")
    (tmp_path / "helper.py").write_text("x = 7")
    guest = new_guest(autoboot=True, extra=share(tmp_path))
    assert "boot 7\r\n" in guest.wait_prompt()
    assert (tmp_path / "made").exists()
