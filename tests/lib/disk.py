"""Disk images for the tests: whole disks of every kind, and ways to damage them.

Everything that a sound disk needs comes from tools/mkdisk.py; this file adds what only a test wants.
Damage a file system before it goes into a partition table: offsets count from the image's start.
"""

import gzip
import re
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from mkdisk import (  # noqa: E402, F401
    EFI_SYSTEM,
    EXTLINUX,
    LINUX,
    MIB,
    SECTOR,
    Link,
    Part,
    ext,
    fat,
    gpt,
    initramfs,
    mbr,
    run,
)

FAT_TYPES = {12: 0x01, 16: 0x0E, 32: 0x0C}


def empty(path, size=MIB):
    """A disk of zeros."""
    with open(path, "wb") as file:
        file.truncate(size)
    return Path(path)


def filesystem(path, files, kind="ext4", **options):
    """Make a file system by name: ext2, ext3, ext4, fat12, fat16, fat32."""
    if kind.startswith("fat"):
        return fat(path, files, bits=int(kind[3:]), **options)
    return ext(path, files, kind=kind, **options)


def whole(path, files, kind="ext4", scheme="gpt", **options):
    """A disk with one bootable partition that holds a tree of files; scheme is gpt, mbr or none."""
    path = Path(path)
    image = filesystem(path.with_suffix(".part") if scheme != "none" else path, files, kind, **options)
    if scheme == "none":
        return path
    if scheme == "gpt":
        gpt(path, [Part(image, name="demo", bootable=True)])
    else:
        mbr(path, [Part(image, type=FAT_TYPES.get(int(kind[3:]), 0x83) if "fat" in kind else 0x83, bootable=True)])
    image.unlink()
    return path


def tree(kernel=b"", initrd=b"", conf=EXTLINUX, **more):
    """The files of a boot disk; None leaves one out. Further names are added below /."""
    files = {"/boot/linux": kernel, "/boot/initramfs": initrd}
    files["/extlinux/extlinux.conf"] = conf.encode() if conf is not None else None
    files.update({"/" + name: content for name, content in more.items()})
    return {name: content for name, content in files.items() if content is not None}


def riscv_image(size=4096, text_offset=0x200000, image_size=None, flags=0, magic=b"RSC\x05", code=b""):
    """A RISC-V Linux Image header with code behind it: by default `wfi; j .-4`."""
    body = code or struct.pack("<II", 0x10500073, 0xFFDFF06F)
    image_size = size if image_size is None else image_size
    header = struct.pack("<IIQQQIIQ", 0x0400006F, 0, text_offset, image_size, flags, 2, 0, 0)
    header += struct.pack("<8s4sI", b"RISCV", magic, 0)
    return (header + body).ljust(size, b"\0")


def gzipped(data):
    """The same gzip bytes for the same input."""
    return gzip.compress(data, mtime=0)


# ---- damage -----------------------------------------------------------------------------------


def overwrite(path, offset, data):
    """Replace bytes at an offset; a negative one counts from the end."""
    with open(path, "r+b") as file:
        file.seek(offset, 2 if offset < 0 else 0)
        file.write(data)
    return path


def invert(path, offset, count=1):
    """Flip every bit of a range."""
    with open(path, "r+b") as file:
        file.seek(offset, 2 if offset < 0 else 0)
        at = file.tell()
        data = file.read(count)
        file.seek(at)
        file.write(bytes(byte ^ 0xFF for byte in data))
    return path


def truncate(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)
    return path


def damage_gpt(path, primary=True, backup=False, entries=False):
    """Break a header's checksum, or the entries' when asked, of either copy."""
    if primary:
        invert(path, 2 * SECTOR + 40 if entries else SECTOR + 72)
    if backup:
        invert(path, -33 * SECTOR + 40 if entries else -SECTOR + 72)
    return path


def ext_block_size(path):
    with open(path, "rb") as file:
        file.seek(1024)
        block = file.read(1024)
    return 1024 << struct.unpack_from("<I", block, 24)[0]


def ext_inode_offset(path, name):
    """Where in the image the inode of a file lies."""
    found = re.search(r"block (\d+), offset 0x([0-9a-fA-F]+)", run("debugfs", "-R", f"imap {name}", path))
    return int(found[1]) * ext_block_size(path) + int(found[2], 16)


def ext_block_offset(path, name, index=0):
    """Where in the image a data block of a file lies."""
    number = run("debugfs", "-R", f"bmap {name} {index}", path).split()[-1]
    return int(number) * ext_block_size(path)


def damage_ext(path, what, name="/boot/linux"):
    """Break one thing: superblock, descriptor, extents (of a file) or directory (a loop at `name`)."""
    if what == "superblock":
        invert(path, 1024 + 56, 2)  # the magic number
    elif what == "descriptor":
        # bitmaps and inode table of the first group far outside the disk
        overwrite(path, max(2048, ext_block_size(path)), b"\xff" * 12)
    elif what == "extents":
        invert(path, ext_inode_offset(path, name) + 40, 2)  # magic number of the extent header
    elif what == "directory":
        ext_directory_loop(path, name)
    else:
        raise ValueError(what)
    return path


def ext_directory_loop(path, name):
    """Make the directory's first entry behind `.` and `..` point to the directory itself."""
    inode = int(re.search(r"Inode: (\d+)", run("debugfs", "-R", f"stat {name}", path))[1])
    overwrite(path, ext_block_offset(path, name) + 24, struct.pack("<I", inode))


def holes(path, pieces=64, piece=4096, gap=4096):
    """A sparse file of many pieces, so that its extents or block map need a tree of their own."""
    with open(path, "wb") as file:
        for index in range(pieces):
            file.seek(index * (piece + gap))
            file.write(bytes([index % 255 + 1]) * piece)
    return Path(path)


def blkdebug(path, sector, folder, event="read_aio", errno=5, once=False):
    """A disk for qemu.command() that answers reads of one sector of an image with an error."""
    config = Path(folder) / f"{Path(path).name}.blkdebug"
    once = "on" if once else "off"
    config.write_text(f'[inject-error]\nevent = "{event}"\nsector = "{sector}"\nerrno = "{errno}"\nonce = "{once}"\n')
    return f"blkdebug:{config}:{path}"
