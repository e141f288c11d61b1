"""Aligned, zeroed memory that does not move, and its physical address."""

import riscv


class Area:
    """Memory for a device: .addr is its physical address, .buf a memoryview over it.

    Whoever lets a device use it keeps the Area until the device is reset: the garbage collector
    frees it with the last reference, and does not know what a device still writes.
    """

    def __init__(self, size, align=16):
        if size <= 0 or align <= 0 or align & (align - 1):
            raise ValueError("size must be positive and align a power of two")
        self._raw = bytearray(size + align - 1)
        start = riscv.addr(self._raw)
        skip = -start % align
        self.addr = start + skip
        self.size = size
        self.buf = memoryview(self._raw)[skip : skip + size]

    def __repr__(self):
        return "<Area %#x+%d>" % (self.addr, self.size)
