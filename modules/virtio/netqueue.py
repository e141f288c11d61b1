"""Buffers of a network card's queues: posted receive buffers, frames on their way out."""

import errno
import struct
import time

from micropython import const

from . import netpacket
from .dma import Area

_F_CSUM = const(0)
_F_HOST_ECN = const(13)

_NEEDS_CSUM = const(1)
_GSO_ECN = const(0x80)
_TUNNEL = const(0x60)


def _chains(area, count, room, header, split):
    # [(address, length) pairs] of each buffer; split: the header has a descriptor to itself.
    chains = []
    for at in range(area.addr, area.addr + count * room, room):
        chains.append(((at, header), (at + header, room - header)) if split else ((at, room),))
    return chains


class Receiver:
    """One receive queue. A frame at hand is (self, buffer, length, further (buffer, length) pieces or None)."""

    def __init__(self, net, index, queue, header, room, count, split):
        self.net = net
        self.index = index
        self.queue = queue
        self.header = header
        self.count = count
        self._split = split
        self._area = area = Area(count * room)
        self.views = [area.buf[at : at + room] for at in range(0, count * room, room)]
        self._chains = _chains(area, count, room, header, split)
        self.filled = False
        self._next = None  # a frame that nobody had room for
        self._shown = None  # a frame whose view is out
        self._owed = 0  # buffers given back since the last notification
        self._batch = max(1, count // 4)

    def fill(self):
        """Post all buffers, once."""
        if not self.filled:
            self.filled = True
            for i in range(self.count):
                self.queue.add((), self._chains[i], i)

    def lend(self, buf):
        """Post memory of the caller's, for one frame."""
        view = memoryview(buf)
        i = len(self.views)
        for n in range(self.count, i):
            if self.views[n] is None:
                i = n
        if i == len(self.views):
            self.views.append(view)
        else:
            self.views[i] = view
        cut = self.header
        try:
            self.queue.add((), (view[:cut], view[cut:]) if self._split else (view,), i)
        except BaseException:
            self.views[i] = None
            raise
        self.queue.notify()

    def take(self):
        """The frame at hand, or None."""
        if self._shown is not None:
            shown = self._shown
            self._shown = None
            self.done(shown)
        found = self._next
        if found is not None:
            self._next = None
            return found
        while True:
            found = self.queue.get()
            if found is None:
                if self._owed:
                    self._owed = 0
                    self.queue.notify()
                return None
            i, used = found
            view = self.views[i]
            size = used - self.header
            if size < 0:
                self.net.fail("a frame of %d bytes with its header" % used)
            more = None
            if self.net.merging and (view[10] != 1 or view[11]):
                size, more = self._gather(view[10] | view[11] << 8, size)
            found = (self, i, size, more)
            if not (view[0] & _NEEDS_CSUM or view[1] & _TUNNEL) or self._accept(view, size, more):
                return found
            self.net.dropped += 1
            self.done(found)

    def _gather(self, count, size):
        # num_buffers - 1 more pieces of the frame, which the device has used all at once.
        if count == 0:
            self.net.fail("a frame of 0 buffers")
        more = []
        for _ in range(count - 1):
            found = self.queue.get()
            if found is None:
                self.net.fail("%d of %d buffers of a frame" % (len(more) + 1, count))
            more.append(found)
        return size, more

    def _accept(self, view, size, more):
        for _, n in more or ():
            size += n
        return netpacket.acceptable(view, self.header, size)

    def keep(self, found):
        """Make a frame that was taken the next one again."""
        self._next = found

    def flags(self, found):
        """The header flags of a frame as far as they mean something (5.1.9.4.1)."""
        return self.views[found[1]][0] & self.net.flags_known

    def size(self, found):
        size = found[2]
        for _, n in found[3] or ():
            size += n
        return size

    def data(self, found):
        """The frame's bytes."""
        _, i, size, more = found
        cut = self.header
        if more is None:
            return bytes(self.views[i][cut : cut + size])
        return bytes(self._joined(found))

    def _joined(self, found):
        data = bytearray(self.size(found))
        self.copy(found, data)
        return data

    def copy(self, found, buf):
        """Copy the frame into buf, which is long enough."""
        _, i, size, more = found
        cut = self.header
        buf[:size] = self.views[i][cut : cut + size]
        for i, n in more or ():
            buf[size : size + n] = self.views[i][:n]
            size += n
        return size

    def view(self, found):
        """A view of the frame that stays good until the next take()."""
        if found[3] is not None:
            view = memoryview(self._joined(found))
            self.done(found)
            return view
        self._shown = found
        return self.views[found[1]][self.header : self.header + found[2]]

    def done(self, found):
        """The frame is read: its buffers go back to the device, at the latest when nothing else is at hand."""
        self._post(found[1])
        if found[3] is not None:
            for i, _ in found[3]:
                self._post(i)
        if self._owed >= self._batch:
            self._owed = 0
            self.queue.notify()

    def _post(self, i):
        if i >= self.count:
            self.views[i] = None  # the caller's again
            return
        self._owed += 1
        self.queue.add((), self._chains[i], i)


class Sender:
    """One transmit queue: frames are copied into its buffers, long ones sent from where they are."""

    def __init__(self, net, queue, header, room, count, split):
        self.net = net
        self.queue = queue
        self.header = header
        self.room = room - header
        self.count = count
        self._split = split
        self._area = area = Area(count * room)
        self._views = [area.buf[at : at + room] for at in range(0, count * room, room)]
        self._addrs = list(range(area.addr, area.addr + count * room, room))
        self.free = list(range(count))
        self._marked = set()  # buffers whose header is not all zero

    def reclaim(self):
        """Take back what the device has sent."""
        get = self.queue.get
        free = self.free
        found = get()
        while found is not None:
            free.append(found[0])
            found = get()

    def buffer(self, timeout_ms):
        """A free buffer, waited for if need be. OSError: ETIMEDOUT."""
        if not self.free:
            self.reclaim()
            if not self.free:
                self._wait(timeout_ms)
        return self.free.pop()

    def _wait(self, timeout_ms):
        queue = self.queue
        queue.notify()
        queue.poll(time.ticks_add(time.ticks_ms(), timeout_ms))
        self.reclaim()
        if not self.free:
            text = "%s: send: no buffer in %d ms" % (self.net.name, timeout_ms)
            raise OSError(errno.ETIMEDOUT, text)

    def put(self, frame, size, timeout_ms):
        """Queue a copy of a frame that fits a buffer, its header all zero (5.1.9.2.1)."""
        i = self.free.pop() if self.free else self.buffer(timeout_ms)
        cut = self.header
        view = self._views[i]
        if self._marked and i in self._marked:
            self._marked.discard(i)
            view[:cut] = bytes(cut)
        view[cut : cut + size] = frame
        at = self._addrs[i]
        chain = ((at, cut), (at + cut, size)) if self._split else ((at, cut + size),)
        self.queue.add(chain, (), i)

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

    def _post_parts(self, i, copied, rest):
        cut = self.header
        at = self._addrs[i]
        parts = [(at, cut + copied)]
        if self._split:
            parts = [(at, cut), (at + cut, copied)] if copied else [(at, cut)]
        if len(rest):
            parts.append(rest)
        self.queue.add(parts, (), i)
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
        if len(self.free) < self.count:  # Ctrl-C came between taking a buffer and queueing it
            self.free[:] = range(self.count)
