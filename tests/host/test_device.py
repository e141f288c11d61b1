"""modules/virtio/device: initialisation order, features, configuration, interrupts, failure."""

import gc
import importlib
import sys

import pytest
import riscv
from fake_device import ANY_LAYOUT, VERSION_1, FakeDevice, Violation, mask
from virtio.device import Device
from virtio.queue import Virtqueue
from virtio.transport import DeviceError, feature_names, stage, status_names
from virtio_host import LEGACY, TRANSPORTS, attach, fresh


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


class Thing(FakeDevice):
    DEVICE_ID = 42
    FIELDS = {0: (4, None), 4: (4, None), 8: (1, None), 12: (4, 3)}

    def process(self, queue, chain):
        return 0


class Driver(Device):
    NAME = "thing"
    IDS = (42,)
    FEATURES = mask(1, 2, 3)
    FEATURE_NAMES = {1: "ONE", 2: "TWO"}

    def probe(self):
        self.vq = self.queue(0)
        self.seen = []

    def ready(self):
        self.vq.add([b"first"], [])
        self.vq.notify()

    def config_changed(self):
        self.seen.append(self.config_u32(0))

    def on_interrupt(self):
        while True:
            got = self.vq.get()
            if got is None:
                return
            self.seen.append(got)


def rig(transport="mmio", cls=Driver, source=9, **options):
    options.setdefault("config", bytes(range(16)))
    device = Thing(legacy=transport in LEGACY, **options)
    driver, registers = attach(device, cls, source=source, transport=transport)
    return driver, device, registers


@pytest.mark.clauses(
    "GEN-INIT-01",
    "GEN-INIT-02",
    "GEN-INIT-03",
    "GEN-INIT-04",
    "GEN-INIT-05",
    "GEN-INIT-06",
    "GEN-INIT-08",
    "GEN-INIT-09",
    "GEN-INIT-12",
    "GEN-INIT-15",
    "GEN-STATUS-01",
    "GEN-STATUS-02",
    "GEN-LEGINIT-01",
    "GEN-LEGFEAT-03",
)
def test_status_goes_up_one_stage_at_a_time(transport):
    driver, device, _ = rig(transport)
    driver.open()
    last = [3, 7] if transport in LEGACY else [3, 11, 15]
    assert device.status_log == [0, 1, *last]
    driver.close()
    assert device.status_log[-1] == 0


def test_model_catches_a_notification_before_driver_ok():

    class Eager(Driver):
        def probe(self):
            Driver.probe(self)
            self.vq.add([b"x"], [])
            self.vq.notify()

    driver, device, _ = rig(cls=Eager)
    with pytest.raises(Violation, match="GEN-INIT-15"):
        driver.open()


@pytest.mark.clauses("GEN-FEAT-01", "GEN-FEAT-07", "GEN-FEAT-08", "GEN-FEAT-10", "GEN-RSVD-01")
def test_features_are_the_offered_ones_that_the_driver_knows():
    driver, device, _ = rig(features=mask(1, 3, 5, 22), ring_features=0)
    driver.open()
    assert driver.features == device.features == mask(1, 3, VERSION_1)
    assert driver.has(1) and not driver.has(2)


@pytest.mark.clauses("GEN-INIT-07", "GEN-INIT-13", "GEN-INIT-14", "GEN-STATUS-03")
def test_refused_features_stop_the_device():
    driver, device, _ = rig()
    device.refuse = True
    with pytest.raises(DeviceError, match="refused"):
        driver.open()
    assert device.status_log == [0, 1, 3, 11, 131]
    assert not driver.is_open and riscv.quiesce == {}
    device.refuse = False
    driver.open()
    assert device.status_log[5:] == [0, 1, 3, 11, 15]


@pytest.mark.clauses("GEN-RSVD-02", "GEN-FEAT-09")
def test_modern_device_without_version_1_is_refused():
    driver, device, _ = rig()
    device.offered &= ~mask(VERSION_1)
    with pytest.raises(DeviceError, match="VERSION_1"):
        driver.open()
    assert device.status == 131


@pytest.mark.clauses("GEN-FEAT-03", "GEN-FEAT-09", "GEN-INIT-13")
def test_driver_that_cannot_do_without_a_feature_gives_up_cleanly():

    class Choosy(Driver):
        def choose(self, features):
            raise DeviceError("thing0: needs ONE")

    driver, device, _ = rig(cls=Choosy)
    with pytest.raises(DeviceError, match="needs ONE"):
        driver.open()
    assert device.status == 131


@pytest.mark.clauses("GEN-FEAT-02")
def test_choose_may_drop_features():

    class Picky(Driver):
        def choose(self, features):
            return features & ~mask(1)

    driver, device, _ = rig(cls=Picky, features=mask(1, 2))
    driver.open()
    assert not driver.has(1) and driver.has(2)


@pytest.mark.clauses("GEN-CLEANUP-02")
def test_failure_after_driver_ok_resets_the_device():

    class Late(Driver):
        def ready(self):
            Driver.ready(self)
            raise ValueError("changed my mind")

    driver, device, _ = rig(cls=Late)
    with pytest.raises(ValueError):
        driver.open()
    assert device.status_log[-2:] == [143, 0]
    assert not driver.is_open


def test_opening_twice_is_refused(transport):
    driver, device, _ = rig(transport)
    driver.open()
    with pytest.raises(OSError) as info:
        driver.open()
    assert info.value.args[0] == 114
    driver.close()
    driver.close()
    with driver as again:
        assert again.is_open
    assert not driver.is_open


def test_closed_device_refuses_work():
    driver, device, _ = rig()
    driver.open()
    driver.close()
    with pytest.raises(ValueError, match="closed"):
        driver.vq.add([b"x"], [])


@pytest.mark.clauses("GEN-CFG-01", "GEN-CFG-02")
def test_64_bit_config_is_read_again_when_the_generation_changes():
    driver, device, _ = rig()
    driver.open()
    device.config[0:8] = b"\xff" * 8
    torn = [lambda off: device.change_config(bytes(8))]
    device.on_config_read = lambda off: torn and torn.pop()(off)
    assert driver.config_u64(0) == 0


@pytest.mark.clauses("GEN-LEGCFG-01", "GEN-LEGCFG-02")
def test_legacy_config_is_read_until_two_readings_agree():
    driver, device, _ = rig("mmio-legacy")
    driver.open()
    device.config[0:8] = b"\xff" * 8
    torn = [lambda off: device.change_config(bytes(8))]
    device.on_config_read = lambda off: torn and torn.pop()(off)
    assert driver.config_u64(0) == 0


def test_config_that_never_settles_raises():
    driver, device, _ = rig()
    driver.open()
    device.on_config_read = lambda off: device.change_config(b"x")
    with pytest.raises(DeviceError, match="changing"):
        driver.config_u64(0)


@pytest.mark.clauses("GEN-CFG-05")
def test_config_beyond_the_space_raises():
    driver, device, _ = rig()
    driver.open()
    with pytest.raises(DeviceError, match="offset 256"):
        driver.config_u32(256)


@pytest.mark.clauses("GEN-CFG-04")
def test_config_space_longer_than_known_is_fine():
    driver, device, _ = rig(config=bytes(200))
    device.FIELDS = {**device.FIELDS, 196: (4, None)}
    driver.open()
    assert driver.config_u32(4) == driver.config_u32(196) == 0


def test_model_catches_a_field_without_its_feature():
    driver, device, _ = rig()
    driver.open()
    with pytest.raises(Violation, match="GEN-CFG-03"):
        driver.config_u32(12)


@pytest.mark.clauses("GEN-OPER-01", "MMIO-22")
def test_poll_config_calls_the_driver_once(transport):
    driver, device, _ = rig(transport)
    driver.open()
    assert driver.poll_config() is False
    device.change_config(b"\1\0\0\0")
    assert driver.poll_config() is True
    assert driver.seen == [1]
    assert driver.poll_config() is False


@pytest.mark.clauses("GEN-OPER-02")
def test_config_interrupt_that_means_needs_reset():
    driver, device, _ = rig()
    driver.open()
    device.need_reset()
    with pytest.raises(DeviceError, match="reset"):
        driver.poll_config()


@pytest.mark.clauses("MMIO-37", "MMIO-38", "MMIO-39", "MMIO-22")
def test_interrupt_reads_handles_acknowledges_completes(transport):
    driver, device, registers = rig(transport)
    driver.open()
    driver.on_interrupt()
    driver.interrupts(True)
    assert list(riscv.irqs) == [9]
    driver.vq.add([b"x"], [], "token")
    driver.vq.notify()
    assert device.isr == 1
    riscv.interrupt(9)
    assert ("token", 0) in driver.seen
    assert device.isr == 0
    assert riscv.completed == [9]
    driver.interrupts(False)
    assert riscv.irqs == {}
    before = device.interrupts
    driver.vq.add([b"x"], [])
    driver.vq.notify()
    assert device.interrupts == before


@pytest.mark.clauses("SPLIT-UNOTIF-05")
def test_spurious_interrupt_is_completed():
    driver, device, _ = rig()
    driver.open()
    driver.interrupts(True)
    riscv.interrupt(9)
    assert riscv.completed == [9] and driver.seen == []


def test_interrupt_source_is_looked_up_when_needed():
    calls = []

    def source():
        calls.append(1)
        return 5

    driver, device, _ = rig(source=source)
    driver.open()
    assert not calls
    driver.interrupts(True)
    assert 5 in riscv.irqs
    driver.close()
    assert riscv.irqs == {} and len(calls) == 1


def test_dump_prints_names(capsys):
    driver, device, _ = rig(features=mask(1, 22))
    driver.open()
    driver.dump()
    text = capsys.readouterr().out
    assert "ACKNOWLEDGE|DRIVER|FEATURES_OK|DRIVER_OK" in text
    assert "ONE" in text and "0x400000" in text and "<queue 0 of thing0" in text


def test_words_for_people():
    assert status_names(0) == "reset"
    assert status_names(0x4F) == "ACKNOWLEDGE|DRIVER|FEATURES_OK|DRIVER_OK|NEEDS_RESET"
    assert status_names(0x20) == "0x20"
    assert stage(15) == "DRIVER_OK" and stage(143) == "FAILED" and stage(0) == "reset"
    assert feature_names(mask(1, ANY_LAYOUT, 50), {1: "ONE"}) == "ONE ANY_LAYOUT 0x4000000000000"
    assert feature_names(0) == "none"


def test_feature_constants_agree_with_the_bits_used_elsewhere():
    from virtio import transport

    device = sys.modules["virtio.device"]
    assert 1 << device._VERSION_1 == transport.VERSION_1
    assert transport.INDIRECT_DESC == 1 << 28 and transport.EVENT_IDX == 1 << 29
    for name in ("ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK", "NEEDS_RESET", "FAILED"):
        assert getattr(device, "_" + name) == getattr(transport, name)


# -- reset, recovery, changes ------------------------------------------------------------------


@pytest.mark.clauses("GEN-STATUS-03", "GEN-STATUS-04", "GEN-OPER-02", "GEN-CLEANUP-02")
def test_device_that_needs_a_reset_recovers(transport):
    driver, device, _ = rig(transport, features=mask(1, 2))
    driver.open()
    device.manual = True
    head = driver.vq.add([b"in flight"], [])
    driver.vq.notify()
    old = driver.vq
    device.need_reset()
    with pytest.raises(DeviceError, match="needs a reset: recover"):
        old.wait(head, 100)
    with pytest.raises(DeviceError, match="needs a reset"):
        driver.vq.add([b"more"], [])
    assert "FAILED" in repr(driver)
    device.manual = False
    before = len(device.status_log)
    assert driver.recover() is driver
    assert device.status_log[before:][:4] == [0, 0, 1, 3] and device.has(1) and device.has(2)
    assert driver.vq is not old and driver.error is None
    head = driver.vq.add([b"again"], [])
    driver.vq.notify()
    assert driver.vq.wait(head) == 0
    with pytest.raises(OSError, match="was reset|not in flight"):
        old.add([b"x"], [])


def test_recovery_keeps_callbacks_interrupts_and_what_the_driver_saved():
    class Careful(Driver):
        def probe(self):
            Driver.probe(self)
            self.on_thing = None

        def save(self):
            return "state"

        def restore(self, state):
            self.restored = state

    driver, device, _ = rig(cls=Careful)
    device.on_interrupt = lambda: riscv.interrupt(9)
    driver.open()
    driver.interrupts(True)
    calls = []
    driver.on_thing = driver.on_config = calls.append
    driver.recover()
    assert driver.restored == "state" and driver.on_thing == calls.append
    device.change_config(b"\5\0\0\0")
    assert calls == [driver] and driver.seen[-1] == 5


def test_other_features_after_the_reset_are_refused():
    driver, device, _ = rig(features=mask(1, 2))
    driver.open()
    device.offered &= ~mask(2)
    with pytest.raises(DeviceError, match="not the same features after the reset: TWO"):
        driver.recover()
    assert not driver.is_open and riscv.quiesce == {}
    driver.open()
    assert driver.has(1) and not driver.has(2)


def test_recovering_a_closed_device_is_refused():
    driver, device, _ = rig()
    with pytest.raises(ValueError, match="closed"):
        driver.recover()


@pytest.mark.clauses("GEN-OPER-02")
def test_interrupt_that_means_needs_reset_is_recorded_and_told():
    driver, device, _ = rig()
    device.on_interrupt = lambda: riscv.interrupt(9)
    driver.open()
    driver.interrupts(True)
    told = []
    driver.on_config = lambda d: told.append(str(d.error))
    device.need_reset()
    assert len(told) == 1 and "needs a reset" in told[0]
    with pytest.raises(DeviceError, match="needs a reset"):
        driver.check()


@pytest.mark.clauses("GEN-OPER-01")
def test_change_calls_the_driver_and_the_user(transport):
    driver, device, _ = rig(transport)
    driver.open()
    told = []
    driver.on_config = told.append
    device.change_config(b"\1\0\0\0")
    assert driver.poll_config() is True
    assert (driver.seen, told) == ([1], [driver])
    driver.interrupts(True)
    device.change_config(b"\2\0\0\0")
    riscv.interrupt(9)
    assert driver.seen[-1] == 2 and told == [driver] * 2
    assert driver.poll_config() is False


def test_poll_config_takes_no_interrupt_away_from_the_queues(transport):
    driver, device, _ = rig(transport)
    driver.open()
    driver.interrupts(True)
    driver.vq.add([b"x"], [], "token")
    driver.vq.notify()
    device.change_config(b"\1\0\0\0")
    driver.poll_config()
    assert ("token", 0) in driver.seen and 1 in driver.seen


def test_many_lives_leave_nothing_behind(transport):
    driver, device, _ = rig(transport)
    device.on_interrupt = lambda: riscv.interrupt(9)
    for n in range(1000 if transport == "mmio" else 100):
        driver.open()
        driver.interrupts(True)
        if n % 2:
            driver.recover()
        driver.close()
    assert (riscv.quiesce, riscv.irqs, riscv.messages, driver.queues) == ({}, {}, {}, {})
    del driver.vq
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Virtqueue and thing.device is driver]


def test_table_of_devices_to_quiesce_that_is_full_is_told(transport):
    for n in range(64):
        riscv.quiesce_add(0x9000_0000 + n, 1)
    driver, device, _ = rig(transport)
    with pytest.raises(OSError, match="thing0: the table of open devices is full") as info:
        driver.open()
    assert info.value.args[0] == 12 and not driver.is_open and device.status == 0
    riscv.quiesce_remove(0x9000_0000)
    driver.open()


def test_a_device_that_cannot_be_reset_is_closed_and_keeps_its_memory(transport, monkeypatch):
    from virtio import mmio, pcibase

    for module in (mmio, pcibase):
        monkeypatch.setattr(module, "_RESET_MS", 5)
    d, device, _ = rig(transport)
    d.open()
    queue = d.vq
    device.reset_delay = -1
    with pytest.raises(DeviceError, match="reset"):
        d.close()
    assert not d.is_open
    assert not queue.live
    assert any(queue in kept.values() for kept in d._kept)
    with pytest.raises(DeviceError, match="reset"):
        d.open()
    assert not d.is_open
    device.reset_delay = device.resetting = 0
    d.open()
    assert d.is_open


UNOPENED = [
    ("blk", "Blk", "read(0, bytearray(512))"),
    ("blk", "Blk", "write_many([(0, bytes(512))])"),
    ("blk", "Blk", "submit('r', 0, bytearray(512))"),
    ("blk", "Blk", "readblocks(0, bytearray(512))"),
    ("blk", "Blk", "writeblocks(0, bytes(100), 3)"),
    ("net", "Net", "send(bytes(60))"),
    ("net", "Net", "send_many([bytes(60)])"),
    ("net", "Net", "recv(10)"),
    ("net", "Net", "recv_into(bytearray(60))"),
    ("net", "Net", "recv_many()"),
    ("net", "Net", "ctrl.pairs(1)"),
    ("rng", "RNG", "read(10)"),
    ("console", "Console", "write(b'x')"),
    ("console", "Console", "readinto(bytearray(1))"),
    ("console", "Console", "port.write(b'x')"),
    ("input", "Input", "read()"),
    ("input", "Input", "any()"),
    ("gpu", "GPU", "frame()"),
    ("gpu", "GPU", "displays[0]"),
    ("scsi", "SCSI", "units"),
    ("crypto", "Crypto", "hash('sha256')"),
    ("p9", "P9", "vfs()"),
    ("balloon", "Balloon", "adjust()"),
]


@pytest.mark.parametrize(("module", "name", "call"), UNOPENED, ids=[f"{row[0]} {row[2]}" for row in UNOPENED])
def test_a_device_that_was_never_opened_says_that_it_is_closed(module, name, call):
    cls = getattr(importlib.import_module("virtio." + module), name)
    driver, _, _ = rig(cls=cls)
    with pytest.raises(ValueError, match=f"{cls.NAME}0 is closed"):
        eval("driver." + call)
