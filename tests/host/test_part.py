"""modules/fs/part: MBR and GPT of images that sfdisk and sgdisk made too, whole and damaged."""

import random
import struct
import subprocess
import zlib

import disk
import pytest
from disk import MIB, SECTOR, Part
from fshost import Disk, ManyDisk, fs

part = fs.part


def table(content, block_size=SECTOR):
    return part.table(Disk(content, block_size))


def rows(found):
    return [(p.number, p.start, p.count) for p in found]


@pytest.fixture
def gpt(tmp_path):
    first = Part(b"first" * 200, name="boot", bootable=True)
    second = Part(b"x" * SECTOR, name="r\xf6\xf6t \U0001f600")
    return disk.gpt(tmp_path / "gpt", [first, second, Part(size=MIB)])


def test_gpt_gives_place_label_and_uuid(gpt):
    found = table(gpt)
    assert (found.scheme, found.damaged) == ("gpt", "")
    assert rows(found) == [(1, 2048, 2), (2, 4096, 1), (3, 6144, 2048)]
    assert [p.label for p in found] == ["boot", "r\xf6\xf6t \U0001f600", ""]
    assert [p.bootable for p in found] == [True, False, False]
    assert found[2].uuid == "00000000-0000-0000-0000-000000000002"
    assert found[1].type == disk.LINUX.lower()
    assert found.uuid == "00000000-0000-0000-0000-00000000d15c"


def test_partition_reads_its_own_blocks_only(gpt):
    one = table(gpt)[1]
    buf = bytearray(2 * SECTOR)
    one.readblocks(0, buf)
    assert buf.startswith(b"first" * 200)
    few = bytearray(10)
    one.readblocks(1, few, 5)
    assert few == buf[517:527]
    assert (one.ioctl(4, 0), one.ioctl(5, 0)) == (2, 512)
    for block, size in ((1, 1024), (2, 512), (-1, 512)):
        with pytest.raises(OSError, match="part 1: read"):
            one.readblocks(block, bytearray(size))
    with pytest.raises(OSError, match="part 1: write"):
        one.writeblocks(2, bytes(512))


def test_partition_passes_read_many_on_when_the_disk_has_it(gpt):
    assert not hasattr(table(gpt)[1], "read_many")
    one = part.table(ManyDisk(gpt))[1]
    bufs = [bytearray(SECTOR), bytearray(SECTOR)]
    one.read_many([(1, bufs[0]), (0, bufs[1])])
    assert bytes(bufs[1] + bufs[0]).startswith(b"first" * 200)
    with pytest.raises(OSError, match="part 1: read"):
        one.read_many([(0, bufs[0]), (2, bufs[1])])


def test_find_by_number_label_and_uuid(gpt):
    found = Disk(gpt)
    assert part.find(found, number=3).start == 6144
    assert part.find(found, label="boot").number == 1
    assert part.find(found, uuid="00000000-0000-0000-0000-000000000002".upper()).number == 2
    with pytest.raises(OSError, match=r"partition number 9 not found; there are: 1, 2, 3"):
        part.find(found, number=9)
    with pytest.raises(OSError, match="partition label none not found"):
        part.find(found, label="none")


def test_find_by_label_and_uuid_of_the_file_system(tmp_path):
    ext = disk.ext(tmp_path / "ext", {"/a": b"1"}, size=8 * MIB, label="inside")
    fat = disk.fat(tmp_path / "fat", {"/a": b"1"}, bits=16, label="FATTY")
    whole = Disk(disk.gpt(tmp_path / "gpt", [Part(size=MIB, name="blank"), Part(ext, name="x"), Part(fat, name="y")]))
    assert fs.find(whole, label="x").number == 2
    assert fs.find(whole, label="inside").number == 2
    assert fs.find(whole, label="FATTY").number == 3
    assert fs.find(whole, uuid="4d50-5953").number == 3
    assert fs.find(whole, uuid=fs.volume(Disk(ext)).uuid.upper()).number == 2
    for wanted in ({"label": "none"}, {"number": 4}, {"label": "inside", "uuid": "4d50-5953"}):
        with pytest.raises(OSError, match="not found; there are: 1, 2, 3"):
            fs.find(whole, **wanted)
    alone = Disk(ext)
    assert fs.find(alone, label="inside") is alone


def test_gpt_of_sgdisk(tmp_path):
    path = disk.empty(tmp_path / "d", 8 * MIB)
    words = ["sgdisk", "-n", "1:2048:4095", "-c", "1:EFI", "-t", "1:ef00", "-n", "5:6144:0", "-A", "5:set:2", path]
    subprocess.run(words, check=True, capture_output=True)
    found = table(path)
    assert [(p.number, p.start, p.count, p.label, p.bootable) for p in found] == [
        (1, 2048, 2048, "EFI", False),
        (5, 6144, 10207, "", True),
    ]
    assert found[1].type == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"


def test_gpt_with_4096_byte_blocks(tmp_path):
    size = 4096
    table_bytes = bytearray(128 * 128)
    table_bytes[:56] = b"T" * 16 + b"U" * 16 + struct.pack("<QQQ", 64, 127, 0)
    table_bytes[56:60] = "ab".encode("utf-16-le")
    fields = (0x10000, 92, 0, 0, 1, 255, 6, 250, b"D" * 16, 2, 128, 128, zlib.crc32(table_bytes))
    header = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", *fields))
    header[16:20] = struct.pack("<I", zlib.crc32(header))
    content = bytearray(256 * size)
    content[:SECTOR] = bytes(446) + bytes([0, 0, 2, 0, 0xEE]) + bytes(59) + b"\x55\xaa"
    content[size : size + 92] = header
    content[2 * size : 2 * size + len(table_bytes)] = table_bytes
    found = table(content, size)
    assert [(p.number, p.start, p.count, p.label) for p in found] == [(1, 64, 64, "ab")]


@pytest.mark.parametrize("entries", [False, True])
def test_backup_is_used_when_the_primary_is_damaged(gpt, entries):
    whole = rows(table(gpt))
    disk.damage_gpt(gpt, entries=entries)
    found = table(gpt)
    assert rows(found) == whole
    assert found.damaged == "primary GPT at block 1: bad %s; the backup is used" % (
        "CRC of the entries" if entries else "header CRC"
    )


def test_damaged_backup_does_no_harm(gpt):
    disk.damage_gpt(gpt, primary=False, backup=True)
    assert len(table(gpt)) == 3


def test_both_copies_damaged_is_an_error_that_names_both(gpt):
    disk.damage_gpt(gpt, backup=True)
    with pytest.raises(OSError, match=r"gpt: primary at block 1: bad header CRC; backup at block \d+: bad header CRC"):
        table(gpt)


def test_wiped_start_of_disk_leaves_the_backup(gpt):
    whole = rows(table(gpt))
    disk.overwrite(gpt, 0, bytes(34 * SECTOR))
    found = table(gpt)
    assert rows(found) == whole
    assert "primary GPT at block 1: no signature" in found.damaged


def test_gpt_without_protective_mbr_says_so(gpt):
    disk.overwrite(gpt, 0, bytes(SECTOR))
    assert table(gpt).damaged == "no protective MBR"


def test_hybrid_mbr_is_read_as_gpt(gpt):
    entry = struct.pack("<B3sB3sII", 0x80, b"\0\0\0", 0x0C, b"\0\0\0", 2048, 2)
    disk.overwrite(gpt, 446 + 16, entry)
    found = table(gpt)
    assert (found.scheme, len(found)) == ("gpt", 3)


def resign(content, start=SECTOR):
    """Make the checksums of the GPT header at start right again."""
    header = bytearray(content[start : start + 92])
    at, number, size = struct.unpack_from("<QII", header, 72)
    entries = content[at * SECTOR : at * SECTOR + min(number * size, 1 << 20)]
    struct.pack_into("<I", header, 88, zlib.crc32(entries))
    struct.pack_into("<I", header, 16, 0)
    struct.pack_into("<I", header, 16, zlib.crc32(header))
    content[start : start + 92] = bytes(header)


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"),
    [
        (12, "<I", 8, "header size 8"),
        (24, "<Q", 7, "header says block 7"),
        (48, "<Q", 1 << 40, "usable blocks 34 to"),
        (72, "<Q", 1 << 60, "entries at block"),
        (80, "<I", 1 << 30, "entries of 128 bytes"),
        (84, "<I", 0, "128 entries of 0 bytes"),
    ],
)
def test_gpt_headers_that_lie_are_refused(gpt, offset, form, value, reason):
    content = bytearray(gpt.read_bytes())
    struct.pack_into(form, content, SECTOR + offset, value)
    if offset != 12:
        header = bytearray(content[SECTOR : SECTOR + 92])
        struct.pack_into("<I", header, 16, 0)
        struct.pack_into("<I", content, SECTOR + 16, zlib.crc32(header))
    assert "primary GPT at block 1: " in table(content).damaged
    assert reason in table(content).damaged


def test_gpt_entry_outside_the_usable_blocks_is_left_out(gpt):
    content = bytearray(gpt.read_bytes())
    struct.pack_into("<Q", content, 2 * SECTOR + 40, 1 << 33)
    resign(content)
    found = table(content)
    assert [p.number for p in found] == [2, 3]
    assert "partition 1: blocks 2048 to 8589934592 are not usable ones" in found.damaged


@pytest.fixture
def mbr(tmp_path):
    logical = [Part(b"five", size=MIB), Part(b"six", size=2 * MIB), Part(size=MIB, type=0x0C)]
    return disk.mbr(tmp_path / "mbr", [Part(size=MIB, bootable=True), Part(size=MIB)], logical)


def test_mbr_with_logical_partitions_as_sfdisk_sees_it(mbr):
    import json

    text = subprocess.run(["sfdisk", "--json", mbr], capture_output=True, text=True, check=True).stdout
    theirs = [p for p in json.loads(text)["partitiontable"]["partitions"] if p["type"] != "5"]
    found = table(mbr)
    assert (found.scheme, found.damaged, found.uuid) == ("mbr", "", "1234abcd")
    assert rows(found) == [(int(p["node"][len(str(mbr)) :]), p["start"], p["size"]) for p in theirs]
    assert [p.uuid for p in found] == [f"1234abcd-{n:02x}" for n in (1, 2, 5, 6, 7)]
    assert [p.bootable for p in found] == [True, False, False, False, False]
    assert found[7].type == "0c"
    buf = bytearray(SECTOR)
    found[6].readblocks(0, buf)
    assert buf.startswith(b"six")


def test_mbr_of_sfdisk_with_many_logical_partitions(tmp_path):
    path = disk.empty(tmp_path / "d", 64 * MIB)
    script = "label: dos\n2048,2048,83\n4096,,5\n" + "".join(f"{6144 + 4096 * n},2048,83\n" for n in range(20))
    subprocess.run(["sfdisk", "-q", path], input=script, text=True, check=True)
    assert rows(table(path)) == [(1, 2048, 2048)] + [(5 + n, 6144 + 4096 * n, 2048) for n in range(20)]


def records(mbr):
    """Byte offsets of the extended boot records."""
    base = 3 * MIB
    return base, [p.start * SECTOR - MIB for p in table(mbr) if p.number > 4]


def test_loop_of_logical_partitions_ends(mbr):
    base, where = records(mbr)
    entry = struct.pack("<B3sB3sII", 0, b"", 5, b"", (where[0] - base) // SECTOR, 2048)
    disk.overwrite(mbr, where[2] + 446 + 16, entry)
    found = table(mbr)
    assert [p.number for p in found] == [1, 2, 5, 6, 7]
    assert "logical partition 8: the chain comes back to block 6144" in found.damaged


def test_logical_record_without_signature_keeps_what_is_before(mbr):
    base, where = records(mbr)
    disk.overwrite(mbr, where[1] + 510, b"\0\0")
    found = table(mbr)
    assert [p.number for p in found] == [1, 2, 5]
    assert "logical partition 6: record at block" in found.damaged


def test_logical_record_outside_the_extended_partition_is_refused(mbr):
    base, where = records(mbr)
    disk.overwrite(mbr, where[0] + 446 + 16, struct.pack("<B3sB3sII", 0, b"", 5, b"", 1 << 30, 2048))
    assert "is outside" in table(mbr).damaged


def test_partition_beyond_the_disk_is_cut_or_left_out(mbr):
    total = mbr.stat().st_size // SECTOR
    disk.overwrite(mbr, 446 + 12, struct.pack("<I", 1 << 31))
    disk.overwrite(mbr, 446 + 16 + 8, struct.pack("<I", total))
    found = table(mbr)
    assert found[1].count == total - 2048
    assert [p.number for p in found][:2] == [1, 5]
    assert "partition 1: ends" in found.damaged and "partition 2:" in found.damaged


@pytest.mark.parametrize("kind", ["fat12", "fat16", "fat32", "ext2", "ext4"])
def test_file_system_without_a_table_is_no_table(tmp_path, kind):
    path = disk.filesystem(tmp_path / "fs", {"/a": b"1"}, kind)
    assert (table(path).scheme, len(table(path))) == ("none", 0)


def test_empty_and_tiny_disks_have_no_table(tmp_path):
    assert table(bytes(MIB)).scheme == "none"
    assert table(bytes(SECTOR)).scheme == "none"
    assert table(b"").scheme == "none"


def test_device_error_goes_to_the_caller(gpt):
    bad = Disk(gpt)
    bad.fail_at = SECTOR
    with pytest.raises(OSError, match="IOERR"):
        part.table(bad)


def test_device_that_returns_an_error_number_is_heard(gpt):
    bad = Disk(gpt)
    bad.readblocks = lambda block, buf: -5
    with pytest.raises(OSError, match="device said -5"):
        part.table(bad)


@pytest.mark.parametrize("kind", ["gpt", "mbr"])
def test_random_damage_gives_a_table_or_an_oserror(kind, request):
    random_ = random.Random(5)
    path = request.getfixturevalue(kind)
    spans = [(440, 1200), (1024, 3000)] if kind == "gpt" else [(440, 512)]
    spans += [(at + 440, at + 512) for at in (records(path)[1] if kind == "mbr" else ())]
    whole = path.read_bytes()
    bad = Disk(whole)
    for _ in range(400):
        places = [random_.randrange(*random_.choice(spans)) for _ in range(random_.randint(1, 6))]
        for place in places:
            bad.content[place] = random_.randrange(256)
        if kind == "gpt" and random_.random() < 0.7:
            resign(bad.content)
        bad.requests.clear()
        try:
            found = part.table(bad)
        except OSError as error:
            assert "gpt: " in str(error)
        else:
            assert all(1 <= p.start and p.start + p.count <= len(whole) // SECTOR for p in found)
            assert len(found) < 140
        assert len(bad.requests) < 140
        bad.content[: 4 * MIB] = whole[: 4 * MIB]
