"""Registers of virtio-mmio (4.2.2, legacy 4.2.4) in a trace: which rules an access of the driver breaks."""

from regrules import NOTIFICATION_DATA, RING_RESET, Rules

WINDOW = 0x200
_MAGIC, _VERSION, _DEVICE_ID = 0x00, 0x04, 0x08
_IDENTITY = (_MAGIC, _VERSION, _DEVICE_ID)
_READABLE = {0x00, 0x04, 0x08, 0x0C, 0x10, 0x34, 0x44, 0x60, 0x70, 0xB0, 0xB4, 0xB8, 0xBC, 0xC0, 0xFC}
_WRITABLE = {0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0xAC, 0xC0}
_ADDRESSES = {0x80: "desc", 0x84: "desc", 0x90: "driver", 0x94: "driver", 0xA0: "device", 0xA4: "device"}
_WRITABLE |= set(_ADDRESSES)
_LEGACY_READABLE = {0x00, 0x04, 0x08, 0x0C, 0x10, 0x34, 0x40, 0x60, 0x70}
_LEGACY_WRITABLE = {0x14, 0x20, 0x24, 0x28, 0x30, 0x38, 0x3C, 0x40, 0x50, 0x64, 0x70}
_SHARED_MEMORY = {0xAC, 0xB0, 0xB4, 0xB8, 0xBC}
_WITH_SHARED_MEMORY = {16, 26, 27}  # gpu, fs, pmem


class MMIO(Rules):
    """One slot; read() and write() take an offset, a width and what was read or written."""

    def __init__(self, base, say):
        super().__init__(f"mmio@{base:x}", say)
        self.identified = []
        self.version = None
        self.seen = 0  # bits of InterruptStatus that were read and not acknowledged

    def _reset(self):
        super()._reset()
        self.device_sel = self.driver_sel = self.queue_sel = None
        self.page = None
        self.looked = None  # queue whose QueueReady or QueuePFN was read since it was selected
        self.stopping = None  # queue whose QueueReady has to be read back
        self.seen = 0

    def _order(self, off, write):
        if off == _MAGIC and not write:
            self.identified = []
        if len(self.identified) < 3:
            clause = "MMIO-27" if len(self.identified) < 2 else "MMIO-28"
            expected = _IDENTITY[len(self.identified)]
            self.want(not write and off == expected, clause, f"offset {off:#x} where {expected:#x} is due")
            self.identified.append(off)
        elif self.device_id == 0:
            self.say("MMIO-30", f"offset {off:#x} of an empty slot")
        if self.stopping is not None:
            self.want(off == 0x44 and not write, "MMIO-20", f"offset {off:#x} before QueueReady is read back")
            self.stopping = None

    def _known(self, off, size, write):
        """Whether a control register is there and may be used so."""
        self.want(size == 4 and off % 4 == 0, "MMIO-07", f"{size} bytes at offset {off:#x}")
        mine, other = (_LEGACY_WRITABLE, _LEGACY_READABLE) if self.legacy else (_WRITABLE, _READABLE)
        if not write:
            mine, other = other, mine
        if off in mine:
            return True
        both = "MMIO-05" if write else "MMIO-06"
        clause = both if off in other else "MMIO-LEG-10" if self.legacy else "MMIO-04"
        self.say(clause, f"{'write' if write else 'read'} of offset {off:#x}")
        return False

    # -- reading ------------------------------------------------------------------------------

    def read(self, off, size, value):
        self._order(off, False)
        if off >= 0x100:
            return self.read_config(off - 0x100, size, "MMIO-08")
        if not self._known(off, size, False):
            return None
        if off in _IDENTITY or off == 0x0C:
            return self._read_identity(off, value)
        if off == 0x10:
            self.want(self.device_sel is not None, "MMIO-15", "features are read and none selected")
            return self.read_features(self.device_sel or 0, value)
        if off == 0x60:
            self.touch("isr")
            self.counts["interrupts"] += value != 0
            self.seen = value & 3
            return None
        if off == 0x70:
            return self.read_status(value)
        if off == 0xFC:
            return self.read_generation()
        if off in _SHARED_MEMORY:
            return self._shared_memory(off)
        return self._read_queue(off, value)

    def _read_identity(self, off, value):
        if off == _VERSION:
            self.version, self.legacy = value, value == 1
        elif off == _DEVICE_ID:
            self.device_id = value

    def _shared_memory(self, off):
        self.touch("shared memory")
        expected = self.device_id in _WITH_SHARED_MEMORY
        self.want(expected, "MMIO-31", f"offset {off:#x} of device type {self.device_id}")

    def _read_queue(self, off, value):
        self.touch("queue")
        self.want(self.queue_sel is not None, "MMIO-33", "no queue is selected")
        queue = self.queue(self.queue_sel)
        if off in (0x40, 0x44):
            self.looked = self.queue_sel
            if value == 0 and off == 0x44:
                queue.live = False
        elif off == 0x34:
            clause = "MMIO-LEG-04" if self.legacy else "MMIO-33"
            self.want(self.looked == self.queue_sel, clause, "QueueSizeMax before QueueReady or QueuePFN")
            queue.most = value
        elif off == 0xC0 and value == 0 and queue.resetting:
            queue.resetting = False
            self.stop_queue(self.queue_sel)

    # -- writing ------------------------------------------------------------------------------

    def write(self, off, size, value):
        self._order(off, True)
        if off >= 0x100:
            return self.write_config(off - 0x100, size, "MMIO-08")
        if not self._known(off, size, True):
            return None
        if off == 0x14:
            self.touch("features")
            self.device_sel = value
        elif off == 0x24:
            self.touch("features")
            self.driver_sel = value
        elif off == 0x20:
            self.want(self.driver_sel is not None, "MMIO-16", "features are written and none selected")
            self.write_features(self.driver_sel or 0, value)
        elif off == 0x28:
            self.touch("queue")
            self.want(value and value & (value - 1) == 0, "MMIO-LEG-02", f"page size {value}")
            self.page = value
        elif off == 0x30:
            self.touch("queue")
            self.queue_sel, self.looked = value, None
        elif off == 0x50:
            index = value & 0xFFFF if self.has(NOTIFICATION_DATA) else value
            self.notify(index, "MMIO-36" if self.has(NOTIFICATION_DATA) else "MMIO-35")
        elif off == 0x64:
            self._acknowledge(value)
        elif off == 0x70:
            self.write_status(value)
        elif off in _SHARED_MEMORY:
            self._shared_memory(off)
        else:
            self._write_queue(off, value)
        return None

    def _acknowledge(self, value):
        self.touch("ack")
        self.want(value & ~3 == 0, "MMIO-23", f"acknowledges {value:#x}")
        self.want(value and value & 3 & ~self.seen == 0, "MMIO-22", f"acknowledges {value:#x}, read {self.seen:#x}")
        self.seen &= ~value
        self.counts["acks"] += 1

    def _write_queue(self, off, value):
        self.touch("queue")
        self.want(self.queue_sel is not None, "MMIO-33", "no queue is selected")
        queue = self.queue(self.queue_sel)
        self.want(not queue.resetting or off == 0xC0, "MMIO-24", f"offset {off:#x} while the queue is being reset")
        if off == 0xC0:
            self.want(self.has(RING_RESET), "MMIO-04", "QueueReset without RING_RESET")
            queue.resetting = True
            return
        if value == 0 and off in (0x40, 0x44):
            self.stopping = self.queue_sel if off == 0x44 else None
            self.stop_queue(self.queue_sel)
            return
        if off == 0x44:
            self.want(value == 1, "MMIO-33", f"QueueReady {value:#x}")
        self.want(not queue.live, "MMIO-LEG-03" if self.legacy else "MMIO-18", f"offset {off:#x} of a live queue")
        self._set_up(queue, off, value)

    def _set_up(self, queue, off, value):
        clause = "MMIO-LEG-03" if self.legacy else "MMIO-33"
        looked = self.looked == self.queue_sel and queue.most is not None
        self.want(looked, clause, f"offset {off:#x} before QueueReady or QueuePFN, and QueueSizeMax, were read")
        queue.written.add(off)
        if off == 0x38:
            too_long = queue.most is not None and value > queue.most
            self.want(not too_long, "MMIO-LEG-05" if self.legacy else "MMIO-17", f"size {value} of {queue.most}")
            queue.size = value
        elif off == 0x3C:
            self.want(value and value & (value - 1) == 0, "MMIO-LEG-06", f"QueueAlign {value}")
        elif off == 0x40:
            self._start_legacy(queue, value)
        elif off == 0x44:
            missing = {0x38, *_ADDRESSES} - queue.written
            self.want(not missing, "MMIO-33", f"QueueReady before {sorted(map(hex, missing))}")
            self.start_queue(self.queue_sel)
        else:
            part, shift = _ADDRESSES[off], 32 if off & 4 else 0
            queue.addr[part] = queue.addr[part] & ~(0xFFFFFFFF << shift) | value << shift

    def _start_legacy(self, queue, value):
        self.want(self.page, "MMIO-LEG-02", "QueuePFN before GuestPageSize")
        self.want(0x3C in queue.written, "MMIO-LEG-06", "QueuePFN before QueueAlign")
        self.want(0x38 in queue.written, "MMIO-LEG-05", "QueuePFN before QueueSize")
        desc = value * (self.page or 4096)
        queue.addr = {"desc": desc, "driver": desc + 16 * queue.size, "device": 0}
        self.start_queue(self.queue_sel)
