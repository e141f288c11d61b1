"""Any device by hand: features chosen bit by bit, raw virtqueues, the configuration space as it lies.

Nothing here knows a device type. For looking at a device that has no driver, for trying a request
that a driver would not make, and for showing a device what a driver should not do.
"""

import errno
import struct

from micropython import const

from . import discover
from . import transport as _t
from .device import Device

_QUEUES = const(64)  # looked for when nobody says how many there are
_DEVICE_TYPE = const((1 << 24) - 1 | 3 << 41 | (1 << 78) - 1 << 50)  # bits that are a device type's own (2.2)
_WIDTHS = {"B": 1, "b": 1, "H": 2, "h": 2, "I": 4, "i": 4, "L": 4, "l": 4, "Q": 8, "q": 8}


class Generic(Device):
    """A device without a driver; see take()."""

    NAME = "generic"
    FEATURES = _DEVICE_TYPE
    WORDS = 4

    def __init__(self, slot, driver):
        super().__init__(slot[0], slot[1])
        self._slot = slot
        self.FEATURE_NAMES = driver.FEATURE_NAMES
        self._mask = None
        self._sizes = None

    def about(self):
        return "by hand, %d queues" % len(self.queues)

    # -- life ---------------------------------------------------------------------------

    def offer(self):
        """The feature bits that the device offers, an int; resets a closed device to ask it."""
        if not self.is_open:
            self._check_free()
            self.transport.reset()
            self.transport.set_status(_t.ACKNOWLEDGE)
            self.transport.set_status(_t.ACKNOWLEDGE | _t.DRIVER)
            self.offered = self._read_offer()
            self.transport.reset()
        return self.offered

    def names(self, bits):
        """Names of feature bits, as dump() writes them."""
        return _t.feature_names(bits, self.FEATURE_NAMES)

    def mask(self, features):
        """The mask for an int, a name, a number of a bit, or several of the latter two.

        ValueError: this device type has no bit of that name.
        """
        if isinstance(features, int):
            if features < 0 or features >> 128:
                raise ValueError("%s: features %#x, there are 128 bits" % (self.name, features))
            return features
        if isinstance(features, str):
            features = features.split()
        bits = 0
        for one in features:
            bits |= 1 << (self._bit(one) if isinstance(one, str) else one)
        return self.mask(bits)

    def _bit(self, name):
        for table in (self.FEATURE_NAMES, _t.FEATURES):
            for bit, known in table.items():
                if known == name:
                    return bit
        raise ValueError("%s: no feature %r" % (self.name, name))

    def open(self, features=None, queues=None):
        """Initialise the device and make its queues live (3.1.1); returns self.

        features: what mask() takes, written as it is, offered or not; None: all that is offered and
        that the rings here can do. queues: {index: entries, None as many as usual}, or the indices;
        None: all that the device has. OSError(EALREADY): open, here or by its driver.
        DeviceError: refused.
        """
        self._check_free()
        self._mask = None if features is None else self.mask(features)
        if queues is not None and not isinstance(queues, dict):
            queues = {index: None for index in queues}
        self._sizes = queues
        self._slot[2] = self
        try:
            return super().open()
        finally:
            if not self.is_open:
                self._slot[2] = None

    def _check_free(self):
        other = self._slot[2]
        if self.is_open or other is not None and other.is_open:
            raise OSError(errno.EALREADY, "%s is open: close it first" % self.name)

    def close(self):
        """Reset the device; its driver may have it again."""
        super().close()
        if self._slot[2] is self:
            self._slot[2] = None

    def choose(self, features):
        return features if self._mask is None else self._mask

    def probe(self):
        sizes = self._sizes
        if sizes is None:
            sizes = {}
            while len(sizes) < _QUEUES and self.transport.queue_max(len(sizes)):
                sizes[len(sizes)] = None
        for index in sorted(sizes):
            self.queue(index, sizes[index])

    # -- queues -------------------------------------------------------------------------

    def request(self, index, readable=(), writable=(), timeout_ms=1000):
        """Give queue `index` one chain and wait for it; what the device wrote.

        readable: buffers. writable: buffers, or how many bytes of new ones. Returns the bytes of
        all writable buffers, cut off at the used length. OSError: ENODEV, no such queue; EAGAIN,
        the queue is full; ETIMEDOUT, the buffers stay the device's. Polls, Ctrl-C safe.
        """
        self.check()
        queue = self.queues.get(index)
        if queue is None:
            raise OSError(errno.ENODEV, "%s: queue %r is not set up" % (self.name, index))
        views = [bytearray(buf) if isinstance(buf, int) else buf for buf in writable]
        head = queue.add(readable, views)
        used = queue.wait(head, timeout_ms)
        return b"".join([bytes(view) for view in views])[:used]

    # -- configuration space --------------------------------------------------------------

    def config(self, off, layout="B"):
        """Fields from offset `off` on as a tuple: `layout` is that of struct, without counts or padding.

        Each field is read at its own width, 64 bits as two halves; all are of one generation (2.5.1).
        """
        fields = _fields(off, layout)
        before = None
        for _ in range(100):
            gen = self.transport.generation()
            values = tuple([self._read(at, code) for at, code in fields])
            if self.transport.generation() == gen and (gen is not None or values == before):
                return values
            before = values
        raise _t.DeviceError("%s: the configuration does not stop changing" % self.name)

    def set_config(self, off, layout, *values):
        """Write fields like config(), each at its own width."""
        fields = _fields(off, layout)
        if len(fields) != len(values):
            raise ValueError("%d values for %r" % (len(values), layout))
        for (at, code), value in zip(fields, values):
            raw = struct.pack("<" + code, value)
            for part in range(0, len(raw), 4):
                piece = raw[part : part + 4]
                self.transport.set_config(at + part, len(piece), int.from_bytes(piece, "little"))

    def _read(self, at, code):
        width = _WIDTHS[code]
        if at + width > self.transport.config_size:
            raise _t.DeviceError("%s: no configuration at offset %d" % (self.name, at))
        raw = b""
        for part in range(0, width, 4):
            n = min(4, width - part)
            raw += self.transport.config(at + part, n).to_bytes(n, "little")
        return struct.unpack("<" + code, raw)[0]


def _fields(off, layout):
    """[(offset, code)] of a struct layout."""
    if off < 0:
        raise ValueError("offset %d of the configuration space" % off)
    fields = []
    for code in layout.lstrip("<"):
        if code not in _WIDTHS:
            raise ValueError("%r in a layout: one of %s" % (code, " ".join(sorted(_WIDTHS))))
        fields.append((off, code))
        off += _WIDTHS[code]
    return fields


def take(which):
    """A Generic for a device, by name, number or itself; open() and close() it like any other.

    The driver cannot open the device meanwhile. OSError: ENODEV; EALREADY, it is open.
    """
    found = discover.find(which)
    for slot in discover.slots():
        if slot[2] is found:
            if found.is_open:
                raise OSError(errno.EALREADY, "%s is open: close it first" % found.name)
            return Generic(slot, type(found) if not isinstance(found, Generic) else Device)
    raise OSError(errno.ENODEV, "no virtio device %r" % (which,))
