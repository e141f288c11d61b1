"""modules/fs/cmd: U-Boot's file commands on block devices and volumes given as objects."""

import re

import disk
import pytest
from disk import MIB, Link
from fshost import Disk, fs

cmd = fs.cmd
FILES = {"/boot/linux": b"k" * 5000, "/small": b"text", "/link": Link("small")}


@pytest.fixture(params=["ext4", "fat16"])
def volume(request, tmp_path):
    files = {name: data for name, data in FILES.items() if request.param == "ext4" or not isinstance(data, Link)}
    return Disk(disk.filesystem(tmp_path / "disk", files, request.param, size=16 * MIB, label="LAB"))


def test_ls_prints_a_directory_as_uboot_does(volume, capsys):
    cmd.ls(volume, "/")
    text = capsys.readouterr().out
    if cmd.fstype(volume) == "ext4":
        assert "<DIR>       4096 .\n<DIR>       4096 ..\n" in text
        assert "<SYM>          5 link\n" in text
        assert "               4 small\n" in text
    else:
        assert text == "            boot/\n        4   small\n\n1 file(s), 1 dir(s)\n\n"
    cmd.ls(fs.volume(volume), "/boot")
    assert "5000" in capsys.readouterr().out


def test_load_reads_all_or_a_part(volume, capsys):
    buf = bytearray(6000)
    assert cmd.load(volume, buf, "/boot/linux") == 5000
    assert re.fullmatch(r"5000 bytes read in \d+ ms( \(.*iB/s\))?\n", capsys.readouterr().out)
    assert buf == b"k" * 5000 + bytes(1000)
    assert cmd.load(volume, buf, "/small", 2, 1) == 2
    assert bytes(buf[:3]) == b"exk"
    with pytest.raises(ValueError, match="5000 bytes for a buffer of 10"):
        cmd.load(volume, bytearray(10), "/boot/linux")
    assert cmd.size(volume, "/small") == 4


def test_fsinfo_prints_type_label_and_space(volume, capsys):
    cmd.fsinfo(volume)
    text = capsys.readouterr().out
    assert re.match(r'Filesystem: (ext4|FAT16) "LAB"\nUUID:       \S+\nSize:       1\d(\.\d)? MiB, ', text)


def test_sizes_are_shown_as_uboot_shows_them():
    shown = [cmd._human(size) for size in (0, 999, 1024, 1536, 250 << 10, 1 << 20, 333447168, 5 << 30)]
    assert shown == ["0 Bytes", "999 Bytes", "1 KiB", "1.5 KiB", "250 KiB", "1 MiB", "318 MiB", "5 GiB"]


@pytest.mark.parametrize("where", ["mmc 0:1", "virtio 0:1 2", "virtio x", "virtio 0:z", ""])
def test_words_that_name_no_device_are_refused(where, monkeypatch):
    import virtio.cmd

    monkeypatch.setattr(virtio.cmd, "disk", lambda number: Disk(bytes(MIB)))
    with pytest.raises(ValueError, match="and the like, not|bad device specification"):
        cmd.device(where)


def test_partition_that_is_meant(tmp_path, monkeypatch):
    import virtio.cmd

    ext = disk.ext(tmp_path / "ext", {"/a": b"1"}, size=8 * MIB)
    parts = [disk.Part(size=MIB), disk.Part(ext, name="x"), disk.Part(ext, name="y", bootable=True)]
    whole = Disk(disk.gpt(tmp_path / "gpt", parts))
    plain = Disk(ext)
    monkeypatch.setattr(virtio.cmd, "disk", lambda number: (whole, plain)[number])
    numbers = [cmd.device(f"virtio {place}").number for place in ("0", "0:3", "0#y", "0:auto")]
    assert numbers == [2, 3, 3, 3]
    assert cmd.device("virtio 0:0") is whole
    assert cmd.device("virtio 1") is plain
    assert cmd.device("virtio") is not None
    with pytest.raises(OSError, match="partition number 7 not found"):
        cmd.device("virtio 0:7")
