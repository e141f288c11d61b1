"""An open file of a read-only volume: a stream, binary or text."""

import io
from errno import EINVAL

from micropython import const

_BUFFER = const(8192)

_STREAM_FLUSH = const(1)
_STREAM_SEEK = const(2)
_STREAM_POLL = const(3)
_STREAM_CLOSE = const(4)
_STREAM_GET_BUFFER_SIZE = const(11)
_POLL_READABLE = const(1)


class File(io.IOBase):
    """What Volume.open() returns.  Small reads go through a buffer, large ones straight to the caller.

    volume: its _read_node() brings bytes of the node.  In text mode, read and readline return str.
    """

    def __init__(self, volume, node, size, name, text):
        self._volume = volume
        self._node = node
        self._size = size
        self._name = name
        self._text = text
        self._at = 0
        self._buffer = None
        self._start = 0
        self._filled = 0

    def __repr__(self):
        state = "closed" if self._volume is None else "at %d of %d" % (self._at, self._size)
        return "<File %s %s>" % (self._name, state)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def close(self):
        """Let go of the volume; a second close does nothing."""
        self._volume = None
        self._buffer = None

    def _open(self):
        if self._volume is None:
            raise ValueError("%s: file is closed" % self._name)
        return self._volume

    def readable(self):
        """Always."""
        return True

    def seekable(self):
        """Always."""
        return True

    def writable(self):
        """Never: the volume is read-only."""
        return False

    def flush(self):
        """Nothing to write out."""

    def readinto(self, buf):
        """Fill buf, less only at the end of the file.  Returns the number of bytes."""
        self._open()
        view = memoryview(buf)
        want = min(len(view), max(0, self._size - self._at))
        done = 0
        while done < want:
            ready = self._start + self._filled - self._at
            if self._at >= self._start and ready > 0:
                part = min(ready, want - done)
                skip = self._at - self._start
                view[done : done + part] = self._buffer[skip : skip + part]
            elif want - done >= _BUFFER:
                part = want - done
                self._volume._read_node(self._node, self._at, view[done:want])
            else:
                self._fill()
                continue
            done += part
            self._at += part
        return want

    def _fill(self):
        if self._buffer is None:
            self._buffer = memoryview(bytearray(min(_BUFFER, self._size)))
        start = self._at - self._at % _BUFFER
        filled = min(_BUFFER, self._size - start)
        self._filled = 0
        self._volume._read_node(self._node, start, self._buffer[:filled])
        self._start = start
        self._filled = filled

    def _bytes(self, size):
        rest = max(0, self._size - self._at)
        out = bytearray(rest if size is None or size < 0 else min(size, rest))
        self.readinto(out)
        return out

    def read(self, size=-1):
        """Up to size bytes (characters in text mode), or all that is left."""
        if not self._text:
            return bytes(self._bytes(size))
        if size is None or size < 0:
            return str(self._bytes(-1), "utf-8")
        out = ""
        rest = bytearray()
        while len(out) < size:
            more = self._bytes(size - len(out))
            if not more:
                break
            rest.extend(more)
            whole = _whole_characters(rest)
            out += str(rest[:whole], "utf-8")
            rest = rest[whole:]
        return out + str(rest, "utf-8")

    def readline(self, size=-1):
        """Up to and with the next newline, or at most size bytes."""
        self._open()
        line = bytearray()
        limit = self._size if size is None or size < 0 else size
        while len(line) < limit and self._at < self._size:
            skip = self._at - self._start
            if not 0 <= skip < self._filled:
                self._fill()
                continue
            piece = bytes(self._buffer[skip : min(self._filled, skip + limit - len(line))])
            end = piece.find(b"\n")
            if end >= 0:
                piece = piece[: end + 1]
            line.extend(piece)
            self._at += len(piece)
            if end >= 0:
                break
        return str(line, "utf-8") if self._text else bytes(line)

    def readlines(self, hint=-1):
        """All lines that are left."""
        return list(self)

    def tell(self):
        """The offset of the next byte."""
        return self._at

    def seek(self, off, whence=0):
        """Move to a byte offset from the start, from here (1) or from the end (2)."""
        self._open()
        if whence not in (0, 1, 2):
            raise ValueError("whence %r" % whence)
        at = off + (0, self._at, self._size)[whence]
        if at < 0:
            raise OSError(EINVAL, "%s: seek to %d" % (self._name, at))
        self._at = at
        return at

    def ioctl(self, request, arg):
        """The stream protocol of MicroPython's C code: close, poll, seek, buffer size."""
        if request == _STREAM_CLOSE:
            self.close()
            return 0
        if request == _STREAM_POLL:
            return arg & _POLL_READABLE
        if request == _STREAM_GET_BUFFER_SIZE:
            return 255
        if request == _STREAM_FLUSH:
            return 0
        if request == _STREAM_SEEK:
            return self._seek_struct(arg)
        return -EINVAL

    def _seek_struct(self, addr):
        # struct mp_stream_seek_t: a 64-bit offset, then an int; the offset is the answer too.
        import uctypes
        from struct import pack_into, unpack_from

        seek = uctypes.bytearray_at(addr, 16)
        off, whence = unpack_from("<qi", seek, 0)
        pack_into("<q", seek, 0, self.seek(off, whence))
        return 0


def _whole_characters(buf):
    """How many bytes of buf end at the end of a UTF-8 character (at most 3 are left over)."""
    size = len(buf)
    for back in range(1, min(4, size + 1)):
        byte = buf[size - back]
        if byte & 0xC0 == 0x80:
            continue
        need = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return size - back if need > back else size
    return size
