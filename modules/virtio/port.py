"""One port of a virtio-console (5.3) as a stream."""

import errno
import io
import time

from micropython import const

from . import repl

_ROOM = const(512)  # bytes of one buffer

_IOCTL_FLUSH = const(1)
_IOCTL_POLL = const(3)
_IOCTL_CLOSE = const(4)
_POLL_RD = const(1)
_POLL_WR = const(4)
_POLL_HUP = const(0x10)
_POLL_NVAL = const(0x20)


class Port(io.IOBase):
    """One port of a console device as a stream: read, readinto, write; select and asyncio.

    Reading does not block: None means that nothing has come in, b"" (readinto: 0) that nobody has
    the port open on the host. Writing waits up to timeout_ms for room, then drops the rest and
    does not wait again before the device has taken something, so that a console nobody reads
    cannot hold up what prints on it. While nobody has the port open on the host it raises
    OSError(ENOTCONN), for the device would drop what is written. A port with the REPL on it is
    meant to outlast that: there, reading gives None and writing is no error.

    number, name ('' without one), console (whether it is one), size (columns, rows) or None;
    host_open, guest_open: whether each side has it open; removed: the host took it away.
    """

    def __init__(self, device, number, receiveq, transmitq, buffers, before=None):
        """before: the Port that had the queues, whose buffers are in them."""
        self._device = device
        self.number = number
        self.name = ""
        self.console = False
        self.size = None
        self.host_open = self.guest_open = self.removed = False
        self.added = False  # the device told of it (MULTIPORT)
        self.on_repl = False
        self._receiveq = receiveq
        self._transmitq = transmitq
        self.timeout_ms = 1000
        self._stalled = False
        self._used = []  # (buffer, length) taken from the queue and not read yet
        self._at = 0  # what readinto() has taken of the first of them
        self._reading = False
        if before is not None:
            self._take_over(before)
            return
        self._rx = _buffers(min(buffers, receiveq.size))
        self._tx = _buffers(min(buffers, transmitq.size))
        self._free = list(range(len(self._tx)))
        for i in range(len(self._rx)):
            receiveq.add((), (self._rx[i],), i)

    def _take_over(self, before):
        self._rx, self._tx, self._free = before._rx, before._tx, before._free
        for i, _ in before._used:
            self._receiveq.add((), (self._rx[i],), i)
        before._used = []
        self._drop()

    def _drop(self):
        # What was meant for the port that is gone.
        found = self._receiveq.get()
        while found is not None:
            self._receiveq.add((), (self._rx[found[0]],), found[0])
            found = self._receiveq.get()
        self._receiveq.notify()

    # Opening and closing

    def open(self):
        """Tell the host that somebody uses the port; returns it. Harmless when it is open."""
        if self.removed:
            raise OSError(errno.ENODEV, "%s was removed" % self.what())
        self._device.check()
        if not self._receiveq.live:
            raise ValueError("%s is of a device that was closed meanwhile" % self.what())
        if not self.guest_open:
            self.guest_open = True
            self._device.tell_open(self)
        return self

    def close(self):
        """Tell the host that nobody uses the port any more; the queues stay the device's."""
        if self.guest_open and self._receiveq.live and not self.removed:
            self.guest_open = False
            self._device.tell_open(self)

    def repl(self, on=True):
        """Put the REPL on this port too, beside the UART and other ports, or take it off again."""
        if on == self.on_repl:
            return
        if on:
            self.open()
            repl.attach(self)
        else:
            repl.detach(self)
        self.on_repl = on

    def what(self):
        """'console0: port 1 (name)': for messages."""
        text = "%s: port %d" % (self._device.name, self.number)
        return text + " (%s)" % self.name if self.name else text

    def _ended(self):
        # Whether what reads shall see an end.
        return (self.removed or not self.host_open) and not self.on_repl

    # Receiving

    def _fill(self):
        # Whether there is something to read, taken from the device if need be.
        used = self._used
        while True:
            if not used:
                if self.removed:
                    return False
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
        return done or (None if len(view) and not self._ended() else 0)

    def read(self, n=-1):
        """Up to n bytes that have come in (all of them without n), or None when there are none."""
        parts = []
        while n and self.any():
            i, size = self._used[0]
            count = size - self._at if n < 0 else min(n, size - self._at)
            parts.append(bytes(self._rx[i][self._at : self._at + count]))
            self._at += count
            n -= count if n > 0 else 0
        return b"".join(parts) if parts or not n or self._ended() else None

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
        return b"".join(parts) if parts or self._ended() else None

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
        """Send buf, which is copied. How many bytes were taken, or None when none could be.

        OSError: ENOTCONN, nobody has the port open on the host; ENODEV, it was removed.
        """
        view = memoryview(buf)
        if not self.host_open or self.removed:
            self._device.check()
            if self.on_repl:
                return len(view)
            if self.removed:
                raise OSError(errno.ENODEV, "%s was removed" % self.what())
            raise OSError(errno.ENOTCONN, "%s: nobody has it open on the host" % self.what())
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

    def ioctl(self, request, arg):
        """What select, asyncio and os.dupterm ask of a stream."""
        if request == _IOCTL_POLL:
            if not self._receiveq.live:
                return _POLL_NVAL
            ready = 0
            ended = self._ended()
            if arg & _POLL_RD and (self.any() or ended):
                ready |= _POLL_RD
            if arg & _POLL_WR and (ended or self._may_write()):
                ready |= _POLL_WR
            return ready | _POLL_HUP if ended else ready
        if request == _IOCTL_FLUSH:
            self.flush()
            return 0
        if request == _IOCTL_CLOSE:
            self.close()
            return 0
        return -errno.EINVAL

    def __repr__(self):
        words = [" console"] if self.console else []
        if self.removed:
            words.append(" removed")
        else:
            for flag, text in ((self.guest_open, " open"), (not self.host_open, " host closed")):
                if flag:
                    words.append(text)
        if self._stalled:
            words.append(" stalled")
        return "<%s%s>" % (self.what(), "".join(words))


def _buffers(count):
    store = memoryview(bytearray(count * _ROOM))
    return [store[at : at + _ROOM] for at in range(0, count * _ROOM, _ROOM)]
