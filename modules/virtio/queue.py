"""Virtqueue: chains of buffers, the table of what is in flight, deadlines."""

import errno
import struct
import time

import riscv
from micropython import const

from . import ring
from .dma import Area

_NEXT = const(1)
_WRITE = const(2)
_INDIRECT = const(4)
_DIRECT_MAX = const(4)  # longer chains go into an indirect table when that was negotiated
_SPINS = const(3000)  # rounds of one look at used.idx: some microseconds, deaf to Ctrl-C
_OVERRUN = const(0x10000)


class Virtqueue:
    """A split virtqueue (2.7).

    The queue owns every buffer from add() until the device has used it or was reset: it keeps a
    reference, so neither a timeout nor Ctrl-C frees memory that the device may still write.
    A head stays valid from add() until get() or wait() has handed its result out.
    """

    def __init__(self, device, index, size, register):
        """Only Device.queue() calls this. register: (address, value, width) of a notification."""
        self.device = device
        self.index = index
        self.size = size
        self.live = True  # False once the device was reset
        legacy = device.transport.legacy
        align = device.transport.queue_align
        avail, used, total = ring.layout(size, align)
        self._area = Area(total, align if align > 16 else 16)
        self.desc = self._area.addr
        self.avail = self.desc + avail
        self.used = self.desc + used
        self._shadow = Area(ring.SHADOW_SIZE * size)
        self._state = Area(ring.STATE_SIZE)
        self.st = self._state.addr
        self.indirect = device.has(28)
        self.event_idx = device.has(29)
        self._init_state(legacy, register)
        self._inflight = {}  # head -> (token, readable, writable)
        self._tables = {}  # head -> Area of an indirect table, kept for the next time
        self._orphans = set()  # heads nobody waits for any more

    def _init_state(self, legacy, register):
        flags = (1 if self.event_idx else 0) | (2 if legacy else 0)
        addrs = (self.desc, self.avail, self.used, self._shadow.addr)
        struct.pack_into("<4Q", self._state.buf, 0, *addrs)
        struct.pack_into("<I", self._state.buf, 60, flags)
        struct.pack_into("<QII", self._state.buf, 80, *register)
        ring.init(self.st, self.size)

    def stop(self):
        """The device was reset or given up: nothing more goes into this ring."""
        self.live = False
        self._state.buf[96] = 1

    def distrust_lengths(self):
        """Take used lengths above the writable bytes for what they are with some devices: wrong."""
        self._state.buf[60] |= 2

    def __repr__(self):
        return "<queue %d of %s: size %d, %d free, %d in flight%s%s>" % (
            self.index,
            self.device.name,
            self.size,
            self.num_free,
            self.in_flight,
            ", indirect" if self.indirect else "",
            ", event_idx" if self.event_idx else "",
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

    def add(self, readable, writable, token=None):
        """Put one chain into the available ring and show it to the device; its head.

        readable, writable: sequences of buffers or (addr, len) pairs, device-readable first in
        the chain. Does not block, does not notify. OSError(EAGAIN): too few free descriptors.
        ValueError: empty, longer than the queue, or an empty buffer.
        """
        self.device.check()
        pairs = [_span(b) for b in readable]
        split = len(pairs)
        for b in writable:
            pairs.append(_span(b))
        n = len(pairs)
        if not 0 < n <= self.size:
            raise ValueError("%d buffers in one chain, 1 to %d allowed" % (n, self.size))
        indirect = self.indirect and n > 1 and (n > _DIRECT_MAX or n > self.num_free)
        head = ring.take(self.st, 1 if indirect else n)
        if head < 0:
            raise OSError(errno.EAGAIN, "%s: queue %d is full" % (self.device.name, self.index))
        try:
            self._inflight[head] = (token, readable, writable)
            if indirect:
                total = self._fill_table(head, pairs, split)
            else:
                total = self._fill_chain(head, pairs, split)
            ring.put(self.st, head, total)
        except BaseException:
            if ring.state(self.st, head) == -2:
                self._inflight.pop(head, None)
                ring.give(self.st, head)
            raise
        return head

    def _fill_chain(self, head, pairs, split):
        """Write a direct chain; the writable bytes in it."""
        total = 0
        last = len(pairs) - 1
        at = head
        for i in range(last + 1):
            addr, n = pairs[i]
            flags = 0 if i == last else _NEXT
            if i >= split:
                flags |= _WRITE
                total += n
            at = ring.fill(self.st, at, addr, n, flags)
        return total

    def _fill_table(self, head, pairs, split):
        """Write an indirect table (2.7.5.3) and the descriptor that points to it."""
        n = len(pairs)
        table = self._tables.get(head)
        if table is None or table.size < 16 * n:
            table = self._tables[head] = Area(16 * n)
        total = 0
        for i in range(n):
            addr, size = pairs[i]
            flags = 0 if i == n - 1 else _NEXT
            if i >= split:
                flags |= _WRITE
                total += size
            ring.entry(table.addr, i, addr, size, flags)
        ring.fill(self.st, head, table.addr, 16 * n, _INDIRECT)
        return total

    def notify(self):
        """Publish what was added and notify the device if it asked for that (2.7.13)."""
        ring.publish(self.st, riscv.fence)

    # -- taking them back ------------------------------------------------------------------

    def reap(self):
        """Take what the device has used into the done list, one viper call; how many."""
        n = ring.reap(self.st, 1, riscv.fence)
        if n >= _OVERRUN:
            self.overrun()
        if self._orphans:
            self._sweep()
        return n

    def _sweep(self):
        """Free the chains that nobody waits for and that the device has used by now."""
        for head in list(self._orphans):
            if ring.state(self.st, head) >= 0:
                self.release(head)

    def overrun(self):
        """Say which rule the device broke, and stop using it."""
        head = self._word(16)
        value = self._word(17)
        if head == 0xFFFFFFFF:
            text = "used.idx is %d ahead, %d in flight" % (value, self.in_flight)
        elif head >= self.size:
            text = "used id %d in a queue of %d" % (head, self.size)
        elif ring.state(self.st, head) != -1:
            text = "used id %d is not in flight" % head
        else:
            text = "used id %d: length %d is more than its writable bytes" % (head, value)
        self.device.fail("queue %d: %s" % (self.index, text))

    def get(self):
        """(token, used length) of the next chain the device is done with; None without one."""
        head = ring.first(self.st)
        if head < 0:
            self.device.check()
            self.reap()
            head = ring.first(self.st)
            if head < 0:
                return None
        token = self.token(head)
        return token, self.release(head)

    def token(self, head):
        """What add() was given as token; None for a head without a chain of its own."""
        entry = self._inflight.get(head)
        return None if entry is None else entry[0]

    def release(self, head):
        """Free a chain that is done; its used length."""
        used = ring.state(self.st, head)
        self._orphans.discard(head)
        self._inflight.pop(head, None)
        ring.give(self.st, head)
        return used

    def wait(self, head, timeout_ms=1000):
        """Wait until the chain is used; its used length. Polls; Ctrl-C safe.

        OSError(ETIMEDOUT): the queue keeps the buffers until the device uses them or is reset,
        and the head is no longer the caller's. DeviceError: the device broke down meanwhile.
        """
        if ring.state(self.st, head) == -2:
            raise ValueError("head %d is not in flight" % head)
        try:
            self.notify()
            self._wait(head, timeout_ms)
        except BaseException:
            self._orphans.add(head)
            raise
        return self.release(head)

    def _wait(self, head, timeout_ms):
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while True:
            self.reap()
            if ring.state(self.st, head) >= 0:
                return
            if not self.poll(deadline):
                raise OSError(
                    errno.ETIMEDOUT,
                    "%s: queue %d: no answer in %d ms" % (self.device.name, self.index, timeout_ms),
                )

    def poll(self, deadline):
        """Wait until there is something to reap or time.ticks_ms() passes deadline; which."""
        rounds = 0
        while not ring.poll(self.st, _SPINS):
            if time.ticks_diff(deadline, time.ticks_ms()) <= 0:
                self.device.check_status()
                return ring.poll(self.st, 1)
            rounds += 1
            if rounds & 255 == 0:
                self.device.check_status()
        return 1

    # -- interrupts --------------------------------------------------------------------------

    def listen(self, wanted):
        """Ask for used-buffer interrupts, or not; True when something came in meanwhile (2.7.7)."""
        return ring.listen(self.st, 1 if wanted else 0, riscv.fence) != 0

    # -- for people ------------------------------------------------------------------------------

    def dump(self):
        """Print the indices and every descriptor in use."""
        word = self._word
        print(repr(self))
        print("  desc %#x  avail %#x  used %#x" % (self.desc, self.avail, self.used))
        at = self.used - self.desc
        buf = self._area.buf
        idx = buf[at + 2] | buf[at + 3] << 8
        print("  avail.idx %d (filled %d)  used.idx %d (taken %d)" % (word(10), word(9), idx, word(11)))
        for head in range(self.size):
            if ring.state(self.st, head) != -2:
                self._dump_chain(head)

    def _dump_chain(self, head):
        used = ring.state(self.st, head)
        print("  head %d: %s" % (head, "in flight" if used == -1 else "used, %d bytes" % used))
        at = head
        for _ in range(self.size):
            addr, n, flags, link = struct.unpack_from("<QIHH", self._area.buf, 16 * at)
            kind = "indirect" if flags & 4 else "writable" if flags & 2 else "readable"
            print("    %4d: %#x+%d %s" % (at, addr, n, kind))
            if not flags & 1:
                return
            at = link


def _span(buf):
    """(physical address, bytes) of a buffer; an (addr, len) pair passes through."""
    if isinstance(buf, tuple):
        addr, n = buf
    else:
        n = len(buf)
        addr = riscv.addr(buf)
    if n <= 0:
        raise ValueError("a buffer in a chain is empty")
    return addr, n
