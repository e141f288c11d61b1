"""The MSI-X table of a function: messages for its vectors, each of them masked or not."""

import errno

from machine import mem32
from micropython import const

_MSIX = const(0x11)  # capability id
_CONTROL = const(2)
_TABLE = const(4)
_ENABLE = const(1 << 15)
_MASK_ALL = const(1 << 14)


class MSIX:
    """The vectors 0 to size - 1. OSError: ENODEV without the capability, ENOSPC when its BAR has no address."""

    def __init__(self, function):
        self.function = function
        self.at = at = function.capability(_MSIX)
        if not at:
            raise OSError(errno.ENODEV, "PCI %s has no MSI-X" % function.name)
        self.size = (function.read(at + _CONTROL, 2) & 0x7FF) + 1
        word = function.read(at + _TABLE, 4)
        off = word & ~7
        bar = function.bars.get(word & 7)
        if bar is None or bar.kind != "mem" or off + 16 * self.size > bar.size:
            raise function.broken(at, "the MSI-X table of %d vectors is not in BAR%d" % (self.size, word & 7))
        self.table = bar.cpu_address + off

    def set(self, vector, addr, data):
        """Give a vector its message, unmasked."""
        entry = self._entry(vector)
        mem32[entry + 12] = 1
        mem32[entry] = addr & 0xFFFFFFFF
        mem32[entry + 4] = addr >> 32
        mem32[entry + 8] = data
        mem32[entry + 12] = 0

    def mask(self, vector, on):
        """Keep a vector from sending, or let it send, what it holds back included."""
        mem32[self._entry(vector) + 12] = 1 if on else 0

    def _entry(self, vector):
        if not 0 <= vector < self.size:
            raise ValueError("vector %d of %d" % (vector, self.size))
        return self.table + 16 * vector

    @property
    def enabled(self):
        return self.function.read(self.at + _CONTROL, 2) & _ENABLE != 0

    def enable(self, on):
        """Send messages instead of INTx, or stop it; vectors that were not set stay masked."""
        control = self.function.read(self.at + _CONTROL, 2) & ~(_ENABLE | _MASK_ALL)
        self.function.write(self.at + _CONTROL, 2, control | _ENABLE if on else control)
