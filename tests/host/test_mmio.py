"""modules/virtio/mmio and discover: registers in the right order and width; slots to devices."""

import pytest
import riscv
from fake_device import EVENT_IDX, FakeDevice, FakeMMIO, Violation, mask
from virtio import discover
from virtio.device import Device
from virtio.transport import DeviceError
from virtio_host import BASE, MMIO, Blk, FakeBlk, attach, blk, fresh, memory, mmio


@pytest.fixture(autouse=True)
def _fresh():
    fresh()
    discover._slots = None
    discover._registered.clear()


class Some(FakeDevice):
    DEVICE_ID = 42
    FIELDS = {0: (1, None), 1: (1, None), 2: (2, None), 4: (4, None), 8: (4, None), 12: (4, None)}


class Node:
    """As much of an fdt node as discovery asks for."""

    def __init__(self, base, source=7, enabled=True):
        self.base, self.source, self.enabled = base, source, enabled
        self.controller = 3

    def reg(self, i):
        return self.base, 0x200

    def interrupts(self):
        return [(self, (self.source,))]

    def u32(self, name):
        assert name == "phandle"
        return self.controller


class Tree:
    def __init__(self, *nodes):
        self.nodes = nodes

    def compatible(self, name):
        return self.nodes if name == "virtio,mmio" else ()


def tree(*devices):
    """A tree of four slots, the highest with the first device; [FakeMMIO]."""
    bases = [0x1000_1000 + 0x1000 * i for i in range(4)][::-1]
    devices = list(devices) + [Some() for _ in range(4 - len(devices))]
    registers = []
    for base, device in zip(bases, devices):
        if isinstance(device, Some):
            device.DEVICE_ID = 0
        registers.append(FakeMMIO(device, base))
    return Tree(*(Node(base) for base in bases[::-1])), registers


# -- identification ---------------------------------------------------------------------


@pytest.mark.clauses("MMIO-27", "MMIO-28", "MMIO-07", "MMIO-02")
def test_find_reads_magic_version_and_id_and_nothing_else():
    registers = FakeMMIO(FakeBlk(), BASE)
    transport = mmio.find(BASE)
    assert registers.reads == [0x00, 0x04, 0x08]
    assert (transport.device_id, transport.version, transport.legacy) == (2, 2, False)


@pytest.mark.clauses("MMIO-09")
def test_wrong_magic_is_passed_over():
    registers = FakeMMIO(FakeBlk(), BASE, magic=0x12345678)
    assert mmio.find(BASE) is None
    assert registers.reads == [0x00]


@pytest.mark.parametrize("version", [0, 3, 0xFFFFFFFF])
@pytest.mark.clauses("MMIO-11")
def test_unknown_version_is_passed_over(version):
    device = FakeBlk()
    registers = FakeMMIO(device, BASE, version=version or 7)
    assert mmio.find(BASE) is None
    assert registers.reads == [0x00, 0x04]


@pytest.mark.clauses("MMIO-13", "MMIO-14", "MMIO-29", "MMIO-30")
def test_empty_slot_is_passed_over_in_silence(capsys):
    device = Some()
    device.DEVICE_ID = 0
    registers = FakeMMIO(device, BASE)
    assert mmio.find(BASE) is None
    assert registers.reads == [0x00, 0x04, 0x08]
    assert capsys.readouterr().out == ""


# -- registers ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MMIO)
@pytest.mark.clauses(
    "MMIO-04",
    "MMIO-05",
    "MMIO-06",
    "MMIO-07",
    "MMIO-15",
    "MMIO-16",
    "MMIO-17",
    "MMIO-18",
    "MMIO-31",
    "MMIO-32",
    "MMIO-33",
    "MMIO-34",
    "MMIO-35",
    "MMIO-LEG-01",
    "MMIO-LEG-02",
    "MMIO-LEG-03",
    "MMIO-LEG-04",
    "MMIO-LEG-05",
    "MMIO-LEG-06",
    "MMIO-LEG-07",
    "MMIO-LEG-08",
    "MMIO-LEG-10",
    "MMIO-LEG-11",
    "SPLIT-ANOTIF-01",
)
def test_open_keeps_to_the_register_rules(name):
    """The model raises at any other access."""
    driver, device = blk(name)
    driver.read(0, bytearray(512))
    queue = device.queues[0]
    assert queue.ready and queue.size == 256
    if name == "mmio-legacy":
        assert queue.desc % 4096 == 0 and queue.align == 4096 and queue.used % 4096 == 0
    driver.close()
    assert not queue.ready


@pytest.mark.parametrize("name", MMIO)
@pytest.mark.clauses("MMIO-19", "MMIO-20", "MMIO-LEG-09")
def test_queue_stop_is_read_back(name):
    driver, device = blk(name)
    driver.transport.queue_stop(0)
    assert not device.queues[0].ready


@pytest.mark.clauses("MMIO-20")
def test_queue_stop_that_does_not_work_raises(monkeypatch):
    driver, device = blk()
    monkeypatch.setattr(device.queues[0], "stop", lambda: None)
    with pytest.raises(DeviceError, match="does not stop"):
        driver.transport.queue_stop(0)


@pytest.mark.clauses("MMIO-33")
def test_queue_in_use_is_refused():
    driver, device = blk()
    with pytest.raises(DeviceError, match="in use"):
        driver.transport.queue_max(0)


@pytest.mark.parametrize("name", MMIO)
@pytest.mark.clauses("MMIO-21", "MMIO-22", "MMIO-23", "MMIO-37", "MMIO-39")
def test_interrupt_bits_are_masked_and_acknowledged_exactly(name):
    driver, device = blk(name)
    device.isr = 0xF0 | 1
    assert driver.transport.isr() == 1
    driver.transport.ack(1)
    assert device.isr == 0xF0


@pytest.mark.clauses("MMIO-08", "MMIO-04")
def test_config_is_read_at_field_width():
    device = Some(config=bytes(range(1, 17)))
    driver, _ = attach(device, Device)
    driver.open()
    assert driver.config_u8(1) == 2
    assert driver.config_u16(2) == 0x0403
    assert driver.config_u32(4) == 0x08070605
    assert driver.config_u64(8) == 0x100F0E0D0C0B0A09
    assert driver.config_bytes(0, 2) == b"\1\2"
    with pytest.raises(Violation, match="MMIO-08"):
        driver.config_u32(0)


@pytest.mark.clauses("GEN-RESET-01", "GEN-INIT-02")
def test_delayed_reset_is_waited_for():
    device = FakeBlk()
    device.reset_delay = 25
    driver, _ = attach(device, Blk)
    driver.open()
    assert device.resetting == 0
    driver.read(0, bytearray(512))


def test_reset_that_never_ends_raises(monkeypatch):
    monkeypatch.setattr(mmio, "_RESET_MS", 20)
    device = FakeBlk()
    device.reset_delay = 1 << 60
    driver, _ = attach(device, Blk)
    with pytest.raises(DeviceError, match="reset"):
        driver.open()
    assert not driver.is_open


def test_high_feature_words_that_repeat_word_one_are_no_bits():
    """QEMU answers DeviceFeaturesSel 2 and 3 with word 1."""

    class Wide(Device):
        WORDS = 4
        FEATURES = mask(64, 65, 96) | mask(5)

    device = Some(features=mask(5))
    driver, registers = attach(device, Wide)
    registers.alias_high_words = True
    driver.open()
    assert driver.offered >> 64 == 0
    assert driver.has(5) and not driver.has(64)


def test_features_above_63_can_be_negotiated():
    class Wide(Device):
        WORDS = 4
        FEATURES = mask(65, 100)

    device = Some(features=mask(65, 70))
    driver, _ = attach(device, Wide)
    driver.open()
    assert driver.has(65) and not driver.has(70) and not driver.has(100)
    assert device.features >> 65 & 1


@pytest.mark.clauses(
    "GEN-FEAT-01",
    "GEN-FEAT-04",
    "GEN-FEAT-05",
    "GEN-FEAT-06",
    "GEN-FEAT-07",
    "GEN-FEAT-10",
    "GEN-RSVD-10",
    "MMIO-40",
    "GEN-RSVD-01",
    "GEN-RSVD-03",
    "GEN-RSVD-07",
    "GEN-LEGRSVD-02",
)
def test_only_known_features_of_this_transport_are_taken():
    everything = (1 << 44) - 1
    device = FakeBlk(ring_features=0, blk_size=512, size_max=4096, seg_max=8)
    device.offered = everything & ~mask(17)
    driver, _ = attach(device, Blk)
    driver.open()
    assert driver.features == Blk.FEATURES & ~mask(12, 17) | mask(28, 29, 32, 33, 34, 35, 36, 38, 40)


@pytest.mark.clauses("GEN-LEGRSVD-01", "GEN-LEGRSVD-02", "GEN-LEGFEAT-01")
def test_legacy_takes_any_layout_and_never_bit_30():
    driver, device = blk("mmio-legacy", ring_features=mask(24, 27, 28, 29, 30))
    assert driver.features == mask(27, 28, 29)


# -- the quiesce table -----------------------------------------------------------------------


@pytest.mark.parametrize("name", MMIO)
def test_status_register_is_armed_before_driver_is_set(name):
    device = FakeBlk(legacy=name == "mmio-legacy")
    driver, _ = attach(device, Blk)
    armed = []
    write = device.write_status
    device.write_status = lambda value: (armed.append((value, dict(riscv.quiesce))), write(value))
    driver.open()
    assert all(table == {BASE + 0x70: 4} for value, table in armed if value & 2)
    driver.close()
    assert riscv.quiesce == {}


# -- discovery ------------------------------------------------------------------------------


@pytest.mark.clauses("MMIO-01")
def test_devices_come_in_the_order_of_qemus_options():
    nodes, _ = tree(FakeBlk(sectors=8), Rng(), FakeBlk(sectors=16))
    slots = discover.scan(nodes)
    assert [slot[1] for slot in slots] == ["blk0", "rng0", "blk1"]
    assert discover.find("blk1").open().capacity_sectors == 16
    assert discover.find(0) is discover.find("blk0")
    assert discover.find("blk1").transport.source == 7


def test_scan_that_ctrl_c_ends_is_made_again(monkeypatch):
    def interrupt(device_id):
        raise KeyboardInterrupt

    nodes, _ = tree(FakeBlk())
    monkeypatch.setattr(discover, "_kind", interrupt)
    with pytest.raises(KeyboardInterrupt):
        discover.scan(nodes)
    monkeypatch.undo()
    assert discover._slots is None
    discover.scan(nodes)
    assert discover.find("blk0").name == "blk0"


def test_interrupt_of_another_harts_controller_is_no_route():
    nodes, _ = tree(FakeBlk())
    for node in nodes.nodes:
        node.controller = riscv.FOREIGN
    discover.scan(nodes)
    disk = discover.find("blk0").open()
    with pytest.raises(OSError, match="no interrupt route"):
        disk.interrupts(True)
    assert disk.transport.interrupt_text() == "none"


class Rng(FakeDevice):
    DEVICE_ID = 4


def test_unknown_device_is_enodev():
    nodes, _ = tree(FakeBlk())
    discover.scan(nodes)
    for which in ("blk7", 99, -1, "nonsense"):
        with pytest.raises(OSError) as info:
            discover.find(which)
        assert info.value.args[0] == 19


def test_rescan_keeps_open_devices():
    nodes, _ = tree(FakeBlk())
    discover.scan(nodes)
    driver = discover.find(0).open()
    discover.scan(nodes)
    assert discover.find(0) is driver


def test_disabled_node_is_not_touched():
    nodes, registers = tree(FakeBlk())
    for node in nodes.nodes:
        node.enabled = False
    assert discover.scan(nodes) == []
    assert all(r.reads == [] for r in registers)


def test_driver_registered_live_binds_and_unbinds():
    class Fancy(Device):
        NAME = "fancy"
        IDS = (43,)

    class Odd(FakeDevice):
        DEVICE_ID = 43

    nodes, _ = tree(Odd())
    discover.scan(nodes)
    assert type(discover.find(0)) is Device
    (bound,) = discover.register(Fancy)
    assert type(bound) is Fancy and bound.name == "fancy0"
    bound.open()
    with pytest.raises(OSError):
        discover.register(Fancy)
    discover.unregister(Fancy)
    assert not bound.is_open
    assert type(discover.find(0)) is Device


def test_repr_tells_where_and_what():
    driver, device = blk(features=mask(5), ring_features=mask(EVENT_IDX), sectors=2048)
    assert repr(driver) == "<blk0 mmio@10008000 2048 sectors ro DRIVER_OK>"
    driver.close()
    assert repr(driver) == "<blk0 mmio@10008000 closed>"
    assert memory.view(driver.vq.desc, 16)
