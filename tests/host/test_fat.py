"""modules/fs/fat: images of mkfs.fat and mtools read whole; each damaged structure is named."""

import os
import random
import signal
import struct
from pathlib import Path

import disk
import pytest
from disk import MIB
from fshost import Disk, ManyDisk, fs

RANDOM = random.Random(2)
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "100"))
LINUX = RANDOM.randbytes(400_001)
FILES = {
    "/boot/linux": LINUX,
    "/small": b"text",
    "/empty": b"",
    "/UPPER.TXT": b"upper",
    "/lower.txt": b"lower",
    "/Mixed Case Long Name.with.dots": b"mixed",
    "/h\xe4\xdflich \u20ac.txt": b"more",
    "/deep/er/file.txt": b"deep down",
    "/deep/er/est/of all/the directories/x": b"x",
}
FILES.update({f"/many/file {n:03} of many": b"%d" % n * n for n in range(100)})

VARIANTS = {
    "12": (12, ("-s", "4")),
    "12-1": (12, ("-s", "8", "-f", "1")),
    "16": (16, ("-s", "2")),
    "16-64": (16, ("-s", "8", "-r", "64")),
    "32": (32, ("-s", "1")),
    "32-8": (32, ("-s", "8")),
    "32-2048": (32, ("-S", "2048", "-s", "1")),
}
SIZES = {"32-8": 270 * MIB, "32-2048": 140 * MIB}  # mtools takes one with fewer clusters for a FAT16


def volume(content, **options):
    return fs.volume(ManyDisk(content, **options))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("fat"), {}

    def image(name):
        if name not in made:
            bits, options = VARIANTS[name]
            made[name] = disk.fat(folder / name, FILES, bits=bits, options=options, size=SIZES.get(name, 8 * MIB))
        return made[name]

    return image


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_file_is_read(images, variant):
    found = volume(images(variant))
    assert found.bits == VARIANTS[variant][0]
    for name, data in FILES.items():
        assert (found.size(name), found.read(name) == data) == (len(data), True), name
        assert found.read(name.upper() if name.isascii() else name) == data
    assert sorted(found.listdir("/many")) == sorted(name[6:] for name in FILES if name.startswith("/many/"))
    names = found.listdir("/")
    assert {"UPPER.TXT", "lower.txt", "Mixed Case Long Name.with.dots", "h\xe4\xdflich \u20ac.txt"} <= set(names)
    assert "." not in found.listdir("/deep/er")
    assert (found.type, found.label, found.uuid) == ("fat", "DEMO", "4D50-5953")
    assert found.statvfs("/")[2] == found.clusters


def test_short_name_of_a_long_one_is_found_too(images):
    assert volume(images("16")).read("/MIXEDC~1.DOT") == b"mixed"


def test_free_clusters_are_counted(images):
    for variant in ("12", "16", "32"):
        text = disk.run("mdir", "-i", images(variant), "::/")
        free = int("".join(text.split("bytes free")[0].split()[-3:]).lstrip("s")) if "bytes free" in text else 0
        found = volume(images(variant)).statvfs("/")
        assert found[0] * found[3] == free


@pytest.mark.parametrize("variant", VARIANTS)
def test_read_into_keeps_to_offset_and_length(images, variant):
    found = volume(images(variant))
    for off, length in ((0, 1), (1, 511), (511, 2), (1023, 1025), (4096, 8192), (399_990, 11), (77, 100_000)):
        buf = bytearray(b"-" * (length + 8))
        assert found.read_into("/boot/linux", memoryview(buf)[4:-4], off) == length
        assert buf[4:-4] == LINUX[off : off + length]
        assert buf[:4] + buf[-4:] == b"-" * 8
    assert found.read_into("/boot/linux", bytearray(20), 400_000) == 1


def test_contiguous_file_is_one_large_request_into_the_buffer(images):
    bare = Disk(images("32"))
    found = fs.volume(bare)
    assert found.size("/boot/linux") == len(LINUX)
    bare.requests.clear()
    buf = bytearray(len(LINUX))
    found.read_into("/boot/linux", buf)
    assert buf == LINUX
    large = [size for _, size in bare.requests if size > 65536]
    assert large == [len(LINUX) // 512 * 512]
    assert len(bare.requests) <= 5


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_fragmented_file(tmp_path, bits):
    data = {name: RANDOM.randbytes(60_000) for name in ("a", "b")}
    path = disk.fat(tmp_path / "t", {}, bits=bits, options=("-s", "1"))
    keep = []
    for n in range(30):  # holes between small files are what the large ones get
        disk.run("sh", "-c", f"head -c 3000 /dev/zero | mcopy -i {path} - ::/f{n}")
        keep.append(n)
    for n in range(0, 30, 2):
        disk.run("mdel", "-i", path, f"::/f{n}")
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
        disk.run("mcopy", "-i", path, tmp_path / name, "::/" + name)
    found = volume(path)
    for name, content in data.items():
        assert found.read("/" + name) == content
    with found.open("/a", "rb") as file:
        for off in (59_000, 10, 30_000, 30_001, 0):
            file.seek(off)
            assert file.read(777) == data["a"][off : off + 777]


def test_file_over_many_windows_of_the_table(tmp_path):
    big = RANDOM.randbytes(1 << 20) * 24 + b"tail"
    path = disk.fat(tmp_path / "t", {"/big": big}, bits=32, options=("-s", "1"))
    bare = Disk(path)
    found = fs.volume(bare)
    buf = bytearray(len(big))
    found.read_into("/big", buf)
    assert buf == big
    assert len([size for _, size in bare.requests if size > 65536]) == 1


def test_times_are_those_of_the_directory_entry(images):
    assert volume(images("16")).stat("/small")[8] == 1757548800
    assert volume(images("16")).stat("/") == (0x4000, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("path", "number", "reason"),
    [
        ("/nothing", 2, "no such file or directory"),
        ("/deep", 21, "is a directory"),
        ("/small/x", 20, "goes through something that is no directory"),
        ("/small/", 20, "is not a directory"),
    ],
)
def test_paths_that_lead_nowhere(images, path, number, reason):
    with pytest.raises(OSError, match=f"fat: {path}: {reason}") as error:
        volume(images("16")).size(path)
    assert error.value.errno == number


def test_disk_with_4096_byte_blocks(tmp_path):
    path = disk.fat(tmp_path / "t", FILES, bits=32, options=("-S", "4096", "-s", "1"), size=300 * MIB)
    found = volume(path, block_size=4096)
    assert found.read("/boot/linux") == LINUX


# ---- damaged ----------------------------------------------------------------------------------


class Patch:
    """An image in memory whose fields can be set by what they are."""

    def __init__(self, path):
        self.content = bytearray(Path(path).read_bytes())

    def set(self, form, off, value):
        struct.pack_into("<" + form, self.content, off, value)
        return self

    def get(self, form, off):
        return struct.unpack_from("<" + form, self.content, off)[0]

    def volume(self):
        return volume(self.content)

    def entry(self, short):
        """Byte offset of the directory entry with that 11-byte name."""
        return self.content.index(short)

    def link(self, cluster, value):
        """Set what a cluster points to in a FAT16 or FAT32."""
        width = 4 if self.get("H", 22) == 0 else 2
        return self.set("I" if width == 4 else "H", self.get("H", 14) * 512 + width * cluster, value)


BOOT = [
    (11, "H", 0, "boot sector: 0 bytes per sector", 5),
    (13, "B", 0, "boot sector: 0 sectors per cluster", 5),
    (13, "B", 3, "boot sector: 3 sectors per cluster", 5),
    (14, "H", 0, "boot sector: 0 reserved", 5),
    (16, "B", 0, "boot sector: .*, 0 tables", 5),
    (510, "H", 0, "boot sector: bad signature", 5),
    (19, "H", 1, r"boot sector: data begins at sector \d+ of 1", 5),
    (22, "H", 1, r"boot sector: a table of 1 sectors for \d+ clusters", 5),
    (22, "H", 60000, "boot sector: data begins at sector", 5),
    (3, "8s", b"EXFAT   ", "boot sector: EXFAT", 95),
    (3, "8s", b"NTFS    ", "boot sector: NTFS", 95),
]


@pytest.mark.parametrize(("off", "form", "value", "reason", "number"), BOOT)
def test_damaged_boot_sector_is_named(images, off, form, value, reason, number):
    from fs.fat import Fat

    patch = Patch(images("16")).set(form, off, value)
    with pytest.raises(OSError, match="fat: " + reason) as error:
        Fat(Disk(patch.content))
    assert error.value.errno == number
    with pytest.raises(OSError):
        patch.volume()


def test_disk_shorter_than_the_volume_is_refused(images):
    with pytest.raises(OSError, match=r"fat: boot sector: \d+ sectors of 512 bytes, the device has 4194304 bytes"):
        volume(images("16").read_bytes()[: 4 * MIB])


@pytest.mark.parametrize(("variant", "last"), [("16", 0xFFFF), ("32", 0x0FFFFFFF)])
def test_damaged_cluster_chains_are_named(images, variant, last):
    patch = Patch(images(variant))
    first = patch.get("H", patch.entry(b"LINUX      ") + 26)
    size = patch.get("B", 13) * 512
    count = (len(LINUX) + size - 1) // size
    for at, value, reason in (
        (first + 5, last, f"ends after 6 of {count} clusters"),
        (first + 5, 0, f"cluster 0 after 6 of {count}"),
        (first + 5, 1, f"cluster 1 after 6 of {count}"),
        (first + 5, last - 8, f"cluster {last - 8} after 6 of {count}"),
        (first + 5, first, f"comes back to cluster {first}"),
        (first + 5, first + 5, f"comes back to cluster {first + 5}"),
        (first + 100, first + 50, "comes back to cluster"),
    ):
        before = bytes(patch.content[: MIB * 2])
        with pytest.raises(OSError, match=f"fat: linux: cluster chain from {first}: {reason}") as error:
            patch.link(at, value).volume().read("/boot/linux")
        assert error.value.errno == 5
        patch.content[: MIB * 2] = before


def test_file_that_begins_outside_or_is_too_large_is_named(images):
    patch = Patch(images("16"))
    at = patch.entry(b"LINUX      ")
    with pytest.raises(OSError, match="fat: linux: cluster chain from 65000: cluster 65000 after 0"):
        Patch(images("16")).set("H", at + 26, 65000).volume().read("/boot/linux")
    with pytest.raises(OSError, match=r"fat: linux: 4294967295 bytes in \d+ clusters"):
        Patch(images("16")).set("I", at + 28, 0xFFFFFFFF).volume().read_into("/boot/linux", bytearray(10))


def test_directory_whose_chain_loops_is_named(images):
    patch = Patch(images("32"))
    first = patch.get("H", patch.entry(b"MANY       ") + 26)
    patch.link(first, first)
    with pytest.raises(OSError, match="fat: many: cluster chain from .*: comes back to cluster"):
        patch.volume().listdir("/many")


def test_directory_loop_is_named(images):
    patch = Patch(images("16"))
    deep = patch.get("H", patch.entry(b"DEEP       ") + 26)
    patch.set("H", patch.entry(b"ER         ") + 26, deep)
    with pytest.raises(OSError, match="fat: directory 'er': loop: it is the directory itself or one above it"):
        patch.volume().listdir("/deep/er/er")


def test_long_name_with_a_wrong_checksum_falls_back_to_the_short_one(images):
    patch = Patch(images("16"))
    at = patch.entry(b"MIXEDC~1DOT")
    patch.content[at - 32 + 13] ^= 1
    names = patch.volume().listdir("/")
    assert "MIXEDC~1.DOT" in names and "Mixed Case Long Name.with.dots" not in names


def test_device_error_in_mid_file_goes_to_the_caller(images):
    bad = ManyDisk(images("32"))
    found = fs.volume(bad)
    bad.fail_at = bytes(bad.content).index(LINUX[:64]) + 200_000
    with pytest.raises(OSError, match="IOERR"):
        found.read("/boot/linux")
    bad.fail_at = None
    assert found.read("/boot/linux") == LINUX


@pytest.mark.parametrize("variant", ["12", "16", "32"])
def test_random_damage_gives_documented_errors_only(images, variant):
    whole = images(variant).read_bytes()
    bad = ManyDisk(whole)
    table = struct.unpack_from("<H", whole, 14)[0] * 512
    spans = [(11, 90), (11, 36), (table, table + 64), (table, table + 2000)]
    for name in (b"LINUX      ", b"DEEP       ", b"ER         ", b"MANY       ", b"MIXEDC~1DOT"):
        at = whole.index(name)
        spans += [(at, at + 32), (at - 64, at + 64)]
    random_ = random.Random(f"{variant} {ROUNDS}")
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    for _ in range(ROUNDS):
        places = [random_.randrange(*random_.choice(spans)) for _ in range(random_.randint(1, 5))]
        for place in places:
            bad.content[place] = random_.randrange(256)
        bad.requests.clear()
        errors = []
        signal.alarm(20)
        try:
            found = fs.volume(bad)
            repr(found)
            todo, limit = ["/"], 150
            while todo and limit > 0:
                path = todo.pop()
                try:
                    for name, kind, _, size in found.ilistdir(path):
                        limit -= 1
                        child = path.rstrip("/") + "/" + name
                        if kind == 0x4000:
                            todo.append(child)
                        elif limit % 8 == 0 or len(name) < 6:
                            found.read_into(child, bytearray(min(size, 1_000_000)))
                        if limit <= 0:
                            break
                except OSError as error:
                    errors.append(error)
        except OSError as error:
            errors.append(error)
        finally:
            signal.alarm(0)
        for error in errors:
            assert str(error).find("fat: ") >= 0 or "first 4096 bytes" in str(error), error
            assert error.errno in (2, 5, 19, 20, 21, 95), error
        assert len(bad.requests) < 20_000
        for place in places:
            bad.content[place] = whole[place]
