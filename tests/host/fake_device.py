"""A strict virtio device: every broken rule of the specification raises Violation with its clause id.

The model is stricter than QEMU, and can misbehave on purpose. FakeDevice is the device itself:
status, features, configuration. Its queues are in fake_queue.py and fake_packed.py, its registers in
fake_mmio.py. A device type derives from FakeDevice and overrides process().
"""

from fake_chain import Chain  # noqa: F401
from fake_mmio import FakeMMIO  # noqa: F401
from fake_packed import FakePackedQueue
from fake_queue import FakeQueue
from fake_rules import (  # noqa: F401
    ACKNOWLEDGE,
    ANY_LAYOUT,
    DRIVER,
    DRIVER_OK,
    EVENT_IDX,
    FAILED,
    FEATURES_OK,
    IN_ORDER,
    INDIRECT_DESC,
    NEEDS_RESET,
    NOTIF_CONFIG_DATA,
    NOTIFICATION_DATA,
    RING_PACKED,
    RING_RESET,
    SUSPEND,
    SUSPEND_BIT,
    VERSION_1,
    Violation,
    check_bits,
    mask,
    require,
)


class FakeDevice:
    """Status, features and queues. `config` is the configuration space; see FIELDS."""

    DEVICE_ID = 0
    SHM_EXPECTED = False  # whether this type of device has shared memory
    FIELDS = {}  # offset -> (width, feature bit that it depends on, or None)

    def __init__(self, features=0, config=b"", queues=(256,), legacy=False, ring_features=None):
        self.legacy = legacy
        if ring_features is None:
            ring_features = mask(INDIRECT_DESC, EVENT_IDX)
        self.offered = features | ring_features | (0 if legacy else 1 << VERSION_1)
        self.config = bytearray(config)
        self.generation = 0
        self.shm = {}  # id -> (base, bytes)
        self.queues = [FakeQueue(self, i, n) for i, n in enumerate(queues)]
        # Misbehaviour and modes, for tests to set.
        self.dead = False  # never answers
        self.manual = False  # chains wait in queue.held until the test finishes them
        self.polling = False  # looks at the rings without being notified
        self.per_poll = None  # chains finished per look, None: all
        self.follow_event = True  # keep avail_event at the next entry
        self.strict_notify = True
        self.refuse = False  # FEATURES_OK does not stick
        self.refused = False  # and did not
        self.mmio = True  # the transport, which says so when it is not
        self.optional = set()  # bits that a driver should accept, and a test's driver does not
        self.reset_delay = 0  # status reads until a reset is over, -1: it never is
        self.queue_reset_delay = 0  # the same for the reset of one queue
        self.batch = 1  # IN_ORDER: so many chains at most with one used element
        self.chain_max = None  # packed: longest list that the device takes
        self.litter = not legacy  # fill what it does not write, as far as it tells the truth about that
        self.lie = None  # (head, len) -> (head, len) for the used ring
        self.on_config_read = None  # called after every read of configuration space
        self.restless = 0  # so many reads of the configuration change it, -1: all
        self.mute = False  # interrupts get lost
        self.isr_noise = 0  # bits of the interrupt status that mean nothing
        self.gone = False  # all registers read as ones
        self.lost = False  # was reset and the driver was not asked: it may do what it likes until it resets
        self.alarms = []  # [kind, count, action], see at()
        self.status = 0
        self.status_log = []
        self.was_reset = False  # by the driver
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
            queue.reset()

    def has(self, bit):
        return self.features >> bit & 1 != 0

    # -- status ----------------------------------------------------------------------------

    def read_status(self):
        self.must_check = False
        if self.resetting:
            self.resetting -= self.resetting > 0
            return 0x80
        return self.status

    def write_status(self, value):
        self.status_log.append(value)
        if value == 0:
            require(not self.refused or self.status & FAILED, "GEN-INIT-13", "refused features, and no FAILED")
            self.refused = False
            self.status = 0
            self._clear()
            self.was_reset = True
            self.lost = False
            self.resetting = self.reset_delay
            self.must_check = True
            return
        old = self.status
        if value & FAILED:
            require((value | NEEDS_RESET) & old == old, "GEN-STATUS-02", "%#x over %#x" % (value, old))
            self.status = value | old & NEEDS_RESET
            return
        require(not old & FAILED, "GEN-STATUS-03", "status %#x after FAILED" % value)
        require((value | NEEDS_RESET) & old == old, "GEN-STATUS-02", "%#x over %#x" % (value, old))
        self._check_stage(old & ~NEEDS_RESET, value & ~old)
        if value & FEATURES_OK and not old & FEATURES_OK:
            self._check_features()
            self.must_check = True
            if self.refuse:
                value &= ~FEATURES_OK
                self.refused = True
            kind = FakePackedQueue if self.has(RING_PACKED) else FakeQueue
            self.queues = [q if type(q) is kind else kind(self, q.index, q.size_max) for q in self.queues]
        self.status = value | old & NEEDS_RESET
        if value & DRIVER_OK:
            self.live = True

    def _check_stage(self, old, new):
        require(self.was_reset, "GEN-INIT-02", "no reset first")
        require(not self.refused, "GEN-INIT-14", "status %#x after the features were refused" % new)
        require(new & (new - 1) == 0, "GEN-STATUS-01", "%#x at once" % new)
        if new == SUSPEND_BIT:
            require(self.has(SUSPEND) and old & DRIVER_OK, "GEN-SUSPEND-01")
        steps = {0: (ACKNOWLEDGE, "GEN-INIT-03"), 1: (DRIVER, "GEN-INIT-04")}
        if self.legacy:
            require(not new & FEATURES_OK, "GEN-LEGINIT-01", "FEATURES_OK on a legacy device")
            steps[3] = (DRIVER_OK, "GEN-INIT-09")
        else:
            steps.update({3: (FEATURES_OK, "GEN-INIT-06"), 11: (DRIVER_OK, "GEN-INIT-09")})
        wanted, clause = steps.get(old, (None, "GEN-INIT-01"))
        require(new == wanted, clause, "%#x after %#x" % (new, old))
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
            return
        require(self.has(VERSION_1), "GEN-RSVD-01")
        require(not features & mask(24, 27, 30), "GEN-FEAT-05", "legacy bits accepted")
        check_bits(features, self.DEVICE_ID, self.mmio)
        for bit, clause in ((33, "GEN-RSVD-03"), (34, "GEN-RSVD-06"), (36, "GEN-RSVD-07"), (39, "GEN-RSVD-13")):
            usable = bit != NOTIF_CONFIG_DATA or not self.mmio
            if self.offered >> bit & 1 and usable and bit not in self.optional:
                require(self.has(bit), clause, "bit %d was offered and not accepted" % bit)

    def write_features(self, sel, value):
        require(self.status & DRIVER, "GEN-INIT-01", "features before DRIVER")
        require(not self.status & FEATURES_OK, "GEN-INIT-12")
        require(not self.legacy or not self.queues_live(), "GEN-INIT-08", "features after queues")
        self.features_written = True
        self.features &= ~(0xFFFFFFFF << 32 * sel)
        self.features |= value << 32 * sel

    def queues_live(self):
        return any(queue.ready for queue in self.queues)

    def check_setup(self, queue):
        """The queue may be set up now (3.1.1 step 7, 2.6.1.2)."""
        if queue.restart:
            return
        require(not self.refused, "GEN-INIT-14", "queue set-up after the features were refused")
        stage = self.features_written if self.legacy else self.status & FEATURES_OK
        require(stage, "GEN-INIT-08", "queue set-up before the features are settled")
        require(not self.status & DRIVER_OK, "GEN-INIT-08", "queue set-up after DRIVER_OK")

    # -- configuration space -------------------------------------------------------------

    def read_config(self, off, width):
        self._check_field(off, width)
        value = int.from_bytes(self.config[off : off + width], "little")
        if self.on_config_read is not None:
            self.on_config_read(off)
        if self.restless:
            self.restless -= self.restless > 0
            self.config[off] = (self.config[off] + 1) & 0xFF
            self.generation = (self.generation + 1) & 0xFF
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

    def notify(self, value, queue=None):
        """The driver wrote value to the register that notifies; queue: whose register it was, if only its."""
        require(self.live, "GEN-INIT-15", "notification before DRIVER_OK")
        data = None
        if self.has(NOTIFICATION_DATA):
            value, data = value & 0xFFFF, value >> 16
        if queue is None:
            clause = "MMIO-36" if self.has(NOTIFICATION_DATA) else "MMIO-35"
            require(value < len(self.queues), clause, "queue %d" % value)
            queue = self.queues[value]
        queue.notified(data)

    def work(self, queue):
        """Process chains that were fetched; per_poll of them when the driver polls."""
        if self.dead or self.manual:
            return
        n = len(queue.held) if self.per_poll is None else self.per_poll
        batch = []
        for chain in queue.held[:n]:
            self.tick("chain")
            if self.dead or self.gone or not queue.ready:
                return
            length = self.process(queue, chain)
            batch.append(chain)
            if len(batch) < self.batch and self.has(IN_ORDER) and length == chain.room and chain is not queue.held[-1]:
                continue  # all of it was used, so it needs no element of its own
            queue.finish_batch(batch, length)
            batch = []
        if batch:
            queue.finish_batch(batch, length)

    def process(self, queue, chain):
        """Do what the chain asks for; the number of bytes written."""
        return 0

    def finished(self, chains, length):
        """Chains are about to be given back, the last one with that length; for tests that keep count."""

    def interrupt(self, bits, queue=None):
        """bits: 1 for a used buffer of that queue, 2 for the configuration."""
        if self.mute:
            return
        self.isr |= bits
        self.interrupts += 1
        if self.on_interrupt is not None:
            self.on_interrupt()

    # -- misbehaviour ------------------------------------------------------------------------

    def at(self, kind, count, action):
        """Call action() at the count-th "access" to a register or "chain" to process from now on, from 1."""
        self.alarms.append([kind, count, action])

    def tick(self, kind):
        for alarm in list(self.alarms):
            if alarm[0] == kind:
                alarm[1] -= 1
                if alarm[1] <= 0:
                    self.alarms.remove(alarm)
                    alarm[2]()

    def die(self):
        """Never answer again; the registers work."""
        self.dead = True

    def need_reset(self):
        """DEVICE_NEEDS_RESET (2.1.2); not while a reset is all that has happened."""
        if self.status:
            self.status |= NEEDS_RESET
        if self.status & DRIVER_OK:
            self.interrupt(2)

    def lose_state(self):
        """Be reset, and the driver was not asked."""
        self.status = 0
        self.was_reset = False
        self.lost = True
        self._clear()

    def vanish(self):
        """Be unplugged: writes go nowhere, reads give ones, until come_back()."""
        self.lose_state()
        self.gone = True

    def come_back(self):
        self.gone = False

    def spurious(self):
        """Interrupt without a reason."""
        if self.on_interrupt is not None:
            self.on_interrupt()
