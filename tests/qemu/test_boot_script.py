"""boot.py and main.py from a disk: run in order, stopped by Ctrl-C, their faults shown, a prompt in the end."""

import disk
import pytest


@pytest.fixture
def run_scripts(new_guest, tmp_path):
    """Start a machine with these files on its disk; what it printed up to the prompt, which is proved."""

    def run(files, typed=(), **options):
        image = disk.whole(tmp_path / "disk.img", {f"/{name}": text.encode() for name, text in files.items()})
        guest = new_guest(autoboot=True, disks=[image], **options)
        for text, keys in typed:
            guest.expect_text(text)
            guest.write(keys)
        text = guest.wait_prompt()
        assert guest.eval("6 * 7") == 42
        return text

    return run


def test_boot_py_runs_before_main_py_and_shares_its_names(run_scripts):
    text = run_scripts({"boot.py": "x = 'from boot'\nprint(__name__)\n", "main.py": "print(x)\n"})
    assert "__main__\r\nfrom boot\r\n" in text


def test_main_py_runs_without_boot_py(run_scripts):
    assert "main runs" in run_scripts({"main.py": "print('main runs')\n"})


def test_modules_of_the_disk_can_be_imported(run_scripts):
    text = run_scripts(
        {"boot.py": "import one, two\nprint(one.x + two.x)\n", "one.py": "x = 40\n", "lib/two.py": "x = 2\n"}
    )
    assert "\n42\r\n" in text


def test_exception_in_a_script_shows_its_file_and_line(run_scripts):
    text = run_scripts({"boot.py": "def f():\n    return 1 / 0\nf()\n"})
    assert 'File "/boot.py", line 2, in f' in text and "ZeroDivisionError" in text


def test_syntax_error_in_a_script_shows_its_file_and_line(run_scripts):
    text = run_scripts({"boot.py": "x = 1\ndef (\n"})
    assert 'File "/boot.py", line 2' in text and "SyntaxError" in text


@pytest.mark.parametrize("loop", ("while True: pass", "import time; time.sleep(1000)", "input()"))
def test_ctrl_c_stops_a_script(run_scripts, loop):
    text = run_scripts(
        {"boot.py": f"print('lo' + 'op')\n{loop}\n", "main.py": "print('not reached')\n"}, [("loop\r\n", "\x03")]
    )
    assert "stopped" in text and "not reached" not in text


@pytest.mark.parametrize("end", ("raise SystemExit", "import machine; machine.soft_reset()"))
def test_script_that_leaves_gives_the_prompt(run_scripts, end):
    assert "Traceback" not in run_scripts({"boot.py": end + "\n"})


def test_script_that_fills_memory(run_scripts):
    assert "MemoryError" in run_scripts({"boot.py": "a = []\nwhile True: a.append(bytearray(1 << 20))\n"}, mem="64M")


def test_script_finds_its_disk_open_and_plans_a_boot_from_it(run_scripts, tmp_path):
    script = "import loader, virtio\nprint(virtio.devices())\nprint(open('/data').read())\n"
    text = run_scripts({"boot.py": script, "data": "read by the script"})
    assert "<blk0 " in text and "read by the script" in text


def test_any_key_stops_the_countdown(run_scripts):
    conf = "timeout 600\ndefault a\nlabel a\n    kernel /boot/linux\n"
    text = run_scripts({"extlinux/extlinux.conf": conf, "boot/linux": "x"}, [("any key", "x")])
    assert "boot failed" not in text
