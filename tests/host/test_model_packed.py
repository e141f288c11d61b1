"""The strict packed virtqueue of the fake device: lets a correct driver pass, and names each rule that is broken."""

import struct

import pytest
from fake_device import EVENT_IDX, IN_ORDER, INDIRECT_DESC, NOTIFICATION_DATA, RING_PACKED, FakeDevice, Violation, mask
from fake_packed import FakePackedQueue
from shim.memory import MemoryFault
from virtio_host import fresh, memory

NEXT, WRITE, INDIRECT, AVAIL, USED = 1, 2, 4, 1 << 7, 1 << 15


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


class Reverse(FakeDevice):
    """Writes what it read backwards."""

    def process(self, queue, chain):
        data = chain.data()[::-1][: chain.room]
        chain.write(data)
        return len(data)


class Rig:
    """The driver's side written out slot by slot, so that every step can be done wrong."""

    def __init__(self, size=8, features=(), device=None):
        self.device = device or Reverse()
        self.device.features = mask(RING_PACKED, *features)
        self.device.live = True
        self.size = size
        self.queue = FakePackedQueue(self.device, 0, 1 << 15)
        self.device.queues = [self.queue]
        self.ring = memory.addr(bytearray(16 * size))
        self.driver = memory.addr(bytearray(4))
        self.area = memory.addr(bytearray(4))
        self.queue.size, self.queue.desc, self.queue.avail, self.queue.used = size, self.ring, self.driver, self.area
        self.queue.start()
        self.at, self.wrap = 0, 1
        self.used_at, self.used_wrap = 0, 1
        self.lengths = {}

    def flags(self, more=0):
        return more | (AVAIL if self.wrap else USED)

    def write(self, slot, addr, size, ident, flags):
        memory.write(self.ring + 16 * slot, 8, addr)
        memory.write(self.ring + 16 * slot + 8, 4, size)
        memory.write(self.ring + 16 * slot + 12, 2, ident)
        memory.write(self.ring + 16 * slot + 14, 2, flags)

    def next(self):
        self.at += 1
        if self.at == self.size:
            self.at, self.wrap = 0, 1 - self.wrap

    def add(self, buffers, ident=0, order=None):
        """buffers: (bytes-like, flags WRITE or 0); published head last."""
        slots = []
        for i, (buf, flags) in enumerate(buffers):
            more = flags | (NEXT if i + 1 < len(buffers) else 0)
            slots.append((self.at, memory.addr(buf), len(buf), ident, self.flags(more)))
            self.next()
        for slot in slots[1:] + slots[:1]:
            self.write(*slot)
        self.lengths[ident] = len(buffers)

    def notify(self):
        self.device.notify(0)

    def get(self):
        """(id, length) of a used descriptor, or None."""
        flags = memory.read(self.ring + 16 * self.used_at + 14, 2)
        if {flags >> 7 & 1, flags >> 15} != {self.used_wrap}:
            return None
        _, length, ident, flags = struct.unpack("<QIHH", memory.view(self.ring + 16 * self.used_at, 16))
        self.used_at += self.lengths.pop(ident)
        if self.used_at >= self.size:
            self.used_at, self.used_wrap = self.used_at - self.size, 1 - self.used_wrap
        return ident, length if flags & WRITE else 0


def broken(clause):
    return pytest.raises(Violation, match="^" + clause + ":")


@pytest.mark.parametrize("size", [1, 3, 8, 100])
@pytest.mark.parametrize("features", [(), (EVENT_IDX,)])
def test_a_correct_driver_goes_round_many_times(size, features):
    rig = Rig(size, features)
    for i in range(3 * size + 1):
        n = 1 + i % min(size, 3)
        out = bytearray(2)
        rig.add([(b"ab", 0)] * (n - 1) + [(out, WRITE)], ident=i % 7)
        rig.notify()
        expected = b"ba" if n > 1 else b"\xd6\xd6"  # what was not written is littered
        assert rig.get() == (i % 7, 2 if n > 1 else 0)
        assert out == expected
        assert rig.get() is None


def test_completion_out_of_order_uses_the_slots_in_ring_order():
    rig = Rig(4)
    rig.device.manual = True
    rig.add([(b"1", 0), (b"2", 0)], ident=5)
    rig.add([(b"3", 0)], ident=6)
    rig.notify()
    first, second = rig.queue.held
    rig.queue.finish(second, 0)
    rig.queue.finish(first, 0)
    assert [rig.get(), rig.get(), rig.get()] == [(6, 0), (5, 0), None]


def test_in_order_batch_is_one_used_descriptor():
    rig = Rig(8, (IN_ORDER,))
    rig.device.batch = 3
    rig.device.strict_notify = False
    for i in range(3):
        rig.add([(b"x", 0), (b"y", 0)], ident=i)
    rig.notify()
    assert rig.get() == (2, 0)
    assert rig.queue.used_pos == 6


def test_interrupts_follow_the_drivers_event_area():
    rig = Rig(4, (EVENT_IDX,))

    def done(flags, off=0):
        before = rig.device.interrupts
        memory.write(rig.driver, 2, off)
        memory.write(rig.driver + 2, 2, flags)
        rig.add([(b"x", 0)])
        rig.notify()
        rig.get()
        return rig.device.interrupts - before

    assert done(0) == 1
    assert done(1) == 0
    assert done(2, 2 | 1 << 15) == 1  # slot 2 of the first round is the one that comes
    assert done(2, 2 | 1 << 15) == 0
    assert done(2, 0 | 1 << 15) == 0  # slot 0, of the wrong round
    assert done(2, 1) == 1


@pytest.mark.parametrize("start", [0, 5, 8, 13])
def test_start_at_any_position(start):
    rig = Rig(8, (EVENT_IDX,))
    rig.queue.start_at(start)
    rig.at = rig.used_at = start % 8
    rig.wrap = rig.used_wrap = 1 - start // 8 % 2
    for i in range(20):
        rig.add([(b"x", 0)], ident=i)
        rig.notify()
        assert rig.get() == (i, 0)


# -- one broken rule each ------------------------------------------------------------------------


@pytest.mark.parametrize("what,clause", [("desc", "PACKED-LAYOUT-03"), ("avail", "PACKED-LAYOUT-03")])
def test_alignment(what, clause):
    rig = Rig()
    setattr(rig.queue, what, getattr(rig.queue, what) + 2)
    with broken(clause):
        rig.queue.check_layout()


def test_dirty_ring():
    rig = Rig()
    memory.view(rig.ring, 1)[:] = b"x"
    with broken("PACKED-LAYOUT-04"):
        rig.queue.check_layout()


def test_head_before_the_rest():
    rig = Rig()
    addr = memory.addr(b"x")
    with broken("PACKED-SG-11"):
        rig.write(0, addr, 1, 0, rig.flags(NEXT))


def test_wrap_counter_that_does_not_flip():
    rig = Rig(2)
    rig.add([(b"x", 0)])
    rig.notify()
    rig.get()
    addr = memory.addr(b"x")
    rig.write(0, addr, 1, 0, rig.flags())  # of the wrong round: the device does not see it
    with broken("PACKED-WRAP-01"):
        rig.write(1, addr, 1, 0, rig.flags(NEXT))


def test_rewriting_a_slot_in_flight():
    rig = Rig()
    rig.add([(b"x", 0)])
    with broken("PACKED-DESC-01"):
        memory.write(rig.ring + 8, 4, 1)


def test_writing_a_slot_after_its_flags():
    rig = Rig()
    rig.write(1, memory.addr(b"x"), 1, 0, rig.flags())
    with broken("PACKED-DESC-02"):
        memory.write(rig.ring + 16 + 8, 4, 1)


def test_a_write_behind_the_models_back_is_seen_later():
    rig = Rig()
    rig.add([(b"x", 0)])
    memory.view(rig.ring + 8, 1)[:] = b"\7"
    with broken("PACKED-DESC-02"):
        rig.notify()


def test_ids_in_flight_are_unique():
    rig = Rig()
    rig.add([(b"x", 0)], ident=3)
    with broken("PACKED-SG-02"):
        rig.add([(b"x", 0)], ident=3)


def test_readable_after_writable():
    rig = Rig()
    with broken("PACKED-SG-08"):
        rig.add([(bytearray(1), WRITE), (b"x", 0)])


def test_list_that_goes_round():
    rig = Rig(2)
    addr = memory.addr(b"x")
    rig.write(1, addr, 1, 0, rig.flags(NEXT))
    with broken("PACKED-SG-07"):
        rig.write(0, addr, 1, 0, rig.flags(NEXT))


def test_list_that_is_longer_than_what_is_free():
    rig = Rig(4)
    rig.device.dead = True
    rig.add([(b"x", 0)] * 3)
    rig.notify()
    addr = memory.addr(b"x")
    with broken("PACKED-SG-10"):
        rig.write(3, addr, 1, 1, rig.flags(NEXT))


def test_list_beyond_the_devices_cap():
    rig = Rig()
    rig.device.chain_max = 2
    with broken("PACKED-SG-06"):
        rig.add([(b"x", 0)] * 3)


def table(*flags):
    data = bytearray(b"".join(struct.pack("<QIHH", memory.addr(b"xyz"), 3, 0, f) for f in flags))
    return memory.addr(data), len(data)


@pytest.mark.parametrize(
    "features,flags,inner,clause",
    [
        ((), INDIRECT, [0], "PACKED-INDIR-02"),
        ((INDIRECT_DESC,), INDIRECT | NEXT, [0], "PACKED-INDIR-05"),
        ((INDIRECT_DESC,), INDIRECT, [NEXT, 0], "PACKED-INDIR-03"),
        ((INDIRECT_DESC,), INDIRECT, [AVAIL], "PACKED-INDIR-03"),
        ((INDIRECT_DESC,), INDIRECT, [INDIRECT], "PACKED-INDIR-03"),
        ((INDIRECT_DESC,), INDIRECT, [0] * 9, "PACKED-INDIR-04"),
        ((INDIRECT_DESC,), INDIRECT, [WRITE, 0], "PACKED-SG-08"),
    ],
)
def test_indirect_tables(features, flags, inner, clause):
    rig = Rig(8, features)
    addr, size = table(*inner)
    with broken(clause):
        rig.write(0, addr, size, 0, rig.flags(flags))


def test_list_that_is_direct_and_indirect():
    rig = Rig(8, (INDIRECT_DESC,))
    addr, size = table(0)
    rig.write(1, addr, size, 0, rig.flags(INDIRECT))
    with broken("PACKED-SG-01"):
        rig.write(0, addr, size, 0, rig.flags(NEXT))


def test_indirect_table_changed_in_flight():
    rig = Rig(8, (INDIRECT_DESC,))
    addr, size = table(0)
    rig.write(0, addr, size, 0, rig.flags(INDIRECT))
    memory.view(addr, 1)[:] = b"\0"
    with broken("GEN-CLEANUP-01"):
        rig.notify()


def test_buffer_changed_in_flight():
    rig = Rig()
    buf = bytearray(4)
    rig.add([(buf, WRITE)])
    buf[0] = 1
    with broken("STYLE-4.1"):
        rig.notify()


def test_memory_that_is_not_the_drivers():
    rig = Rig()
    with pytest.raises(MemoryFault):
        rig.write(0, 0x1000, 4, 0, rig.flags())


@pytest.mark.parametrize("flags,clause", [(3, "PACKED-EVENT-01"), (2, "PACKED-EVENT-01"), (4, "PACKED-EVENT-04")])
def test_driver_event_flags(flags, clause):
    rig = Rig()
    with broken(clause):
        memory.write(rig.driver + 2, 2, flags)


def test_driver_event_offset_beyond_the_ring():
    rig = Rig(8, (EVENT_IDX,))
    memory.write(rig.driver, 2, 8 | 1 << 15)
    with broken("PACKED-EVENT-01"):
        memory.write(rig.driver + 2, 2, 2)


def test_device_event_area_is_the_devices():
    rig = Rig()
    with broken("PACKED-EVENT-02"):
        memory.write(rig.area, 4, 0)


def test_missing_notification():
    rig = Rig()
    rig.add([(b"x", 0)])
    with broken("PACKED-EVENT-02"):
        rig.get()


def test_missing_notification_for_an_event_position():
    rig = Rig(8, (EVENT_IDX,))
    rig.queue.set_event(1)
    rig.add([(b"x", 0)])
    rig.get()
    rig.add([(b"x", 0)], ident=1)
    with broken("PACKED-EVENT-03"):
        rig.get()


def test_needless_notification():
    rig = Rig(8, (EVENT_IDX,))
    rig.queue.set_event(1)
    rig.add([(b"x", 0)])
    with broken("PACKED-EVENT-03"):
        rig.notify()
    rig = Rig()
    rig.queue.set_no_notify(True)
    rig.add([(b"x", 0)])
    with broken("PACKED-EVENT-02"):
        rig.notify()


def test_notification_data_names_the_next_slot():
    rig = Rig(2, (NOTIFICATION_DATA,))
    rig.add([(b"x", 0)])
    rig.device.notify((1 | 1 << 15) << 16)
    rig.get()
    rig.add([(b"x", 0)])
    with broken("PACKED-DESC-03"):
        rig.device.notify((0 | 1 << 15) << 16)  # slot 0 belongs to the round of wrap counter 0
