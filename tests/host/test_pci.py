"""modules/virtio/pci*: capabilities, common configuration, legacy header, PCI_CFG, pins and messages."""

import errno

import pytest
import riscv
from fake_bus import ECAM, MASTER, FakeBridge, FakeFunction, FakeHost
from fake_device import FakeDevice, mask
from fake_pci import COMMON, DEVICE, ISR, NOTIFY, PCI_CFG, VENDOR, FakePCI
from fake_rules import (
    ACCESS_PLATFORM,
    NOTIF_CONFIG_DATA,
    NOTIFICATION_DATA,
    ORDER_PLATFORM,
    RING_PACKED,
    RING_RESET,
    Violation,
)
from pci.host import Host
from virtio import discover, pcifind
from virtio.device import Device
from virtio.transport import DeviceError
from virtio_host import LEGACY, Blk, FakeBlk, attach, blk, fresh, memory, plug

PCI = ("pci", "pci-transitional", "pci-legacy")
MODERN = PCI[:2]


@pytest.fixture(autouse=True)
def _fresh():
    fresh()
    discover._slots = None
    discover._registered.clear()
    discover._preferred.clear()


class Echo(FakeDevice):
    DEVICE_ID = 42
    FIELDS = {0: (1, None), 2: (2, None), 4: (4, None), 8: (4, None), 12: (4, None)}

    def __init__(self, **options):
        options.setdefault("config", bytes(range(16)))
        options.setdefault("queues", (16, 8, 4))
        super().__init__(**options)

    def process(self, queue, chain):
        data = chain.data()[::-1][: chain.room]
        chain.write(data)
        return len(data)


class Driver(Device):
    NAME = "echo"
    QUEUES = (0, 1, 2)

    def __init__(self, *args):
        super().__init__(*args)
        self.events = []

    def probe(self):
        for i in self.QUEUES:
            self.queue(i)

    def ready(self):
        self.events = []

    def on_interrupt(self, *args):
        for index, queue in self.queues.items():
            while True:
                got = queue.get()
                if got is None:
                    break
                self.events.append((index, got[0]))

    def config_changed(self):
        self.events.append("config")

    def echo(self, index):
        buf = bytearray(3)
        queue = self.queues[index]
        assert queue.wait(queue.add([b"abc"], [buf]), timeout_ms=50) == 3
        assert buf == b"cba"


def rig(transport="pci", ring=0, open=True, device=None, **options):
    """(driver, device, registers)"""
    if device is None:
        device = Echo(legacy=transport in LEGACY, ring_features=ring)
    driver, registers = attach(device, Driver, transport=transport, **options)
    if open:
        driver.open()
    return driver, device, registers


def all_echo(driver):
    for index in driver.queues:
        driver.echo(index)


# -- which functions are virtio devices -------------------------------------------------


@pytest.mark.clauses("PCI-01", "PCI-02", "PCI-03", "PCI-04")
@pytest.mark.parametrize("revision", [0, 1, 7, 255])
@pytest.mark.parametrize(
    ("number", "kind"),
    [(0x1000, 1), (0x1001, 2), (0x1002, 5), (0x1003, 3), (0x1004, 8), (0x1005, 4), (0x1009, 9)]
    + [(0x1040 + i, i) for i in (1, 2, 4, 16, 24, 63)],
)
def test_ids_of_virtio_devices_whatever_their_revision(number, kind, revision):
    fake = FakeHost()
    fake.plug(FakeFunction(device=number, revision=revision, subsystem=77), 0)
    host = Host(fake.node)
    host.enumerate()
    assert pcifind.type_of(host.functions[0]) == kind
    assert pcifind.find(host.functions[0]).device_id == kind


@pytest.mark.clauses("PCI-01")
@pytest.mark.parametrize(("vendor", "number"), [(0x1AF4, 0x0FFF), (0x1AF4, 0x1080), (0x1AF4, 0x1040), (0x8086, 0x1042)])
def test_other_functions_are_passed_over(vendor, number):
    fake = FakeHost()
    fake.plug(FakeFunction(vendor, number), 0)
    host = Host(fake.node)
    host.enumerate()
    assert pcifind.find(host.functions[0]) is None


def test_an_old_device_without_a_number_of_its_own_is_known_by_its_subsystem():
    driver, _, _ = rig("pci-legacy")
    assert driver.transport.device_id == 42


# -- capabilities ------------------------------------------------------------------------


def with_caps(build, kind="pci", **options):
    """The transport for a device whose capabilities build(registers) adds."""
    device = Echo(legacy=kind == "pci-legacy", ring_features=0)
    fake = FakeHost()
    registers = FakePCI(device, kind, caps=[], cfg=False, **options)
    build(registers)
    fake.plug(registers, 0)
    host = Host(fake.node)
    host.enumerate()
    return pcifind.find(host.functions[0]), device, registers


def usual(registers, **skip):
    for kind, offset, length in ((COMMON, 0, 0x1000), (ISR, 0x1000, 1), (DEVICE, 0x2000, 16), (NOTIFY, 0x3000, 12)):
        if kind not in skip.values():
            registers.add_cap(kind, 4, offset, length)


def works(found):
    transport, device, registers = found
    driver = Driver(transport, "echo0").open()
    all_echo(driver)
    driver.close()


@pytest.mark.clauses("PCI-11", "PCI-14", "PCI-12", "PCI-40")
def test_reserved_types_and_bars_are_skipped_and_the_first_usable_is_taken():
    def build(registers):
        registers.add_cap(6, 4, 0, 0x1000)
        registers.add_cap(200, 9, 0xFFFFFFF0, 0xFFFFFFFF, cap_len=3)
        registers.add_cap(COMMON, 6, 0, 0x1000)
        registers.add_cap(COMMON, 255, 0xFFFFFFFF, 0x1000)
        registers.add_cap(ISR, 3, 0, 1)  # a BAR that is not there
        registers.virtio.pop(ISR)
        usual(registers)
        registers.add_cap(COMMON, 4, 0x3800, 0x100)

    works(with_caps(build))


@pytest.mark.clauses("PCI-13", "PCI-16", "PCI-17")
def test_longer_capabilities_and_structures_are_fine():
    def build(registers):
        usual(registers, a=COMMON, b=NOTIFY)
        registers.add_cap(NOTIFY, 4, 0x3000, 0x1000, more=(4).to_bytes(4, "little") + bytes(20))
        registers.add_cap(COMMON, 4, 0, 0x1000, more=bytes(12))

    works(with_caps(build))


@pytest.mark.clauses("PCI-36", "PCI-35")
def test_vendor_data_is_left_alone():
    touched = []

    def build(registers):
        at = registers.add_cap(VENDOR, 0, 0, 0, more=b"\xff\xff" + bytes(14))
        usual(registers)
        read = registers.read_config
        registers.read_config = lambda off, width: touched.append(off) or read(off, width)
        registers.at = at

    found = with_caps(build)
    works(found)
    assert not [off for off in touched if found[2].at + 16 <= off < found[2].at + 32]


@pytest.mark.parametrize(
    ("cap", "rule"),
    [
        ((COMMON, 4, 0, 0x1000, {"cap_len": 12}), "length 12, at least 16 is needed"),
        ((NOTIFY, 4, 0x3000, 16, {"cap_len": 16}), "length 16, at least 20 is needed"),
        ((COMMON, 4, 0, 0x1000, {"cap_len": 255}), "length 255 goes beyond the end"),
        ((COMMON, 4, 0x3FFC, 56, {}), r"0x3ffc\+0x38 does not lie in BAR4 of 0x4000 bytes"),
        ((COMMON, 4, 0xFFFFFFFC, 0xFFFFFFFF, {}), "does not lie in BAR4"),
        ((COMMON, 4, 0, 55, {}), "a structure of 55 bytes, 56 are needed"),
        ((NOTIFY, 4, 0x3000, 1, {}), "a structure of 1 bytes, 2 are needed"),
        ((COMMON, 4, 2, 0x100, {}), "offset 0x2 is not aligned"),
        ((COMMON, 4, 0x2F00, 0x200, {}), "overlaps that of the one at"),
    ],
    ids=str,
)
def test_a_capability_that_breaks_a_rule_is_refused_by_name_place_and_rule(cap, rule):
    def build(registers):
        kind, index, offset, length, more = cap
        usual(registers, a=kind)
        registers.at = registers.add_cap(kind, index, offset, length, **more)

    transport, _, registers = with_caps(build)
    driver = Driver(transport, "echo0")
    assert "closed" in repr(driver)
    with pytest.raises(DeviceError, match=rule) as info:
        driver.open()
    assert "PCI 00:00.0: configuration space at %#x: virtio " % registers.at in info.value.args[1]
    assert transport.explain().startswith("cannot be used: ")


def test_capabilities_that_overlap_are_refused():
    def build(registers):
        usual(registers)
        registers.add_cap(COMMON, 4, 0, 0x1000, at=registers._caps_link - 1 + 8)

    with pytest.raises(DeviceError, match="capability: overlaps the one at"):
        Driver(with_caps(build)[0], "echo0").open()


def test_a_list_that_loops_is_refused_when_the_device_is_opened():
    def build(registers):
        usual(registers)
        registers.config[registers._caps_link] = 0x40

    with pytest.raises(DeviceError, match="the capability list loops back to 0x40"):
        Driver(with_caps(build)[0], "echo0").open()


@pytest.mark.parametrize("kind", [COMMON, NOTIFY, ISR])
def test_what_every_device_must_have_is_missed_by_name(kind):
    name = {COMMON: "common", NOTIFY: "notify", ISR: "ISR"}[kind]
    with pytest.raises(DeviceError, match=f"no reachable {name} structure, and no legacy interface"):
        Driver(with_caps(lambda r: usual(r, a=kind))[0], "echo0").open()


def test_a_device_without_configuration_needs_no_structure_for_it():
    works(with_caps(lambda r: usual(r, a=DEVICE)))


@pytest.mark.clauses("PCI-LEG-07", "PCI-LEG-08")
def test_without_virtio_capabilities_a_transitional_device_is_a_legacy_one():
    driver, device, registers = rig("pci-legacy")
    assert driver.transport.legacy and "no virtio capabilities" in driver.explain()
    all_echo(driver)


@pytest.mark.clauses("PCI-LEG-09", "PCI-LEG-10")
def test_without_virtio_capabilities_a_modern_id_is_refused():
    transport, _, _ = with_caps(lambda r: None, bars={0: ("io", 64)})
    with pytest.raises(DeviceError, match="no virtio capabilities, and no legacy interface"):
        Driver(transport, "echo0").open()


@pytest.mark.clauses("PCI-LEG-07")
def test_a_transitional_device_is_driven_as_modern():
    """The fake device raises when its legacy interface is touched."""
    driver, _, registers = rig("pci-transitional")
    assert not driver.transport.legacy
    assert "disable-modern=on" in driver.explain()
    all_echo(driver)


def test_shared_memory_regions_have_64_bits():
    device = Echo(ring_features=0)
    device.shm = {1: (0x1_0000_0000, 0x2_0000_0000), 7: (0, 4096)}
    driver, _, _ = rig(device=device, bars={2: ("pref64", 1 << 34)}, open=False)
    base = driver.transport.shm(7)[0]
    assert driver.transport.shm(1) == (base + 0x1_0000_0000, 0x2_0000_0000)
    assert driver.transport.shm(7)[1] == 4096
    assert driver.transport.shm(0) is None


# -- common configuration ------------------------------------------------------------------


@pytest.mark.clauses(
    "PCI-05",
    "PCI-06",
    "PCI-07",
    "PCI-08",
    "PCI-18",
    "PCI-19",
    "PCI-21",
    "PCI-22",
    "PCI-23",
    "PCI-24",
    "PCI-26",
    "PCI-48",
)
@pytest.mark.parametrize("transport", MODERN)
def test_life_of_a_device_keeps_the_rules_of_the_registers(transport):
    """The fake device raises at a wrong width, a read-only field, a wrong order."""
    driver, device, registers = rig(transport)
    driver.close()
    driver.open()
    all_echo(driver)
    sizes = [value for kind, name, value in registers.log if (kind, name) == ("w", "queue_size")]
    assert sizes == []  # the device's own are right
    enables = [value for kind, name, value in registers.log if (kind, name) == ("w", "queue_enable")]
    assert enables == [1] * 6
    assert driver.config_u32(4) == 0x07060504
    driver.close()
    assert device.status == 0


@pytest.mark.clauses("PCI-19", "PCI-48")
def test_a_queue_that_is_not_there_is_enodev():
    driver, _, _ = rig()
    with pytest.raises(OSError) as info:
        driver.queue(3)
    assert info.value.errno == errno.ENODEV


@pytest.mark.clauses("PCI-23", "PCI-48")
@pytest.mark.parametrize(("most", "size"), [(1000, 256), (256, 256), (100, 64), (5, 4), (2, 2)])
def test_sizes_of_split_queues_are_powers_of_two(most, size):
    driver, device, _ = rig(device=Echo(queues=(most, 4, 4), ring_features=0))
    assert device.queues[0].size == size


@pytest.mark.clauses("PCI-22")
def test_packed_queues_have_any_size_but_0():
    driver, device, _ = rig(device=Echo(queues=(100, 7, 4), ring_features=mask(RING_PACKED)))
    assert [queue.size for queue in device.queues] == [100, 7, 4]
    all_echo(driver)


@pytest.mark.clauses("PCI-25", "GEN-RESET-01")
@pytest.mark.parametrize("transport", PCI)
def test_reset_is_polled_until_it_is_over(transport):
    driver, device, _ = rig(transport, open=False)
    device.reset_delay = 3
    driver.open()
    all_echo(driver)


@pytest.mark.parametrize("transport", PCI)
def test_a_reset_that_does_not_end_is_a_device_error(transport, monkeypatch):
    monkeypatch.setattr("virtio.pcibase._RESET_MS", 5)
    driver, device, _ = rig(transport, open=False)
    device.reset_delay = -1
    with pytest.raises(DeviceError, match="reset: status stays 0x80"):
        driver.open()


@pytest.mark.parametrize("transport", PCI)
def test_a_queue_that_is_live_already_is_not_set_up_again(transport):
    driver, _, _ = rig(transport)
    with pytest.raises(DeviceError, match="queue 1 is in use already"):
        driver.transport.queue_max(1)


@pytest.mark.clauses("PCI-27", "PCI-28", "PCI-29")
@pytest.mark.parametrize("delay", [0, 3])
def test_a_queue_reset_is_over_when_the_register_says_so(delay):
    driver, device, registers = rig(ring=mask(RING_RESET))
    device.queue_reset_delay = delay
    driver.transport.queue_reset(1)
    assert not device.queues[1].ready
    del driver.queues[1]
    driver.queue(1, 4)
    assert device.queues[1].size == 4
    all_echo(driver)


@pytest.mark.clauses("PCI-27")
def test_a_queue_reset_that_does_not_end_is_a_device_error(monkeypatch):
    monkeypatch.setattr("virtio.pci._RESET_MS", 5)
    driver, device, registers = rig(ring=mask(RING_RESET))
    device.queue_reset_delay = -1
    with pytest.raises(DeviceError, match="the reset of queue 1 does not end"):
        driver.transport.queue_reset(1)


def test_a_queue_reset_that_is_ignored_is_a_device_error():
    driver, device, registers = rig(ring=mask(RING_RESET))
    registers.ignore_queue_reset = True
    with pytest.raises(DeviceError, match="queue 1 is live after its reset"):
        driver.transport.queue_reset(1)


@pytest.mark.clauses("PCI-26")
def test_without_ring_reset_a_queue_cannot_be_stopped():
    driver, _, _ = rig()
    with pytest.raises(OSError) as info:
        driver.transport.queue_stop(0)
    assert info.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("transport", MODERN)
def test_platform_features_are_accepted(transport):
    driver, device, _ = rig(transport, ring=mask(ACCESS_PLATFORM, ORDER_PLATFORM))
    assert device.has(ACCESS_PLATFORM) and device.has(ORDER_PLATFORM)
    all_echo(driver)


# -- notifications ----------------------------------------------------------------------------


@pytest.mark.clauses("PCI-32", "PCI-49", "PCI-51")
@pytest.mark.parametrize("multiplier", [0, 2, 4, 1024])
def test_notifications_go_to_the_queues_own_place(multiplier):
    driver, _, _ = rig(multiplier=multiplier)
    all_echo(driver)


@pytest.mark.clauses("PCI-32")
@pytest.mark.parametrize("off", [0x400, 0xFFFF])
def test_a_notification_outside_of_the_structure_is_refused(off):
    driver, _, registers = rig(open=False)
    registers.bad_notify_off = off
    with pytest.raises(DeviceError, match=f"queue 0 notifies at {4 * off:#x} of a structure of 0x1000 bytes"):
        driver.open()


@pytest.mark.clauses("PCI-49", "PCI-50", "PCI-51", "PCI-52", "PCI-53", "PCI-54")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("config", [False, True])
def test_width_and_value_of_notifications_follow_the_features(packed, data, config):
    bits = mask(RING_PACKED) * packed | mask(NOTIFICATION_DATA) * data | mask(NOTIF_CONFIG_DATA) * config
    driver, device, _ = rig(ring=bits)
    assert device.features & bits == bits
    for _ in range(5):
        all_echo(driver)


# -- PCI_CFG ---------------------------------------------------------------------------------


@pytest.mark.clauses("PCI-37", "PCI-38", "PCI-39")
@pytest.mark.parametrize("ring", [0, mask(RING_PACKED), mask(NOTIFICATION_DATA), mask(29)])
def test_all_of_a_device_works_by_way_of_pci_cfg(ring):
    device = Echo(ring_features=ring)
    transport, registers = plug(device, wanted="window", source=32)
    for kind in list(registers.virtio):
        assert kind in (COMMON, ISR, DEVICE, NOTIFY, PCI_CFG)
    registers.read_bar = registers.write_bar = None  # the CPU reaches nothing
    driver = Driver(transport, "echo0").open()
    assert "PCI_CFG (on demand)" in driver.explain()
    for _ in range(3):
        all_echo(driver)
    assert driver.config_u16(2) == 0x0302
    device.change_config(b"\x77", 4)
    assert driver.poll_config()
    driver.close()
    assert device.status == 0


def test_disks_work_by_way_of_pci_cfg():
    device = FakeBlk()
    transport, _ = plug(device, wanted="window")
    disk = Blk(transport, "blk0").open()
    buf = bytearray(4096)
    disk.read(8, buf)
    assert buf == device.disk[4096:8192]
    disk.read_many([(n, bytearray(512)) for n in range(32)])


def test_a_bar_without_an_address_is_reached_by_way_of_pci_cfg():
    device = Echo(ring_features=0)
    fake = FakeHost(high=False)
    fake.plug(FakeFunction(0x1B36, 1, {0: ("mem", 1 << 30)}), 1)
    registers = fake.plug(FakePCI(device, bars={4: ("pref64", 1 << 31)}), 0)
    host = Host(fake.node)
    host.enumerate()
    driver = Driver(pcifind.find(host.functions[0]), "echo0").open()
    assert "PCI_CFG (BAR4 has no address)" in driver.explain()
    all_echo(driver)
    assert riscv.quiesce == {ECAM + 4: 2}  # all that C can do is to take the bus away
    assert registers.command & MASTER
    driver.close()
    assert riscv.quiesce == {} and not registers.command & MASTER


def test_a_transitional_device_whose_bar_has_no_address_is_driven_as_legacy():
    device = Echo(legacy=True, ring_features=0)
    fake = FakeHost(high=False)
    fake.plug(FakePCI(device, "pci-transitional", bars={4: ("pref64", 1 << 31)}, cfg=False), 0)
    host = Host(fake.node)
    host.enumerate()
    driver = Driver(pcifind.find(host.functions[0]), "echo0").open()
    assert "no reachable common structure" in driver.explain()
    all_echo(driver)


# -- the legacy header -------------------------------------------------------------------------


@pytest.mark.clauses("PCI-LEG-01", "PCI-LEG-03", "PCI-LEG-05", "PCI-LEG-06", "PCI-LEG-11", "PCI-LEG-12", "PCI-LEG-04")
@pytest.mark.parametrize("msix", [0, 4])
def test_life_of_a_legacy_device(msix):
    """The fake device raises at a wrong width or a register that is not there."""
    driver, device, registers = rig("pci-legacy", ring=mask(28, 29), msix=msix)
    assert [queue.size for queue in device.queues] == [16, 8, 4]
    assert all(queue.desc % 4096 == 0 for queue in device.queues)
    assert driver.config_u32(4) == 0x07060504
    assert registers.msix_on == bool(msix)
    all_echo(driver)
    driver.close()
    assert not registers.msix_on


@pytest.mark.clauses("PCI-LEG-12")
@pytest.mark.parametrize("size", [1, 2, 1024])
def test_a_legacy_queue_is_as_large_as_the_device_says(size):
    driver, device, _ = rig("pci-legacy", device=Echo(legacy=True, queues=(size,) * 3, ring_features=0), open=False)
    if size < 2:
        with pytest.raises(ValueError):
            driver.open()
            all_echo(driver)
        return
    driver.open()
    assert device.queues[0].size == driver.queues[0].size == size
    all_echo(driver)


def test_prefer_chooses_the_interface_of_a_closed_device():
    device = FakeBlk(legacy=True)
    fake = FakeHost()
    fake.plug(FakePCI(device, "pci-transitional"), 3)
    discover.scan(fake.tree())
    assert not discover.find("blk0").transport.legacy
    (disk,) = discover.prefer("legacy")
    assert disk.transport.legacy and "as prefer() asked for" in disk.explain()
    with disk.open():
        disk.read(0, bytearray(512))
        with pytest.raises(OSError) as info:
            discover.prefer("modern", "blk0")
        assert info.value.errno == errno.EALREADY
    assert not discover.prefer(None, "blk0")[0].transport.legacy
    with pytest.raises(ValueError):
        discover.prefer("best")


def test_prefer_of_what_is_not_there_says_so_when_it_is_opened():
    fake = FakeHost()
    fake.plug(FakePCI(FakeBlk()), 3)
    discover.scan(fake.tree())
    (disk,) = discover.prefer("legacy", "blk0")
    with pytest.raises(DeviceError, match="no legacy interface .QEMU: disable-legacy=off"):
        disk.open()


# -- bus mastering, and what C resets -------------------------------------------------------------


@pytest.mark.parametrize("transport", PCI)
def test_bus_mastering_is_on_while_the_device_is_open(transport):
    """The fake device raises when it is notified without it."""
    driver, _, registers = rig(transport, open=False)
    assert not registers.command & MASTER
    driver.open()
    assert registers.command & MASTER
    (where,) = riscv.quiesce
    assert riscv.quiesce[where] == 1
    memory.write(where, 1, 0)  # what C does
    assert memory.read(where, 1) == 0
    driver.close()
    assert riscv.quiesce == {} and not registers.command & MASTER


# -- interrupts ------------------------------------------------------------------------------------


def fire(registers):
    """What the interrupt controller does while the pin is asserted."""
    for _ in range(5):
        if not registers.asserts():
            return
        riscv.interrupt(32)
    raise AssertionError("the pin stays asserted")


@pytest.mark.clauses("PCI-33", "PCI-55", "PCI-56")
@pytest.mark.parametrize("transport", PCI)
def test_one_read_of_isr_is_all_an_interrupt_needs(transport):
    driver, device, registers = rig(transport, source=32)
    driver.interrupts(True)
    buf = bytearray(3)
    device.manual = True
    driver.queues[1].add([b"abc"], [buf], "token")
    driver.queues[1].notify()
    held = device.queues[1].held[0]
    device.queues[1].finish(held, device.process(device.queues[1], held))
    device.change_config(b"\x55", 4)  # both at once
    assert device.isr == 3
    fire(registers)
    assert sorted(map(str, driver.events)) == ["(1, 'token')", "config"]
    assert riscv.completed
    driver.interrupts(False)
    device.change_config(b"\x56", 4)
    assert not registers.asserts()


@pytest.mark.parametrize("transport", PCI)
def test_a_shared_pin_asks_both_devices(transport):
    fake = FakeHost(source=32)
    devices = [Echo(legacy=transport in LEGACY, ring_features=0) for _ in range(2)]
    registers = [fake.plug(FakePCI(d, transport), slot) for d, slot in zip(devices, (1, 5))]
    host = Host(fake.node)
    host.enumerate()
    drivers = [Driver(pcifind.find(f), "echo").open() for f in host.functions]
    for driver in drivers:
        driver.interrupts(True)
    assert list(riscv.irqs) == [33]
    devices[1].change_config(b"\x55", 4)
    assert registers[1].asserts()
    riscv.interrupt(33)
    assert [driver.events for driver in drivers] == [[], ["config"]]
    assert not registers[1].asserts()
    drivers[1].close()
    assert list(riscv.irqs) == [33]
    drivers[0].close()
    assert list(riscv.irqs) == []


def test_without_a_route_interrupts_are_enodev_and_polling_works():
    driver, _, _ = rig(source=0)
    assert driver.transport.interrupt_text() == "none"
    with pytest.raises(OSError) as info:
        driver.interrupts(True)
    assert info.value.errno == errno.ENODEV
    all_echo(driver)


@pytest.mark.clauses("PCI-21", "PCI-34", "PCI-41", "PCI-44", "PCI-45", "PCI-46", "PCI-42")
@pytest.mark.parametrize("transport", PCI)
@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 5, 2048])
def test_messages_of_every_number_of_vectors(transport, vectors):
    """The fake device raises at a vector that is not in the table or not read back, and when ISR is read."""
    driver, device, registers = rig(transport, msix=vectors, source=32)
    assert registers.msix_on
    driver.interrupts(True)
    for index in driver.queues:
        driver.queues[index].add([b"abc"], [bytearray(3)], "t%d" % index)
        driver.queues[index].notify()
    device.change_config(b"\x55", 4)
    assert [e for e in driver.events if e != "config"] == [(0, "t0"), (1, "t1"), (2, "t2")]
    assert "config" in driver.events
    assert driver.transport.interrupt_text().startswith("MSI-X %d vector" % min(vectors, 17, len(riscv.messages)))
    own = [registers.config_vector] + registers.queue_vectors
    if vectors >= 4 and transport != "pci-legacy":
        assert len(set(own)) == 4
    driver.interrupts(False)
    driver.close()
    assert riscv.messages == {} and not registers.msix_on


@pytest.mark.clauses("PCI-46", "PCI-47", "PCI-43")
@pytest.mark.parametrize("transport", PCI)
def test_a_device_that_refuses_vectors_is_driven_by_its_pin(transport):
    driver, device, registers = rig(transport, msix=4, source=32, open=False)
    registers.refuse_vectors = True
    driver.open()
    assert not registers.msix_on and riscv.messages == {}
    driver.interrupts(True)
    device.change_config(b"\x55", 4)
    fire(registers)
    assert driver.events == ["config"]


def test_a_vector_table_outside_of_its_bar_means_the_pin():
    driver, device, registers = rig(msix=4, source=32, open=False)
    registers.put(registers.msix_at + 4, 4, 0xFF8 | 1)
    driver.open()
    assert not registers.msix_on
    assert driver.transport.interrupt_text() == "INTA# 32"


def test_fewer_messages_than_vectors_are_shared(monkeypatch):
    driver, device, registers = rig(msix=8, source=32, open=False)
    real = riscv.msi_alloc

    def few():
        if len(riscv.messages) == 2:
            raise OSError(errno.ENOSPC, "no more")
        return real()

    monkeypatch.setattr(riscv, "msi_alloc", few)
    driver.open()
    assert registers.queue_vectors == [1, 1, 1] and registers.config_vector == 0
    driver.interrupts(True)
    driver.queues[2].add([b"abc"], [bytearray(3)], "t")
    driver.queues[2].notify()
    assert driver.events == [(2, "t")]


@pytest.mark.clauses("PCI-34")
def test_configuration_changes_are_polled_without_isr_while_messages_are_on():
    driver, device, registers = rig(msix=4, source=32)
    assert not driver.poll_config()
    device.change_config(b"\x55", 4)
    assert driver.poll_config() and driver.events == ["config"]
    assert not driver.poll_config()


# -- hot plug ------------------------------------------------------------------------------------------


@pytest.fixture
def hot(monkeypatch):
    """(FakeHost, port) with nothing in its slot, known to the bus."""
    fake = FakeHost(source=32)
    monkeypatch.setattr("fdt._system", fake.tree())
    port = fake.plug(FakeBridge(port=4, hot=True), 1)
    discover.scan()
    return fake, port


def names(fake):
    return [repr(discover.device(slot)) for slot in discover.scan()]


def test_a_device_that_is_plugged_in_appears_and_works(hot):
    fake, port = hot
    assert names(fake) == []
    port.insert(FakePCI(FakeBlk()))
    assert names(fake) == ["<blk0 pci@01:00.0 closed>"]
    with discover.find("blk0").open() as disk:
        disk.read(0, bytearray(512))


def test_a_device_that_is_pulled_out_ends_its_requests_with_an_error(hot):
    fake, port = hot
    device = Echo(ring_features=0)
    registers = port.insert(FakePCI(device))
    discover.register(type("Echoing", (Driver,), {"IDS": (42,)}))
    driver = discover.device(discover.scan()[0]).open()
    device.manual = True
    head = driver.queues[0].add([b"abc"], [bytearray(3)])
    driver.queues[0].notify()
    fake.unplug(registers)
    with pytest.raises(DeviceError, match="the device is gone"):
        driver.queues[0].wait(head, timeout_ms=50)
    assert repr(driver) == "<echo0 pci@01:00.0 gone>"
    assert names(fake) == []
    driver.close()
    with pytest.raises(OSError, match="the device is gone") as info:
        driver.open()
    assert info.value.errno == errno.ENODEV


def test_a_rescan_tells_an_open_device_that_it_is_gone_and_frees_its_name(hot):
    fake, port = hot
    registers = port.insert(FakePCI(FakeBlk()))
    names(fake)
    old = discover.find("blk0").open()
    fake.unplug(registers)
    port.insert(FakePCI(FakeBlk()))
    assert names(fake) == ["<blk0 pci@01:00.0 closed>"]
    assert old is not discover.find("blk0")
    with pytest.raises(DeviceError, match="the device is gone"):
        old.read(0, bytearray(512))
    new = discover.find("blk0").open()
    old.close()  # does not touch the new one, which has the same addresses
    new.read(0, bytearray(512))


def test_the_host_gets_a_device_back_when_it_is_closed(hot):
    fake, port = hot
    registers = port.insert(FakePCI(FakeBlk()))
    names(fake)
    disk = discover.find("blk0").open()
    port.press()
    assert names(fake) == ["<blk0 pci@01:00.0 64 sectors DRIVER_OK>"]
    disk.read(0, bytearray(512))
    disk.close()
    assert registers not in fake.functions.values()
    assert names(fake) == []


def test_watch_tells_what_came_and_went(hot):
    fake, port = hot
    seen = []
    discover.watch(lambda new, lost: seen.append((list(map(repr, new)), list(map(repr, lost)))))
    port.insert(FakePCI(FakeBlk()))
    riscv.interrupt(33)
    port.press()
    riscv.interrupt(33)
    assert seen[0] == (["<blk0 pci@01:00.0 closed>"], [])
    assert seen[1] == ([], ["<blk0 pci@01:00.0 gone>"])


def settle(transport):
    """As far as FEATURES_OK."""
    transport.set_status(1)
    transport.set_status(3)
    transport.write_features(transport.read_features())
    transport.set_status(11)
    assert transport.status() == 11


# -- the model itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clause", "action"),
    [
        ("PCI-06", lambda t: t._common.get(0x14, 4)),
        ("PCI-06", lambda t: t._common.put(0x14, 2, 0)),
        ("PCI-07", lambda t: t._common.get(0x1C, 4)),
        ("PCI-08", lambda t: t._common.get(0x04, 2)),
        ("PCI-18", lambda t: t.function.write(0x44, 1, 3)),
        ("PCI-21", lambda t: t._common.put(0x04, 4, 1)),
        (
            "PCI-26",
            lambda t: (
                t.set_status(1),
                t.set_status(3),
                t.write_features(t.read_features()),
                t.set_status(11),
                t.status(),
                t.queue_max(0),
                t._common.put(0x1C, 2, 0),
            ),
        ),
        ("PCI-45", lambda t: t._common.put(0x10, 2, 99)),
        ("PCI-46", lambda t: (t._common.put(0x10, 2, 0), t.status())),
        ("PCI-34", lambda t: t._isr.get(0, 1)),
        ("PCI-49", lambda t: t._notify.put(0, 4, 0)),
        ("PCI-51", lambda t: t._notify.put(0, 2, 1)),
        ("PCI-32", lambda t: t._notify.put(64, 2, 0)),
        ("GEN-CFG-02", lambda t: (t.config(0, 1), t.status())),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_the_model_catches(clause, action):
    driver, device, registers = rig(msix=4, open=False)
    transport = driver.transport
    transport.reset()
    transport.arm()
    if clause in ("PCI-45", "PCI-46"):
        settle(transport)
    with pytest.raises(Violation, match=clause):
        action(transport)


def test_disks_of_every_interface_read_what_is_there():
    for transport in PCI:
        disk, device = blk(transport)
        buf = bytearray(1024)
        disk.read(2, buf)
        assert buf == device.disk[1024:2048]
        disk.close()
        fresh()
