"""modules/fs/journal: logs written by debugfs, shown in place as e2fsck would replay them."""

import os
import random
import re
import signal
import struct

import disk
import pytest
from disk import MIB
from fshost import Disk, ManyDisk, fs

FILES = {f"/dir/file{n}": b"%d" % n * (1000 * n) for n in range(9)}

VARIANTS = {
    "csum-v3": ("ext4", ("-O", "metadata_csum,64bit"), "-c -v 3"),
    "csum-v2": ("ext4", ("-O", "metadata_csum,64bit"), "-c -v 2"),
    "csum-32": ("ext4", ("-O", "metadata_csum,^64bit"), "-c -v 3"),
    "plain-64": ("ext4", ("-O", "^metadata_csum,64bit"), ""),
    "plain-32": ("ext3", ("-O", "^64bit"), ""),
}


def debugfs(path, *commands):
    """Run commands; debugfs's exit code says nothing, its stderr does."""
    script = path.with_suffix(".cmd")
    script.write_text("\n".join(commands) + "\n")
    disk.run("debugfs", "-w", "-f", script, path)


def block_of(path, name, index=0):
    return disk.ext_block_offset(path, name, index) // disk.ext_block_size(path)


@pytest.fixture(params=VARIANTS)
def unclean(request, tmp_path):
    """An image whose log holds new data of five files' first blocks, one of them revoked later."""
    kind, options, journal = VARIANTS[request.param]
    path = disk.ext(tmp_path / "image", FILES, kind=kind, block=1024, options=options, size=12 * MIB)
    new = {n: bytes([64 + n]) * 1024 for n in (4, 5, 6, 7)}
    new[8] = struct.pack(">I", 0xC03B3998) + b"escaped" * 145 + b"12345"
    commands = []
    for n, content in new.items():
        (tmp_path / f"new{n}").write_bytes(content)
    blocks = {n: block_of(path, f"/dir/file{n}") for n in new}
    write = lambda n: f"jw -b {blocks[n]} {tmp_path}/new{n}"
    commands = [f"jo {journal}", write(4), "jc", f"jo {journal}", write(5), write(6), "jc"]
    commands += [f"jo {journal}", f"jw -r {blocks[6]}", write(7), "jc", f"jo {journal}", write(8), "jc"]
    debugfs(path, *commands)
    return path, new


def replayed(path):
    """The image as e2fsck leaves it."""
    other = path.with_suffix(".replayed")
    other.write_bytes(path.read_bytes())
    disk.run("sh", "-c", f"e2fsck -fyE journal_only {other}; test $? -lt 4")
    return other


def test_committed_blocks_are_shown_as_e2fsck_replays_them(unclean):
    path, new = unclean
    found = fs.volume(ManyDisk(path))
    assert found.note == "journal replayed in memory: 4 blocks"
    expected = fs.volume(ManyDisk(replayed(path)))
    assert expected.note == ""
    for name, content in FILES.items():
        assert found.read(name) == expected.read(name), name
        n = int(name[-1])
        if n in new and n != 6:
            assert found.read(name) == new[n] + content[1024:]
    assert found.read("/dir/file6") == FILES["/dir/file6"]
    buf = bytearray(1500)
    assert found.read_into("/dir/file7", buf, 100) == 1500
    assert bytes(buf) == (new[7] + FILES["/dir/file7"][1024:])[100:1600]
    with found.open("/dir/file5", "rb") as file:
        assert file.read(5000) == (new[5] + FILES["/dir/file5"][1024:])[:5000]


def test_reading_does_not_write(unclean):
    path, _ = unclean
    before = path.read_bytes()
    fs.volume(Disk(path)).read("/dir/file4")  # Disk.writeblocks fails the test
    assert path.read_bytes() == before


def test_metadata_in_the_journal_is_used(tmp_path):
    path = disk.ext(tmp_path / "t", FILES, block=1024, size=12 * MIB, options=("-O", "^metadata_csum"))
    where = disk.ext_block_offset(path, "/dir")
    content = path.read_bytes()[where : where + 1024].replace(b"file3", b"three")
    (tmp_path / "new").write_bytes(content)
    debugfs(path, "jo", f"jw -b {where // 1024} {tmp_path}/new", "jc")
    found = fs.volume(Disk(path))
    assert "three" in found.listdir("/dir") and "file3" not in found.listdir("/dir")
    assert found.read("/dir/three") == FILES["/dir/file3"]


def log_offsets(path):
    """Byte offsets of the log's blocks, the superblock first."""
    return [block_of(path, "<8>", n) * 1024 for n in range(20)]


@pytest.mark.parametrize(
    ("block", "off", "reason"),
    [
        (0, 0, "journal superblock: bad magic"),
        (0, 12, "journal superblock: .* blocks of .* bytes"),
        (0, 43, "journal superblock: "),
        (0, 30, "journal superblock: starts at block|journal superblock: bad checksum"),
    ],
)
def test_damaged_journal_is_told_and_the_volume_still_read(unclean, block, off, reason):
    path, _ = unclean
    disk.invert(path, log_offsets(path)[block] + off)
    found = fs.volume(Disk(path))
    assert found.note.startswith("journal not replayed, the latest changes may be missing: ")
    assert re.search(reason, found.note), found.note
    assert found.read("/dir/file3") == FILES["/dir/file3"]


def test_transaction_without_its_commit_does_not_count(unclean):
    path, new = unclean
    offsets = log_offsets(path)
    content = path.read_bytes()
    commits = [at for at in offsets[1:] if content[at : at + 8] == struct.pack(">II", 0xC03B3998, 2)]
    disk.invert(path, commits[1] + 4)
    found = fs.volume(Disk(path))
    assert found.note == "journal replayed in memory: 1 blocks"
    assert found.read("/dir/file4") == new[4] + FILES["/dir/file4"][1024:]
    assert found.read("/dir/file5") == FILES["/dir/file5"]


def test_damaged_data_block_of_a_checked_log_is_named(tmp_path):
    path = disk.ext(tmp_path / "t", FILES, block=1024, size=12 * MIB)
    (tmp_path / "new").write_bytes(b"n" * 1024)
    debugfs(path, "jo -c -v 3", f"jw -b {block_of(path, '/dir/file4')} {tmp_path}/new", "jc")
    offsets = log_offsets(path)
    content = path.read_bytes()
    data = next(at for at in offsets if content[at : at + 1024] == b"n" * 1024)
    disk.invert(path, data + 5)
    with pytest.raises(OSError, match=r"ext4: journal block \d+: bad checksum"):
        fs.volume(Disk(path)).read("/dir/file4")


def test_random_damage_of_the_log_gives_documented_errors_only(unclean):
    path, _ = unclean
    whole = path.read_bytes()
    bad = ManyDisk(whole)
    offsets = log_offsets(path)
    random_ = random.Random(7)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    for _ in range(int(os.environ.get("FUZZ_ROUNDS", "60"))):
        places = [random_.choice(offsets) + random_.randrange(random_.choice((48, 1024))) for _ in range(3)]
        for place in places:
            bad.content[place] = random_.randrange(256)
        bad.requests.clear()
        signal.alarm(20)
        try:
            found = fs.volume(bad)
            for name, content in FILES.items():
                assert len(found.read(name)) == len(content)
        except OSError as error:
            assert "ext4: " in str(error) and error.errno in (2, 5, 20, 95), error
        finally:
            signal.alarm(0)
        assert len(bad.requests) < 2000
        for place in places:
            bad.content[place] = whole[place]
