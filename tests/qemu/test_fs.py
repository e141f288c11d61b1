"""modules/fs on the target: every file system through virtio-blk, and U-Boot's words on them."""

import hashlib
import random
import subprocess
import sys

import disk
import mkdisk
import pytest
from disk import MIB, Link, Part
from session import RemoteError

RANDOM = random.Random(3)
FILES = {
    "/boot/linux": RANDOM.randbytes(3_000_001),
    "/small": b"text",
    "/empty": b"",
    "/lines.txt": "first\nzw\xf6lf\nlast".encode(),
    "/module.py": b"value = 42\n" + b"# padding\n" * 100,
    "/deep/er/Long File Name.txt": b"deep down",
}
LINKS = {"/link": Link("deep/er/Long File Name.txt"), "/loop": Link("loop")}
KINDS = ("ext4", "ext2", "ext3", "fat12", "fat16", "fat32")
RIGHT = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A GPT disk with one partition of each kind, an empty one for littlefs and one with a romfs."""
    folder = tmp_path_factory.mktemp("fs")
    parts = []
    for kind in KINDS:
        size = {"fat12": 8 * MIB, "ext4": 140 * MIB}.get(kind, 0)
        files = {**FILES, **LINKS} if kind.startswith("ext") else FILES
        options = {"block": 1024} if kind == "ext2" else {"options": ("-s", "8")} if kind == "fat12" else {}
        made = disk.filesystem(folder / kind, files, kind, label=kind, size=size, **options)
        parts.append(Part(made, name=kind, bootable=kind == "ext4"))
    parts.append(Part(size=2 * MIB, name="littlefs"))
    rom = folder / "rom"
    mkdisk.stage({"/a.txt": b"in rom", "/deep/er/b": b"x" * 5000}, rom)
    words = [sys.executable, "-m", "mpremote", "romfs", "--no-mpy", "-o", folder / "rom.img", "build", rom]
    subprocess.run(words, check=True, capture_output=True)
    parts.append(Part((folder / "rom.img").read_bytes(), name="romfs"))
    return disk.gpt(folder / "disk", parts)


@pytest.fixture(scope="module", params=[False, True], ids=["modern", "legacy"])
def machine(request, image):
    return {"disks": [{"file": image, "snapshot": "on"}], "legacy": request.param, "mem": "256M"}


PRELUDE = """
import fs, os, vfs, virtio, hashlib, binascii
d = virtio.open('blk0')
table = fs.table(d)
def sha(data):
    return binascii.hexlify(hashlib.sha256(data).digest()).decode()
"""


@pytest.fixture
def target(guest):
    guest.exec(PRELUDE)
    return guest


def test_partitions_are_found(target):
    assert target.eval("table.scheme") == "gpt"
    assert target.eval("[p.label for p in table]") == [*KINDS, "littlefs", "romfs"]
    assert target.eval("fs.find(d, label='fat16').number") == 5
    probed = target.eval("[fs.probe(p) for p in table]")
    assert probed == ["ext4"] * 3 + ["fat"] * 3 + [None, "romfs"]


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_read_straight_into_a_buffer(target, kind):
    target.exec(f"v = fs.volume(table.find(label='{kind}'))")
    assert target.eval("v.label").lower() == kind
    for name, data in FILES.items():
        target.exec(f"b = bytearray({len(data)}); n = v.read_into({name!r}, b)")
        assert target.eval("(n, sha(b))") == (len(data), RIGHT[name]), name
    target.exec("b = bytearray(100_003); n = v.read_into('/boot/linux', b, 1_000_001)")
    assert target.eval("sha(b)") == hashlib.sha256(FILES["/boot/linux"][1_000_001:1_100_004]).hexdigest()


def test_file_is_read_to_physical_memory(target):
    target.exec("import uctypes; b = uctypes.bytearray_at(0x84000000, 3_000_001)")
    for kind in ("ext4", "ext2", "fat32"):
        target.exec(f"b[:] = bytes(3_000_001); n = fs.volume(fs.find(d, label='{kind}')).read_into('/boot/linux', b)")
        assert target.eval("(n, sha(b))") == (3_000_001, RIGHT["/boot/linux"])


@pytest.mark.parametrize("reader", ["mount", "readonly"])
@pytest.mark.parametrize("kind", KINDS)
def test_mounted_files_open_list_and_stat(target, kind, reader):
    if reader == "mount":
        target.exec(f"m = fs.mount(table.find(label='{kind}'), '/x')")
        assert target.eval("type(m).__name__") == ("Ext4" if kind.startswith("ext") else "VfsFat")
    else:
        target.exec(f"m = fs.mount(table.find(label='{kind}'), '/x', readonly=True)")
        assert target.eval("type(m).__name__") == ("Ext4" if kind.startswith("ext") else "Fat")
    names = {name.split("/")[1] for name in FILES} | (
        {"link", "loop", "lost+found"} if kind.startswith("ext") else set()
    )
    assert set(target.eval("os.listdir('/x')")) == names
    assert target.eval("os.listdir('/x/deep/er')") == ["Long File Name.txt"]
    for name, data in FILES.items():
        assert target.eval(f"os.stat('/x{name}')[6]") == len(data)
    assert target.eval("os.stat('/x/boot')[0] & 0xf000") == 0x4000
    assert target.eval("os.statvfs('/x')[2]") > 0
    assert target.eval("open('/x/lines.txt').readlines()") == ["first\n", "zw\xf6lf\n", "last"]
    assert target.eval("sha(open('/x/small', 'rb').read())") == RIGHT["/small"]
    if reader == "readonly":
        target.exec(
            "h = hashlib.sha256()\nwith open('/x/boot/linux', 'rb') as f:\n"
            " b = bytearray(100_000)\n while True:\n  n = f.readinto(b)\n  if not n: break\n"
            "  h.update(memoryview(b)[:n])"
        )
        assert target.eval("binascii.hexlify(h.digest()).decode()") == RIGHT["/boot/linux"]
    target.exec("os.chdir('/x/deep')")
    assert target.eval("(os.getcwd(), os.listdir(), os.stat('er')[0] & 0xf000)") == ("/x/deep", ["er"], 0x4000)
    target.exec("os.chdir('/'); vfs.umount('/x')")


def test_module_is_imported_from_ext4(target):
    target.exec("fs.mount(table[1], '/x'); import sys; sys.path.append('/x'); import module")
    assert target.eval("module.value") == 42
    with pytest.raises(RemoteError, match="read-only"):
        target.exec("open('/x/new', 'w')")
    assert target.eval("open('/x/link').read()") == "deep down"
    with pytest.raises(RemoteError, match="too many symbolic links"):
        target.exec("open('/x/loop')")


def test_fat_is_mounted_for_writing(target):
    target.exec("fs.mount(fs.find(d, label='fat16'), '/x'); f = open('/x/new', 'w'); f.write('new'); f.close()")
    target.exec("vfs.umount('/x'); v = fs.volume(fs.find(d, label='fat16'))")
    assert target.eval("v.read('/new')") == b"new"


def test_littlefs_of_any_block_size_is_mounted(target):
    for size in (512, 4096):
        target.exec(
            "from fs import _Littlefs\np = fs.find(d, label='littlefs')\n"
            f"q = _Littlefs(p, {size}) if {size} != 512 else p\nvfs.VfsLfs2.mkfs(q)\n"
            "fs.mount(p, '/x')\nf = open('/x/a', 'w'); f.write('little' * 1000); f.close(); vfs.umount('/x')\n"
            "m = fs.mount(p, '/x'); text = open('/x/a').read(); vfs.umount('/x')"
        )
        assert target.eval("text == 'little' * 1000")
        assert target.eval("type(m).__name__") == "VfsLfs2"
        assert target.eval("fs.probe(p)") == "littlefs"


def test_romfs_is_mounted(target):
    target.exec("fs.mount(fs.find(d, label='romfs'), '/x')")
    assert target.eval("(open('/x/a.txt').read(), len(open('/x/deep/er/b').read()))") == ("in rom", 5000)


def test_words_of_uboot(target):
    target.exec("from fs.cmd import ls, load, size, fstype, fsinfo")
    assert target.exec("ls('virtio 0', '/deep/er')").replace("\r", "") == (
        "<DIR>       4096 .\n<DIR>       4096 ..\n               9 Long File Name.txt\n"
    )
    assert target.exec("ls('virtio', '0:6')").replace("\r", "") == (
        "            boot/\n            deep/\n        0   empty\n       17   lines.txt\n     1011   module.py\n"
        "        4   small\n\n4 file(s), 2 dir(s)\n\n"
    )
    assert target.exec("ls('virtio 0:6', '/deep/er/')").replace("\r", "") == (
        "            ./\n            ../\n        9   Long File Name.txt\n\n1 file(s), 2 dir(s)\n\n"
    )
    text = target.exec("n = load('virtio 0:1', 0x84000000, '/boot/linux')")
    assert text.startswith("3000001 bytes read in ")
    assert target.eval("n") == 3_000_001
    assert target.eval("(size('virtio 0:4', '/small'), fstype('virtio 0:2'), fstype('virtio 0#fat32'))") == (
        4,
        "ext4",
        "fat",
    )
    assert 'Filesystem: ext4 "ext4"' in target.exec("fsinfo('virtio 0')")
    for words, error in (
        ("ls('virtio 7')", "virtio device 7 not available"),
        ("ls('virtio 0:c')", "partition number 12 not found; there are: 1, 2, 3, 4, 5, 6, 7, 8"),
        ("ls('virtio 0:7')", "first 4096 bytes: |littlefs: no reader"),
        ("ls('virtio 0:1', '/none')", "ext4: /none: no such file or directory"),
        ("load('virtio 0:1', 0x80000000, '/small')", "is in use: firmware"),
        ("load('virtio 0:1', 0x1000, '/small')", "is not in RAM"),
    ):
        with pytest.raises(RemoteError, match=error):
            target.exec(words)


def test_virtio_command_of_uboot(target, image):
    text = target.exec("virtio.scan(); virtio.info(); virtio.device(0); virtio.part(0)").replace("\r", "")
    sectors = image.stat().st_size // 512
    assert "Device 0: QEMU VirtIO Block Device\n            Type: Hard Disk\n            Capacity: " in text
    assert f"({sectors} x 512)\n... is now current device\n" in text
    assert "Partition Map for VirtIO device 0  --   Partition Type: EFI" in text
    assert '  1\t0x00000800\t0x000467ff\t"ext4"\n\tattrs:\t0x0000000000000004\n\ttype:\t0fc63daf-' in text
    target.exec("b = bytearray(1024)")
    assert "virtio read: device 0 block # 1, count 2 ... 2 blocks read: OK" in target.exec("virtio.read(b, 1, 2)")
    assert target.eval("bytes(b[:8])") == b"EFI PART"
    assert "2 blocks written: OK" in target.exec("virtio.write(b, 1, 2)")
    with pytest.raises(RemoteError) as error:
        target.exec("virtio.read(b, 1 << 40, 2)")
    assert "0 blocks read: ERROR" in error.value.stdout


def test_virtio_command_and_loader_without_any_disk(new_guest):
    guest = new_guest()
    guest.wait_prompt()
    text = guest.exec("import loader, virtio\nvirtio.info(); virtio.device(); virtio.part(); virtio.device(0)")
    assert text == (
        "\nno virtio devices available\n\nno virtio partition table available\n\nDevice 0: unknown device\n"
    )
    with pytest.raises(RemoteError, match="ENODEV: kernel /boot/linux: nothing is mounted there"):
        guest.exec("loader.linux('/boot/linux')")


def test_damaged_ext4_is_told_and_the_prompt_stays(new_guest, tmp_path):
    whole = disk.ext(tmp_path / "whole", FILES, block=1024)
    disks = []
    for what, place in (("superblock", "/"), ("descriptor", "/"), ("extents", "/boot/linux"), ("directory", "/boot")):
        path = tmp_path / what
        path.write_bytes(whole.read_bytes())
        disks.append(disk.damage_ext(path, what, place))
    guest = new_guest(disks=disks)
    guest.wait_prompt()
    for number, text in enumerate(
        (
            "superblock: bad magic",
            "group descriptor 0: bad checksum",
            "inode .*: bad checksum",
            "directory inode .* block 0: bad checksum",
        )
    ):
        with pytest.raises(RemoteError, match="ext4: " + text):
            guest.exec(f"import fs, virtio; fs.volume(virtio.open('blk{number}')).read('/boot/linux')")
    assert guest.eval("1 + 1") == 2


@pytest.mark.parametrize("kind", ["ext2", "ext4", "fat32"])
def test_disk_with_4096_byte_blocks(new_guest, tmp_path, kind):
    options = {"options": ("-S", "4096", "-s", "1"), "size": 272 * MIB} if kind == "fat32" else {"block": 1024}
    path = disk.filesystem(tmp_path / "disk", FILES, kind, **options)
    properties = "logical_block_size=4096,physical_block_size=4096"
    guest = new_guest(disks=[{"file": path, "properties": properties}])
    guest.wait_prompt()
    guest.exec(PRELUDE + "v = fs.volume(d)")
    assert guest.eval("(d.ioctl(5, 0), fs.table(d).scheme)") == (4096, "none")
    for name in ("/boot/linux", "/small"):
        assert guest.eval(f"sha(v.read({name!r}))") == RIGHT[name]


def test_read_error_in_mid_file_is_told_and_other_files_are_still_read(new_guest, tmp_path):
    path = disk.ext(tmp_path / "disk", FILES)
    sector = disk.ext_block_offset(path, "/boot/linux", 300) // 512
    guest = new_guest(disks=[{"file": disk.blkdebug(path, sector, tmp_path)}])
    guest.wait_prompt()
    guest.exec(PRELUDE + "v = fs.volume(d)")
    with pytest.raises(RemoteError, match="EIO.*blk0: read sector.*IOERR"):
        guest.exec("v.read('/boot/linux')")
    assert guest.eval("sha(v.read('/lines.txt'))") == RIGHT["/lines.txt"]
    assert guest.eval("len(v.listdir('/'))") == 7
