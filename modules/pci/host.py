"""A host bridge as the devicetree describes it: configuration space (ECAM), windows, all functions."""

from micropython import const

from . import bus
from .space import Space

_BUS_SIZE = const(1 << 20)  # bytes of ECAM a bus has
_IO = const(1)  # space codes in phys.hi of ranges
_MEM = const(2)
_MEM64 = const(3)
_FIRST = const(0x1000)  # QEMU and Linux take a BAR at 0 for one that is not assigned


class Host:
    """Configuration space, windows into the CPU's address space, and what is behind them.

    io, mem, high: Space of I/O ports, of memory below and above 4 GiB in bus addresses; None
    where ranges has none. functions: list of Function by address.
    """

    def __init__(self, node):
        self.node = node
        self.ecam, size = node.reg(0)
        self.first_bus, last = node.cells("bus-range") if "bus-range" in node else (0, 255)
        self.last_bus = min(last, self.first_bus + size // _BUS_SIZE - 1)
        self.domain = node.u32("linux,pci-domain") if "linux,pci-domain" in node else 0
        self.functions = []
        self.io = self.mem = self.high = None
        self._offsets = {}
        for child, parent, length in node.ranges() or ():
            self._add_window(child >> 64, child & 0xFFFFFFFFFFFFFFFF, parent, length)

    def _add_window(self, hi, start, parent, size):
        """Take a range of ranges; the largest of each kind is used."""
        code = hi >> 24 & 3
        if code == _IO:
            name, text = "io", "I/O"
        elif code == _MEM or code == _MEM64 and start + size <= 1 << 32:
            name, text = "mem", "32-bit"
        elif code == _MEM64:
            name, text = "high", "64-bit"
        else:
            return
        skip = 0 if start else _FIRST
        space = Space(text, start + skip, size - skip)
        old = getattr(self, name)
        if old is None or old.size < space.size:
            setattr(self, name, space)
            self._offsets[name] = parent - start

    def cpu_address(self, kind, address):
        """Where the CPU finds a bus address; kind 'io' or 'mem'."""
        if kind == "io":
            return address + self._offsets["io"]
        high = self.high is not None and self.high.address <= address < self.high.end
        return address + self._offsets["high" if high else "mem"]

    def config_address(self, number, slot, function):
        """Where the CPU finds the configuration space of a function."""
        return self.ecam + ((number - self.first_bus) << 20 | slot << 15 | function << 12)

    def enumerate(self):
        """Number the buses, find all functions, assign their BARs."""
        bus.enumerate(self)

    def rescan(self):
        """(functions that are new, functions that are gone)."""
        return bus.rescan(self)

    def dump(self):
        print(self)
        for space in (self.io, self.mem, self.high):
            if space is not None:
                print("  %s" % space)
        for function in self.functions:
            function.dump("  ")

    def __repr__(self):
        return "<PCI host at %#x, buses %02x-%02x, %d functions>" % (
            self.ecam,
            self.first_bus,
            self.last_bus,
            len(self.functions),
        )
