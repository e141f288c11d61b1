"""Device: what all drivers share: initialisation order (3.1), features, configuration, reset."""

import errno

from micropython import const

from . import transport as _t
from .queue import Virtqueue
from .transport import DeviceError

_ACKNOWLEDGE = const(1)
_DRIVER = const(2)
_DRIVER_OK = const(4)
_FEATURES_OK = const(8)
_NEEDS_RESET = const(64)
_FAILED = const(128)
_VERSION_1 = const(32)
_TRIES = const(100)


class Closed:
    """What a driver uses on an open device only, before it was opened once: every use says so."""

    def __init__(self, device):
        self._device = device

    def __getattr__(self, name):
        self._device.check()
        raise AttributeError(name)

    def __getitem__(self, i):
        self._device.check()
        raise IndexError(i)

    def __len__(self):
        self._device.check()
        return 0

    def __call__(self, *args):
        self._device.check()
        raise TypeError("not callable yet")


class Device:
    """A virtio device, and the base of every driver.

    A driver sets NAME, IDS, FEATURES (mask of the device-type bits it can handle) and, for its
    repr, FEATURE_NAMES; probe() sets up queues before DRIVER_OK, ready() runs after it, remove()
    before the reset, config_changed() when the configuration changed, on_interrupt() when
    buffers were used, save() and restore() around recover(). The base itself opens any device,
    for looking round by hand.
    """

    NAME = "dev"
    IDS = ()
    FEATURES = 0
    FEATURE_NAMES = {}
    accept = -1  # mask of the features that open() may accept; ~(1 << 34) leaves packed rings out
    LIVE = ()  # attributes that open() makes and every call needs
    WORDS = 2  # 32-bit words of feature bits to read; 4 for types that use bits above 63

    def __init__(self, transport, name):
        self.transport = transport
        self.name = name
        self.offered = 0
        self.features = 0
        self.queues = {}
        self.is_open = False
        self.error = None
        self.on_config = None  # the user's: called with this device when its configuration changed
        self._generation = None  # of the configuration that was acted on
        self._recovering = None  # recover() opens: (features that must come out, attributes to keep)
        self._kept = []  # queues of a device that did not let itself be reset
        self._irq_bound = self._irq
        self._connected = False  # the transport calls _irq()
        self.wants_interrupts = False  # interrupts(True): on_interrupt() is called for all queues
        self._taken = -1  # by all queues, when the last interrupt was handled
        for attribute in self.LIVE:
            setattr(self, attribute, Closed(self))

    def __repr__(self):
        if self.transport.gone:
            state = "gone"
        elif self.error is not None:
            state = "FAILED"
        elif self.is_open:
            state = _t.stage(self.transport.status())
        else:
            state = "closed"
        about = self.about() if self.is_open else ""
        return "<%s %s %s%s>" % (self.name, self.transport.name, about + " " if about else "", state)

    def about(self):
        """What a driver adds to the repr of an open device."""
        return ""

    # -- life ---------------------------------------------------------------------------

    def open(self):
        """Initialise the device as 3.1.1 orders; returns self. Blocks for at most some ms.

        OSError(EALREADY): open already. DeviceError: refused; the device is left with FAILED.
        """
        if self.is_open:
            raise OSError(errno.EALREADY, "%s is open already" % self.name)
        transport = self.transport
        self.error = None
        self.queues = {}
        transport.reset()
        self._arm()
        self.is_open = True
        try:
            transport.set_status(_ACKNOWLEDGE)
            transport.set_status(_ACKNOWLEDGE | _DRIVER)
            status = self._negotiate()
            self.probe()
            if self._recovering is not None:
                for name, value in self._recovering[1]:
                    setattr(self, name, value)
            self._generation = transport.generation()
            transport.set_status(status | _DRIVER_OK)
            self.ready()
        except BaseException:
            self._give_up()
            raise
        return self

    def _arm(self):
        try:
            self.transport.arm()
        except OSError as er:
            if er.errno != errno.ENOMEM:
                raise
            raise OSError(errno.ENOMEM, "%s: the table of open devices is full: close one" % self.name)

    def _negotiate(self):
        """Choose the features; the status so far. DeviceError when the device refuses them."""
        transport = self.transport
        self.offered = offered = self._read_offer()
        modern = not transport.legacy
        mask = self.accept | modern << _VERSION_1
        chosen = offered & (self.FEATURES | transport.features) & mask
        if modern and not chosen >> _VERSION_1 & 1:
            raise DeviceError("%s: VERSION_1 is not offered" % self.name)
        self.features = self.choose(chosen)
        if self._recovering is not None and self.features != self._recovering[0]:
            lost = _t.feature_names(self.features ^ self._recovering[0], self.FEATURE_NAMES)
            raise DeviceError("%s: not the same features after the reset: %s" % (self.name, lost))
        transport.write_features(self.features)
        status = _ACKNOWLEDGE | _DRIVER
        if modern:
            status |= _FEATURES_OK
            transport.set_status(status)
            if not transport.status() & _FEATURES_OK:
                raise DeviceError(
                    "%s: features refused: %s" % (self.name, _t.feature_names(self.features, self.FEATURE_NAMES))
                )
        return status

    def _read_offer(self):
        """The offered bits. Words 2 and 3 that merely repeat word 1 are QEMU's, and no bits."""
        offered = self.transport.read_features(1 if self.transport.legacy else self.WORDS)
        high = offered >> 64
        word = offered >> 32 & 0xFFFFFFFF
        if high and high == word | word << 32:
            offered &= (1 << 64) - 1
        return offered

    def choose(self, features):
        """A driver drops here what it cannot use together, and raises if it needs what is missing."""
        return features

    def _give_up(self):
        """Initialisation failed: leave FAILED behind, and nothing that still writes memory."""
        transport = self.transport
        self.is_open = False
        status = transport.status()
        transport.set_status(status | _FAILED)
        if status & _DRIVER_OK:
            transport.reset()
        transport.disarm()
        self._drop_queues()

    def _drop_queues(self):
        for queue in self.queues.values():
            queue.stop()
        self.queues = {}

    def close(self):
        """Let the driver say good-bye, reset the device, free its queues. Harmless when closed."""
        if not self.is_open:
            return
        try:
            if self.error is None:
                self.remove()
        finally:
            try:
                self._shut()
            except KeyboardInterrupt:  # it must not leave a device that is neither open nor closed
                self._shut()
                raise

    def _shut(self):
        self.interrupts(False)
        try:
            self.transport.reset()
            self.transport.disarm()
        except DeviceError:
            self._kept.append(self.queues)  # it may still write there: never free that memory
            raise
        finally:
            self.is_open = False
            self.error = None
            self._drop_queues()

    def recover(self):
        """Reset an open device, in trouble perhaps, and bring it up as it was; returns self.

        The features must come out the same. What was in flight has ended in an error, or does now:
        whether the device has done it is not known (2.1.1). Callbacks (on_...), interrupts and what
        the driver saves are kept. ValueError: closed. DeviceError: it does not come up; it is closed.
        """
        if not self.is_open:
            raise ValueError("%s is closed" % self.name)
        listening = self.wants_interrupts
        kept = [(name, value) for name, value in self.__dict__.items() if name.startswith("on_") and value is not None]
        state = self.save()
        self._recovering = (self.features, kept)
        try:
            self._shut()
            self.open()
        finally:
            self._recovering = None
        if listening:
            self.interrupts(True)
        self.restore(state)
        return self

    def save(self):
        """Driver: what restore() needs; asks the device nothing, which may be broken."""

    def restore(self, state):
        """Driver: set again what was set since open(); the device is live."""

    def __enter__(self):
        return self if self.is_open else self.open()

    def __exit__(self, *args):
        self.close()

    def probe(self):
        """Driver: set up queues and read the configuration. Before DRIVER_OK: no notify."""

    def ready(self):
        """Driver: post the first buffers; the device is live."""

    def remove(self):
        """Driver: last words before the reset."""

    # -- trouble ------------------------------------------------------------------------

    def fail(self, text):
        """The device broke the specification: set FAILED, raise DeviceError now and from now on."""
        self.error = DeviceError("%s: %s" % (self.name, text))
        for queue in self.queues.values():
            queue.stop()
        self.transport.set_status(self.transport.status() | _FAILED)
        raise self.error

    def lost(self):
        """The bus says that the device is gone: requests in flight end, close() only tidies up."""
        if self.is_open and self.error is None:
            self.error = DeviceError("%s: the device is gone" % self.name)
            for queue in self.queues.values():
                queue.stop()

    def check(self):
        """Raise what stops a request from being made: closed, or broken earlier."""
        if self.error is not None:
            raise self.error
        if not self.is_open:
            raise ValueError("%s is closed" % self.name)

    def check_status(self):
        """Read the status register; DeviceError when the device asks for a reset or lost its state."""
        self.check()
        status = self.transport.status()
        if status & 0xFF == 0xFF and self.transport.gone:
            self.fail("the device is gone")
        if status & _NEEDS_RESET:
            self.fail("the device needs a reset: recover() brings it up again")
        if not status & _DRIVER_OK and self.queues:
            self.fail("the device was reset behind the driver's back (status %#x)" % status)

    # -- features, queues, configuration ------------------------------------------------

    def has(self, bit):
        """Whether feature bit number `bit` was negotiated."""
        return self.features >> bit & 1 != 0

    def queue(self, index, size=None):
        """Set up virtqueue `index` with up to `size` entries (default 256); returns it.

        OSError(ENODEV): the device has no such queue.
        """
        size = self.queue_size(index, size)
        queue = Virtqueue(self, index, size, self.transport.notify_register(index))
        self.queues[index] = queue
        self.transport.queue_setup(index, size, queue.desc, queue.avail, queue.used)
        queue.listen(False)
        return queue

    def queue_size(self, index, size=None):
        """How many entries virtqueue `index` gets when `size` (default 256) are wanted. OSError(ENODEV): none."""
        if size is not None and size < 0:
            raise ValueError("%s: queue %d with %d entries" % (self.name, index, size))
        most = self.transport.queue_max(index)
        if most == 0:
            raise OSError(errno.ENODEV, "%s has no queue %d" % (self.name, index))
        want = most if self.transport.queue_fixed else min(most, size or 256, 32768)
        if self.has(34):  # a packed queue has any size (2.8.10.1)
            return want
        size = 1
        while size * 2 <= want:
            size *= 2
        return size

    def config_u8(self, off):
        return self._config(off, 1, 1)[0]

    def config_u16(self, off):
        return self._config(off, 1, 2)[0]

    def config_u32(self, off):
        return self._config(off, 1, 4)[0]

    def config_u64(self, off):
        low, high = self._config(off, 2, 4)
        return low | high << 32

    def config_bytes(self, off, n):
        """n single-byte fields."""
        return bytes(self._config(off, n, 1))

    def _config(self, off, n, width):
        """n fields of `width` bytes from off, all of one generation (2.5.1).

        Without a generation counter (legacy): read until two readings agree.
        """
        transport = self.transport
        if off + n * width > transport.config_size:
            raise DeviceError("%s: no configuration at offset %d" % (self.name, off))
        before = None
        for _ in range(_TRIES):
            gen = transport.generation()
            values = [transport.config(off + i * width, width) for i in range(n)]
            if gen is None:
                if values == before or (n == 1):
                    return values
                before = values
            elif transport.generation() == gen:
                return values
        raise DeviceError("%s: the configuration does not stop changing" % self.name)

    # -- changes and interrupts --------------------------------------------------------

    def poll_config(self):
        """See whether the configuration changed, without interrupts; calls config_changed()."""
        self.check()
        transport = self.transport
        bits = transport.isr()
        changed = bits & 2 or transport.generation() != self._generation
        try:
            if changed:
                self._changed()
            if bits & 1 and self._connected:  # reading took it from the interrupt
                self.on_interrupt()
        finally:
            if bits:
                transport.ack(bits)
        if bits & 1 and self._connected:
            self.on_interrupt()
        return changed != 0

    def _changed(self):
        self._generation = self.transport.generation()
        try:
            self.check_status()
            self.config_changed()
        finally:
            if self.on_config is not None:
                self.on_config(self)

    def config_changed(self):
        """Driver: read again what it caches."""

    def on_interrupt(self):
        """Driver: take what is used. Called by the scheduler, between two bytecodes; must not block."""

    def interrupts(self, on):
        """Let the device interrupt (on_interrupt, config_changed), or stop it.

        OSError(ENODEV): no interrupt reaches us from there; polling works without. Interrupts that
        were silenced as a storm may come again.
        """
        if on:
            self._connect()
        elif self._connected:
            self.transport.disconnect()
            self._connected = False
        if on != self.wants_interrupts:
            self.wants_interrupts = on
            waiting = False
            for queue in self.queues.values():
                if queue.listen(on) and on and queue.live:
                    queue.reap()  # what is used already does not interrupt (2.7.7)
                    waiting = True
            if waiting:
                self.on_interrupt()

    def _connect(self):
        if self._connected and self.transport.silenced():
            self.transport.disconnect()
            self._connected = False
        if not self._connected:
            self.transport.connect(self._irq_bound)
            self._connected = True

    def attend(self, connect):
        """For aio.py: whether interrupts wake what waits for queues that enabled theirs."""
        if connect and not self._connected:
            try:
                self._connect()
            except OSError:
                return False
        return self._connected and not self.transport.silenced()

    def _irq(self, bits, index):
        """What the transport calls: 1 buffers were used, 2 the configuration changed; True: it was work."""
        if bits & 2:
            try:
                self._changed()
            except DeviceError as er:
                if er is not self.error:  # which everybody gets who asks something of the device
                    raise
        if bits & 1 and self.error is None:
            self.on_interrupt()
        taken = 0
        for queue in self.queues.values():
            taken = taken * 31 + queue.taken & 0xFFFFFFF
        worked = taken != self._taken
        self._taken = taken
        return worked

    # -- for people ------------------------------------------------------------------------

    def explain(self):
        """Which interface of the device is used, why, and QEMU's switch that changes it."""
        return self.transport.explain()

    def why(self):
        """Find out why it does not answer: print and return the first broken rule, None when there is none."""
        from . import why

        return why.device(self)

    def dump(self):
        """Print status, features, configuration and queues."""
        transport = self.transport
        print(repr(self))
        print("  %r, vendor %#x, interrupt %s" % (transport, transport.vendor_id, transport.interrupt_text()))
        print("  interface  %s" % transport.explain())
        print("  status     %s" % _t.status_names(transport.status()))
        if self.is_open:
            print("  offered    %s" % _t.feature_names(self.offered, self.FEATURE_NAMES))
            print("  negotiated %s" % _t.feature_names(self.features, self.FEATURE_NAMES))
        for index in sorted(self.queues):
            self.queues[index].dump()
