"""Partition tables: MBR with logical partitions, GPT with its checksums; partitions as block devices."""

from binascii import crc32, hexlify
from errno import EINVAL, EIO, ENODEV
from struct import unpack_from

import micropython
from micropython import const

from fs.blocks import read_blocks

_SECTOR = const(512)

_IOCTL_SYNC = const(3)
_IOCTL_COUNT = const(4)
_IOCTL_SIZE = const(5)
_IOCTL_ERASE = const(6)

_MBR_TABLE = const(446)
_MBR_SIGNATURE = const(510)
_MBR_DISK_ID = const(440)
_TYPE_PROTECTIVE = const(0xEE)
_TYPES_EXTENDED = (0x05, 0x0F, 0x85)
_MAX_LOGICAL = const(128)

_GPT_SIGNATURE = b"EFI PART"
_GPT_HEADER_MIN = const(92)
_GPT_ENTRY_MIN = const(128)
_GPT_TABLE_MAX = const(1 << 20)
_GPT_BOOTABLE = const(1 << 2)

_EXT_MAGIC_OFF = const(1080)  # a whole-disk ext file system has no boot sector to look at


@micropython.viper
def _next_used(entries: ptr32, words: int, n: int, number: int) -> int:
    # First entry from n on whose type is not all zeros, or number.  The caller has checked the size.
    while n < number:
        at = n * words
        if entries[at] | entries[at + 1] | entries[at + 2] | entries[at + 3]:
            return n
        n += 1
    return number


class Part:
    """One partition: a block device that ends where the partition ends.

    number, start and count in blocks of the device, type (GUID or two hex digits), label, uuid
    (the PARTUUID), bootable, attributes (GPT's 64 bits).
    """

    def __init__(self, bdev, number, start, count, kind="", label="", uuid="", bootable=False):
        self.bdev = bdev
        self.number = number
        self.start = start
        self.count = count
        self.type = kind
        self.label = label
        self.uuid = uuid
        self.bootable = bootable
        self.attributes = 0
        self.block_size = bdev.ioctl(_IOCTL_SIZE, 0) or 512
        if hasattr(bdev, "read_many"):
            self.read_many = self._read_many

    def __repr__(self):
        return "<Part %d: %d+%d %s%s%s>" % (
            self.number,
            self.start,
            self.count,
            self.type,
            " '%s'" % self.label if self.label else "",
            " bootable" if self.bootable else "",
        )

    def _check(self, what, block, size, off=0):
        byte = block * self.block_size + off
        if block < 0 or byte < 0 or byte + size > self.count * self.block_size:
            raise OSError(
                EINVAL,
                "part %d: %s %d bytes at block %d: it has %d blocks" % (self.number, what, size, block, self.count),
            )

    def readblocks(self, block, buf, off=None):
        """Read whole blocks, or len(buf) bytes at a byte offset into a block."""
        self._check("read", block, len(buf), off or 0)
        if off is None:
            return self.bdev.readblocks(self.start + block, buf)
        return self.bdev.readblocks(self.start + block, buf, off)

    def writeblocks(self, block, buf, off=None):
        """Write whole blocks, or len(buf) bytes at a byte offset into a block."""
        self._check("write", block, len(buf), off or 0)
        if off is None:
            return self.bdev.writeblocks(self.start + block, buf)
        return self.bdev.writeblocks(self.start + block, buf, off)

    @micropython.native
    def _read_many(self, pieces):
        # read_many counts in sectors of 512 bytes whatever the block size is
        per_block = self.block_size // _SECTOR
        first = self.start * per_block
        end = self.count * per_block
        requests = []
        for sector, buf in pieces:
            if sector < 0 or sector + (len(buf) + 511) // 512 > end:
                self._check("read", sector // per_block, len(buf), sector % per_block * 512)
            requests.append((first + sector, buf))
        self.bdev.read_many(requests)

    def ioctl(self, op, arg):
        """The block protocol's ioctl; start and stop of the device itself are not passed on."""
        if op == _IOCTL_COUNT:
            return self.count
        if op == _IOCTL_SIZE:
            return self.block_size
        if op == _IOCTL_SYNC:
            return self.bdev.ioctl(op, arg)
        if op == _IOCTL_ERASE:
            self._check("erase", arg, self.block_size)
            return self.bdev.ioctl(op, self.start + arg)
        return 0


class Table:
    """A disk's partitions: scheme 'gpt', 'mbr' or 'none', parts, and in damaged what was wrong."""

    def __init__(self, bdev, scheme, uuid=""):
        self.bdev = bdev
        self.scheme = scheme
        self.uuid = uuid
        self.parts = []
        self.damaged = ""
        self.extended = None  # (number, start, count, type) of what holds the logical partitions

    def __repr__(self):
        note = ", damaged: " + self.damaged if self.damaged else ""
        return "<Table %s, %d partitions%s>" % (self.scheme, len(self.parts), note)

    def __len__(self):
        return len(self.parts)

    def __iter__(self):
        return iter(self.parts)

    def __getitem__(self, number):
        """The partition of that number."""
        return self.find(number=number)

    def find(self, number=None, label=None, uuid=None):
        """The first partition that has all of the given number, label and PARTUUID."""
        for part in self.parts:
            if number is not None and part.number != number:
                continue
            if label is not None and part.label != label:
                continue
            if uuid is not None and part.uuid.lower() != uuid.lower():
                continue
            return part
        wanted = [
            "%s %s" % pair for pair in (("number", number), ("label", label), ("uuid", uuid)) if pair[1] is not None
        ]
        have = ", ".join([str(part.number) for part in self.parts]) or "none"
        raise OSError(ENODEV, "partition %s not found; there are: %s" % (" ".join(wanted), have))

    def note(self, text):
        """Remember one more thing that is wrong with the table."""
        self.damaged = self.damaged + "; " + text if self.damaged else text

    def add(self, number, start, count, *rest):
        """Append a partition, cut at the end of the disk; None when it starts after it."""
        total = self.bdev.ioctl(_IOCTL_COUNT, 0)
        if start < 1 or start >= total or count < 1:
            self.note("partition %d: %d+%d is outside the disk" % (number, start, count))
            return None
        if start + count > total:
            self.note("partition %d: ends %d blocks after the disk" % (number, start + count - total))
            count = total - start
        part = Part(self.bdev, number, start, count, *rest)
        self.parts.append(part)
        return part


def table(bdev):
    """Read the partition table of a block device.

    Returns a Table.  OSError: EIO when a GPT was there and neither copy is good, or from the device.
    """
    size = bdev.ioctl(_IOCTL_SIZE, 0) or 512
    total = bdev.ioctl(_IOCTL_COUNT, 0)
    if not total:
        return Table(bdev, "none")
    head = memoryview(bytearray(size * min(total, 2 + 16384 // size)))
    read_blocks(bdev, 0, head)
    has_mbr = head[_MBR_SIGNATURE] == 0x55 and head[_MBR_SIGNATURE + 1] == 0xAA
    protective = has_mbr and any([head[_MBR_TABLE + 16 * n + 4] == _TYPE_PROTECTIVE for n in range(4)])
    primary = _gpt(bdev, size, total, 1, head)
    if not isinstance(primary, str):
        if not protective:
            primary.note("no protective MBR")
        return primary
    if protective or _blank(head, has_mbr):
        backup = _gpt(bdev, size, total, total - 1, None)
        if not isinstance(backup, str):
            backup.note("primary GPT at block 1: %s; the backup is used" % primary)
            return backup
        if protective:
            raise OSError(
                EIO,
                "gpt: primary at block 1: %s; backup at block %d: %s" % (primary, total - 1, backup),
            )
    if not has_mbr or _is_fat(head):
        return Table(bdev, "none")
    return _mbr(bdev, size, head)


def find(bdev, number=None, label=None, uuid=None):
    """The partition of bdev with that number, label or PARTUUID.  OSError: ENODEV."""
    return table(bdev).find(number, label, uuid)


def _blank(head, has_mbr):
    # No boot sector and no file system that needs none: the start of the disk may have been wiped.
    if has_mbr or len(head) < _EXT_MAGIC_OFF + 2:
        return False
    return unpack_from("<H", head, _EXT_MAGIC_OFF)[0] != 0xEF53


def _is_fat(head):
    # A FAT boot sector carries the MBR's signature too.
    per_sector, per_cluster = unpack_from("<HB", head, 11)
    if per_sector not in (512, 1024, 2048, 4096) or not per_cluster or per_cluster & (per_cluster - 1):
        return False
    return head[0] in (0xEB, 0xE9) and (head[54:57] == b"FAT" or head[82:85] == b"FAT")


def _gpt(bdev, size, total, lba, head):
    """The Table that the GPT header at lba describes, or a string that says what is wrong with it."""
    if lba < 1 or lba >= total or size < 512:
        return "no room"
    if head is None or len(head) < 2 * size:
        header = memoryview(bytearray(size))
        read_blocks(bdev, lba, header)
    else:
        header = head[lba * size : (lba + 1) * size]
    wrong = _gpt_header_fault(header, size, lba)
    if wrong:
        return wrong
    first, last = unpack_from("<QQ", header, 40)
    start, number, entry, entries_crc = unpack_from("<QIII", header, 72)
    if first > last or last >= total:
        return "usable blocks %d to %d of %d" % (first, last, total)
    blocks = (number * entry + size - 1) // size
    if start < 2 or start + blocks > total:
        return "entries at block %d" % start
    if head is not None and (start + blocks) * size <= len(head):
        entries = head[start * size : start * size + number * entry]
    else:
        entries = memoryview(bytearray(blocks * size))
        read_blocks(bdev, start, entries)
        entries = entries[: number * entry]
    if crc32(entries) != entries_crc:
        return "bad CRC of the entries"
    answer = Table(bdev, "gpt", guid(header, 56))
    n = _next_used(entries, entry // 4, 0, number)
    while n < number:
        _gpt_entry(answer, n + 1, entries[n * entry : n * entry + _GPT_ENTRY_MIN], first, last)
        n = _next_used(entries, entry // 4, n + 1, number)
    return answer


def _gpt_header_fault(header, size, lba):
    """What is wrong with a GPT header by itself, or an empty string."""
    if bytes(header[:8]) != _GPT_SIGNATURE:
        return "no signature"
    length, crc = unpack_from("<II", header, 12)
    if not _GPT_HEADER_MIN <= length <= size:
        return "header size %d" % length
    copy = bytearray(header[:length])
    copy[16:20] = bytes(4)
    if crc32(copy) != crc:
        return "bad header CRC"
    mine = unpack_from("<Q", header, 24)[0]
    if mine != lba:
        return "header says block %d" % mine
    number, entry = unpack_from("<II", header, 80)
    if entry < _GPT_ENTRY_MIN or entry > size or entry & 3 or number * entry > _GPT_TABLE_MAX or not number:
        return "%d entries of %d bytes" % (number, entry)
    return ""


def _gpt_entry(answer, number, entry, first, last):
    start, end, attributes = unpack_from("<QQQ", entry, 32)
    if start < first or end > last or end < start:
        answer.note("partition %d: blocks %d to %d are not usable ones" % (number, start, end))
        return
    bootable = bool(attributes & _GPT_BOOTABLE)
    names = guid(entry, 0), utf16(entry[56:128]), guid(entry, 16)
    part = answer.add(number, start, end - start + 1, names[0], names[1], names[2], bootable)
    if part:
        part.attributes = attributes


def _mbr(bdev, size, head):
    disk_id = unpack_from("<I", head, _MBR_DISK_ID)[0]
    answer = Table(bdev, "mbr", "%08x" % disk_id)
    for n in range(4):
        flag, kind, start, count = _mbr_entry(head, n)
        if flag & 0x7F:  # not a table but some boot sector's code
            return Table(bdev, "none")
        if not kind or not count:
            continue
        if kind in _TYPES_EXTENDED:
            answer.extended = answer.extended or (n + 1, start, count, kind)
        else:
            _mbr_add(answer, n + 1, start, count, kind, flag)
    if answer.extended:
        _mbr_logical(answer, size, answer.extended[1], answer.extended[2])
    return answer


def _mbr_entry(sector, n):
    flag, kind = unpack_from("<B3xB", sector, _MBR_TABLE + 16 * n)
    start, count = unpack_from("<II", sector, _MBR_TABLE + 16 * n + 8)
    return flag, kind, start, count


def _mbr_add(answer, number, start, count, kind, flag):
    uuid = "%s-%02x" % (answer.uuid, number)
    answer.add(number, start, count, "%02x" % kind, "", uuid, flag == 0x80)


def _mbr_logical(answer, size, base, length):
    """Follow the chain of extended boot records; a loop or a bad record ends it with a note."""
    sector = memoryview(bytearray(size))
    seen = []
    at = base
    number = 5
    while True:
        if at in seen or len(seen) >= _MAX_LOGICAL:
            answer.note("logical partition %d: the chain comes back to block %d" % (number, at))
            return
        if not base <= at < base + length or at >= answer.bdev.ioctl(_IOCTL_COUNT, 0):
            answer.note("logical partition %d: record at block %d is outside" % (number, at))
            return
        seen.append(at)
        read_blocks(answer.bdev, at, sector)
        if sector[_MBR_SIGNATURE] != 0x55 or sector[_MBR_SIGNATURE + 1] != 0xAA:
            answer.note("logical partition %d: record at block %d has no signature" % (number, at))
            return
        flag, kind, start, count = _mbr_entry(sector, 0)
        if kind and count:
            _mbr_add(answer, number, at + start, count, kind, flag)
            number += 1
        kind, start, count = _mbr_entry(sector, 1)[1:]
        if kind not in _TYPES_EXTENDED or not count:
            return
        at = base + start


def guid(buf, off):
    """A GUID as text: its first three fields are stored low byte first."""
    a, b, c = unpack_from("<IHH", buf, off)
    rest = hexlify(buf[off + 8 : off + 16]).decode()
    return "%08x-%04x-%04x-%s-%s" % (a, b, c, rest[:4], rest[4:])


def utf16(buf):
    """Text from UTF-16LE bytes up to the first zero."""
    out = []
    high = 0
    for n in range(0, len(buf) - 1, 2):
        unit = buf[n] | buf[n + 1] << 8
        if not unit:
            break
        if unit & 0xFC00 == 0xD800:
            high = unit
            continue
        if unit & 0xFC00 == 0xDC00 and high:
            unit = 0x10000 + ((high & 0x3FF) << 10) + (unit & 0x3FF)
        high = 0
        out.append(chr(unit) if unit & 0xF800 != 0xD800 else "?")
    return "".join(out)
