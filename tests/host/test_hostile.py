"""Queues against devices that break the rules: what is noticed, what is survived, and how it goes on afterwards."""

import random

import fake_hostile
import pytest
from fake_device import EVENT_IDX, INDIRECT_DESC, FakeDevice, mask
from virtio.device import Device
from virtio.transport import DeviceError
from virtio_host import LEGACY, TRANSPORTS, attach, fresh

RINGS = [0, mask(INDIRECT_DESC), mask(EVENT_IDX), mask(INDIRECT_DESC, EVENT_IDX)]


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


class Echo(FakeDevice):
    DEVICE_ID = 42

    def process(self, queue, chain):
        data = chain.data()[::-1][: chain.room]
        chain.write(data)
        return len(data)


class EchoDriver(Device):
    NAME = "echo"

    def probe(self):
        self.vq = self.queue(0)


def rig(transport="mmio", ring_features=RINGS[3]):
    device = Echo(legacy=transport in LEGACY, ring_features=ring_features, queues=(16,))
    driver, registers = attach(device, EchoDriver, transport=transport)
    driver.open()
    return driver, device


def echo(driver):
    buf = bytearray(3)
    assert driver.vq.wait(driver.vq.add([b"abc"], [buf]), timeout_ms=50) == 3
    assert buf == b"cba"


def in_flight(driver, device, n=3):
    """n chains that the device holds."""
    device.manual = True
    bufs = [bytearray(2) for _ in range(n)]
    for i, buf in enumerate(bufs):
        driver.vq.add([bytes((i, 7))], [buf], i)
    driver.vq.notify()
    return bufs


@pytest.mark.clauses("GEN-INIT-13")
@pytest.mark.parametrize("features", RINGS)
@pytest.mark.parametrize("lie", fake_hostile.LIES)
def test_a_lie_is_noticed_and_only_a_reset_helps(transport, features, lie):
    driver, device = rig(transport, features)
    in_flight(driver, device)
    if not lie(device.queues[0], random.Random(1)):
        assert device.legacy  # a legacy device's lengths are not looked at
        return
    with pytest.raises(DeviceError, match="echo0: queue 0: "):
        while driver.vq.get():
            pass
    with pytest.raises(DeviceError):
        driver.vq.add([b"x"], [])
    assert device.status & 128
    driver.close()
    device.manual = False
    driver.open()
    echo(driver)


@pytest.mark.clauses("SPLIT-UNOTIF-05", "SPLIT-ANOTIF-02", "SPLIT-ANOTIF-05", "GEN-CLEANUP-01")
@pytest.mark.parametrize("features", RINGS)
@pytest.mark.parametrize("prank", fake_hostile.PRANKS)
def test_a_prank_changes_nothing(transport, features, prank):
    driver, device = rig(transport, features)
    bufs = in_flight(driver, device)
    queue = device.queues[0]
    assert prank(queue, random.Random(2))
    for chain in list(queue.held):
        queue.finish(chain, device.process(queue, chain))
    assert [driver.vq.get() for _ in bufs] == [(0, 2), (1, 2), (2, 2)]
    assert bufs == [bytes((7, i)) for i in range(3)]
    device.manual = False
    echo(driver)


@pytest.mark.parametrize("trouble", ["need_reset", "lose_state", "die"])
@pytest.mark.parametrize("chain", [1, 2])
def test_trouble_in_the_middle_ends_the_wait(transport, trouble, chain):
    driver, device = rig(transport)
    device.at("chain", chain, getattr(device, trouble))
    for _ in range(chain - 1):
        echo(driver)
    with pytest.raises(OSError) as info:
        for _ in range(2):
            driver.vq.wait(driver.vq.add([b"abc"], [bytearray(3)]), timeout_ms=20)
            device.dead = True  # what was asked for before may still be answered
    assert isinstance(info.value, DeviceError) or trouble == "die" and info.value.args[0] == 110
    driver.close()
    device.dead = False
    driver.open()
    echo(driver)


@pytest.mark.parametrize("access", range(1, 40, 3))
@pytest.mark.parametrize("trouble", ["need_reset", "lose_state"])
def test_trouble_at_any_access_is_an_error_or_nothing(transport, trouble, access):
    """While a device is opened, used and closed; it works again after the next opening."""
    driver, device = rig(transport)
    driver.close()
    device.at("access", access, getattr(device, trouble))
    try:
        driver.open()
        echo(driver)
    except OSError as error:  # ENODEV is the other one: a device that was reset has no queue
        assert isinstance(error, DeviceError) or error.args[0] == 19
    driver.close()
    device.alarms = []
    driver.open()
    echo(driver)


def test_interrupt_status_bits_that_mean_nothing_are_ignored():
    driver, device = rig()
    device.isr_noise = 0xFFFF_FFFC
    device.isr = 2
    assert driver.poll_config()
    assert not driver.poll_config()
