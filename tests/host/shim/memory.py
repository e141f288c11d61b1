"""A fake physical memory: pinned buffers and device registers, every access checked."""

import bisect
import ctypes
import struct

_BASE = 0x8020_0000  # where the first pinned buffer appears
_GAP = 64  # unmapped bytes between two buffers at least, so that an overrun is caught
PAGE = 12  # bits
UNPACK = {n: struct.Struct("<" + c).unpack_from for n, c in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))}
PACK = {n: struct.Struct("<" + c).pack_into for n, c in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))}
ONES = {n: (1 << 8 * n) - 1 for n in (1, 2, 4, 8)}


class MemoryFault(Exception):
    """An access that hits neither a pinned buffer nor a device register."""


class Memory:
    """Maps buffers of this process to made-up physical addresses, and registers to handlers.

    Every buffer has pages of its own and begins somewhere in the first: what a driver aligns, it
    aligns itself. A watch is called with (addr, width), before a driver's read or after its write.
    """

    def __init__(self):
        self.reset()

    def reset(self):
        self.pages = {}  # page number -> (fake start, fake end, memoryview)
        self._real = []  # sorted (real start, real end, fake start)
        self._next = _BASE
        self._pins = 0
        self._mmio = []  # (start, end, handler)
        self.reads = {}  # page number -> [(start, end, callback)]
        self.writes = {}

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
            obj = ctypes.py_object(view)  # not view.obj: the view may start further on
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
        self._pins += 1
        fake = self._next + 16 * (self._pins * 37 % 251)
        end = fake + whole.nbytes
        segment = (fake, end, whole.cast("B"))
        for page in range(fake >> PAGE, (end - 1 >> PAGE) + 1):
            self.pages[page] = segment
        self._next = ((end + _GAP >> PAGE) + 1) << PAGE
        bisect.insort(self._real, (start, start + whole.nbytes, fake))
        return fake + real - start

    def _whole(self, view):
        try:
            whole = memoryview(view.obj)
        except TypeError:
            return view
        return whole if whole.contiguous and whole.nbytes >= view.nbytes else view

    def place(self, addr, buf):
        """Put a buffer at a physical address of one's choice."""
        view = memoryview(buf)
        segment = (addr, addr + view.nbytes, view)
        for page in range(addr >> PAGE, (addr + view.nbytes - 1 >> PAGE) + 1):
            self.pages[page] = segment
        real = self._real_address(view)
        bisect.insort(self._real, (real, real + view.nbytes, addr))

    def view(self, addr, size):
        """Memoryview over size bytes at addr: what a device may touch."""
        segment = self.pages.get(addr >> PAGE)
        if segment is not None:
            start, end, view = segment
            if start <= addr and addr + size <= end:
                return view[addr - start : addr - start + size]
        raise MemoryFault("no memory at %#x+%#x" % (addr, size))

    # -- registers and watches -------------------------------------------------

    def map(self, start, size, handler):
        """Give [start, start+size) to handler.read(off, width) and handler.write(off, width, v)."""
        self._mmio.append((start, start + size, handler))

    def unmap(self, handler):
        self._mmio = [m for m in self._mmio if m[2] is not handler]

    def on_read(self, start, size, callback):
        """Call callback(addr, width) before a driver reads anything in [start, start+size)."""
        self._watch(self.reads, start, size, callback)

    def on_write(self, start, size, callback):
        """Call callback(addr, width) after a driver wrote anything in [start, start+size)."""
        self._watch(self.writes, start, size, callback)

    @staticmethod
    def _watch(table, start, size, callback):
        for page in range(start >> PAGE, (start + size - 1 >> PAGE) + 1):
            table.setdefault(page, []).append((start, start + size, callback))

    def unwatch(self, *callbacks):
        for table in (self.reads, self.writes):
            for page in list(table):
                table[page] = [w for w in table[page] if w[2] not in callbacks]
                if not table[page]:
                    del table[page]

    # -- what a driver does ----------------------------------------------------

    def read(self, addr, width):
        page = addr >> PAGE
        if page in self.reads:
            for start, end, callback in self.reads[page]:
                if addr < end and start < addr + width:
                    callback(addr, width)
        segment = self.pages.get(page)
        if segment is None:
            return self._read_register(addr, width)
        start, end, view = segment
        if addr % width:
            raise MemoryFault("misaligned read of %d at %#x" % (width, addr))
        if addr < start or addr + width > end:
            raise MemoryFault("no memory at %#x+%#x" % (addr, width))
        return UNPACK[width](view, addr - start)[0]

    def write(self, addr, width, value):
        page = addr >> PAGE
        segment = self.pages.get(page)
        if segment is None:
            self._write_register(addr, width, value)
            return
        start, end, view = segment
        if addr % width:
            raise MemoryFault("misaligned write of %d at %#x" % (width, addr))
        if addr < start or addr + width > end:
            raise MemoryFault("no memory at %#x+%#x" % (addr, width))
        PACK[width](view, addr - start, value & ONES[width])
        if page in self.writes:
            for start, end, callback in self.writes[page]:
                if addr < end and start < addr + width:
                    callback(addr, width)

    def _read_register(self, addr, width):
        if addr % width:
            raise MemoryFault("misaligned read of %d at %#x" % (width, addr))
        for start, end, handler in self._mmio:
            if start <= addr < end:
                return handler.read(addr - start, width)
        raise MemoryFault("no memory at %#x+%#x" % (addr, width))

    def _write_register(self, addr, width, value):
        if addr % width:
            raise MemoryFault("misaligned write of %d at %#x" % (width, addr))
        for start, end, handler in self._mmio:
            if start <= addr < end:
                handler.write(addr - start, width, value & ONES[width])
                return
        raise MemoryFault("no memory at %#x+%#x" % (addr, width))


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
