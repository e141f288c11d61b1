"""virtio-console (5.3): a port as a stream, and a REPL on it."""

import errno
import io
import os
import time

import riscv
from micropython import const

from .device import Device

_F_SIZE = const(0)
_F_EMERG_WRITE = const(2)

_COLS = const(0)  # rows follow
_EMERG_WR = const(8)

_RECEIVEQ = const(0)
_TRANSMITQ = const(1)

_CTRL_C = const(3)
_ROOM = const(512)  # bytes of one buffer

_IOCTL_FLUSH = const(1)
_IOCTL_POLL = const(3)
_IOCTL_CLOSE = const(4)
_POLL_RD = const(1)
_POLL_WR = const(4)
_POLL_NVAL = const(0x20)


class Port(io.IOBase):
    """One port of a console device as a stream: read, readinto, write; select and asyncio.

    Reading does not block: None means that nothing has come in. Writing waits up to timeout_ms
    for room, then drops the rest and does not wait again before the device has taken something,
    so that a console nobody reads cannot hold up what prints on it.
    """

    def __init__(self, device, receiveq, transmitq, buffers, timeout_ms=1000):
        self._device = device
        self._receiveq = receiveq
        self._transmitq = transmitq
        self.timeout_ms = timeout_ms
        self._rx = _buffers(min(buffers, receiveq.size))
        self._tx = _buffers(min(buffers, transmitq.size))
        self._free = list(range(len(self._tx)))
        self._stalled = False
        self._used = []  # (buffer, length) taken from the queue and not read yet
        self._at = 0  # what readinto() has taken of the first of them
        self._reading = False
        for i in range(len(self._rx)):
            receiveq.add((), (self._rx[i],), i)

    # Receiving

    def _fill(self):
        # Whether there is something to read, taken from the device if need be.
        used = self._used
        while True:
            if not used:
                found = self._receiveq.get()
                if found is None:
                    return False
                used.append(found)
            if self._at < used[0][1]:
                return True
            i = used.pop(0)[0]
            self._at = 0
            self._receiveq.add((), (self._rx[i],), i)
            self._receiveq.notify()

    def readinto(self, buf):
        """Bytes that have come in, into buf: how many, or None when there are none now."""
        view = memoryview(buf)
        done = 0
        self._reading = True
        try:
            while done < len(view) and self._fill():
                i, size = self._used[0]
                n = min(len(view) - done, size - self._at)
                view[done : done + n] = self._rx[i][self._at : self._at + n]
                self._at += n
                done += n
        finally:
            self._reading = False
        return done or (None if len(view) else 0)

    def read(self, n=-1):
        """Up to n bytes that have come in (all of them without n), or None when there are none."""
        parts = []
        while n and self.any():
            i, size = self._used[0]
            count = size - self._at if n < 0 else min(n, size - self._at)
            parts.append(bytes(self._rx[i][self._at : self._at + count]))
            self._at += count
            n -= count if n > 0 else 0
        return b"".join(parts) if parts or not n else None

    def readline(self):
        """What has come in up to the end of a line (or less), or None."""
        parts = []
        end = -1
        while end < 0 and self.any():
            i, size = self._used[0]
            data = bytes(self._rx[i][self._at : size])
            end = data.find(b"\n") + 1 or -1
            data = data if end < 0 else data[:end]
            self._at += len(data)
            parts.append(data)
        return b"".join(parts) if parts else None

    def any(self):
        """Whether readinto() would give bytes now."""
        self._reading = True
        try:
            return self._fill()
        finally:
            self._reading = False

    def take_interrupt(self, char, accept):
        """For the interrupt of a console that has the REPL: look for char in what has come in.

        If it is there and accept(char) says yes, all up to it is dropped. Does nothing while
        somebody reads: the reader will see it.
        """
        if self._reading:
            return
        found = self._receiveq.get()
        while found is not None:
            self._used.append(found)
            found = self._receiveq.get()
        for n in range(len(self._used)):
            i, size = self._used[n]
            start = 0 if n else self._at
            at = bytes(self._rx[i][start:size]).find(bytes((char,)))
            if at >= 0:
                if accept(char):
                    for i, _ in self._used[:n]:
                        self._receiveq.add((), (self._rx[i],), i)
                    self._receiveq.notify()
                    self._used = self._used[n:]
                    self._at = start + at + 1
                return

    # Sending

    def _reclaim(self):
        while True:
            found = self._transmitq.get()
            if found is None:
                return
            self._free.append(found[0])
            self._stalled = False

    def _room(self):
        # Whether a buffer to send is free, after waiting for it if that may help.
        self._reclaim()
        if not self._free and not self._stalled:
            self._transmitq.poll(time.ticks_add(time.ticks_ms(), self.timeout_ms))
            self._reclaim()
            self._stalled = not self._free
        return bool(self._free)

    def _may_write(self):
        # Whether write() would take something; if not, the device interrupts when it will.
        self._reclaim()
        if not self._free and self._transmitq.listen(True):
            self._reclaim()
        if self._free:
            self._transmitq.listen(False)
        return bool(self._free)

    def write(self, buf):
        """Send buf, which is copied. How many bytes were taken, or None when none could be."""
        view = memoryview(buf)
        done = 0
        while done < len(view) and self._room():
            i = self._free.pop()
            n = min(len(view) - done, _ROOM)
            self._tx[i][:n] = view[done : done + n]
            self._transmitq.add((self._tx[i][:n],), (), i)
            self._transmitq.notify()
            done += n
        return done or (None if len(view) else 0)

    def flush(self):
        """Wait until the device has taken all that was written. OSError: ETIMEDOUT."""
        deadline = time.ticks_add(time.ticks_ms(), self.timeout_ms)
        self._reclaim()
        while len(self._free) < len(self._tx):
            if not self._transmitq.poll(deadline):
                text = "%s: flush: %d ms" % (self._device.name, self.timeout_ms)
                raise OSError(errno.ETIMEDOUT, text)
            self._reclaim()

    def close(self):
        """Nothing to let go: the queues are the device's."""

    def ioctl(self, request, arg):
        """What select, asyncio and os.dupterm ask of a stream."""
        if request == _IOCTL_POLL:
            if not self._device.is_open:
                return _POLL_NVAL
            ready = 0
            if arg & _POLL_RD and self.any():
                ready |= _POLL_RD
            if arg & _POLL_WR and self._may_write():
                ready |= _POLL_WR
            return ready
        if request == _IOCTL_FLUSH:
            self.flush()
            return 0
        return 0 if request == _IOCTL_CLOSE else -errno.EINVAL

    def __repr__(self):
        return "<port of %s%s>" % (self._device.name, " stalled" if self._stalled else "")


def _buffers(count):
    store = memoryview(bytearray(count * _ROOM))
    return [store[at : at + _ROOM] for at in range(0, count * _ROOM, _ROOM)]


class Console(Device):
    """A console: .port is its stream, repl() puts the REPL on it."""

    NAME = "console"
    IDS = (3,)
    FEATURES = 1 << _F_SIZE | 1 << _F_EMERG_WRITE
    FEATURE_NAMES = {0: "SIZE", 1: "MULTIPORT", 2: "EMERG_WRITE"}
    BUFFERS = 16  # of each direction

    def probe(self):
        self._on_repl = False
        self.on_resize = None  # called with this device when the size has changed
        self.port = Port(self, self.queue(_RECEIVEQ), self.queue(_TRANSMITQ), self.BUFFERS)

    def ready(self):
        self.queues[_RECEIVEQ].notify()
        try:
            self.interrupts(True)
        except OSError:
            pass  # no interrupt controller that we know: whoever waits has to poll
        self.queues[_TRANSMITQ].listen(False)  # what was sent need not interrupt

    def remove(self):
        self.repl(False)

    def save(self):
        on = self._on_repl
        self.repl(False)
        return on

    def restore(self, state):
        self.repl(state)

    @property
    def size(self):
        """(columns, rows), or None where the device does not tell."""
        if not self.has(_F_SIZE):
            return None
        return tuple(self._config(_COLS, 2, 2))

    def config_changed(self):
        if self.on_resize:
            self.on_resize(self)

    def emergency_write(self, data):
        """Send bytes without any queue or memory, one register write each. OSError: EOPNOTSUPP."""
        if not self.has(_F_EMERG_WRITE):
            raise OSError(errno.EOPNOTSUPP, "%s: emergency write" % self.name)
        for byte in data.encode() if isinstance(data, str) else data:
            self.transport.set_config(_EMERG_WR, 4, byte)

    def repl(self, on=True):
        """Put the REPL on this console too, beside the UART, or take it off again."""
        if on == self._on_repl:
            return
        self._on_repl = on
        os.dupterm(self.port if on else None)

    def on_interrupt(self):
        """Wakes whoever waits for input; while something runs, Ctrl-C stops it."""
        if self._on_repl:
            self.port.take_interrupt(_CTRL_C, riscv.keyboard_interrupt)

    def about(self):
        size = self.size
        text = "%dx%d" % size if size else ""
        return text + " repl" if self._on_repl else text

    # The words of a stream, for port 0.

    def read(self, n=-1):
        """As port.read()."""
        return self.port.read(n)

    def readinto(self, buf):
        """As port.readinto()."""
        return self.port.readinto(buf)

    def write(self, buf):
        """As port.write()."""
        return self.port.write(buf)
