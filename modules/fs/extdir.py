"""Directories of ext2, ext3 and ext4: their blocks checked, listed and searched."""

from errno import EIO, ENOENT, EOPNOTSUPP
from struct import unpack_from

import micropython
from micropython import const

from fs import extmap
from fs.base import S_IFDIR, S_IFMT, S_IFREG, text
from fs.crc import crc32c

_ENAMETOOLONG = const(36)

_INCOMPAT_FILETYPE = const(0x2)
_INCOMPAT_LARGEDIR = const(0x4000)
_INODE_INDEX = const(0x1000)
_INODE_INLINE = const(0x10000000)
_INODE_CASEFOLD = const(0x40000000)

_NAME_MAX = const(255)
_NO_NAME = const(256)  # a length that no name has
_INODE_MIN = const(128)

_FILE_TYPES = (0, 0x8000, 0x4000, 0x2000, 0x6000, 0x1000, 0xC000, 0xA000)


@micropython.viper
def _find(block: ptr8, start: int, size: int, name: ptr8, length: int) -> int:
    # Offset of the record of that name; -1 when there is none; -2 - offset of a damaged record.
    # The caller has checked that block holds size bytes and name length bytes.
    at = start
    while at < size:
        if at + 8 > size:
            return -2 - at
        step = int(block[at + 4]) | int(block[at + 5]) << 8
        if step == 0 or step == 65535:
            step = 65536
        used = int(block[at + 6])
        if step < 8 or step & 3 or at + step > size or used + 8 > step:
            return -2 - at
        if used == length:
            if block[at] | block[at + 1] | block[at + 2] | block[at + 3]:
                i = 0
                while i < length and block[at + 8 + i] == name[i]:
                    i += 1
                if i == length:
                    return at
        at += step
    return -1


def blocks(volume, node):
    """(bytes, first offset, end, name for errors) of each directory block, its checksum checked."""
    volume.readable(node)
    where = "directory inode %d" % node.ino
    if node.flags & _INODE_CASEFOLD:
        raise volume.error(EOPNOTSUPP, where, "casefold")
    if node.flags & _INODE_INLINE:
        data = extmap.inline(volume, node)
        yield data, 4, min(60, len(data)), "%s inline" % where
        if len(data) > 60:
            yield data[60:], 0, len(data) - 60, "%s inline attribute" % where
        return
    size = volume.block_size
    if node.size % size or not node.size:
        raise volume.error(EIO, where, "size %d" % node.size)
    for first, physical, length in extmap.runs(volume, node, 0, node.size // size):
        if not physical:
            raise volume.error(EIO, "%s block %d" % (where, first), "hole")
        for n in range(length):
            here = "%s block %d" % (where, first + n)
            block = volume.blocks.get((physical + n) * size, size)
            yield block, 0, _check(volume, node, block, first + n, here), here


def _check(volume, node, block, index, where):
    """Check a block's checksum; returns where its records end."""
    size = volume.block_size
    if not volume.has_csum:
        return size
    tail = size - 12
    if unpack_from("<IHBB", block, tail) == (0, 12, 0, 0xDE):
        if crc32c(block[:tail], node.seed) != unpack_from("<I", block, tail + 8)[0]:
            raise volume.error(EIO, where, "bad checksum")
        return tail
    if node.flags & _INODE_INDEX and (index == 0 or unpack_from("<IH", block, 0) == (0, size & 0xFFFF)):
        return size
    raise volume.error(EIO, where, "no checksum")


def entries(volume, node):
    """(name, type, inode, size) of what a directory holds, but not of . and ..

    The sizes are taken from the inodes as they are: to check each one would cost much more.
    """
    start, view = 0, b""
    typed = volume.incompat & _INCOMPAT_FILETYPE
    for block, at, end, where in blocks(volume, node):
        bad = _find(block, at, end, b"", _NO_NAME)
        if bad < -1:
            raise volume.error(EIO, where, "record at %d: bad length" % (-2 - bad))
        while at < end:
            ino, step, used, kind = unpack_from("<IHBB", block, at)
            if ino:
                name = text(block[at + 8 : at + 8 + used])
                if name not in (".", ".."):
                    if ino > volume.inodes or not name or "/" in name or "\0" in name:
                        raise volume.error(EIO, where, "record '%s': inode %d" % (name, ino))
                    off = volume.inode_off(ino)
                    if not start <= off <= start + len(view) - _INODE_MIN:
                        start, view = volume.blocks.line(off)
                    mode, _, size = unpack_from("<HHI", view, off - start)
                    if typed and 0 < kind < len(_FILE_TYPES):
                        mode = _FILE_TYPES[kind]
                    if _wide(volume, mode):
                        size |= unpack_from("<I", view, off - start + 0x6C)[0] << 32
                    yield name, mode & S_IFMT, ino, size
            at += 65536 if step in (0, 65535) else step


def _wide(volume, mode):
    """Whether the size of such an inode has 64 bits."""
    mode &= S_IFMT
    return mode == S_IFREG or (mode == S_IFDIR and volume.incompat & _INCOMPAT_LARGEDIR)


def find(volume, node, name, path):
    """Inode number of a name in a directory.  OSError: ENOENT."""
    raw = name.encode()
    if len(raw) > _NAME_MAX:
        raise volume.error(_ENAMETOOLONG, path, "name of %d bytes" % len(raw))
    for block, start, end, where in blocks(volume, node):
        at = _find(block, start, end, raw, len(raw))
        if at < -1:
            raise volume.error(EIO, where, "record at %d: bad length" % (-2 - at))
        if at >= 0:
            return unpack_from("<I", block, at)[0]
    raise volume.error(ENOENT, path, "no such file or directory")
