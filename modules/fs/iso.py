"""ISO 9660, what CDs are written in: read-only, with Rock Ridge's names and links or Joliet's names."""

from errno import EIO, ENOENT, EOPNOTSUPP
from struct import unpack_from

from micropython import const

from fs.base import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Volume, local_time, text
from fs.blocks import Blocks

_ENOTDIR = const(20)
_ELOOP = const(40)

_SECTOR = const(2048)
_FIRST = const(16)  # of the volume descriptors
_DESCRIPTORS = const(64)  # looked at, at most
_PRIMARY = const(1)
_JOLIET = const(2)
_END = const(255)
_ROOT = const(156)  # offset of the root's record in a descriptor
_DIR_MAX = const(16 << 20)
_AREAS = const(32)  # continuation areas of a record
_LINKS = const(16)

_DIRECTORY = const(2)
_MORE = const(0x80)  # the file goes on in the next record


class Node:
    """A file or directory: mode, size, extents [(block, bytes)], and where a link points to."""

    def __init__(self, name, mode, record):
        self.name = name
        self.mode = mode
        block, size = unpack_from("<I4xI", record, 2)
        self.extents = [(block + record[1], size)]
        self.size = size
        self.time = _seconds(record)
        self.links, self.uid, self.gid = 1, 0, 0
        self.target = None

    def __repr__(self):
        return "<%r %d bytes at block %d>" % (self.name, self.size, self.extents[0][0])


class Iso(Volume):
    """A CD. OSError: EOPNOTSUPP names what is not supported, EIO what is damaged and where."""

    type = "iso9660"

    def __init__(self, bdev, blocks=None):
        super().__init__()
        self.blocks = blocks or Blocks(bdev)
        self._joliet = False
        self._skip = -1  # bytes of system use before Rock Ridge's, -1: there is none
        primary, joliet = self._descriptors()
        self._block = unpack_from("<H", primary, 128)[0]
        if self._block not in (512, 1024, 2048):
            raise self.error(EOPNOTSUPP, "volume descriptor", "blocks of %d bytes" % self._block)
        self.total = unpack_from("<I", primary, 80)[0]
        self.label = text(bytes(primary[40:72])).strip(" \0")
        when = text(bytes(primary[813:829]))
        self.uuid = "-".join([when[:4]] + [when[i : i + 2] for i in range(4, 16, 2)])
        self._root = self._make_root(primary)
        self._skip = self._rock_ridge()
        if self._skip < 0 and joliet is not None:
            self._joliet = True
            self._root = self._make_root(joliet)
            self.note = "Joliet"
        elif self._skip >= 0:
            self.note = "Rock Ridge"

    def _descriptors(self):
        primary = joliet = None
        for number in range(_DESCRIPTORS):
            at = (_FIRST + number) * _SECTOR
            if at + _SECTOR > self.blocks.size:
                break
            raw = self.blocks.get(at, _SECTOR)
            if bytes(raw[1:6]) != b"CD001" or raw[0] == _END:
                break
            if raw[0] == _PRIMARY and primary is None:
                primary = bytes(raw)
            if raw[0] == _JOLIET and bytes(raw[88:91]) in (b"%/@", b"%/C", b"%/E"):
                joliet = bytes(raw)
        if primary is None:
            raise self.error(EIO, "sector %d" % _FIRST, "no primary volume descriptor")
        return primary, joliet

    def _make_root(self, descriptor):
        record = descriptor[_ROOT : _ROOT + 34]
        if record[0] < 34 or not record[25] & _DIRECTORY:
            raise self.error(EIO, "/", "the root's record is damaged")
        return Node("/", S_IFDIR | 0o555, record)

    def _rock_ridge(self):
        """Bytes to skip in each system use field if the root says that there is Rock Ridge, else -1."""
        raw = self._read_dir(self._root)
        record = raw[: raw[0]] if raw else b""
        use = bytes(record[34:]) if len(record) > 34 else b""
        if len(use) >= 7 and use[:2] == b"SP" and use[4:6] == b"\xbe\xef":
            return use[6]
        return -1

    # -- directories ------------------------------------------------------------------------

    def _read_dir(self, node):
        size = sum([part for _, part in node.extents])
        if size > _DIR_MAX:
            raise self.error(EIO, node.name, "a directory of %d bytes" % size)
        raw = memoryview(bytearray(size))
        if size:
            self._read_node(node, 0, raw)
        return raw

    def _records(self, node):
        """The records of a directory, without those of itself and its parent."""
        raw = self._read_dir(node)
        at = 0
        while at < len(raw):
            n = raw[at]
            if n == 0:  # none crosses the end of a sector
                at = (at // _SECTOR + 1) * _SECTOR
                continue
            if n < 34 or at + n > len(raw) or 33 + raw[at + 32] > n:
                raise self.error(EIO, node.name, "a record of %d bytes at %d" % (n, at))
            if raw[at + 32] != 1 or raw[at + 33] > 1:
                yield raw[at : at + n]
            at += n

    def _nodes(self, node):
        """The Nodes in a directory."""
        found = None
        for record in self._records(node):
            more = record[25] & _MORE
            if found is not None:  # one more piece of the file before
                extent = unpack_from("<I4xI", record, 2)
                found.extents.append(extent)
                found.size += extent[1]
            else:
                found = self._node(record)
            if not more:
                if found.name is not None:
                    yield found
                found = None

    def _node(self, record):
        n = record[32]
        raw = bytes(record[33 : 33 + n])
        directory = record[25] & _DIRECTORY
        if self._joliet:
            name = "".join([chr(raw[i] << 8 | raw[i + 1]) for i in range(0, n - 1, 2)])
        else:
            name = text(raw)
        name = name.split(";")[0]
        if name.endswith(".") and not self._joliet:
            name = name[:-1]
        node = Node(name, S_IFDIR | 0o555 if directory else S_IFREG | 0o444, record)
        if self._skip >= 0:
            self._use(node, bytes(record[33 + n + (n + 1 & 1) :])[self._skip :])
        return node

    def _use(self, node, raw):
        """What Rock Ridge says of a node: name, mode, link."""
        name, target = b"", None
        for _ in range(_AREAS):
            after = None
            at = 0
            while at + 4 <= len(raw) and raw[at + 2] >= 4 and at + raw[at + 2] <= len(raw):
                entry = raw[at : at + raw[at + 2]]
                kind = entry[:2]
                if kind == b"NM" and len(entry) > 5:
                    name += entry[5:]
                elif kind == b"PX" and len(entry) >= 36:
                    node.mode, node.links, node.uid, node.gid = unpack_from("<I4xI4xI4xI", entry, 4)
                elif kind == b"SL":
                    target = _link(target or [], entry)
                elif kind == b"CL" and len(entry) >= 12:
                    self._moved(node, unpack_from("<I", entry, 4)[0])
                elif kind == b"RE":  # shown where CL says
                    node.name = None
                elif kind == b"CE" and len(entry) >= 28:
                    after = unpack_from("<I4xI4xI", entry, 4)
                at += raw[at + 2]
            if after is None:
                break
            block, off, size = after
            if off + size > 65536:
                raise self.error(EIO, node.name, "a continuation of %d bytes" % size)
            raw = bytes(self.blocks.get(block * self._block + off, size))
        if name and node.name is not None:
            node.name = text(name)
        if target is not None:
            node.target = text(b"/".join([part for part, _ in target]) or b"/")

    def _moved(self, node, block):
        # A deep directory lies elsewhere: its own record there tells how long it is.
        record = self.blocks.get(block * self._block, 34)
        node.extents = [(block, unpack_from("<I", record, 10)[0])]
        node.size = node.extents[0][1]
        node.mode = S_IFDIR | 0o555

    # -- what Volume asks for ------------------------------------------------------------------

    def _lookup(self, path, follow=True):
        return self._find([name for name in self._full(path).split("/") if name], path, follow, _LINKS)

    def _find(self, names, path, follow, links):
        node = self._root
        for i in range(len(names)):
            if node.mode & S_IFMT != S_IFDIR:
                raise self.error(_ENOTDIR, path, "is not a directory")
            node = self._child(node, names[i], path)
            if node.mode & S_IFMT == S_IFLNK and (follow or i + 1 < len(names)):
                if not links:
                    raise self.error(_ELOOP, path, "too many symbolic links")
                start = [] if node.target.startswith("/") else names[:i]
                return self._find(_joined(start, node.target) + names[i + 1 :], path, follow, links - 1)
        return node

    def _child(self, node, name, path):
        folded = name.lower() if self._skip < 0 else None
        for child in self._nodes(node):
            if child.name == name or folded is not None and child.name.lower() == folded:
                return child
        raise self.error(ENOENT, path, "no such file or directory")

    def _read_node(self, node, off, view):
        pieces = []
        at = 0
        for block, size in node.extents:
            if off < size and at < len(view):
                n = min(size - off, len(view) - at)
                pieces.append((block * self._block + off, view[at : at + n]))
                at += n
            off = max(0, off - size)
        self.blocks.read(pieces)

    def _entries(self, node):
        for child in self._nodes(node):
            yield child.name, child.mode & S_IFMT, child.extents[0][0], child.size

    def _stat(self, node):
        when = local_time(node.time)
        number = node.extents[0][0]
        return node.mode, number, 0, node.links, node.uid, node.gid, node.size, when, when, when

    def _statvfs(self):
        return self._block, self._block, self.total, 0, 0, 0, 0, 0, 1, 255


def _link(target, entry):
    """Components [(name, goes on in the next)] of a symbolic link, with those of one more entry."""
    at = 5
    while at + 2 <= len(entry):
        flags, n = entry[at], entry[at + 1]
        part = entry[at + 2 : at + 2 + n]
        if flags & 2:
            part = b"."
        elif flags & 4:
            part = b".."
        elif flags & 8:
            part = b""
        if target and target[-1][1]:
            target[-1] = (target[-1][0] + part, flags & 1)
        else:
            target.append((part, flags & 1))
        at += 2 + n
    return target


def _joined(start, target):
    """The names of a path, and those of a link's target from there on."""
    out = list(start)
    for name in target.split("/"):
        if name == "..":
            if out:
                out.pop()
        elif name and name != ".":
            out.append(name)
    return out


def _seconds(record):
    """Seconds since 1970 of a record's time."""
    year, month, day, hour, minute, second, zone = record[18:25]
    if not 1 <= month <= 12 or not day:
        return 0
    zone = zone - 256 if zone > 127 else zone
    year += 1900
    before = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)[month - 1]
    days = (year - 1970) * 365 + (year - 1969) // 4 - (year - 1901) // 100 + (year - 1601) // 400 + before + day - 1
    if month > 2 and year % 4 == 0 and (year % 100 or year % 400 == 0):
        days += 1
    return days * 86400 + hour * 3600 + minute * 60 + second - zone * 900
