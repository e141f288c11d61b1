"""What the bench feeds its contenders: disks, a kernel that only says it was entered, the bare program."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

from mkdisk import MIB, Part, ext, fat, gpt

HERE = Path(__file__).resolve().parent
CC = os.environ.get("CROSS_COMPILE", "riscv64-unknown-elf-") + "gcc"
OBJCOPY = CC.removesuffix("gcc") + "objcopy"
FLAGS = [
    "-march=rv64gc_zba_zbb",
    "-mabi=lp64d",
    "-mcmodel=medany",
    "-O2",
    "-Wall",
    "-Wextra",
    "-ffreestanding",
    "-nostdlib",
]
FILE_SIZE = 64 * MIB
APPEND = "earlycon console=ttyS0"
EXTLINUX = f"default linux\nlabel linux\n    kernel /boot/linux\n    append {APPEND}\n"
CLUSTER = 4096
# name -> (bytes of data, clusters side by side): files whose pieces a reader cannot join
PIECES = {"1m": (64 * MIB, 256), "64k": (64 * MIB, 16), "4k": (16 * MIB, 1)}


def _run(*words):
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


def bare_program(folder, source=HERE / "bare.c", *flags):
    """An M-mode program: that of bare.c, or of another file with a bare_main."""
    out = folder / source.with_suffix(".elf").name
    link = ["-Wl,--no-warn-rwx-segments", "-T", HERE / "bare.ld"]
    _run(CC, *FLAGS, *flags, "-DBARE", *link, "-o", out, HERE / "bare.S", source)
    return out


def entry_kernel(folder, kernel):
    """An Image as long as the real kernel that prints as soon as it is entered."""
    head = kernel.read_bytes()[:64]
    size, image_size = kernel.stat().st_size, struct.unpack_from("<Q", head, 16)[0]
    elf, out = folder / "entry.elf", folder / "entry.img"
    _run(CC, *FLAGS, f"-DIMAGE_SIZE={image_size}", "-Wl,-Ttext=0", "-o", elf, HERE / "bare.S")
    _run(OBJCOPY, "-O", "binary", elf, out)
    code = out.read_bytes()
    out.write_bytes(code + os.urandom(size - len(code)))
    return out


def boot_disk(path, kernel):
    """GPT, one bootable ext4 partition, extlinux.conf without a countdown."""
    part = path.with_suffix(".part")
    files = {"/boot/linux": kernel.read_bytes(), "/extlinux/extlinux.conf": EXTLINUX.encode()}
    ext(part, files)
    gpt(path, [Part(part, name="boot", bootable=True)])
    part.unlink()
    return path


def file_disk(path, kind, data):
    """GPT, one partition, one file of 64 MiB."""
    part = path.with_suffix(".part")
    (ext if kind == "ext4" else fat)(part, {"/file": data}, size=len(data) + 32 * MIB)
    gpt(path, [Part(part, name="files")])
    part.unlink()
    return path


def scattered_disk(path):
    """A FAT16 disk with one file for each entry of PIECES, each piece apart from the next.

    U-Boot's prompt cannot repeat small reads without printing a line for each, but it reads such a file piece by
    piece; so this is how its rate for small requests is measured.
    """
    total = sum((size // CLUSTER // run) * (run + 1) for size, run in PIECES.values()) + 16
    with open(path, "wb") as file:
        file.truncate((total * CLUSTER // MIB + 2) * MIB)
    _run("mkfs.fat", "-F", "16", "-s", CLUSTER // 512, "-S", "512", path)
    with open(path, "r+b") as file:
        boot = file.read(512)
        reserved, copies, root_entries = struct.unpack_from("<HBH", boot, 14)
        sectors_per_fat = struct.unpack_from("<H", boot, 22)[0]
        fat_at = reserved * 512
        root_at = fat_at + copies * sectors_per_fat * 512
        table = {0: 0xFFF8, 1: 0xFFFF}
        cluster, directory = 2, b""
        for name, (size, run) in PIECES.items():
            chain = []
            for _ in range(size // CLUSTER // run):
                chain += range(cluster, cluster + run)
                cluster += run + 1
            table.update(zip(chain, [*chain[1:], 0xFFFF], strict=True))
            name = name.upper().ljust(11).encode()
            directory += struct.pack("<11sB14xHI", name, 0x20, chain[0], size)
        words = struct.pack(f"<{cluster}H", *(table.get(i, 0) for i in range(cluster)))
        for copy in range(copies):
            file.seek(fat_at + copy * sectors_per_fat * 512)
            file.write(words)
        file.seek(root_at)
        file.write(directory)
        first_data = root_at + root_entries * 32
        file.seek(first_data)
        for _ in range(cluster * CLUSTER // MIB + 1):
            file.write(os.urandom(MIB))
    return path


class Inputs:
    """All of it, below build/bench."""

    def __init__(self, build):
        folder = build / "bench"
        folder.mkdir(parents=True, exist_ok=True)
        self.firmware = Path(os.environ.get("FIRMWARE") or build / "firmware.elf")
        self.linux = build / "supply" / "kernel" / "linux"
        self.bare = bare_program(folder)
        self.entry = entry_kernel(folder, self.linux)
        self.entry_disk = boot_disk(folder / "entry-disk.img", self.entry)
        self.linux_disk = boot_disk(folder / "linux-disk.img", self.linux)
        data = os.urandom(FILE_SIZE)
        self.raw = folder / "raw.img"
        self.raw.write_bytes(data)
        self.ext4 = file_disk(folder / "ext4.img", "ext4", data)
        self.fat = file_disk(folder / "fat.img", "fat32", data)
        self.scattered = scattered_disk(folder / "scattered.img")
        self.uboot = self._uboot()

    @staticmethod
    def _uboot():
        path = Path(os.environ.get("UBOOT") or "/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin")
        if not path.exists():
            sys.exit(f"{path}: install u-boot-qemu, or set UBOOT=")
        return path

    def uboot_version(self):
        found = re.search(rb"U-Boot (\d[\w.+-]*)", self.uboot.read_bytes())
        return found[1].decode() if found else "?"
