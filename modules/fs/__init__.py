"""File systems on block devices: what is on one, read-only volumes for fast reading, mounting.

fs.table(blk)                  its partitions
fs.volume(part)                ext2/3/4 or FAT: read_into, open, stat, ilistdir
fs.mount(part, '/sd')          into the VFS, whatever it is
"""

from errno import EIO, ENODEV, EOPNOTSUPP
from struct import unpack_from

from micropython import const

from fs.blocks import Blocks
from fs.part import table

__all__ = ("find", "help", "mount", "probe", "table", "volume")

_IOCTL_COUNT = const(4)
_IOCTL_SIZE = const(5)

_HEAD = const(4096)
_CD = const(32768)
_LITTLEFS_MAGIC = b"littlefs"
_ROMFS_MAGIC = b"\xd2\xcd\x31"
_KNOWN = (  # named when refused
    (3, b"EXFAT   ", "exFAT"),
    (3, b"NTFS    ", "NTFS"),
    (0, b"XFSB", "XFS"),
    (0, b"hsqs", "squashfs"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (536, b"LVM2 001", "LVM"),
    (4086, b"SWAPSPACE2", "swap"),
)


def _is_cd(blocks):
    """Whether there is a volume descriptor of ISO 9660."""
    return blocks.size >= _CD + 6 and bytes(blocks.get(_CD, 6)[1:]) == b"CD001"


def _head(blocks):
    """The first 4096 bytes, zeros where the device is shorter."""
    size = min(_HEAD, blocks.size)
    head = blocks.get(0, size)
    return head if size == _HEAD else memoryview(bytes(head) + bytes(_HEAD - size))


def _identify(head):
    if unpack_from("<H", head, 1080)[0] == 0xEF53:
        return "ext4"
    if bytes(head[8:16]) == _LITTLEFS_MAGIC:
        return "littlefs"
    if bytes(head[:3]) == _ROMFS_MAGIC:
        return "romfs"
    if head[510] == 0x55 and head[511] == 0xAA and head[0] in (0xEB, 0xE9):
        sector, cluster, reserved, fats = unpack_from("<HBHB", head, 11)
        if sector in (512, 1024, 2048, 4096) and cluster and not cluster & (cluster - 1):
            if reserved and 1 <= fats <= 4:
                return "fat"
    return None


def probe(bdev):
    """What is on a partition or disk: 'ext4' (ext2, ext3 too), 'fat', 'iso9660', 'littlefs', 'romfs' or None."""
    return _kind(Blocks(bdev))[0]


def _kind(blocks):
    """(name of the file system, the first bytes)."""
    head = _head(blocks)
    kind = _identify(head)
    if kind is None and _is_cd(blocks):
        kind = "iso9660"
    return kind, head


def find(bdev, number=None, label=None, uuid=None):
    """The partition with that number, label or UUID: its own (PARTUUID) or its file system's.

    OSError: ENODEV.
    """
    found = table(bdev)
    try:
        return found.find(number, label, uuid)
    except OSError:
        for part in found.parts or [bdev]:
            if number is None and _is_called(part, label, uuid):
                return part
        raise


def _is_called(bdev, label, uuid):
    try:
        found = volume(bdev)
        return label in (None, found.label) and (uuid is None or uuid.lower() == found.uuid.lower())
    except OSError:  # nothing that can be read there has the name
        return False


def volume(bdev):
    """A read-only volume over a partition or disk: an Ext4, a Fat or an Iso. A Share is one already.

    OSError: ENODEV when there is no file system that it knows, EIO and EOPNOTSUPP from the volume.
    """
    if hasattr(bdev, "read_into"):
        return bdev
    blocks = Blocks(bdev)
    kind, head = _kind(blocks)
    if kind == "ext4":
        from fs.ext4 import Ext4

        return Ext4(bdev, blocks)
    if kind == "fat":
        from fs.fat import Fat

        return Fat(bdev, blocks)
    if kind == "iso9660":
        from fs.iso import Iso

        return Iso(bdev, blocks)
    if kind:
        raise OSError(EOPNOTSUPP, "%s: no reader of its own, use fs.mount()" % kind)
    raise _unknown(head)


def _unknown(head):
    """The error for a start of a disk that nothing claims."""
    if _was_ext(head):
        return OSError(EIO, "ext4: superblock: bad magic")
    if bytes(head[54:57]) == b"FAT" or bytes(head[82:85]) == b"FAT":
        return OSError(EIO, "fat: boot sector: bad signature")
    for off, magic, name in _KNOWN:
        if bytes(head[off : off + len(magic)]) == magic:
            return OSError(EOPNOTSUPP, "%s: not supported" % name)
    what = "empty" if not any(head) else "no file system that is known here"
    return OSError(ENODEV, "first %d bytes: %s" % (_HEAD, what))


def _was_ext(head):
    # All of an ext superblock but its magic: sizes that fit each other.
    log_size, _, per_group = unpack_from("<III", head, 1048)
    inode_size = unpack_from("<H", head, 1112)[0]
    if log_size > 6 or inode_size < 128 or inode_size & (inode_size - 1):
        return False
    return per_group and per_group <= 8 << 10 + log_size and not per_group & 7


def mount(bdev, path, readonly=False):
    """Mount what is on a partition or disk: ext2/3/4 and CDs read-only, FAT, littlefs, romfs; or a Share.

    readonly: a FAT is then read by fs.fat, which is much faster with large files than VfsFat.
    Returns the mounted object.  OSError: ENODEV, EOPNOTSUPP, EIO.
    """
    import vfs

    if hasattr(bdev, "read_into"):
        vfs.mount(bdev, path, readonly=readonly)
        return bdev
    kind, head = _kind(Blocks(bdev))
    if kind == "ext4" or kind == "iso9660" or (kind == "fat" and readonly):
        mounted = volume(bdev)
    elif kind == "fat":
        mounted = vfs.VfsFat(bdev)
    elif kind == "littlefs":
        mounted = vfs.VfsLfs2(_littlefs_device(bdev, unpack_from("<I", head, 24)[0]))
    elif kind == "romfs":
        mounted = vfs.VfsRom(_romfs_image(bdev, head))
    else:
        raise _unknown(head)
    vfs.mount(mounted, path, readonly=readonly)
    return mounted


class _Littlefs:
    """Shows a device with the block size that the littlefs on it was made with."""

    def __init__(self, bdev, size):
        self._bdev = bdev
        self._size = size
        self._per = size // (bdev.ioctl(_IOCTL_SIZE, 0) or 512)
        self._count = bdev.ioctl(_IOCTL_COUNT, 0) // self._per

    def readblocks(self, block, buf, off=0):
        """Read len(buf) bytes from a byte offset into a block on."""
        return self._bdev.readblocks(block * self._per, buf, off)

    def writeblocks(self, block, buf, off=None):
        """Write blocks, or len(buf) bytes at a byte offset into a block."""
        if off is None:
            return self._bdev.writeblocks(block * self._per, buf)
        return self._bdev.writeblocks(block * self._per, buf, off)

    def ioctl(self, op, arg):
        """The block protocol's ioctl; erasing is nothing to do."""
        if op == _IOCTL_COUNT:
            return self._count
        if op == _IOCTL_SIZE:
            return self._size
        return 0 if op == 6 else self._bdev.ioctl(op, arg)


def _littlefs_device(bdev, size):
    own = bdev.ioctl(_IOCTL_SIZE, 0) or 512
    if size == own or size % own or not 128 <= size <= 1 << 20:
        return bdev
    return _Littlefs(bdev, size)


def _romfs_image(bdev, head):
    """The whole image in memory: its length follows the magic, seven bits to a byte."""
    size, at = 0, 3
    while at < 13:
        size = size << 7 | head[at] & 0x7F
        at += 1
        if not head[at - 1] & 0x80:
            break
    blocks = Blocks(bdev)
    if at + size > blocks.size or at + size > 16 << 20:
        raise OSError(EOPNOTSUPP, "romfs: image of %d bytes" % size)
    image = bytearray(at + size)
    blocks.read([(0, memoryview(image))])
    return image


def help():
    """Print the words of this module."""
    print("fs.table(disk)           partitions: table[1], for part in table")
    print("fs.find(disk, label=..)  one by number, label or uuid, its own or its file system's")
    print("fs.probe(part)           what file system is on it")
    print("fs.volume(part)          read_into, open, stat, ilistdir, size, read")
    print("fs.mount(part, '/sd')    into the VFS; ext2/3/4 and CDs are read-only")
