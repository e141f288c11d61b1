"""Byte ranges of a block device: cached lines for metadata, few large requests for data."""

from errno import EIO
import micropython
from micropython import const

_LINE = const(16384)  # one request of this size costs the same round trip as one of 512 bytes
_LINES = const(16)
_ZEROS = const(4096)
_SECTOR = const(512)
# A large read goes out in pieces of this size, all in flight: the host copies them side by side, and
# they stay in its caches. 64 MiB take a third to a quarter of the time of one request (QEMU 7.2).
_PIECE = const(131072)

_IOCTL_COUNT = const(4)
_IOCTL_SIZE = const(5)


def zero(view):
    """Fill a writable memoryview with zeros, a piece at a time."""
    size = len(view)
    done = min(size, _ZEROS)
    view[:done] = bytes(done)
    while done < size:  # doubles: what is zero already is the source
        step = min(done, size - done)
        view[done : done + step] = view[:step]
        done += step


def read_blocks(bdev, block, view):
    """readblocks, with what a device returns for a failure turned into OSError."""
    answer = bdev.readblocks(block, view)
    if answer is not None and answer is not True and (answer is False or answer != 0):
        raise OSError(EIO, "read of block %d: device said %r" % (block, answer))


class Blocks:
    """Reads any byte range of a device that speaks readblocks/ioctl and, if it can, read_many.

    bdev: the block device; its read_many, if any, takes (512-byte sector, buffer) pairs.  Data goes
    straight into the caller's buffer except for the unaligned ends.  What get() returns is shared:
    never write to it.
    """

    def __init__(self, bdev):
        self.bdev = bdev
        self.block_size = bdev.ioctl(_IOCTL_SIZE, 0) or 512
        self.size = bdev.ioctl(_IOCTL_COUNT, 0) * self.block_size
        self._many = getattr(bdev, "read_many", None)
        self._line = max(_LINE, self.block_size)
        self._lines = {}
        self._order = []

    def get(self, off, size):
        """size bytes at byte off, from the cache; the device is asked for a whole line on a miss."""
        line = self._line
        start = off - off % line
        if off + size <= start + line:
            view = self._lines.get(start)
            if view is None:
                view = self._fill(start)
            if off - start + size <= len(view):
                return view[off - start : off - start + size]
        view = memoryview(bytearray(size))
        self.read([(off, view)])
        return view

    def line(self, off):
        """(first byte offset, bytes) of the cached line that holds byte off."""
        start = off - off % self._line
        return start, self._lines.get(start) or self._fill(start)

    def drop(self):
        """Forget everything cached."""
        self._lines = {}
        self._order = []

    def _fill(self, start):
        view = memoryview(bytearray(max(0, min(self._line, self.size - start))))
        if view:
            self.read([(start, view)])
            if len(self._order) >= _LINES:
                self._lines.pop(self._order.pop(0))
            self._lines[start] = view
            self._order.append(start)
        return view

    def read(self, pieces):
        """Read (byte offset, writable memoryview) pieces, many in flight when the device can.

        Blocks until all are read.  OSError: EIO past the end, and whatever the device raises.
        """
        block_size = self.block_size
        wanted = []
        copies = []
        for off, view in pieces:
            size = len(view)
            if off < 0 or off + size > self.size:
                raise OSError(EIO, "read of bytes %d+%d: device ends at %d" % (off, size, self.size))
            head = off % block_size
            if head and size:
                part = min(size, block_size - head)
                wanted.append((off - head, self._bounce(copies, head, view[:part])))
                off, view, size = off + part, view[part:], size - part
            whole = size - size % block_size
            if whole:
                wanted.append((off, view[:whole] if whole < size else view))
            if whole < size:
                wanted.append((off + whole, self._bounce(copies, 0, view[whole:])))
        self._transfer(wanted)
        for bounce, skip, view in copies:
            view[:] = bounce[skip : skip + len(view)]

    def _bounce(self, copies, skip, view):
        bounce = memoryview(bytearray(self.block_size))
        copies.append((bounce, skip, view))
        return bounce

    def _transfer(self, wanted):
        if self._many and (len(wanted) > 1 or (wanted and len(wanted[0][1]) > _PIECE)):
            self._many(_cut(wanted))
            return
        for off, view in wanted:
            read_blocks(self.bdev, off // self.block_size, view)


@micropython.native
def _cut(wanted):
    """(sector, view) requests of at most _PIECE bytes."""
    requests = []
    for off, view in wanted:
        size = len(view)
        sector = off // _SECTOR
        if size <= _PIECE:
            requests.append((sector, view))
            continue
        at = 0
        while at < size:
            requests.append((sector, view[at : at + _PIECE]))
            at += _PIECE
            sector += _PIECE // _SECTOR
    return requests
