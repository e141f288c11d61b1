"""A client of 9P2000.L: messages, tags and fids. It knows neither paths nor how messages travel.

A channel carries them; it has
    name                        for messages
    depth                       requests that may be under way at a time
    send(readable, writable, timeout_ms) -> handle       buffers of the request, of its answer
    receive(handle, timeout_ms) -> bytes of the answer   the buffers are free again
    drop(handle)                                         nobody will receive it
and keeps the buffers of a request that was dropped, or whose receive() raised, until the server is
done with them.
"""

from errno import EIO
from struct import pack, unpack_from

from micropython import const

from fs.ninepwords import VERBS, WHY, Attr, QTDIR, text

_RLERROR = const(7)
_STATFS = const(8)
_LOPEN = const(12)
_LCREATE = const(14)
_SYMLINK = const(16)
_READLINK = const(22)
_GETATTR = const(24)
_SETATTR = const(26)
_FSYNC = const(50)
_LINK = const(70)
_MKDIR = const(72)
_RENAMEAT = const(74)
_UNLINKAT = const(76)
_VERSION = const(100)
_ATTACH = const(104)
_FLUSH = const(108)
_WALK = const(110)
_CLUNK = const(120)

_ENAMETOOLONG = const(36)
_NOTAG = const(0xFFFF)
_NOFID = const(0xFFFFFFFF)
_NONUNAME = const(0xFFFFFFFF)  # no number of a user: what is made belongs to who runs the server
_HEAD = const(7)  # size[4] type[1] tag[2]
_DATA_HEAD = const(11)  # and a count[4]; all of an Rlerror, too
_IO_HEAD = const(24)  # what msize has to hold beside the data of a write (23), rounded
_ROOM = const(256)  # for any answer without data or a name: Rwalk with 16 qids has 217
_PIECE = const(131072)  # bytes of data in a message; a long transfer keeps several under way
_LEAST = const(4096)
_WALK_MAX = const(16)
_TARGET = const(4096)
_FLUSH_MS = const(2000)
_BASIC = const(0x7FF)  # getattr: all that stat needs


class _Request:
    def __init__(self, kind, tag, what, answer):
        self.kind = kind
        self.tag = tag
        self.what = what
        self.answer = answer
        self.extra = 0  # bytes of a separate buffer for data
        self.handle = None
        self.answered = False


class Client:
    """A session with a server: version() was exchanged when it is made.

    Every call blocks for at most timeout_ms without an answer; then, and after Ctrl-C, the request
    is taken back with Tflush. OSError: what the server says, EIO when it breaks the protocol (then
    the session is over: every later call says so again), ETIMEDOUT.
    """

    def __init__(self, channel, timeout_ms=10000):
        self.channel = channel
        self.name = channel.name
        self.timeout_ms = timeout_ms
        self.error = None
        self._tags = []
        self._next_tag = 0
        self._fids = []
        self._next_fid = 0
        self._doubtful = []  # fids that the server may know: nobody saw the answer
        self._version()

    def __repr__(self):
        state = "failed" if self.error else "%d fids" % self.fids
        return "<9P2000.L on %s, msize %d, %s>" % (self.name, self.msize, state)

    @property
    def fids(self):
        """How many fids the server holds for us."""
        return self._next_fid - len(self._fids)

    # -- requests ---------------------------------------------------------------------------

    def start(self, kind, body, what="", room=_ROOM, data=None, into=None):
        """Send a request; data: the end of it, into: where the end of its answer goes."""
        if self.error:
            raise self.error
        size = _HEAD + len(body) + (0 if data is None else len(data))
        if size > self.msize:
            raise OSError(_ENAMETOOLONG, "%s: %s: a message of %d bytes" % (self.name, VERBS[kind], size))
        tag = _NOTAG if kind == _VERSION else self._take_tag()
        request = _Request(kind, tag, what, bytearray(room))
        head = pack("<IBH", size, kind, tag) + body
        readable = (head,) if data is None else (head, data)
        writable = (request.answer,)
        if into is not None:
            request.extra = len(into)
            writable = (request.answer, into)
        try:
            request.handle = self.channel.send(readable, writable, self.timeout_ms)
        except (OSError, ValueError):
            self._give_tag(tag)
            raise
        return request

    def finish(self, request):
        """Wait for the answer; what follows its header."""
        try:
            used = self.channel.receive(request.handle, self.timeout_ms)
        except BaseException:
            self.abandon(request)
            raise
        return self._answer(request, used)

    def call(self, kind, body=b"", what="", room=_ROOM):
        """A request and its answer."""
        return self.finish(self.start(kind, body, what, room))

    def _take_tag(self):
        if self._tags:
            return self._tags.pop()
        tag = self._next_tag
        if tag == _NOTAG:
            raise OSError(EIO, "%s: no tag is free" % self.name)
        self._next_tag = tag + 1
        return tag

    def _give_tag(self, tag):
        if tag != _NOTAG:
            self._tags.append(tag)

    def _answer(self, request, used):
        """Check an answer's header; the rest of it. The tag is free again."""
        answer = request.answer
        size, kind, tag = unpack_from("<IBH", answer)
        if used < _HEAD or size > used or size < _HEAD:
            self.broken(request, "%d bytes that say %d" % (used, size))
        if tag != request.tag:
            self.broken(request, "tag %d, not %d" % (tag, request.tag))
        if kind != request.kind + 1 and kind != _RLERROR:
            self.broken(request, "a message of type %d" % kind)
        request.answered = True
        self._give_tag(tag)
        if kind == _RLERROR:
            code = unpack_from("<I", answer, _HEAD)[0] if size == _DATA_HEAD else 0
            if not 0 < code < 4096:
                self.broken(request, "an error of %d bytes, number %d" % (size, code))
            raise OSError(code, "%s: %s" % (self._text(request), WHY.get(code) or "error %d" % code))
        if size > len(answer) + request.extra:
            self.broken(request, "%d bytes, more than there is room for" % size)
        return memoryview(answer)[_HEAD : min(size, len(answer))]

    def _text(self, request):
        what = " " + request.what if request.what else ""
        return "%s: %s%s" % (self.name, VERBS[request.kind], what)

    def broken(self, request, why):
        """The server broke the protocol: nothing it says can be trusted."""
        self.error = OSError(EIO, "%s: the server answered with %s" % (self._text(request), why))
        raise self.error

    def _fields(self, request, form, size, off=0):
        """Fields of an answer that has at least `size` bytes."""
        body = self.finish(request)
        if len(body) < size:
            self.broken(request, "only %d bytes" % len(body))
        return unpack_from(form, body, off)

    def abandon(self, request):
        """Nobody waits any more: Tflush, after which the server will not answer and the tag is free.

        When that fails the tag stays taken.
        """
        if request.kind == _VERSION or request.kind == _FLUSH or self.error:
            return
        try:
            flush = self.start(_FLUSH, pack("<H", request.tag))
            self._answer(flush, self.channel.receive(flush.handle, _FLUSH_MS))
            self._give_tag(request.tag)
        except (OSError, ValueError):
            pass

    # -- session and fids -----------------------------------------------------------------

    def _version(self):
        """Agree on the version and the size of messages; ends what a session before had open."""
        self.msize = _PIECE + _IO_HEAD
        request = self.start(_VERSION, pack("<I", self.msize) + text("9P2000.L"))
        body = self.finish(request)
        if len(body) < 6:
            self.broken(request, "only %d bytes" % len(body))
        msize, n = unpack_from("<IH", body)
        if bytes(body[6 : 6 + n]) != b"9P2000.L":
            self.broken(request, "version %r" % bytes(body[6 : 6 + n]))
        if not _LEAST <= msize <= self.msize:
            self.broken(request, "messages of %d bytes" % msize)
        self.msize = msize
        self.piece = min(_PIECE, msize - _IO_HEAD)

    def _take_fid(self):
        if self._fids:
            return self._fids.pop()
        self._next_fid += 1
        return self._next_fid - 1

    def _make(self, kind, fid, body, what):
        """A request that makes the fid; (request, answer). The fid is given back if it fails."""
        request = None
        try:
            request = self.start(kind, body, what)
            return request, self.finish(request)
        except BaseException:
            if request is None or request.answered:
                self._fids.append(fid)
            else:
                self._doubtful.append(fid)
            raise

    def attach(self, aname=""):
        """A fid for the root of what the server shows under that name."""
        fid = self._take_fid()
        body = pack("<II", fid, _NOFID) + text("root") + text(aname) + pack("<I", _NONUNAME)
        request, answer = self._make(_ATTACH, fid, body, aname)
        if len(answer) < 13 or not answer[0] & QTDIR:
            self.broken(request, "a root that is no directory")
        return fid

    def walk(self, fid, names, what=""):
        """Go along names from fid: (new fid, types of what was met on the way).

        The new fid is None when the server stopped earlier. OSError: not even the first was there.
        """
        raw = [text(name) for name in names]
        new = self._take_fid()
        kinds = []
        at = 0
        while True:
            step = raw[at : at + _WALK_MAX]
            body = pack("<IIH", fid, new, len(step)) + b"".join(step)
            try:
                request, answer = self._make(_WALK, new, body, what)
            except OSError:
                if not at:
                    raise
                self._lost(new)
                return None, kinds
            n = unpack_from("<H", answer)[0] if len(answer) >= 2 else -1
            if n < 0 or n > len(step) or len(answer) < 2 + 13 * n:
                self.broken(request, "%d steps in %d bytes" % (n, len(answer)))
            kinds.extend([answer[2 + 13 * i] for i in range(n)])
            if n < len(step):
                if at:
                    self.clunk(new)
                else:
                    self._fids.append(new)
                return None, kinds
            at += n
            fid = new
            if at >= len(names):
                return new, kinds

    def _lost(self, fid):
        # A later step failed, so the fid still stands where the one before left it.
        if fid in self._fids:
            self._fids.remove(fid)
        if fid not in self._doubtful:
            self._doubtful.append(fid)
        self._settle()

    def clunk(self, fid):
        """Let go of a fid."""
        self._doubtful.append(fid)
        self._settle()

    def _settle(self):
        """Clunk what waits for it; a fid is free once the server has answered, whatever it said."""
        while self._doubtful and not self.error:
            fid = self._doubtful.pop()
            request = None
            try:
                request = self.start(_CLUNK, pack("<I", fid))
                self.finish(request)
            except OSError:
                if request is None or not request.answered:
                    self._doubtful.append(fid)
                    raise
            except BaseException:
                self._doubtful.append(fid)
                raise
            self._fids.append(fid)

    # -- what one does with a fid --------------------------------------------------------------

    def getattr(self, fid, what=""):
        """Its Attr."""
        request = self.start(_GETATTR, pack("<IQ", fid, _BASIC), what)
        body = self.finish(request)
        if len(body) < 153:
            self.broken(request, "only %d bytes" % len(body))
        return Attr(body)

    def setattr(self, fid, what="", mode=None, size=None, atime=None, mtime=None):
        """Change mode, size, times (seconds since 1970)."""
        valid = 0
        for value, bits in ((mode, 1), (size, 8), (atime, 0x90), (mtime, 0x120)):
            if value is not None:
                valid |= bits
        body = pack("<IIIIIQ", fid, valid, mode or 0, 0, 0, size or 0)
        self.call(_SETATTR, body + pack("<QQQQ", atime or 0, 0, mtime or 0, 0), what)

    def lopen(self, fid, flags, what=""):
        """Open it with Linux' flags."""
        self._fields(self.start(_LOPEN, pack("<II", fid, flags), what), "<I", 17, 13)

    def lcreate(self, fid, name, flags, mode, what=""):
        """Make a file in the directory and open it: the fid is the file's from now on."""
        body = pack("<I", fid) + text(name) + pack("<III", flags, mode, _NONUNAME)
        self._fields(self.start(_LCREATE, body, what), "<I", 17, 13)

    def fsync(self, fid, what=""):
        """Have its data made durable."""
        self.call(_FSYNC, pack("<II", fid, 0), what)

    def statfs(self, fid):
        """(type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen)."""
        return self._fields(self.start(_STATFS, pack("<I", fid)), "<IIQQQQQQI", 60)

    def mkdir(self, fid, name, mode, what=""):
        """Make a directory in the directory."""
        self.call(_MKDIR, pack("<I", fid) + text(name) + pack("<II", mode, _NONUNAME), what)

    def symlink(self, fid, name, target, what=""):
        """Make a symbolic link in the directory."""
        self.call(_SYMLINK, pack("<I", fid) + text(name) + text(target) + pack("<I", _NONUNAME), what)

    def link(self, fid, target, name, what=""):
        """Make another name for the fid `target` in the directory."""
        self.call(_LINK, pack("<II", fid, target) + text(name), what)

    def readlink(self, fid, what=""):
        """Where it points to, as bytes."""
        request = self.start(_READLINK, pack("<I", fid), what, _HEAD + 2 + _TARGET)
        body = self.finish(request)
        n = unpack_from("<H", body)[0] if len(body) >= 2 else 0
        if not n or len(body) < 2 + n:
            self.broken(request, "a name of %d in %d bytes" % (n, len(body)))
        return bytes(body[2 : 2 + n])

    def renameat(self, fid, name, new_fid, new_name, what=""):
        """Move what the directory calls name."""
        self.call(_RENAMEAT, pack("<I", fid) + text(name) + pack("<I", new_fid) + text(new_name), what)

    def unlinkat(self, fid, name, flags, what=""):
        """Take a name out of the directory; flags 0x200: an empty directory's."""
        self.call(_UNLINKAT, pack("<I", fid) + text(name) + pack("<I", flags), what)
