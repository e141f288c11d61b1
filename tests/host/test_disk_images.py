"""The images that tools/mkdisk.py and tests/lib/disk.py make are what other tools take them for."""

import json
import subprocess

import disk
import pytest
from disk import Link, Part


def sfdisk(path):
    text = subprocess.run(["sfdisk", "--json", path], capture_output=True, text=True, check=True).stdout
    return json.loads(text)["partitiontable"]


FILES = {"/boot/linux": bytes(range(256)) * 5000, "/small": b"text", "/deep/er/file": b"x"}


def test_gpt_is_read_by_sfdisk(tmp_path):
    parts = [Part(b"a" * 1000, name="one", bootable=True), Part(size=3 << 20, name="two")]
    table = sfdisk(disk.gpt(tmp_path / "disk", parts))
    assert table["label"] == "gpt"
    assert [(p["start"], p["size"], p["name"]) for p in table["partitions"]] == [(2048, 2, "one"), (4096, 6144, "two")]


@pytest.mark.parametrize("backup", [False, True])
def test_gpt_with_one_copy_damaged_is_still_read(tmp_path, backup):
    path = disk.gpt(tmp_path / "disk", [Part(size=1 << 20)])
    disk.damage_gpt(path, primary=not backup, backup=backup)
    assert sfdisk(path)["label"] == "gpt"


def test_mbr_with_logical_partitions_is_read_by_sfdisk(tmp_path):
    size = 1 << 20
    logical = [Part(size=size), Part(size=2 * size), Part(size=size, type=0x0C)]
    table = sfdisk(disk.mbr(tmp_path / "disk", [Part(size=size, bootable=True), Part(size=size)], logical))
    rows = [(int(p["node"][-1]), p["size"] * 512 // size, p["type"]) for p in table["partitions"]]
    assert rows == [(1, 1, "83"), (2, 1, "83"), (3, 7, "5"), (5, 1, "83"), (6, 2, "83"), (7, 1, "c")]
    assert table["partitions"][0]["bootable"]


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
@pytest.mark.parametrize("block", [1024, 4096])
def test_ext_is_sound_and_holds_the_files(tmp_path, kind, block):
    path = disk.ext(tmp_path / "fs", {**FILES, "/link": Link("small")}, kind=kind, block=block)
    subprocess.run(["fsck.ext4", "-fn", path], capture_output=True, check=True)
    out = subprocess.run(["debugfs", "-R", "cat /deep/er/file", path], capture_output=True, check=True).stdout
    assert out == b"x"


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_fat_is_sound_and_holds_the_files(tmp_path, bits):
    path = disk.fat(tmp_path / "fs", {"/small": b"text", "/a/b": b"x" * 9000}, bits=bits)
    subprocess.run(["fsck.fat", "-n", path], capture_output=True, check=True)
    assert disk.run("mtype", "-i", path, "::/a/b") == "x" * 9000


def test_fat_image_of_the_same_files_has_the_same_bytes(tmp_path):
    one, two = (disk.fat(tmp_path / name, FILES) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_holes_become_many_extents(tmp_path):
    path = disk.ext(tmp_path / "fs", {"/holes": disk.holes(tmp_path / "holes")})
    text = subprocess.run(["debugfs", "-R", "ex /holes", path], capture_output=True, text=True, check=True).stdout
    assert len([line for line in text.splitlines() if line.strip().startswith("1/")]) == 64


@pytest.mark.parametrize(
    ("what", "name"),
    [("superblock", "/"), ("descriptor", "/"), ("extents", "/boot/linux"), ("directory", "/boot")],
)
def test_damage_is_found_by_fsck(tmp_path, what, name):
    path = disk.ext(tmp_path / "fs", FILES)
    disk.damage_ext(path, what, name)
    assert subprocess.run(["fsck.ext4", "-fn", path], capture_output=True, check=False).returncode


def test_initramfs_is_a_cpio_archive_with_init(tmp_path):
    archive = disk.initramfs(__file__)
    assert archive.startswith(b"070701") and b"TRAILER!!!" in archive
    assert len(archive) % 4 == 0
