"""FAT12, FAT16 and FAT32 with long names, read-only and fast: a file is a few large requests."""

from errno import EIO, ENOENT, EOPNOTSUPP
from struct import unpack_from

import micropython
from micropython import const

from fs.blocks import Blocks
from fs.part import utf16
from fs.base import S_IFDIR, S_IFMT, S_IFREG, Volume, local_time

_ENOTDIR = const(20)

_SECTOR_MIN = const(512)
_FAT12_MAX = const(4085)  # so many clusters are FAT16 already
_FAT16_MAX = const(65525)

_ENTRY = const(32)
_DIR_MAX = const(65536 * 32)
_ATTR_VOLUME = const(0x08)
_ATTR_DIR = const(0x10)
_ATTR_LONG = const(0x0F)
_CASE_BASE = const(0x08)
_CASE_EXT = const(0x10)
_LONG_LAST = const(0x40)
_LONG_MAX = const(20)
_LONG_CHARS = (1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30)

_PIECES = const(128)
_WINDOW = const(65536)  # bytes of the table at a time

# Code page 437, bytes 128 to 255: what short names are written in.
_CP437 = (
    "\xc7\xfc\xe9\xe2\xe4\xe0\xe5\xe7\xea\xeb\xe8\xef\xee\xec\xc4\xc5"
    "\xc9\xe6\xc6\xf4\xf6\xf2\xfb\xf9\xff\xd6\xdc\xa2\xa3\xa5\u20a7\u0192"
    "\xe1\xed\xf3\xfa\xf1\xd1\xaa\xba\xbf\u2310\xac\xbd\xbc\xa1\xab\xbb"
    "\u2591\u2592\u2593\u2502\u2524\u2561\u2562\u2556\u2555\u2563\u2551\u2557\u255d\u255c\u255b\u2510"
    "\u2514\u2534\u252c\u251c\u2500\u253c\u255e\u255f\u255a\u2554\u2569\u2566\u2560\u2550\u256c\u2567"
    "\u2568\u2564\u2565\u2559\u2558\u2552\u2553\u256b\u256a\u2518\u250c\u2588\u2584\u258c\u2590\u2580"
    "\u03b1\xdf\u0393\u03c0\u03a3\u03c3\xb5\u03c4\u03a6\u0398\u03a9\u03b4\u221e\u03c6\u03b5\u2229"
    "\u2261\xb1\u2265\u2264\u2320\u2321\xf7\u2248\xb0\u2219\xb7\u221a\u207f\xb2\u25a0\xa0"
)


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
        self._parse(boot)
        self._window = None
        self._window_first = 0
        extended = 66 if self.bits == 32 else 38
        self._label = ""
        if boot[extended] in (0x28, 0x29):
            low, high = unpack_from("<HH", boot, extended + 1)
            self.uuid = "%04X-%04X" % (high, low)
            self._label = _short_text(boot[extended + 5 : extended + 16]).rstrip()
        self._root = Node("/", S_IFDIR, 0, self._root_cluster, None)

    def _parse(self, boot):
        where = "boot sector"
        oem = bytes(boot[3:11])
        if oem in (b"EXFAT   ", b"NTFS    "):
            raise self.error(EOPNOTSUPP, where, _short_text(oem).rstrip())
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
        active = 0
        self._root_cluster = 0
        if self.bits == 32:
            self._root_cluster = unpack_from("<I", boot, 44)[0]
            flags = unpack_from("<H", boot, 40)[0]
            if flags & 0x80:
                active = flags & 0xF
            if active >= fats:
                raise self.error(EIO, where, "table %d of %d is the active one" % (active, fats))
        self.cluster_size = per_cluster * sector
        self._fat = (reserved + active * fat_sectors) * sector
        self._root_off = (reserved + fats * fat_sectors) * sector
        self._root_size = root_entries * _ENTRY
        self._data = data * sector

    @property
    def label(self):
        """The volume label: the root directory's, or else the boot sector's."""
        for raw in self._raw_entries(self._root):
            if raw[11] & 0x3F == _ATTR_VOLUME and raw[0] != 0xE5:
                return _short_text(raw[:11]).rstrip()
        return "" if self._label == "NO NAME" else self._label

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

    def _raw_entries(self, node):
        """The 32 bytes of each entry up to the end mark."""
        if node is self._root and self.bits != 32:
            pieces = [(self._root_off, self._root_size)]
        else:
            pieces = self._dir_pieces(node)
        for off, size in pieces:
            block = self.blocks.get(off, size)
            for at in range(0, size - size % _ENTRY, _ENTRY):
                if not block[at]:
                    return
                yield block[at : at + _ENTRY]

    def _dir_pieces(self, node):
        size = self.cluster_size
        for cluster, count in self._runs(node, 0, (_DIR_MAX + size - 1) // size):
            for n in range(count):
                yield self._data + (cluster + n - 2) * size, size

    def _nodes(self, node):
        """A Node for each file and directory in a directory, but not . and .."""
        name = _LongName()
        for raw in self._raw_entries(node):
            attributes = raw[11]
            if raw[0] == 0xE5:
                name.clear()
            elif attributes & 0x3F == _ATTR_LONG:
                name.add(raw)
            elif attributes & _ATTR_VOLUME:
                name.clear()
            else:
                text = name.take(raw) or _short_name(raw)
                if text not in (".", ".."):
                    yield self._node(text, raw)

    def _node(self, name, raw):
        high, low, size = unpack_from("<H4xHI", raw, 20)
        cluster = low | high << 16 if self.bits == 32 else low
        if raw[11] & _ATTR_DIR:
            return Node(name, S_IFDIR, 0, cluster, raw)
        return Node(name, S_IFREG, size, cluster, raw)

    def _entries(self, node):
        for child in self._nodes(node):
            yield child.name, child.mode, 0, child.size

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
        for child in self._nodes(node):
            if child.name.lower() == lower:
                return child
        for child in self._nodes(node):
            if child.raw is not None and _short_name(child.raw).lower() == lower:
                return child
        raise self.error(ENOENT, path, "no such file or directory")

    def _stat(self, node):
        times = (0, 0, 0)
        if node.raw is not None:
            created = unpack_from("<HHH", node.raw, 14)
            written = unpack_from("<HH", node.raw, 22)
            times = (_time(0, created[2]), _time(*written), _time(*created[:2]))
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


class _LongName:
    """Puts a long name together from the entries in front of the short one."""

    def __init__(self):
        self.clear()

    def clear(self):
        self._parts = []
        self._next = 0
        self._sum = -1

    def add(self, raw):
        order = raw[0] & 0x1F
        if raw[0] & _LONG_LAST:
            self._parts = []
            self._next = order
            self._sum = raw[13]
        if not order or order != self._next or order > _LONG_MAX or raw[13] != self._sum:
            self.clear()
            return
        self._next -= 1
        self._parts.insert(0, b"".join([bytes(raw[at : at + 2]) for at in _LONG_CHARS]))

    def take(self, raw):
        """The long name of a short entry, or an empty string."""
        parts, complete, stored = self._parts, self._next == 0, self._sum
        self.clear()
        if not parts or not complete:
            return ""
        checksum = 0
        for byte in raw[:11]:
            checksum = ((checksum & 1) << 7 | checksum >> 1) + byte & 0xFF
        return utf16(b"".join(parts)) if checksum == stored else ""


def _short_text(raw):
    return "".join([chr(byte) if byte < 128 else _CP437[byte - 128] for byte in raw])


def _short_name(raw):
    """NAME.EXT of a short entry, in lower case where Windows NT's two bits say so."""
    base = bytes(raw[:8])
    if base[0] == 0x05:
        base = b"\xe5" + base[1:]
    base, extension = _short_text(base).rstrip(), _short_text(raw[8:11]).rstrip()
    base = base.lower() if raw[12] & _CASE_BASE else base
    extension = extension.lower() if raw[12] & _CASE_EXT else extension
    return base + "." + extension if extension else base


def _time(clock, date):
    """Seconds of a DOS date and time."""
    if not date:
        return 0
    year, month, day = 1980 + (date >> 9), date >> 5 & 15, date & 31
    shifted = year - 1 if month <= 2 else year  # years that begin in March: leap days come last
    days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400
    days += ((month + 9) % 12 * 153 + 2) // 5 + day - 1 - 719468
    seconds = (clock >> 11) * 3600 + (clock >> 5 & 63) * 60 + (clock & 31) * 2
    return local_time(days * 86400 + seconds)
