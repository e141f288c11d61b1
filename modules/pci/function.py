"""A PCI function: configuration space, BARs, capabilities, and the command register."""

import errno

from machine import mem8, mem16, mem32
from micropython import const

from .space import size_text

_VENDOR = const(0x00)
_COMMAND = const(0x04)
_STATUS = const(0x06)
_CLASS = const(0x08)
_HEADER_TYPE = const(0x0E)
_BARS = const(0x10)
_SUBSYSTEM = const(0x2C)
_CAPABILITIES = const(0x34)
_INTERRUPT_PIN = const(0x3D)

_IO = const(1)  # bits of the command register
_MEMORY = const(2)
_MASTER = const(4)
_NO_INTX = const(1 << 10)
_HAS_CAPABILITIES = const(1 << 4)  # of the status register


class Bar:
    """A base address register: kind 'io' or 'mem', size, and the bus address that it was given."""

    def __init__(self, function, index, kind, wide, prefetch, size):
        self.function = function
        self.index = index
        self.kind = kind
        self.wide = wide
        self.prefetch = prefetch
        self.size = size
        self.order = function.address << 3 | index
        self.address = None
        self.why = None  # why it has no address

    @property
    def align(self):
        return self.size

    @property
    def cpu_address(self):
        """Where the CPU finds it. OSError(ENOSPC): it did not fit into any window."""
        if self.address is None:
            raise OSError(
                errno.ENOSPC,
                "%s: BAR%d of %s has no address: %s"
                % (self.function.name, self.index, size_text(self.size), self.why or "not assigned yet"),
            )
        return self.function.host.cpu_address(self.kind, self.address)

    def write(self):
        """Tell the function; decoding must be off."""
        at = _BARS + 4 * self.index
        address = self.address or 0
        self.function.write(at, 4, address & 0xFFFFFFFF)
        if self.wide:
            self.function.write(at + 4, 4, address >> 32)

    def __repr__(self):
        kind = "I/O" if self.kind == "io" else "64-bit" if self.wide else "32-bit"
        if self.prefetch:
            kind += " prefetchable"
        where = "at %#x" % self.address if self.address is not None else "no address: %s" % self.why
        return "<BAR%d %s %s %s>" % (self.index, kind, size_text(self.size), where)


class Function:
    """One function. bridge: the Function of the bridge that leads to it, None on the root bus."""

    def __init__(self, host, bridge, number, slot, function):
        self.host = host
        self.bridge = bridge
        self.bus = number
        self.slot = slot
        self.function = function
        self.config = host.config_address(number, slot, function)
        word = mem32[self.config]
        self.vendor = word & 0xFFFF
        self.device = word >> 16
        self.class_code = mem32[self.config + _CLASS] >> 8
        self.header_type = mem8[self.config + _HEADER_TYPE] & 0x7F
        self.bars = {}
        self.gone = False
        self._masters = 0

    @property
    def name(self):
        text = "%02x:%02x.%d" % (self.bus, self.slot, self.function)
        return "%04x:%s" % (self.host.domain, text) if self.host.domain else text

    @property
    def address(self):
        """Bus, slot and function in one number, as the order of functions."""
        return self.bus << 8 | self.slot << 3 | self.function

    @property
    def is_bridge(self):
        return self.header_type == 1

    @property
    def subsystem(self):
        """(vendor, device) of the subsystem."""
        word = self.read(_SUBSYSTEM, 4)
        return word & 0xFFFF, word >> 16

    @property
    def pin(self):
        """1 to 4 for INTA# to INTD#, 0 without."""
        return self.read(_INTERRUPT_PIN, 1)

    @property
    def present(self):
        """Whether it still answers."""
        self.gone = self.gone or mem32[self.config] != self.vendor | self.device << 16
        return not self.gone

    def read(self, off, width):
        """A field of configuration space; all ones when the function is gone."""
        mem = mem32 if width == 4 else mem8 if width == 1 else mem16
        return mem[self.config + off]

    def write(self, off, width, value):
        if self.gone:
            return  # by now something else may be in its place
        mem = mem32 if width == 4 else mem8 if width == 1 else mem16
        mem[self.config + off] = value

    # -- BARs ----------------------------------------------------------------------------

    def size_bars(self):
        """Find the BARs and their sizes; decoding is off from here on to start()."""
        mem16[self.config + _COMMAND] = _NO_INTX
        self.bars = {}
        i = 0
        end = 2 if self.is_bridge else 6 if self.header_type == 0 else 0
        while i < end:
            bar = self._size_bar(i)
            if bar is not None:
                self.bars[i] = bar
            i += 2 if bar is not None and bar.wide else 1

    def _size_bar(self, i):
        at = self.config + _BARS + 4 * i
        mem32[at] = 0xFFFFFFFF
        ones = mem32[at]
        mem32[at] = 0
        if ones == 0:
            return None
        if ones & 1:
            ones |= 0xFFFF0000  # the upper half may be wired to 0
            return Bar(self, i, "io", False, False, (~ones & 0xFFFFFFFC) + 4 & 0xFFFF)
        wide = ones & 6 == 4
        mask = ones & 0xFFFFFFF0 | 0xFFFFFFFF00000000
        if wide:
            mem32[at + 4] = 0xFFFFFFFF
            mask = mask & 0xFFFFFFFF | mem32[at + 4] << 32
            mem32[at + 4] = 0
        size = -mask & (1 << 64) - 1
        return Bar(self, i, "mem", wide, ones & 8 != 0, size)

    def start(self):
        """Write the BARs and let the function decode them; bus mastering stays off."""
        bits = _NO_INTX
        for bar in self.bars.values():
            bar.write()
            if bar.address is not None:
                bits |= _IO if bar.kind == "io" else _MEMORY
        if self.is_bridge:
            bits |= _IO | _MEMORY
        mem16[self.config + _COMMAND] = bits

    def master(self, on):
        """Let the function access memory, and the bridges before it, or stop it again."""
        self._masters += 1 if on else -1
        if self._masters == (1 if on else 0):
            self.command(_MASTER, on)
        if self.bridge is not None:
            self.bridge.master(on)

    def command(self, bits, on):
        """Set or clear bits of the command register."""
        word = self.read(_COMMAND, 2)
        self.write(_COMMAND, 2, word | bits if on else word & ~bits)

    # -- capabilities --------------------------------------------------------------------

    def capabilities(self):
        """List of (id, offset), in the order of the list. OSError(EIO): it loops or leaves its place."""
        if not self.read(_STATUS, 2) & _HAS_CAPABILITIES:
            return []
        found = []
        seen = set()
        before = _CAPABILITIES
        at = self.read(_CAPABILITIES, 1) & 0xFC
        while at:
            if at < 0x40:
                raise self.broken(before, "the capability list goes on at %#x, inside the header" % at)
            if at in seen:
                raise self.broken(before, "the capability list loops back to %#x" % at)
            seen.add(at)
            found.append((self.read(at, 1), at))
            before = at
            at = self.read(at + 1, 1) & 0xFC
        return found

    def capability(self, wanted):
        """The offset of the first capability with that id, 0 without one."""
        for found, at in self.capabilities():
            if found == wanted:
                return at
        return 0

    def broken(self, off, text):
        """The OSError for a rule that the configuration space breaks."""
        return OSError(errno.EIO, "PCI %s: configuration space at %#x: %s" % (self.name, off, text))

    # -- for people ------------------------------------------------------------------------

    def dump(self, indent=""):
        print("%s%r" % (indent, self))
        for index in sorted(self.bars):
            print("%s  %r" % (indent, self.bars[index]))

    def __repr__(self):
        kind = "bridge" if self.is_bridge else "class %04x" % (self.class_code >> 8)
        state = " gone" if self.gone else ""
        return "<PCI %s %04x:%04x %s%s>" % (self.name, self.vendor, self.device, kind, state)
