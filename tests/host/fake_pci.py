"""Virtio over PCI (4.1) in front of a FakeDevice: capabilities, common configuration, legacy header, MSI-X.

registers = FakePCI(device, "pci-transitional")     # or "pci", "pci-legacy"
FakeHost().plug(registers, 1)
"""

import riscv
from fake_bus import FakeFunction
from fake_rules import FEATURES_OK, NOTIF_CONFIG_DATA, NOTIFICATION_DATA, RING_PACKED, RING_RESET, require
from shim.memory import memory

TRANSITIONAL = {1: 0x1000, 2: 0x1001, 5: 0x1002, 3: 0x1003, 8: 0x1004, 4: 0x1005, 9: 0x1009}
COMMON, NOTIFY, ISR, DEVICE, PCI_CFG, SHM, VENDOR = 1, 2, 3, 4, 5, 8, 9
NO_VECTOR = 0xFFFF

# Common configuration: offset -> (width, name, writable).
_FIELDS = {
    0x00: (4, "device_feature_select", True),
    0x04: (4, "device_feature", False),
    0x08: (4, "driver_feature_select", True),
    0x0C: (4, "driver_feature", True),
    0x10: (2, "config_msix_vector", True),
    0x12: (2, "num_queues", False),
    0x14: (1, "device_status", True),
    0x15: (1, "config_generation", False),
    0x16: (2, "queue_select", True),
    0x18: (2, "queue_size", True),
    0x1A: (2, "queue_msix_vector", True),
    0x1C: (2, "queue_enable", True),
    0x1E: (2, "queue_notify_off", False),
    0x20: (4, "desc", True),
    0x24: (4, "desc", True),
    0x28: (4, "avail", True),
    0x2C: (4, "avail", True),
    0x30: (4, "used", True),
    0x34: (4, "used", True),
    0x38: (2, "queue_notif_config_data", False),
    0x3A: (2, "queue_reset", True),
}
_WIDTH_CLAUSES = {1: "PCI-06", 2: "PCI-07", 4: "PCI-08"}

# Legacy header: offset -> (width, readable, writable); the last two only with MSI-X.
_LEGACY = {
    0: (4, 1, 0),
    4: (4, 1, 1),
    8: (4, 1, 1),
    12: (2, 1, 0),
    14: (2, 1, 1),
    16: (2, 0, 1),
    18: (1, 1, 1),
    19: (1, 1, 0),
    20: (2, 1, 1),
    22: (2, 1, 1),
}


class FakePCI(FakeFunction):
    """One virtio function. Layout of BAR4: common at 0, ISR at 0x1000, device at 0x2000, notify at 0x3000."""

    def __init__(self, device, kind="pci", msix=0, multiplier=4, cfg=True, caps=None, revision=None, bars=None):
        """msix: vectors. caps: [(type, bar, offset, length), ...] in place of the usual ones."""
        self.kind = kind
        modern, old = kind != "pci-legacy", kind != "pci"
        bars = dict(bars) if bars is not None else {}
        if old:
            bars.setdefault(0, ("io", 512))
        if msix:
            bars.setdefault(1, ("mem", 1 << (16 * msix - 1 | 0xFFF).bit_length()))
        if modern:
            bars.setdefault(4, ("pref64", 0x4000))
        number = TRANSITIONAL.get(device.DEVICE_ID, 0x1010) if old else 0x1040 + device.DEVICE_ID
        revision = revision if revision is not None else 0 if old else 1
        super().__init__(0x1AF4, number, bars, revision=revision, subsystem=device.DEVICE_ID)
        self.device = device
        device.mmio = False
        self.multiplier = multiplier
        self.virtio = {}  # type -> (bar, offset, length) of the structure, as published
        self.cfg_at = None
        self.msix = self.msix_at = 0
        if msix:
            self._add_msix(msix)
        if modern:
            self._add_caps(caps, cfg)
        self._reset_state()
        self.log = []  # ("r" or "w", field name, value)
        self.refuse_vectors = False
        self.bad_notify_off = None
        self.ignore_queue_reset = False
        self._plain_interrupt = device.interrupt
        device.interrupt = self._interrupt

    def _reset_state(self):
        n = len(self.device.queues)
        self.select = {"device": None, "driver": None, "queue": None}
        self.config_vector = NO_VECTOR
        self.queue_vectors = [NO_VECTOR] * n
        self.vector_check = None  # name of the register to be read back
        self.config_open = False
        self.reset_check = None
        self.size_seen = None  # queue whose size was read since it was selected

    def _add_msix(self, n):
        self.msix = n
        self.msix_at = self.capability(0x11, (n - 1).to_bytes(2, "little") + bytes([1, 0, 0, 0, 1, 8, 0, 0]))
        self.allow(self.msix_at + 2, 2, 0xC000)
        self.table = [[0, 0, 0, 1] for _ in range(n)]
        self.held_back = set()

    @property
    def msix_on(self):
        return bool(self.msix and self.get(self.msix_at + 2, 2) & 1 << 15)

    def _add_caps(self, caps, cfg):
        size = len(self.device.config)
        usual = [
            (COMMON, 4, 0, 0x1000),
            (ISR, 4, 0x1000, 0x1000),
            (DEVICE, 4, 0x2000, size),
            (NOTIFY, 4, 0x3000, 0x1000),
        ]
        for kind, bar, offset, length in caps if caps is not None else usual:
            self.add_cap(kind, bar, offset, length)
        if cfg:
            self.cfg_at = self.add_cap(PCI_CFG, 0, 0, 0, more=bytes(4))
            self.allow(self.cfg_at + 4, 1, 0xFF)
            self.allow(self.cfg_at + 8, 12, (1 << 96) - 1)
        for number, (base, length) in self.device.shm.items():
            more = (base >> 32).to_bytes(4, "little") + (length >> 32).to_bytes(4, "little")
            self.add_cap(SHM, 2, base & 0xFFFFFFFF, length & 0xFFFFFFFF, more=more, number=number)

    def add_cap(self, kind, bar, offset, length, more=b"", number=0, cap_len=None, at=None):
        """Append a virtio capability; its offset."""
        if kind == NOTIFY and not more:
            more = self.multiplier.to_bytes(4, "little")
        body = bytes([cap_len if cap_len is not None else 16 + len(more), kind, bar, number, 0, 0])
        body += offset.to_bytes(4, "little") + length.to_bytes(4, "little") + more
        if bar < 6 and kind <= DEVICE and kind not in self.virtio:
            self.virtio[kind] = (bar, offset, length)
        return self.capability(9, body, at)

    # -- BARs ------------------------------------------------------------------------------------

    def read_bar(self, index, off, width):
        return self._access(index, off, width, None)

    def write_bar(self, index, off, width, value):
        self._access(index, off, width, value)

    def _access(self, index, off, width, value):
        self.device.tick("access")
        if self.device.gone:
            return (1 << 8 * width) - 1
        if index == 0 and 0 in self.bars and self.kind != "pci":
            return self._legacy(off, width, value)
        if index == 1 and self.msix:
            return self._msix_table(off, width, value)
        for kind, (bar, offset, length) in self.virtio.items():
            if bar == index and offset <= off < offset + length:
                return self._structure(kind, off - offset, width, value)
        require(False, "PCI-39", "access to BAR%d %#x, which belongs to nothing" % (index, off))

    def _structure(self, kind, off, width, value):
        device = self.device
        require(not device.legacy, "PCI-LEG-08", "the modern interface of a device that is driven as legacy")
        if self.device.lost and not (kind == COMMON and off == 0x14 and value == 0):
            return 0
        if kind == COMMON:
            return self._common(off, width, value)
        self._order(kind, off)
        if kind == DEVICE:
            return self._config(off, width, value)
        if kind == ISR:
            require(width == 1 and off == 0 and value is None, "PCI-06", "ISR: %d bytes at %#x" % (width, off))
            require(not self.msix_on, "PCI-34", "ISR read while MSI-X is on")
            seen, device.isr = device.isr, 0
            return seen | device.isr_noise & ~3
        require(kind == NOTIFY and value is not None, "PCI-32", "read of the notification structure")
        self._notify(off, width, value)

    def _config(self, off, width, value):
        if value is None:
            self.config_open = True
            return self.device.read_config(off, width)
        return self.device.write_config(off, width, value)

    def _order(self, kind, off):
        """What must come before anything else."""
        status = kind == COMMON and off == 0x14
        if self.device.must_check:
            require(status, "GEN-INIT-07" if self.device.status else "PCI-25", "access to %d:%#x" % (kind, off))
        if self.vector_check is not None:
            require(kind == COMMON and off == self.vector_check, "PCI-46", "access to %d:%#x" % (kind, off))
        if self.config_open and kind != DEVICE:
            if kind == COMMON:
                require(off == 0x15, "GEN-CFG-02", "%#x after a config read" % off)
            self.config_open = False
        if self.reset_check is not None and kind == COMMON and off in _FIELDS and 0x18 <= off and off != 0x3A:
            require(self.reset_check is not self._queue(), "PCI-27", "%#x before the reset is over" % off)

    # -- common configuration -----------------------------------------------------------------

    def _common(self, off, width, value):
        require(off in _FIELDS, "PCI-05", "common configuration at %#x" % off)
        size, name, writable = _FIELDS[off]
        require(width == size, _WIDTH_CLAUSES[size], "%d bytes of %s" % (width, name))
        self._order(COMMON, off)
        if value is None:
            value = self._read(off, name)
            self.log.append(("r", name, value))
            return value
        self.log.append(("w", name, value))
        require(writable, "PCI-21", "write of %#x to %s" % (value, name))
        if name in ("desc", "avail", "used"):
            self._write_address(off, name, value)
        else:
            getattr(self, "_write_" + name)(value)

    def _queue(self):
        sel = self.select["queue"]
        require(sel is not None, "PCI-48", "no queue selected")
        return self.device.queues[sel] if sel < len(self.device.queues) else None

    def _read(self, off, name):
        device = self.device
        if name == "device_feature":
            require(self.select["device"] is not None, "PCI-48", "device_feature_select was not written")
            return device.offered >> 32 * self.select["device"] & 0xFFFFFFFF
        if name == "device_status":
            return device.read_status()
        plain = {"num_queues": len(device.queues), "config_generation": device.generation}
        if name in plain:
            return plain[name]
        if name == "config_msix_vector":
            self.vector_check = None
            return self.config_vector
        require(name not in ("device_feature_select", "driver_feature_select", "driver_feature"), "MODEL", name)
        queue = self._queue()
        if name == "queue_size":
            self.size_seen = self.select["queue"]
            return 0 if queue is None else queue.size or queue.size_max
        require(queue is not None, "PCI-19", "%s of queue %d" % (name, self.select["queue"]))
        if name in ("desc", "avail", "used"):
            return getattr(queue, name) >> (off & 4) * 8 & 0xFFFFFFFF
        return self._read_queue(name, queue)

    def _read_queue(self, name, queue):
        if name == "queue_msix_vector":
            self.vector_check = None
            return self.queue_vectors[queue.index]
        if name == "queue_enable":
            return int(queue.ready)
        if name == "queue_notify_off":
            return queue.index if self.bad_notify_off is None else self.bad_notify_off
        if name == "queue_notif_config_data":
            require(self.device.has(NOTIF_CONFIG_DATA), "PCI-53", "queue_notif_config_data is not negotiated")
            return self.config_data(queue)
        require(name == "queue_reset", "MODEL", name)
        if queue.resetting:
            queue.resetting -= queue.resetting > 0
            return 1
        self.reset_check = None
        return 0

    @staticmethod
    def config_data(queue):
        """queue_notif_config_data: unlike the index of any queue."""
        return 0x1200 + 3 * queue.index

    def _write_device_feature_select(self, value):
        self.select["device"] = value

    def _write_driver_feature_select(self, value):
        self.select["driver"] = value

    def _write_driver_feature(self, value):
        require(self.select["driver"] is not None, "PCI-48", "driver_feature_select was not written")
        self.device.write_features(self.select["driver"], value)

    def _write_device_status(self, value):
        self.device.write_status(value)
        if value == 0:
            self._reset_state()

    def _write_queue_select(self, value):
        self.select["queue"] = value
        self.size_seen = None

    def _vector(self, value):
        require(self.msix_on, "PCI-48", "vector without MSI-X")
        settled = self.device.features_written if self.device.legacy else self.device.status & FEATURES_OK
        require(settled, "GEN-INIT-08", "a vector before the features are settled")
        require(value == NO_VECTOR or value < self.msix, "PCI-45", "vector %d of %d" % (value, self.msix))
        return NO_VECTOR if self.refuse_vectors else value

    def _write_config_msix_vector(self, value):
        self.config_vector = self._vector(value)
        self.vector_check = 0x10

    def _setup(self, name):
        """The selected queue, which is being set up."""
        queue = self._queue()
        require(queue is not None, "PCI-19", "%s of queue %d" % (name, self.select["queue"]))
        require(not queue.ready, "PCI-24", "%s after queue_enable" % name)
        require(self.size_seen == self.select["queue"], "PCI-48", "%s before queue_size was read" % name)
        self.device.check_setup(queue)
        return queue

    def _write_queue_msix_vector(self, value):
        queue = self._setup("queue_msix_vector")
        self.queue_vectors[queue.index] = self._vector(value)
        self.vector_check = 0x1A

    def _write_queue_size(self, value):
        queue = self._setup("queue_size")
        require(value != 0, "PCI-22", "queue_size 0")
        if not self.device.has(RING_PACKED):
            require(value & (value - 1) == 0, "PCI-23", "queue_size %d" % value)
        require(value <= queue.size_max, "PCI-48", "queue_size %d of %d" % (value, queue.size_max))
        queue.size = value

    def _write_queue_enable(self, value):
        queue = self._setup("queue_enable")
        require(value == 1, "PCI-26", "queue_enable %d" % value)
        queue.size = queue.size or queue.size_max
        queue.start()

    def _write_address(self, off, name, value):
        queue = self._setup(name)
        shift = 32 if off & 4 else 0
        old = getattr(queue, name) & ~(0xFFFFFFFF << shift)
        setattr(queue, name, old | value << shift)

    def _write_queue_reset(self, value):
        queue = self._queue()
        require(self.device.has(RING_RESET), "PCI-27", "queue_reset without RING_RESET")
        require(queue is not None and queue.ready, "PCI-27", "reset of a queue that is not live")
        require(value == 1, "PCI-27", "queue_reset %d" % value)
        if not self.ignore_queue_reset:
            queue.restart_reset(self.device.queue_reset_delay)
        self.reset_check = queue
        self.size_seen = None

    # -- notifications ---------------------------------------------------------------------------

    def _notify(self, off, width, value):
        device = self.device
        data = device.has(NOTIFICATION_DATA)
        require(width == (4 if data else 2), "PCI-50" if data else "PCI-49", "notification of %d bytes" % width)
        queues = [q for q in device.queues if q.index * self.multiplier == off]
        require(queues, "PCI-32", "notification at %#x" % off)
        word = value & 0xFFFF
        if device.has(NOTIF_CONFIG_DATA):
            found = [q for q in queues if self.config_data(q) == word]
            require(found, "PCI-54" if data else "PCI-53", "notification of %#x at %#x" % (word, off))
        else:
            found = [q for q in queues if q.index == word]
            require(found, "PCI-52" if data else "PCI-51", "notification of %#x at %#x" % (word, off))
        require(self.master, "PCI-MASTER", "notified while it may not access memory")
        device.notify(value, found[0])

    # -- legacy header -----------------------------------------------------------------------------

    def _legacy(self, off, width, value):
        device = self.device
        require(device.legacy, "PCI-LEG-01", "the legacy interface of a device that is driven as modern")
        header = 24 if self.msix_on else 20
        if off >= header:
            if value is None:
                return device.read_config(off - header, width)
            return device.write_config(off - header, width, value)
        require(off in _LEGACY, "PCI-LEG-03", "legacy header at %d" % off)
        size, readable, writable = _LEGACY[off]
        require(width == size, "PCI-LEG-03", "%d bytes at %d" % (width, off))
        if device.must_check:
            require(off == 18 and value is None, "GEN-RESET-01", "access to %d" % off)
        if self.vector_check is not None:
            require(off == self.vector_check and value is None, "PCI-46", "access to %d" % off)
        if device.lost and not (off == 18 and value == 0):
            return 0
        if value is None:
            require(readable, "PCI-LEG-03", "read of %d" % off)
            return self._read_legacy(off)
        require(writable, "PCI-LEG-12" if off == 12 else "PCI-LEG-03", "write of %d" % off)
        self._write_legacy(off, value)

    def _read_legacy(self, off):
        device = self.device
        if off in (0, 4):
            return (device.offered if off == 0 else device.features) & 0xFFFFFFFF
        if off == 18:
            return device.read_status()
        if off == 19:
            seen, device.isr = device.isr, 0
            return seen | device.isr_noise & ~3
        if off in (20, 22):
            self.vector_check = None
        if off == 20:
            return self.config_vector
        queue = self._queue()
        if off == 22:
            return self.queue_vectors[queue.index]
        if off == 12:
            self.size_seen = self.select["queue"]
            return queue.size_max if queue else 0
        return queue.desc >> 12 if queue and queue.ready else 0

    def _write_legacy(self, off, value):
        device = self.device
        if off == 4:
            device.write_features(0, value)
        elif off == 14:
            self._write_queue_select(value)
        elif off == 16:
            require(self.master, "PCI-MASTER", "notified while it may not access memory")
            device.notify(value)
        elif off == 18:
            self._write_device_status(value)
        elif off == 20:
            self._write_config_msix_vector(value)
            self.vector_check = 20
        elif off == 22:
            self._write_queue_msix_vector(value)
            self.vector_check = 22
        elif value == 0:
            self._queue().stop()
        else:
            self._start_legacy(self._setup("queue address"), value)

    def _start_legacy(self, queue, pfn):
        queue.size, queue.align = queue.size_max, 4096
        queue.desc = pfn << 12
        queue.avail = queue.desc + 16 * queue.size
        queue.used = (queue.avail + 6 + 2 * queue.size + 4095) & ~4095
        size = (queue.used + 6 + 8 * queue.size + 4095 & ~4095) - queue.desc
        require(not any(memory.view(queue.desc, size)), "SPLIT-LEGLAYOUT-02", "block of %d" % size)
        queue.start()

    # -- PCI_CFG -------------------------------------------------------------------------------------

    def _window(self, width, value):
        bar, offset = self.config[self.cfg_at + 4], self.get(self.cfg_at + 8, 4)
        length = self.get(self.cfg_at + 12, 4)
        require(length in (1, 2, 4) and length == width, "PCI-37", "%d bytes, cap.length %d" % (width, length))
        require(offset % length == 0, "PCI-38", "offset %#x, length %d" % (offset, length))
        inside = [1 for b, o, n in self.virtio.values() if n and b == bar and o <= offset and offset + length <= o + n]
        require(inside, "PCI-39", "BAR%d %#x+%d" % (bar, offset, length))
        return self._access(bar, offset, width, value)

    def read_config(self, off, width):
        if self.cfg_at is not None and off == self.cfg_at + 16:
            return self._window(width, None)
        return super().read_config(off, width)

    def write_config(self, off, width, value):
        if self.cfg_at is not None and off == self.cfg_at + 16:
            self._window(width, value)
        else:
            super().write_config(off, width, value)

    # -- interrupts -----------------------------------------------------------------------------------

    def _msix_table(self, off, width, value):
        require(width == 4 and off < 16 * self.msix, "PCI-MSIX", "%d bytes at %#x of the table" % (width, off))
        entry = self.table[off // 16]
        if value is None:
            return entry[off // 4 % 4]
        masked = entry[3] & 1 or not self.msix_on
        require(masked or off % 16 == 12, "PCI-MSIX", "a vector changed while it is not masked")
        entry[off // 4 % 4] = value
        if off // 16 in self.held_back and not entry[3] & 1 and self.msix_on:
            self._send(off // 16)

    def _send(self, vector):
        if vector >= NO_VECTOR:
            return
        address, data = self.table[vector][0] | self.table[vector][1] << 32, self.table[vector][2]
        if self.table[vector][3] & 1:
            self.held_back.add(vector)
            return
        self.held_back.discard(vector)
        require(self.master, "PCI-MASTER", "a message while it may not access memory")
        for number, message in list(riscv.messages.items()):
            if message == (address, data):
                riscv.interrupt(number)
                return
        require(False, "PCI-MSIX", "vector %d sends %#x to %#x" % (vector, data, address))

    def _interrupt(self, bits, queue=None):
        """In place of the device's own: a message, or a bit of ISR and the pin."""
        if not self.msix_on:
            self._plain_interrupt(bits, queue)
            return
        if self.device.mute:
            return
        self.device.interrupts += 1
        if bits & 2:
            self._send(self.config_vector)
        if bits & 1:
            self._send(self.queue_vectors[queue.index])

    def asserts(self):
        """Whether its pin is asserted."""
        return bool(self.device.isr and not self.msix_on and not self.command & 1 << 10)
