"""A packed virtqueue (2.8) as a strict device sees it.

Positions count slots since the queue began: position p is slot p % size in the round of wrap counter
1 - p // size % 2. Slots from `used` to `fill` belong to the device.
"""

import struct

from fake_chain import Chain, QueueModel
from fake_rules import INDIRECT_DESC, require
from shim.memory import memory

_NEXT, _WRITE, _INDIRECT, _AVAIL, _USED = 1, 2, 4, 1 << 7, 1 << 15
_ENABLE, _DISABLE, _DESC = 0, 1, 2


class FakePackedQueue(QueueModel):
    """desc is the ring, avail the driver's event area, used the device's."""

    TWICE = "PACKED-SG-02"

    def reset(self):
        super().reset()
        self.fill = 0  # position up to which the driver has made slots available
        self.seen = 0  # fill at the last look
        self.used_pos = 0  # where the next used descriptor goes
        self.copy = None  # the ring as the driver left it, for the slots in flight
        self.area = None  # what the device's event area holds
        self.written = set()  # positions beyond fill whose flags are set already
        self.fresh = []  # chains that are available and were not fetched
        self.odd = False  # toggles what means nothing in used descriptors

    def check_layout(self):
        n = self.size
        require(n <= 32768, "PACKED-LAYOUT-01", "size %d" % n)
        require(self.desc % 16 == 0, "PACKED-LAYOUT-03", "ring %#x" % self.desc)
        require(self.avail % 4 == 0, "PACKED-LAYOUT-03", "driver event area %#x" % self.avail)
        require(self.used % 4 == 0, "PACKED-LAYOUT-03", "device event area %#x" % self.used)
        require(not any(memory.view(self.desc, 16 * n)), "PACKED-LAYOUT-04", "the ring is not zeroed")
        require(not any(memory.view(self.avail, 4)), "MMIO-34", "the driver's event area is not zeroed")
        require(not any(memory.view(self.used, 4)), "MMIO-34", "the device's event area is not zeroed")

    def begin(self):
        self.copy = bytearray(16 * self.size)
        self.area = bytes(4)
        memory.on_write(self.desc, 16 * self.size, self._wrote_ring)
        memory.on_read(self.desc, 16 * self.size, self._read_ring)
        memory.on_write(self.avail, 4, self._wrote_event)
        memory.on_write(self.used, 4, self._wrote_area)

    def end(self):
        memory.unwatch(self._wrote_ring, self._read_ring, self._wrote_event, self._wrote_area)

    # -- positions -----------------------------------------------------------------------

    def wrap(self, position):
        return 1 - position // self.size % 2

    def raw(self, slot):
        return memory.view(self.desc + 16 * slot, 16)

    def available(self, position):
        """Whether the flags there make the slot the device's (2.8.1)."""
        flags = struct.unpack_from("<H", self.raw(position % self.size), 14)[0]
        wrap = self.wrap(position)
        return (flags >> 7 & 1, flags >> 15) == (wrap, 1 - wrap)

    def owned(self, slot):
        return (slot - self.used_pos) % self.size < self.fill - self.used_pos

    def crossed(self, area, start, end):
        """Whether the event of an area lies in the positions from start to end."""
        off, wrap = area & 0x7FFF, area >> 15
        first = start + (off - start) % self.size
        return any(p < end and self.wrap(p) == wrap for p in (first, first + self.size))

    # -- what the driver touches -------------------------------------------------------

    def _wrote_ring(self, addr, width):
        if self.broken:
            return
        slot, off = divmod(addr - self.desc, 16)
        require(not self.owned(slot), "PACKED-DESC-01", "slot %d is in flight" % slot)
        position = self.fill + (slot - self.fill) % self.size
        require(position not in self.written, "PACKED-DESC-02", "slot %d was made available already" % slot)
        if off + width > 14 and self.available(position):
            self.written.add(position)
            self._publish()

    def _read_ring(self, addr, width):
        flags = self.desc + 16 * (self.used_pos % self.size) + 14
        if addr <= flags < addr + width:
            self.polled()

    def _wrote_event(self, addr, width):
        area, flags = struct.unpack("<HH", memory.view(self.avail, 4))
        require(flags & ~3 == 0, "PACKED-EVENT-04", "driver event flags %#x" % flags)
        legal = (_ENABLE, _DISABLE, _DESC) if self.event_idx else (_ENABLE, _DISABLE)
        require(flags in legal, "PACKED-EVENT-01", "driver event flags %d" % flags)
        if flags == _DESC:
            require(area & 0x7FFF < self.size, "PACKED-EVENT-01", "driver event offset %d" % (area & 0x7FFF))

    def _wrote_area(self, addr, width):
        require(False, "PACKED-EVENT-02", "the driver writes the device's event area")

    # -- the available side ------------------------------------------------------------

    def _publish(self):
        """See which lists the driver has made available."""
        while self.fill - self.used_pos < self.size and self.available(self.fill):
            chain = self._parse(self.fill)
            for position in range(self.fill, self.fill + chain.slots):
                slot = position % self.size
                self.copy[16 * slot : 16 * slot + 16] = self.raw(slot)
                self.written.discard(position)
            self.fill += chain.slots
            self.fresh.append(chain)

    def _parse(self, start):
        readable, writable, used, table = [], [], {}, None
        position = start
        while True:
            slot = position % self.size
            require(slot not in used, "PACKED-SG-07", "a list of more than %d slots" % self.size)
            require(position < self.used_pos + self.size, "PACKED-SG-10", "slot %d is in flight" % slot)
            clause = "PACKED-WRAP-01" if slot < start % self.size else "PACKED-SG-11"
            require(self.available(position), clause, "slot %d of list %d is not available yet" % (slot, start))
            used[slot] = bytes(self.raw(slot))
            addr, size, ident, flags = struct.unpack("<QIHH", used[slot])
            known = _NEXT | _WRITE | _INDIRECT | _AVAIL | _USED
            require(flags & ~known == 0, "PACKED-SG-03", "descriptor flags %#x" % flags)
            if flags & _INDIRECT:
                require(self.device.has(INDIRECT_DESC), "PACKED-INDIR-02")
                require(not flags & _NEXT, "PACKED-INDIR-05", "INDIRECT with NEXT")
                require(len(used) == 1, "PACKED-SG-01", "a list that is direct and indirect")
                require(not flags & _WRITE, "PACKED-INDIR", "INDIRECT with WRITE, which is reserved")
                self._parse_table(addr, size, readable, writable)
                table = memory.view(addr, size)
                break
            self.buffer(addr, size, flags, readable, writable, "PACKED-SG-08")
            if not flags & _NEXT:
                break
            position += 1
        limit = min(self.size, self.device.chain_max or self.size)
        clause = "PACKED-SG-06" if table is None else "PACKED-INDIR-04"
        require(len(readable) + len(writable) <= limit, clause, "a list of more than %d buffers" % limit)
        twice = [c for c in self.fresh if c.head == ident] or ident in self.in_flight
        require(not twice, "PACKED-SG-02", "buffer id %d is in flight already" % ident)
        chain = Chain(ident, readable, writable, used, table is not None)
        if table is not None:
            chain.table = (table, bytes(table))
        return chain

    def _parse_table(self, addr, size, readable, writable):
        require(size and size % 16 == 0, "PACKED-INDIR", "indirect table of %d bytes" % size)
        table = bytes(memory.view(addr, size))
        for i in range(size // 16):
            where, n, _, flags = struct.unpack_from("<QIHH", table, 16 * i)
            require(flags & ~_WRITE == 0, "PACKED-INDIR-03", "flags %#x in an indirect table" % flags)
            self.buffer(where, n, flags, readable, writable, "PACKED-SG-08")

    def look(self):
        """Check what the driver may have written since the last look."""
        require(bytes(memory.view(self.used, 4)) == self.area, "PACKED-EVENT-02", "the device's event area was changed")
        self._wrote_event(self.avail, 4)
        for start, end in self._runs(self.used_pos, self.fill):
            now = memory.view(self.desc + 16 * start, 16 * (end - start))
            require(now == self.copy[16 * start : 16 * end], "PACKED-DESC-02", "slots %d to %d" % (start, end))
        self._publish()
        if self.fill != self.seen and self.device.live:
            self.owed = self.owed or self._due()
        self.seen = self.fill

    def _runs(self, start, end):
        """The slots of positions from start to end, as ranges."""
        if end - start == self.size:
            return [(0, self.size)]
        first, last = start % self.size, end % self.size
        return [(first, last)] if first <= last else [(first, self.size), (0, last)]

    def _due(self):
        area, flags = struct.unpack("<HH", self.area)
        if flags == _DESC:
            return self.crossed(area, self.seen, self.fill)
        return flags == _ENABLE

    def needless(self):
        return "PACKED-EVENT-03" if self.area[2] == _DESC else "PACKED-EVENT-02"

    missing = needless

    def check_data(self, data):
        expected = self.fill % self.size | self.wrap(self.fill) << 15
        require(data == expected, "PACKED-DESC-03", "notification data %#x, next slot %#x" % (data, expected))

    def fetch(self):
        """Take all new chains."""
        self._publish()
        for chain in self.fresh:
            self.take(chain)
        self.fresh = []
        if self.event_idx and self.device.follow_event:
            self.set_event(self.fill)

    def set_event(self, position):
        """Ask for a notification when that position is made available."""
        self._set_area(position % self.size | self.wrap(position) << 15, _DESC)

    def set_no_notify(self, on):
        self._set_area(0, _DISABLE if on else _ENABLE)

    def _set_area(self, area, flags):
        self.area = struct.pack("<HH", area, flags)
        memory.view(self.used, 4)[:] = self.area

    # -- the used side -----------------------------------------------------------------

    def forget(self, chain):
        pass

    def give_back(self, chains, head, length):
        self.push(head, length, sum(chain.slots for chain in chains))

    def push(self, ident, length, slots=1):
        """Write one used descriptor, and go on by as many slots as it stands for.

        What means nothing in it is not zero: the length where the device wrote nothing, and NEXT.
        """
        slot, wrap = self.used_pos % self.size, self.wrap(self.used_pos)
        flags = (_AVAIL | _USED) * wrap | (_WRITE if length else 0)
        self.odd = not self.odd
        if self.odd:
            flags |= _NEXT
        memory.view(self.desc + 16 * slot + 8, 8)[:] = struct.pack("<IHH", length or 0xDEAD, ident & 0xFFFF, flags)
        old = self.used_pos
        self.used_pos += slots
        if self.wants_interrupt(old):
            self.device.interrupt(1, self)

    def wants_interrupt(self, old):
        area, flags = struct.unpack("<HH", memory.view(self.avail, 4))
        if flags == _DESC:
            return self.crossed(area, old, self.used_pos)
        return flags == _ENABLE

    def start_at(self, position):
        """Pretend that so many slots have gone through already: the device's side, for wrap-around tests."""
        self.fill = self.seen = self.used_pos = position
        for slot in range(self.size):
            wrap = self.wrap(position) if slot < position % self.size else 1 - self.wrap(position)
            self.raw(slot)[14:16] = struct.pack("<H", (_AVAIL | _USED) * wrap)
        if self.event_idx:
            self.set_event(position)
