"""Every driver over every register layout: of all bits that a device can offer, only those with a meaning are taken."""

import pytest
from fake_device import FakeDevice, mask
from virtio import discover, mmio, pci
from virtio_host import TRANSPORTS, attach, fresh

# Bits of the device types (5), as far as the specification gives them a meaning on the modern interface.
DEFINED = {
    1: set(range(24)) - {4, 6} | {50, 51, 52, 53, 54, 55, 56, 57, *range(59, 71)},
    2: {1, 2, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16, 17},
    3: {0, 1, 2},
    4: set(),
    5: set(range(6)),
    8: set(range(4)),
    9: {0},
    16: set(range(6)),
    18: set(),
    19: {0, 1, 2},
    20: set(range(6)),
    23: set(range(7)),
    24: {0, 1, 2},
    25: {0},
    27: {0},
}
LEGACY = {1: {6, 41, 42}, 2: {0, 7}}
# Bits for all types (6) that have a meaning over MMIO and, without virtual functions and admin queues, over PCI.
MODERN_RING = {28, 29, 32, 33, 34, 35, 36, 38, 39, 40}
LEGACY_RING = {24, 27, 28, 29}


class AnyWidth(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class AnyField(dict):
    def __contains__(self, off):
        return True

    def __getitem__(self, off):
        return AnyWidth(1), None


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


def negotiated(device_id, transport, offered):
    """What the driver of that type accepts of an offer; nothing of it but the negotiation runs."""

    class Offering(FakeDevice):
        DEVICE_ID = device_id
        FIELDS = AnyField()

    class Mute(discover._driver(device_id)):
        def probe(self):
            pass

        ready = remove = probe

    device = Offering(legacy=transport == "mmio-legacy", config=bytes(256))
    device.offered = offered
    driver, _ = attach(device, Mute)
    driver.open()
    driver.is_open = False
    assert driver.features & ~offered == 0
    return device.features


def bits(mask_):
    return {bit for bit in range(128) if mask_ >> bit & 1}


@pytest.mark.clauses(
    "GEN-FEAT-04", "GEN-FEAT-05", "GEN-FEAT-06", "GEN-FEAT-07", "GEN-FEAT-10", "MMIO-40", "GEN-RSVD-10"
)
@pytest.mark.parametrize("device_id", sorted(discover._BUILTIN))
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_of_a_device_that_offers_everything_only_what_has_a_meaning_is_taken(transport, device_id):
    legacy = transport == "mmio-legacy"
    everything = (1 << 32) - 1 if legacy else (1 << 128) - 1
    known = DEFINED[device_id] | (LEGACY_RING | LEGACY.get(device_id, set()) if legacy else MODERN_RING)
    taken = bits(negotiated(device_id, transport, everything))
    assert taken <= known
    assert legacy or 32 in taken


@pytest.mark.clauses("GEN-FEAT-08", "GEN-FEAT-10")
@pytest.mark.parametrize("device_id", sorted(discover._BUILTIN))
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_device_that_offers_nothing_but_unknown_bits_is_driven(transport, device_id):
    legacy = transport == "mmio-legacy"
    unknown = mask(31, 25) if legacy else mask(42, 49, 58, 100)
    assert bits(negotiated(device_id, transport, unknown | (0 if legacy else mask(32)))) == (set() if legacy else {32})


@pytest.mark.clauses("GEN-FEAT-06", "GEN-RSVD-10")
def test_transports_allow_only_bits_that_work_over_them():
    assert bits(mmio.MMIO(0, 0x200, 0, 2, 1).features) <= MODERN_RING
    assert bits(pci.PCI.features) <= MODERN_RING
