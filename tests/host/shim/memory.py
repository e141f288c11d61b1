"""A fake physical memory: pinned buffers and device registers, every access checked."""

import bisect
import ctypes

_BASE = 0x8020_0000  # where the first pinned buffer appears
_GAP = 64  # unmapped bytes between two buffers, so that an overrun is caught


class MemoryFault(Exception):
    """An access that hits neither a pinned buffer nor a device register."""


class Memory:
    """Maps buffers of this process to made-up physical addresses, and registers to handlers."""

    def __init__(self):
        self.reset()

    def reset(self):
        self._starts = []  # sorted fake addresses of the segments
        self._segments = []  # (fake start, fake end, memoryview) beside _starts
        self._real = []  # sorted (real start, real end, fake start)
        self._next = _BASE
        self._mmio = []  # (start, end, handler)
        self.watches = []  # (addr, callback): called before a driver reads from addr

    # -- buffers ---------------------------------------------------------------

    def addr(self, buf):
        """Physical address of a buffer; pins it, so that it can neither move nor be freed."""
        view = memoryview(buf)
        if view.nbytes == 0:
            return self._next
        if not view.contiguous:
            raise TypeError("buffer is not contiguous")
        real = self._real_address(view)
        i = bisect.bisect_right(self._real, (real, 1 << 65, 0)) - 1
        if i >= 0:
            start, end, fake = self._real[i]
            if start <= real and real + view.nbytes <= end:
                return fake + real - start
        return self._pin(view, real)

    def _real_address(self, view):
        if view.readonly:  # ctypes needs a writable buffer: ask Python's own buffer protocol
            obj = ctypes.py_object(view.obj)
            raw = _PyBuffer()
            ctypes.pythonapi.PyObject_GetBuffer(obj, ctypes.byref(raw), 0)
            try:
                return raw.buf
            finally:
                ctypes.pythonapi.PyBuffer_Release(ctypes.byref(raw))
        return ctypes.addressof((ctypes.c_char * view.nbytes).from_buffer(view))

    def _pin(self, view, real):
        whole = view if view.obj is None or view.readonly else self._whole(view)
        start = real
        if whole is not view:
            start = self._real_address(whole)
        fake = self._next + ((start - self._next) & 15)
        self._next = fake + whole.nbytes + _GAP
        self._starts.append(fake)
        self._segments.append((fake, fake + whole.nbytes, whole.cast("B")))
        bisect.insort(self._real, (start, start + whole.nbytes, fake))
        return fake + real - start

    def _whole(self, view):
        try:
            whole = memoryview(view.obj)
        except TypeError:
            return view
        return whole if whole.contiguous and whole.nbytes >= view.nbytes else view

    def view(self, addr, size):
        """Memoryview over size bytes at addr: what a device may touch."""
        i = bisect.bisect_right(self._starts, addr) - 1
        if i >= 0:
            start, end, view = self._segments[i]
            if addr + size <= end:
                return view[addr - start : addr - start + size]
        raise MemoryFault("no memory at %#x+%#x" % (addr, size))

    # -- registers -------------------------------------------------------------

    def map(self, start, size, handler):
        """Give [start, start+size) to handler.read(off, width) and handler.write(off, width, v)."""
        self._mmio.append((start, start + size, handler))

    def unmap(self, handler):
        self._mmio = [m for m in self._mmio if m[2] is not handler]

    def read(self, addr, width):
        if addr % width:
            raise MemoryFault("misaligned read of %d at %#x" % (width, addr))
        for where, callback in self.watches:
            if where == addr:
                callback()
        for start, end, handler in self._mmio:
            if start <= addr < end:
                return handler.read(addr - start, width)
        return int.from_bytes(self.view(addr, width), "little")

    def write(self, addr, width, value):
        if addr % width:
            raise MemoryFault("misaligned write of %d at %#x" % (width, addr))
        value &= (1 << 8 * width) - 1
        for start, end, handler in self._mmio:
            if start <= addr < end:
                handler.write(addr - start, width, value)
                return
        self.view(addr, width)[:] = value.to_bytes(width, "little")


class _PyBuffer(ctypes.Structure):
    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


memory = Memory()
