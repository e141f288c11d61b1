"""What the registers of a virtio device may be asked for, and when: rules over a trace of accesses, any transport.

An adapter (regmmio.py, regpci.py) turns each access into a call here. Broken rules go to `say(clause, text)`.
"""

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, SUSPEND, NEEDS_RESET, FAILED = 1, 2, 4, 8, 16, 64, 128
ANY_LAYOUT, EVENT_IDX, VERSION_1, RING_PACKED, SR_IOV = 27, 29, 32, 34, 37
NOTIFICATION_DATA, RING_RESET, ADMIN_VQ, SUSPEND_BIT = 38, 40, 41, 43

# Accesses that an interrupt's callback may make between any two of the program's.
_ASIDE = ("isr", "ack", "notify", "status read")
# What follows which status, and the rule about that step.
_STEPS = {
    0: (ACKNOWLEDGE, "GEN-INIT-03"),
    1: (DRIVER, "GEN-INIT-04"),
    3: (FEATURES_OK, "GEN-INIT-06"),
    11: (DRIVER_OK, "GEN-INIT-09"),
}
_LEGACY_STEPS = {0: (ACKNOWLEDGE, "GEN-INIT-03"), 1: (DRIVER, "GEN-INIT-04"), 3: (DRIVER_OK, "GEN-LEGINIT-01")}

# Widths of the fields of configuration space, by device id: (first offset, end, width).
_FIELDS = {
    1: ((0, 6, 1), (6, 12, 2), (12, 16, 4), (16, 17, 1), (17, 18, 1), (18, 20, 2), (20, 24, 4)),
    2: ((0, 16, 4), (16, 18, 2), (18, 20, 1), (20, 24, 4), (24, 26, 1), (26, 28, 2), (28, 32, 4), (32, 33, 1))
    + ((34, 36, 2), (36, 56, 4), (56, 57, 1), (60, 92, 4), (92, 93, 1)),
    3: ((0, 4, 2), (4, 12, 4)),
    5: ((0, 16, 4),),
    8: ((0, 28, 4), (28, 32, 2), (32, 36, 4)),
    16: ((0, 20, 4),),
}


class Queue:
    """One virtqueue as its registers show it."""

    def __init__(self):
        self.most = None  # what the device said
        self.size = 0
        self.addr = {"desc": 0, "driver": 0, "device": 0}
        self.written = set()  # fields written since it was last stopped
        self.live = False
        self.resetting = False
        self.was_reset = False  # by RING_RESET or QueueReady: it may be set up again after DRIVER_OK
        self.notify_off = None


class Rules:
    """The state of one device, from what was written to it and read from it."""

    reset_clause = "GEN-RESET-01"

    def __init__(self, name, say):
        self.name = name
        self._say = say
        self.legacy = False
        self.device_id = None
        self.counts = {"resets": 0, "inits": 0, "queues": 0, "notifications": 0, "interrupts": 0, "acks": 0}
        self.was_reset = False
        self._reset()

    def say(self, clause, text):
        self._say(clause, f"{self.name}: {text}")

    def want(self, condition, clause, text):
        if not condition:
            self.say(clause, text)

    def _reset(self):
        self.status = 0
        self.offered = {}
        self.accepted = {}
        self.queues = {}
        self.awaiting = None  # "reset" or "features": what status has to be read for
        self.refused = False
        self.generation_seen = False
        self.config_open = False

    # -- order --------------------------------------------------------------------------------

    def touch(self, what):
        """An access of that kind: is something else due first?"""
        if what != "status read":
            self.want(self.awaiting != "reset", self.reset_clause, f"{what} before the reset was seen to be over")
            self.want(self.awaiting != "features", "GEN-INIT-07", f"{what} before FEATURES_OK was read back")
            self.awaiting = None if what != "isr" else self.awaiting
        if self.refused and what not in ("status write", *_ASIDE):
            self.say("GEN-INIT-14", f"{what} after the device refused the features")
        if what in _ASIDE or what in ("config read", "generation"):
            return
        if self.config_open and not self.legacy:
            self.say("GEN-CFG-02", f"{what} after configuration was read, without another look at the generation")
        self.config_open = self.generation_seen = False

    # -- status -------------------------------------------------------------------------------

    def write_status(self, value):
        self.touch("status write")
        if value == 0:
            self._reset()
            self.awaiting = "reset"
            self.was_reset = True
            self.counts["resets"] += 1
            return
        old, new = self.status, value & ~self.status
        self.want(self.was_reset, "GEN-INIT-02", f"status {value:#x} before any reset")
        self.want(value & old == old, "GEN-STATUS-02", f"status {value:#x} over {old:#x}")
        self.want(not old & FAILED or not new, "GEN-STATUS-03", f"status {value:#x} after FAILED")
        self.status = value & ~NEEDS_RESET
        if value & FAILED:
            return
        self.want(not new & SUSPEND or self.has(SUSPEND_BIT), "GEN-SUSPEND-01", "SUSPEND was not negotiated")
        if new & ~SUSPEND:
            self._step(old, new & ~SUSPEND)

    def _step(self, old, new):
        steps = _LEGACY_STEPS if self.legacy else _STEPS
        self.want(not (self.legacy and new & FEATURES_OK), "GEN-LEGINIT-01", "FEATURES_OK on the legacy interface")
        expected, clause = steps.get(old & 15, (0, "GEN-STATUS-01"))
        self.want(new == expected, clause, f"status {old:#x} is followed by {old | new:#x}")
        if new & FEATURES_OK:
            self.awaiting = "features"
            self.check_features()
        if new & DRIVER_OK:
            if self.legacy:
                self.check_features()
            self.counts["inits"] += 1

    def read_status(self, value):
        self.touch("status read")
        if self.awaiting == "reset" and value != 0:
            return
        if self.awaiting == "features":
            self.refused = not value & FEATURES_OK
        self.awaiting = None

    # -- features -----------------------------------------------------------------------------

    def read_features(self, sel, value):
        self.touch("features")
        self.want(self.status & DRIVER, "GEN-INIT-05", "features are read before DRIVER")
        self.offered[sel] = value

    def write_features(self, sel, value):
        self.touch("features")
        self.want(self.status & DRIVER, "GEN-INIT-05", "features are written before DRIVER")
        self.want(not self.status & FEATURES_OK, "GEN-INIT-12", "features are written after FEATURES_OK")
        live = any(queue.live for queue in self.queues.values())
        self.want(not live, "GEN-INIT-08", "features are written after a queue was set up")
        self.accepted[sel] = value

    @staticmethod
    def _number(words):
        return sum(word << 32 * sel for sel, word in words.items())

    def has(self, bit):
        return bool(self._number(self.accepted) >> bit & 1)

    def check_features(self):
        """Step 4 is over: what was accepted fits what was offered, and this transport."""
        offered, accepted = self._number(self.offered), self._number(self.accepted)
        self.want(self.offered and self.accepted, "GEN-INIT-05", "features were not read and written")
        self.want(not accepted & ~offered, "GEN-FEAT-01", f"not offered: {accepted & ~offered:#x}")
        if self.legacy:
            self.want(not accepted >> 30 & 1, "GEN-LEGRSVD-02", "bit 30")
            wanted = offered >> ANY_LAYOUT & 1
            self.want(not wanted or accepted >> ANY_LAYOUT & 1, "GEN-LEGRSVD-01", "ANY_LAYOUT is not accepted")
            return
        self.want(not offered >> VERSION_1 & 1 or self.has(VERSION_1), "GEN-RSVD-01", "VERSION_1 is not accepted")
        legacy = accepted & (1 << 24 | 1 << 27 | 1 << 30)
        self.want(not legacy, "GEN-FEAT-05", f"bits of the legacy interface: {legacy:#x}")

    # -- queues -------------------------------------------------------------------------------

    def queue(self, index):
        return self.queues.setdefault(index, Queue())

    def start_queue(self, index, size_clause="SPLIT-LAYOUT-01"):
        """The driver makes a queue live."""
        queue = self.queue(index)
        ready = self.accepted if self.legacy else self.status & FEATURES_OK
        self.want(ready, "GEN-INIT-08", f"queue {index} is set up before the features are settled")
        again = queue.was_reset or not self.status & DRIVER_OK
        self.want(again, "GEN-INIT-08", f"queue {index} is set up after DRIVER_OK")
        size, packed = queue.size, self.has(RING_PACKED)
        self.want(size, size_clause, f"queue {index} has no size")
        self.want(packed or size & (size - 1) == 0, size_clause, f"queue {index}: size {size}")
        clause, widths = ("PACKED-LAYOUT-03", (16, 4, 4)) if packed else ("SPLIT-LAYOUT-02", (16, 2, 4))
        for (part, addr), width in zip(queue.addr.items(), widths):
            self.want(addr % width == 0, clause, f"queue {index}: {part} at {addr:#x}")
        queue.live = True
        self.counts["queues"] += 1

    def stop_queue(self, index):
        queue = self.queue(index)
        queue.live = False
        queue.was_reset = True
        queue.written.clear()

    def notify(self, index, clause):
        self.touch("notify")
        self.want(self.status & DRIVER_OK, "GEN-INIT-15", f"queue {index} is notified before DRIVER_OK")
        self.want(self.queue(index).live, clause, f"queue {index} is notified and not set up")
        self.counts["notifications"] += 1

    # -- configuration ------------------------------------------------------------------------

    def read_generation(self):
        self.touch("generation")
        self.generation_seen = True
        self.config_open = False

    def read_config(self, off, size, clause):
        self.touch("config read")
        self._check_width(off, size, clause)
        if not self.legacy:
            self.want(self.generation_seen, "GEN-CFG-02", f"configuration at {off} is read before the generation")
            self.config_open = True

    def write_config(self, off, size, clause):
        self.touch("config write")
        self._check_width(off, size, clause)
        if not self.legacy:
            self.want(self.status & FEATURES_OK, "GEN-INIT-11", f"configuration at {off} is written too early")

    def _check_width(self, off, size, clause):
        width = next((w for first, end, w in _FIELDS.get(self.device_id, ()) if first <= off < end), None)
        fits = off % size == 0 and (width is None or size == width)
        self.want(fits, clause, f"{size} bytes at offset {off} of the configuration")
