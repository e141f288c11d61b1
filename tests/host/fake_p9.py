"""A strict virtio-9p device with a 9P2000.L server over a tree in memory, on top of fake_device.py.

It raises where a client breaks the protocol: sizes, tags and fids in use, rooms that are too small.
"""

import itertools
import struct

from fake_device import FakeDevice, require

RLERROR, TVERSION, TFLUSH, TWALK, TREAD, TWRITE, TREADDIR = 7, 100, 108, 110, 116, 118, 40
TLOPEN, TCLUNK, TGETATTR, TATTACH, TLCREATE = 12, 120, 24, 104, 14
DIR, LINK, FILE = 0x80, 0x02, 0x00
ENOENT, EBADF, EEXIST, ENOTDIR, EISDIR, EINVAL, ENOTEMPTY, EOPNOTSUPP = 2, 9, 17, 20, 21, 22, 39, 95
NAMES = {8: "statfs", 12: "lopen", 14: "lcreate", 16: "symlink", 22: "readlink", 24: "getattr", 26: "setattr"}
NAMES |= {40: "readdir", 50: "fsync", 70: "link", 72: "mkdir", 74: "renameat", 76: "unlinkat", 100: "version"}
NAMES |= {104: "attach", 108: "flush", 110: "walk", 116: "read", 118: "write", 120: "clunk"}


class Refusal(Exception):
    """An Rlerror."""


class Node:
    numbers = itertools.count(1)

    def __init__(self, kind, mode, data=None):
        self.kind = kind
        self.mode = mode | {DIR: 0o040000, LINK: 0o120000, FILE: 0o100000}[kind]
        self.data = {} if kind == DIR else data if data is not None else bytearray()
        self.ino = next(self.numbers)
        self.links = 1
        self.times = [1_700_000_000, 1_700_000_001, 1_700_000_002]

    @property
    def qid(self):
        return struct.pack("<BIQ", self.kind, 0, self.ino)


class Message:
    """Takes fields off a request."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, form):
        size = struct.calcsize("<" + form)
        require(self.at + size <= len(self.data), "9P", "the message is cut off")
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += size
        return values if len(values) > 1 else values[0]

    def text(self):
        n = self.take("H")
        require(self.at + n <= len(self.data), "9P", "the name is cut off")
        self.at += n
        return self.data[self.at - n : self.at].decode()

    def name(self):
        name = self.text()
        require(name not in ("", ".", "..") and "/" not in name and "\0" not in name, "9P", "name %r" % name)
        return name

    def end(self):
        require(self.at == len(self.data), "9P", "%d bytes too many" % (len(self.data) - self.at))


def string(name):
    raw = name.encode()
    return struct.pack("<H", len(raw)) + raw


class FakeP9(FakeDevice):
    """The server; self.root is what it shows. Its hooks at the end of __init__ make it misbehave."""

    DEVICE_ID = 9

    def __init__(self, tag="host", queue=128, **options):
        raw = tag.encode()
        self.FIELDS = {0: (2, 0)} | {2 + i: (1, 0) for i in range(len(raw))}
        super().__init__(features=1, config=struct.pack("<H", len(raw)) + raw, queues=(queue,), **options)
        self.root = Node(DIR, 0o755)
        self.msize_max = 1 << 20
        self.msize = 8192
        self.fids = {}  # fid -> [node, opened flags or None]
        self.log = []  # names of the messages, in order
        self.depth = 0  # most requests under way at a time
        self.stuck = set()  # message types that get no answer until they are flushed
        self.lazy = False  # answers when no more requests come, not when they come
        self.burst = 0
        self.maybe = set()  # fids of walks that were flushed: a client cannot know them
        self.partial = True  # a walk that fails on its way answers with what it found
        self.short = None  # bytes of a read or write, at most
        self.twist = None  # callable(type, answer) -> bytes sent instead
        self.used = None  # callable(length) -> the used length told

    def add(self, path, node):
        """Put a node into the tree."""
        *folders, name = path.strip("/").split("/")
        at = self.root
        for folder in folders:
            at = at.data.setdefault(folder, Node(DIR, 0o755))
        at.data[name] = node
        return node

    def file(self, path, data=b"", mode=0o644):
        return self.add(path, Node(FILE, mode, bytearray(data)))

    def link(self, path, target):
        return self.add(path, Node(LINK, 0o777, target))

    # -- carrying ---------------------------------------------------------------------------

    def work(self, queue):
        if self.dead or self.manual:
            return
        self.depth = max(self.depth, len(queue.held))
        if self.lazy and len(queue.held) > self.burst:
            self.burst = len(queue.held)
            return
        self.burst = 0
        for chain in list(queue.held):
            if chain in queue.held and chain.data()[4] not in self.stuck:
                queue.finish(chain, self.process(queue, chain))

    def process(self, queue, chain):
        data = chain.data()
        require(len(data) >= 7, "9P", "a message of %d bytes" % len(data))
        size, kind, tag = struct.unpack_from("<IBH", data)
        require(size == len(data), "9P", "size %d in %d bytes" % (size, len(data)))
        require(size <= self.msize, "9P", "%d bytes, msize %d" % (size, self.msize))
        require((tag == 0xFFFF) == (kind == TVERSION), "9P", "tag %#x of type %d" % (tag, kind))
        others = [other.data()[5:7] for other in queue.held if other is not chain]
        require(data[5:7] not in others, "9P", "tag %d is in use" % tag)
        require(kind in NAMES, "9P", "type %d" % kind)
        require(chain.room >= 11, "9P", "room for %d bytes only" % chain.room)
        self.log.append(NAMES[kind])
        message = Message(data[7:])
        self.chain, self.queue = chain, queue
        try:
            body = getattr(self, "_" + NAMES[kind])(message)
            message.end()
            answer = struct.pack("<IBH", 7 + len(body), kind + 1, tag) + body
        except Refusal as refusal:
            answer = struct.pack("<IBHI", 11, RLERROR, tag, refusal.args[0])
        require(len(answer) <= max(chain.room, 11), "9P", "an answer of %d for %d" % (len(answer), chain.room))
        require(len(answer) <= self.msize, "9P", "an answer of %d, msize %d" % (len(answer), self.msize))
        if self.twist is not None:
            answer = self.twist(kind, answer)
        chain.write(answer[: chain.room])
        return min(len(answer), chain.room) if self.used is None else self.used(len(answer))

    def _fid(self, message, opened=False):
        number = message.take("I")
        require(number in self.fids, "9P", "fid %d is not in use" % number)
        if opened:
            require(self.fids[number][1] is not None, "9P", "fid %d is not open" % number)
        return self.fids[number]

    def _folder(self, message):
        node = self._fid(message)[0]
        if node.kind != DIR:
            raise Refusal(ENOTDIR)
        return node

    def _new(self, number, node, opened=None):
        require(number not in self.fids, "9P", "fid %d is in use" % number)
        require(number != 0xFFFFFFFF, "9P", "NOFID")
        self.fids[number] = [node, opened]

    # -- messages ---------------------------------------------------------------------------

    def _version(self, message):
        msize, version = message.take("I"), message.text()
        self.fids = {}
        self.msize = min(msize, self.msize_max)
        return struct.pack("<I", self.msize) + string(version if version == "9P2000.L" else "unknown")

    def _attach(self, message):
        fid, afid = message.take("II")
        require(afid == 0xFFFFFFFF, "9P", "afid %#x" % afid)
        message.text(), message.text(), message.take("I")
        self._new(fid, self.root)
        return self.root.qid

    def _flush(self, message):
        old = message.take("H")
        for other in list(self.queue.held):
            if other is not self.chain and struct.unpack_from("<H", other.data(), 5)[0] == old:
                if other.data()[4] == TWALK:
                    self.maybe.add(struct.unpack_from("<I", other.data(), 11)[0])
                self.queue.finish(other, 0)
        return b""

    def _walk(self, message):
        node = self._fid(message)[0]
        start = struct.unpack_from("<I", message.data)[0]
        new, n = message.take("IH")
        require(n <= 16, "9P", "%d names" % n)
        names = [message.name() for _ in range(n)]
        qids = []
        for name in names:
            if node.kind != DIR or name not in node.data:
                if not qids or not self.partial:
                    raise Refusal(ENOENT if node.kind != FILE else ENOTDIR)
                return struct.pack("<H", len(qids)) + b"".join(qids)
            node = node.data[name]
            qids.append(node.qid)
        if new == start:
            del self.fids[new]
        self._new(new, node)
        return struct.pack("<H", len(qids)) + b"".join(qids)

    def _clunk(self, message):
        fid = struct.unpack("<I", message.data[:4])[0]
        if fid in self.maybe and fid not in self.fids:
            raise Refusal(EBADF)
        self.maybe.discard(fid)
        self._fid(message)
        del self.fids[fid]
        return b""

    def _getattr(self, message):
        node = self._fid(message)[0]
        valid = message.take("Q")
        size = len(node.data)
        times = [value for time in [*node.times, 0] for value in (time, 0)]
        fields = (node.mode, 1000, 1000, node.links, 0, size, 4096, (size + 511) // 512)
        return struct.pack("<Q", valid) + node.qid + struct.pack("<IIIQQQQQ8QQQ", *fields, *times, 0, 0)

    def _setattr(self, message):
        node = self._fid(message)[0]
        valid, mode, _, _, size, atime, _, mtime, _ = message.take("IIIIQQQQQ")
        if valid & 1:
            node.mode = node.mode & ~0o7777 | mode & 0o7777
        if valid & 8:
            node.data[size:] = bytes(max(0, size - len(node.data)))
        if valid & 0x80:
            require(valid & 0x10, "9P", "atime that is not set")
            node.times[0] = atime
        if valid & 0x100:
            require(valid & 0x20, "9P", "mtime that is not set")
            node.times[1] = mtime
        return b""

    def _lopen(self, message):
        entry = self._fid(message)
        require(entry[1] is None, "9P", "opened twice")
        entry[1] = message.take("I")
        if entry[0].mode & 0o777 == 0:
            entry[1] = None
            raise Refusal(13)
        if entry[1] & 0x200:
            del entry[0].data[:]
        return entry[0].qid + struct.pack("<I", 0)

    def _lcreate(self, message):
        entry = self._fid(message)
        name = message.name()
        flags, mode, _ = message.take("III")
        if len(name.encode()) > 255:
            raise Refusal(36)
        if name in entry[0].data:
            raise Refusal(EEXIST)
        node = entry[0].data[name] = Node(FILE, mode)
        entry[:] = [node, flags]
        return node.qid + struct.pack("<I", 0)

    def _read(self, message):
        node, flags = self._fid(message, True)
        off, count = message.take("QI")
        require(flags & 3 != 1, "9P", "read of a file opened for writing")
        require(count + 11 <= self.msize, "9P", "read of %d, msize %d" % (count, self.msize))
        require(self.chain.room == count + 11, "9P", "read of %d into %d" % (count, self.chain.room))
        count = count if self.short is None else min(count, self.short)
        data = bytes(node.data[off : off + count])
        return struct.pack("<I", len(data)) + data

    def _write(self, message):
        node, flags = self._fid(message, True)
        off, count = message.take("QI")
        require(flags & 3, "9P", "write to a file opened for reading")
        data = message.data[message.at :]
        require(len(data) == count, "9P", "write of %d with %d bytes" % (count, len(data)))
        message.at += count
        count = count if self.short is None else min(count, self.short)
        if off > len(node.data):
            node.data.extend(bytes(off - len(node.data)))
        node.data[off : off + count] = data[:count]
        return struct.pack("<I", count)

    def _readdir(self, message):
        node, _ = self._fid(message, True)
        off, count = message.take("QI")
        require(count + 11 <= self.msize, "9P", "readdir of %d, msize %d" % (count, self.msize))
        names = [(".", node), ("..", node), *node.data.items()]
        out = b""
        for i, (name, child) in list(enumerate(names))[off:]:
            entry = child.qid + struct.pack("<QB", i + 1, 0) + string(name)
            if len(out) + len(entry) > count:
                break
            out += entry
        return struct.pack("<I", len(out)) + out

    def _mkdir(self, message):
        folder, name = self._folder(message), message.name()
        mode, _ = message.take("II")
        if name in folder.data:
            raise Refusal(EEXIST)
        folder.data[name] = Node(DIR, mode)
        return folder.data[name].qid

    def _symlink(self, message):
        folder, name, target = self._folder(message), message.name(), message.text()
        message.take("I")
        if name in folder.data:
            raise Refusal(EEXIST)
        folder.data[name] = Node(LINK, 0o777, target)
        return folder.data[name].qid

    def _readlink(self, message):
        node = self._fid(message)[0]
        if node.kind != LINK:
            raise Refusal(EINVAL)
        return string(node.data)

    def _link(self, message):
        folder, node, name = self._folder(message), self._fid(message)[0], message.name()
        if name in folder.data:
            raise Refusal(EEXIST)
        folder.data[name] = node
        node.links += 1
        return b""

    def _renameat(self, message):
        old, name = self._folder(message), message.name()
        new, new_name = self._folder(message), message.name()
        if name not in old.data:
            raise Refusal(ENOENT)
        new.data[new_name] = old.data.pop(name)
        return b""

    def _unlinkat(self, message):
        folder, name, flags = self._folder(message), message.name(), message.take("I")
        if name not in folder.data:
            raise Refusal(ENOENT)
        node = folder.data[name]
        if (node.kind == DIR) != (flags == 0x200):
            raise Refusal(EISDIR if node.kind == DIR else ENOTDIR)
        if node.kind == DIR and node.data:
            raise Refusal(ENOTEMPTY)
        del folder.data[name]
        return b""

    def _statfs(self, message):
        self._fid(message)
        return struct.pack("<IIQQQQQQI", 0x01021997, 4096, 1000, 400, 300, 90, 80, 7, 255)

    def _fsync(self, message):
        self._fid(message, True)
        message.take("I")
        return b""
