"""virtio.generic: QEMU's devices by hand, without their drivers."""

import pytest
from session import RemoteError


@pytest.fixture(scope="module")
def machine():
    return {
        "extra": [
            *("-device", "virtio-rng-device"),
            *("-device", "virtio-balloon-device"),
            *("-device", "virtio-rng-pci,disable-legacy=on"),
        ]
    }


@pytest.mark.parametrize("name", ["rng0", "rng1"])
def test_random_bytes_come_without_a_driver(guest, name):
    guest.exec(f"import virtio\ng = virtio.generic({name!r})\ng.open()")
    first, second = (guest.eval("g.request(0, (), [8, 8])") for _ in range(2))
    assert 0 < len(first) <= 16
    assert first != second
    guest.exec("g.close()")
    assert len(guest.eval(f"virtio.open({name!r}).read(5)")) == 5


def test_features_and_queues_are_chosen_by_hand(guest):
    guest.exec("import virtio\ng = virtio.generic('balloon0')")
    offered = guest.eval("g.offer()")
    assert offered >> 32 & 1
    assert offered < 1 << 64, "words that only repeat others are no features"
    assert "VERSION_1" in guest.eval("g.names(g.offer())")
    guest.exec("g.open(features=['VERSION_1', 1], queues={0: 16, 2: 4})")
    assert guest.eval("(g.features, sorted(g.queues), g.queues[2].size)") == (1 << 32 | 2, [0, 2], 4)
    assert guest.eval("g.config(0, 'II')") == (0, 0)
    guest.exec("g.set_config(4, 'I', 3)")
    assert guest.eval("g.config(4, 'I')") == (3,)


def test_a_refusal_names_the_features(guest):
    guest.exec("import virtio\ng = virtio.generic('balloon0')")
    with pytest.raises(RemoteError) as caught:
        guest.exec("g.open(queues=[0, 1, 40])")
    assert "balloon0 has no queue 40" in caught.value.error
    assert guest.eval("g.is_open") is False
    guest.exec("g.open(queues=[0])")
    with pytest.raises(RemoteError) as caught:
        guest.exec("virtio.open('balloon0')")
    assert "balloon0 is open" in caught.value.error
