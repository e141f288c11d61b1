"""Where virtio's structures are: the vendor capabilities of a PCI function (4.1.4)."""

from micropython import const

from .pci import Region

_VENDOR_SPECIFIC = const(0x09)
_COMMON = const(1)
_NOTIFY = const(2)
_ISR = const(3)
_DEVICE = const(4)
_PCI_CFG = const(5)
_SHARED_MEMORY = const(8)

_NAMES = {1: "common", 2: "notify", 3: "ISR", 4: "device", 5: "PCI_CFG", 8: "shared memory", 9: "vendor data"}
_LENGTHS = {2: 20, 5: 20, 8: 24}  # of the capability, where it is more than 16
_SIZES = {1: 56, 2: 2, 3: 1}  # bytes that a structure has at least
_ALIGNS = {1: 4, 2: 2, 4: 4}


class Capability:
    """One virtio capability: where it is and what it says."""

    def __init__(self, function, at):
        self.function = function
        self.at = at
        word = function.read(at, 4)
        self.length = word >> 16 & 0xFF
        self.kind = word >> 24
        word = function.read(at + 4, 4)
        self.index = word & 0xFF
        self.id = word >> 8 & 0xFF
        self.offset = function.read(at + 8, 4)
        self.size = function.read(at + 12, 4)

    @property
    def name(self):
        return _NAMES.get(self.kind) or "type %d" % self.kind

    @property
    def bar(self):
        """The Bar it points into, None where the function has none of that number."""
        return self.function.bars.get(self.index)

    def broken(self, text):
        return self.function.broken(self.at, "virtio %s capability: %s" % (self.name, text))

    def check(self, taken):
        """Whether it can be used at all; taken: the ones before it."""
        need = _LENGTHS.get(self.kind, 16)
        if self.length < need:
            raise self.broken("length %d, at least %d is needed" % (self.length, need))
        if self.at + self.length > 256:
            raise self.broken("length %d goes beyond the end" % self.length)
        for other in taken:
            if self.at < other.at + other.length and other.at < self.at + self.length:
                raise self.broken("overlaps the one at %#x" % other.at)

    def check_structure(self):
        """Whether the structure lies in its BAR and has the size that it needs."""
        need = _SIZES.get(self.kind, 0)
        if self.size < need:
            raise self.broken("a structure of %d bytes, %d are needed" % (self.size, need))
        if self.offset % _ALIGNS.get(self.kind, 1):
            raise self.broken("offset %#x is not aligned" % self.offset)
        bar = self.bar
        if bar is not None and self.offset + self.size > bar.size:
            raise self.broken(
                "%#x+%#x does not lie in BAR%d of %#x bytes" % (self.offset, self.size, self.index, bar.size)
            )

    def __repr__(self):
        return "<%s capability at %#x: BAR%d %#x+%#x>" % (self.name, self.at, self.index, self.offset, self.size)


def read(function):
    """List of the virtio capabilities. OSError(EIO): the list, or one in it, is broken.

    Left out as 4.1.4.1 wants it: types that are reserved, and BARs above 5.
    """
    found = []
    for number, at in function.capabilities():
        if number != _VENDOR_SPECIFIC:
            continue
        capability = Capability(function, at)
        if capability.kind in _NAMES:
            capability.check(found)
            found.append(capability)
    found = [c for c in found if c.index <= 5 or c.kind == _PCI_CFG]
    for capability in found:
        if capability.kind == _SHARED_MEMORY:
            capability.offset |= function.read(capability.at + 16, 4) << 32
            capability.size |= function.read(capability.at + 20, 4) << 32
        if capability.kind != _PCI_CFG:
            capability.check_structure()
    return found


def _at(capability):
    return capability.at


class Structures:
    """The structures of a function: Regions, None where there is none.

    chosen: type -> Capability. window: why PCI_CFG is used, None when it is not.
    """

    def __init__(self, function, capabilities, window=False):
        """window: use PCI_CFG though there are other ways."""
        self.function = function
        self.capabilities = capabilities
        self._always = window
        self.chosen = {}  # type -> Capability
        self.window = None  # why PCI_CFG is used
        self.cfg = ([c for c in capabilities if c.kind == _PCI_CFG] or [None])[0]
        self.common = self._region(_COMMON)
        self.notify = self._region(_NOTIFY)
        self.isr = self._region(_ISR)
        self.device = self._region(_DEVICE)
        self._check_overlap()
        notify = self.chosen.get(_NOTIFY)
        self.multiplier = function.read(notify.at + 16, 4) if notify else 0

    def missing(self):
        """Names of what every device must have and this has not."""
        found = ((_COMMON, self.common), (_NOTIFY, self.notify), (_ISR, self.isr))
        return ["%s structure" % _NAMES[kind] for kind, region in found if region is None]

    def _region(self, kind):
        """The first structure of a type that can be reached (4.1.4.1)."""
        same = [c for c in self.capabilities if c.kind == kind and c.bar is not None]
        for capability in same:
            if capability.bar.address is not None and not self._always:
                self.chosen[kind] = capability
                return Region(capability.bar.cpu_address + capability.offset, capability.size)
        if not same or self.cfg is None:
            return None
        from .pciwindow import WindowRegion

        self.chosen[kind] = capability = same[0]
        self.window = "on demand" if self._always else "BAR%d has no address" % capability.index
        return WindowRegion(self.function, self.cfg.at, capability)

    def _check_overlap(self):
        found = sorted(self.chosen.values(), key=_at)
        for i, a in enumerate(found):
            for b in found[:i]:
                if a.index == b.index and a.offset < b.offset + b.size and b.offset < a.offset + a.size:
                    raise a.broken("its structure overlaps that of the one at %#x" % b.at)

    def shm(self, wanted):
        """(address, length) of a shared memory region, None without one."""
        for capability in self.capabilities:
            if capability.kind == _SHARED_MEMORY and capability.id == wanted and capability.bar is not None:
                return capability.bar.cpu_address + capability.offset, capability.size
        return None

    def text(self):
        bars = sorted({c.index for c in self.chosen.values()})
        return " ".join(["BAR%d" % i for i in bars])
