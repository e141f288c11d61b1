"""A strict virtio device: every broken rule of the specification raises Violation with its clause id.

The model is stricter than QEMU, and can misbehave on purpose. FakeDevice is the device itself:
status, features, queues, rings. FakeMMIO puts its registers on the fake physical memory. A device
type derives from FakeDevice and overrides process().
"""

import struct

from shim.memory import memory

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
ANY_LAYOUT, INDIRECT_DESC, EVENT_IDX, VERSION_1 = 27, 28, 29, 32


def mask(*bits):
    return sum(1 << bit for bit in bits)


class Violation(AssertionError):
    """The driver broke a rule; the first word of the text is the clause id."""


def require(condition, clause, text=""):
    if not condition:
        raise Violation("%s: %s" % (clause, text))


class Chain:
    """What the driver put into the available ring."""

    def __init__(self, head, readable, writable, descriptors, indirect):
        self.head = head
        self.readable = readable  # memoryviews
        self.writable = writable
        self.descriptors = descriptors  # {index: bytes}, to see that they stay untouched
        self.indirect = indirect

    def data(self):
        return b"".join(bytes(view) for view in self.readable)

    @property
    def room(self):
        return sum(len(view) for view in self.writable)

    def write(self, data, off=0):
        """Copy into the device-writable part from byte off on."""
        for view in self.writable:
            if off >= len(view):
                off -= len(view)
                continue
            n = min(len(view) - off, len(data))
            view[off : off + n] = data[:n]
            data = data[n:]
            off = 0
            if not data:
                return
        require(not data, "MODEL", "device writes past the chain")


class FakeQueue:
    """One split virtqueue as the device sees it."""

    def __init__(self, device, index, size_max):
        self.device = device
        self.index = index
        self.size_max = size_max
        self.reset()

    def reset(self):
        self.size = self.desc = self.avail = self.used = 0
        self.align = 0
        self.ready = False
        self.taken = 0  # avail idx up to which chains were fetched
        self.seen = 0  # avail idx at the last look
        self.used_idx = 0
        self.used_copy = None
        self.owed = False  # a notification is due
        self.in_flight = {}  # head -> Chain
        self.busy = {}  # descriptor -> head
        self.held = []  # chains fetched and not processed

    def start(self):
        """The driver made the queue live."""
        n = self.size
        require(n and n & (n - 1) == 0 and n <= 32768, "SPLIT-LAYOUT-01", "size %d" % n)
        require(n <= self.size_max, "MMIO-17", "size %d of %d" % (n, self.size_max))
        require(self.desc % 16 == 0, "SPLIT-LAYOUT-02", "desc %#x" % self.desc)
        require(self.avail % 2 == 0, "SPLIT-LAYOUT-02", "avail %#x" % self.avail)
        require(self.used % 4 == 0, "SPLIT-LAYOUT-02", "used %#x" % self.used)
        for addr, size in ((self.desc, 16 * n), (self.avail, 6 + 2 * n), (self.used, 6 + 8 * n)):
            require(not any(memory.view(addr, size)), "MMIO-34", "queue memory is not zeroed")
        self.ready = True
        self.used_copy = bytearray(6 + 8 * n)
        self.watch = (self.used + 2, self.polled)
        memory.watches.append(self.watch)

    def stop(self):
        if self.ready:
            memory.watches.remove(self.watch)
        self.ready = False

    # -- little readers ---------------------------------------------------------------

    def u16(self, addr):
        return struct.unpack("<H", memory.view(addr, 2))[0]

    @property
    def event_idx(self):
        return self.device.has(EVENT_IDX)

    def set_avail_event(self, value):
        at = 4 + 8 * self.size
        self._write_used(at, struct.pack("<H", value & 0xFFFF))

    def set_no_notify(self, on):
        self._write_used(0, struct.pack("<H", 1 if on else 0))

    def _write_used(self, at, data):
        self.used_copy[at : at + len(data)] = data
        memory.view(self.used + at, len(data))[:] = data

    # -- the available side --------------------------------------------------------------

    def look(self):
        """Check what the driver may have written since the last look."""
        require(
            bytes(memory.view(self.used, len(self.used_copy))) == bytes(self.used_copy),
            "SPLIT-USED-01",
            "the driver wrote into the used ring",
        )
        flags = self.u16(self.avail)
        if self.event_idx:
            require(flags == 0, "SPLIT-UNOTIF-03", "avail.flags %d" % flags)
        else:
            require(flags in (0, 1), "SPLIT-UNOTIF-01", "avail.flags %d" % flags)
        idx = self.u16(self.avail + 2)
        new = (idx - self.seen) & 0xFFFF
        pending = (idx - self.taken) & 0xFFFF
        require(pending <= self.size, "SPLIT-AVAIL-02", "avail.idx %d, taken %d" % (idx, self.taken))
        if new and self.device.live:
            self.owed = self.owed or self._due(idx, new)
        self.seen = idx
        for head, chain in self.in_flight.items():
            for i, raw in chain.descriptors.items():
                now = bytes(memory.view(self.desc + 16 * i, 16))
                require(now == raw, "GEN-CLEANUP-01", "descriptor %d of chain %d" % (i, head))

    def _due(self, idx, new):
        """Whether these new entries oblige the driver to notify."""
        if not self.event_idx:
            return not self.used_copy[0] & 1
        event = struct.unpack_from("<H", self.used_copy, 4 + 8 * self.size)[0]
        return (idx - event - 1) & 0xFFFF < new

    def notified(self):
        require(self.ready, "GEN-INIT-15", "queue %d is not live" % self.index)
        self.look()
        if not self.owed and self.device.strict_notify:
            clause = "SPLIT-ANOTIF-07" if self.event_idx else "SPLIT-ANOTIF-03"
            require(False, clause, "a notification nobody asked for")
        self.owed = False
        self.fetch()
        self.device.work(self)

    def polled(self):
        """The driver is about to read used.idx: by now every notification that is due has come."""
        if not self.device.live:
            return
        self.look()
        if self.owed:
            clause = "SPLIT-ANOTIF-06" if self.event_idx else "SPLIT-ANOTIF-04"
            require(not self.owed, clause, "no notification")
        if self.device.polling:
            self.fetch()
        self.device.work(self)

    def fetch(self):
        """Take all new chains."""
        idx = self.u16(self.avail + 2)
        while self.taken != idx:
            head = self.u16(self.avail + 4 + 2 * (self.taken % self.size))
            self.taken = (self.taken + 1) & 0xFFFF
            chain = self.parse(head)
            self.in_flight[head] = chain
            self.held.append(chain)
        if self.event_idx and self.device.follow_event:
            self.set_avail_event(self.taken)

    def parse(self, head):
        require(head < self.size, "SPLIT-SUPPLY-02", "head %d of %d" % (head, self.size))
        readable, writable, used = [], [], {}
        at, n, indirect = head, 0, False
        while True:
            require(at not in self.busy, "GEN-CLEANUP-01", "descriptor %d is in flight" % at)
            require(at not in used, "SPLIT-DESC-02", "chain %d loops" % head)
            raw = bytes(memory.view(self.desc + 16 * at, 16))
            used[at] = raw
            addr, size, flags, link = struct.unpack("<QIHH", raw)
            require(flags & ~7 == 0, "SPLIT-LAYOUT", "descriptor flags %#x" % flags)
            if flags & 4:
                require(self.device.has(INDIRECT_DESC), "SPLIT-INDIR-01")
                require(not flags & 1, "SPLIT-INDIR-04")
                n += self._parse_table(addr, size, readable, writable)
                indirect = True
                break
            self._element(addr, size, flags, readable, writable)
            n += 1
            if not flags & 1:
                break
            at = link
        require(n <= self.size, "SPLIT-INDIR-03", "chain of %d in a queue of %d" % (n, self.size))
        total = sum(map(len, readable)) + sum(map(len, writable))
        require(total <= 1 << 32, "SPLIT-DESC-02", "chain of %d bytes" % total)
        for i in used:
            self.busy[i] = head
        return Chain(head, readable, writable, used, indirect)

    def _parse_table(self, addr, size, readable, writable):
        require(size and size % 16 == 0, "SPLIT-INDIR", "indirect table of %d bytes" % size)
        table = bytes(memory.view(addr, size))
        at, seen = 0, set()
        while True:
            require(at < size // 16, "SPLIT-INDIR", "entry %d of %d" % (at, size // 16))
            require(at not in seen, "SPLIT-DESC-02", "the indirect table loops")
            seen.add(at)
            where, n, flags, link = struct.unpack_from("<QIHH", table, 16 * at)
            require(not flags & 4, "SPLIT-INDIR-02")
            require(flags & ~3 == 0, "SPLIT-LAYOUT", "descriptor flags %#x" % flags)
            self._element(where, n, flags, readable, writable)
            if not flags & 1:
                return len(seen)
            at = link

    def _element(self, addr, size, flags, readable, writable):
        require(size > 0, "SPLIT-FRAME-02", "an empty descriptor")
        view = memory.view(addr, size)  # MemoryFault: not memory that the driver pinned
        if flags & 2:
            writable.append(view)
        else:
            require(not writable, "SPLIT-FRAME-01", "readable after writable")
            readable.append(view)

    # -- the used side ----------------------------------------------------------------------

    def finish(self, chain, length):
        """Return a chain; the device's hooks may lie about it."""
        self.look()
        if chain in self.held:
            self.held.remove(chain)
        del self.in_flight[chain.head]
        for i in chain.descriptors:
            del self.busy[i]
        head = chain.head
        if self.device.lie is not None:
            head, length = self.device.lie(head, length)
        self.push(head, length)

    def push(self, head, length):
        """Write one used element and move used.idx."""
        at = 4 + 8 * (self.used_idx % self.size)
        self._write_used(at, struct.pack("<II", head, length))
        old = self.used_idx
        self.used_idx = (self.used_idx + 1) & 0xFFFF
        self._write_used(2, struct.pack("<H", self.used_idx))
        if self.wants_interrupt(old):
            self.device.interrupt(1)

    def wants_interrupt(self, old):
        if self.event_idx:
            event = self.u16(self.avail + 4 + 2 * self.size)
            return (self.used_idx - event - 1) & 0xFFFF < (self.used_idx - old) & 0xFFFF
        return not self.u16(self.avail) & 1

    def start_at(self, idx):
        """Pretend that idx chains have gone through already: both sides, for wrap-around tests."""
        self.taken = self.seen = self.used_idx = idx
        memory.view(self.avail + 2, 2)[:] = struct.pack("<H", idx)
        self._write_used(2, struct.pack("<H", idx))
        if self.event_idx:
            self.set_avail_event(idx)


class FakeDevice:
    """Status, features and queues. `config` is the configuration space; see FIELDS."""

    DEVICE_ID = 0
    FIELDS = {}  # offset -> (width, feature bit that it depends on, or None)

    def __init__(self, features=0, config=b"", queues=(256,), legacy=False, ring_features=None):
        self.legacy = legacy
        if ring_features is None:
            ring_features = mask(INDIRECT_DESC, EVENT_IDX)
        self.offered = features | ring_features | (0 if legacy else 1 << VERSION_1)
        self.config = bytearray(config)
        self.generation = 0
        self.queues = [FakeQueue(self, i, n) for i, n in enumerate(queues)]
        # Misbehaviour and modes, for tests to set.
        self.dead = False  # never answers
        self.manual = False  # chains wait in queue.held until the test finishes them
        self.polling = False  # looks at the rings without being notified
        self.per_poll = None  # chains finished per look, None: all
        self.follow_event = True  # keep avail_event at the next entry
        self.strict_notify = True
        self.refuse = False  # FEATURES_OK does not stick
        self.reset_delay = 0  # status reads until a reset is over
        self.lie = None  # (head, len) -> (head, len) for the used ring
        self.on_config_read = None  # called after every read of configuration space
        self.status = 0
        self.status_log = []
        self.isr = 0
        self.interrupts = 0
        self.on_interrupt = None
        self._clear()

    def _clear(self):
        self.features = 0
        self.features_written = False
        self.live = False
        self.isr = 0
        self.must_check = False  # status has to be read back before anything else
        self.resetting = 0
        for queue in self.queues:
            queue.stop()
            queue.reset()

    def has(self, bit):
        return self.features >> bit & 1 != 0

    # -- status ----------------------------------------------------------------------------

    def read_status(self):
        self.must_check = False
        if self.resetting:
            self.resetting -= 1
            return 0x80
        return self.status

    def write_status(self, value):
        self.status_log.append(value)
        if value == 0:
            self.status = 0
            self._clear()
            self.resetting = self.reset_delay
            self.must_check = True
            return
        old = self.status
        if value & FAILED:
            require(value & old == old, "GEN-STATUS-02", "%#x over %#x" % (value, old))
            self.status = value
            return
        require(not old & FAILED, "GEN-STATUS-03", "status %#x after FAILED" % value)
        require(value & old == old & ~NEEDS_RESET, "GEN-STATUS-02", "%#x over %#x" % (value, old))
        self._check_stage(old, value & ~old)
        if value & FEATURES_OK and not old & FEATURES_OK:
            self._check_features()
            self.must_check = True
            if self.refuse:
                value &= ~FEATURES_OK
        self.status = value
        if value & DRIVER_OK:
            self.live = True

    def _check_stage(self, old, new):
        require(self.status_log[0] == 0, "GEN-INIT-02", "no reset first")
        if self.legacy:
            require(not new & FEATURES_OK, "GEN-LEGINIT-01", "FEATURES_OK on a legacy device")
            steps = {0: ACKNOWLEDGE, 1: DRIVER, 3: DRIVER_OK}
        else:
            steps = {0: ACKNOWLEDGE, 1: DRIVER, 3: FEATURES_OK, 11: DRIVER_OK}
        require(old in steps and new == steps[old], "GEN-INIT-01", "%#x after %#x" % (new, old))
        if self.legacy and new == DRIVER_OK:
            self._check_features()

    def _check_features(self):
        features = self.features
        require(self.features_written, "GEN-INIT-05", "no features were written")
        require(not features & ~self.offered, "GEN-FEAT-01", hex(features & ~self.offered))
        if self.legacy:
            require(not features >> 30 & 1, "GEN-LEGRSVD-02")
            if self.offered >> ANY_LAYOUT & 1:
                require(self.has(ANY_LAYOUT), "GEN-LEGRSVD-01")
        else:
            require(self.has(VERSION_1), "GEN-RSVD-01")
            require(not features & mask(24, 27, 30), "GEN-FEAT-05", "legacy bits accepted")

    def write_features(self, sel, value):
        require(self.status & DRIVER, "GEN-INIT-01", "features before DRIVER")
        require(not self.status & FEATURES_OK, "GEN-INIT-12")
        require(not self.legacy or not self.queues_live(), "GEN-INIT-08", "features after queues")
        self.features_written = True
        self.features &= ~(0xFFFFFFFF << 32 * sel)
        self.features |= value << 32 * sel

    def queues_live(self):
        return any(queue.ready for queue in self.queues)

    def check_setup(self):
        """Queues may be set up now (3.1.1 step 7)."""
        stage = self.features_written if self.legacy else self.status & FEATURES_OK
        require(stage, "GEN-INIT-08", "queue set-up before the features are settled")
        require(not self.status & DRIVER_OK, "GEN-INIT-08", "queue set-up after DRIVER_OK")

    # -- configuration space -------------------------------------------------------------

    def read_config(self, off, width):
        self._check_field(off, width)
        value = int.from_bytes(self.config[off : off + width], "little")
        if self.on_config_read is not None:
            self.on_config_read(off)
        return value

    def write_config(self, off, width, value):
        require(self.status & (DRIVER_OK | FEATURES_OK), "GEN-INIT-11", "too early")
        self._check_field(off, width)
        self.config[off : off + width] = value.to_bytes(width, "little")

    def _check_field(self, off, width):
        require(off in self.FIELDS, "MMIO-04", "configuration offset %d" % off)
        size, bit = self.FIELDS[off]
        require(width == size, "MMIO-08", "%d bytes at configuration offset %d" % (width, off))
        if bit is not None:
            require(self.offered >> bit & 1, "GEN-CFG-03", "field at %d needs bit %d" % (off, bit))

    def change_config(self, data, off=0):
        """The device changes its configuration."""
        self.config[off : off + len(data)] = data
        self.generation = (self.generation + 1) & 0xFF
        self.interrupt(2)

    # -- work ------------------------------------------------------------------------------

    def notify(self, index):
        require(self.live, "GEN-INIT-15", "notification before DRIVER_OK")
        require(index < len(self.queues), "MMIO-35", "queue %d" % index)
        self.queues[index].notified()

    def work(self, queue):
        """Process chains that were fetched; per_poll of them when the driver polls."""
        if self.dead or self.manual:
            return
        n = len(queue.held) if self.per_poll is None else self.per_poll
        for chain in queue.held[:n]:
            queue.finish(chain, self.process(queue, chain))

    def process(self, queue, chain):
        """Do what the chain asks for; the number of bytes written."""
        return 0

    def need_reset(self):
        self.status |= NEEDS_RESET
        self.interrupt(2)

    def interrupt(self, bits):
        self.isr |= bits
        self.interrupts += 1
        if self.on_interrupt is not None:
            self.on_interrupt()


_READABLE = {0x00, 0x04, 0x08, 0x0C, 0x10, 0x34, 0x44, 0x60, 0x70, 0xFC}
_WRITABLE = {0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70}
_WRITABLE |= {0x80, 0x84, 0x90, 0x94, 0xA0, 0xA4}
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
        self.stop_check = False
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
            require(off == 0x70, "GEN-INIT-07" if device.status else "GEN-RESET-01", hex(off))
        if self.stop_check:
            require(off == 0x44 and not write, "MMIO-20", "access to %#x" % off)
            self.stop_check = False
        if self.config_open and off < 0x100 and not device.legacy:
            require(off == 0xFC, "GEN-CFG-02", "%#x after a config read" % off)
            self.config_open = False

    def read(self, off, width):
        self.reads.append(off)
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
            return device.isr
        if off == 0x70:
            return device.read_status()
        if off == 0xFC:
            return device.generation
        queue = self._queue()
        if off == 0x34:
            require(self.ready_seen == self.queue_sel, "MMIO-33", "QueueReady/PFN not looked at")
            if device.legacy and queue:
                require(not queue.ready, "MMIO-LEG-04")
            return queue.size_max if queue else 0
        self.ready_seen = self.queue_sel  # 0x44, or 0x40 on legacy
        return self._ready_value(queue)

    def _ready_value(self, queue):
        if queue is None or not queue.ready:
            return 0
        return queue.desc // self.page_size if self.device.legacy else 1

    def _queue(self):
        require(self.queue_sel is not None, "MMIO-33", "no queue selected")
        queues = self.device.queues
        return queues[self.queue_sel] if self.queue_sel < len(queues) else None

    def write(self, off, width, value):
        device = self.device
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
        elif off == 0x64:
            require(value & ~3 == 0, "MMIO-23", hex(value))
            require(value and value & ~self.seen_isr == 0, "MMIO-22", "ack of %#x" % value)
            device.isr &= ~value
        elif off == 0x70:
            device.write_status(value)
        else:
            self._write_queue(off, value)

    def _write_queue(self, off, value):
        queue = self._queue()
        device = self.device
        require(queue is not None, "MMIO-03", "queue %d does not exist" % self.queue_sel)
        stopping = value == 0 and off == (0x40 if device.legacy else 0x44)
        if stopping:
            queue.stop()
            self.stop_check = not device.legacy
            return
        device.check_setup()
        require(not queue.ready, "MMIO-18", "write of %#x while the queue is live" % off)
        require(self.ready_seen == self.queue_sel, "MMIO-33", "QueueReady/PFN not looked at")
        if off == 0x38:
            require(value <= queue.size_max, "MMIO-17", "size %d of %d" % (value, queue.size_max))
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
