"""Structures in a BAR that the CPU cannot reach, through the PCI_CFG capability (4.1.4.9)."""

from micropython import const

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
