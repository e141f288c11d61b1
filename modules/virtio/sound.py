"""virtio-sound (5.14): jacks, channel maps, and PCM streams to play and to record with.

Control elements (CTLS) are not accepted, nor are streams in shared memory, which the
specification only reserves numbers for.
"""

import errno
import struct

from micropython import const

from .device import Device
from .dma import Area
from .soundpcm import DIRECTIONS, Stream, status_name

_CONTROLQ = const(0)
_EVENTQ = const(1)
_TXQ = const(2)
_RXQ = const(3)

_JACK_INFO = const(1)
_JACK_REMAP = const(2)
_PCM_INFO = const(0x100)
_CHMAP_INFO = const(0x200)

_OK = const(0x8000)
_EVENTS = {
    0x1000: "JACK_CONNECTED",
    0x1001: "JACK_DISCONNECTED",
    0x1100: "PCM_PERIOD_ELAPSED",
    0x1101: "PCM_XRUN",
}
_EVENT = const(8)
_EVENT_BUFFERS = const(16)
_QUERY = const(32)  # items asked for at a time

_POSITIONS = (
    "NONE NA MONO FL FR RL RR FC LFE SL SR RC FLC FRC RLC RRC FLW FRW FLH FCH FRH TC TFL TFR TFC TRL TRR TRC"
    " TFLC TFRC TSL TSR LLFE RLFE BC BLC BRC"
)


class Jack:
    """A socket: .connected, .features, .config and .caps as High Definition Audio has them."""

    def __init__(self, device, number, data):
        self._device = device
        self.number = number
        self.node, self.features, self.config, self.caps, connected = struct.unpack_from("<4IB", data)
        self.connected = connected != 0

    def remap(self, association, sequence):
        """Give the jack another place. OSError: EOPNOTSUPP where it cannot."""
        if not self.features & 1:
            raise OSError(errno.EOPNOTSUPP, "%s: jack %d: remap" % (self._device.name, self.number))
        self._device.command("remap jack %d" % self.number, _JACK_REMAP, "III", self.number, association, sequence)

    def __repr__(self):
        return "<jack %d %s>" % (self.number, "connected" if self.connected else "not connected")


class Sound(Device):
    """A sound card: .jacks, .streams, .maps [(direction, positions)]; on_event = f calls f(name, number)."""

    NAME = "sound"
    IDS = (25,)
    FEATURES = 0
    FEATURE_NAMES = {0: "CTLS"}
    TIMEOUT_MS = 5000

    def probe(self):
        self._control = self.queue(_CONTROLQ)
        self._eventq = queue = self.queue(_EVENTQ)
        self.queue(_TXQ)
        self.queue(_RXQ)
        self.on_event = None
        count = min(_EVENT_BUFFERS, queue.size)
        area = self._events = Area(_EVENT * count)
        self._slots = [area.buf[at : at + _EVENT] for at in range(0, _EVENT * count, _EVENT)]
        for i in range(count):
            queue.add((), (self._slots[i],), i)
        self.jacks, self.streams, self.maps = [], [], []

    def ready(self):
        self._eventq.notify()
        totals = [self.config_u32(off) for off in (0, 4, 8)]
        self.jacks = [Jack(self, n, d) for n, d in self._items("jacks", _JACK_INFO, totals[0], 24)]
        self.streams = [Stream(self, n, d) for n, d in self._items("streams", _PCM_INFO, totals[1], 32)]
        self.maps = [_map(d) for _, d in self._items("channel maps", _CHMAP_INFO, totals[2], 24)]
        try:
            self.interrupts(True)
        except OSError:
            pass  # no interrupt controller that we know: poll() sees events
        self._control.listen(False)  # answers are waited for

    def about(self):
        return "%d streams" % len(self.streams)

    # -- requests (5.14.6.1) ------------------------------------------------------------------

    def _request(self, what, request, room):
        self.check()
        answer = bytearray(b"\xff" * room)
        used = self._control.wait(self._control.add((request,), (answer,)), self.TIMEOUT_MS)
        if used < 4 and not self.transport.legacy:
            self.fail("%s: an answer of %d bytes" % (what, used))
        status = struct.unpack_from("<I", answer)[0]
        if status != _OK:
            raise OSError(errno.EIO, "%s: %s: %s" % (self.name, what, status_name(status)))
        if used < room and not self.transport.legacy:
            self.fail("%s: %d bytes of %d" % (what, used, room))
        return answer

    def command(self, what, code, form, *values):
        """One request whose answer is a status; form and values are struct's, what is for errors."""
        self._request(what, struct.pack("<I" + form, code, *values), 4)

    def _items(self, what, code, total, size):
        """[(number, information)] of all items of a kind."""
        found = []
        while len(found) < total:
            first = len(found)
            count = min(_QUERY, total - first)
            answer = self._request(what, struct.pack("<4I", code, first, count, size), 4 + count * size)
            for n in range(count):
                found.append((first + n, bytes(answer[4 + n * size : 4 + (n + 1) * size])))
        return found

    # -- what comes by itself -----------------------------------------------------------------

    def collect(self):
        """Take the buffers that the device has used. Harmless within itself."""
        for index in (_TXQ, _RXQ):
            queue = self.queues[index]
            found = queue.get()
            while found is not None:
                (stream, i), used = found
                stream.done(i, used)
                found = queue.get()

    def poll(self):
        """Look for events; interrupts do it, too."""
        self.check()
        found = self._eventq.get()
        while found is not None:
            i, used = found
            if used < _EVENT and not self.transport.legacy:
                self.fail("an event of %d bytes" % used)
            code, number = struct.unpack("<II", self._slots[i])
            self._eventq.add((), (self._slots[i],), i)
            self._eventq.notify()
            self._event(code, number)
            found = self._eventq.get()

    def on_interrupt(self):
        self.poll()

    def _event(self, code, number):
        name = _EVENTS.get(code)
        items = self.streams if code >= 0x1100 else self.jacks
        if name is None or number >= len(items):
            return  # of a kind or an item that is not known
        if code < 0x1100:
            items[number].connected = code == 0x1000
        elif name == "PCM_XRUN":
            items[number].xruns += 1
        if self.on_event is not None:
            self.on_event(name, number)


def _map(data):
    node, direction, channels = struct.unpack_from("<IBB", data)
    names = _POSITIONS.split()
    places = [names[n] if n < len(names) else "%#x" % n for n in data[6 : 6 + min(channels, 18)]]
    return DIRECTIONS[direction & 1], places
