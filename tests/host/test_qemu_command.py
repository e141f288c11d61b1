"""tools/qemu.py: the command lines that `make run`, the tests and the bench start QEMU with."""

import subprocess
import sys
from pathlib import Path

import qemu

TOOL = Path(qemu.__file__)


def pairs(words, option):
    return [value for name, value in zip(words, words[1:], strict=False) if name == option]


def test_defaults_start_the_built_firmware_with_two_harts():
    words = qemu.command()
    assert pairs(words, "-bios") == [str(qemu.FIRMWARE)]
    assert pairs(words, "-smp") == ["2"]
    assert pairs(words, "-kernel") == []


def test_modern_and_legacy_register_layout():
    assert "virtio-mmio.force-legacy=false" in qemu.command()
    assert "virtio-mmio.force-legacy=true" in qemu.command(legacy=True)


def test_disks_become_devices_in_order():
    words = qemu.command(disks=["one,two.img", {"file": "x", "readonly": "on", "properties": "queue-size=8"}])
    assert pairs(words, "-drive") == [
        "if=none,id=disk0,format=raw,file=one,,two.img",
        "if=none,id=disk1,format=raw,file=x,readonly=on",
    ]
    assert pairs(words, "-device") == ["virtio-blk-device,drive=disk0", "virtio-blk-device,drive=disk1,queue-size=8"]


def test_fw_cfg_takes_bytes_or_a_file():
    words = qemu.command(fw_cfg={"opt/a": b"1,2", "opt/b": Path("b.py")})
    assert pairs(words, "-fw_cfg") == ["name=opt/a,string=1,,2", "name=opt/b,file=b.py"]


def test_kernel_initrd_and_command_line_are_passed_on():
    words = qemu.command(kernel="k", initrd="i", append="a b")
    assert [pairs(words, option) for option in ("-kernel", "-initrd", "-append")] == [["k"], ["i"], ["a b"]]


def test_extra_arguments_come_last():
    assert qemu.command(extra=["-d", "unimp"])[-2:] == ["-d", "unimp"]


def test_dry_run_prints_the_command_and_starts_nothing():
    words = [sys.executable, TOOL, "--dry-run", "--smp", "4", "--", "-icount", "1"]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "-smp 4" in out and out.rstrip().endswith("-icount 1")


def watch(tmp_path, script, **options):
    words = [sys.executable, "-c", script]
    return qemu.watch(words, options.get("expect", "up"), options.get("limit_s", 20))


def test_watch_succeeds_only_when_the_text_was_printed_and_the_exit_code_is_0(tmp_path, capfd):
    assert watch(tmp_path, "print('it is up')") == 0
    assert watch(tmp_path, "print('down')") == 1
    assert watch(tmp_path, "print('up'); raise SystemExit(3)") == 3


def test_watch_stops_a_guest_that_does_not_end(tmp_path, capfd):
    assert watch(tmp_path, "import time; print('up', flush=True); time.sleep(60)", limit_s=1) == 1
    assert "stopped after 1 s" in capfd.readouterr().err
