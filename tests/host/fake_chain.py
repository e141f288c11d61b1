"""Chains of buffers, and what both kinds of virtqueue have in common on the device's side."""

import zlib

from fake_rules import EVENT_IDX, IN_ORDER, require
from shim.memory import memory


class Chain:
    """What the driver made available: device-readable and device-writable parts."""

    def __init__(self, head, readable, writable, descriptors, indirect):
        self.head = head  # of a split queue; the buffer id of a packed one
        self.readable = readable  # memoryviews
        self.writable = writable
        self.descriptors = descriptors  # {index: bytes}, to see that they stay untouched
        self.slots = len(descriptors)
        self.indirect = indirect
        self.table = None  # (view, bytes) of the indirect table
        self._seal = self._sum()

    def _sum(self):
        total = 0
        for view in self.readable + self.writable:
            total = zlib.crc32(view, total)
        return total

    def check(self):
        """Nobody has touched the buffers since they were made available."""
        if self.table is not None:
            view, raw = self.table
            require(bytes(view) == raw, "GEN-CLEANUP-01", "the indirect table of chain %d was changed" % self.head)
        if self._seal is not None:
            require(self._sum() == self._seal, "STYLE-4.1", "a buffer of chain %d in flight was changed" % self.head)

    def data(self):
        self.check()
        return b"".join(bytes(view) for view in self.readable)

    @property
    def room(self):
        return sum(len(view) for view in self.writable)

    def write(self, data, off=0):
        """Copy into the device-writable part from byte off on."""
        self.check()
        self._seal = None
        for view in self.writable:
            if off >= len(view):
                off -= len(view)
                continue
            n = min(len(view) - off, len(data))
            view[off : off + n] = data[:n]
            data = data[n:]
            off = 0
            if not data:
                return
        require(not data, "MODEL", "device writes past the chain")

    def litter(self, length):
        """Fill what is said not to have been written: nobody may rely on it (2.7.8.2)."""
        for view in self.writable:
            if length < len(view):
                view[length:] = b"\xd6" * (len(view) - length)
            length = max(0, length - len(view))
        self._seal = None


class QueueModel:
    """One virtqueue: registers, what is held, and when the two sides call each other."""

    def __init__(self, device, index, size_max):
        self.device = device
        self.index = index
        self.size_max = size_max
        self.ready = False
        self.reset()

    def reset(self):
        """Forget everything, as after a reset of the device or of this queue."""
        self.stop()
        self.size = self.desc = self.avail = self.used = 0
        self.align = 0
        self.owed = False  # a notification is due
        self.in_flight = {}  # head -> Chain
        self.held = []  # chains fetched and not processed, in order
        self.broken = False  # the device has lied: nothing that this model knows holds any more
        self.restart = False  # was reset by itself: may be set up after DRIVER_OK
        self.resetting = 0  # reads of the reset register until it is over, -1: for ever

    def start(self):
        """The driver made the queue live."""
        require(self.size, "GEN-VQRESET-03" if self.restart else "MMIO-33", "no queue size was set")
        require(self.size <= self.size_max, "MMIO-17", "size %d of %d" % (self.size, self.size_max))
        self.check_layout()
        self.ready = True
        self.begin()

    def stop(self):
        if self.ready:
            self.ready = False
            self.end()

    def restart_reset(self, delay):
        """RING_RESET (2.6.1): the driver may set the queue up again, with all its registers."""
        self.reset()
        self.restart = True
        self.resetting = delay

    @property
    def event_idx(self):
        return self.device.has(EVENT_IDX)

    # -- the driver calls ---------------------------------------------------------------

    def notified(self, data=None):
        """data: next_off and next_wrap of NOTIFICATION_DATA."""
        require(self.ready, "GEN-INIT-15", "queue %d is not live" % self.index)
        if self.broken:
            return
        self.look()
        if data is not None:
            self.check_data(data)
        if not self.owed and self.device.strict_notify:
            require(False, self.needless(), "a notification nobody asked for")
        self.owed = False
        self.fetch()
        self.device.work(self)

    def polled(self):
        """The driver is about to look for used buffers: by now every notification that is due has come."""
        if not self.device.live or self.broken:
            return
        self.look()
        require(not self.owed, self.missing(), "no notification")
        if self.device.polling:
            self.fetch()
        self.device.work(self)

    # -- the used side -------------------------------------------------------------------

    def finish(self, chain, length):
        """Return a chain; the device's hooks may lie about it."""
        self.finish_batch([chain], length)

    def finish_batch(self, chains, length):
        """Return chains; with IN_ORDER by the last one's element alone (2.7.9, 2.8.8)."""
        self.look()
        if self.device.has(IN_ORDER):
            first = list(self.in_flight.values())[: len(chains)]
            require(first == list(chains), "MODEL", "the device finishes out of order")
        else:
            require(len(chains) == 1, "MODEL", "a batch without IN_ORDER")
        for chain in chains:
            chain.check()
            if chain in self.held:
                self.held.remove(chain)
            del self.in_flight[chain.head]
            self.forget(chain)
        self.device.finished(chains, length)
        if self.device.litter:
            chains[-1].litter(length)
        head = chains[-1].head
        if self.device.lie is not None:
            head, length = self.device.lie(head, length)
        self.give_back(chains, head, length)

    def take(self, chain):
        require(chain.head not in self.in_flight, self.TWICE, "%d is in flight already" % chain.head)
        self.in_flight[chain.head] = chain
        self.held.append(chain)

    def buffer(self, addr, size, flags, readable, writable, order):
        """Sort one element of a chain."""
        require(size > 0, "SPLIT-FRAME-02", "an empty descriptor")
        view = memory.view(addr, size)  # MemoryFault: not memory that the driver pinned
        if flags & 2:
            writable.append(view)
        else:
            require(not writable, order, "readable after writable")
            readable.append(view)
