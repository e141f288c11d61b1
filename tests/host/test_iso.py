"""modules/fs/iso: CDs made from scratch, and damaged ones."""

import random

import iso9660
import pytest
from fshost import Disk, fs

from fs.iso import Iso  # isort: skip

BIG = random.Random(5).randbytes(300_000)
TREE = {
    "boot": {"linux": BIG, "extlinux": {"extlinux.conf": b"label a\n kernel /boot/linux\n"}},
    "read-me.txt": b"hello\n",
    "empty": b"",
}
LINKS = {"vmlinuz": "boot/linux", "up": "/boot/../read-me.txt", "loop": "loop", "dangling": "nowhere"}
KINDS = ("plain", "rock", "joliet")


def disc(tmp_path, kind, tree=None, block=2048):
    tree = dict(TREE if tree is None else tree)
    if kind == "rock":
        tree |= LINKS
    return Disk(iso9660.make(tmp_path / f"{kind}.iso", tree, kind), block)


@pytest.mark.parametrize("block", [512, 2048])
@pytest.mark.parametrize("kind", KINDS)
def test_files_and_folders(tmp_path, kind, block):
    device = disc(tmp_path, kind, block=block)
    volume = fs.volume(device)
    assert isinstance(volume, Iso) and fs.probe(device) == "iso9660"
    assert volume.label == "DISC" and volume.uuid == "2026-03-04-05-06-07-00"
    assert repr(volume).startswith("<iso9660 'DISC' 2026-03-04")
    assert volume.read("/boot/linux") == BIG
    buf = bytearray(1000)
    assert volume.read_into("/boot/linux", buf, 299_500) == 500 and buf[:500] == BIG[-500:]
    assert volume.read("/boot/extlinux/extlinux.conf").startswith(b"label a")
    assert volume.read("/empty") == b""
    names = set(volume.listdir("/")) - set(LINKS)
    assert names == ({"boot", "read-me.txt", "empty"} if kind != "plain" else {"BOOT", "READ_ME.TXT", "EMPTY"})
    if kind == "plain":
        assert volume.size("/read_me.txt") == 6
    found = volume.stat("/boot")
    assert found[0] & 0xF000 == 0x4000 and volume.statvfs("/")[0] == 2048
    with volume.open("/boot/extlinux/extlinux.conf") as f:
        assert f.readline() == "label a\n"
    for path in ("/nix", "/boot/nix", "/boot/linux/x"):
        with pytest.raises(OSError):
            volume.size(path)


def test_rock_ridge_modes_times_and_links(tmp_path):
    volume = fs.volume(disc(tmp_path, "rock"))
    assert volume.note == "Rock Ridge"
    assert volume.stat("/read-me.txt")[0] == 0o100640
    assert volume.stat("/read-me.txt")[8] in (1772593567, 1772593567 - 946684800)
    assert volume.size("/vmlinuz") == 300_000 and volume.read("/up") == b"hello\n"
    assert volume.lstat("/vmlinuz")[0] & 0xF000 == 0xA000
    for path, number in (("/loop", 40), ("/loop/x", 40), ("/dangling", 2)):
        with pytest.raises(OSError) as error:
            volume.stat(path)
        assert error.value.errno == number


def test_long_names_and_many_files(tmp_path):
    tree = {"%03d-%s" % (i, "n" * (i % 60)): b"%d" % i for i in range(400)}
    for kind in ("rock", "joliet"):
        volume = fs.volume(disc(tmp_path, kind, {"many": tree}))
        assert sorted(volume.listdir("/many")) == sorted(tree)
        assert volume.read("/many/399-" + "n" * 39) == b"399"


def test_what_is_not_a_cd_is_said_to_be_none(tmp_path):
    with pytest.raises(OSError) as error:
        Iso(Disk(bytes(100_000), 2048))
    assert "no primary volume descriptor" in str(error.value)
    raw = bytearray(iso9660.make(tmp_path / "x", TREE).read_bytes())
    raw[16 * 2048 + 128] = 7
    with pytest.raises(OSError, match="blocks of"):
        Iso(Disk(bytes(raw), 2048))


def test_damaged_discs_end_in_errors(tmp_path):
    good = {}
    for kind in KINDS:
        tree = TREE | LINKS if kind == "rock" else TREE
        good[kind] = iso9660.make(tmp_path / kind, tree, kind).read_bytes()
    source = random.Random(9)
    for turn in range(400):
        raw = bytearray(good[KINDS[turn % 3]])
        for _ in range(source.randrange(1, 6)):
            at = source.randrange(16 * 2048, 26 * 2048)
            raw[at] = source.randrange(256)
        try:
            volume = Iso(Disk(bytes(raw), 2048))
            for name in volume.listdir("/"):
                volume.stat("/" + name)
            volume.read("/boot/extlinux/extlinux.conf")
        except OSError:
            pass


def test_a_directory_that_is_too_large_or_runs_past_its_end(tmp_path):
    raw = bytearray(iso9660.make(tmp_path / "x", TREE).read_bytes())
    root = 16 * 2048 + 156
    raw[root + 10 : root + 14] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(OSError, match="a directory of"):
        Iso(Disk(bytes(raw), 2048))
