"""Connections of virtio-vsock (5.10.6) as streams, with flow control by credit; and what listens for them."""

import errno
import io
import time

from micropython import const

_TYPE_STREAM = const(1)
_RESPONSE = const(2)
_RST = const(3)
_SHUTDOWN = const(4)
_RW = const(5)
_CREDIT_UPDATE = const(6)
_CREDIT_REQUEST = const(7)
_NO_RECEIVE = const(1)  # flags of SHUTDOWN: what its sender will not do any more
_NO_SEND = const(2)

_MASK = const(0xFFFFFFFF)  # counters are 32 bits and wrap
_ROOM = const(65536)  # bytes that may wait to be read
_LINGER_MS = const(2000)  # for the answer to SHUTDOWN

_IOCTL_POLL = const(3)
_IOCTL_CLOSE = const(4)
_POLL_RD = const(1)
_POLL_WR = const(4)
_POLL_ERR = const(8)
_POLL_HUP = const(0x10)
_POLL_NVAL = const(0x20)


class Stream(io.IOBase):
    """A connection: read, readinto, readline, write, shutdown, close; select and asyncio.

    Reading waits up to timeout_ms for the first byte and gives what is there then, b"" (readinto: 0)
    at the peer's end. Writing waits up to timeout_ms whenever the peer has no room. With
    timeout_ms = 0 nothing waits: None means not now. OSError: ETIMEDOUT; ECONNRESET, the peer broke
    the connection; ENOTCONN, it is closed here or the peer receives no more.

    key: (our port, peer's context id, peer's port); credit: bytes that the peer has room for.
    """

    def __init__(self, device, local, cid, port):
        """Only VSock makes these."""
        self._device = device
        self.key = (local, cid, port)
        self.timeout_ms = 5000
        self.connecting = True
        self.open = False
        self._error = None  # (errno, text)
        self._ring = memoryview(bytearray(_ROOM))
        self._rx_cnt = 0  # bytes that came in; only packet() changes it, which may be called at any time
        self._fwd_cnt = 0  # of them, what the reader has taken; only he changes it
        self._told = 0  # of them, what the peer knows
        self._tx_cnt = 0
        self._peer_alloc = 0
        self._peer_fwd = 0
        self._asked = False  # for credit, and has not got any yet
        self._peer_flags = 0  # of the SHUTDOWN packets that came
        self._our_flags = 0
        self._deadline = None  # closed here: until then the peer may answer

    def __repr__(self):
        state = "connecting" if self.connecting else "open" if self.open else "closed"
        what = "<%s:%d to %d:%d %s" % (self._device.name, self.key[0], self.key[1], self.key[2], state)
        return "%s, %d to read, %d credit>" % (what, self._count, self.credit)

    def what(self):
        """'vsock0: 2:1234': for messages."""
        return "%s: %d:%d" % (self._device.name, self.key[1], self.key[2])

    @property
    def _count(self):
        return self._rx_cnt - self._fwd_cnt & _MASK

    # -- packets out ---------------------------------------------------------------------------

    def _header(self, op, size=0, flags=0):
        local, cid, port = self.key
        self._told = self._fwd_cnt
        return (cid, local, port, size, _TYPE_STREAM, op, flags, _ROOM, self._fwd_cnt)

    def control(self, op, flags=0):
        """Send a packet without payload."""
        self._device.answer(self._header(op, 0, flags))

    def abort(self, number, text):
        """Break the connection: RST, and an error for who uses it here."""
        if self.connecting or self.open or self._deadline is not None:
            self.control(_RST)
        self.end(number, text)

    def end(self, number=None, text=""):
        """The connection is over; with a number, calls raise that error when all is read."""
        if self._error is None and number is not None:
            self._error = (number, "%s: %s" % (self.what(), text))
        self.connecting = self.open = False
        self._deadline = None
        self._device.forget(self)

    def linger(self):
        """Closed here, and the peer does not answer: RST when it has had its time."""
        if self._deadline is not None and time.ticks_diff(self._deadline, time.ticks_ms()) <= 0:
            self.abort(errno.ENOTCONN, "closed")

    # -- packets in ----------------------------------------------------------------------------

    def accepted(self, header):
        """The peer asked for this connection."""
        self.connecting = False
        self.open = True
        self._credit_from(header)

    def packet(self, header, payload):
        """What came in for this connection."""
        op = header[6]
        if op == _RST:
            self._reset()
        elif not self._credit_from(header):
            self.abort(errno.ECONNRESET, "the peer's fwd_cnt of %d is wrong" % header[9])
        elif self.connecting:
            if op == _RESPONSE:
                self.connecting = False
                self.open = True
            else:
                self.abort(errno.ECONNRESET, "operation %d in place of a response" % op)
        elif op == _RW:
            self._data(payload)
        elif op == _SHUTDOWN:
            self._peer_flags |= header[7] & (_NO_RECEIVE | _NO_SEND)
            if self._peer_flags == _NO_RECEIVE | _NO_SEND:
                self.control(_RST)
                self.end()
        elif op == _CREDIT_REQUEST:
            self.control(_CREDIT_UPDATE)
        elif op != _CREDIT_UPDATE:
            self.abort(errno.ECONNRESET, "unexpected operation %d" % op)

    def _reset(self):
        if self.connecting:
            self.end(errno.ECONNREFUSED, "nobody listens there")
        elif self._our_flags == _NO_RECEIVE | _NO_SEND or self._peer_flags & _NO_SEND:
            self.end()
        else:
            self.end(errno.ECONNRESET, "the peer broke the connection")

    def _credit_from(self, header):
        # Every packet tells how much the peer can take and has taken; False: more than there was.
        flying = self._tx_cnt - header[9] & _MASK
        if flying > (self._tx_cnt - self._peer_fwd & _MASK):
            return False
        if header[8] != self._peer_alloc or header[9] != self._peer_fwd:
            self._asked = False
        self._peer_alloc = header[8]
        self._peer_fwd = header[9]
        return True

    def _data(self, payload):
        n = len(payload)
        if self._our_flags & _NO_RECEIVE:
            return
        if self._peer_flags & _NO_SEND:
            self.abort(errno.ECONNRESET, "data after the peer's end")
        elif n > _ROOM - (self._rx_cnt - self._told & _MASK):
            self.abort(errno.ECONNRESET, "%d bytes without credit for them" % n)
        else:
            at = self._rx_cnt % _ROOM
            first = min(n, _ROOM - at)
            self._ring[at : at + first] = payload[:first]
            self._ring[: n - first] = payload[first:]
            self._rx_cnt = self._rx_cnt + n & _MASK

    # -- reading ----------------------------------------------------------------------------------

    @property
    def _ended(self):
        return not self.open and not self.connecting or self._peer_flags & _NO_SEND or self._our_flags & _NO_RECEIVE

    def raise_error(self):
        """Raise what broke the connection, if something did."""
        if self._error is not None:
            raise OSError(*self._error)

    def any(self):
        """How many bytes can be read now."""
        if not self._count and self.open:
            self._device.pump()
        return self._count

    def _wait_data(self, more):
        # Whether more than `more` bytes are there or the end is, after waiting for it if that may be.
        if self._count > more or self._ended:
            return True
        if self._device.wait(lambda: self._count > more or self._ended, self.timeout_ms):
            return True
        if self.timeout_ms:
            raise OSError(errno.ETIMEDOUT, "%s: no data in %d ms" % (self.what(), self.timeout_ms))
        return False

    def readinto(self, buf):
        """Bytes into buf: how many, 0 at the end, None when there are none now (timeout_ms = 0)."""
        view = memoryview(buf)
        if not len(view):
            return 0
        if not self._wait_data(0):
            return None
        done = min(len(view), self._count)
        if not done:
            self.raise_error()
            return 0
        at = self._fwd_cnt % _ROOM
        first = min(done, _ROOM - at)
        view[:first] = self._ring[at : at + first]
        view[first:done] = self._ring[: done - first]
        self._fwd_cnt = self._fwd_cnt + done & _MASK
        if self.open and (self._fwd_cnt - self._told & _MASK) >= _ROOM // 2:
            self.control(_CREDIT_UPDATE)
        return done

    def read(self, n=-1):
        """Up to n bytes (without n: all that are there), b"" at the end, None when there are none now."""
        if n and not self._wait_data(0):
            return None
        buf = bytearray(self._count if n < 0 else min(n, self._count))
        if not len(buf) and n:
            self.raise_error()
        self.readinto(buf)
        return bytes(buf)

    def readline(self):
        """Up to the end of a line, of the stream, or of the room; None: no whole line now (timeout_ms = 0)."""
        seen = 0
        while True:
            for i in range(seen, self._count):
                if self._ring[(self._fwd_cnt + i) % _ROOM] == 10:
                    return self.read(i + 1)
            seen = self._count
            if seen == _ROOM or (self._ended and seen):
                return self.read(seen)
            if not self._wait_data(seen):
                return None
            if self._ended and not self._count:
                return self.read(1)

    # -- writing ----------------------------------------------------------------------------------

    @property
    def credit(self):
        """Bytes that the peer has room for."""
        return max(0, self._peer_alloc - (self._tx_cnt - self._peer_fwd & _MASK))

    def _can_write(self):
        self._check_writable()
        if not self.credit:
            if not self._asked:
                self._asked = True
                self.control(_CREDIT_REQUEST)
            return False
        return self._device.room()

    def _check_writable(self):
        if not self.open or self._our_flags & _NO_SEND:
            self.raise_error()
            raise OSError(errno.ENOTCONN, "%s: closed" % self.what())
        if self._peer_flags & _NO_RECEIVE:
            raise OSError(errno.ENOTCONN, "%s: the peer receives no more" % self.what())

    def write(self, buf):
        """Send buf, which is copied; how many bytes were taken, None when none could be (timeout_ms = 0)."""
        view = memoryview(buf)
        done = 0
        self._device.pump()
        self._check_writable()
        while done < len(view):
            if not self._device.wait(self._can_write, self.timeout_ms):
                if done or not self.timeout_ms:
                    return done or None
                raise OSError(errno.ETIMEDOUT, "%s: no room in %d ms" % (self.what(), self.timeout_ms))
            n = min(len(view) - done, self.credit, self._device.most)
            self._tx_cnt = self._tx_cnt + n & _MASK  # before the peer can have taken it
            if self._device.send(self._header(_RW, n), view[done : done + n]):
                done += n
            else:
                self._tx_cnt = self._tx_cnt - n & _MASK
        return done

    # -- the end ----------------------------------------------------------------------------------

    def shutdown(self, receive=False, send=True):
        """Tell the peer that we send, or receive, no more."""
        self._check_writable()
        self._our_flags |= (_NO_RECEIVE if receive else 0) | (_NO_SEND if send else 0)
        self.control(_SHUTDOWN, self._our_flags)

    def close(self):
        """End the connection; does not wait for what was written to be read. Harmless when closed."""
        if self.open and self._device.is_open and self._device.error is None:
            self._our_flags = _NO_RECEIVE | _NO_SEND
            self._deadline = time.ticks_add(time.ticks_ms(), _LINGER_MS)
            self.control(_SHUTDOWN, self._our_flags)
        elif self._deadline is None:
            self._device.forget(self)
        self.open = self.connecting = False

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    def ioctl(self, request, arg):
        """What select and asyncio ask of a stream."""
        if request == _IOCTL_POLL:
            if not self._device.is_open:
                return _POLL_NVAL
            self._device.pump()
            ready = _POLL_HUP if not self.open else 0
            if self._error is not None:
                ready |= _POLL_ERR
            if arg & _POLL_RD and (self._count or self._ended):
                ready |= _POLL_RD
            if arg & _POLL_WR and (not self.open or self._our_flags & _NO_SEND or self._may_write()):
                ready |= _POLL_WR
            return ready
        if request == _IOCTL_CLOSE:
            self.close()
            return 0
        return -errno.EINVAL

    def _may_write(self):
        return self._peer_flags & _NO_RECEIVE or self._can_write()


class Listener(io.IOBase):
    """A port of ours that accepts connections: accept(), close(); select and asyncio (readable: accept())."""

    def __init__(self, device, port, backlog):
        """Only VSock.listen() makes these. backlog: connections that may wait; more are refused."""
        self._device = device
        self.port = port
        self.backlog = backlog
        self._waiting = []

    def __repr__(self):
        return "<%s: listener on port %d, %d waiting>" % (self._device.name, self.port, len(self._waiting))

    @property
    def full(self):
        """Whether no more connections may wait."""
        return len(self._waiting) >= self.backlog

    def add(self, stream):
        """A connection came in."""
        self._waiting.append(stream)

    def accept(self, timeout_ms=5000):
        """The Stream of the next connection; None: there is none now (timeout_ms = 0). OSError(ETIMEDOUT)."""
        self._device.check_listener(self)
        if not self._device.wait(lambda: self._waiting, timeout_ms):
            if timeout_ms == 0:
                return None
            raise OSError(errno.ETIMEDOUT, "%s: nobody came in %d ms" % (self._device.name, timeout_ms))
        return self._waiting.pop(0)

    def close(self):
        """Accept no more; connections that still wait are broken."""
        self._device.unlisten(self)
        while self._waiting:
            self._waiting.pop().abort(errno.ECONNRESET, "nobody accepted it")

    def ioctl(self, request, arg):
        """What select and asyncio ask of a stream."""
        if request == _IOCTL_POLL:
            if not self._device.is_open:
                return _POLL_NVAL
            self._device.pump()
            return arg & _POLL_RD if self._waiting else 0
        if request == _IOCTL_CLOSE:
            self.close()
            return 0
        return -errno.EINVAL
