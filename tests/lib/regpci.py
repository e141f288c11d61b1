"""Registers of virtio over PCI (4.1) in a trace: configuration space, then what its capabilities lead to."""

from regrules import NOTIFICATION_DATA, RING_RESET, Rules

_VENDOR_CAP, _MSIX_CAP = 0x09, 0x11
_COMMON, _NOTIFY, _ISR, _DEVICE, _WINDOW = 1, 2, 3, 4, 5
_NO_VECTOR = 0xFFFF

# Common configuration (4.1.4.3): offset -> (width, name); a 64-bit field is two of 32 bits.
_FIELDS = {0x00: (4, "feature select"), 0x04: (4, "feature"), 0x08: (4, "driver select"), 0x0C: (4, "driver feature")}
_FIELDS |= {0x10: (2, "config vector"), 0x12: (2, "num_queues"), 0x14: (1, "status"), 0x15: (1, "generation")}
_FIELDS |= {0x16: (2, "select"), 0x18: (2, "size"), 0x1A: (2, "vector"), 0x1C: (2, "enable"), 0x1E: (2, "notify_off")}
_FIELDS |= {0x20 + 4 * i: (4, ("desc", "driver", "device")[i // 2]) for i in range(6)}
_FIELDS |= {0x38: (2, "notif_config_data"), 0x3A: (2, "reset"), 0x3C: (2, "admin_index"), 0x3E: (2, "admin_num")}
_READ_ONLY = {0x04, 0x12, 0x15, 0x1E, 0x38, 0x3C, 0x3E}
_WIDTH_CLAUSES = {1: "PCI-06", 2: "PCI-07", 4: "PCI-08"}


class Function:
    """Configuration space of one function, as far as the driver has read or written it."""

    def __init__(self, number, say):
        self.name = f"pci@{number >> 8:02x}:{number >> 3 & 31:02x}.{number & 7}"
        self._say = say
        self.bytes = {}
        self.bars = {}  # register offset -> value
        self.masks = {}  # register offset -> what all ones read back as

    def read(self, reg, size, value):
        if self.bars.get(reg) == 0xFFFFFFFF:
            self.masks[reg] = value
        for i in range(size):
            self.bytes[reg + i] = value >> 8 * i & 0xFF

    def write(self, reg, size, value):
        if 0x10 <= reg < 0x28 and size == 4:
            self.bars[reg] = value
        if reg >= 0x40:
            self.read(reg, size, value)
        for start, cap in self.capabilities():
            length = self.bytes.get(start + 2, 16)
            if start <= reg < start + length and cap != _WINDOW:
                self._say("PCI-18", f"{self.name}: write of {value:#x} at {reg:#x}, in a capability of type {cap}")

    def _word(self, reg, size=4):
        return sum(self.bytes.get(reg + i, 0) << 8 * i for i in range(size))

    @property
    def virtio(self):
        return self._word(0, 2) == 0x1AF4

    @property
    def device(self):
        return self._word(2, 2)

    def _walk(self, number):
        """Where the capabilities with that number start, as far as they were read."""
        at, seen = self.bytes.get(0x34, 0) & 0xFC, set()
        while self.virtio and at and at not in seen:
            seen.add(at)
            if self.bytes.get(at) == number:
                yield at
            at = self.bytes.get(at + 1, 0) & 0xFC

    def capabilities(self):
        """(start, cfg_type) of the vendor capabilities that were read."""
        for at in self._walk(_VENDOR_CAP):
            yield at, self.bytes.get(at + 3)

    @property
    def msix(self):
        """Whether MSI-X is enabled."""
        return any(self.bytes.get(at + 3, 0) & 0x80 for at in self._walk(_MSIX_CAP))

    @property
    def vectors(self):
        """How many vectors MSI-X has."""
        return sum((self._word(at + 2, 2) & 0x7FF) + 1 for at in self._walk(_MSIX_CAP))

    def ports(self):
        """(first, end) of BAR0 when that is a region of I/O ports, else None."""
        low, mask = self.bars.get(0x10), self.masks.get(0x10, 0)
        return (low & ~3, (low & ~3) + (-(mask & ~3) & 0xFFFF)) if low is not None and mask & 1 else None

    def bar(self, number):
        """Address that the driver gave a BAR, or None."""
        reg = 0x10 + 4 * number
        low = self.bars.get(reg)
        if low is None:
            return None
        if self.bytes.get(reg, low) & 1:
            return low & ~3
        wide = self.bytes.get(reg, low) & 6 == 4
        return (low & ~15) | (self.bars.get(reg + 4, 0) << 32 if wide else 0)

    def structures(self):
        """{cfg_type: (address, length, multiplier)} of the first of each type."""
        found = {}
        for at, kind in self.capabilities():
            base = self.bar(self.bytes.get(at + 4, 0))
            if base is not None and kind not in found:
                extra = self._word(at + 16) if kind == _NOTIFY else 0
                found[kind] = base + self._word(at + 8), self._word(at + 12), extra
        return found


class PCI(Rules):
    """The structures of one modern device; `kind` is the cfg_type of the one that is accessed."""

    reset_clause = "PCI-25"

    def __init__(self, function, device_id, say):
        super().__init__(function.name, say)
        self.device_id = device_id
        self.function = function
        self.mapping = None  # vector register that was written and not read back

    def _reset(self):
        super()._reset()
        self.device_sel = self.driver_sel = self.queue_sel = 0
        self.mapping = None

    def read(self, kind, off, size, value):
        if kind == _DEVICE:
            return self.read_config(off, size, _WIDTH_CLAUSES.get(size, "PCI-08"))
        if kind == _ISR:
            self.touch("isr")
            self.counts["interrupts"] += value != 0
            self.want(not self.function.msix, "PCI-34", "the ISR is read while MSI-X is enabled")
            return self.want(size == 1, "PCI-06", f"{size} bytes of the ISR")
        return self._read_common(off, size, value) if kind == _COMMON else None

    def write(self, kind, off, size, value):
        if kind == _DEVICE:
            return self.write_config(off, size, _WIDTH_CLAUSES.get(size, "PCI-08"))
        if kind == _NOTIFY:
            return self._notified(off, size, value)
        return self._write_common(off, size, value) if kind == _COMMON else None

    def _field(self, off, size):
        width, name = _FIELDS.get(off, (0, None))
        clause = _WIDTH_CLAUSES.get(width, "PCI-08")
        self.want(size == width, clause, f"{size} bytes at {off:#x} of the common configuration")
        if self.mapping not in (None, off):
            self.say("PCI-46", f"vector at {self.mapping:#x} was not read back")
        self.mapping = None
        return name

    def _read_common(self, off, size, value):
        name = self._field(off, size)
        if name == "status":
            return self.read_status(value)
        if name == "generation":
            return self.read_generation()
        if name == "feature":
            return self.read_features(self.device_sel, value)
        self.touch(name)
        queue = self.queue(self.queue_sel)
        if name == "size":
            queue.size = value
            queue.most = max(queue.most or 0, value)
        elif name == "notify_off":
            queue.notify_off = value
        elif name == "enable" and value == 0:
            queue.live = False
        elif name == "reset" and value == 0 and queue.resetting:
            queue.resetting = False
            self.stop_queue(self.queue_sel)
        return None

    def _write_common(self, off, size, value):
        name = self._field(off, size)
        self.want(off not in _READ_ONLY, "PCI-21", f"write of {name}")
        if name == "status":
            return self.write_status(value)
        if name == "driver feature":
            return self.write_features(self.driver_sel, value)
        self.touch(name)
        if name == "feature select":
            self.device_sel = value
        elif name == "driver select":
            self.driver_sel = value
        elif name == "select":
            self.queue_sel = value
        elif name in ("config vector", "vector"):
            self.mapping = off if value != _NO_VECTOR else None
            fits = value == _NO_VECTOR or value < self.function.vectors
            self.want(fits, "PCI-45", f"vector {value} of {self.function.vectors}")
        elif name and off not in _READ_ONLY:
            self._write_queue(name, off, value)
        return None

    def _write_queue(self, name, off, value):
        queue = self.queue(self.queue_sel)
        if name == "reset":
            self.want(self.has(RING_RESET), "PCI-27", "queue_reset without RING_RESET")
            queue.resetting = True
            return
        self.want(not queue.resetting, "PCI-27", f"{name} while the queue is being reset")
        self.want(not queue.live, "PCI-24", f"{name} of a live queue")
        if name == "size":
            self.want(value, "PCI-22", "queue size 0")
            self.want(value <= (queue.most or 0), "PCI-48", f"queue size {value} of {queue.most}")
            queue.size = value
        elif name == "enable":
            self.want(value == 1, "PCI-26", f"queue_enable {value}")
            missing = {0x20 + 4 * i for i in range(6)} - queue.written
            self.want(not missing, "PCI-24", f"queue_enable before {sorted(map(hex, missing))}")
            self.start_queue(self.queue_sel, "PCI-23")
        else:
            queue.written.add(off)
            shift = 32 if off & 4 else 0
            queue.addr[name] = queue.addr[name] & ~(0xFFFFFFFF << shift) | value << shift

    def _notified(self, off, size, value):
        data = self.has(NOTIFICATION_DATA)
        self.want(size == (4 if data else 2), "PCI-50" if data else "PCI-49", f"a notification of {size} bytes")
        index = value & 0xFFFF
        self.notify(index, "PCI-52" if data else "PCI-51")
        queue, multiplier = self.queue(index), self.function.structures()[_NOTIFY][2]
        known = queue.notify_off is not None and off == queue.notify_off * multiplier
        self.want(known, "PCI-32", f"queue {index} is notified at offset {off:#x}")


# The legacy header (4.1.4.10): offset -> (width, readable, writable). Vectors are there while MSI-X is enabled.
_HEADER = {0x00: (4, True, False), 0x04: (4, False, True), 0x08: (4, True, True), 0x0C: (2, True, False)}
_HEADER |= {0x0E: (2, True, True), 0x10: (2, False, True), 0x12: (1, True, True), 0x13: (1, True, False)}
_VECTORS = {0x14: (2, True, True), 0x16: (2, True, True)}


class PCILegacy(Rules):
    """The legacy header of one device, in the I/O ports of BAR0."""

    def __init__(self, function, device_id, say):
        super().__init__(function.name, say)
        self.legacy = True
        self.device_id = device_id
        self.function = function
        self.mapping = None

    def _reset(self):
        super()._reset()
        self.queue_sel = None
        self.mapping = None

    def _known(self, off, size, write):
        header = _HEADER | (_VECTORS if self.function.msix else {})
        if off >= (24 if self.function.msix else 20):
            return False
        width, readable, writable = header.get(off, (0, False, False))
        self.want(size == width and (writable if write else readable), "PCI-LEG-03", f"{size} bytes at {off:#x}")
        self.want(self.mapping in (None, off), "PCI-46", "a vector was not read back")
        self.mapping = None
        return True

    def read(self, off, size, value):
        if not self._known(off, size, False):
            return self.touch("config read")
        if off == 0x00:
            return self.read_features(0, value)
        if off == 0x12:
            return self.read_status(value)
        if off == 0x13:
            self.counts["interrupts"] += value != 0
            return self.touch("isr")
        self.touch("queue")
        if off == 0x0C:
            self.queue(self.queue_sel).size = value
        elif off == 0x08:
            self.queue(self.queue_sel).written.add("looked")
        return None

    def write(self, off, size, value):
        if not self._known(off, size, True):
            return self.touch("config write")
        if off == 0x04:
            return self.write_features(0, value)
        if off == 0x12:
            return self.write_status(value)
        if off == 0x10:
            return self.notify(value, "PCI-51")
        self.touch("queue")
        if off == 0x0E:
            self.queue_sel = value
        elif off == 0x08:
            self._queue_address(value)
        elif off in _VECTORS:
            self.mapping = off if value != _NO_VECTOR else None
        return None

    def _queue_address(self, value):
        if value == 0:
            return self.stop_queue(self.queue_sel)
        queue = self.queue(self.queue_sel)
        self.want(not queue.live, "PCI-LEG-11", f"address of queue {self.queue_sel}, which is live")
        self.want("looked" in queue.written, "PCI-LEG-11", "the queue's address was not looked at")
        desc = value << 12
        queue.addr = {"desc": desc, "driver": desc + 16 * queue.size, "device": 0}
        return self.start_queue(self.queue_sel, "SPLIT-LEGLAYOUT-01")
