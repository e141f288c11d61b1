"""modules/virtio/ring: descriptors, free list, available and used ring, suppression, wrap-around."""

import random
import struct

import pytest
import riscv
from virtio import ring
from virtio.dma import Area
from virtio_host import fresh, memory

NEXT, WRITE, INDIRECT = 1, 2, 4
EVENT_IDX, LEGACY = 1, 2


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


class Rig:
    """A queue without Virtqueue: the state block, and the device's view of the ring."""

    def __init__(self, size, flags=0, align=4, width=4):
        self.size = size
        avail, used, total = ring.layout(size, align)
        self.area = Area(total, max(16, align))
        self.desc, self.avail, self.used = self.area.addr, self.area.addr + avail, self.area.addr + used
        self.shadow = Area(ring.SHADOW_SIZE * size)
        self.state = Area(ring.STATE_SIZE)
        self.st = self.state.addr
        struct.pack_into("<4Q", self.state.buf, 0, self.desc, self.avail, self.used, self.shadow.addr)
        struct.pack_into("<I", self.state.buf, 60, flags)
        self.register = Area(16)
        struct.pack_into("<QII", self.state.buf, 80, self.register.addr, 0xABCD, width)
        ring.init(self.st, size, ring.START)
        self.table = Area(16 * size + 16)

    def word(self, i):
        return struct.unpack_from("<I", self.state.buf, 4 * i)[0]

    def set_word(self, i, value):
        struct.pack_into("<I", self.state.buf, 4 * i, value)

    def descriptor(self, i):
        return struct.unpack("<QIHH", memory.view(self.desc + 16 * i, 16))

    def u16(self, addr):
        return struct.unpack("<H", memory.view(addr, 2))[0]

    def use(self, head, length=0):
        """The device returns a chain."""
        idx = self.u16(self.used + 2)
        memory.view(self.used + 4 + 8 * (idx % self.size), 8)[:] = struct.pack("<II", head, length)
        memory.view(self.used + 2, 2)[:] = struct.pack("<H", (idx + 1) & 0xFFFF)

    def set_event(self, value):
        memory.view(self.used + 4 + 8 * self.size, 2)[:] = struct.pack("<H", value & 0xFFFF)

    def warp(self, idx):
        """Start both sides at idx."""
        for i in (9, 10, 11):
            self.set_word(i, idx)
        memory.view(self.avail + 2, 2)[:] = struct.pack("<H", idx)
        memory.view(self.used + 2, 2)[:] = struct.pack("<H", idx)

    def put(self, n=1, writable=0):
        for i in range(n):
            ring.pair(self.table.addr, i, 0x1000 * (i + 1), 0 if i else writable)
        return ring.post(self.st, self.table.addr, n, 0, 0)

    def publish(self):
        return ring.publish(self.st)

    def reap(self):
        return ring.reap(self.st, 1)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 256, 32768])
@pytest.mark.clauses("SPLIT-LAYOUT-02")
def test_layout_aligns_the_parts(size):
    avail, used, total = ring.layout(size, 4)
    assert avail == 16 * size and used % 4 == 0 and used >= avail + 6 + 2 * size
    assert total >= used + 6 + 8 * size


@pytest.mark.parametrize("size", [1, 2, 8, 128, 256, 1024])
@pytest.mark.clauses("SPLIT-LEGLAYOUT-02", "SPLIT-LEGLAYOUT-03")
def test_legacy_layout_follows_the_formula(size):

    def up(n):
        return -(-n // 4096) * 4096

    avail, used, total = ring.layout(size, 4096)
    assert avail == 16 * size
    assert used == up(16 * size + 2 * (3 + size))
    assert total == used + up(6 + 8 * size)


def test_take_links_a_chain_and_give_frees_it():
    rig = Rig(8)
    a = ring.take(rig.st, 3)
    b = ring.take(rig.st, 5)
    assert rig.word(13) == 0
    assert ring.take(rig.st, 1) == -1
    ring.give(rig.st, b)
    assert rig.word(13) == 5
    ring.give(rig.st, a)
    assert rig.word(13) == 8
    assert ring.take(rig.st, 8) >= 0


def test_take_of_too_many_changes_nothing():
    rig = Rig(4)
    assert ring.take(rig.st, 5) == -1
    assert rig.word(13) == 4
    assert ring.take(rig.st, 4) == 0


def test_post_writes_64_bit_addresses_and_links():
    rig = Rig(4)
    ring.pair(rig.table.addr, 0, 0x1_2345_6789_ABCD, 0x8000_0001)
    ring.pair(rig.table.addr, 1, 0xFFFF_FFFF, 7)
    head = ring.post(rig.st, rig.table.addr, 2, 1, 0)
    second = rig.descriptor(head)[3]
    assert rig.descriptor(head) == (0x1_2345_6789_ABCD, 0x8000_0001, NEXT, second)
    assert rig.descriptor(second) == (0xFFFF_FFFF, 7, WRITE, 0)
    assert ring.writable(rig.st, head) == 7 and rig.word(13) == 2


@pytest.mark.clauses("SPLIT-INDIR-05")
def test_indirect_entries_link_to_the_next():
    rig = Rig(4)
    table = Area(64)
    for i in range(3):
        ring.pair(table.addr, i, 0x1_0000_0000 + i, 16 + i)
    head = ring.post(rig.st, table.addr, 3, 1, 1)
    entries = [struct.unpack_from("<QIHH", table.buf, 16 * i) for i in range(3)]
    assert entries == [(0x1_0000_0000, 16, 1, 1), (0x1_0000_0001, 17, 3, 2), (0x1_0000_0002, 18, 2, 0)]
    assert rig.descriptor(head) == (table.addr, 48, INDIRECT, 0)
    assert ring.writable(rig.st, head) == 35 and rig.word(13) == 3


@pytest.mark.clauses("SPLIT-SUPPLY-01", "SPLIT-SUPPLY-02", "SPLIT-SUPPLY-03", "SPLIT-AVAIL-01")
def test_nothing_is_visible_before_publish_and_all_of_it_after():
    rig = Rig(8)
    heads = [rig.put() for _ in range(3)]
    assert rig.u16(rig.avail + 2) == 0
    assert rig.publish() == 1
    assert rig.u16(rig.avail + 2) == 3
    assert [rig.u16(rig.avail + 4 + 2 * i) for i in range(3)] == heads


@pytest.mark.clauses("SPLIT-SUPPLY-04", "SPLIT-SUPPLY-05", "GEN-RSVD-08")
def test_publish_fences_before_and_after_the_index():
    rig = Rig(8)
    rig.put()
    seen = []

    def fence():
        seen.append(rig.u16(rig.avail + 2))

    riscv.on_fence.append(fence)
    rig.publish()
    assert seen == [0, 1]


@pytest.mark.parametrize("width", [2, 4])
def test_publish_writes_the_notify_register_at_its_width(width):
    rig = Rig(4, width=width)
    rig.register.buf[:] = b"\xff" * 16
    rig.put()
    rig.publish()
    assert bytes(rig.register.buf) == (0xABCD).to_bytes(width, "little") + b"\xff" * (16 - width)


def test_publish_without_anything_new_never_notifies():
    rig = Rig(8)
    assert rig.publish() == 0
    rig.put()
    assert rig.publish() == 1
    assert rig.publish() == 0


@pytest.mark.clauses("SPLIT-ANOTIF-02", "SPLIT-ANOTIF-03", "SPLIT-ANOTIF-04")
def test_used_flags_suppress_the_notification():
    rig = Rig(8)
    rig.set_event(77)  # not consulted without EVENT_IDX
    memory.view(rig.used, 2)[:] = b"\1\0"
    rig.put()
    assert rig.publish() == 0
    memory.view(rig.used, 2)[:] = b"\0\0"
    rig.put()
    assert rig.publish() == 1


@pytest.mark.parametrize("flags", [b"\0\0", b"\1\0"])
@pytest.mark.parametrize("start", [0, 1, 100, 65530, 65534, 65535])
@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("ahead", [-1, 0, 1, 7, 8])
@pytest.mark.clauses("SPLIT-ANOTIF-05", "SPLIT-ANOTIF-06", "SPLIT-ANOTIF-07")
def test_event_idx_notifies_exactly_when_the_event_is_crossed(flags, start, batch, ahead):
    rig = Rig(16, EVENT_IDX)
    rig.warp(start)
    memory.view(rig.used, 2)[:] = flags
    rig.set_event(start + ahead)
    for _ in range(batch):
        rig.put()
    assert rig.publish() == (1 if 0 <= ahead < batch else 0)


@pytest.mark.clauses("SPLIT-AVAIL-01", "SPLIT-AVAIL-02")
def test_index_wraps_at_65536():
    rig = Rig(4, EVENT_IDX)
    rig.warp(65534)
    for i in range(6):
        head = rig.put(writable=4)
        rig.publish()
        assert rig.u16(rig.avail + 2) == (65535 + i) & 0xFFFF
        assert rig.u16(rig.avail + 4 + 2 * ((65534 + i) % 4)) == head
        rig.use(head, 4)
        assert rig.reap() == 1
        ring.give(rig.st, head)


def test_reap_in_another_order_and_hand_out_in_used_order():
    rig = Rig(8)
    heads = [rig.put(writable=100) for _ in range(4)]
    rig.publish()
    order = [heads[i] for i in (2, 0, 3, 1)]
    for n, head in enumerate(order):
        rig.use(head, n)
    assert rig.reap() == 4
    for n, head in enumerate(order):
        assert ring.first(rig.st, 0) == head
        assert ring.state(rig.st, head) == n
        ring.give(rig.st, head)
    assert ring.first(rig.st, 0) == -1
    assert rig.word(13) == 8


def test_give_out_of_order_keeps_the_order_of_the_rest():
    rig = Rig(4)
    heads = [rig.put() for _ in range(4)]
    rig.publish()
    for head in heads:
        rig.use(head)
    rig.reap()
    ring.give(rig.st, heads[2])
    ring.give(rig.st, heads[1])
    assert ring.first(rig.st, 0) == heads[0]
    ring.give(rig.st, heads[0])
    assert ring.first(rig.st, 0) == heads[3]


def test_reap_fences_between_index_and_element():
    rig = Rig(4)
    head = rig.put()
    rig.publish()
    rig.use(head)
    before = riscv.fences[0]
    rig.reap()
    assert riscv.fences[0] == before + 1


@pytest.mark.parametrize("flags", [0, EVENT_IDX])
@pytest.mark.clauses("SPLIT-USED-01")
def test_reap_never_writes_the_used_ring(flags):
    rig = Rig(4, flags)
    head = rig.put(writable=4)
    rig.publish()
    rig.use(head, 4)
    before = bytes(memory.view(rig.used, 6 + 8 * 4))
    rig.reap()
    ring.give(rig.st, head)
    assert bytes(memory.view(rig.used, 6 + 8 * 4)) == before


def bogus_id(rig, head):
    rig.use(4)
    return 4, 0


def huge_id(rig, head):
    rig.use(0xFFFF_FFFF)
    return 0xFFFF_FFFF, 0


def id_not_in_flight(rig, head):
    rig.use((head + 1) % 4)
    return (head + 1) % 4, 0


def same_id_twice(rig, head):
    rig.put()
    rig.publish()
    rig.use(head, 8)
    rig.use(head, 8)
    return head, 8


def too_long(rig, head):
    rig.use(head, 9)
    return head, 9


def index_runs_ahead(rig, head):
    memory.view(rig.used + 2, 2)[:] = b"\2\0"
    return 0xFFFF_FFFF, 2


@pytest.mark.parametrize("lie", [bogus_id, huge_id, id_not_in_flight, same_id_twice, too_long, index_runs_ahead])
def test_reap_refuses_what_the_device_made_up(lie):
    rig = Rig(4)
    head = rig.put(writable=8)
    rig.publish()
    expected = lie(rig, head)
    assert rig.reap() >= ring.OVERRUN
    assert (rig.word(16), rig.word(17)) == expected


@pytest.mark.clauses("SPLIT-USED-02", "BLK-LEG-04")
def test_legacy_used_length_is_not_trusted():
    rig = Rig(4, LEGACY)
    head = rig.put(writable=8)
    rig.publish()
    rig.use(head, 4096)
    assert rig.reap() == 1
    assert ring.first(rig.st, 0) == head


@pytest.mark.clauses("SPLIT-UNOTIF-01", "SPLIT-UNOTIF-02", "SPLIT-RECV-01", "SPLIT-RECV-02")
def test_interrupts_are_asked_for_by_flags():
    rig = Rig(4)
    assert ring.listen(rig.st, 0, 0) == 0
    assert rig.u16(rig.avail) == 1
    head = rig.put()
    rig.publish()
    rig.use(head)
    assert ring.listen(rig.st, 1, 0) == 1
    assert rig.u16(rig.avail) == 0


@pytest.mark.parametrize("start", [0, 65535])
@pytest.mark.clauses("SPLIT-UNOTIF-03", "SPLIT-UNOTIF-04")
def test_interrupts_are_asked_for_by_used_event(start):
    rig = Rig(4, EVENT_IDX)
    rig.warp(start)
    used_event = rig.avail + 4 + 2 * 4
    ring.listen(rig.st, 1, 0)
    assert (rig.u16(rig.avail), rig.u16(used_event)) == (0, start)
    head = rig.put()
    rig.publish()
    rig.use(head)
    rig.reap()
    assert rig.u16(used_event) == (start + 1) & 0xFFFF
    ring.listen(rig.st, 0, 0)
    assert (rig.u16(rig.avail), rig.u16(used_event)) == (0, start)


def test_poll_sees_a_used_element_and_gives_up_without():
    rig = Rig(4)
    head = rig.put()
    rig.publish()
    assert ring.poll(rig.st, 10) == 0
    rig.use(head)
    assert ring.poll(rig.st, 10) == 1


@pytest.mark.parametrize("size,flags,start", [(1, 0, 0), (2, 1, 65500), (16, 1, 65000), (64, 0, 0), (256, 1, 65535)])
def test_random_traffic_keeps_the_accounts(size, flags, start):
    """Chains of random length come back in random order; descriptors, tokens and lengths add up."""
    rng = random.Random(size * 7 + flags)
    rig = Rig(size, flags)
    rig.warp(start)
    flying, done = {}, []
    for _ in range(3000):
        what = rng.randrange(3)
        n = rng.randint(1, min(4, size))
        if what == 0:
            free = rig.word(13)
            room = rng.randrange(1 << 32)
            head = rig.put(n, room)
            assert (head == -1) == (free < n)
            if head >= 0:
                assert head not in flying and head not in [d[0] for d in done]
                flying[head] = (n, room)
                rig.publish()
        elif what == 1 and flying:
            head = rng.choice(list(flying))
            n, room = flying.pop(head)
            length = rng.randint(0, room)
            rig.use(head, length)
            done.append((head, n, length))
            assert rig.reap() == 1
        elif done:
            assert ring.first(rig.st, 0) == done[0][0]
            head, n, length = done.pop(rng.randrange(len(done)))
            assert ring.state(rig.st, head) == length
            ring.give(rig.st, head)
        busy = sum(v[0] for v in flying.values()) + sum(d[1] for d in done)
        assert rig.word(13) == size - busy
        assert rig.word(14) == len(flying)
