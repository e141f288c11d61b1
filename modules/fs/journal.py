"""The journal of ext3 and ext4: what is committed in it is shown in place, without writing to the disk."""

from errno import EIO
from struct import pack, unpack_from

from micropython import const

from fs import extmap
from fs.blocks import Blocks
from fs.crc import crc32c

_MAGIC = const(0xC03B3998)
_DESCRIPTOR = const(1)
_COMMIT = const(2)
_SUPERBLOCKS = (3, 4)
_REVOKE = const(5)
_HEADER = const(12)

_INCOMPAT_64BIT = const(0x2)
_INCOMPAT_CSUM_V2 = const(0x8)
_INCOMPAT_CSUM_V3 = const(0x10)
_INCOMPAT_FAST_COMMIT = const(0x20)
_INCOMPAT_KNOWN = const(0x3F)

_TAG_ESCAPED = const(1)
_TAG_SAME_UUID = const(2)
_TAG_LAST = const(8)


class Overlay(Blocks):
    """Blocks of which some are read from the journal instead of their own place.

    journal: a Journal; its moved is block -> (block in the log, escaped, sequence, checksum).
    """

    def __init__(self, blocks, volume, journal):
        super().__init__(blocks.bdev)
        self._size = volume.block_size
        self._journal = journal
        self.moved = journal.moved

    def read(self, pieces):
        """Read (byte offset, writable memoryview) pieces."""
        plain = []
        for off, view in pieces:
            self._split(off, view, plain)
        super().read(plain)

    def _split(self, off, view, plain):
        """Copy what the journal has of a piece; the rest goes to plain."""
        size = self._size
        end = off + len(view)
        blocks = [n for n in self.moved if off < (n + 1) * size and n * size < end]
        at = off
        for number in sorted(blocks):
            start, stop = max(at, number * size), min(end, (number + 1) * size)
            if start > at:
                plain.append((at, view[at - off : start - off]))
            block = self._journal.block(number)
            view[start - off : stop - off] = block[start - number * size : stop - number * size]
            at = stop
        if at < end:
            plain.append((at, view[at - off :]))


class Journal:
    """The log in a volume's journal inode; moved holds what its committed transactions changed."""

    def __init__(self, volume, node):
        self.moved = {}
        self._volume = volume
        self._blocks = volume.blocks
        self._node = node
        self._size = volume.block_size
        self._runs = list(extmap.runs(volume, node, 0, node.size // self._size))
        self._superblock()
        if self._start:
            self._scan()

    def _error(self, where, why):
        return self._volume.error(EIO, "journal " + where, why)

    def _physical(self, index):
        for first, physical, length in self._runs:
            if first <= index < first + length and physical:
                return physical + index - first
        raise self._error("block %d" % index, "hole")

    def _log(self, index):
        return self._blocks.get(self._physical(index) * self._size, self._size)

    def _superblock(self):
        sb = self._log(0)
        magic, kind = unpack_from(">II", sb, 0)
        if magic != _MAGIC or kind not in _SUPERBLOCKS:
            raise self._error("superblock", "bad magic")
        size, self._end, self._first, self._sequence, self._start = unpack_from(">IIIII", sb, 12)
        self._incompat = unpack_from(">I", sb, 40)[0] if kind == 4 else 0
        if size != self._size or not 0 < self._first < self._end <= self._node.size // size:
            raise self._error("superblock", "%d blocks of %d bytes" % (self._end, size))
        if self._incompat & ~_INCOMPAT_KNOWN:
            raise self._error("superblock", "feature 0x%x" % (self._incompat & ~_INCOMPAT_KNOWN))
        self._csum = bool(self._incompat & (_INCOMPAT_CSUM_V2 | _INCOMPAT_CSUM_V3))
        self._seed = crc32c(sb[48:64])
        if self._csum:
            copy = bytearray(sb[:1024])
            copy[0xFC:0x100] = bytes(4)
            if crc32c(copy) != unpack_from(">I", sb, 0xFC)[0]:
                raise self._error("superblock", "bad checksum")
        if self._incompat & _INCOMPAT_FAST_COMMIT:
            self._end -= unpack_from(">I", sb, 0x54)[0] or 256
        if self._start and not self._first <= self._start < self._end:
            raise self._error("superblock", "starts at block %d" % self._start)

    def _scan(self):
        """Walk the log once; what no commit block follows does not count."""
        revoked = {}
        found = []  # (sequence, block, what moved shall hold)
        tags, revokes = [], []
        at, sequence, left = self._start, self._sequence, self._end - self._first
        while left > 0:
            block = self._log(at)
            magic, kind, number = unpack_from(">III", block, 0)
            if magic != _MAGIC or number != sequence:
                break
            used = 1
            if kind == _DESCRIPTOR:
                if not self._tail_good(block):
                    break
                more = self._tags(block, at, sequence)
                used += len(more)
                tags += more
            elif kind == _REVOKE:
                if not self._tail_good(block):
                    break
                revokes += self._revoked(block)
            elif kind == _COMMIT:
                if not self._commit_good(block):
                    break
                found += [(sequence, tag[0], tag[1:]) for tag in tags]
                revoked.update([(number, sequence) for number in revokes])
                tags, revokes = [], []
                sequence = (sequence + 1) & 0xFFFFFFFF
            else:
                break
            left -= used
            at = self._after(at, used)
        for number, block, tag in found:  # in order: a later transaction wins
            if block not in revoked or revoked[block] < number:
                self.moved[block] = tag

    def _after(self, at, count):
        at += count
        return at if at < self._end else self._first + (at - self._end) % (self._end - self._first)

    def _tags(self, block, at, sequence):
        """(block, block in the log, escaped, sequence, checksum) of a descriptor's data blocks."""
        v3, wide = self._incompat & _INCOMPAT_CSUM_V3, self._incompat & _INCOMPAT_64BIT
        length = 16 if v3 else 8 + (4 if wide else 0) + (2 if self._incompat & _INCOMPAT_CSUM_V2 else 0)
        end = self._size - (4 if self._csum else 0)
        off = _HEADER
        tags = []
        while off + length <= end:
            if v3:
                number, flags, high, checksum = unpack_from(">IIII", block, off)
            else:
                number, checksum, flags = unpack_from(">IHH", block, off)
                high = unpack_from(">I", block, off + 8)[0] if wide else 0
            if wide:
                number |= high << 32
            where = self._after(at, len(tags) + 1)
            tags.append((number, where, flags & _TAG_ESCAPED, sequence, checksum))
            off += length if flags & _TAG_SAME_UUID else length + 16
            if flags & _TAG_LAST:
                break
        return tags

    def _revoked(self, block):
        wide = self._incompat & _INCOMPAT_64BIT
        end = min(unpack_from(">I", block, _HEADER)[0], self._size)
        width, form = (8, ">Q") if wide else (4, ">I")
        return [unpack_from(form, block, off)[0] for off in range(16, end - width + 1, width)]

    def _tail_good(self, block):
        if not self._csum:
            return True
        tail = self._size - 4
        return crc32c(bytes(4), crc32c(block[:tail], self._seed)) == unpack_from(">I", block, tail)[0]

    def _commit_good(self, block):
        if not self._csum:
            return True
        copy = bytearray(block)
        copy[16:20] = bytes(4)
        return crc32c(copy, self._seed) == unpack_from(">I", block, 16)[0]

    def block(self, number):
        """What a moved block holds now."""
        where, escaped, sequence, checksum = self.moved[number]
        block = self._log(where)
        if self._csum:
            crc = crc32c(block, crc32c(pack(">I", sequence), self._seed))
            if checksum != (crc if self._incompat & _INCOMPAT_CSUM_V3 else crc & 0xFFFF):
                raise self._error("block %d" % where, "bad checksum")
        if escaped:  # began with the journal's own magic, so that was taken out
            block = memoryview(bytearray(block))
            block[:4] = pack(">I", _MAGIC)
        return block
