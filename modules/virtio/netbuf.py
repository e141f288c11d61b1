"""Buffers of a network card's queue, and the viper code that every frame goes through (5.1.9)."""

from array import array

import micropython

from . import ring
from .dma import Area


@micropython.viper
def plain(frame: int, header: int, used: int, room: int, merging: int) -> int:
    """Bytes of the frame behind a header, -1 unless it is in one buffer and its header asks for nothing.

    used: what the device says it wrote; room: bytes of the buffer. The header lies before `frame`.
    """
    h = ptr8(frame - header)
    if used < header or h[0] & 1 or h[1] & 0x60:
        return -1
    if merging and (h[10] != 1 or h[11]):
        return -1
    if used > room:
        used = room
    return used - header


@micropython.viper
def resize(table: int, i: int, n: int):
    """Say how long buffer i of a table for the ring's post() is."""
    ptr64(table)[2 * i + 1] = n


class Buffers:
    """Memory of one queue: buffers of a header and a frame, and for each a table for the ring's post()."""

    def __init__(self, queue, header, room, count, split):
        """room: bytes of a frame. split: the header has a descriptor to itself."""
        # Frames lie on 16 bytes, so that copying them goes by double words.
        skip = -header & 15
        stride = skip + header + room + 15 & -16
        self.room = header + room
        self._area = area = Area(count * stride)
        starts = range(skip, count * stride, stride)
        self.views = [area.buf[at : at + header + room] for at in starts]
        self.frames = [area.addr + at + header for at in starts]
        self.parts = 2 if split else 1
        self._pairs = Area(16 * self.parts * count)
        self.tables = list(range(self._pairs.addr, self._pairs.addr + self._pairs.size, 16 * self.parts))
        for i in range(count):
            at = self.frames[i] - header
            if split:
                ring.pair(self.tables[i], 0, at, header)
                ring.pair(self.tables[i], 1, at + header, room)
            else:
                ring.pair(self.tables[i], 0, at, header + room)
        self.owner = array("H", bytes(2 * queue.size))  # head of a chain -> its buffer
