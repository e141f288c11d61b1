"""modules/fs/ext4: images of mkfs.ext4 and debugfs read whole; each damaged structure is named."""

import os
import random
import signal
import struct
from pathlib import Path

import disk
import pytest
from disk import MIB, Link
from fshost import Disk, ManyDisk, fs

RANDOM = random.Random(1)
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "50"))
LINUX = RANDOM.randbytes(1_500_001)
FILES = {
    "/boot/linux": LINUX,
    "/small": b"text",
    "/empty": b"",
    "/line": b"one\ntw\xc3\xb6\nthree",
    "/deep/er/file.txt": b"deep down",
    "/short": Link("deep/er/file.txt"),
    "/absolute": Link("/boot/linux"),
    "/long": Link("deep/../" * 20 + "small"),
    "/middle": Link("deep"),
    "/dangling": Link("nothing"),
    "/loop": Link("loop"),
    "/ping": Link("pong"),
    "/pong": Link("ping"),
}
FILES.update({f"/many/file {n:03} of many": b"%d" % n * n for n in range(120)})

VARIANTS = {
    "ext2-1k": ("ext2", 1024, ()),
    "ext2-4k": ("ext2", 4096, ()),
    "ext2-rev0": ("ext2", 1024, ("-I", "128", "-O", "none")),
    "ext2-no-filetype": ("ext2", 1024, ("-O", "^filetype")),
    "ext3-2k": ("ext3", 2048, ()),
    "ext4-1k": ("ext4", 1024, ()),
    "ext4-4k": ("ext4", 4096, ()),
    "ext4-64k": ("ext4", 65536, ("-O", "^metadata_csum")),
    "ext4-128": ("ext4", 1024, ("-I", "128", "-O", "^has_journal")),
    "ext4-512": ("ext4", 2048, ("-I", "512")),
    "no-csum": ("ext4", 1024, ("-O", "^metadata_csum,uninit_bg")),
    "no-64bit": ("ext4", 4096, ("-O", "^64bit")),
    "no-csum-64bit": ("ext4", 4096, ("-O", "^metadata_csum,uninit_bg,64bit")),
    "csum-seed": ("ext4", 1024, ("-O", "metadata_csum_seed")),
    "inline": ("ext4", 1024, ("-O", "inline_data")),
    "inline-512": ("ext4", 4096, ("-O", "inline_data", "-I", "512")),
    "meta-bg": ("ext4", 1024, ("-O", "meta_bg,^resize_inode", "-g", "1024")),
    "meta-bg-no-64bit": ("ext4", 4096, ("-O", "meta_bg,^resize_inode,^64bit", "-g", "2048")),
    "no-flex": ("ext4", 1024, ("-O", "^flex_bg", "-g", "2048")),
    "sparse-super2": ("ext4", 1024, ("-O", "sparse_super2,^resize_inode")),
    "bigalloc": ("ext4", 4096, ("-O", "bigalloc", "-C", "16384")),
    "bigalloc-1k": ("ext4", 1024, ("-O", "bigalloc", "-C", "4096")),
    "ea-inode": ("ext4", 4096, ("-O", "ea_inode,large_dir,project,quota,verity")),
    "encrypt": ("ext4", 4096, ("-O", "encrypt")),
    "mmp": ("ext4", 4096, ("-O", "mmp")),
}


def volume(content, **options):
    return fs.volume(ManyDisk(content, **options))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Image of a variant, made once."""
    folder, made = tmp_path_factory.mktemp("ext4"), {}

    def image(name):
        if name not in made:
            kind, block, options = VARIANTS[name]
            size = 64 * MIB if block > 4096 else 12 * MIB
            made[name] = disk.ext(folder / name, FILES, kind=kind, block=block, options=options, label="lab", size=size)
            if name == "ext2-rev0":
                disk.overwrite(made[name], 1024 + 76, bytes(4))  # newer mkfs has no option for it
        return made[name]

    return image


# ---- whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_file_is_read(images, variant):
    found = volume(images(variant))
    for name, data in FILES.items():
        if not isinstance(data, Link):
            assert (found.size(name), found.read(name) == data) == (len(data), True), name
    assert found.read("/short") == b"deep down"
    assert found.read("/absolute") == LINUX
    assert found.read("/long") == b"text"
    assert found.read("/middle/er/../er/./file.txt") == b"deep down"
    assert sorted(found.listdir("/many")) == sorted(name[6:] for name in FILES if name.startswith("/many/"))
    top = {entry[0]: entry[1] for entry in found.ilistdir("/")}
    assert (top["boot"], top["small"], top["loop"]) == (0x4000, 0x8000, 0xA000)
    assert (found.type, found.label, found.note) == ("ext4", "lab", "")
    assert found.uuid == disk.run("blkid", "-s", "UUID", "-o", "value", images(variant)).strip()


def test_htree_directory(tmp_path):
    files = {f"/many/{n:04} {'x' * (n % 200)}": b"%d" % n for n in range(3000)}
    for options in ((), ("-O", "^metadata_csum")):
        path = disk.ext(tmp_path / "t", files, block=1024, options=options, size=24 * MIB)
        disk.run("sh", "-c", f"e2fsck -fyD {path} || test $? -lt 4")
        assert "Indirect levels: 1" in disk.run("debugfs", "-R", "htree_dump /many", path)
        found = volume(path)
        assert len(found.listdir("/many")) == 3000
        name = "/many/2999 " + "x" * (2999 % 200)
        assert found.read(name) == b"2999"
        with pytest.raises(OSError, match="no such file"):
            found.size("/many/3000")


def test_contiguous_file_is_one_large_request_into_the_buffer(images):
    bare = Disk(images("ext4-4k"))
    found = fs.volume(bare)
    found.stat("/boot/linux")
    bare.requests.clear()
    buf = bytearray(len(LINUX))
    assert found.read_into("/boot/linux", buf) == len(LINUX)
    sizes = [size for _, size in bare.requests]
    assert sizes == [len(LINUX) // 512 * 512, 512]
    assert buf == LINUX


def test_large_read_is_cut_into_requests_that_go_out_together(images):
    bare = ManyDisk(images("ext4-4k"))
    batches = []
    bare.read_many = lambda pieces: (batches.append(len(pieces)), ManyDisk.read_many(bare, pieces))
    found = fs.volume(bare)
    found.stat("/boot/linux")
    bare.requests.clear()
    assert found.read("/boot/linux") == LINUX
    assert max(size for _, size in bare.requests) == 131072
    assert batches == [len(bare.requests)] == [len(LINUX) // 131072 + 2]


def test_read_into_keeps_to_offset_and_length(images):
    found = volume(images("ext4-1k"))
    for off, length in ((0, 1), (1, 511), (511, 2), (1023, 1025), (4096, 8192), (1_499_990, 11), (77, 100_000)):
        buf = bytearray(b"-" * (length + 8))
        assert found.read_into("/boot/linux", memoryview(buf)[4:-4], off) == length
        assert buf[4:-4] == LINUX[off : off + length]
        assert buf[:4] + buf[-4:] == b"-" * 8
    buf = bytearray(20)
    assert found.read_into("/boot/linux", buf, 1_500_000) == 1
    assert found.read_into("/boot/linux", buf, 1_500_001) == 0
    assert found.read_into("/boot/linux", buf, 5, 3) == 3
    for off, length in ((-1, None), (0, 21), (0, -1)):
        with pytest.raises(ValueError):
            found.read_into("/boot/linux", buf, off, length)


def test_device_with_4096_byte_blocks(images):
    found = volume(images("ext4-1k"), block_size=4096)
    assert found.read("/boot/linux") == LINUX
    assert found.read("/small") == b"text"


@pytest.mark.parametrize("variant", ["ext2-1k", "ext4-1k"])
def test_sparse_and_fragmented_files(tmp_path, variant):
    kind, block, options = VARIANTS[variant]
    holes = disk.holes(tmp_path / "holes", pieces=1500, piece=1024, gap=3072)
    tail = tmp_path / "tail"
    with open(tail, "wb") as file:
        file.write(b"head")
        file.truncate(70 * MIB)
        file.seek(66 * MIB + 5)
        file.write(b"far away")
    path = disk.ext(tmp_path / "t", {"/holes": holes, "/tail": tail}, kind=kind, block=block, size=24 * MIB)
    found = volume(path)
    assert found.read("/holes") == holes.read_bytes()
    assert found.read("/tail") == tail.read_bytes()
    buf = bytearray(b"x" * 100)
    assert found.read_into("/tail", buf, 66 * MIB) == 100
    assert bytes(buf) == bytes(5) + b"far away" + bytes(87)
    file = found.open("/holes", "rb")
    file.seek(4096 * 1400)
    assert file.read(1025) == bytes([1400 % 255 + 1]) * 1024 + b"\0"


def test_extents_that_are_not_written_yet_read_as_zeros(tmp_path):
    path = disk.ext(tmp_path / "t", {"/a": b"x" * 9000}, block=1024, size=8 * MIB)
    disk.run("debugfs", "-w", "-R", "fallocate /a 9 19", path)
    disk.run("debugfs", "-w", "-R", "sif /a size 20000", path)
    assert volume(path).read("/a") == b"x" * 9000 + bytes(11000)


def test_triple_indirect_blocks(tmp_path):
    far = 12 + 256 + 256 * 256 + 300
    big = tmp_path / "big"
    with open(big, "wb") as file:
        file.seek(far * 1024)
        file.write(b"triple" * 300)
    found = volume(disk.ext(tmp_path / "t", {"/big": big}, kind="ext2", block=1024, size=8 * MIB))
    buf = bytearray(2000)
    assert found.read_into("/big", buf, far * 1024 - 200) == 2000
    assert bytes(buf) == bytes(200) + b"triple" * 300


def test_file_larger_than_4_gib(tmp_path):
    big = tmp_path / "big"
    with open(big, "wb") as file:
        file.seek(5 << 30)
        file.write(b"end")
    found = volume(disk.ext(tmp_path / "t", {"/big": big}, size=16 * MIB))
    assert found.size("/big") == (5 << 30) + 3
    buf = bytearray(10)
    assert found.read_into("/big", buf, (5 << 30) - 2) == 5
    assert bytes(buf[:5]) == b"\0\0end"


def test_stat_and_statvfs(images):
    found = volume(images("ext4-4k"))
    stat = found.stat("/boot/linux")
    assert (stat[0] & 0xF000, stat[3], stat[6], stat[8]) == (0x8000, 1, len(LINUX), 1757548800)
    assert found.lstat("/short")[0] & 0xF000 == 0xA000
    assert found.readlink("/short") == "deep/er/file.txt"
    assert found.statvfs("/")[:3] == (4096, 4096, 12 * MIB // 4096)
    assert found.statvfs("/")[9] == 255


def test_times_after_2038_and_before_1970(tmp_path):
    path = disk.ext(tmp_path / "t", {"/a": b"1", "/b": b"2"}, size=8 * MIB)
    disk.run("debugfs", "-w", "-R", "sif /a mtime_lo 0x100", path)
    disk.run("debugfs", "-w", "-R", "sif /a mtime_extra 1", path)
    disk.run("debugfs", "-w", "-R", "sif /b mtime_lo 0xffffffff", path)
    found = volume(path)
    assert found.stat("/a")[8] == (1 << 32) + 256
    assert found.stat("/b")[8] == -1


def test_files_are_streams(images):
    found = volume(images("ext4-1k"))
    with found.open("/line") as file:
        assert file.readline() == "one\n"
        assert file.read(2) == "tw"
        assert file.read(1) == "\xf6"
        assert file.tell() == 8
        assert list(file) == ["\n", "three"]
        assert file.read() == ""
        file.seek(0)
        assert file.read() == "one\ntw\xf6\nthree"
        assert file.seek(-5, 2) == 9
        assert file.readlines() == ["three"]
    with pytest.raises(ValueError, match="closed"):
        file.read()
    with found.open("/boot/linux", "rb") as file:
        assert file.read(10) + file.read(20000) + file.read(3) == LINUX[:20013]
        assert file.seek(100, 1) == 20113
        assert file.readline(50) == LINUX[20113:20163].split(b"\n")[0] + (b"\n" if b"\n" in LINUX[20113:20163] else b"")
        file.seek(0)
        whole = bytearray(len(LINUX) + 5)
        assert file.readinto(whole) == len(LINUX)
        assert whole[:-5] == LINUX
        assert file.ioctl(3, 5) == 1
        assert file.ioctl(4, 0) == 0


def test_relative_paths_start_at_the_current_directory(images):
    found = volume(images("ext4-1k"))
    found.chdir("deep")
    assert found.getcwd() == "/deep"
    assert found.read("er/file.txt") == b"deep down"
    found.chdir("er")
    assert found.listdir() == ["file.txt"]
    found.chdir("../..")
    assert found.getcwd() == "/"
    with pytest.raises(OSError, match="is not a directory"):
        found.chdir("/small")


@pytest.mark.parametrize(
    ("path", "number", "reason"),
    [
        ("/nothing", 2, "no such file or directory"),
        ("/dangling", 2, "no such file or directory"),
        ("/deep", 21, "is a directory"),
        ("/small/x", 20, "goes through something that is no directory"),
        ("/small/", 20, "goes through something that is no directory"),
        ("/loop", 40, "too many symbolic links"),
        ("/ping", 40, "too many symbolic links"),
        ("/" + "n" * 256, 36, "name of 256 bytes"),
    ],
)
def test_paths_that_lead_nowhere(images, path, number, reason):
    found = volume(images("ext4-1k"))
    with pytest.raises(OSError, match=reason) as error:
        found.size(path)
    assert error.value.errno == number
    assert "ext4: " + path in str(error.value)


def test_volume_refuses_to_be_written(images):
    found = volume(images("ext4-1k"))
    for call in (
        lambda: found.open("/small", "w"),
        lambda: found.open("/small", "r+"),
        lambda: found.mkdir("/new"),
        lambda: found.rmdir("/deep"),
        lambda: found.remove("/small"),
        lambda: found.rename("/small", "/b"),
        lambda: found.mount(False, True),
    ):
        with pytest.raises(OSError, match="read-only file system") as error:
            call()
        assert error.value.errno == 30


def test_special_files_cannot_be_opened(tmp_path):
    path = disk.ext(tmp_path / "t", {"/a": b""}, size=8 * MIB)
    disk.run("debugfs", "-w", "-R", "mknod null c 1 3", path)
    with pytest.raises(OSError, match="/null: is not a regular file"):
        volume(path).open("/null")


def test_names_that_are_not_utf8_are_listed(tmp_path):
    path = disk.ext(tmp_path / "t", {"/name-A": b"1"}, size=8 * MIB, options=("-O", "^metadata_csum"))
    content = path.read_bytes().replace(b"name-A", b"name-\xff")
    assert "name-\ufffd" in volume(content).listdir("/")


# ---- damaged ----------------------------------------------------------------------------------


class Patch:
    """An image in memory whose fields can be set by what they are."""

    def __init__(self, path):
        self.path = path
        self.content = bytearray(Path(path).read_bytes())
        self.block = disk.ext_block_size(path)

    def set(self, form, off, value):
        struct.pack_into("<" + form, self.content, off, value)
        return self

    def get(self, form, off):
        return struct.unpack_from("<" + form, self.content, off)[0]

    def inode(self, name):
        return disk.ext_inode_offset(self.path, name)

    def data(self, name, index=0):
        return disk.ext_block_offset(self.path, name, index)

    def volume(self):
        return volume(self.content)


@pytest.fixture
def plain(images):
    """An ext4 image without checksums, so that what is damaged is not caught by one."""
    return Patch(images("no-csum"))


def gdt_off(patch):
    return max(2048, patch.block)


SUPERBLOCK = [
    (56, "H", 0, "superblock: bad magic"),
    (24, "I", 7, r"superblock: block size 2\^17"),
    (24, "I", 0xFFFFFFFF, r"superblock: block size 2\^"),
    (4, "I", 0, "superblock: 0 blocks"),
    (4, "I", 0x7FFFFFFF, "superblock: 2147483647 blocks of 1024 bytes, the device has"),
    (20, "I", 77, "superblock: .* the device has"),
    (32, "I", 0, "superblock: 0 blocks per group"),
    (40, "I", 0, "superblock: 0 inodes per group"),
    (40, "I", 0xFFFFFFFF, "superblock: 4294967295 inodes per group"),
    (0, "I", 0xFFFFFFFF, "superblock: 4294967295 inodes in"),
    (88, "H", 0, "superblock: inode size 0"),
    (88, "H", 200, "superblock: inode size 200"),
    (88, "H", 0x8000, "superblock: inode size 32768"),
    (254, "H", 3, "superblock: group descriptor size 3"),
]


@pytest.mark.parametrize(("off", "form", "value", "reason"), SUPERBLOCK)
def test_damaged_superblock_is_named(images, off, form, value, reason):
    patch = Patch(images("no-csum-64bit" if off == 254 else "no-csum")).set(form, 1024 + off, value)
    with pytest.raises(OSError, match="ext4: " + reason) as error:
        patch.volume()
    assert error.value.errno == 5


@pytest.mark.parametrize(
    ("bit", "name"),
    [(0x1, "compression"), (0x8, "journal_dev"), (0x1000, "dirdata"), (0x80000000, "incompat 0x80000000")],
)
def test_unsupported_feature_is_refused_by_name(plain, bit, name):
    plain.set("I", 1024 + 96, plain.get("I", 1024 + 96) | bit)
    with pytest.raises(OSError, match=f"ext4: superblock: feature {name}") as error:
        plain.volume()
    assert error.value.errno == 95


@pytest.mark.parametrize(
    ("flag", "path", "reason"),
    [
        (0x800, "/small", "encrypted"),
        (0x4, "/small", "compressed"),
        (0x800, "/boot", "encrypted"),
        (0x40000000, "/boot", "casefold"),
    ],
)
def test_inode_with_an_unsupported_flag_is_refused_by_name(plain, flag, path, reason):
    at = plain.inode(path) + 32
    plain.set("I", at, plain.get("I", at) | flag)
    with pytest.raises(OSError, match=rf"inode \d+: {reason}") as error:
        plain.volume().read(path) if path == "/small" else plain.volume().listdir(path)
    assert error.value.errno == 95
    assert plain.volume().read("/line")


def test_damaged_group_descriptor_is_named(plain):
    for value in (0, 0xFFFFFFFF, plain.get("I", 1024 + 4) - 1):
        patch = Patch(plain.path).set("I", gdt_off(plain) + 8, value)
        with pytest.raises(OSError, match="ext4: group descriptor 0: bad checksum"):
            patch.volume().listdir("/")
        ro = patch.get("I", 1024 + 100) & ~0x10
        with pytest.raises(OSError, match="ext4: group descriptor 0: inode table at block"):
            patch.set("I", 1024 + 100, ro).volume().listdir("/")


@pytest.mark.parametrize(
    ("what", "place", "reason"),
    [
        ("superblock", lambda p: 1024 + 0x78, "superblock: bad checksum"),
        ("descriptor", lambda p: gdt_off(p) + 4, "group descriptor 0: bad checksum"),
        ("inode", lambda p: p.inode("/boot/linux") + 8, r"inode \d+: bad checksum"),
        ("directory", lambda p: p.data("/boot") + 40, r"directory inode \d+ block 0: bad checksum"),
        ("tail", lambda p: p.data("/boot") + p.block - 5, r"directory inode \d+ block 0: no checksum"),
    ],
)
def test_checksums_are_checked(images, what, place, reason):
    patch = Patch(images("ext4-1k"))
    patch.content[place(patch)] ^= 0x10
    with pytest.raises(OSError, match="ext4: " + reason) as error:
        patch.volume().read("/boot/linux")
    assert error.value.errno == 5


@pytest.fixture(scope="module")
def fragments(tmp_path_factory):
    """Images with a file whose extents or pointers need blocks of their own, without and with checksums."""
    folder = tmp_path_factory.mktemp("fragments")
    holes = disk.holes(folder / "holes", pieces=300, piece=1024, gap=1024)
    make = lambda name, kind, *options: disk.ext(
        folder / name, {"/holes": holes, "/small": b"text"}, kind=kind, block=1024, size=8 * MIB, options=options
    )
    return {"plain": make("p", "ext4", "-O", "^metadata_csum"), "csum": make("c", "ext4"), "map": make("m", "ext2")}


def leaf(patch, index=0):
    """Byte offset of an extent leaf below the root."""
    return patch.get("I", patch.inode("/holes") + 40 + 12 + 12 * index + 4) * patch.block


EXTENTS = [
    ("magic", lambda p: ("H", p.inode("/holes") + 40, 0xF30B), "extent tree: bad magic"),
    ("depth", lambda p: ("H", p.inode("/holes") + 46, 6), "extent tree: depth 6"),
    ("depth-wrong", lambda p: ("H", p.inode("/holes") + 46, 2), r"extent tree block \d+: depth 0 where 1 is due"),
    ("entries", lambda p: ("H", p.inode("/holes") + 42, 5), "extent tree: 5 of 4 entries"),
    ("room", lambda p: ("H", p.inode("/holes") + 44, 400), "extent tree: . of 400 entries"),
    ("child", lambda p: ("I", p.inode("/holes") + 56, 0x7FFFFFFF), r"extent tree block 2147483647: outside the volume"),
    ("child-high", lambda p: ("H", p.inode("/holes") + 60, 1), r"extent tree block \d+: outside the volume"),
    ("child-zero", lambda p: ("I", p.inode("/holes") + 56, 0), "extent tree block 0: outside the volume"),
    ("loop", lambda p: ("I", leaf(p) + 4, 0x00010054), r"extent tree block \d+: depth 1 where 0 is due"),
    ("leaf-magic", lambda p: ("H", leaf(p), 0), r"extent tree block \d+: bad magic"),
    ("leaf-empty", lambda p: ("H", leaf(p) + 2, 0), r"extent tree block \d+: no entries"),
    ("leaf-full", lambda p: ("H", leaf(p) + 2, 85), r"extent tree block \d+: 85 of 84 entries"),
    ("order", lambda p: ("I", leaf(p) + 12 + 24, 0), r"extent tree block \d+: entry 2 overlaps"),
    ("overlap", lambda p: ("H", leaf(p) + 16, 3), r"extent tree block \d+: entry 1 overlaps"),
    ("length", lambda p: ("H", leaf(p) + 16, 0), r"extent tree block \d+: entry 0 overlaps"),
    ("below", lambda p: ("I", leaf(p, 1) + 12, 0), r"extent tree block \d+: entries outside blocks"),
    (
        "above",
        lambda p: ("I", leaf(p) + 12 * p.get("H", leaf(p) + 2), 1 << 30),
        r"extent tree block \d+: entries outside blocks",
    ),
    ("place", lambda p: ("I", leaf(p) + 20, 1 << 30), r"extent tree: block 0: 1073741824\+1 is outside"),
    ("place-high", lambda p: ("H", leaf(p) + 18, 9), r"extent tree: block 0: \d+\+1 is outside"),
    ("place-zero", lambda p: ("I", leaf(p) + 20, 0), r"extent tree: block 0: 0\+1 is outside"),
]


@pytest.mark.parametrize(("place", "reason"), [row[1:] for row in EXTENTS], ids=[row[0] for row in EXTENTS])
def test_damaged_extent_tree_is_named(fragments, place, reason):
    patch = Patch(fragments["plain"])
    patch.set(*place(patch))
    found = patch.volume()
    with pytest.raises(OSError, match=r"ext4: inode \d+ " + reason) as error:
        found.read("/holes")
    assert error.value.errno == 5
    assert found.read("/small") == b"text"


def test_extent_block_checksum_is_checked(fragments):
    patch = Patch(fragments["csum"])
    patch.content[leaf(patch) + 20] ^= 1
    with pytest.raises(OSError, match=r"ext4: inode \d+ extent tree block \d+: bad checksum"):
        patch.volume().read("/holes")


def test_damaged_block_map_is_named(fragments):
    where = Patch(fragments["map"]).inode("/holes") + 40
    for off, value, reason in (
        (0, 1 << 30, r"inode \d+ block 0: 1073741824\+1 is outside"),
        (48, 1 << 30, r"inode \d+ indirect block 1073741824: outside the volume"),
        (52, 1, r"inode \d+ indirect block 1: outside the volume"),
    ):
        patch = Patch(fragments["map"]).set("I", where + off, value)
        with pytest.raises(OSError, match="ext4: " + reason):
            patch.volume().read("/holes")


def test_block_map_that_points_to_itself_ends(fragments):
    patch = Patch(fragments["map"])
    where = patch.inode("/holes")
    double = patch.get("I", where + 40 + 52)
    for i in range(256):
        patch.set("I", double * 1024 + 4 * i, double)
    patch.set("I", where + 40 + 56, double).set("I", where + 4, 1 << 30)
    buf = bytearray(600_000)
    assert patch.volume().read_into("/holes", buf) == 600_000


DIRECTORY = [
    ("length-zero", 28, "H", 0, "record at 24"),
    ("length-odd", 28, "H", 13, "record at 24"),
    ("length-beyond", 28, "H", 2000, "record at 24"),
    ("length-short", 28, "H", 8, "record at 24"),
    ("name", 30, "B", 255, "record at 24"),
    ("first", 4, "H", 4, "record at 0"),
]


@pytest.mark.parametrize(("off", "form", "value", "reason"), [r[1:] for r in DIRECTORY], ids=[r[0] for r in DIRECTORY])
def test_damaged_directory_record_is_named(plain, off, form, value, reason):
    patch = plain.set(form, plain.data("/many") + off, value)
    for call in (lambda v: v.listdir("/many"), lambda v: v.size("/many/none"), lambda v: v.listdir("/many/none")):
        with pytest.raises(OSError, match=rf"ext4: directory inode \d+ block 0: {reason}: ") as error:
            call(patch.volume())
        assert error.value.errno == 5


def test_directory_entry_with_an_impossible_inode_is_named(plain):
    patch = plain.set("I", plain.data("/boot") + 24, 0x00FFFFFF)
    with pytest.raises(OSError, match="record 'linux': inode 16777215"):
        patch.volume().listdir("/boot")
    with pytest.raises(OSError, match="ext4: inode 16777215: there are"):
        patch.volume().read("/boot/linux")


def test_directory_loop_is_named(images, tmp_path):
    path = tmp_path / "t"
    path.write_bytes(images("no-csum").read_bytes())
    disk.damage_ext(path, "directory", "/boot")
    with pytest.raises(OSError, match=r"ext4: directory inode \d+: loop: 'linux' is the directory itself"):
        volume(path).size("/boot/linux/linux")


def test_directory_loop_over_two_levels_is_named(plain):
    top = plain.get("I", plain.data("/deep"))
    patch = plain.set("I", plain.data("/deep/er") + 24, top)
    with pytest.raises(OSError, match="loop: 'file.txt' is the directory itself or one above it"):
        patch.volume().listdir("/deep/er/file.txt")


def test_damaged_directory_size_and_hole_are_named(plain):
    with pytest.raises(OSError, match=r"directory inode \d+: size 1000"):
        plain.set("I", plain.inode("/boot") + 4, 1000).volume().listdir("/boot")
    with pytest.raises(OSError, match=r"directory inode \d+ block 1: hole"):
        plain.set("I", plain.inode("/boot") + 4, 1 << 30).volume().listdir("/boot")


def test_damaged_inodes_are_named(plain):
    where = plain.inode("/small")
    for off, form, value, reason in (
        (26, "H", 0, "not in use"),
        (0, "H", 0, "not in use"),
        (108, "I", 1 << 31, "size "),
    ):
        patch = Patch(plain.path).set(form, where + off, value)
        with pytest.raises(OSError, match=rf"ext4: inode \d+: {reason}"):
            patch.volume().read("/small")


def test_damaged_symbolic_link_is_named(plain):
    where = plain.inode("/short")
    for size in (0, 100_000):
        with pytest.raises(OSError, match=rf"inode \d+: symbolic link of {size} bytes"):
            Patch(plain.path).set("I", where + 4, size).volume().read("/short")
    with pytest.raises(OSError, match=r"inode \d+: symbolic link holds a zero byte"):
        Patch(plain.path).set("B", where + 41, 0).volume().read("/short")


def test_damaged_inline_data_is_named(images):
    patch = Patch(images("inline"))
    where = patch.inode("/line")
    patch.set("I", 1024 + 100, patch.get("I", 1024 + 100) & ~0x400)  # as if there were no checksums
    with pytest.raises(OSError, match=r"ext4: inode \d+ inline data: \d+ bytes of 900"):
        patch.set("I", where + 4, 900).volume().read("/line")
    with pytest.raises(OSError, match=r"ext4: inode \d+ attributes: bad magic"):
        patch.set("H", where + 128, 36).volume().read("/line")


def test_disk_shorter_than_the_volume_is_refused(images):
    content = images("ext4-1k").read_bytes()
    with pytest.raises(OSError, match="ext4: superblock: 12288 blocks of 1024 bytes, the device has 8388608 bytes"):
        volume(content[: 8 * MIB])
    with pytest.raises(OSError):
        volume(content[:1536])


def test_unclean_journal_is_told(plain):
    patch = plain.set("I", 1024 + 96, plain.get("I", 1024 + 96) | 4)
    found = patch.volume()
    assert found.note.startswith("journal")
    assert found.note in repr(found)
    assert found.read("/small") == b"text"


def test_device_error_in_mid_file_goes_to_the_caller(images):
    bad = ManyDisk(images("ext4-1k"))
    found = fs.volume(bad)
    bad.fail_at = disk.ext_block_offset(images("ext4-1k"), "/boot/linux", 700)
    with pytest.raises(OSError, match="IOERR"):
        found.read("/boot/linux")
    bad.fail_at = None
    assert found.read("/boot/linux") == LINUX


# ---- fuzzing ----------------------------------------------------------------------------------


def walk(found, limit=80):
    """Look at everything; errors of single files and directories are what is expected."""
    todo, errors = ["/"], []
    while todo and limit:
        path = todo.pop()
        try:
            for name, kind, _, size in found.ilistdir(path):
                limit -= 1
                child = path.rstrip("/") + "/" + name
                if kind == 0x4000:
                    todo.append(child)
                    continue
                try:
                    found.lstat(child)
                    if kind in (0x8000, 0xA000):
                        found.read_into(child, bytearray(min(size or 4096, 40_000)))
                except OSError as error:
                    errors.append(error)
                if not limit:
                    break
        except OSError as error:
            errors.append(error)
    return errors


def metadata(path, names):
    """(first, last) byte offsets of what describes the files: superblock, descriptors, inodes, directories."""
    patch = Patch(path)
    spans = [(1024, 1024 + 0x180), (gdt_off(patch), gdt_off(patch) + 64)]
    for name in names:
        at = patch.inode(name)
        spans += [(at, at + 256)] * 3
        if name in ("/", "/many", "/boot", "/deep") and not patch.get("I", at + 32) & 0x10000000:
            spans.append((patch.data(name), patch.data(name) + patch.block))
    if "/holes" in names:  # the first leaf, or the two indirect blocks
        for off in (56, 88, 92):
            pointer = patch.get("I", patch.inode("/holes") + off) * patch.block
            if 2048 < pointer < len(patch.content):
                spans += [(pointer, pointer + 120)] * 2
    return spans


@pytest.mark.parametrize("variant", ["no-csum", "ext4-1k", "ext2-1k", "inline", "plain", "csum", "map"])
def test_random_damage_gives_documented_errors_only(images, fragments, variant):
    names = ["/", "/many", "/boot", "/deep", "/boot/linux", "/small", "/short", "/long", "/line"]
    if variant in fragments:
        path, names = fragments[variant], ["/", "/holes", "/small"]
    else:
        path = images(variant)
    spans = metadata(path, names)
    whole = path.read_bytes()
    bad = ManyDisk(whole)
    random_ = random.Random(f"{variant} {ROUNDS}")
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    for _ in range(ROUNDS):
        places = [random_.randrange(*random_.choice(spans)) for _ in range(random_.randint(1, 5))]
        for place in places:
            bad.content[place] = random_.randrange(256)
        bad.requests.clear()
        signal.alarm(20)
        try:
            errors = walk(fs.volume(bad))
        except OSError as error:
            errors = [error]
        finally:
            signal.alarm(0)
        for error in errors:
            assert str(error).find("ext4: ") >= 0 or "first 4096 bytes" in str(error), error
            assert error.errno in (2, 5, 20, 22, 36, 40, 95, 21), error
        assert len(bad.requests) < 20_000
        for place in places:
            bad.content[place] = whole[place]
