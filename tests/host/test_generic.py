"""modules/virtio/generic: a device by hand, over every transport."""

import pytest
from fake_device import EVENT_IDX, INDIRECT_DESC, VERSION_1, FakeDevice, mask
from virtio import discover
from virtio.device import Device
from virtio.generic import Generic, take
from virtio_host import LEGACY, attach


class Thing(FakeDevice):
    """Answers with what it was sent, backwards."""

    DEVICE_ID = 45
    FIELDS = {0: (4, None), 4: (2, None), 6: (1, None), 8: (4, None), 12: (4, None)}

    def process(self, queue, chain):
        data = chain.data()[::-1]
        chain.write(data[: chain.room])
        return min(len(data), chain.room)


class Driver(Device):
    NAME = "thing"
    IDS = (45,)
    FEATURE_NAMES = {3: "THREE"}


@pytest.fixture
def thing(transport, monkeypatch):
    """(a Generic, the fake device)."""
    device = Thing(features=mask(3, 5), config=bytes(range(16)), queues=(8, 4), legacy=transport in LEGACY)
    driver, _ = attach(device, Driver, transport=transport)
    monkeypatch.setattr(discover, "_slots", [[driver.transport, "thing0", driver]])
    return take("thing0"), device


def test_everything_offered_is_taken_and_all_queues_are_live(thing):
    g, device = thing
    with g.open():
        assert device.live
        assert device.has(3) and device.has(5)
        assert [q.size for q in g.queues.values()] == [8, 4]
        assert g.request(0, [b"abc", b"def"], [4, 10]) == b"fedcba"
        assert g.request(1, [b"abc"], [2]) == b"cb"
    assert not device.live


def test_features_are_written_as_they_are_told(thing):
    g, device = thing
    base = 1 << 27 if device.legacy else 1 << VERSION_1
    device.offered |= base
    g.open(features=base | mask(5), queues=[1])
    assert device.features == base | mask(5)
    assert list(g.queues) == [1]
    g.close()
    names = ["THREE", "EVENT_IDX", 28] + (["ANY_LAYOUT"] if device.legacy else ["VERSION_1"])
    g.open(features=names, queues={0: 2})
    assert device.features == base | mask(3, EVENT_IDX, INDIRECT_DESC)
    assert g.queues[0].size == (8 if device.legacy and g.transport.queue_fixed else 2)
    g.close()


def test_a_feature_without_a_name_is_refused(thing):
    g, _ = thing
    with pytest.raises(ValueError, match="no feature 'FOUR'"):
        g.open(features="VERSION_1 FOUR")
    assert not g.is_open


def test_the_offer_is_asked_without_opening(thing):
    g, device = thing
    assert g.offer() == device.offered
    assert device.status == 0
    assert "THREE" in g.names(g.offer())


def test_configuration_has_the_fields_of_the_layout(thing):
    g, device = thing
    g.open()
    assert g.config(0, "IHB") == (0x03020100, 0x0504, 6)
    assert g.config(8, "Q") == (0x0F0E0D0C0B0A0908,)
    g.set_config(0, "IH", 0x11223344, 0x5566)
    g.set_config(8, "Q", 0x0102030405060708)
    assert device.config == bytes.fromhex("443322116655 0607 0807060504030201")
    with pytest.raises(ValueError, match="'x'"):
        g.config(0, "x")
    with pytest.raises(ValueError, match="2 values"):
        g.set_config(0, "I", 1, 2)
    with pytest.raises(OSError, match="no configuration at offset"):
        g.config(100000, "B")
    g.close()


def test_the_driver_and_the_hand_exclude_each_other(thing):
    g, _ = thing
    driver = discover.find("thing0")
    driver.open()
    with pytest.raises(OSError, match="thing0 is open"):
        g.open()
    with pytest.raises(OSError, match="thing0 is open"):
        take("thing0")
    driver.close()
    g.open()
    assert discover.find("thing0") is g
    with pytest.raises(OSError, match="thing0 is open"):
        discover.find("thing0").open()
    g.close()
    assert type(discover.find("thing0")) is not Generic


def test_a_queue_that_is_not_there_is_named(thing):
    g, _ = thing
    with pytest.raises(OSError, match="has no queue 7"):
        g.open(queues=[7])
    g.open(queues=[0])
    with pytest.raises(OSError, match="queue 1 is not set up"):
        g.request(1, [b"x"])
    g.close()


@pytest.mark.parametrize("how", [{"features": -1}, {"features": 1 << 128}, {"features": [3, 200]}, {"queues": {0: -5}}])
def test_what_no_device_can_have_is_refused(thing, how):
    g, device = thing
    with pytest.raises(ValueError, match="thing0"):
        g.open(**how)
    assert not g.is_open
    with g.open():
        for call in (lambda: g.config(-4), lambda: g.set_config(-4, "B", 0)):
            with pytest.raises(ValueError, match="offset -4"):
                call()
