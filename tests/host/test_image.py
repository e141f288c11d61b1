"""modules/loader/image: what is recognised, what is refused, and how the refusal reads."""

import struct
import sys
from pathlib import Path

import disk
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shim import install  # noqa: E402

install()

from loader import image  # noqa: E402


def elf(segments, entry=0x80000000, machine=243, phnum=None, width=56):
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\2\1\1",
        2,
        machine,
        1,
        entry,
        64,
        0,
        0,
        64,
        width,
        len(segments) if phnum is None else phnum,
        0,
        0,
        0,
    )
    body = b"".join(
        struct.pack("<IIQQQQQQ", kind, 7, off, va, pa, fs, ms, 4096) for kind, off, va, pa, fs, ms in segments
    )
    return (header + body).ljust(4096, b"\0")


def pe(size, raw_end):
    head = bytearray(disk.riscv_image(size=4096, image_size=0x10000))
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 60, 64)
    head[64:68] = b"PE\0\0"
    struct.pack_into("<HH12xH", head, 68, 0x5064, 1, 0)
    struct.pack_into("<II", head, 64 + 24 + 16, raw_end - 0x1000, 0x1000)
    return bytes(head[:size])


def test_riscv_image_gives_its_memory_and_offset():
    found = image.parse(disk.riscv_image(image_size=0x2000000, text_offset=0x400000))
    assert (found.kind, found.size, found.offset, found.align) == ("Image", 0x2000000, 0x400000, 0x200000)


def test_riscv_image_with_a_pe_header_is_taken():
    assert image.parse(pe(4096, 0x3000), size=0x3000).kind == "Image"


def test_image_shorter_than_its_pe_header_says_is_truncated():
    with pytest.raises(image.ImageError, match="/boot/linux: truncated: 12287 bytes, its PE header names 12288"):
        image.parse(pe(4096, 0x3000), "/boot/linux", 0x2FFF)


@pytest.mark.parametrize("size", [0, 1, 63])
def test_file_shorter_than_a_header_is_truncated(size):
    with pytest.raises(image.ImageError, match=f"x: truncated: {size} bytes"):
        image.parse(disk.riscv_image()[:size], "x")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (disk.riscv_image(magic=b"XXXX"), "wrong magic b'XXXX' at byte 56"),
        (disk.riscv_image(magic=b"ARM\x64"), "an arm64 Image"),
        (disk.riscv_image(flags=1), "big-endian"),
        (disk.riscv_image(image_size=0), "image_size 0 at byte 16"),
        (disk.riscv_image(image_size=1 << 50), "absurd"),
        (disk.riscv_image(text_offset=1 << 40), "absurd"),
        (b"MZ\0\0zimg" + bytes(16) + b"zstd".ljust(64, b"\0"), r"EFI zboot image \(zstd inside\)"),
        (b"MZ".ljust(64, b"\0"), "an EFI program"),
        (b"\xfd7zXZ\0".ljust(64, b"\0"), "xz compressed"),
        (b"\x28\xb5\x2f\xfd".ljust(64, b"\0"), "zstd compressed"),
        (b"\x27\x05\x19\x56".ljust(64, b"\0"), "uImage"),
        (b"\xd0\x0d\xfe\xed".ljust(64, b"\0"), "devicetree"),
        (bytes(64), "wrong magic"),
        (elf([(1, 0, 0, 0x80000000, 4096, 4096)], machine=62), "ELF for machine 62"),
        (elf([], phnum=3, width=32), "program headers"),
        (elf([(1, 0, 0, 0, 1, 1)], phnum=65), "program headers"),
        (elf([(1, 4000, 0, 0x80000000, 97, 97)]), "truncated: segment"),
        (elf([(1, 0, 0, 0x80000000, 97, 96)]), "truncated: segment"),
        (elf([(2, 0, 0, 0x80000000, 96, 96)]), "nothing to load"),
        (b"\x7fELF\1\1".ljust(64, b"\0"), "not a 64-bit"),
    ],
)
def test_what_cannot_be_started_is_refused_by_name(data, why):
    with pytest.raises(image.ImageError, match="k: .*" + why):
        image.parse(data, "k")


def test_gzip_is_recognised():
    assert image.parse(disk.gzipped(disk.riscv_image()).ljust(64, b"\0")).kind == "gzip"


def test_elf_segments_and_entry():
    segments = [
        (1, 0x1000, 0x80000000, 0x80000000, 0x100, 0x200),
        (4, 0, 0, 0, 1, 1),
        (1, 0, 0x9000, 0x90000000, 0, 64),
    ]
    found = image.parse(elf(segments, entry=0x80000010), size=0x2000)
    assert (found.kind, found.entry, found.size) == ("ELF", 0x80000010, 0x240)
    assert found.segments == [(0x1000, 0x100, 0x80000000, 0x200), (0, 0, 0x90000000, 64)]


def test_elf_entry_is_a_physical_address():
    found = image.parse(elf([(1, 0, 0xFFFFFFFF80000000, 0x80200000, 64, 64)], entry=0xFFFFFFFF80000004))
    assert found.entry == 0x80200004


def test_every_prefix_of_an_elf_header_is_taken_or_refused():
    data = elf([(1, 0, 0x80000000, 0x80000000, 64, 64)])
    for size in range(len(data)):
        try:
            image.parse(data[:size])
        except image.ImageError:
            pass
