"""The strict model itself: each rule that it knows is named when a driver breaks it."""

import struct

import pytest
import riscv
from fake_device import FakeDevice, FakeMMIO, Violation, mask
from fake_packed import FakePackedQueue
from fake_queue import FakeQueue
from fake_rules import EVENT_IDX, IN_ORDER, INDIRECT_DESC, NOTIFICATION_DATA, RING_PACKED, RING_RESET
from virtio_host import BASE, fresh, memory

NEXT, WRITE, INDIRECT = 1, 2, 4


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


def broken(clause):
    return pytest.raises(Violation, match="^" + clause + ":")


class Disk(FakeDevice):
    """Device id 2, so that its feature bits are known."""

    DEVICE_ID = 2
    FIELDS = {0: (4, None), 4: (2, 9)}


def rig(legacy=False, features=0, ring_features=0, **options):
    device = Disk(features=features, ring_features=ring_features, legacy=legacy, config=bytes(8), **options)
    registers = FakeMMIO(device, BASE)
    for off in (0, 4, 8):
        read(off)
    return device, registers


def read(off, width=4):
    return memory.read(BASE + off, width)


def write(off, value, width=4):
    memory.write(BASE + off, width, value)


def accept(features=1 << 32):
    for sel in range(0, max(1, -(-features.bit_length() // 32))):
        write(0x24, sel)
        write(0x20, features >> 32 * sel & 0xFFFFFFFF)


def status(*values):
    for value in values:
        write(0x70, value)
        if value in (0, 11):
            read(0x70)


def select(index=0):
    write(0x30, index)
    return read(0x44)


def queue(index=0, size=8, **where):
    """Set up a queue in three zeroed parts."""
    parts = {"desc": 16 * size, "avail": 6 + 2 * size, "used": 6 + 8 * size}
    addrs = {name: memory.addr(bytearray(n)) for name, n in parts.items()}
    addrs.update(where)
    select(index)
    read(0x34)
    write(0x38, size)
    for reg, name in ((0x80, "desc"), (0x90, "avail"), (0xA0, "used")):
        write(reg, addrs[name] & 0xFFFFFFFF)
        write(reg + 4, addrs[name] >> 32)
    write(0x44, 1)
    return addrs


def live(features=1 << 32, **options):
    device, registers = rig(ring_features=features & ~(1 << 32), **options)
    status(0, 1, 3)
    accept(features)
    status(11)
    addrs = queue()
    status(15)
    return device, addrs


# -- general ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values,clause",
    [
        ([1], "GEN-INIT-02"),
        ([0, 3], "GEN-STATUS-01"),
        ([0, 2], "GEN-INIT-03"),
        ([0, 1, 9], "GEN-INIT-04"),
        ([0, 1, 3, 7], "GEN-INIT-06"),
        ([0, 1, 0x11], "GEN-SUSPEND-01"),
        ([0, 1, 2], "GEN-STATUS-02"),
        ([0, 1, 129, 131, 3], "GEN-STATUS-03"),
    ],
)
def test_status(values, clause):
    rig()
    with broken(clause):
        status(*values)


def test_no_features_written():
    rig()
    status(0, 1, 3)
    with broken("GEN-INIT-05"):
        status(11)


@pytest.mark.parametrize(
    "offered,accepted,clause",
    [
        (mask(), mask(32, 9), "GEN-FEAT-01"),
        (mask(), mask(), "GEN-RSVD-01"),
        (mask(24), mask(24, 32), "GEN-FEAT-05"),
        (mask(44), mask(44, 32), "GEN-FEAT-05"),
        (mask(18), mask(18, 32), "GEN-FEAT-07"),
        (mask(100), mask(100, 32), "GEN-FEAT-04"),
        (mask(37), mask(37, 32), "GEN-RSVD-10"),
        (mask(39), mask(39, 32), "GEN-FEAT-06"),
        (mask(41), mask(41, 32), "MMIO-40"),
        (mask(33), mask(32), "GEN-RSVD-03"),
        (mask(34), mask(32), "GEN-RSVD-06"),
        (mask(36), mask(32), "GEN-RSVD-07"),
    ],
)
def test_features(offered, accepted, clause):
    rig(features=offered)
    status(0, 1, 3)
    accept(accepted)
    with broken(clause):
        status(11)


def test_features_at_the_wrong_time():
    rig()
    status(0, 1)
    with broken("GEN-INIT-01"):
        accept()
    status(3)
    accept()
    status(11)
    with broken("GEN-INIT-12"):
        accept()


def test_features_that_are_refused():
    device, _ = rig()
    device.refuse = True
    status(0, 1, 3)
    accept()
    write(0x70, 11)
    with broken("GEN-INIT-07"):
        write(0x30, 0)
    assert read(0x70) == 3
    with broken("GEN-INIT-14"):
        queue()
    with broken("GEN-INIT-14"):
        status(11)
    with broken("GEN-INIT-13"):
        status(0)
    status(0x83, 0)


def test_reset_is_waited_for():
    rig()
    write(0x70, 0)
    with broken("GEN-RESET-01"):
        write(0x70, 1)


def test_queues_before_the_features():
    rig()
    status(0, 1, 3)
    with broken("GEN-INIT-08"):
        queue()


def test_notification_before_driver_ok():
    rig()
    status(0, 1, 3)
    accept()
    status(11)
    queue()
    with broken("GEN-INIT-15"):
        write(0x50, 0)


def test_configuration():
    rig()
    status(0, 1, 3)
    with broken("GEN-INIT-11"):
        write(0x100, 1)
    with broken("GEN-CFG-03"):
        read(0x104, 2)
    read(0x100)
    with broken("GEN-CFG-02"):
        write(0x30, 0)
    with broken("MMIO-08"):
        read(0x100, 1)
    with broken("MMIO-04"):
        read(0x106, 2)


@pytest.mark.parametrize("accepted,clause", [(mask(30), "GEN-LEGRSVD-02"), (0, "GEN-LEGRSVD-01")])
def test_legacy_features(accepted, clause):
    rig(legacy=True, features=mask(27, 30))
    status(0, 1, 3)
    accept(accepted)
    with broken(clause):
        status(7)


def test_legacy_has_no_features_ok():
    rig(legacy=True)
    status(0, 1, 3)
    with broken("GEN-LEGINIT-01"):
        status(11)


# -- registers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "access,clause",
    [
        (lambda: read(0x14), "MMIO-06"),
        (lambda: write(0x10, 0), "MMIO-05"),
        (lambda: read(0x200 - 0x108), "MMIO-04"),
        (lambda: read(0x70, 1), "MMIO-07"),
        (lambda: read(0x10), "MMIO-15"),
        (lambda: write(0x20, 0), "MMIO-16"),
        (lambda: write(0x64, 4), "MMIO-23"),
        (lambda: write(0x64, 1), "MMIO-22"),
        (lambda: write(0xAC, 0), "MMIO-31"),
        (lambda: read(0xB0), "MMIO-31"),
        (lambda: read(0x34), "MMIO-33"),
    ],
)
def test_registers(access, clause):
    rig()
    status(0, 1, 3)
    with broken(clause):
        access()


def test_identity_comes_first():
    FakeMMIO(Disk(), BASE)
    with broken("MMIO-27"):
        read(0x70)


def test_an_empty_slot_is_left_alone():
    FakeMMIO(FakeDevice(), BASE)
    for off in (0, 4, 8):
        read(off)
    with broken("MMIO-30"):
        read(0x0C)


def test_queue_registers():
    rig(queues=(8,))
    status(0, 1, 3)
    accept()
    status(11)
    select(1)
    with broken("MMIO-03"):
        write(0x38, 8)
    select(0)
    with broken("MMIO-17"):
        write(0x38, 16)
    with broken("SPLIT-LAYOUT-01"):
        queue(size=7)
    select(0)
    queue()
    with broken("MMIO-18"):
        write(0x38, 4)
    write(0x44, 0)
    with broken("MMIO-20"):
        write(0x30, 0)


@pytest.mark.parametrize("name", ["desc", "avail", "used"])
def test_alignment(name):
    rig()
    status(0, 1, 3)
    accept()
    status(11)
    with broken("SPLIT-LAYOUT-02"):
        queue(**{name: memory.addr(bytearray(300)) + 1})


@pytest.mark.parametrize(
    "name,off,clause", [("avail", 2, "SPLIT-AVAIL-01"), ("used", 0, "SPLIT-ANOTIF-01"), ("desc", 5, "MMIO-34")]
)
def test_dirty_memory(name, off, clause):
    rig()
    status(0, 1, 3)
    accept()
    status(11)
    dirty = bytearray(300)
    dirty[off] = 1
    with broken(clause):
        queue(**{name: memory.addr(dirty)})


def test_legacy_queue_registers():
    rig(legacy=True)
    status(0, 1, 3)
    accept(0)
    with broken("MMIO-LEG-10"):
        read(0x44)
    write(0x30, 0)
    with broken("MMIO-LEG-03"):
        read(0x34)
    assert read(0x40) == 0
    with broken("MMIO-LEG-05"):
        write(0x38, 512)
    with broken("MMIO-LEG-02"):
        write(0x40, 1)
    with broken("MMIO-LEG-02"):
        write(0x28, 4095)
    write(0x28, 4096)
    with broken("MMIO-LEG-05"):
        write(0x40, 1)
    write(0x38, 8)
    with broken("MMIO-LEG-06"):
        write(0x40, 1)
    write(0x3C, 4096)
    area = bytearray(5 * 4096)
    page = -(-memory.addr(area) // 4096)
    dirty = memory.view(page * 4096 + 16 * 8 + 2, 1)
    dirty[:] = b"\1"
    with broken("SPLIT-LEGLAYOUT-02"):
        write(0x40, page)
    dirty[:] = b"\0"
    write(0x40, page)
    with broken("MMIO-LEG-04"):
        read(0x34)
    with broken("MMIO-LEG-02"):
        write(0x28, 4096)


def test_queue_reset():
    device, _ = live(mask(32, RING_RESET))
    device.queue_reset_delay = 2
    write(0xC0, 1)
    with broken("MMIO-24"):
        read(0x44)
    assert [read(0xC0), read(0xC0), read(0xC0)] == [1, 1, 0]
    assert read(0x44) == 0
    with broken("GEN-VQRESET-03"):
        write(0x44, 1)
    queue()


def test_queue_reset_was_not_negotiated():
    live()
    with broken("MMIO-24"):
        write(0xC0, 1)


def test_interrupts_that_nobody_serves():
    device, _ = live()
    registers = next(m[2] for m in memory._mmio if isinstance(m[2], FakeMMIO))
    device.interrupt(1)
    with broken("MMIO-37"):
        registers.serve(5)
    riscv.irq(5, lambda source: read(0x60) and False)
    with broken("MMIO-39"):
        registers.serve(5)
    riscv.irq(5, lambda source: write(0x64, read(0x60)))
    registers.serve(5)


# -- split rings -----------------------------------------------------------------------------------


class Split:
    """The driver's side of a split queue by hand."""

    def __init__(self, *features, size=8):
        self.device, self.where = live(mask(32, *features))
        self.queue = self.device.queues[0]
        assert isinstance(self.queue, FakeQueue)
        self.idx = 0

    def desc(self, i, addr, size, flags=0, link=0):
        for n, (width, value) in enumerate(((8, addr), (4, size), (2, flags), (2, link))):
            memory.write(self.where["desc"] + 16 * i + (0, 8, 12, 14)[n], width, value)

    def put(self, head, data=0):
        memory.write(self.where["avail"] + 4 + 2 * (self.idx % 8), 2, head)
        self.idx += 1
        memory.write(self.where["avail"] + 2, 2, self.idx)
        write(0x50, data)


BYTE = b"x"


def element(flags=0, link=0):
    return memory.addr(BYTE), 1, flags, link


def table(*entries):
    data = bytearray(b"".join(struct.pack("<QIHH", *entry) for entry in entries))
    return memory.addr(data), len(data), INDIRECT


@pytest.mark.parametrize(
    "features,chain,clause",
    [
        ((), lambda: [element(NEXT | WRITE, 1), element()], "SPLIT-FRAME-01"),
        ((), lambda: [element(NEXT, 0)], "SPLIT-DESC-02"),
        ((), lambda: [element(NEXT, 9)], "SPLIT-DESC-02"),
        ((), lambda: [element(8)], "SPLIT-LAYOUT"),
        ((), lambda: [(0, 0)], "SPLIT-FRAME-02"),
        ((), lambda: [table(element())], "SPLIT-INDIR-01"),
        ((INDIRECT_DESC,), lambda: [(*table(element())[:2], INDIRECT | NEXT, 1), element()], "SPLIT-INDIR-04"),
        ((INDIRECT_DESC,), lambda: [table((*table(element()), 0))], "SPLIT-INDIR-02"),
        ((INDIRECT_DESC,), lambda: [table(*[element(NEXT, i + 1) for i in range(8)], element())], "SPLIT-INDIR-03"),
        ((INDIRECT_DESC,), lambda: [table(element(NEXT, 0))], "SPLIT-DESC-02"),
        ((INDIRECT_DESC,), lambda: [table(element(NEXT, 5))], "SPLIT-INDIR"),
        ((IN_ORDER,), lambda: [element(NEXT, 2), element(), element()], "SPLIT-DESC-03"),
        ((IN_ORDER, INDIRECT_DESC), lambda: [table(element(NEXT, 2), element(), element())], "SPLIT-INDIR-05"),
    ],
)
def test_chains(features, chain, clause):
    rig = Split(*features)
    for i, entry in enumerate(chain()):
        rig.desc(i, *entry)
    with broken(clause):
        rig.put(0)


def test_in_order_begins_at_descriptor_0():
    rig = Split(IN_ORDER)
    rig.desc(1, *element())
    with broken("SPLIT-DESC-01"):
        rig.put(1)


def test_head_beyond_the_queue():
    rig = Split()
    with broken("SPLIT-SUPPLY-02"):
        rig.put(8)


def test_what_is_in_flight_is_left_alone():
    rig = Split()
    rig.device.manual = True
    rig.desc(0, *element())
    rig.put(0)
    with broken("GEN-CLEANUP-01"):
        rig.desc(0, *element())
    with broken("GEN-CLEANUP-01"):
        rig.put(0)


def test_used_ring_is_the_devices():
    rig = Split()
    with broken("SPLIT-USED-01"):
        memory.write(rig.where["used"] + 4, 4, 0)


def test_index_does_not_go_back():
    rig = Split()
    rig.desc(0, *element())
    rig.put(0)
    with broken("SPLIT-AVAIL-02"):
        memory.write(rig.where["avail"] + 2, 2, 0)


@pytest.mark.parametrize("features,value,clause", [((), 2, "SPLIT-UNOTIF-01"), ((EVENT_IDX,), 1, "SPLIT-UNOTIF-03")])
def test_available_flags(features, value, clause):
    rig = Split(*features)
    memory.write(rig.where["avail"], 2, value)
    with broken(clause):
        rig.queue.look()


@pytest.mark.parametrize("features,clause", [((), "SPLIT-ANOTIF-04"), ((EVENT_IDX,), "SPLIT-ANOTIF-06")])
def test_missing_notification(features, clause):
    rig = Split(*features)
    rig.desc(0, *element())
    memory.write(rig.where["avail"] + 2, 2, 1)
    with broken(clause):
        memory.read(rig.where["used"] + 2, 2)


@pytest.mark.parametrize("features,clause", [((), "SPLIT-ANOTIF-03"), ((EVENT_IDX,), "SPLIT-ANOTIF-07")])
def test_needless_notification(features, clause):
    Split(*features)
    with broken(clause):
        write(0x50, 0)


def test_notification_of_no_queue():
    live()
    with broken("MMIO-35"):
        write(0x50, 7)


def test_notification_data():
    rig = Split(NOTIFICATION_DATA)
    rig.desc(0, *element())
    with broken("GEN-NOTIFDATA-01"):
        rig.put(0)
    rig.device.notify(1 << 16)
    with broken("MMIO-36"):
        rig.device.notify(1 << 16 | 3)


def test_packed_queues_are_chosen_by_negotiation():
    device, _ = live(mask(32, RING_PACKED))
    assert isinstance(device.queues[0], FakePackedQueue)
