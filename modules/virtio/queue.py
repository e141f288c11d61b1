"""Virtqueue: chains of buffers, the table of what is in flight, deadlines."""

import errno
import struct
import time

import micropython
import riscv
from micropython import const

from . import packed, ring
from .dma import Area
from .transport import DeviceError

_DIRECT_MAX = const(4)  # longer chains go into an indirect table when that was negotiated
_PAIRS = const(16)  # buffers that the table for chains has room for, longer ones get their own
_SPINS = const(3000)  # rounds of one look at the ring: some microseconds, deaf to Ctrl-C
_OVERRUN = const(0x10000)
_HELD = const(0x80000)
_TAKEN = const(0xC0000)  # HELD or FIXED
_LONGEST = const(1 << 32)  # bytes of a chain


class Virtqueue:
    """A split (2.7) or packed (2.8) virtqueue.

    The queue owns every buffer from add() until the device has used it or was reset: it keeps a
    reference, so neither a timeout nor Ctrl-C frees memory that the device may still write.
    post(st, table, n, readable, how) is the ring's own, for who keeps tables and accounts himself.
    A chain with a token is given back by get(), one without by wait(). Native code is not
    interrupted by callbacks: what must be done at once is done in one such method.
    """

    def __init__(self, device, index, size, register):
        """Only Device.queue() calls this. register: (address, value, width) of a notification."""
        self.device = device
        self.index = index
        self.packed = device.has(34)
        self.indirect = device.has(28)
        self.event_idx = device.has(29)
        self.in_order = device.has(35)
        self._ring = layout = packed if self.packed else ring
        self.post = layout.post
        self._publish = device.transport.publisher(index, layout.publish)
        self._reap = layout.reap
        self._poll = layout.poll
        self._scratch = Area(16 * _PAIRS)
        self._state = Area(ring.STATE_SIZE)
        self.st = self._state.addr
        self.life = 0  # how often it was set up again
        self._build(size, register)

    def _build(self, size, register):
        """Memory for so many entries, with nothing in flight."""
        align = self.device.transport.queue_align
        avail, used, total = self._ring.layout(size, align)
        self._area = Area(total, align if align > 16 else 16)
        self.size = size
        self.desc = self._area.addr
        self.avail = self.desc + avail
        self.used = self.desc + used
        self._init_state(register)
        self._inflight = [None] * size  # head -> (token, readable, writable, indirect table)
        self._tables = []  # indirect tables for the next chains
        self._orphans = set()  # heads nobody waits for any more
        self.live = True  # False once the device was reset

    def _init_state(self, register):
        entries = 1
        while entries < self.size:
            entries *= 2
        self._shadow = Area(ring.SHADOW_SIZE * entries)
        flags = self.event_idx | self.device.transport.legacy << 1 | self.in_order << 3 | self.device.has(38) << 4
        flags |= self.packed << 5 | (self.in_order and not self.packed) << 6
        buf = self._state.buf
        buf[:] = bytes(len(buf))
        struct.pack_into("<4Q", buf, 0, self.desc, self.avail, self.used, self._shadow.addr)
        struct.pack_into("<I", buf, 60, flags)
        struct.pack_into("<QII", buf, 80, *register)
        ring.init(self.st, self.size, self._ring.START)

    def stop(self):
        """The device was reset or given up: nothing more goes into this ring."""
        self.live = False
        self._state.buf[96] = 1

    def reset(self, size=None):
        """Reset this queue alone and set it up again, with that many entries (RING_RESET, 2.6.1).

        Waiting calls for what was in flight raise OSError(EIO); the tokens of the rest are the
        result, their buffers are the caller's again. OSError(EOPNOTSUPP): not negotiated, or the
        device does not do it; nothing has changed then. DeviceError: the reset does not end.
        """
        if not self.live:
            self._dead()
        device = self.device
        transport = device.transport
        if size is not None and size < 0:
            raise ValueError("%s: queue %d with %d entries" % (device.name, self.index, size))
        if not device.has(40):
            raise OSError(errno.EOPNOTSUPP, "%s: RING_RESET was not negotiated" % device.name)
        flags = self._word(15)
        try:
            transport.queue_reset(self.index)
        except DeviceError as er:
            device.fail(er.args[-1])
        lost = [entry[0] for entry in self._inflight if entry is not None and entry[0] is not None]
        self.stop()
        self.life += 1
        size = device.queue_size(self.index, size or self.size)
        self._build(size, transport.notify_register(self.index))
        self._state.buf[60] |= flags & 2
        transport.queue_setup(self.index, size, self.desc, self.avail, self.used)
        self.listen(flags & 4 != 0)
        return lost

    def distrust_lengths(self):
        """Take used lengths above the writable bytes for what they are with some devices: wrong."""
        self._state.buf[60] |= 2

    def __repr__(self):
        return "<queue %d of %s: %s, size %d, %d free, %d in flight%s%s%s>" % (
            self.index,
            self.device.name,
            "packed" if self.packed else "split",
            self.size,
            self.num_free,
            self.in_flight,
            ", indirect" if self.indirect else "",
            ", event_idx" if self.event_idx else "",
            ", in order" if self.in_order else "",
        )

    def _word(self, i):
        return int.from_bytes(self._state.buf[4 * i : 4 * i + 4], "little")

    @property
    def num_free(self):
        """Descriptors on the free list."""
        return self._word(13)

    @property
    def in_flight(self):
        """Chains that the device has not used yet."""
        return self._word(14)

    # -- giving buffers to the device ---------------------------------------------------

    @micropython.native
    def add(self, readable, writable, token=None):
        """Put one chain into the ring; its head. notify() shows it to the device.

        readable, writable: sequences of buffers or (addr, len) pairs, device-readable first in
        the chain. Does not block. token: what get() gives back with the chain; without one get()
        leaves the chain to wait(head). OSError(EAGAIN): too few free descriptors.
        ValueError: empty, longer than the queue, or an empty buffer.
        """
        if not self.live:
            self._dead()
        split = len(readable)
        n = split + len(writable)
        if n == 0 or n > self.size:
            raise ValueError("%d buffers in one chain, 1 to %d allowed" % (n, self.size))
        how = _HELD if token is None else 0
        table = self._scratch
        if n > _DIRECT_MAX and self.indirect:
            how |= 1
        if how & 1 or n > _PAIRS:
            table = self._table(n)
        st = self.st
        at = table.addr
        if self._pairs(at, readable, False) + self._pairs(at + 16 * split, writable, True) > _LONGEST:
            raise ValueError("more than 2^32 bytes in one chain")
        head = self.post(st, at, n, split, how)
        if head < 0 and self.indirect and n > 1 and not how & 1:
            how |= 1
            table = self._table(n)
            self._pairs(table.addr, readable, False)
            self._pairs(table.addr + 16 * split, writable, True)
            head = self.post(st, table.addr, n, split, how)
        if head < 0:
            raise OSError(errno.EAGAIN, "%s: queue %d is full" % (self.device.name, self.index))
        self._inflight[head] = (token, readable, writable, table if how & 1 else None)
        return head

    @micropython.native
    def _pairs(self, table, bufs, writable):
        """Write addresses and lengths into a table; the bytes in all."""
        addr_of = riscv.addr
        pair = ring.pair
        total = 0
        i = 0
        for buf in bufs:
            if type(buf) is tuple:
                addr, n = buf
            else:
                n = len(buf)
                addr = addr_of(buf, writable)
            if n <= 0:
                raise ValueError("a buffer in a chain is empty")
            pair(table, i, addr, n)
            total += n
            i += 1
        return total

    @micropython.native
    def _spare(self):
        return self._tables.pop() if self._tables else None

    def _table(self, n):
        """Room for n pairs and one more, of its own for as long as a chain needs it."""
        table = self._spare()
        if table is None or table.size < 16 * n + 16:
            table = Area(16 * (n if n > _PAIRS else _PAIRS) + 16)
        return table

    def _dead(self):
        self.device.check()
        raise OSError(errno.EIO, "%s: queue %d was reset" % (self.device.name, self.index))

    @micropython.native
    def notify(self):
        """Publish what was added and notify the device if it asked for that (2.7.13, 2.8.21)."""
        self._publish(self.st)

    # -- taking them back ------------------------------------------------------------------

    @micropython.native
    def reap(self):
        """Take what the device has used into the done list, one viper call; how many."""
        n = self._reap(self.st, 1)
        if n >= _OVERRUN:
            self.overrun()
        if self._orphans:
            self._sweep()
        return n

    @micropython.native
    def _sweep(self):
        """Free the chains that nobody waits for and that the device has used by now."""
        for head in list(self._orphans):
            if ring.state(self.st, head) >= 0:
                self._orphans.discard(head)
                self.release(head)

    def overrun(self):
        """Say which rule the device broke, and stop using it."""
        from . import why

        self.device.fail("queue %d: %s" % (self.index, why.refused(self)))

    @micropython.native
    def get(self):
        """(token, used length) of the next chain with a token that the device is done with, or None."""
        head = ring.first(self.st, _TAKEN)
        if head < 0:
            if not self.live:
                self._dead()
            self.reap()
            head = ring.first(self.st, _TAKEN)
            if head < 0:
                return None
        entry = self._inflight[head]
        if entry is None:
            raise ValueError("%s: the driver takes what queue %d gives" % (self.device.name, self.index))
        return entry[0], self.release(head)

    def token(self, head):
        """What add() was given as token; None for a head without a chain of its own."""
        entry = self._inflight[head]
        return None if entry is None else entry[0]

    @micropython.native
    def release(self, head):
        """Free a chain that is done; its used length."""
        used = ring.state(self.st, head)
        if used < 0:
            raise ValueError("head %d is not used" % head)
        entry = self._inflight[head]
        self._inflight[head] = None
        ring.give(self.st, head)
        if entry is not None and entry[3] is not None:
            self._tables.append(entry[3])
        return used

    def wait(self, head, timeout_ms=1000):
        """Wait until the chain is used; its used length. Polls; Ctrl-C safe.

        OSError(ETIMEDOUT): the queue keeps the buffers until the device uses them or is reset,
        and the head is no longer the caller's. DeviceError: the device broke down meanwhile.
        """
        if not self.live:
            self._dead()
        if ring.hold(self.st, head) == -2:
            raise ValueError("head %d is not in flight" % head)
        life = self.life
        try:
            self.notify()
            self._wait(head, timeout_ms, life)
        except BaseException:
            if life == self.life:
                self.abandon(head)
            raise
        return self.release(head)

    @micropython.native
    def abandon(self, head):
        """Nobody waits for this chain any more: it is freed when the device has used it."""
        if ring.hold(self.st, head) != -2:
            self._orphans.add(head)

    def _wait(self, head, timeout_ms, life):
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while True:
            self.reap()
            used = ring.state(self.st, head)
            if life != self.life:
                raise OSError(errno.EIO, "%s: queue %d was reset" % (self.device.name, self.index))
            if used >= 0:
                return
            if used == -2:
                raise ValueError("head %d was taken by somebody else" % head)
            if not self.poll(deadline) and ring.state(self.st, head) == -1:
                text = "%s: queue %d: no answer in %d ms" % (self.device.name, self.index, timeout_ms)
                raise OSError(errno.ETIMEDOUT, text)

    def poll(self, deadline):
        """Wait until there is something to reap, or the queue was reset, or time.ticks_ms() passes deadline.

        False: the time is over.
        """
        rounds = 0
        life = self.life
        while not self._poll(self.st, _SPINS):
            if not self.live:
                self._dead()
            if life != self.life:
                break
            if time.ticks_diff(deadline, time.ticks_ms()) <= 0:
                self.device.check_status()
                return life != self.life or self._poll(self.st, 1) != 0
            rounds += 1
            if rounds & 255 == 0:
                self.device.check_status()
        return True

    def hold(self, head):
        """Keep a chain from get(), as wait() does. ValueError: it is not in flight."""
        if ring.hold(self.st, head) == -2:
            raise ValueError("head %d is not in flight" % head)

    def done(self, head=None):
        """Whether the chain, or one for get(), is used; takes in what is, gives nothing back."""
        if not self.live:
            self._dead()
        self.reap()
        return (ring.first(self.st, _TAKEN) if head is None else ring.state(self.st, head)) >= 0

    def wait_async(self, head, timeout_ms=1000):
        """await q.wait_async(head): like wait(), while other tasks of asyncio run."""
        from . import aio

        return aio.wait(self, head, timeout_ms)

    def __aiter__(self):
        """async for token, length in q: what get() gives, until the device is closed."""
        from . import aio

        return aio.Used(self)

    # -- interrupts --------------------------------------------------------------------------

    @property
    def taken(self):
        """Changes with every used chain that was taken in."""
        return self._word(11)

    def listen(self, wanted):
        """Ask for used-buffer interrupts, or not; True when something came in meanwhile (2.7.7, 2.8.10)."""
        return self._ring.listen(self.st, 1 if wanted else 0, 0) != 0

    def disable_cb(self):
        """No interrupts for used buffers, please; some may come all the same."""
        self._ring.listen(self.st, 0, 0)

    def enable_cb(self):
        """Interrupts for used buffers again; True: there are some already, take them now."""
        return self._ring.listen(self.st, 1, 0) != 0

    def enable_cb_delayed(self):
        """Like enable_cb(); with EVENT_IDX the interrupt waits for three quarters of what is in flight."""
        ahead = (self.size - self.num_free if self.packed else self.in_flight) * 3 // 4
        return self._ring.listen(self.st, 1, ahead) != 0

    # -- for people ------------------------------------------------------------------------------

    def dump(self):
        """Print indices, suppression and every chain in use: descriptors, and whose it is."""
        from . import why

        why.dump(self)

    def why(self):
        """Find out why no answer comes: print and return the first broken rule, None when there is none."""
        from . import why

        return why.queue(self)
