"""A split virtqueue (2.7) as a strict device sees it."""

import struct

from fake_chain import Chain, QueueModel
from fake_rules import IN_ORDER, INDIRECT_DESC, require
from shim.memory import memory


class FakeQueue(QueueModel):
    """Reads the available ring, writes the used ring."""

    TWICE = "GEN-CLEANUP-01"

    def reset(self):
        super().reset()
        self.taken = 0  # avail idx up to which chains were fetched
        self.seen = 0  # avail idx at the last look
        self.used_idx = 0
        self.used_copy = None
        self.busy = {}  # descriptor -> head
        self.next_desc = 0  # IN_ORDER: where the next chain begins

    def check_layout(self):
        n = self.size
        require(n & (n - 1) == 0 and n <= 32768, "SPLIT-LAYOUT-01", "size %d" % n)
        require(self.desc % 16 == 0, "SPLIT-LAYOUT-02", "desc %#x" % self.desc)
        require(self.avail % 2 == 0, "SPLIT-LAYOUT-02", "avail %#x" % self.avail)
        require(self.used % 4 == 0, "SPLIT-LAYOUT-02", "used %#x" % self.used)
        require(self.u16(self.avail + 2) == 0, "SPLIT-AVAIL-01", "avail.idx does not begin at 0")
        require(self.u16(self.used) == 0, "SPLIT-ANOTIF-01", "used.flags is not zeroed")
        for addr, size in ((self.desc, 16 * n), (self.avail, 6 + 2 * n), (self.used, 6 + 8 * n)):
            require(not any(memory.view(addr, size)), "MMIO-34", "queue memory is not zeroed")

    def begin(self):
        n = self.size
        self.used_copy = bytearray(6 + 8 * n)
        memory.on_read(self.used + 2, 2, self._read_idx)
        memory.on_write(self.used, 6 + 8 * n, self._wrote_used)
        memory.on_write(self.desc, 16 * n, self._wrote_desc)
        memory.on_write(self.avail, 6 + 2 * n, self._wrote_avail)

    def end(self):
        memory.unwatch(self._read_idx, self._wrote_used, self._wrote_desc, self._wrote_avail)

    # -- what the driver touches -------------------------------------------------------

    def _read_idx(self, addr, width):
        self.polled()

    def _wrote_used(self, addr, width):
        if self.broken:
            return
        require(False, "SPLIT-USED-01", "the driver writes into the used ring")

    def _wrote_desc(self, addr, width):
        if self.broken:
            return
        at = (addr - self.desc) // 16
        require(at not in self.busy, "GEN-CLEANUP-01", "descriptor %d is in flight" % at)

    def _wrote_avail(self, addr, width):
        if self.broken:
            return
        at = addr - self.avail
        if at == 2:
            pending = (self.u16(addr) - self.taken) & 0xFFFF
            require(pending <= self.size, "SPLIT-AVAIL-02", "avail.idx %d, taken %d" % (self.u16(addr), self.taken))
        elif 4 <= at < 4 + 2 * self.size:
            ahead = ((at - 4) // 2 - self.taken) % self.size
            pending = (self.u16(self.avail + 2) - self.taken) & 0xFFFF
            require(ahead >= pending, "GEN-CLEANUP-01", "entry %d of the available ring is in use" % ((at - 4) // 2))

    # -- little readers ---------------------------------------------------------------

    def u16(self, addr):
        return struct.unpack("<H", memory.view(addr, 2))[0]

    def set_avail_event(self, value):
        at = 4 + 8 * self.size
        self._write_used(at, struct.pack("<H", value & 0xFFFF))

    def set_no_notify(self, on):
        self._write_used(0, struct.pack("<H", 1 if on else 0))

    def _write_used(self, at, data):
        self.used_copy[at : at + len(data)] = data
        memory.view(self.used + at, len(data))[:] = data

    # -- the available side --------------------------------------------------------------

    def look(self):
        """Check what the driver may have written since the last look."""
        require(memory.view(self.used, len(self.used_copy)) == self.used_copy, "SPLIT-USED-01", "the used ring")
        flags = self.u16(self.avail)
        if self.event_idx:
            require(flags == 0, "SPLIT-UNOTIF-03", "avail.flags %d" % flags)
        else:
            require(flags in (0, 1), "SPLIT-UNOTIF-01", "avail.flags %d" % flags)
        idx = self.u16(self.avail + 2)
        new = (idx - self.seen) & 0xFFFF
        pending = (idx - self.taken) & 0xFFFF
        require(pending <= self.size, "SPLIT-AVAIL-02", "avail.idx %d, taken %d" % (idx, self.taken))
        if new and self.device.live:
            self.owed = self.owed or self._due(idx, new)
        self.seen = idx
        for head, chain in self.in_flight.items():
            for i, raw in chain.descriptors.items():
                now = memory.view(self.desc + 16 * i, 16)
                require(now == raw, "GEN-CLEANUP-01", "descriptor %d of chain %d" % (i, head))

    def _due(self, idx, new):
        """Whether these new entries oblige the driver to notify."""
        if not self.event_idx:
            return not self.used_copy[0] & 1
        event = struct.unpack_from("<H", self.used_copy, 4 + 8 * self.size)[0]
        return (idx - event - 1) & 0xFFFF < new

    def needless(self):
        return "SPLIT-ANOTIF-07" if self.event_idx else "SPLIT-ANOTIF-03"

    def missing(self):
        return "SPLIT-ANOTIF-06" if self.event_idx else "SPLIT-ANOTIF-04"

    def check_data(self, data):
        idx = self.u16(self.avail + 2)
        require(data == idx, "GEN-NOTIFDATA-01", "notification data %#x, avail.idx %#x" % (data, idx))

    def fetch(self):
        """Take all new chains."""
        idx = self.u16(self.avail + 2)
        while self.taken != idx:
            head = self.u16(self.avail + 4 + 2 * (self.taken % self.size))
            self.taken = (self.taken + 1) & 0xFFFF
            self.take(self.parse(head))
        if self.event_idx and self.device.follow_event:
            self.set_avail_event(self.taken)

    def parse(self, head):
        require(head < self.size, "SPLIT-SUPPLY-02", "head %d of %d" % (head, self.size))
        if self.device.has(IN_ORDER):
            require(head == self.next_desc, "SPLIT-DESC-01", "head %d, slot %d is next" % (head, self.next_desc))
        readable, writable, used = [], [], {}
        at, n, table = head, 0, None
        while True:
            require(at < self.size, "SPLIT-DESC-02", "descriptor %d of %d" % (at, self.size))
            require(at not in self.busy, "GEN-CLEANUP-01", "descriptor %d is in flight" % at)
            require(at not in used, "SPLIT-DESC-02", "chain %d loops" % head)
            raw = bytes(memory.view(self.desc + 16 * at, 16))
            used[at] = raw
            addr, size, flags, link = struct.unpack("<QIHH", raw)
            require(flags & ~7 == 0, "SPLIT-LAYOUT", "descriptor flags %#x" % flags)
            if flags & 4:
                require(self.device.has(INDIRECT_DESC), "SPLIT-INDIR-01")
                require(not flags & 1, "SPLIT-INDIR-04")
                n += self._parse_table(addr, size, readable, writable)
                table = memory.view(addr, size)
                break
            self.buffer(addr, size, flags, readable, writable, "SPLIT-FRAME-01")
            n += 1
            if not flags & 1:
                break
            if self.device.has(IN_ORDER):
                require(link == (at + 1) % self.size, "SPLIT-DESC-03", "descriptor %d links to %d" % (at, link))
            at = link
        require(n <= self.size, "SPLIT-INDIR-03", "chain of %d in a queue of %d" % (n, self.size))
        total = sum(map(len, readable)) + sum(map(len, writable))
        require(total <= 1 << 32, "SPLIT-DESC-02", "chain of %d bytes" % total)
        for i in used:
            self.busy[i] = head
        self.next_desc = (at + 1) % self.size
        chain = Chain(head, readable, writable, used, table is not None)
        if table is not None:
            chain.table = (table, bytes(table))
        return chain

    def _parse_table(self, addr, size, readable, writable):
        require(size and size % 16 == 0, "SPLIT-INDIR", "indirect table of %d bytes" % size)
        table = bytes(memory.view(addr, size))
        at, seen = 0, set()
        while True:
            require(at < size // 16, "SPLIT-INDIR", "entry %d of %d" % (at, size // 16))
            require(at not in seen, "SPLIT-DESC-02", "the indirect table loops")
            seen.add(at)
            where, n, flags, link = struct.unpack_from("<QIHH", table, 16 * at)
            require(not flags & 4, "SPLIT-INDIR-02")
            require(flags & ~3 == 0, "SPLIT-LAYOUT", "descriptor flags %#x" % flags)
            self.buffer(where, n, flags, readable, writable, "SPLIT-FRAME-01")
            if not flags & 1:
                return len(seen)
            if self.device.has(IN_ORDER):
                require(link == at + 1, "SPLIT-INDIR-05", "entry %d links to %d" % (at, link))
            at = link

    # -- the used side ----------------------------------------------------------------------

    def forget(self, chain):
        for i in chain.descriptors:
            del self.busy[i]

    def give_back(self, chains, head, length):
        self.push(head, length, len(chains))

    def push(self, head, length, step=1):
        """Write one used element and move used.idx."""
        at = 4 + 8 * (self.used_idx % self.size)
        self._write_used(at, struct.pack("<II", head, length))
        old = self.used_idx
        self.used_idx = (self.used_idx + step) & 0xFFFF
        self._write_used(2, struct.pack("<H", self.used_idx))
        if self.wants_interrupt(old):
            self.device.interrupt(1, self)

    def wants_interrupt(self, old):
        if self.event_idx:
            event = self.u16(self.avail + 4 + 2 * self.size)
            return (self.used_idx - event - 1) & 0xFFFF < (self.used_idx - old) & 0xFFFF
        return not self.u16(self.avail) & 1

    def start_at(self, idx):
        """Pretend that idx chains have gone through already: both sides, for wrap-around tests."""
        self.taken = self.seen = self.used_idx = idx
        memory.view(self.avail + 2, 2)[:] = struct.pack("<H", idx)
        self._write_used(2, struct.pack("<H", idx))
        if self.event_idx:
            self.set_avail_event(idx)
