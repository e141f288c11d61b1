"""A transmit queue of a network card: frames are copied into its buffers, long ones sent in place (5.1.9.2)."""

import errno
import struct
import time

import micropython
from micropython import const

from . import netpacket
from .netbuf import Buffers, resize
from .ring import first, give

_F_CSUM = const(0)
_F_HOST_ECN = const(13)

_NEEDS_CSUM = const(1)
_GSO_ECN = const(0x80)


class Sender:
    """One transmit queue: frames are copied into its buffers, long ones sent from where they are."""

    def __init__(self, net, queue, header, room, count, split):
        self.net = net
        self.queue = queue
        self.st = queue.st
        self.header = header
        self.room = room
        self.count = count
        self._split = split
        self._buffers = buffers = Buffers(queue, header, room, count, split)
        self._views = buffers.views
        self._frames = [view[header:] for view in buffers.views]
        self._tables = buffers.tables
        self._owner = buffers.owner
        self._parts = buffers.parts
        self._post = queue.post
        self.free = list(range(count))
        self._in_place = False  # whether some frame may be sent from where it is
        self._marked = set()  # buffers whose header is not all zero

    @micropython.native
    def reclaim(self):
        """Take back what the device has sent."""
        st = self.st
        owner = self._owner
        free = self.free
        head = first(st, 0)
        if head < 0:
            self.queue.reap()
            if not self.queue.live:
                self.net.check()
            head = first(st, 0)
        while head >= 0:
            free.append(owner[head])
            if self._in_place:
                self.queue.release(head)
            else:
                give(st, head)
            head = first(st, 0)

    def buffer(self, timeout_ms):
        """A free buffer, waited for if need be. OSError: ETIMEDOUT."""
        queue = self.queue
        deadline = None
        over = False
        while True:
            if not self.free:
                self.reclaim()
            try:
                return self.free.pop()
            except IndexError:  # none yet, or a callback has sent a frame in between
                pass
            if over:
                text = "%s: send: no buffer in %d ms" % (self.net.name, timeout_ms)
                raise OSError(errno.ETIMEDOUT, text)
            if deadline is None:
                deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
            queue.notify()
            over = not queue.poll(deadline)

    @micropython.native
    def put(self, frame, size, timeout_ms):
        """Queue a copy of a frame that fits a buffer, its header all zero (5.1.9.2.1)."""
        if not self.queue.live:
            self.net.check()
        i = self.free.pop() if self.free else self.buffer(timeout_ms)
        if self._marked:
            self._clean(i)
        self._frames[i][:size] = frame
        parts = self._parts
        table = self._tables[i]
        resize(table, parts - 1, size if parts == 2 else size + self.header)
        head = self._post(self.st, table, parts, parts, 0)
        if head < 0:
            self._full(i)
        self._owner[head] = i

    def _clean(self, i):
        if i in self._marked:
            self._marked.discard(i)
            self._views[i][: self.header] = bytes(self.header)

    def _full(self, i):
        self.free.append(i)
        raise OSError(errno.EAGAIN, "%s: the queue is full" % self.net.name)

    def offload(self, frame, csum, gso, timeout_ms):
        """Queue a frame that leaves work to the card; what the card cannot do is done here. See Net.send()."""
        net = self.net
        if gso is not None:
            self._segments(frame, gso, timeout_ms)
        elif csum is True:
            layers = netpacket.Layers(frame)
            if net.has(_F_CSUM):
                head = netpacket.header(_NEEDS_CSUM, 0, layers.payload, 0, layers.l4, layers.offset)
                self.put_with(head, frame, layers, timeout_ms)
            else:
                self.put_with(bytes(10), netpacket.checksummed(frame, layers), None, timeout_ms)
        else:
            start, offset = csum
            size = len(frame)
            if not 0 <= start < start + offset + 2 <= size:
                raise ValueError("%s: a checksum at %d+%d of %d bytes" % (net.name, start, offset, size))
            if not net.has(_F_CSUM):
                data = bytearray(frame)
                netpacket.complete(data, start, offset)
                self.put_with(bytes(10), data, None, timeout_ms)
                return
            head = netpacket.header(_NEEDS_CSUM, 0, start + offset + 2, 0, start, offset)
            self.put_with(head, frame, None, timeout_ms)

    def _segments(self, frame, gso, timeout_ms):
        net = self.net
        layers = netpacket.Layers(frame)
        kind, mss = (layers.kind(), gso) if isinstance(gso, int) else gso
        if kind != layers.kind() and not (kind == "ufo" and layers.kind() == "uso"):
            raise ValueError("%s: gso %s, but the frame is %s" % (net.name, kind, layers.kind()))
        if not 0 < mss <= 0xFFFF:
            raise ValueError("%s: segments of %d bytes" % (net.name, mss))
        ecn = layers.congested(frame)
        bit = netpacket.FEATURES[kind]
        if not net.has(bit) or ecn and not net.has(_F_HOST_ECN):
            name = net.FEATURE_NAMES[bit if not net.has(bit) else _F_HOST_ECN]
            raise OSError(errno.EOPNOTSUPP, "%s: send: %s is not negotiated" % (net.name, name))
        number = netpacket.TYPES[kind] | (_GSO_ECN if ecn else 0)
        head = netpacket.header(_NEEDS_CSUM, number, layers.payload, mss, layers.l4, layers.offset)
        self.put_with(head, frame, layers, timeout_ms)

    def put_with(self, header, frame, layers, timeout_ms):
        """Queue a frame with a header that asks for work. layers: put its pseudo-header's sum in place."""
        size = len(frame)
        i = self.buffer(timeout_ms)
        cut = self.header
        view = self._views[i]
        copied = size if size <= self.room else layers.payload if layers else 0
        rest = memoryview(frame)[copied:]
        self._marked.add(i)
        view[: len(header)] = header
        view[len(header) : cut] = bytes(cut - len(header))
        view[cut : cut + copied] = memoryview(frame)[:copied]
        if layers:
            struct.pack_into(">H", view, cut + layers.l4 + layers.offset, layers.pseudo(frame))
        self._post_parts(i, copied, rest)
        if len(rest):
            self._until_sent(i, timeout_ms)

    @micropython.native
    def _post_parts(self, i, copied, rest):
        cut = self.header
        view = self._views[i]
        parts = [view[: cut + copied]]
        if self._split:
            parts = [view[:cut], view[cut : cut + copied]] if copied else [view[:cut]]
        if len(rest):
            parts.append(rest)
        self._in_place = True
        head = self.queue.add(parts, (), i)
        self._owner[head] = i
        self.queue.notify()

    def _until_sent(self, i, timeout_ms):
        # The device reads the caller's memory until then; a timeout leaves it to the queue.
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        self.reclaim()
        while i not in self.free:
            if not self.queue.poll(deadline):
                raise OSError(errno.ETIMEDOUT, "%s: send: not sent in %d ms" % (self.net.name, timeout_ms))
            self.reclaim()

    def flush(self, timeout_ms):
        """Wait until the device has taken all frames. OSError: ETIMEDOUT."""
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        self.queue.notify()
        self.reclaim()
        while self.queue.in_flight:
            if not self.queue.poll(deadline):
                raise OSError(errno.ETIMEDOUT, "%s: flush: %d ms" % (self.net.name, timeout_ms))
            self.reclaim()
        self._in_place = False
        if len(self.free) < self.count:  # Ctrl-C came between taking a buffer and queueing it
            self.free[:] = range(self.count)
