"""ext2, ext3 and ext4, read-only: superblock, group descriptors, inodes, path walk."""

from binascii import hexlify
from errno import EIO, EINVAL, EOPNOTSUPP
from struct import pack, pack_into, unpack_from

from micropython import const

from fs import extdir, extmap
from fs.blocks import Blocks
from fs.crc import crc16, crc32c
from fs.base import S_IFDIR, S_IFLNK, S_IFMT, Volume, local_time, text

_ENOTDIR = const(20)
_ELOOP = const(40)

_SB_OFF = const(1024)
_SB_SIZE = const(1024)
_SB_MAGIC = const(0xEF53)
_SB_CHECKSUM = const(0x3FC)
_ROOT_INO = const(2)

_INCOMPAT_RECOVER = const(0x4)
_INCOMPAT_META_BG = const(0x10)
_INCOMPAT_64BIT = const(0x80)
_INCOMPAT_CSUM_SEED = const(0x2000)
_INCOMPAT_LARGEDIR = const(0x4000)
# filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir,
# inline_data, encrypt and casefold (these two are refused where an inode uses them)
_INCOMPAT_KNOWN = const(0x3E7D6)
_INCOMPAT_NAMES = {
    0x1: "compression",
    0x8: "journal_dev",
    0x1000: "dirdata",
}
_RO_COMPAT_GDT_CSUM = const(0x10)
_RO_COMPAT_METADATA_CSUM = const(0x400)
_RO_COMPAT_SPARSE_SUPER = const(0x1)
_COMPAT_SPARSE_SUPER2 = const(0x200)

_INODE_COMPRESSED = const(0x4)
_INODE_ENCRYPTED = const(0x800)
_INODE_EXTENTS = const(0x80000)
_INODE_INLINE = const(0x10000000)

_MAX_LINKS = const(40)
_NAME_MAX = const(255)
_FAST_LINK = const(60)
_LINK_MAX = const(4096)


class Inode:
    """One inode: ino, mode, size, flags, and raw, its bytes on the disk."""

    def __init__(self, ino, raw, large_dirs=False):
        self.ino = ino
        self.raw = raw
        self.mode = unpack_from("<H", raw, 0)[0]
        self.size = unpack_from("<I", raw, 4)[0]
        kind = self.mode & S_IFMT
        if kind == 0x8000 or (kind == S_IFDIR and large_dirs):
            self.size |= unpack_from("<I", raw, 0x6C)[0] << 32
        self.flags = unpack_from("<I", raw, 0x20)[0]
        self.seed = 0

    @property
    def map(self):
        """The 60 bytes that map the blocks or hold a short symbolic link."""
        return self.raw[0x28:0x64]


class Ext4(Volume):
    """A read-only ext2/3/4 volume on a block device.

    OSError: EOPNOTSUPP names a feature that is not supported, EIO what is damaged and where.
    """

    type = "ext4"

    def __init__(self, bdev, blocks=None):
        super().__init__()
        self.blocks = blocks or Blocks(bdev)
        if self.blocks.size < _SB_OFF + _SB_SIZE:
            raise self.error(EIO, "superblock", "the device has %d bytes" % self.blocks.size)
        self._tables = {}
        self._root = None
        self._superblock(self.blocks.get(_SB_OFF, _SB_SIZE))
        if self.incompat & _INCOMPAT_RECOVER:
            self._replay()

    def _replay(self):
        """Look at the disk as it will be when the journal has been replayed; nothing is written."""
        from fs.journal import Journal, Overlay

        number = unpack_from("<I", self.blocks.get(_SB_OFF, _SB_SIZE), 0xE0)[0]
        try:
            if not number:
                raise self.error(EOPNOTSUPP, "journal", "on another device")
            journal = Journal(self, self.inode(number))
        except OSError as error:
            self.note = "journal not replayed, the latest changes may be missing: %s" % error
            return
        self.note = "journal holds no changes"
        if journal.moved:
            self.note = "journal replayed in memory: %d blocks" % len(journal.moved)
            self.blocks = Overlay(self.blocks, self, journal)
            self._tables = {}
            self._superblock(self.blocks.get(_SB_OFF, _SB_SIZE))

    # Superblock and group descriptors

    def _superblock(self, sb):
        where = "superblock"
        if unpack_from("<H", sb, 0x38)[0] != _SB_MAGIC:
            raise self.error(EIO, where, "bad magic")
        revision = unpack_from("<I", sb, 0x4C)[0]
        self.compat, incompat, ro_compat = unpack_from("<III", sb, 0x5C) if revision else (0, 0, 0)
        self.incompat, self.ro_compat = incompat, ro_compat
        self.has_csum = bool(ro_compat & _RO_COMPAT_METADATA_CSUM)
        if self.has_csum and crc32c(sb[:_SB_CHECKSUM]) != unpack_from("<I", sb, _SB_CHECKSUM)[0]:
            raise self.error(EIO, where, "bad checksum")
        unknown = incompat & ~_INCOMPAT_KNOWN
        if unknown:
            raise self.error(EOPNOTSUPP, where, "feature " + _feature_names(unknown))
        self._geometry(sb, revision, where)
        uuid = bytes(sb[0x68:0x78])
        self.seed = unpack_from("<I", sb, 0x270)[0]
        if self.has_csum and not incompat & _INCOMPAT_CSUM_SEED:
            self.seed = crc32c(uuid)
        self._raw_uuid = uuid
        digits = hexlify(uuid).decode()
        self.uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        self.label = text(bytes(sb[0x78:0x88]).split(b"\0")[0])

    def _geometry(self, sb, revision, where):
        log_size = unpack_from("<I", sb, 0x18)[0]
        if log_size > 6:
            raise self.error(EIO, where, "block size 2^%d" % (10 + log_size))
        self.block_size = size = 1024 << log_size
        self.inodes, count = unpack_from("<II", sb, 0)
        if self.incompat & _INCOMPAT_64BIT:
            count |= unpack_from("<I", sb, 0x150)[0] << 32
        self.count = count
        self.first = unpack_from("<I", sb, 0x14)[0]
        self.per_group, _, self.inodes_per_group = unpack_from("<III", sb, 0x20)
        self.inode_size = unpack_from("<H", sb, 0x58)[0] if revision else 128
        self.desc_size = 32
        if self.incompat & _INCOMPAT_64BIT:
            self.desc_size = unpack_from("<H", sb, 0xFE)[0]
        self._first_meta_bg = unpack_from("<I", sb, 0x104)[0]
        self._backup_bgs = unpack_from("<II", sb, 0x24C)
        if count <= self.first or self.first > 1 or count * size > self.blocks.size:
            why = "%d blocks of %d bytes, the device has %d bytes" % (count, size, self.blocks.size)
            raise self.error(EIO, where, why)
        if not self.per_group or self.per_group > 1 << 24:
            raise self.error(EIO, where, "%d blocks per group" % self.per_group)
        self.groups = (count - self.first + self.per_group - 1) // self.per_group
        per_block = size // self.inode_size if self.inode_size else 0
        if self.inode_size < 128 or self.inode_size & (self.inode_size - 1) or not per_block:
            raise self.error(EIO, where, "inode size %d" % self.inode_size)
        if not self.inodes_per_group or self.inodes_per_group > size * 8:
            raise self.error(EIO, where, "%d inodes per group" % self.inodes_per_group)
        if self.inodes > self.groups * self.inodes_per_group or self.inodes < _ROOT_INO:
            raise self.error(EIO, where, "%d inodes in %d groups" % (self.inodes, self.groups))
        if not 32 <= self.desc_size <= size or self.desc_size & (self.desc_size - 1):
            raise self.error(EIO, where, "group descriptor size %d" % self.desc_size)

    def _descriptor_off(self, group):
        """Byte offset of a group's descriptor."""
        per_block = self.block_size // self.desc_size
        number, slot = group // per_block, group % per_block
        block = _SB_OFF // self.block_size + 1 + number
        if self.incompat & _INCOMPAT_META_BG and number >= self._first_meta_bg:
            first = number * per_block
            block = self.first + first * self.per_group + (1 if self._has_super(first) else 0)
            if first == 0 and self.block_size == 1024 and not self.first:
                block += 1
        return block * self.block_size + slot * self.desc_size

    def _has_super(self, group):
        if self.compat & _COMPAT_SPARSE_SUPER2:
            return group == 0 or group in self._backup_bgs
        if group < 2 or not self.ro_compat & _RO_COMPAT_SPARSE_SUPER:
            return True
        for base in (3, 5, 7):
            power = base
            while power < group:
                power *= base
            if power == group:
                return True
        return False

    def _inode_table(self, group):
        where = "group descriptor %d" % group
        off = self._descriptor_off(group)
        if off + self.desc_size > self.count * self.block_size:
            raise self.error(EIO, where, "outside the volume")
        desc = self.blocks.get(off, self.desc_size)
        self._check_descriptor(group, desc, where)
        table = unpack_from("<I", desc, 8)[0]
        if self.desc_size >= 64:
            table |= unpack_from("<I", desc, 0x28)[0] << 32
        length = (self.inodes_per_group * self.inode_size + self.block_size - 1) // self.block_size
        if table <= self.first or table + length > self.count:
            raise self.error(EIO, where, "inode table at block %d of %d" % (table, self.count))
        self._tables[group] = table
        return table

    def _check_descriptor(self, group, desc, where):
        if not self.has_csum and not self.ro_compat & _RO_COMPAT_GDT_CSUM:
            return
        copy = bytearray(desc)
        stored = unpack_from("<H", copy, 0x1E)[0]
        number = pack("<I", group)
        if self.has_csum:
            pack_into("<H", copy, 0x1E, 0)
            crc = crc32c(copy, crc32c(number, self.seed)) & 0xFFFF
        else:
            crc = crc16(copy[:0x1E], crc16(number, crc16(self._raw_uuid)))
            if self.desc_size > 32:
                crc = crc16(copy[0x20:], crc)
        if crc != stored:
            raise self.error(EIO, where, "bad checksum")

    # Inodes

    def inode_off(self, ino):
        """Byte offset of an inode."""
        if not 1 <= ino <= self.inodes:
            raise self.error(EIO, "inode %d" % ino, "there are %d" % self.inodes)
        group, index = (ino - 1) // self.inodes_per_group, (ino - 1) % self.inodes_per_group
        table = self._tables.get(group) or self._inode_table(group)
        return table * self.block_size + index * self.inode_size

    def inode(self, ino):
        """Read and check one inode."""
        where = "inode %d" % ino
        raw = self.blocks.get(self.inode_off(ino), self.inode_size)
        node = Inode(ino, raw, self.incompat & _INCOMPAT_LARGEDIR)
        if self.has_csum:
            self._check_inode(node, where)
        if not node.mode & S_IFMT or not unpack_from("<H", raw, 0x1A)[0]:
            raise self.error(EIO, where, "not in use")
        if node.size >> 48:
            raise self.error(EIO, where, "size %d" % node.size)
        return node

    def _check_inode(self, node, where):
        copy = bytearray(node.raw)
        node.seed = crc32c(copy[0x64:0x68], crc32c(pack("<I", node.ino), self.seed))
        stored = unpack_from("<H", copy, 0x7C)[0]
        pack_into("<H", copy, 0x7C, 0)
        mask = 0xFFFF
        if self.inode_size > 128 and unpack_from("<H", copy, 0x80)[0] >= 4:
            stored |= unpack_from("<H", copy, 0x82)[0] << 16
            pack_into("<H", copy, 0x82, 0)
            mask = 0xFFFFFFFF
        if crc32c(copy, node.seed) & mask != stored:
            raise self.error(EIO, where, "bad checksum")

    def readable(self, node):
        """Refuse what is encrypted or compressed."""
        if node.flags & _INODE_ENCRYPTED:
            raise self.error(EOPNOTSUPP, "inode %d" % node.ino, "encrypted")
        if node.flags & _INODE_COMPRESSED:
            raise self.error(EOPNOTSUPP, "inode %d" % node.ino, "compressed")

    def _read_node(self, node, off, view):
        self.readable(node)
        if node.flags & _INODE_INLINE:
            data = extmap.inline(self, node)
            view[:] = data[off : off + len(view)]
        else:
            extmap.read(self, node, off, view)

    def _stat(self, node):
        raw = node.raw
        uid, gid = unpack_from("<H", raw, 2)[0], unpack_from("<H", raw, 0x18)[0]
        uid |= unpack_from("<H", raw, 0x78)[0] << 16
        gid |= unpack_from("<H", raw, 0x7A)[0] << 16
        atime, ctime, mtime = unpack_from("<III", raw, 8)
        times = [self._time(node, *pair) for pair in ((atime, 0x8C), (mtime, 0x88), (ctime, 0x84))]
        links = unpack_from("<H", raw, 0x1A)[0]
        return (node.mode, node.ino, 0, links, uid, gid, node.size, times[0], times[1], times[2])

    def _time(self, node, seconds, extra):
        if seconds & 0x80000000:
            seconds -= 1 << 32
        if self.inode_size > 128 and extra + 4 <= 128 + unpack_from("<H", node.raw, 0x80)[0]:
            seconds += (unpack_from("<I", node.raw, extra)[0] & 3) << 32
        return local_time(seconds)

    def _statvfs(self):
        sb = self.blocks.get(_SB_OFF, _SB_SIZE)
        free, free_inodes = unpack_from("<II", sb, 0xC)
        if self.incompat & _INCOMPAT_64BIT:
            free |= unpack_from("<I", sb, 0x158)[0] << 32
        size = self.block_size
        return (size, size, self.count, free, free, self.inodes, free_inodes, free_inodes, 1, _NAME_MAX)

    def _entries(self, node):
        return extdir.entries(self, node)

    # Paths

    def _lookup(self, path, follow=True):
        """Walk to a path's inode; the stack of directories makes .. and loops safe."""
        todo = self._names(path if path.startswith("/") else self._cwd + "/" + path)
        if self._root is None:
            self._root = self.inode(_ROOT_INO)
        stack = [self._root]
        links = 0
        while todo:
            name = todo.pop()
            if stack[-1].mode & S_IFMT != S_IFDIR:
                raise self.error(_ENOTDIR, path, "goes through something that is no directory")
            if name == ".":
                continue
            if name == "..":
                if len(stack) > 1:
                    stack.pop()
                continue
            node = self.inode(extdir.find(self, stack[-1], name, path))
            kind = node.mode & S_IFMT
            if kind == S_IFLNK and (todo or follow):
                links += 1
                if links > _MAX_LINKS:
                    raise self.error(_ELOOP, path, "too many symbolic links")
                target = self._link(node)
                if target.startswith("/"):
                    stack = stack[:1]
                todo.extend(self._names(target))
                continue
            if kind == S_IFDIR and any([node.ino == above.ino for above in stack]):
                why = "loop: '%s' is the directory itself or one above it" % name
                raise self.error(EIO, "directory inode %d" % stack[-1].ino, why)
            stack.append(node)
        return stack[-1]

    def _names(self, path):
        """A path's components, last first; a trailing slash asks for a directory."""
        names = [name for name in path.split("/") if name]
        if path.endswith("/") and names:
            names.append(".")
        names.reverse()
        return names

    def _link(self, node):
        size = node.size
        where = "inode %d" % node.ino
        if not 0 < size <= _LINK_MAX:
            raise self.error(EIO, where, "symbolic link of %d bytes" % size)
        blocks, acl = unpack_from("<I", node.raw, 0x1C)[0], unpack_from("<I", node.raw, 0x68)[0]
        own = blocks - (self.block_size // 512 if acl else 0)
        if size < _FAST_LINK and own <= 0 and not node.flags & (_INODE_INLINE | _INODE_EXTENTS):
            target = bytes(node.map[:size])
        else:
            buf = bytearray(size)
            self._read_node(node, 0, memoryview(buf))
            target = bytes(buf)
        if b"\0" in target:
            raise self.error(EIO, where, "symbolic link holds a zero byte")
        return text(target)

    def readlink(self, path):
        """Where a symbolic link points."""
        node = self._lookup(path, False)
        if node.mode & S_IFMT != S_IFLNK:
            raise self.error(EINVAL, path, "is not a symbolic link")
        return self._link(node)


def _feature_names(bits):
    names = []
    bit = 1
    while bits:
        if bits & 1:
            names.append(_INCOMPAT_NAMES.get(bit, "incompat 0x%x" % bit))
        bits >>= 1
        bit <<= 1
    return ", ".join(names)
