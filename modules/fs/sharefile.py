"""An open file of a shared folder: a stream that reads and writes, binary or text."""

from errno import EIO

from micropython import const

from fs import ninepio
from fs.file import File

_EBADF = const(9)
_BUFFER = const(8192)
_STREAM_FLUSH = const(1)
_STREAM_POLL = const(3)
_POLL_WRITABLE = const(4)


class SharedFile(File):
    """What Share.open() returns. Small writes are collected until there are 8 KiB of them, or a flush."""

    def __init__(self, share, fid, size, name, mode):
        File.__init__(self, self, None, size, name, "b" not in mode)
        self._share = share
        self._client = share._client
        self._fid = fid
        self._can_read = "r" in mode or "+" in mode
        self._can_write = "r" not in mode or "+" in mode
        self._append = "a" in mode
        self._dirty = bytearray()
        self._dirty_at = 0
        if self._append:
            self._at = size

    # -- reading: what File does, with a size that may change --------------------------------

    def _read_node(self, node, off, view):
        if ninepio.read_into(self._client, self._fid, off, view, self._name) != len(view):
            raise OSError(EIO, "%s: became shorter while it was read" % self._name)

    def _before_read(self, wanted):
        self._open()
        if not self._can_read:
            raise OSError(_EBADF, "%s: not open for reading" % self._name)
        self._write_out()
        if wanted is None or wanted < 0 or self._at + wanted > self._size:
            self._size = self._client.getattr(self._fid, self._name).size

    def _fill(self):
        if self._buffer is None:
            self._buffer = memoryview(bytearray(_BUFFER))
        File._fill(self)

    def readinto(self, buf):
        """Fill buf, less only at the end of the file.  Returns the number of bytes."""
        self._before_read(len(buf))
        return File.readinto(self, buf)

    def _bytes(self, size):
        self._before_read(size)
        return File._bytes(self, size)

    def readline(self, size=-1):
        """Up to and with the next newline, or at most size bytes."""
        self._before_read(1)
        return File.readline(self, size)

    def readable(self):
        """Whether the mode allows it."""
        return self._can_read

    # -- writing --------------------------------------------------------------------------------

    def writable(self):
        """Whether the mode allows it."""
        return self._can_write

    def write(self, data):
        """Write all of data; how many bytes, or characters of a str."""
        self._open()
        if not self._can_write:
            raise OSError(_EBADF, "%s: not open for writing" % self._name)
        n = len(data)
        if isinstance(data, str):
            if not self._text:
                raise TypeError("%s: a binary file takes bytes" % self._name)
            data = data.encode()
        view = memoryview(data)
        size = len(view)
        if self._append:
            self._at = max(self._at, self._size)
        if self._dirty and (self._dirty_at + len(self._dirty) != self._at or len(self._dirty) + size > _BUFFER):
            self._write_out()
        self._filled = 0  # what was read ahead may be what is written now
        if size >= _BUFFER:
            ninepio.write_from(self._client, self._fid, self._at, view, self._name)
        elif size:
            if not self._dirty:
                self._dirty_at = self._at
            self._dirty.extend(data)
        self._at += size
        self._size = max(self._size, self._at)
        return n

    def _write_out(self):
        if self._dirty:
            data, self._dirty = self._dirty, bytearray()
            ninepio.write_from(self._client, self._fid, self._dirty_at, memoryview(data), self._name)

    def flush(self):
        """Hand what was written to the host."""
        self._open()
        self._write_out()

    def sync(self):
        """flush(), and have the host make it durable."""
        self.flush()
        self._client.fsync(self._fid, self._name)

    def truncate(self, size=None):
        """Make the file that long, by default as long as where it stands; the length."""
        self.flush()
        size = self._at if size is None else size
        if not self._can_write:
            raise OSError(_EBADF, "%s: not open for writing" % self._name)
        self._client.setattr(self._fid, self._name, size=size)
        self._size = size
        self._filled = 0
        return size

    def seek(self, off, whence=0):
        """Move to a byte offset from the start, from here (1) or from the end (2)."""
        self.flush()
        if whence == 2:
            self._size = self._client.getattr(self._fid, self._name).size
        return File.seek(self, off, whence)

    def close(self):
        """Write out what is left and let go of the file; a second close does nothing."""
        if self._volume is None:
            return
        try:
            self._write_out()
        finally:
            File.close(self)
            self._share.release(self._fid)

    def ioctl(self, request, arg):
        """The stream protocol of MicroPython's C code."""
        if request == _STREAM_FLUSH:
            self.flush()
            return 0
        if request == _STREAM_POLL:
            return File.ioctl(self, request, arg) | (arg & _POLL_WRITABLE if self._can_write else 0)
        return File.ioctl(self, request, arg)
