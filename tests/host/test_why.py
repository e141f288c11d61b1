"""modules/virtio/why, tracer: what a person is told when a device does not answer, and what was recorded."""

import re
import struct

import pytest
from fake_device import IN_ORDER, RING_PACKED, FakeDevice
from machine import mem32
from virtio import discover, mmio, packed, ring, tracer
from virtio.device import Device
from virtio_host import LAYOUTS, MMIO, PACKED, SPLIT, attach, fresh, mask, memory


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


class Deaf(FakeDevice):
    """Answers only when a test lets it."""

    DEVICE_ID = 42


class Driver(Device):
    NAME = "deaf"
    IDS = (42,)

    def probe(self):
        self.vq = self.queue(0, 16)


def rig(features=SPLIT[3], transport="mmio"):
    device = Deaf(ring_features=features, queues=(16,), legacy=transport == "mmio-legacy")
    device.manual = True
    driver, registers = attach(device, Driver, transport=transport)
    return driver.open(), device, registers


def asked(driver):
    """The driver's queue with one chain that the device was told of."""
    driver.vq.add([b"ab"], [bytearray(4)], "mine")
    driver.vq.notify()
    return driver.vq


def test_nothing_is_wrong(layout, capsys):
    driver, _, _ = rig(layout)
    assert driver.why() is None and driver.vq.why() is None
    assert "asked for nothing" in capsys.readouterr().out
    asked(driver)
    assert driver.why() is None
    assert capsys.readouterr().out == "deaf0: no rule is broken, 1 chain(s) are with the device: it is its turn\n"


def closed(driver, device):
    driver.close()
    return "closed.*3.1.1"


def given_up(driver, device):
    with pytest.raises(OSError):
        driver.fail("it lied")
    return "given up: .*it lied.*2.1.1"


def gone(driver, device):
    device.gone = True
    return "registers read as ones"


def needs_reset(driver, device):
    device.need_reset()
    return "NEEDS_RESET.*2.1.2"


def was_reset(driver, device):
    device.status = 0
    return "status is 0.*2.4"


def not_driver_ok(driver, device):
    device.status = 11
    return "DRIVER_OK is not set.*3.1.1 step 8"


def features_refused(driver, device):
    device.status = 7
    return "FEATURES_OK is not set.*step 6"


def no_version_1(driver, device):
    driver.features &= ~(1 << 32)
    return "VERSION_1.*6.1"


def too_many_features(driver, device):
    driver.features |= 1 << IN_ORDER
    return "does not offer: IN_ORDER.*2.2.1"


def no_platform(driver, device):
    driver.offered |= 1 << 33
    return "ACCESS_PLATFORM.*6.1"


def old_queue(driver, device):
    driver.vq.stop()
    return "from before a reset"


def disabled(driver, device):
    device.queues[0].ready = False
    return "does not have it enabled.*4.2.3.2"


def misaligned(driver, device):
    driver.vq.used += 2
    return "device area.*not aligned to 4.*2.[78].1"


def wrong_register(driver, device):
    struct.pack_into("<Q", driver.vq._state.buf, 80, 0x1234)
    return "notifications go to 0x1234 instead of 0x10008050.*4.2.3.3"


def not_shown(driver, device):
    driver.vq.add([b"x"], [])
    return r"not shown to the device: notify\(\).*2.[78]"


def lies_in_the_ring(driver, device):
    device.queues[0].finish(device.queues[0].held[0], 4)
    return "lie in the ring.*2.(7.14|8.22)"


def waits_to_be_taken(driver, device):
    device.queues[0].finish(device.queues[0].held[0], 4)
    driver.vq.reap()
    return r"1 used chain\(s\) wait to be taken.*2.(7.14|8.22)"


def bogus(driver, device):
    device.queues[0].push(0 if not driver.vq.packed else 9, 0)
    device.queues[0].push(0 if not driver.vq.packed else 9, 0)
    return "2 ahead, with 1 in flight.*2.7.8|buffer id 9 that is not in flight.*2.8.4"


def interrupts_without_handler(driver, device):
    driver.wants_interrupts = True
    return "no handler is connected.*2.9"


BROKEN = [closed, given_up, gone, needs_reset, was_reset, not_driver_ok, features_refused, no_version_1]
BROKEN += [too_many_features, no_platform, old_queue, disabled, misaligned, wrong_register, not_shown]
BROKEN += [lies_in_the_ring, waits_to_be_taken, bogus, interrupts_without_handler]


@pytest.mark.parametrize("breakage", BROKEN, ids=lambda f: f.__name__)
def test_first_broken_rule_is_named_with_its_section(layout, breakage, capsys):
    driver, device, _ = rig(layout)
    vq = asked(driver)
    pattern = breakage(driver, device)
    text = vq.why()
    assert capsys.readouterr().out == text + "\n"
    assert text.startswith("deaf0: ")
    assert re.search(pattern, text)
    assert driver.why() == (text if breakage is not closed else driver.why())


def test_device_that_looks_by_itself_and_does_not():
    for features in (0, 1 << RING_PACKED):
        fresh()
        driver, device, _ = rig(features)
        device.queues[0].set_no_notify(True)
        vq = asked(driver)
        assert "wants no notifications" in vq.why()


def test_device_that_was_notified_and_has_not_looked():
    driver, device, _ = rig(SPLIT[3])
    device.follow_event = False
    assert "not looked at the newest 1" in asked(driver).why()


def test_somebody_wrote_into_the_available_ring():
    driver, device, _ = rig(SPLIT[3])
    vq = asked(driver)
    memory.view(vq.avail + 2, 2)[:] = b"\7\0"
    assert "avail.idx is 7, 1 was written there (virtio 2.7.6)" in vq.why()


def test_event_flags_that_mean_nothing():
    driver, device, _ = rig(PACKED[3])
    vq = asked(driver)
    memory.view(vq.used + 2, 2)[:] = b"\3\0"
    assert "2.8.14" in vq.why()


@pytest.mark.parametrize("transport", ["pci", "mmio-legacy", "pci-legacy"])
def test_addresses_are_compared_where_the_device_tells_them(transport):
    device = Deaf(queues=(16,), legacy="legacy" in transport)
    driver, _ = attach(device, Driver, transport=transport)
    driver.open()
    assert driver.why() is None
    driver.vq.desc += 4096
    assert "the device has the ring at" in driver.vq.why()


# -- dump ----------------------------------------------------------------------------------------


def test_dump_shows_chains_with_their_owners(layout, capsys):
    driver, device, _ = rig(layout & ~mask(28))
    vq = asked(driver)
    waited = vq.add([b"abc"], [])
    vq.notify()
    vq.dump()
    text = capsys.readouterr().out
    assert "for 'mine'" in text and "for wait(%d)" % waited in text
    assert "+2 readable" in text and "+4 writable" in text and "+3 readable" in text
    device.queues[0].finish(device.queues[0].held[0], 4)
    vq.reap()
    vq.dump()
    assert "used, 4 bytes, for 'mine'" in capsys.readouterr().out


def test_dump_shows_indirect_tables(layout, capsys):
    driver, _, _ = rig(layout)
    driver.vq.add([b"a"] * 6, [bytearray(9)])
    driver.vq.notify()
    driver.vq.dump()
    text = capsys.readouterr().out
    assert "+112 indirect" in text and "6: " in text and "+9 writable" in text


@pytest.mark.parametrize("features", SPLIT + PACKED)
def test_dump_says_what_both_sides_want_to_be_told(features, capsys):
    driver, _, _ = rig(features)
    driver.vq.listen(True)
    driver.vq.dump()
    text = capsys.readouterr().out
    if driver.vq.event_idx:
        assert ("wanted at slot 0 wrap 1" if driver.vq.packed else "used_event 0") in text
    else:
        assert "interrupts: wanted" in text
    driver.vq.listen(False)
    driver.vq.dump()
    text = capsys.readouterr().out
    assert "interrupts: not wanted" in text or "used_event 65535" in text


# -- trace ---------------------------------------------------------------------------------------


@pytest.fixture
def traced(monkeypatch):
    """rig() whose device discover knows, for names and queues."""

    def start(features=SPLIT[3], transport="mmio"):
        driver, device, registers = rig(features, transport)
        monkeypatch.setattr(discover, "_slots", [[driver.transport, "deaf0", driver]])
        return driver, device

    yield start
    tracer.trace(False)


@pytest.mark.parametrize("transport", MMIO)
def test_trace_shows_registers_by_name_and_what_the_ring_did(traced, transport, capsys):
    driver, device = traced(transport=transport)
    recording = tracer.trace(True)
    vq = asked(driver)
    device.queues[0].finish(device.queues[0].held[0], 4)
    vq.get()
    driver.transport.status()
    tracer.trace(False)
    recording.show()
    lines = [line.split("us  ")[1] for line in capsys.readouterr().out.splitlines()]
    status = "0x7" if transport == "mmio-legacy" else "0xf"
    assert lines == [
        "deaf0 queue 0: published 0x0 to 0x1, notified",
        "deaf0 queue 0: 1 used chains taken",
        "deaf0 Status read -> " + status,
    ]


def test_trace_leaves_everything_as_it_was(traced):
    driver, _ = traced()
    vq = driver.vq
    before = (vq._publish, vq._reap, ring.publish, packed.reap, mmio.mem32)
    tracer.trace(True)
    assert vq._publish is not before[0]
    driver.close()
    driver.open()
    during = driver.vq
    tracer.trace(False)
    assert (vq._publish, vq._reap, ring.publish, packed.reap, mmio.mem32) == before
    assert (during._publish, during._reap) == before[:2]
    assert before[4] is mem32


def test_trace_is_bounded(traced):
    driver, _ = traced()
    recording = tracer.trace(True, limit=10)
    for _ in range(30):
        driver.transport.status()
    tracer.trace(False)
    assert len(recording) == len(recording.events()) == 10 and recording.count == 30
    recording.clear()
    assert recording.events() == []
