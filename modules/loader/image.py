"""Recognise what can be started: RISC-V Image and ELF64 headers, gzip, and what is refused by name.

Pure: bytes in, facts out. The header of a RISC-V Image is described in Linux's
Documentation/arch/riscv/boot-image-header.rst, PE/COFF in Microsoft's specification.
"""

from struct import unpack_from

from micropython import const

HEAD = const(4096)  # bytes that parse() wants of a file, or all of a shorter one

_ALIGN = const(0x200000)

_IMAGE_SIZE = const(64)
_IMAGE_MAGIC2 = b"RSC\x05"
_ELF_MACHINE_RISCV = const(243)
_PT_LOAD = const(1)
_MAX_SEGMENTS = const(64)

_REFUSED = (
    (0, b"\xfd7zXZ\0", "xz compressed: only gzip is unpacked"),
    (0, b"\x28\xb5\x2f\xfd", "zstd compressed: only gzip is unpacked"),
    (0, b"BZh", "bzip2 compressed: only gzip is unpacked"),
    (0, b"\x04\x22\x4d\x18", "lz4 compressed: only gzip is unpacked"),
    (0, b"\x89LZO", "lzo compressed: only gzip is unpacked"),
    (0, b"\x27\x05\x19\x56", "a U-Boot uImage: give the Image inside it"),
    (0, b"\xd0\x0d\xfe\xed", "a devicetree or FIT image, not a kernel"),
    (56, b"ARM\x64", "an arm64 Image, not a RISC-V one"),
    (0, b"HdrS", "an x86 kernel"),
    (514, b"HdrS", "an x86 kernel"),
)


class ImageError(ValueError):
    """A file that cannot be started: says which, where in it and why."""


class Image:
    """What parse() found out.

    kind: 'Image', 'ELF' or 'gzip'.  size: bytes of memory it says it needs (0 for gzip).
    entry: address to enter, for an Image relative to its start.  align, offset: an Image starts
    offset bytes above a multiple of align, and not below offset in RAM.  segments: of an ELF, (file
    offset, bytes in the file, address, bytes in memory).
    """

    def __init__(self, kind, size=0, entry=0, offset=0, segments=()):
        self.kind = kind
        self.size = size
        self.entry = entry
        self.align = _ALIGN
        self.offset = offset
        self.segments = segments

    def __repr__(self):
        return "<%s %d bytes entry 0x%x>" % (self.kind, self.size, self.entry)


def parse(buf, name="kernel", size=None):
    """Recognise an image by its first bytes.

    buf: the first HEAD bytes of the file, or all of it.  size: of the whole file.  name: for errors.
    ImageError: not an image for this machine, or shorter than it says.
    """
    size = len(buf) if size is None else size
    if size < _IMAGE_SIZE or len(buf) < _IMAGE_SIZE:
        raise ImageError("%s: truncated: %d bytes, an image header has %d" % (name, size, _IMAGE_SIZE))
    if bytes(buf[56:60]) == _IMAGE_MAGIC2:
        return _parse_image(buf, name, size)
    if bytes(buf[:4]) == b"\x7fELF":
        return _parse_elf(buf, name, size)
    if bytes(buf[:3]) == b"\x1f\x8b\x08":
        return Image("gzip")
    raise ImageError("%s: %s" % (name, _refuse(buf)))


def _refuse(buf):
    if bytes(buf[:2]) == b"MZ" and bytes(buf[4:8]) == b"zimg":
        kind = bytes(buf[24:56]).split(b"\0")[0].decode()
        return "an EFI zboot image (%s inside): give the Image itself" % kind
    for at, magic, why in _REFUSED:
        if bytes(buf[at : at + len(magic)]) == magic:
            return why
    if bytes(buf[:2]) == b"MZ":
        return "an EFI program, not a RISC-V Image"
    return "wrong magic %s at byte 56, a RISC-V Image has %s there" % (
        bytes(buf[56:60]),
        _IMAGE_MAGIC2,
    )


def _parse_image(buf, name, size):
    offset, memory, flags = unpack_from("<QQQ", buf, 8)
    pe_at = unpack_from("<I", buf, 60)[0]
    if flags & 1:
        raise ImageError("%s: a big-endian kernel (flags 0x%x at byte 24)" % (name, flags))
    if not memory:
        raise ImageError("%s: image_size 0 at byte 16: the memory it needs is unknown" % name)
    if memory >> 40:
        raise ImageError("%s: image_size 0x%x at byte 16 is absurd" % (name, memory))
    if offset >> 32:
        raise ImageError("%s: text_offset 0x%x at byte 8 is absurd" % (name, offset))
    need = _pe_end(buf, pe_at) if bytes(buf[:2]) == b"MZ" else 0
    if size < need:
        raise ImageError("%s: truncated: %d bytes, its PE header names %d" % (name, size, need))
    return Image("Image", memory, 0, offset)


def _pe_end(buf, at):
    # Where the last section of the file ends; 0 when the header is not all here.
    if at + 24 > len(buf) or bytes(buf[at : at + 4]) != b"PE\0\0":
        return 0
    count, optional = unpack_from("<H", buf, at + 6)[0], unpack_from("<H", buf, at + 20)[0]
    at += 24 + optional
    end = 0
    for _ in range(min(count, 32)):
        if at + 40 > len(buf):
            break
        raw_size, raw_at = unpack_from("<II", buf, at + 16)
        if raw_size:
            end = max(end, raw_at + raw_size)
        at += 40
    return end


def _parse_elf(buf, name, size):
    if buf[4] != 2 or buf[5] != 1:
        raise ImageError("%s: not a 64-bit little-endian ELF" % name)
    machine = unpack_from("<H", buf, 18)[0]
    if machine != _ELF_MACHINE_RISCV:
        raise ImageError("%s: ELF for machine %d, RISC-V is %d" % (name, machine, _ELF_MACHINE_RISCV))
    entry, at = unpack_from("<QQ", buf, 24)
    width, count = unpack_from("<HH", buf, 54)
    if width != 56 or not 0 < count <= _MAX_SEGMENTS or at + width * count > len(buf):
        raise ImageError(
            "%s: %d program headers of %d bytes at byte %d: truncated or damaged" % (name, count, width, at)
        )
    segments = []
    virtual = entry
    for header in range(at, at + width * count, width):
        if unpack_from("<I", buf, header)[0] != _PT_LOAD:
            continue
        offset, vaddr, paddr, in_file, in_memory = unpack_from("<QQQQQ", buf, header + 8)
        if in_file > in_memory or offset + in_file > size:
            raise ImageError(
                "%s: truncated: segment at 0x%x wants bytes %d+%d of %d" % (name, paddr, offset, in_file, size)
            )
        if vaddr <= virtual < vaddr + in_memory:
            entry = virtual - vaddr + paddr
        if in_memory:
            segments.append((offset, in_file, paddr, in_memory))
    if not segments:
        raise ImageError("%s: ELF with nothing to load" % name)
    total = sum([segment[3] for segment in segments])
    return Image("ELF", total, entry, 0, segments)
