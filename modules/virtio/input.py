"""virtio-input (5.8): keyboards, mice, tablets: events, what the device can send, and typed text."""

import errno
import io
import struct

import riscv
from micropython import const

from . import keys, repl
from .device import Device
from .dma import Area

_SELECT = const(0)  # and subsel behind it: the only fields that are written
_SIZE = const(2)
_DATA = const(8)
_UNION = const(128)

_ID_NAME = const(1)
_ID_SERIAL = const(2)
_ID_DEVIDS = const(3)
_PROP_BITS = const(0x10)
_EV_BITS = const(0x11)
_ABS_INFO = const(0x12)

_EVENTQ = const(0)
_STATUSQ = const(1)
_EVENT = const(8)  # le16 type, le16 code, le32 value
_FORMAT = "<HHi"

_SYN = const(0)
_KEY = const(1)

_CTRL_C = const(3)
_LOOK_MS = const(10)  # without interrupts an async reader looks this often

_IOCTL_POLL = const(3)
_POLL_RD = const(1)
_POLL_WR = const(4)
_POLL_NVAL = const(0x20)


class Event:
    """One event: .type and .code as evdev numbers them, .value (signed), .name 'KEY_A'."""

    def __init__(self, kind, code, value):
        self.type = kind
        self.code = code
        self.value = value

    @property
    def name(self):
        return keys.name(self.type, self.code)

    @property
    def pressed(self):
        """Of a key or button: whether it went down (or repeats). Of others: whether value is not 0."""
        return self.value != 0

    def __repr__(self):
        if self.type == _KEY and 0 <= self.value <= 2:
            return "<%s %s>" % (self.name, ("release", "press", "repeat")[self.value])
        return "<%s %d>" % (self.name, self.value)


class Input(Device):
    """A keyboard, mouse or tablet: read() gives the next event, or None when there is none now.

    `async for event in d` waits for them; on_event = f calls f(event) for each, from an interrupt
    or from poll(). Each event goes to one of them, or to text. The marks between reports (SYN)
    are left out unless .with_syn is set. Unknown types of events are skipped and counted.
    """

    NAME = "input"
    IDS = (18,)
    LIVE = ("_eventq", "_statusq")
    BUFFERS = 64  # events that may come in before the first is read

    def __init__(self, transport, name):
        super().__init__(transport, name)
        self.with_syn = False
        self.on_event = None
        self.text = Text(self)
        self.skipped = 0
        self._waiter = _Waiter(self)
        self._ahead = None

    def probe(self):
        self._labels = {}
        self._ahead = None  # an event that any() has taken
        self._polling = self._again = False
        self.interrupting = False
        self._eventq = queue = self.queue(_EVENTQ)
        count = min(self.BUFFERS, queue.size)
        self._events = Area(_EVENT * count)
        self._slots = [self._events.buf[at : at + _EVENT] for at in range(0, _EVENT * count, _EVENT)]
        self._statusq = self.queue(_STATUSQ)
        self._statusq.distrust_lengths()  # QEMU 7.2 reports what it has read
        for i in range(count):
            queue.add((), (self._slots[i],), i)

    def ready(self):
        self._eventq.notify()
        self._lights = self.can("LED")
        try:
            self.interrupts(True)
            self.interrupting = True
        except OSError:
            pass  # no interrupt controller that we know: whoever waits has to poll
        self._statusq.listen(False)  # what was sent need not interrupt

    def remove(self):
        self.repl(False)

    def about(self):
        return repr(self.label)

    # -- what it is (5.8.4, 5.8.5) ----------------------------------------------------------

    def _choose(self, select, subsel):
        """Select what the union shows; how many bytes of it are valid."""
        self.check()
        self.transport.set_config(_SELECT, 1, select)
        self.transport.set_config(_SELECT + 1, 1, subsel)
        size = self.config_u8(_SIZE)
        if size > _UNION:
            self.fail("%d bytes of %#x/%#x, the union has %d" % (size, select, subsel, _UNION))
        return size

    def query(self, select, subsel=0):
        """The bytes that the configuration shows for select and subsel; b"" when it has none."""
        size = self._choose(select, subsel)
        return self.config_bytes(_DATA, size) if size else b""

    def _string(self, select):
        if select not in self._labels:
            self._labels[select] = self.query(select).split(b"\0")[0].decode()
        return self._labels[select]

    @property
    def label(self):
        """What the device calls itself: 'QEMU Virtio Keyboard'."""
        return self._string(_ID_NAME)

    @property
    def serial(self):
        return self._string(_ID_SERIAL)

    @property
    def ids(self):
        """(bus type, vendor, product, version), or None."""
        if self._choose(_ID_DEVIDS, 0) < 8:
            return None
        return tuple(self._config(_DATA, 4, 2))

    @property
    def properties(self):
        """Names of the INPUT_PROP_ bits: ['DIRECT']."""
        bits = _bits(self.query(_PROP_BITS))
        known = keys.PROPERTIES
        return [known[bit] if bit < len(known) else "%#x" % bit for bit in bits]

    def can(self, kind=None):
        """Without kind the event types: ['KEY', 'REL']; with one ('KEY') the names of its codes."""
        if kind is None:
            return [keys.TYPES[n] for n in sorted(keys.TYPES) if n and self.query(_EV_BITS, n)]
        number = _type_number(kind)
        return [keys.name(number, bit) for bit in _bits(self.query(_EV_BITS, number))]

    def axis(self, name):
        """{'min': .., 'max': .., 'fuzz': .., 'flat': .., 'res': ..} of 'ABS_X', or None."""
        kind, code = keys.code(name)
        if kind != keys.ABS:
            raise ValueError("%s is no absolute axis" % name)
        if self._choose(_ABS_INFO, code) < 20:
            return None
        words = self._config(_DATA, 5, 4)
        words = [w - (1 << 32) if w >> 31 else w for w in words]
        return dict(zip(("min", "max", "fuzz", "flat", "res"), words))

    # -- events (5.8.6) -----------------------------------------------------------------------

    def _take(self):
        """(type, code, value) of the next event of a known type, or None; its buffer goes back."""
        if self._ahead is not None:
            event, self._ahead = self._ahead, None
            return event
        while True:
            found = self._eventq.get()
            if found is None:
                return None
            i, used = found
            if used < _EVENT and not self.transport.legacy:
                self.fail("an event of %d bytes" % used)
            event = struct.unpack(_FORMAT, self._slots[i])
            self._eventq.add((), (self._slots[i],), i)
            self._eventq.notify()
            if event[0] not in keys.TYPES:
                self.skipped += 1
            elif event[0] != _SYN or self.with_syn:
                return event

    def read(self):
        """The next Event, or None when none has come in. Does not block."""
        event = self._take()
        return None if event is None else Event(*event)

    def any(self):
        """Whether read() would give an event now."""
        if self._ahead is None:
            self._ahead = self._take()
        return self._ahead is not None

    def poll(self):
        """Give all events that have come in to the text, if it is in use, or else to on_event.

        Interrupts do this too. Called while it runs already, it leaves the events to that call.
        """
        self.check()
        if not (self.text.active or self.on_event):
            return
        self._again = True
        if self._polling:
            return
        self._polling = True
        try:
            while self._again:
                self._again = False
                self._hand_out()
        finally:
            self._polling = False

    def _hand_out(self):
        event = self._take()
        while event is not None:
            if self.text.active:
                self.text.take(event)
            else:
                self.on_event(Event(*event))
            event = self._take()

    def on_interrupt(self):
        self.poll()
        if self.text.active and not self._polling:
            self.text.interrupt()

    def hold(self, on):
        """Keep poll(), in an interrupt perhaps, from handing out events; afterwards it catches up."""
        self._polling = on
        if not on and self._again:
            self.on_interrupt()

    def __aiter__(self):
        return self

    async def __anext__(self):
        event = self.read()
        while event is None:
            await self._waiter.readable()
            event = self.read()
        return event

    # -- the other way ----------------------------------------------------------------------

    def send(self, name, value):
        """Send a status event to the device ('LED_CAPSL', 1); does not wait for it.

        ValueError: no such name. OSError(EAGAIN): the device takes none of them.
        """
        kind, code = keys.code(name)
        while self._statusq.get() is not None:
            pass  # the device has taken it
        self._statusq.add((struct.pack(_FORMAT, kind, code, value),), (), name)
        self._statusq.notify()

    def leds(self, **states):
        """leds(capsl=True, numl=False) switches the keyboard's lights. OSError: EOPNOTSUPP."""
        for name in states:
            led = "LED_" + name.upper()
            if led not in self._lights:
                raise OSError(errno.EOPNOTSUPP, "%s: it has no %s" % (self.name, led))
            self.send(led, 1 if states[name] else 0)

    def repl(self, on=True):
        """Let what is typed here go to the REPL, beside the UART; or not any more."""
        if on != self.text.active:
            self.text.active = on
            (repl.attach if on else repl.detach)(self.text)


class _Waiter(io.IOBase):
    """What asyncio's poll object looks at: ready when an event is there."""

    def __init__(self, device):
        self._device = device

    def ioctl(self, request, arg):
        if request != _IOCTL_POLL:
            return 0
        if not self._device.is_open:
            return _POLL_NVAL
        return arg & (_POLL_WR | (_POLL_RD if self._device.any() else 0))

    def readable(self):
        """Awaits an event: through the interrupt, or looking again after a while."""
        import asyncio

        self._device.check()
        if not self._device.interrupting:
            yield from asyncio.sleep_ms(_LOOK_MS)
        else:
            yield asyncio.core._io_queue.queue_read(self)


class Text(io.IOBase):
    """What is typed on a keyboard, as a stream of the bytes a terminal would send (US layout).

    Reading never blocks: None when nothing was typed. What is written goes nowhere, so that the
    stream can have the REPL. Caps Lock and Num Lock show on the keyboard's LEDs.
    """

    def __init__(self, device):
        self._device = device
        self.active = False  # whether events become text as they come in
        self.keymap = keys.Keymap()
        self._typed = bytearray()

    def take(self, event):
        kind, code, value = event
        if kind == _KEY:
            self._typed.extend(self.keymap.feed(code, value))
            if self.keymap.changed:
                self.keymap.changed = False
                self._show_locks()

    def _show_locks(self):
        states = {"capsl": self.keymap.caps, "numl": self.keymap.num}
        try:
            self._device.leds(**states)
        except OSError:
            pass  # a keyboard without lights, or one that does not answer: typing goes on

    def interrupt(self):
        """Ctrl-C stops what runs: drop what was typed before it, as a terminal does."""
        at = bytes(self._typed).rfind(b"\x03")
        if at >= 0 and riscv.keyboard_interrupt(_CTRL_C):
            self._typed = self._typed[at + 1 :]

    def _fetch(self):
        active, self.active = self.active, True
        try:
            self._device.poll()
        finally:
            self.active = active

    def any(self):
        """Whether read() would give something."""
        self._fetch()
        return len(self._typed) > 0

    def readinto(self, buf):
        """What was typed, into buf: how many bytes, or None."""
        data = self.read(len(buf))
        if not data:
            return None if len(buf) else 0
        buf[: len(data)] = data
        return len(data)

    def read(self, n=-1):
        """Up to n bytes of what was typed, or None."""
        if not self.any():
            return None if n else b""
        self._device.hold(True)
        try:
            typed = self._typed
            n = len(typed) if n < 0 else min(n, len(typed))
            self._typed = typed[n:]
        finally:
            self._device.hold(False)
        return bytes(typed[:n])

    def write(self, buf):
        return len(buf)

    def ioctl(self, request, arg):
        if request != _IOCTL_POLL:
            return 0
        if not self._device.is_open:
            return _POLL_NVAL
        return arg & (_POLL_WR | (_POLL_RD if self.any() else 0))


def _bits(data):
    """Numbers of the bits that are set."""
    return [8 * i + bit for i in range(len(data)) for bit in range(8) if data[i] >> bit & 1]


def _type_number(kind):
    for number in keys.TYPES:
        if keys.TYPES[number] == kind:
            return number
    raise ValueError("no event type is called %r" % (kind,))
