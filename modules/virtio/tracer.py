"""virtio.trace(): what goes over registers and rings, with time stamps, while it is on.

Nothing of it is in the way while it is off: switching it on puts recording objects in the place of
machine.mem8/16/32 in the transports' modules, and of the functions of every open queue; off puts
back what was there.
"""

import time

from machine import mem8, mem16, mem32

from . import discover, packed, ring

_MMIO = {
    0x000: "MagicValue",
    0x004: "Version",
    0x008: "DeviceID",
    0x00C: "VendorID",
    0x010: "DeviceFeatures",
    0x014: "DeviceFeaturesSel",
    0x020: "DriverFeatures",
    0x024: "DriverFeaturesSel",
    0x028: "GuestPageSize",
    0x030: "QueueSel",
    0x034: "QueueSizeMax",
    0x038: "QueueSize",
    0x03C: "QueueAlign",
    0x040: "QueuePFN",
    0x044: "QueueReady",
    0x050: "QueueNotify",
    0x060: "InterruptStatus",
    0x064: "InterruptACK",
    0x070: "Status",
    0x080: "QueueDescLow",
    0x084: "QueueDescHigh",
    0x090: "QueueDriverLow",
    0x094: "QueueDriverHigh",
    0x0A0: "QueueDeviceLow",
    0x0A4: "QueueDeviceHigh",
    0x0AC: "SHMSel",
    0x0C0: "QueueReset",
    0x0FC: "ConfigGeneration",
}
_NAMES = (("mem8", mem8), ("mem16", mem16), ("mem32", mem32))


class _Memory:
    """Stands for machine.mem8, 16 or 32 in a module."""

    def __init__(self, trace, memory, width):
        self._trace = trace
        self._memory = memory
        self._width = width

    def __getitem__(self, addr):
        value = self._memory[addr]
        self._trace.add("read", self._width, addr, value)
        return value

    def __setitem__(self, addr, value):
        self._trace.add("write", self._width, addr, value)
        self._memory[addr] = value


class Trace:
    """What was recorded: show(), clear(), events(); the newest `limit` entries are kept."""

    def __init__(self, limit=1000):
        self._ring = [None] * limit
        self.count = 0  # of all that came, kept or not
        self._undo = []  # (object, name, what was there)
        self.on = False

    def __repr__(self):
        return "<trace %s, %d events>" % ("on" if self.on else "off", self.count)

    def __len__(self):
        return min(self.count, len(self._ring))

    def add(self, what, *about):
        self._ring[self.count % len(self._ring)] = (time.ticks_us(), what) + about
        self.count += 1

    def clear(self):
        self.count = 0

    def events(self):
        """(time in us, what, ...) of everything that is kept, the oldest first."""
        size = len(self._ring)
        return [self._ring[i % size] for i in range(max(0, self.count - size), self.count)]

    # -- on and off -------------------------------------------------------------------------

    def _swap(self, owner, name, new):
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, new)

    def start(self):
        """Record from now on."""
        if self.on:
            return
        self.on = True
        for module in _transports():
            for name, memory in _NAMES:
                if hasattr(module, name):
                    self._swap(module, name, _Memory(self, memory, int(name[3:]) // 8))
        for layout in (ring, packed):
            self._swap(layout, "publish", self._publish(layout.publish))
            self._swap(layout, "reap", self._reap(layout.reap))
        for owner in _owners():
            for name, wrap in (("publish", self._publish), ("reap", self._reap)):
                for attribute in (name, "_" + name):
                    if callable(getattr(owner, attribute, None)) and attribute in owner.__dict__:
                        self._swap(owner, attribute, wrap(getattr(owner, attribute)))

    def stop(self):
        """Put everything back."""
        while self._undo:
            owner, name, old = self._undo.pop()
            setattr(owner, name, old)
        for owner in _owners():  # opened meanwhile, with functions of ours
            for attribute in ("publish", "_publish", "reap", "_reap"):
                old = getattr(owner.__dict__.get(attribute), "traced", None)
                if old is not None:
                    setattr(owner, attribute, old)
        self.on = False

    def _publish(self, publish):
        return _Call(self, publish, "publish")

    def _reap(self, reap):
        return _Call(self, reap, "reap")

    # -- for people -------------------------------------------------------------------------

    def show(self, last=40):
        """Print the newest events: microseconds since the one before, what, where."""
        before = None
        for event in self.events()[-last:]:
            passed = 0 if before is None else time.ticks_diff(event[0], before)
            before = event[0]
            print("%8d us  %s" % (passed, _text(event[1:])))


class _Call:
    """Stands for publish() or reap() of a queue."""

    def __init__(self, trace, traced, what):
        self._trace = trace
        self.traced = traced
        self._what = what

    def __call__(self, st, *spins):
        before = mem32[st + 40]
        n = self.traced(st, *spins)
        if self._what == "publish":
            if mem32[st + 40] != before:
                self._trace.add("publish", st, before, mem32[st + 40], n)
        elif n:
            self._trace.add("reap", st, n)
        return n


def _transports():
    """The modules that access registers, as far as they were needed."""
    from . import mmio

    yield mmio
    for name in ("pci", "pci_legacy", "pciwindow"):
        try:
            yield __import__("virtio." + name, None, None, (name,))
        except ImportError:
            pass


def _owners():
    """Queues of open devices, and what keeps their functions at hand."""
    for slot in discover.slots():
        dev = slot[2]
        if dev is None or not dev.is_open:
            continue
        for vq in dev.queues.values():
            yield vq
        for part in _parts(dev):
            yield part


def _parts(dev):
    seen = []  # a part may be named twice
    for value in dev.__dict__.values():
        for part in value if isinstance(value, (list, tuple)) else (value,):
            if hasattr(part, "vq") or hasattr(part, "queue") or hasattr(part, "st"):
                if not hasattr(part, "queues") and hasattr(part, "__dict__") and part not in dev.queues.values():
                    if part not in seen:
                        seen.append(part)
                        yield part


def _text(event):
    if event[0] in ("publish", "reap"):
        name = _queue_name(event[1])
        if event[0] == "reap":
            return "%s: %d used chains taken%s" % (
                name,
                event[2] & 0xFFFF,
                " and one refused" if event[2] >> 16 else "",
            )
        return "%s: published %#x to %#x, %s" % (name, event[2], event[3], "notified" if event[4] else "not notified")
    what, width, addr, value = event
    return "%s %s %s %#x" % (_register(addr), what, "<-" if what == "write" else "->", value)


def _queue_name(st):
    for slot in discover.slots():
        if slot[2] is not None:
            for vq in slot[2].queues.values():
                if vq.st == st:
                    return "%s queue %d" % (slot[1], vq.index)
    return "queue"


def _register(addr):
    """'blk0 Status': whose register, by name."""
    for transport, name, _ in discover.slots():
        base = getattr(transport, "base", None)
        if base is not None and hasattr(transport, "version") and base <= addr < base + 0x1000:
            off = addr - base
            return "%s %s" % (name, _MMIO.get(off) or ("config+%d" % (off - 0x100) if off >= 0x100 else hex(off)))
        common = getattr(transport, "structures", None)
        if common is not None:
            for part in ("common", "notify", "isr", "device"):
                region = getattr(common, part, None)
                start = getattr(region, "addr", None)
                if start is not None and start <= addr < start + region.size:
                    return "%s %s+%#x" % (name, part, addr - start)
    return hex(addr)


_current = Trace()


def trace(on=None, limit=None):
    """The recording; on: switch it on (afresh) or off. limit: how many entries are kept."""
    global _current
    if on:
        _current.stop()
        _current = Trace(limit or 1000)
        _current.start()
    elif on is not None:
        _current.stop()
    return _current
