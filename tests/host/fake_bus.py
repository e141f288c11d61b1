"""A PCI host bridge, bridges and functions on the fake physical memory, strict about how they are set up."""

from fake_rules import Violation, require
from shim.memory import memory

ECAM = 0x3000_0000
IO_CPU, IO_SIZE = 0x300_0000, 0x1_0000
MEM, MEM_SIZE = 0x4000_0000, 0x4000_0000
HIGH, HIGH_SIZE = 0x4_0000_0000, 0x4_0000_0000
IO, MEMORY, MASTER, NO_INTX = 1, 2, 4, 1 << 10


class Controller:
    """The interrupt controller that interrupt-map names."""

    path = "/soc/plic"

    def __contains__(self, name):
        return name in ("#address-cells", "#interrupt-cells")

    def u32(self, name):
        return {"#address-cells": 0, "#interrupt-cells": 1, "phandle": 3}[name]


class HostNode:
    """As much of an fdt node as a host bridge needs; props may be changed before it is used."""

    enabled = True
    path = "/soc/pci@30000000"

    def __init__(self, source=32, buses=256, high=True):
        self.fdt = self
        self.buses = buses
        sources = [[source + (slot + pin) % 4 for pin in range(4)] for slot in range(4)]
        rows = [(slot << 11, 0, 0, pin + 1, 3, sources[slot][pin]) for slot in range(4) for pin in range(4)]
        self.props = {
            "bus-range": (0, buses - 1),
            "interrupt-map-mask": (0x1800, 0, 0, 7),
            "interrupt-map": tuple(cell for row in rows for cell in row),
        }
        self.windows = [(0x0100_0000 << 64, IO_CPU, IO_SIZE), (0x0200_0000 << 64 | MEM, MEM, MEM_SIZE)]
        if high:
            self.windows.append((0x0300_0000 << 64 | HIGH, HIGH, HIGH_SIZE))

    def phandle(self, number):
        assert number == 3
        return Controller()

    def reg(self, i):
        return ECAM, self.buses << 20

    def ranges(self):
        return self.windows

    def cells(self, name):
        return self.props[name]

    def __contains__(self, name):
        return name in self.props


class FakeFunction:
    """Configuration space of one function: BARs that can be sized, a command register, capabilities.

    bars: {index: (kind 'io' 'mem' 'mem64' 'pref64', size)}.
    """

    HEADER = 0
    NUM_BARS = 6

    def __init__(self, vendor=0x1AF4, device=0x1042, bars=None, class_code=0xFF0000, pin=1, revision=1, subsystem=0):
        self.config = bytearray(256)
        self.writable = {}  # offset of a byte -> mask of bits that the driver may change
        self.bars = dict(bars or {})
        self.multi = False
        self.gone = False
        self.host = self.parent = self.slot_number = None  # set by plug()
        self.put(0x00, 2, vendor)
        self.put(0x02, 2, device)
        self.put(0x08, 4, class_code << 8 | revision)
        self.put(0x0E, 1, self.HEADER)
        self.put(0x2E, 2, subsystem)
        self.put(0x3D, 1, pin)
        self.allow(0x04, 2, IO | MEMORY | MASTER | NO_INTX)
        self._caps_end = 0x40
        self._caps_link = 0x34
        for index, (kind, size) in self.bars.items():
            self._init_bar(index, kind, size)

    def put(self, off, width, value):
        self.config[off : off + width] = value.to_bytes(width, "little")

    def get(self, off, width):
        return int.from_bytes(self.config[off : off + width], "little")

    def allow(self, off, width, mask):
        for i in range(width):
            self.writable[off + i] = mask >> 8 * i & 0xFF

    def _init_bar(self, index, kind, size):
        at = 0x10 + 4 * index
        wide = kind.endswith("64")
        flags = 1 if kind == "io" else (4 if wide else 0) | (8 if kind.startswith("pref") else 0)
        self.put(at, 4, flags)
        mask = -size & ((1 << 64) - 1)
        self.allow(at, 4, mask & 0xFFFFFFFF & ~15 if kind != "io" else mask & 0xFFFC)
        if wide:
            self.allow(at + 4, 4, mask >> 32)

    def capability(self, number, body, at=None):
        """Append a capability; body: what follows id and next. Returns its offset."""
        at = at or (self._caps_end + 3) & ~3
        self.put(0x06, 2, self.get(0x06, 2) | 1 << 4)
        self.put(self._caps_link, 1, at)
        self._caps_link = at + 1
        self.config[at : at + 2 + len(body)] = bytes([number, 0]) + body
        self._caps_end = max(self._caps_end, at + 2 + len(body))
        return at

    # -- configuration space -----------------------------------------------------------------

    @property
    def command(self):
        return self.get(4, 2)

    def read_config(self, off, width):
        return self.get(off, width)

    def write_config(self, off, width, value):
        if 0x10 <= off < 0x10 + 4 * self.NUM_BARS:
            require(not self.command & (IO | MEMORY), "PCI-BAR", "BAR written while it is decoded")
        old = self.command
        for i in range(width):
            mask = self.writable.get(off + i, 0)
            byte = value >> 8 * i & 0xFF
            was = self.config[off + i]
            if (byte ^ was) & ~mask and not self.may_ignore(off + i):
                raise Violation("PCI-18: write of %#x to read-only byte %#x" % (byte, off + i))
            self.config[off + i] = was & ~mask | byte & mask
        self.wrote(off, width)
        if self.command & (IO | MEMORY) & ~old:
            self.check_place()

    def may_ignore(self, off):
        """Fields where bits that cannot be changed may be written: BARs, and the status half word."""
        return 0x10 <= off < 0x28 or off in (5, 6, 7)

    def wrote(self, off, width):
        """For derived classes."""

    # -- addresses -----------------------------------------------------------------------------

    def placed(self):
        """[(index, kind 'io' or 'mem', address, size)] of the BARs with an address."""
        found = []
        for index, (kind, size) in self.bars.items():
            at = 0x10 + 4 * index
            address = self.get(at, 4) & (~3 if kind == "io" else ~15)
            if kind.endswith("64"):
                address |= self.get(at + 4, 4) << 32
            if address:
                found.append((index, "io" if kind == "io" else "mem", address, size))
        return found

    def check_place(self):
        """BARs that are decoded lie in a window and overlap no other."""
        mine = [(k, a, n) for _, k, a, n in self.placed() if self.decodes(k)]
        others = [f for f in self.host.functions.values() if f is not self]
        taken = [(k, a, n) for f in others for _, k, a, n in f.placed() if f.decodes(k)]
        for i, (kind, address, size) in enumerate(mine):
            require(address % size == 0, "PCI-BAR", "%#x is not aligned to %#x" % (address, size))
            require(self.host.has_window(kind, address, size), "PCI-BAR", "%s %#x is outside" % (kind, address))
            passes = self.parent is None or self.parent.forwards(kind, address, size)
            require(passes, "PCI-BAR", "%s %#x is outside of the bridge's window" % (kind, address))
            for k, a, n in taken + mine[:i]:
                clash = k == kind and address < a + n and a < address + size
                require(not clash, "PCI-BAR", "%s %#x overlaps %#x" % (kind, address, a))

    def decodes(self, kind):
        return self.command & (IO if kind == "io" else MEMORY) != 0

    def read_bar(self, index, off, width):
        return 0

    def write_bar(self, index, off, width, value):
        pass

    @property
    def master(self):
        """Whether it may access memory: it and the bridges before it."""
        return bool(self.command & MASTER) and (self.parent is None or self.parent.master)


class FakeBridge(FakeFunction):
    """A bridge, or with port a PCIe root port (hot: with a slot for hot plug)."""

    HEADER = 1
    NUM_BARS = 2

    def __init__(self, device=0x000C, io=True, pref=64, port=None, hot=False):
        super().__init__(0x1B36, device, class_code=0x060400, pin=1)
        self.allow(0x18, 3, 0xFFFFFF)
        self.has_io, self.pref = io, pref
        if io:
            self.put(0x1C, 2, 0x0101)
            self.allow(0x1C, 2, 0xF0F0)
            self.allow(0x30, 4, 0xFFFFFFFF)
        self.allow(0x20, 4, 0xFFF0FFF0)
        if pref:
            self.put(0x24, 4, 0x00010001 if pref == 64 else 0)
            self.allow(0x24, 4, 0xFFF0FFF0)
        if pref == 64:
            self.allow(0x28, 8, (1 << 64) - 1)
        self.port = port
        if port is not None:
            body = bytearray(0x3A)
            body[0:2] = (2 | port << 4 | 1 << 8).to_bytes(2, "little")
            body[0x0A:0x0E] = (1 << 20).to_bytes(4, "little")
            body[0x12:0x16] = (0x7F if hot else 0).to_bytes(4, "little")
            self.express = at = self.capability(0x10, bytes(body))
            self.allow(at + 0x18, 2, 0x1FFF)
            self.allow(at + 0x1A, 2, 0x11F)
            self.put(at + 0x18, 2, 0x7C0)  # power off
        self.hot = hot

    # -- the slot ------------------------------------------------------------------------------

    def insert(self, function):
        """Put a function into the slot while the machine runs."""
        self.host.plug(function, 0, bridge=self)
        self.put(self.express + 0x18, 2, self.get(self.express + 0x18, 2) & 0x3F | 0x7C0)
        function.gone = True
        self._event(0x09)
        return function

    def press(self):
        """The attention button: the host wants the device back."""
        self._event(0x01)

    def _event(self, bits):
        at = self.express + 0x1A
        self.put(at, 2, self.get(at, 2) | bits)

    def _slot(self):
        return [f for f in self.host.functions.values() if f.parent is self]

    def _power(self, on):
        for function in self._slot():
            if on:
                function.gone = False
            else:
                self.host.unplug(function)
                self._event(0x08)

    def asserts(self):
        """Whether its pin is asserted."""
        control, status = self.get(self.express + 0x18, 2), self.get(self.express + 0x1A, 2)
        return bool(control & 0x20 and control & status & 9 and not self.command & NO_INTX)

    def read_config(self, off, width):
        value = super().read_config(off, width)
        if self.hot and off == self.express + 0x1A:
            return value | (0x40 if self._slot() else 0)
        if self.port is not None and off == self.express + 0x12:
            return 1 << 13 if not self.get(self.express + 0x18, 2) & 0x400 and self._slot() else 0
        return value

    def write_config(self, off, width, value):
        if self.port is None or off not in (self.express + 0x18, self.express + 0x1A):
            super().write_config(off, width, value)
            return
        require(width == 2, "PCI-SLOT", "%d bytes" % width)
        old = self.get(off, 2)
        if off == self.express + 0x1A:
            self.put(off, 2, old & ~value)
            return
        self.put(off, 2, value)
        if (old ^ value) & 0x400:
            require(not self.hot or value & 0x300 == (0x300 if value & 0x400 else 0x100), "PCI-SLOT", "indicator")
            self._power(not value & 0x400)

    def may_ignore(self, off):
        return super().may_ignore(off) and off < 0x18 or 0x1C <= off < 0x34 or off in (5, 6, 7)

    @property
    def secondary(self):
        return self.config[0x19]

    @property
    def subordinate(self):
        return self.config[0x1A]

    def forwards(self, kind, address, size=1):
        """Whether an access passes downstream."""
        if not self.decodes(kind):
            return False
        if kind == "io":
            first = (self.config[0x1C] & 0xF0) << 8 | self.get(0x30, 2) << 16
            last = (self.config[0x1D] & 0xF0) << 8 | 0xFFF | self.get(0x32, 2) << 16
            return bool(self.has_io) and first <= address and address + size - 1 <= last
        for base, limit, upper in ((0x20, 0x22, None), (0x24, 0x26, 0x28)):
            if upper and not self.pref:
                continue
            first = (self.get(base, 2) & 0xFFF0) << 16
            last = (self.get(limit, 2) & 0xFFF0) << 16 | 0xFFFFF
            if upper and self.pref == 64:
                first |= self.get(upper, 4) << 32
                last |= self.get(upper + 4, 4) << 32
            if first <= address and address + size - 1 <= last:
                return True
        return False


class FakeHost:
    """The host bridge: .node is its devicetree node; plug() puts a function on a bus."""

    def __init__(self, **options):
        self.node = HostNode(**options)
        self._tree = Tree(self.node)
        self.functions = {}  # (number given to plug, slot, function) -> FakeFunction
        self.reads = []  # (bus, slot, function, offset) of configuration space
        self._handlers = []
        self._map(ECAM, self.node.buses << 20, self.read_config, self.write_config)
        for _, cpu, length in self.node.windows:
            kind = "io" if cpu == IO_CPU else "mem"
            base = 0 if kind == "io" else cpu
            self._map(cpu, length, *self._access(kind, base))

    def _map(self, start, size, read, write):
        handler = _Handler(read, write)
        self._handlers.append(handler)
        memory.map(start, size, handler)

    def unmap(self):
        """Take it out of the fake memory."""
        for handler in self._handlers:
            memory.unmap(handler)

    def plug(self, function, slot, number=0, bridge=None):
        """Put a function into a slot of the root bus, or of the bus behind a bridge."""
        function.host = self
        function.parent = bridge
        function.slot_number = (slot, number)
        if bridge is not None and bridge.port is not None:
            bridge.put(bridge.express + 0x18, 2, bridge.get(bridge.express + 0x18, 2) & 0x3F | 0x1C0)  # power on
        self.functions[(id(bridge), slot, number)] = function
        return function

    def unplug(self, function):
        self.functions = {k: f for k, f in self.functions.items() if f is not function}

    def bus_of(self, function):
        return 0 if function.parent is None else function.parent.secondary

    def _find(self, off):
        """The function that a configuration access reaches, if bridges let it pass; and the offset."""
        bus, slot, number = off >> 20, off >> 15 & 31, off >> 12 & 7
        for function in self.functions.values():
            if function.slot_number == (slot, number) and self.bus_of(function) == bus and self._reached(function, bus):
                return function, off & 0xFFF
        return None, off & 0xFFF

    def _reached(self, function, bus):
        bridge = function.parent
        while bridge is not None:
            if not bridge.secondary <= bus <= bridge.subordinate or bridge.secondary == 0:
                return False
            bridge = bridge.parent
        return True

    def read_config(self, off, width):
        function, at = self._find(off)
        self.reads.append((off >> 20, off >> 15 & 31, off >> 12 & 7, at))
        if function is None or function.gone:
            return (1 << 8 * width) - 1
        if at == 0x0E and width == 1:
            return function.get(at, 1) | (0x80 if function.multi else 0)
        return function.read_config(at, width) if at + width <= 256 else 0

    def write_config(self, off, width, value):
        function, at = self._find(off)
        if function is not None and not function.gone:
            function.write_config(at, width, value)

    def has_window(self, kind, address, size):
        if kind == "io":
            return address + size <= IO_SIZE
        return any(cpu != IO_CPU and cpu <= address and address + size <= cpu + n for _, cpu, n in self.node.windows)

    def _access(self, kind, base):
        def target(off):
            for function in self.functions.values():
                bridge = function.parent
                while bridge is not None and bridge.forwards(kind, base + off):
                    bridge = bridge.parent
                if bridge is not None or function.gone or not function.decodes(kind):
                    continue
                for index, k, address, size in function.placed():
                    if k == kind and address <= base + off < address + size:
                        return function, index, base + off - address
            return None, 0, 0

        def read(off, width):
            function, index, at = target(off)
            return (1 << 8 * width) - 1 if function is None else function.read_bar(index, at, width)

        def write(off, width, value):
            function, index, at = target(off)
            if function is not None:
                function.write_bar(index, at, width, value)

        return read, write

    def tree(self):
        return self._tree


class Tree:
    """A device tree with nothing but this host."""

    def __init__(self, node):
        self.node = node

    def compatible(self, name):
        return [self.node] if name == "pci-host-ecam-generic" else []


class _Handler:
    def __init__(self, read, write):
        self.read = read
        self.write = write
