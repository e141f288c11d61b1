"""virtio-vsock (5.10): streams between this machine and programs on the host, by context id and port."""

import errno
import struct
import time

from micropython import const

from .device import Device
from .transport import DeviceError
from .vsockstream import Listener, Stream

_STREAM = const(0)
_NO_IMPLIED_STREAM = const(2)

_GUEST_CID = const(0)

_HEADER = "<QQIIIHHIII"  # src_cid, dst_cid, src_port, dst_port, len, type, op, flags, buf_alloc, fwd_cnt
_HEADER_SIZE = const(44)
_TYPE_STREAM = const(1)
_REQUEST = const(1)
_RESPONSE = const(2)
_RST = const(3)
_TRANSPORT_RESET = const(0)

_PACKET = const(4096)  # bytes of one buffer, header and all
_PAYLOAD = const(4096 - 44)
_BUFFERS = const(16)  # of each direction
_EVENTS = const(4)
_ANSWERS = const(256)  # packets that may wait for room in the transmit queue; then nothing more is received
_LOOK_MS = const(5)
_FIRST_PORT = const(49152)  # of those that connect() takes
_ANY_PORT = const(0xFFFFFFFF)


class VSock(Device):
    """Sockets of the host's AF_VSOCK: connect(cid, port), listen(port). cid: our own context id.

    All waiting looks into the queues by itself; where interrupts come, what comes in is taken at once.
    """

    NAME = "vsock"
    IDS = (19,)
    FEATURES = 1 << _STREAM | 1 << _NO_IMPLIED_STREAM
    FEATURE_NAMES = {0: "STREAM", 1: "SEQPACKET", 2: "NO_IMPLIED_STREAM"}

    def __init__(self, transport, name):
        Device.__init__(self, transport, name)
        self._streams = {}

    def choose(self, features):
        """SEQPACKET is not for us; a device that offers nothing else cannot be used."""
        if features >> _NO_IMPLIED_STREAM & 1 and not features >> _STREAM & 1:
            raise OSError(errno.EOPNOTSUPP, "%s: the device has no streams (STREAM is not offered)" % self.name)
        return features

    def probe(self):
        self._receiveq = self.queue(0)
        self._transmitq = self.queue(1)
        self._eventq = self.queue(2)
        self.cid = self.config_u64(_GUEST_CID)
        for stream in list(self._streams.values()):  # of an earlier life that ended in an error
            stream.end(errno.ECONNRESET, "the device was reset")
        self._streams = {}  # (local port, peer's cid, peer's port) -> Stream
        self._listeners = {}  # port -> Listener
        self._next_port = _FIRST_PORT
        self._answers = []  # packed headers without payload that wait for room
        self._busy = self._again = self._sending = False
        self._rx = _buffers(min(_BUFFERS, self._receiveq.size), _PACKET)
        self._tx = _buffers(min(_BUFFERS, self._transmitq.size), _PACKET)
        self._free = list(range(len(self._tx)))
        self._events = _buffers(min(_EVENTS, self._eventq.size), 4)

    def ready(self):
        for i in range(len(self._rx)):
            self._receiveq.add((), (self._rx[i],), i)
        for i in range(len(self._events)):
            self._eventq.add((), (self._events[i],), i)
        self._receiveq.notify()
        self._eventq.notify()
        try:
            self.interrupts(True)
        except OSError:
            pass  # polling works without

    def interrupts(self, on):
        """As Device.interrupts(); what was sent interrupts only when somebody needs the room."""
        Device.interrupts(self, on)
        if self.is_open:
            self._transmitq.listen(False)

    def save(self):
        return self._listeners

    def restore(self, listeners):
        """Listeners live on, connections do not."""
        self._listeners = listeners

    def remove(self):
        """Break all connections, as far as the device takes the packets."""
        for stream in list(self._streams.values()):
            stream.abort(errno.ECONNRESET, "%s was closed" % self.name)
        self._flush()

    def about(self):
        return "cid %d, %d connections" % (self.cid, len(self._streams))

    # -- what people call ---------------------------------------------------------------------

    def connect(self, cid=2, port=0, timeout_ms=5000):
        """A Stream to a port of that context id; 2 is the host. Blocks; Ctrl-C safe.

        OSError: ECONNREFUSED, nobody listens there; ETIMEDOUT, no answer.
        """
        self.check()
        if not 0 <= port < _ANY_PORT or not 0 <= cid < 1 << 64:
            raise ValueError("cid %d, port %d: there is no such address" % (cid, port))
        stream = Stream(self, self._local_port(cid, port), cid, port)
        self._streams[stream.key] = stream
        try:
            stream.control(_REQUEST)
            answered = self.wait(lambda: not stream.connecting, timeout_ms)
        except BaseException:
            stream.abort(errno.ECONNRESET, "connect was interrupted")
            raise
        if not answered:
            stream.abort(errno.ETIMEDOUT, "no answer in %d ms" % timeout_ms)
        stream.raise_error()
        return stream

    def listen(self, port, backlog=4):
        """A Listener on our port: accept() gives a Stream for each connection. OSError(EADDRINUSE)."""
        self.check()
        if not 0 <= port < _ANY_PORT:
            raise ValueError("port %d: 0 to %d allowed" % (port, _ANY_PORT - 1))
        if port in self._listeners:
            raise OSError(errno.EADDRINUSE, "%s: port %d has a listener" % (self.name, port))
        listener = self._listeners[port] = Listener(self, port, backlog)
        return listener

    def _local_port(self, cid, port):
        while True:
            local = self._next_port
            self._next_port = local + 1 if local + 1 < _ANY_PORT else _FIRST_PORT
            if local not in self._listeners and (local, cid, port) not in self._streams:
                return local

    # -- for streams and listeners ---------------------------------------------------------------

    def wait(self, look, timeout_ms):
        """Serve the queues until look() is true; False: it was not in timeout_ms."""
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while True:
            self.pump()
            if look():
                return True
            left = time.ticks_diff(deadline, time.ticks_ms())
            if left <= 0:
                self.check_status()
                return False
            self._receiveq.poll(time.ticks_add(time.ticks_ms(), min(left, _LOOK_MS)))

    def forget(self, stream):
        """The connection is over; its address may be used again."""
        if self._streams.get(stream.key) is stream:
            del self._streams[stream.key]

    def check_listener(self, listener):
        """OSError(ENOTCONN): that listener was closed, or the device was."""
        self.check()
        if self._listeners.get(listener.port) is not listener:
            raise OSError(errno.ENOTCONN, "%s: the listener on port %d is closed" % (self.name, listener.port))

    def unlisten(self, listener):
        """Nobody waits on that port any more."""
        if self._listeners.get(listener.port) is listener:
            del self._listeners[listener.port]

    def answer(self, header):
        """Send a packet without payload, now or when there is room; header: as pack() takes it."""
        self._answers.append(struct.pack(_HEADER, self.cid, *header))
        self._flush()

    def send(self, header, payload):
        """Send a packet with payload (at most `most` bytes); False: there is no room now."""
        self._flush()
        self._sending = True
        try:
            if self._answers or not self._free:
                return False
            i = self._free.pop()
            buf = self._tx[i]
            struct.pack_into(_HEADER, buf, 0, self.cid, *header)
            size = _HEADER_SIZE + len(payload)
            buf[_HEADER_SIZE:size] = payload
            self._transmitq.add((buf[:size],), (), i)
            self._transmitq.notify()
        finally:
            self._sending = False
        return True

    most = _PAYLOAD

    def room(self):
        """Whether send() would find room; if not, the device interrupts when it will."""
        self._flush()
        if not self._free and self._transmitq.listen(True):
            self._flush()
        if not self._free or self._answers:
            return False
        self._transmitq.listen(False)
        return True

    def _flush(self):
        # Take back what was sent, send the answers that wait. A callback that comes meanwhile leaves it to us.
        if self._sending:
            return
        self._sending = True
        try:
            self._send_answers()
        finally:
            self._sending = False

    def _send_answers(self):
        queue = self._transmitq
        found = queue.get()
        while found is not None:
            self._free.append(found[0])
            found = queue.get()
        sent = False
        while self._answers and self._free:
            i = self._free.pop()
            self._tx[i][:_HEADER_SIZE] = self._answers.pop(0)
            queue.add((self._tx[i][:_HEADER_SIZE],), (), i)
            sent = True
        if sent:
            queue.notify()

    # -- what comes in ---------------------------------------------------------------------------

    def on_interrupt(self):
        try:
            self.pump()
        except DeviceError as er:
            if er is not self.error:  # which everybody gets who asks something of the device
                raise

    def pump(self):
        """Take in events and packets; does not block. Harmless at any time, also between two bytecodes of itself."""
        self.check()
        self._again = True
        if self._busy:
            return
        self._busy = True
        try:
            while self._again:
                self._again = False
                self._take_events()
                self._flush()
                self._take_packets()
        finally:
            self._busy = False
        for stream in list(self._streams.values()):
            stream.linger()

    def _take_events(self):
        queue = self._eventq
        found = queue.get()
        while found is not None:
            i, size = found
            if size < 4:
                self.fail("event of %d bytes, not 4" % size)
            event = struct.unpack_from("<I", self._events[i])[0]
            queue.add((), (self._events[i],), i)
            queue.notify()
            if event == _TRANSPORT_RESET:
                self._transport_reset()
            found = queue.get()

    def _transport_reset(self):
        """The machine was moved: connections are gone without a word, listeners live on (5.10.6.7)."""
        self.cid = self.config_u64(_GUEST_CID)
        self._answers = []
        for stream in list(self._streams.values()):
            stream.end(errno.ECONNRESET, "the transport was reset")

    def _take_packets(self):
        queue = self._receiveq
        while len(self._answers) < _ANSWERS:
            found = queue.get()
            if found is None:
                return
            i, size = found
            self._packet(self._rx[i], size)
            queue.add((), (self._rx[i],), i)
            queue.notify()

    def _packet(self, buf, size):
        if size < _HEADER_SIZE:
            self.fail("packet of %d bytes, a header has %d" % (size, _HEADER_SIZE))
        header = struct.unpack_from(_HEADER, buf)
        src, dst, src_port, dst_port, count, kind, op, _, _, _ = header
        if count > size - _HEADER_SIZE:
            self.fail("packet with %d bytes of payload said, %d there" % (count, size - _HEADER_SIZE))
        stream = self._streams.get((dst_port, src, src_port))
        if dst != self.cid or kind != _TYPE_STREAM:
            self._refuse(header)
        elif stream is not None:
            stream.packet(header, buf[_HEADER_SIZE : _HEADER_SIZE + count])
        elif op == _REQUEST and dst_port in self._listeners:
            self._requested(header)
        else:
            self._refuse(header)

    def _requested(self, header):
        listener = self._listeners[header[3]]
        if listener.full:
            self._refuse(header)
            return
        stream = Stream(self, header[3], header[0], header[2])
        self._streams[stream.key] = stream
        stream.accepted(header)
        stream.control(_RESPONSE)
        listener.add(stream)

    def _refuse(self, header):
        # RST to whom the packet came from, of the type that it had; never for RST.
        src, _, src_port, dst_port, _, kind, op, _, _, _ = header
        if op != _RST:
            self.answer((src, dst_port, src_port, 0, kind, _RST, 0, 0, 0))


def _buffers(count, size):
    store = memoryview(bytearray(count * size))
    return [store[at : at + size] for at in range(0, count * size, size)]
