"""Structures in a BAR that the CPU cannot reach, through the PCI_CFG capability (4.1.4.9)."""

from machine import mem16, mem32
from micropython import const

from .dma import Area

_BAR = const(4)  # offsets in the capability
_OFFSET = const(8)
_LENGTH = const(12)
_DATA = const(16)


class WindowRegion:
    """Like pci.Region, each access by way of configuration space."""

    addr = None

    def __init__(self, function, at, capability):
        """at: offset of the PCI_CFG capability. capability: the one that tells where the structure is."""
        self.function = function
        self.at = at
        self.bar = capability.index
        self.offset = capability.offset
        self.size = capability.size

    def _aim(self, off, width):
        if off % width or not 0 <= off <= self.size - width:
            raise ValueError("%d bytes at %#x of a structure of %#x" % (width, off, self.size))
        self.function.write(self.at + _BAR, 1, self.bar)
        self.function.write(self.at + _LENGTH, 4, width)
        self.function.write(self.at + _OFFSET, 4, self.offset + off)

    def get(self, off, width):
        self._aim(off, width)
        return self.function.read(self.at + _DATA, width)

    def put(self, off, width, value):
        self._aim(off, width)
        self.function.write(self.at + _DATA, width, value)


class Caller:
    """Notifies a queue through a WindowRegion: the ring writes its notification into memory at .addr."""

    def __init__(self, region, off, width):
        self._region = region
        self._off = off
        self._width = width
        self._area = Area(4)
        self.addr = self._area.addr
        self._mem = mem32 if width == 4 else mem16
        self._none = (1 << 8 * width) - 1
        self._mem[self.addr] = self._none

    def wrap(self, publish):
        def call(st):
            notified = publish(st)
            value = self._mem[self.addr]
            if value != self._none:  # also what an earlier call left, when Ctrl-C came here
                self._region.put(self._off, self._width, value)
                self._mem[self.addr] = self._none
            return notified

        return call
