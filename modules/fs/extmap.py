"""Where an ext2/3/4 file's blocks are: extent trees, block maps, inline data."""

from errno import EIO
from struct import unpack_from

import micropython
from micropython import const

from fs.blocks import zero
from fs.crc import crc32c

_INODE_EXTENTS = const(0x80000)

_EXTENT_MAGIC = const(0xF30A)
_EXTENT_DEPTH_MAX = const(5)
_EXTENT_INITIALISED_MAX = const(32768)
_EXTENT_BLOCK_END = const(1 << 32)

_DIRECT = const(12)
_BATCH = const(64)  # blocks of pointers at a time
_PIECES = const(128)

_XATTR_MAGIC = const(0xEA020000)
_XATTR_SYSTEM = const(7)
_MAP_SIZE = const(60)


# The callers of these three have checked that the views hold what is asked for.


@micropython.viper
def _first_unsorted(node: ptr32, count: int, leaf: int) -> int:
    # Index of the first entry that starts before the one in front of it ends, or -1.
    low = 0
    i = 0
    while i < count:
        block = int(node[3 + 3 * i])
        if block < low:
            return i
        length = 1
        if leaf:
            length = int(node[4 + 3 * i]) & 0xFFFF
            if length > 32768:
                length -= 32768
            if length == 0:
                return i
        low = block + length
        i += 1
    return -1


@micropython.viper
def _entry_at(node: ptr32, count: int, start: int) -> int:
    # Index of the last entry that does not begin after start, or 0.
    i = 1
    while i < count and int(node[3 + 3 * i]) <= start:
        i += 1
    return i - 1


@micropython.viper
def _run(pointers: ptr32, first: int, end: int) -> int:
    # How many pointers from first are all zero or each one more than the one before.
    value = int(pointers[first])
    step = 0
    if value:
        step = 1
    i = first + 1
    while i < end:
        value += step
        if int(pointers[i]) != value:
            break
        i += 1
    return i - first


def read(volume, node, off, view):
    """Read len(view) bytes of a file from off, holes as zeros; the caller keeps within its size."""
    size = volume.block_size
    end = off + len(view)
    pieces = []
    for first, physical, length in runs(volume, node, off // size, (end + size - 1) // size):
        begin = max(first * size, off)
        part = view[begin - off : min((first + length) * size, end) - off]
        if not physical:
            zero(part)
            continue
        pieces.append((physical * size + begin - first * size, part))
        if len(pieces) >= _PIECES:
            volume.blocks.read(pieces)
            pieces = []
    volume.blocks.read(pieces)


def runs(volume, node, start, end):
    """Cover blocks start to end of a file by (block, physical block or 0 for a hole, length)."""
    source = _extents if node.flags & _INODE_EXTENTS else _map
    at, physical, length = start, 0, 0
    for first, where, count in source(volume, node, start, end):
        if first > at + length:  # a hole that nothing describes
            if length and physical:
                yield at, physical, length
                at, length = at + length, 0
            physical, length = 0, first - at
        skip = max(0, start - first)
        first, count = first + skip, min(count - skip, end - first - skip)
        if where:
            where += skip
        if length and (physical + length if physical else 0) != where:
            yield at, physical, length
            at, length = first, 0
        if not length:
            physical = where
        length += count
    if at + length < end:
        if length and physical:
            yield at, physical, length
            at, length = at + length, 0
        physical, length = 0, end - at
    if length:
        yield at, physical, length


def _extents(volume, node, start, end):
    """Extents of the tree that touch blocks start to end, in order.

    Each node's depth is one less than its parent's and its entries lie within its parent's, in
    ascending order, so the walk ends whatever the disk says.
    """
    where = "inode %d extent tree" % node.ino
    depth = unpack_from("<H", node.map, 6)[0]
    if depth > _EXTENT_DEPTH_MAX:
        raise volume.error(EIO, where, "depth %d" % depth)
    view = node.map
    count = _node(volume, view, _MAP_SIZE, depth, 0, _EXTENT_BLOCK_END, where)
    stack = [(view, count, depth, _entry_at(view, count, start) if count else 0, _EXTENT_BLOCK_END)]
    while stack:
        view, count, depth, i, high = stack.pop()
        if not depth:
            yield from _leaf(volume, view, i, count, start, end, where)
            continue
        if i >= count:
            continue
        block, low, middle = unpack_from("<III", view, 12 + 12 * i)
        if block >= end:
            return
        stack.append((view, count, depth, i + 1, high))
        after = unpack_from("<I", view, 24 + 12 * i)[0] if i + 1 < count else high
        if after > start:
            physical = low | (middle & 0xFFFF) << 32
            view, count = _child(volume, node, physical, depth - 1, block, after, where)
            stack.append((view, count, depth - 1, _entry_at(view, count, start), after))


def _leaf(volume, view, i, count, start, end, where):
    """The extents of a leaf from entry i on that touch blocks start to end."""
    while i < count:
        block, low, middle = unpack_from("<III", view, 12 + 12 * i)
        if block >= end:
            return
        length, physical = low & 0xFFFF, (low >> 16) << 32 | middle
        written = length <= _EXTENT_INITIALISED_MAX
        if not written:
            length -= _EXTENT_INITIALISED_MAX
        if physical <= volume.first or physical + length > volume.count:
            raise volume.error(EIO, where, "block %d: %d+%d is outside" % (block, physical, length))
        if block + length > start:
            yield block, physical if written else 0, length
        i += 1


def _child(volume, node, physical, depth, low, high, where):
    where = "%s block %d" % (where, physical)
    if not volume.first < physical < volume.count:
        raise volume.error(EIO, where, "outside the volume")
    size = volume.block_size
    view = volume.blocks.get(physical * size, size)
    count = _node(volume, view, size, depth, low, high, where)
    if not count:
        raise volume.error(EIO, where, "no entries")
    if volume.has_csum:
        tail = 12 + 12 * unpack_from("<H", view, 4)[0]
        if tail + 4 > size or crc32c(view[:tail], node.seed) != unpack_from("<I", view, tail)[0]:
            raise volume.error(EIO, where, "bad checksum")
    return view, count


def _node(volume, view, size, depth, low, high, where):
    """Check a node's header and that its entries ascend within low to high.  Returns their number."""
    magic, count, room, mine = unpack_from("<HHHH", view, 0)
    if magic != _EXTENT_MAGIC:
        raise volume.error(EIO, where, "bad magic")
    if mine != depth:
        raise volume.error(EIO, where, "depth %d where %d is due" % (mine, depth))
    if count > room or 12 + 12 * room > size:
        raise volume.error(EIO, where, "%d of %d entries" % (count, room))
    bad = _first_unsorted(view, count, 0 if depth else 1)
    if bad >= 0:
        raise volume.error(EIO, where, "entry %d overlaps" % bad)
    if count:
        first, last, length = unpack_from("<I", view, 12)[0], 12 * count, 1
        if not depth:
            length = unpack_from("<H", view, last + 4)[0]
            length -= _EXTENT_INITIALISED_MAX if length > _EXTENT_INITIALISED_MAX else 0
        if first < low or unpack_from("<I", view, last)[0] + length > high:
            raise volume.error(EIO, where, "entries outside blocks %d to %d" % (low, high))
    return count


def _map(volume, node, start, end):
    """Runs of the block map that touch blocks start to end, in order."""
    for base, view, count in _pointers(volume, node, start, end):
        if view is None:
            yield base, 0, count
            continue
        i, stop = max(0, start - base), min(count, end - base)
        while i < stop:
            length = _run(view, i, stop)
            physical = unpack_from("<I", view, 4 * i)[0]
            if physical and (physical <= volume.first or physical + length > volume.count):
                what = "inode %d block %d" % (node.ino, base + i)
                raise volume.error(EIO, what, "%d+%d is outside" % (physical, length))
            yield base + i, physical, length
            i += length


def _pointers(volume, node, start, end):
    """(first block, pointers or None for a hole, number) for each array of block pointers."""
    if start < _DIRECT:
        yield 0, node.map[: 4 * _DIRECT], _DIRECT
    base = _DIRECT
    for level in (1, 2, 3):
        span = (volume.block_size // 4) ** level
        if base >= end:
            return
        if start < base + span:
            pointer = unpack_from("<I", node.map, 4 * (_DIRECT + level - 1))[0]
            yield from _indirect(volume, node, pointer, level, base, start, end)
        base += span
    if base < end:
        raise volume.error(EIO, "inode %d" % node.ino, "block %d cannot be mapped" % (end - 1))


def _indirect(volume, node, pointer, level, base, start, end):
    # Calls itself at most twice: level goes from 3 to 1.
    size = volume.block_size
    number = size // 4
    if not pointer:
        yield base, None, number**level
        return
    if not volume.first < pointer < volume.count:
        what = "inode %d indirect block %d" % (node.ino, pointer)
        raise volume.error(EIO, what, "outside the volume")
    view = volume.blocks.get(pointer * size, size)
    if level == 1:
        yield base, view, number
        return
    span = number ** (level - 1)
    first = max(0, start - base) // span
    last = min(number, (end - base + span - 1) // span)
    if level == 2:
        yield from _arrays(volume, node, view, base, first, last)
        return
    for i in range(first, last):
        pointer = unpack_from("<I", view, 4 * i)[0]
        yield from _indirect(volume, node, pointer, level - 1, base + i * span, start, end)


def _arrays(volume, node, view, base, first, last):
    """The blocks of pointers that view's pointers first to last lead to, read many at a time."""
    size = volume.block_size
    number = size // 4
    batch = min(_BATCH, last - first)
    buf = memoryview(bytearray(batch * size))
    arrays = [buf[i * size : (i + 1) * size] for i in range(batch)]
    for i in range(first, last, batch):
        pointers = unpack_from("<%dI" % min(batch, last - i), view, 4 * i)
        for pointer in pointers:
            if pointer and not volume.first < pointer < volume.count:
                what = "inode %d indirect block %d" % (node.ino, pointer)
                raise volume.error(EIO, what, "outside the volume")
        volume.blocks.read([(pointer * size, array) for pointer, array in zip(pointers, arrays) if pointer])
        for pointer, array in zip(pointers, arrays):
            yield base + i * number, array if pointer else None, number
            i += 1


def inline(volume, node):
    """The bytes of a file or directory that is kept in its inode."""
    data = bytes(node.map)
    if node.size > _MAP_SIZE:
        data += _system_data(volume, node)
    if len(data) < node.size:
        what = "inode %d inline data" % node.ino
        raise volume.error(EIO, what, "%d bytes of %d" % (len(data), node.size))
    return data[: node.size]


def _system_data(volume, node):
    """The value of the attribute system.data in the inode's own space."""
    raw = node.raw
    where = "inode %d attributes" % node.ino
    if len(raw) <= 128:
        raise volume.error(EIO, where, "no room for any")
    start = 128 + unpack_from("<H", raw, 0x80)[0]
    if start % 4 or start + 8 > len(raw) or unpack_from("<I", raw, start)[0] != _XATTR_MAGIC:
        raise volume.error(EIO, where, "bad magic")
    first = at = start + 4
    while at + 16 <= len(raw) and unpack_from("<I", raw, at)[0]:
        length, index, off, inode, size = unpack_from("<BBHII", raw, at)
        name = bytes(raw[at + 16 : at + 16 + length])
        if index == _XATTR_SYSTEM and name == b"data":
            if inode or first + off + size > len(raw):
                raise volume.error(EIO, where, "system.data is outside the inode")
            return bytes(raw[first + off : first + off + size])
        at += 16 + (length + 3) // 4 * 4
    return b""
