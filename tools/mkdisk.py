#!/usr/bin/env python3
"""Make disk images without root or loop devices: partition tables, ext2/3/4, FAT, an initramfs.

Run as a program it makes the demo disks: Debian's kernel and an initramfs made here, once in ext4
on GPT (disk/demo.img) and once in FAT32 on MBR (disk/demo-fat.img).
"""

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import uuid
import zlib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECTOR = 512
MIB = 1 << 20
EPOCH = 1757548800  # the time stamp of everything, so that the same input gives the same bytes

IDENTITY = "6d707973-0000-4000-8000-000000000001"  # UUID of an ext file system
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
EFI_SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

MARKER = "initramfs: user space is up"
INIT = f"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo "Linux $(uname -r) on $(uname -m), $(grep -c ^processor /proc/cpuinfo) CPUs"
echo "{MARKER}"
case " $(cat /proc/cmdline) " in
*" demo.poweroff "*)
    stty echo # returns when the console has sent everything; power-off would lose the rest
    poweroff -f
    ;;
esac
exec setsid cttyhack sh
"""
APPLETS = "sh mount uname grep cat poweroff reboot setsid stty cttyhack ls dmesg free ps head tail nproc"
EXTLINUX = """# Read by the firmware: one paragraph for each entry of the menu.
default linux
timeout 10
label linux
    menu label Debian's Linux, power off when it is up
    kernel /boot/linux
    initrd /boot/initramfs
    append console=ttyS0 demo.poweroff
label shell
    menu label Debian's Linux, shell
    kernel /boot/linux
    initrd /boot/initramfs
    append console=ttyS0
"""


class Link(NamedTuple):
    """A symbolic link in a tree of files."""

    target: str


class Part(NamedTuple):
    """A partition to be made. image: a file or bytes; size: bytes, at least the image's."""

    image: object = b""
    size: int = 0
    name: str = ""
    type: object = LINUX  # GPT: a UUID; MBR: a number
    uuid: str = ""
    bootable: bool = False

    @property
    def sectors(self):
        return -(-max(self.size, size_of(self.image), 1) // SECTOR)


def align(value, step):
    return -(-value // step) * step


# ---- partition tables -------------------------------------------------------------------------


def write_image(file, offset, image):
    """Copy bytes or a file to an offset, leaving holes where it is zero."""
    source = memoryview(image if isinstance(image, bytes) else Path(image).read_bytes())
    zero = bytes(64 * 1024)
    for start in range(0, len(source), len(zero)):
        chunk = source[start : start + len(zero)]
        if chunk != zero[: len(chunk)]:
            file.seek(offset + start)
            file.write(chunk)


def place(parts, first=MIB // SECTOR, step=MIB // SECTOR):
    """First sectors of partitions that lie one behind the other, and the sector behind the last."""
    starts = []
    for part in parts:
        starts.append(first)
        first = align(first + part.sectors, step)
    return starts, first


def gpt_header(current, other, entries_at, entries, last, disk):
    fields = (current, other, 34, last, disk.bytes_le, entries_at, 128, 128, zlib.crc32(entries))
    header = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, *fields)
    return header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]


def mbr_entry(start, count, kind, bootable=False):
    chs = b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", 0x80 * bootable, chs, kind, chs, start, count)


def mbr_sector(entries, signature=0):
    table = b"".join(entries).ljust(64, b"\0")
    return bytes(440) + struct.pack("<IH", signature, 0) + table + b"\x55\xaa"


def gpt(path, parts, size=0):
    """Write a disk with a GUID partition table (both copies) and a protective MBR."""
    starts, end = place(parts)
    sectors = max(end + 34, size // SECTOR)
    table = b""
    for number, (part, start) in enumerate(zip(parts, starts, strict=True), 1):
        own = uuid.UUID(part.uuid) if part.uuid else uuid.UUID(int=number)
        flags = 4 if part.bootable else 0
        table += uuid.UUID(part.type).bytes_le + own.bytes_le
        table += struct.pack("<QQQ72s", start, start + part.sectors - 1, flags, part.name.encode("utf-16-le"))
    table = table.ljust(128 * 128, b"\0")
    disk = uuid.UUID(int=0xD15C)
    with open(path, "wb") as file:
        file.truncate(sectors * SECTOR)
        file.write(mbr_sector([mbr_entry(1, min(sectors - 1, 0xFFFFFFFF), 0xEE)]))
        file.write(gpt_header(1, sectors - 1, 2, table, sectors - 34, disk).ljust(SECTOR, b"\0"))
        file.write(table)
        for part, start in zip(parts, starts, strict=True):
            write_image(file, start * SECTOR, part.image)
        file.seek((sectors - 33) * SECTOR)
        file.write(table)
        file.write(gpt_header(sectors - 1, 1, sectors - 33, table, sectors - 34, disk).ljust(SECTOR, b"\0"))
    return Path(path)


def mbr(path, parts, logical=(), size=0, signature=0x1234ABCD):
    """Write a disk with up to four primary partitions, or three and a chain of logical ones (numbers 5, 6...)."""
    kind = lambda part: part.type if isinstance(part.type, int) else 0x83
    starts, end = place(parts)
    entries = [mbr_entry(at, p.sectors, kind(p), p.bootable) for p, at in zip(parts, starts, strict=True)]
    step = MIB // SECTOR
    extended = end
    inner = []  # first sector of each logical partition; its own table lies one step before
    for part in logical:
        inner.append(end + step)
        end = align(end + step + part.sectors, step)
    if logical:
        entries.append(mbr_entry(extended, end - extended, 0x05))
    sectors = max(end, size // SECTOR)
    with open(path, "wb") as file:
        file.truncate(sectors * SECTOR)
        file.write(mbr_sector(entries, signature))
        for index, (part, start) in enumerate(zip(logical, inner, strict=True)):
            chain = [mbr_entry(step, part.sectors, kind(part), part.bootable)]
            if index + 1 < len(logical):
                following = inner[index + 1] - step
                chain.append(mbr_entry(following - extended, step + logical[index + 1].sectors, 0x05))
            file.seek((start - step) * SECTOR)
            file.write(mbr_sector(chain))
            write_image(file, start * SECTOR, part.image)
        for part, start in zip(parts, starts, strict=True):
            write_image(file, start * SECTOR, part.image)
    return Path(path)


# ---- file systems -----------------------------------------------------------------------------


def run(*words, **options):
    """Run a tool; its output is shown only if it fails."""
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **options)
    if result.returncode:
        raise RuntimeError(f"{words[0]} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def stage(files, folder):
    """Write a tree, name -> bytes, Path, Link or None (a folder), below a folder with fixed times."""
    for name, content in files.items():
        target = Path(folder) / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            target.mkdir(exist_ok=True)
        elif isinstance(content, Link):
            target.symlink_to(content.target)
        elif isinstance(content, bytes):
            target.write_bytes(content)
        else:
            # cp keeps holes, which become gaps between extents
            run("cp", "--sparse=always", content, target)
    for base, names, found in os.walk(folder, topdown=False):
        for name in [*names, *found, "."]:
            os.utime(Path(base) / name, (EPOCH, EPOCH), follow_symlinks=False)


def size_of(content):
    return os.path.getsize(content) if isinstance(content, Path) else len(content or b"")


def tree_size(files):
    return sum(size_of(content) for content in files.values() if not isinstance(content, Link))


def ext(path, files, kind="ext4", size=0, block=4096, label="", options=(), identity=IDENTITY):
    """Make an ext2, ext3 or ext4 file system; options are mkfs's own, such as ("-O", "^metadata_csum")."""
    size = size or align(tree_size(files) * 11 // 10 + 8 * MIB, MIB)
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, open(path, "wb") as file:
        file.truncate(size)
        stage(files, folder)
        words = ["mkfs.ext4", "-q", "-F", "-t", kind, "-b", block, "-L", label, "-U", identity]
        words += ["-E", f"hash_seed={identity},root_owner=0:0", *options, "-d", folder, path]
        run(*words, env={**os.environ, "E2FSPROGS_FAKE_TIME": str(EPOCH), "SOURCE_DATE_EPOCH": str(EPOCH)})
    return path


def fat(path, files, bits=32, size=0, label="DEMO", options=()):
    """Make a FAT12, FAT16 or FAT32 file system."""
    least = {12: MIB, 16: 16 * MIB, 32: 64 * MIB}[bits]
    size = max(size, align(tree_size(files) * 11 // 10, MIB), least)
    path = Path(path)
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC"}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        with open(path, "wb") as file:
            file.truncate(size)
        run("mkfs.fat", "--invariant", "-F", bits, "-i", "4d505953", "-n", label or "NO NAME", *options, path, env=env)
        stage(files, folder)
        top = sorted(Path(folder).iterdir())
        if top:
            run("mcopy", "-s", "-m", "-Q", "-i", path, *top, "::/", env=env)
    return path


def cpio(entries):
    """A newc archive of (name, mode, content, rdev) in the order given."""
    archive = b""
    for number, (name, mode, content, rdev) in enumerate([*entries, ("TRAILER!!!", 0, b"", (0, 0))], 1):
        raw = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, EPOCH if mode else 0, len(content), 0, 0, *rdev, len(raw), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return archive


def initramfs(busybox, init=INIT):
    """An initramfs of busybox and one script."""
    entries = [(name, 0o040755, b"", (0, 0)) for name in ("bin", "dev", "proc", "sys")]
    entries.append(("dev/console", 0o020600, b"", (5, 1)))
    entries.append(("bin/busybox", 0o100755, Path(busybox).read_bytes(), (0, 0)))
    entries += [(f"bin/{name}", 0o120777, b"busybox", (0, 0)) for name in APPLETS.split()]
    entries.append(("init", 0o100755, init.encode(), (0, 0)))
    return cpio(entries)


# ---- the demo disks ---------------------------------------------------------------------------


def demo(build):
    """Make both demo disks unless they are newer than what goes into them."""
    supply, folder = build / "supply", build / "disk"
    kernel, busybox = supply / "kernel" / "linux", supply / "busybox" / "busybox"
    disks = folder / "demo.img", folder / "demo-fat.img"
    newest = max(path.stat().st_mtime for path in (kernel, busybox, Path(__file__)))
    if all(disk.is_file() and disk.stat().st_mtime > newest for disk in disks):
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "initramfs").write_bytes(initramfs(busybox))
    files = {
        "/boot/linux": kernel,
        "/boot/initramfs": folder / "initramfs",
        "/extlinux/extlinux.conf": EXTLINUX.encode(),
    }
    with tempfile.TemporaryDirectory(dir=folder) as work:
        print(f"  disk     {disks[0]}", file=sys.stderr, flush=True)
        part = Part(ext(Path(work) / "ext4", files, label="demo"), name="demo", bootable=True)
        os.replace(gpt(Path(work) / "disk", [part]), disks[0])
        print(f"  disk     {disks[1]}", file=sys.stderr, flush=True)
        part = Part(fat(Path(work) / "fat", files), type=0x0C, bootable=True)
        os.replace(mbr(Path(work) / "disk", [part]), disks[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    args = parser.parse_args()
    for tool in ("mkfs.ext4", "mkfs.fat", "mcopy"):
        if not shutil.which(tool):
            sys.exit(f"mkdisk: {tool} is missing; `make packages` installs it")
    demo(args.build.resolve())


if __name__ == "__main__":
    main()
