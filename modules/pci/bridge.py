"""A bridge or port: bus numbers, windows, and whether something can be plugged in behind it."""

from machine import mem8, mem16, mem32
from micropython import const

from .function import Function
from .space import Space

_BUS_NUMBERS = const(0x18)  # primary, secondary, subordinate
_IO_WINDOW = const(0x1C)  # base, limit: bits 15 to 12 of the address
_MEM_WINDOW = const(0x20)  # base, limit: bits 31 to 20
_PREF_WINDOW = const(0x24)
_PREF_UPPER = const(0x28)  # base, limit: bits 63 to 32
_IO_UPPER = const(0x30)
_CONTROL = const(0x3E)

_PCI_EXPRESS = const(0x10)  # capability id, and offsets in it
_SLOT_CAPABILITIES = const(0x14)
_ROOT_PORT = const(4)
_DOWNSTREAM = const(6)

_MIB = const(1 << 20)
_HOT_MEM = const(2 << 20)  # kept for what may be plugged in
_HOT_IO = const(0x1000)


class Bridge(Function):
    """A Function of header type 1. io, mem, pref: its Spaces, None where it has no such window."""

    def __init__(self, *args):
        super().__init__(*args)
        self.secondary = self.subordinate = 0
        self.spare = []  # bus numbers for bridges that may be plugged in
        self.express = 0  # offset of the PCI Express capability
        self.port = None  # its port type
        self.hot = False  # something can be plugged in
        self.occupied = False  # as of the last look
        self.wanted_out = False  # the host asked for the device in the slot
        self._written = {}
        self._look()
        self._make_spaces()

    def _look(self):
        try:
            self.express = at = self.capability(_PCI_EXPRESS)
        except OSError:
            return  # a plain bridge, then
        if at:
            flags = self.read(at + 2, 2)
            self.port = flags >> 4 & 15
            slot = flags >> 8 & 1 and self.port in (_ROOT_PORT, _DOWNSTREAM)
            self.hot = bool(slot and self.read(at + _SLOT_CAPABILITIES, 4) & 1 << 6)

    @property
    def slots(self):
        """How many slots the bus behind it has: a link leads to one device."""
        return 1 if self.port in (_ROOT_PORT, _DOWNSTREAM) else 32

    def _make_spaces(self):
        hot = self.hot
        mem16[self.config + _IO_WINDOW] = 0x00F0  # base above limit: closed
        has_io = mem8[self.config + _IO_WINDOW] & 0xF0
        self.io = Space("I/O", grain=0x1000, reserve=_HOT_IO if hot else 0, order=self.address) if has_io else None
        mem32[self.config + _MEM_WINDOW] = 0x0000FFF0
        self.mem = Space("memory", grain=_MIB, reserve=_HOT_MEM if hot else 0, order=self.address)
        mem32[self.config + _PREF_WINDOW] = 0x0000FFF0
        base = mem16[self.config + _PREF_WINDOW]
        self.pref64 = base & 15 == 1
        self.pref = (
            Space("prefetchable", grain=_MIB, reserve=_HOT_MEM if hot else 0, order=self.address)
            if base & 0xFFF0
            else None
        )

    @property
    def in_use(self):
        """Whether a function behind it may access memory."""
        return self._masters > 0

    def spaces(self):
        return [space for space in (self.io, self.mem, self.pref) if space is not None]

    def set_buses(self, secondary, subordinate):
        """Which buses are behind it."""
        self.secondary = secondary
        self.subordinate = subordinate
        at = self.config + _BUS_NUMBERS
        mem32[at] = mem32[at] & 0xFF000000 | subordinate << 16 | secondary << 8 | self.bus

    def open_windows(self):
        """Write the windows that have changed; an empty one is closed: its base is above its limit."""
        for space in self.spaces():
            there = space.size and space.address is not None
            range_ = (space.address, space.end - 1) if there else (0xFFFFF000, 0)
            if self._written.get(space.name) != range_:
                self._written[space.name] = range_
                self._write_window(space, *range_)

    def _write_window(self, space, first, last):
        config = self.config
        if space is self.io:
            mem16[config + _IO_WINDOW] = first >> 8 & 0xF0 | last & 0xF000
            mem32[config + _IO_UPPER] = first >> 16 & 0xFFFF | last & 0xFFFF0000
            return
        at = config + (_MEM_WINDOW if space is self.mem else _PREF_WINDOW)
        mem32[at] = first >> 16 & 0xFFF0 | last & 0xFFF00000
        if space is self.pref and self.pref64:
            mem32[config + _PREF_UPPER] = first >> 32
            mem32[config + _PREF_UPPER + 4] = last >> 32

    def start(self):
        self.open_windows()
        super().start()

    def dump(self, indent=""):
        print("%s%r, buses %02x-%02x" % (indent, self, self.secondary, self.subordinate))
        for space in self.spaces():
            print("%s  %r" % (indent, space))
