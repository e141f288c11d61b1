"""modules/virtio/packed: descriptors, wrap counters, publication, suppression, used descriptors."""

import random
import struct

import pytest
import riscv
from virtio import packed, ring
from virtio.dma import Area
from virtio_host import fresh, memory

NEXT, WRITE, INDIRECT, AVAIL, USED = 1, 2, 4, 1 << 7, 1 << 15
EVENT_IDX, UNTRUSTED, DATA = 1, 2, 16


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


class Rig:
    """A queue without Virtqueue: the state block, and the device's view of the ring."""

    def __init__(self, size, flags=0, start=0, width=4):
        self.size = size
        driver, device, total = packed.layout(size, 4)
        self.area = Area(total)
        self.desc, self.driver, self.device = self.area.addr, self.area.addr + driver, self.area.addr + device
        entries = 1 << (size - 1).bit_length()
        self.shadow = Area(ring.SHADOW_SIZE * entries)
        self.state = Area(ring.STATE_SIZE)
        self.st = self.state.addr
        struct.pack_into("<4Q", self.state.buf, 0, self.desc, self.driver, self.device, self.shadow.addr)
        struct.pack_into("<I", self.state.buf, 60, flags | 32)
        self.register = Area(16)
        struct.pack_into("<QII", self.state.buf, 80, self.register.addr, 0xABCD, width)
        packed.init(self.st, size, self.at(start))
        self.table = Area(16 * size + 16)
        self.used_pos = start
        for slot in range(size):  # what a round before has left
            wrap = self.wrap(start) if slot < start % size else 1 - self.wrap(start)
            memory.view(self.desc + 16 * slot + 14, 2)[:] = struct.pack("<H", (AVAIL | USED) * wrap)

    def wrap(self, position):
        return 1 - position // self.size % 2

    def at(self, position):
        """Offset and wrap counter of a position, as events and notifications have them."""
        return position % self.size | self.wrap(position) << 15

    def word(self, i):
        return struct.unpack_from("<I", self.state.buf, 4 * i)[0]

    def slot(self, i):
        """(address, length, id, flags)"""
        return struct.unpack("<QIHH", memory.view(self.desc + 16 * (i % self.size), 16))

    def available(self, position):
        flags = self.slot(position)[3]
        wrap = self.wrap(position)
        return (flags >> 7 & 1, flags >> 15) == (wrap, 1 - wrap)

    def post(self, n=1, writable=0, how=0):
        for i in range(n):
            packed.pair(self.table.addr, i, 0x1000 * (i + 1), 0 if i else writable)
        return packed.post(self.st, self.table.addr, n, 0, how)

    def publish(self):
        return packed.publish(self.st)

    def use(self, ident, length=0, slots=1, flags=WRITE):
        """The device returns a chain."""
        flags |= (AVAIL | USED) * self.wrap(self.used_pos)
        at = self.desc + 16 * (self.used_pos % self.size) + 8
        memory.view(at, 8)[:] = struct.pack("<IHH", length, ident, flags)
        self.used_pos += slots

    def set_event(self, flags, position=0):
        memory.view(self.device, 4)[:] = struct.pack("<HH", self.at(position), flags)

    def reap(self):
        return packed.reap(self.st, 1)


@pytest.mark.parametrize("size", [1, 3, 256, 32768])
@pytest.mark.clauses("PACKED-LAYOUT-03")
def test_layout_aligns_the_parts(size):
    driver, device, total = packed.layout(size, 4)
    assert driver >= 16 * size and driver % 4 == 0
    assert device >= driver + 4 and device % 4 == 0 and total >= device + 4


@pytest.mark.parametrize("start", [0, 3, 5, 8, 9])
@pytest.mark.clauses("PACKED-WRAP-01", "PACKED-WRAP-02", "PACKED-SG-02", "PACKED-SG-03")
def test_chain_is_written_slot_by_slot_with_the_wrap_counter_of_each(start):
    rig = Rig(5, start=start)
    packed.pair(rig.table.addr, 0, 0x1_2345_6789_ABCD, 0x8000_0001)
    packed.pair(rig.table.addr, 1, 0xFFFF_FFFF, 7)
    packed.pair(rig.table.addr, 2, 0x1000, 9)
    head = packed.post(rig.st, rig.table.addr, 3, 1, 0)
    rig.publish()
    for i, (addr, size, flags) in enumerate(
        ((0x1_2345_6789_ABCD, 0x8000_0001, NEXT), (0xFFFF_FFFF, 7, NEXT | WRITE), (0x1000, 9, WRITE))
    ):
        mark = AVAIL if rig.wrap(start + i) else USED
        assert rig.slot(start + i) == (addr, size, head, flags | mark)
    assert rig.word(9) == rig.word(10) == rig.at(start + 3)
    assert packed.writable(rig.st, head) == 16 and rig.word(13) == 2


@pytest.mark.clauses("PACKED-INDIR-01", "PACKED-INDIR-03", "PACKED-INDIR-05")
def test_indirect_entries_lie_in_order_and_say_only_write():
    rig = Rig(4)
    table = Area(64)
    for i in range(3):
        packed.pair(table.addr, i, 0x1_0000_0000 + i, 16 + i)
    head = packed.post(rig.st, table.addr, 3, 1, 1)
    rig.publish()
    entries = [struct.unpack_from("<QIHH", table.buf, 16 * i) for i in range(3)]
    assert entries == [(0x1_0000_0000, 16, 0, 0), (0x1_0000_0001, 17, 0, WRITE), (0x1_0000_0002, 18, 0, WRITE)]
    assert rig.slot(0) == (table.addr, 48, head, INDIRECT | AVAIL)
    assert packed.writable(rig.st, head) == 35 and rig.word(13) == 3


@pytest.mark.parametrize("start", [0, 3, 4, 7])
@pytest.mark.clauses("PACKED-SUPPLY-01", "PACKED-SUPPLY-02", "PACKED-SUPPLY-03", "PACKED-SG-11", "GEN-RSVD-08")
def test_first_flags_of_a_batch_come_last_between_two_fences(start):
    rig = Rig(4, start=start)
    rig.post(2)
    rig.post(1)
    assert [rig.available(start + i) for i in range(3)] == [False, True, True]
    seen = []
    riscv.on_fence.append(lambda: seen.append([rig.available(start + i) for i in range(3)]))
    rig.publish()
    assert seen == [[False, True, True], [True, True, True]]


@pytest.mark.clauses("PACKED-SG-09", "PACKED-SG-10")
def test_chain_without_room_writes_nothing():
    rig = Rig(4)
    rig.post(3)
    before = bytes(rig.area.buf)
    assert rig.post(2) == -1
    assert bytes(rig.area.buf) == before and rig.word(13) == 1


@pytest.mark.parametrize("width", [2, 4])
def test_publish_writes_the_notify_register_at_its_width(width):
    rig = Rig(4, width=width)
    rig.register.buf[:] = b"\xff" * 16
    rig.post()
    assert rig.publish() == 1
    assert bytes(rig.register.buf) == (0xABCD).to_bytes(width, "little") + b"\xff" * (16 - width)
    assert rig.publish() == 0


@pytest.mark.parametrize("start", [0, 4, 5, 9])
@pytest.mark.clauses("PACKED-DESC-03", "GEN-NOTIFDATA-02")
def test_notification_data_names_the_first_slot_that_is_not_published(start):
    rig = Rig(5, DATA, start)
    rig.post(2)
    rig.publish()
    assert rig.register.buf[:4] == struct.pack("<HH", 0xABCD, rig.at(start + 2))


@pytest.mark.parametrize("flags", [0, EVENT_IDX])
@pytest.mark.clauses("PACKED-EVENT-02")
def test_device_says_whether_it_wants_to_be_notified(flags):
    rig = Rig(8, flags)
    rig.set_event(1, 1)
    rig.post()
    assert rig.publish() == 0
    rig.set_event(0, 77)
    rig.post()
    assert rig.publish() == 1


@pytest.mark.parametrize("size", [1, 5, 8])
@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.clauses("PACKED-EVENT-03")
def test_event_notifies_exactly_when_it_is_crossed(size, first):
    """Every place of an event, before and behind the new slots and in both rounds."""
    for lap in (0, size, 2 * size):
        start = lap + first % size
        for n in range(1, size + 1):
            for event in range(start, start + 2 * size):
                rig = Rig(size, EVENT_IDX, start)
                rig.set_event(2, event)
                for _ in range(n):
                    rig.post()
                assert rig.publish() == (1 if event < start + n else 0), (start, n, event)


@pytest.mark.clauses("PACKED-WRAP-03", "PACKED-SG-04", "PACKED-SG-05")
def test_used_slots_are_skipped_by_the_length_of_their_chain():
    rig = Rig(6)
    lengths = {}
    for _ in range(40):
        while rig.word(13) >= 3:
            n = 1 + len(lengths) % 3
            lengths[rig.post(n, 100)] = n
        rig.publish()
        for head in sorted(lengths, reverse=True):
            rig.use(head, 5, lengths[head], WRITE | NEXT)
        assert rig.reap() == len(lengths)
        for head in sorted(lengths, reverse=True):
            assert packed.first(rig.st, 0) == head and packed.state(rig.st, head) == 5
            packed.give(rig.st, head)
        lengths = {}
        assert rig.word(13) == 6 and rig.word(14) == 0


@pytest.mark.clauses("PACKED-USED-01", "PACKED-USED-02")
def test_length_means_nothing_where_nothing_was_written():
    rig = Rig(4)
    readable = rig.post(1, 0)
    writable = rig.post(1, 8)
    rig.publish()
    rig.use(readable, 0xDEAD, flags=0)
    rig.use(writable, 0xDEAD, flags=0)
    assert rig.reap() == 2
    assert (packed.state(rig.st, readable), packed.state(rig.st, writable)) == (0, 0)


def test_reap_fences_before_the_data_are_looked_at():
    rig = Rig(4)
    head = rig.post()
    rig.publish()
    rig.use(head)
    before = riscv.fences[0]
    rig.reap()
    assert riscv.fences[0] == before + 1


@pytest.mark.parametrize(
    "lie", [(4, 0), (0xFFFF, 0), (1, 0), (0, 9)], ids=["beyond", "huge", "not in flight", "too long"]
)
def test_reap_refuses_what_the_device_made_up(lie):
    rig = Rig(4)
    assert rig.post(1, 8) == 0
    rig.publish()
    rig.use(*lie)
    assert rig.reap() >= ring.OVERRUN
    assert (rig.word(16), rig.word(17)) == lie


def test_the_same_id_twice_is_refused():
    rig = Rig(4)
    head = rig.post(1, 8)
    rig.post(1, 8)
    rig.publish()
    rig.use(head, 8)
    rig.use(head, 8)
    assert rig.reap() == ring.OVERRUN + 1


def test_lengths_that_are_not_trusted_are_no_lie():
    rig = Rig(4, UNTRUSTED)
    head = rig.post(1, 8)
    rig.publish()
    rig.use(head, 9)
    assert rig.reap() == 1


@pytest.mark.parametrize("start", [0, 3, 4, 7])
@pytest.mark.clauses("PACKED-EVENT-01", "PACKED-EVENT-04", "PACKED-RECV-01", "PACKED-RECV-02")
def test_interrupts_are_asked_for_by_flags(start):
    rig = Rig(4, start=start)
    event = lambda: struct.unpack("<HH", memory.view(rig.driver, 4))
    assert packed.listen(rig.st, 0, 0) == 0
    assert event()[1] == 1
    head = rig.post()
    rig.publish()
    rig.use(head)
    assert packed.listen(rig.st, 1, 0) == 1
    assert event()[1] == 0


@pytest.mark.parametrize("start", [0, 3, 4, 7])
@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.clauses("PACKED-EVENT-01")
def test_interrupts_are_asked_for_by_event(start, ahead):
    rig = Rig(4, EVENT_IDX, start)
    event = lambda: struct.unpack("<HH", memory.view(rig.driver, 4))
    packed.listen(rig.st, 1, ahead)
    assert event() == (rig.at(start + ahead), 2)
    head = rig.post()
    rig.publish()
    rig.use(head)
    rig.reap()
    assert event() == (rig.at(start + 1), 2)
    packed.listen(rig.st, 0, 0)
    assert event()[1] == 1


def test_poll_sees_a_used_descriptor_and_gives_up_without():
    rig = Rig(4)
    head = rig.post()
    rig.publish()
    assert packed.poll(rig.st, 10) == 0
    rig.use(head)
    assert packed.poll(rig.st, 10) == 1


@pytest.mark.parametrize("size,flags,start", [(1, 0, 0), (2, 1, 3), (5, 1, 9), (16, 0, 31), (100, 1, 7), (256, 1, 0)])
def test_random_traffic_keeps_the_accounts(size, flags, start):
    """Chains of random length come back in random order; slots, ids and lengths add up."""
    rng = random.Random(size * 7 + flags)
    rig = Rig(size, flags, start)
    flying, done = {}, []
    for _ in range(3000):
        what = rng.randrange(3)
        n = rng.randint(1, min(4, size))
        if what == 0:
            free = rig.word(13)
            room = rng.randrange(1 << 32)
            head = rig.post(n, room)
            assert (head == -1) == (free < n)
            if head >= 0:
                assert head not in flying and head not in [d[0] for d in done]
                flying[head] = (n, room)
                rig.publish()
        elif what == 1 and flying:
            head = rng.choice(list(flying))
            n, room = flying.pop(head)
            length = rng.randint(0, room)
            rig.use(head, length, n)
            done.append((head, n, length))
            assert rig.reap() == 1
        elif done:
            assert packed.first(rig.st, 0) == done[0][0]
            head, n, length = done.pop(rng.randrange(len(done)))
            assert packed.state(rig.st, head) == length
            packed.give(rig.st, head)
        busy = sum(v[0] for v in flying.values()) + sum(d[1] for d in done)
        assert rig.word(13) == size - busy
        assert rig.word(14) == len(flying)
