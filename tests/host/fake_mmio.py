"""Registers of virtio-mmio (4.2) in front of a FakeDevice, on the fake physical memory."""

import riscv
from fake_rules import RING_RESET, require
from shim.memory import memory

_READABLE = {0x00, 0x04, 0x08, 0x0C, 0x10, 0x34, 0x44, 0x60, 0x70, 0xB0, 0xB4, 0xB8, 0xBC, 0xC0, 0xFC}
_WRITABLE = {0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70}
_WRITABLE |= {0x80, 0x84, 0x90, 0x94, 0xA0, 0xA4, 0xAC, 0xC0}
_LEGACY_READABLE = {0x00, 0x04, 0x08, 0x0C, 0x10, 0x34, 0x40, 0x60, 0x70}
_LEGACY_WRITABLE = {0x14, 0x20, 0x24, 0x28, 0x30, 0x38, 0x3C, 0x40, 0x50, 0x64, 0x70}


class FakeMMIO:
    """Registers of a FakeDevice (4.2.2, 4.2.4), on the fake physical memory."""

    def __init__(self, device, base=0x1000_8000, magic=0x74726976, version=None):
        self.device = device
        self.base = base
        self.magic = magic
        self.version = version or (1 if device.legacy else 2)
        self.alias_high_words = False  # QEMU 7.2: sel 2 and 3 answer with word 1
        self.reads = []  # offsets, in order, for tests
        self.identified = []
        self.device_sel = self.driver_sel = None
        self.queue_sel = None
        self.ready_seen = None  # queue whose QueueReady / QueuePFN was read since it was selected
        self.page_size = None
        self.config_open = False  # config was read and the generation not yet
        self.seen_isr = 0
        self.isr_read = False
        self.stop_check = False
        self.reset_check = None  # queue that was asked to reset and has not yet said that it did
        self.ignore_queue_reset = False  # QEMU 7.2: offers RING_RESET and has no QueueReset
        self.shm_sel = None
        memory.map(base, 0x200, self)

    # -- what must come in which order --------------------------------------------------------

    def _order(self, off, write):
        device = self.device
        if off == 0x00 and not write:
            self.identified = []  # somebody looks afresh
        if self.identified[:3] != [0x00, 0x04, 0x08]:
            expected = (0x00, 0x04, 0x08)[len(self.identified)]
            require(not write and off == expected, "MMIO-27", "first access is %#x" % off)
            self.identified.append(off)
            return
        require(device.DEVICE_ID != 0, "MMIO-30", "access to %#x of an empty slot" % off)
        if device.must_check:
            require(off == 0x70 and not write, "GEN-INIT-07" if device.status else "GEN-RESET-01", hex(off))
        if self.stop_check:
            require(off == 0x44 and not write, "MMIO-20", "access to %#x" % off)
            self.stop_check = False
        if self.reset_check is not None and 0x34 <= off <= 0xA4 and off not in (0x60, 0x64, 0x70):
            require(self.reset_check is not self._queue(), "MMIO-24", "access to %#x before the reset is over" % off)
        if self.config_open and off < 0x100 and not device.legacy:
            require(off == 0xFC, "GEN-CFG-02", "%#x after a config read" % off)
            self.config_open = False

    def read(self, off, width):
        self.reads.append(off)
        self.device.tick("access")
        if self.device.gone:
            return (1 << 8 * width) - 1
        if self.device.lost and off > 0x0C:
            return int.from_bytes(self.device.config[off - 0x100 :][:width], "little") if off >= 0x100 else 0
        if off >= 0x100:
            self._order(off, False)
            self.config_open = True
            return self.device.read_config(off - 0x100, width)
        require(width == 4 and off % 4 == 0, "MMIO-07", "%d bytes at %#x" % (width, off))
        legacy = self.device.legacy
        known = _LEGACY_READABLE if legacy else _READABLE
        writable = _LEGACY_WRITABLE if legacy else _WRITABLE
        clause = "MMIO-06" if off in writable else "MMIO-LEG-10" if legacy else "MMIO-04"
        require(off in known, clause, "read of %#x" % off)
        self._order(off, False)
        return self._read(off)

    def _read(self, off):
        device = self.device
        if off in (0x00, 0x04, 0x08, 0x0C):
            values = (self.magic, self.version, device.DEVICE_ID, 0x554D4551)
            return values[off // 4]
        if off == 0x10:
            require(self.device_sel is not None, "MMIO-15")
            sel = self.device_sel
            if sel > 1 and self.alias_high_words:
                sel = 1
            return device.offered >> 32 * sel & 0xFFFFFFFF
        if off == 0x60:
            self.seen_isr = device.isr
            self.isr_read = True
            return device.isr | device.isr_noise & ~3
        if off == 0x70:
            return device.read_status()
        if off == 0xFC:
            return device.generation
        if 0xB0 <= off <= 0xBC:
            return self._read_shm(off)
        queue = self._queue()
        if off == 0xC0:
            return self._read_reset(queue)
        if off == 0x34:
            clause = "MMIO-LEG-03" if device.legacy else "MMIO-33"
            require(self.ready_seen == self.queue_sel, clause, "QueueReady/PFN not looked at")
            if device.legacy and queue:
                require(not queue.ready, "MMIO-LEG-04")
            return queue.size_max if queue else 0
        self.ready_seen = self.queue_sel  # 0x44, or 0x40 on legacy
        return self._ready_value(queue)

    def _ready_value(self, queue):
        if queue is None or not queue.ready:
            return 0
        return queue.desc // self.page_size if self.device.legacy else 1

    def serve(self, source):
        """Deliver the interrupt, and see that the handler found out what it was and acknowledged it."""
        self.isr_read = False
        riscv.interrupt(source)
        require(self.isr_read, "MMIO-37", "InterruptStatus was not read")
        require(not self.device.isr, "MMIO-39", "events %#x were not acknowledged" % self.device.isr)

    def _read_shm(self, off):
        """Length and base of the selected region; all ones for one that is not there."""
        require(self.device.SHM_EXPECTED, "MMIO-31", "shared memory registers")
        require(self.shm_sel is not None, "MMIO-31", "no SHMSel")
        base, size = self.device.shm.get(self.shm_sel, (-1, -1))
        return (size if off < 0xB8 else base) >> (32 if off & 4 else 0) & 0xFFFFFFFF

    def _read_reset(self, queue):
        require(self.device.has(RING_RESET), "MMIO-24", "QueueReset without RING_RESET")
        require(queue is not None, "MMIO-03", "queue %d does not exist" % self.queue_sel)
        if queue.resetting:
            queue.resetting -= queue.resetting > 0
            return 1
        self.reset_check = None
        return 0

    def _write_reset(self, queue, value):
        require(self.device.has(RING_RESET), "MMIO-24", "QueueReset without RING_RESET")
        require(value == 1, "MMIO-24", "QueueReset %d" % value)
        require(self.device.live, "GEN-INIT-08", "queue reset before DRIVER_OK")
        if not self.ignore_queue_reset:
            queue.restart_reset(self.device.queue_reset_delay)
        self.reset_check = queue

    def _queue(self):
        require(self.queue_sel is not None, "MMIO-33", "no queue selected")
        queues = self.device.queues
        return queues[self.queue_sel] if self.queue_sel < len(queues) else None

    def write(self, off, width, value):
        device = self.device
        device.tick("access")
        if device.gone or device.lost and not (off == 0x70 and value == 0):
            return
        if off >= 0x100:
            self._order(off, True)
            device.write_config(off - 0x100, width, value)
            return
        require(width == 4 and off % 4 == 0, "MMIO-07", "%d bytes at %#x" % (width, off))
        legacy = device.legacy
        known = _LEGACY_WRITABLE if legacy else _WRITABLE
        readable = _LEGACY_READABLE if legacy else _READABLE
        clause = "MMIO-05" if off in readable else "MMIO-LEG-10" if legacy else "MMIO-04"
        require(off in known, clause, "write of %#x" % off)
        self._order(off, True)
        self._write(off, value)

    def _write(self, off, value):
        device = self.device
        if off == 0x14:
            self.device_sel = value
        elif off == 0x24:
            self.driver_sel = value
        elif off == 0x20:
            require(self.driver_sel is not None, "MMIO-16")
            device.write_features(self.driver_sel, value)
        elif off == 0x28:
            require(value and value & (value - 1) == 0, "MMIO-LEG-02", "page size %d" % value)
            require(not device.queues_live(), "MMIO-LEG-02", "page size after a queue")
            self.page_size = value
        elif off == 0x30:
            self.queue_sel = value
            self.ready_seen = None
        elif off == 0x50:
            device.notify(value)
        elif off == 0xAC:
            require(device.SHM_EXPECTED, "MMIO-31", "shared memory registers")
            self.shm_sel = value
        elif off == 0x64:
            require(value & ~3 == 0, "MMIO-23", hex(value))
            require(value and value & ~self.seen_isr == 0, "MMIO-22", "ack of %#x" % value)
            device.isr &= ~value
        elif off == 0x70:
            device.write_status(value)
            if value == 0:
                self.reset_check = None
        else:
            self._write_queue(off, value)

    def _write_queue(self, off, value):
        queue = self._queue()
        device = self.device
        require(queue is not None, "MMIO-03", "queue %d does not exist" % self.queue_sel)
        if off == 0xC0:
            self._write_reset(queue, value)
            return
        stopping = value == 0 and off == (0x40 if device.legacy else 0x44)
        if stopping:
            queue.stop()
            self.stop_check = not device.legacy
            return
        device.check_setup(queue)
        require(not queue.ready, "MMIO-18", "write of %#x while the queue is live" % off)
        clause = "MMIO-LEG-03" if device.legacy else "MMIO-33"
        require(self.ready_seen == self.queue_sel, clause, "QueueReady/PFN not looked at")
        if off == 0x38:
            clause = "MMIO-LEG-05" if device.legacy else "MMIO-17"
            require(value <= queue.size_max, clause, "size %d of %d" % (value, queue.size_max))
            queue.size = value
        elif off == 0x3C:
            require(value and value & (value - 1) == 0, "MMIO-LEG-06", "align %d" % value)
            queue.align = value
        elif off == 0x40:
            self._set_pfn(queue, value)
        elif off == 0x44:
            require(value == 1, "MMIO-33", "QueueReady %d" % value)
            queue.start()
        else:
            name = {0x80: "desc", 0x90: "avail", 0xA0: "used"}[off & 0xF0]
            shift = 32 if off & 4 else 0
            old = getattr(queue, name) & ~(0xFFFFFFFF << shift)
            setattr(queue, name, old | value << shift)

    def _set_pfn(self, queue, value):
        require(self.page_size, "MMIO-LEG-02", "no GuestPageSize")
        require(queue.size, "MMIO-LEG-05", "no QueueSize")
        require(queue.align, "MMIO-LEG-06", "no QueueAlign")
        queue.desc = value * self.page_size
        queue.avail = queue.desc + 16 * queue.size
        end = queue.avail + 6 + 2 * queue.size
        queue.used = (end + queue.align - 1) // queue.align * queue.align
        end = queue.used + 6 + 8 * queue.size
        end = (end + queue.align - 1) // queue.align * queue.align
        size = end - queue.desc
        require(not any(memory.view(queue.desc, size)), "SPLIT-LEGLAYOUT-02", "block of %d" % size)
        queue.start()
