"""A receive queue of a network card: posted buffers, frames of one or several of them (5.1.9.3, 5.1.9.4)."""

import errno

import micropython
from micropython import const
from uctypes import bytearray_at, bytes_at

from . import netpacket
from .netbuf import Buffers, plain
from .ring import first, give, state

_NEEDS_CSUM = const(1)
_TUNNEL = const(0x60)


class Receiver:
    """One receive queue. A frame at hand is (self, buffer, length, further (buffer, length) pieces or None)."""

    def __init__(self, net, index, queue, header, room, count, split):
        self.net = net
        self.index = index
        self.queue = queue
        self.st = queue.st
        self.header = header
        self.count = count
        self._split = split
        self._buffers = buffers = Buffers(queue, header, room, count, split)
        self.views = buffers.views
        self._frames = buffers.frames
        self._tables = buffers.tables
        self._owner = buffers.owner
        self._parts = buffers.parts
        self._room = buffers.room
        self._post = queue.post
        self.filled = False
        self._out = 0  # own buffers that are not in the ring
        self.held = []  # buffers that left the ring and are being read, those of nested calls last
        self._odd = None  # (frame, whether it is shown): one that nobody had room for, or whose view is out
        self._owed = 0  # buffers given back since the last notification
        self._batch = max(1, count // 4)

    def fill(self):
        """Post all buffers, once."""
        if not self.filled:
            self._fill()

    @micropython.native
    def _fill(self):
        self.filled = True
        self._out = self.count
        for i in range(self.count):
            self._give(i)
        self._owed = 0

    @micropython.native
    def _give(self, i):
        # Post a buffer again. Nothing comes between posting it and writing down whose chain it is.
        if not self.queue.live:
            self.net.check()
        self._owner[self._post(self.st, self._tables[i], self._parts, 0, 0)] = i
        self._owed += 1
        self._out -= 1

    @micropython.native
    def many(self, frames, most):
        """Append frames to a list until it has `most`, in as few steps as possible; how many.

        0: there is none, or the next one takes take().
        """
        if self._odd is not None:
            return 0
        st = self.st
        owner = self._owner
        places = self._frames
        tables = self._tables
        header = self.header
        room = self._room
        merging = self.net.merging
        post = self._post
        parts = self._parts
        done = give
        n = 0
        while len(frames) < most:
            head = first(st, 0)
            if head < 0:
                if not self._look():
                    break
                head = first(st, 0)
            i = owner[head]
            size = -1
            if i < self.count:
                size = plain(places[i], header, state(st, head), room, merging)
            if size < 0:
                break
            frames.append(bytes_at(places[i], size))
            done(st, head)
            owner[post(st, tables[i], parts, 0, 0)] = i
            n += 1
            self._owed += 1
            if self._owed >= self._batch:
                self._owed = 0
                self.queue.notify()
        return n

    @micropython.native
    def into(self, buf):
        """Copy the next frame into buf; its length, -1 when it takes take() or there is none."""
        if self._odd is not None:
            return -1
        st = self.st
        head = first(st, 0)
        if head < 0:
            if not self._look():
                return -1
            head = first(st, 0)
        i = self._owner[head]
        if i >= self.count:
            return -1
        size = plain(self._frames[i], self.header, state(st, head), self._room, self.net.merging)
        if size < 0 or size > len(buf):
            return -1
        buf[:size] = bytearray_at(self._frames[i], size)
        give(st, head)
        self._out += 1
        self._give(i)
        if self._owed >= self._batch:
            self._owed = 0
            self.queue.notify()
        return size

    @micropython.native
    def _look(self):
        # Whether the device has used something; if not, it gets what it is owed.
        queue = self.queue
        if queue.reap():
            return True
        if not queue.live:
            self.net.check()
        if self._owed:
            self._owed = 0
            queue.notify()
        return False

    @micropython.native
    def _next(self):
        # (buffer, used length) of the next chain, or None. It is held before Ctrl-C can come.
        st = self.st
        head = first(st, 0)
        if head < 0:
            if not self._look():
                return None
            head = first(st, 0)
        i = self._owner[head]
        self.held.append(i)
        if i < self.count:
            used = state(st, head)
            give(st, head)
            self._out += 1
            return i, used if used < self._room else self._room
        return i, self.queue.release(head)

    def lend(self, buf):
        """Post memory of the caller's, for one frame."""
        if self.queue.num_free < self._parts * (self._out + 1):
            raise OSError(errno.EAGAIN, "%s: no room for more buffers" % self.net.name)
        view = memoryview(buf)
        i = len(self.views)
        for n in range(self.count, i):
            if self.views[n] is None:
                i = n
        if i == len(self.views):
            self.views.append(view)
        else:
            self.views[i] = view
        try:
            self._lend(view, i)
        except BaseException:
            self.views[i] = None
            raise
        self.queue.notify()

    @micropython.native
    def _lend(self, view, i):
        cut = self.header
        head = self.queue.add((), (view[:cut], view[cut:]) if self._split else (view,), i)
        self._owner[head] = i

    @micropython.native
    def take(self):
        """The frame at hand, or None."""
        if self._odd is not None:
            found = self._again()
            if found is not None:
                return found
        while True:
            found = self._next()
            if found is None:
                return None
            i, used = found
            view = self.views[i]
            size = used - self.header
            if size < 0:
                self.net.fail("a frame of %d bytes with its header" % used)
            more = None
            if self.net.merging and (view[10] != 1 or view[11]):
                more = self._gather(view[10] | view[11] << 8)
            found = (self, i, size, more)
            if not (view[0] & _NEEDS_CSUM or view[1] & _TUNNEL) or self._accept(view, size, more):
                return found
            self.net.dropped += 1
            self.done(len(self.held) - (1 if more is None else 1 + len(more)))

    @micropython.native
    def _gather(self, count):
        # num_buffers - 1 more pieces of the frame, which the device has used all at once.
        # Native, as is take(): Ctrl-C between two pieces would leave the rest to be read as a header.
        if count == 0:
            self.net.fail("a frame of 0 buffers")
        more = []
        for _ in range(count - 1):
            found = self._next()
            if found is None:
                self.net.fail("%d of %d buffers of a frame" % (len(more) + 1, count))
            more.append(found)
        return more

    def _accept(self, view, size, more):
        for _, n in more or ():
            size += n
        return netpacket.acceptable(view, self.header, size)

    def keep(self, found):
        """Make a frame that was taken the next one again."""
        self._put_by(found, False)

    @micropython.native
    def _put_by(self, found, shown):
        # Pieces were taken one after the other, and calls nest: they are the last that are held.
        self._odd = (found, shown)
        n = 1 if found[3] is None else 1 + len(found[3])
        while n:
            self.held.pop()
            n -= 1

    @micropython.native
    def _again(self):
        # The frame that was put by, held again; None: it was read, and its buffers go back.
        found, shown = self._odd
        mark = len(self.held)
        held = self.held + [found[1]]
        for piece in found[3] or ():
            held.append(piece[0])
        self.held = held
        self._odd = None
        if not shown:
            return found
        self.done(mark)
        return None

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
            return memoryview(self._joined(found))
        view = self.views[found[1]][self.header : self.header + found[2]]
        self._put_by(found, True)
        return view

    @micropython.native
    def done(self, mark):
        """Buffers beyond the first `mark` held are read: they go back to the device.

        At the latest when nothing else is at hand. Native, as is all from taking a buffer to holding it:
        Ctrl-C comes before or after.
        """
        held = self.held
        while len(held) > mark:
            i = held.pop()
            if i < self.count:
                self._give(i)
            else:
                self.views[i] = None  # the caller's again
        if self._owed >= self._batch:
            self._owed = 0
            self.queue.notify()
