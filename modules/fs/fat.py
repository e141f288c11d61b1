"""FAT12, FAT16 and FAT32 with long names, read-only and fast: a file is a few large requests."""

from errno import EIO, ENOENT, EOPNOTSUPP
from struct import unpack_from

import micropython
from micropython import const

from fs.blocks import Blocks
from fs import fatdir
from fs.base import S_IFDIR, S_IFMT, S_IFREG, Volume

_ENOTDIR = const(20)

_SECTOR_MIN = const(512)
_FAT12_MAX = const(4085)  # so many clusters are FAT16 already
_FAT16_MAX = const(65525)

_ENTRY = const(32)
_DIR_MAX = const(65536 * 32)
_ATTR_DIR = const(0x10)

_PIECES = const(128)
_WINDOW = const(65536)  # bytes of the table at a time

# The callers of these have checked that the table reaches from first to last.


@micropython.viper
def _run16(table: ptr16, index: int, cluster: int, most: int) -> int:
    # How many clusters from cluster on follow each other, at most that many; index is where
    # cluster's entry is in this part of the table.
    at = index
    last = index + most - 1
    cluster += 1
    while at < last and int(table[at]) == cluster:
        at += 1
        cluster += 1
    return at - index + 1


@micropython.viper
def _run32(table: ptr32, index: int, cluster: int, most: int) -> int:
    # The same for FAT32, whose four highest bits mean nothing.
    at = index
    last = index + most - 1
    cluster += 1
    while at < last and int(table[at]) & 0x0FFFFFFF == cluster:
        at += 1
        cluster += 1
    return at - index + 1


@micropython.viper
def _unpack12(table: ptr8, entries: ptr16, count: int):
    i = 0
    while i < count:
        at = i + (i >> 1)
        pair = int(table[at]) | int(table[at + 1]) << 8
        if i & 1:
            entries[i] = pair >> 4
        else:
            entries[i] = pair & 0xFFF
        i += 1


@micropython.viper
def _zeros(table: ptr8, first: int, count: int, width: int) -> int:
    # How many of count entries are zero: the clusters that are free.
    free = 0
    at = first * width
    end = at + count * width
    while at < end:
        if not table[at] | table[at + 1]:
            if width == 2 or not table[at + 2] | (table[at + 3] & 15):
                free += 1
        at += width
    return free


class Node:
    """A directory entry: name, mode, size, its first cluster and the 32 bytes on the disk."""

    def __init__(self, name, mode, size, cluster, raw):
        self.name = name
        self.mode = mode
        self.size = size
        self.cluster = cluster
        self.raw = raw
        self.place = (0, cluster)  # a position in the chain and the cluster there

    def __repr__(self):
        return "<%r %d bytes at cluster %d>" % (self.name, self.size, self.cluster)


class Fat(Volume):
    """A read-only FAT volume on a block device; for reading and writing mount it with VfsFat.

    OSError: EOPNOTSUPP names what is not supported, EIO what is damaged and where.
    """

    type = "fat"

    def __init__(self, bdev, blocks=None):
        super().__init__()
        self.blocks = blocks or Blocks(bdev)
        if self.blocks.size < _SECTOR_MIN:
            raise self.error(EIO, "boot sector", "the device has %d bytes" % self.blocks.size)
        boot = self.blocks.get(0, _SECTOR_MIN)
        self._root_cluster = 0
        self._parse(boot)
        self._window = None
        self._window_first = 0
        self._last = None
        extended = 66 if self.bits == 32 else 38
        self._label = ""
        if boot[extended] in (0x28, 0x29):
            low, high = unpack_from("<HH", boot, extended + 1)
            self.uuid = "%04X-%04X" % (high, low)
            self._label = fatdir.short_text(boot[extended + 5 : extended + 16]).rstrip()
        self._root = Node("/", S_IFDIR, 0, self._root_cluster, None)

    def _parse(self, boot):
        where = "boot sector"
        oem = bytes(boot[3:11])
        if oem in (b"EXFAT   ", b"NTFS    "):
            raise self.error(EOPNOTSUPP, where, fatdir.short_text(oem).rstrip())
        if boot[510] != 0x55 or boot[511] != 0xAA:
            raise self.error(EIO, where, "bad signature")
        sector, per_cluster, reserved, fats, root_entries = unpack_from("<HBHBH", boot, 11)
        total, fat_sectors = unpack_from("<H", boot, 19)[0], unpack_from("<H", boot, 22)[0]
        total = total or unpack_from("<I", boot, 32)[0]
        self.bits = 0 if fat_sectors else 32
        fat_sectors = fat_sectors or unpack_from("<I", boot, 36)[0]
        if sector not in (512, 1024, 2048, 4096):
            raise self.error(EIO, where, "%d bytes per sector" % sector)
        if not per_cluster or per_cluster & (per_cluster - 1):
            raise self.error(EIO, where, "%d sectors per cluster" % per_cluster)
        if not reserved or not fats or not fat_sectors:
            why = "%d reserved, %d tables of %d sectors" % (reserved, fats, fat_sectors)
            raise self.error(EIO, where, why)
        if total * sector > self.blocks.size:
            why = "%d sectors of %d bytes, the device has %d bytes" % (total, sector, self.blocks.size)
            raise self.error(EIO, where, why)
        root_sectors = (root_entries * _ENTRY + sector - 1) // sector
        data = reserved + fats * fat_sectors + root_sectors
        self.clusters = (total - data) // per_cluster
        if self.clusters < 1:
            raise self.error(EIO, where, "data begins at sector %d of %d" % (data, total))
        self.bits = self.bits or (12 if self.clusters < _FAT12_MAX else 16 if self.clusters < _FAT16_MAX else 32)
        if fat_sectors * sector * 8 < (self.clusters + 2) * self.bits:
            why = "a table of %d sectors for %d clusters" % (fat_sectors, self.clusters)
            raise self.error(EIO, where, why)
        active = self._fat32(boot, fats, where) if self.bits == 32 else 0
        self.cluster_size = per_cluster * sector
        self._fat = (reserved + active * fat_sectors) * sector
        self._root_off = (reserved + fats * fat_sectors) * sector
        self._root_size = root_entries * _ENTRY
        self._data = data * sector

    def _fat32(self, boot, fats, where):
        """Which table is the active one."""
        self._root_cluster = unpack_from("<I", boot, 44)[0]
        flags = unpack_from("<H", boot, 40)[0]
        active = flags & 0xF if flags & 0x80 else 0
        if active >= fats:
            raise self.error(EIO, where, "table %d of %d is the active one" % (active, fats))
        return active

    @property
    def label(self):
        """The volume label: the root directory's, or else the boot sector's."""
        label = fatdir.label(self._data_of(self._root)) or self._label
        return "" if label == "NO NAME" else label

    # Cluster chains

    def _load(self, cluster):
        """Have the part of the table that holds cluster's entry at hand."""
        if self.bits == 12:
            if self._window is None:
                count = self.clusters + 2
                packed = bytearray(self.blocks.get(self._fat, (count * 3 + 1) // 2)) + b"\0"
                self._window = memoryview(bytearray(2 * count))
                _unpack12(packed, self._window, count)
            return
        width = self.bits // 8
        per_window = _WINDOW // width
        first = cluster - cluster % per_window
        if self._window is None or self._window_first != first:
            self._window = None
            count = min(per_window, self.clusters + 2 - first)
            window = memoryview(bytearray(count * width))
            self.blocks.read([(self._fat + first * width, window)])
            self._window_first = first
            self._window = window

    def _follow(self, cluster, most):
        """(number of clusters in a row from cluster on, at most that many; what the last points to)."""
        self._load(cluster)
        index = cluster - self._window_first
        width = 4 if self.bits == 32 else 2
        most = min(most, len(self._window) // width - index)
        if width == 4:
            n = _run32(self._window, index, cluster, most)
            return n, unpack_from("<I", self._window, 4 * (index + n - 1))[0] & 0x0FFFFFFF
        n = _run16(self._window, index, cluster, most)
        return n, unpack_from("<H", self._window, 2 * (index + n - 1))[0]

    def _runs(self, node, start, end):
        """(cluster, number) for positions start to end of a chain; a directory's may end before.

        A cluster that was passed some power of two steps ago tells a loop.
        """
        index, cluster = node.place if node.place[0] <= start else (0, node.cluster)
        last = (1 << self.bits if self.bits < 32 else 1 << 28) - 8
        mark, steps, limit = 0, 0, 1
        while index < end:
            if cluster >= last and node.mode & S_IFMT == S_IFDIR:
                return
            if not 2 <= cluster < self.clusters + 2:
                why = "ends after %d of %d clusters" % (index, end)
                if cluster < last:
                    why = "cluster %d after %d of %d" % (cluster, index, end)
                raise self.error(EIO, "%s: cluster chain from %d" % (node.name, node.cluster), why)
            count, after = self._follow(cluster, end - index)
            if cluster <= mark < cluster + count:
                what = "%s: cluster chain from %d" % (node.name, node.cluster)
                raise self.error(EIO, what, "comes back to cluster %d" % mark)
            steps += 1
            if steps == limit:
                mark, steps, limit = cluster, 0, limit * 2
            if index <= start:
                node.place = (index, cluster)
            skip = max(0, start - index)
            if skip < count:
                yield cluster + skip, count - skip
            index += count
            cluster = after

    def _read_node(self, node, off, view):
        size = self.cluster_size
        if node.size > self.clusters * size:
            raise self.error(EIO, node.name, "%d bytes in %d clusters" % (node.size, self.clusters))
        end = off + len(view)
        at = off - off % size
        pieces = []
        begin = length = 0  # of the run on the disk that is being put together
        for cluster, count in self._runs(node, off // size, (end + size - 1) // size):
            where = self._data + (cluster - 2) * size
            if length and begin + length == where:
                length += count * size
                continue
            at = self._piece(pieces, begin, length, at, off, view)
            begin, length = where, count * size
        self._piece(pieces, begin, length, at, off, view)
        self.blocks.read(pieces)

    def _piece(self, pieces, begin, length, at, off, view):
        # The run holds the file's bytes from at on; view wants those from off on.
        if length:
            skip = max(0, off - at)
            stop = min(length, off + len(view) - at)
            pieces.append((begin + skip, view[at + skip - off : at + stop - off]))
            if len(pieces) >= _PIECES:
                self.blocks.read(pieces)
                pieces.clear()
        return at + length

    # Directories

    def _data_of(self, node):
        """All entries of a directory; those of the last one are kept."""
        if self._last != node.cluster:
            if node is self._root and self.bits != 32:
                pieces, total = [(self._root_off, self._root_size)], self._root_size
            else:
                size = self.cluster_size
                runs = list(self._runs(node, 0, (_DIR_MAX + size - 1) // size))
                pieces = [(self._data + (cluster - 2) * size, count * size) for cluster, count in runs]
                total = sum([piece[1] for piece in pieces])
            self._last_data = data = memoryview(bytearray(total))
            self._last = None
            at = 0
            for i in range(len(pieces)):
                off, length = pieces[i]
                pieces[i] = off, data[at : at + length]
                at += length
            self.blocks.read(pieces)
            self._last = node.cluster
        return self._last_data

    def _node(self, name, raw):
        high, low, size = unpack_from("<H4xHI", raw, 20)
        cluster = low | high << 16 if self.bits == 32 else low
        if raw[11] & _ATTR_DIR:
            return Node(name, S_IFDIR, 0, cluster, raw)
        return Node(name, S_IFREG, size, cluster, raw)

    def _entries(self, node):
        data = self._data_of(node)
        for name, at in fatdir.files(data):
            is_dir = data[at + 11] & _ATTR_DIR
            size = 0 if is_dir else unpack_from("<I", data, at + 28)[0]
            yield name, S_IFDIR if is_dir else S_IFREG, 0, size

    def _lookup(self, path, follow=True):
        full = self._full(path)
        stack = [self._root]
        for name in full.split("/")[1:]:
            if not name:
                continue
            if stack[-1].mode != S_IFDIR:
                raise self.error(_ENOTDIR, path, "goes through something that is no directory")
            child = self._child(stack[-1], name.lower(), path)
            if child.mode == S_IFDIR and any([child.cluster == above.cluster for above in stack]):
                why = "loop: it is the directory itself or one above it"
                raise self.error(EIO, "directory '%s'" % child.name, why)
            stack.append(child)
        if path.endswith("/") and stack[-1].mode != S_IFDIR:
            raise self.error(_ENOTDIR, path, "is not a directory")
        return stack[-1]

    def _child(self, node, lower, path):
        data = self._data_of(node)
        found = fatdir.find(data, lower)
        if found is None:
            raise self.error(ENOENT, path, "no such file or directory")
        name, at = found
        return self._node(name, bytes(data[at : at + _ENTRY]))

    def _stat(self, node):
        times = (0, 0, 0)
        if node.raw is not None:
            created = unpack_from("<HHH", node.raw, 14)
            written = unpack_from("<HH", node.raw, 22)
            pairs = (0, created[2]), written, created[:2]
            times = tuple([fatdir.seconds(*pair) for pair in pairs])
        return (node.mode, 0, 0, 0, 0, 0, node.size) + times

    def _statvfs(self):
        size = self.cluster_size
        free = self._free()
        return (size, size, self.clusters, free, free, 0, 0, 0, 1, 255)

    def _free(self):
        free, cluster = 0, 2
        width = 4 if self.bits == 32 else 2
        while cluster < self.clusters + 2:
            self._load(cluster)
            first = cluster - self._window_first
            count = len(self._window) // width - first
            free += _zeros(self._window, first, count, width)
            cluster += count
        return free
