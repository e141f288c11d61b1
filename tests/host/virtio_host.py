"""What the virtio tests share: the stand-ins installed, a fresh memory, a driver on a strict device."""

import irq
import pytest
import riscv
from fake_blk import FakeBlk
from fake_bus import FakeHost
from fake_device import EVENT_IDX, IN_ORDER, INDIRECT_DESC, NOTIFICATION_DATA, RING_PACKED, FakeMMIO, mask
from fake_pci import FakePCI
from pci.host import Host
from shim.memory import memory
from virtio import blkqueue, mmio, pcifind, queue
from virtio.blk import Blk

blkqueue._SPINS = queue._SPINS = 20  # CPython is slow enough

BASE = 0x1000_8000
TRANSPORTS = ("mmio", "mmio-legacy", "pci", "pci-transitional", "pci-legacy")
MMIO = TRANSPORTS[:2]
LEGACY = ("mmio-legacy", "pci-legacy")

# Features that change how a ring works; LAYOUTS and CASES have names for pytest.
SPLIT = (0, mask(INDIRECT_DESC), mask(EVENT_IDX), mask(INDIRECT_DESC, EVENT_IDX))
PACKED = tuple(features | 1 << RING_PACKED for features in SPLIT)
_SHORT = {INDIRECT_DESC: "indirect", EVENT_IDX: "event", IN_ORDER: "ordered", NOTIFICATION_DATA: "data"}


def ring_id(features):
    """A name for a set of ring features."""
    words = [name for bit, name in _SHORT.items() if features >> bit & 1]
    return "-".join(["packed" if features >> RING_PACKED & 1 else "split", *words])


LAYOUTS = [pytest.param(rings[3], id=name) for name, rings in (("split", SPLIT), ("packed", PACKED))]
CASES = [pytest.param("mmio", features, id="mmio-" + ring_id(features)) for features in SPLIT + PACKED]
CASES += [pytest.param("mmio-legacy", features, id="legacy-" + ring_id(features)) for features in SPLIT]
CASES += [pytest.param("pci", features, id="pci-" + ring_id(features)) for features in (SPLIT[3], PACKED[3])]
CASES += [pytest.param("pci-transitional", PACKED[3], id="transitional-" + ring_id(PACKED[3]))]
CASES += [pytest.param("pci-legacy", SPLIT[3], id="pci-legacy-" + ring_id(SPLIT[3]))]


def warp(vq, queue, idx):
    """Let both sides of a fresh queue begin at idx: so many chains, or slots, have gone through."""
    queue.start_at(idx)
    if vq.packed:
        idx = idx % vq.size | (1 - idx // vq.size % 2) << 15
    for word in (9, 10, 11):
        vq._state.buf[4 * word : 4 * word + 4] = idx.to_bytes(4, "little")


def fresh():
    """Forget all pinned memory, registers and recordings."""
    memory.reset()
    riscv.reset()
    irq._lines.clear()


def attach(device, cls, base=BASE, name=None, source=0, transport="mmio", **options):
    """(driver, registers) for a FakeDevice, found as the bus finds it; not opened.

    source: number of the interrupt, of PCI its pin's. options: of FakePCI.
    """
    name = name or cls.NAME + "0"
    if transport.startswith("pci"):
        found, registers = plug(device, transport, source=source, **options)
        return cls(found, name), registers
    registers = FakeMMIO(device, base)
    return cls(mmio.find(base, source=source), name), registers


def plug(device, transport="pci", source=0, wanted=None, **options):
    """(transport, registers) of a FakeDevice in slot 0 of a new host bridge."""
    host = FakeHost(source=source)
    registers = host.plug(FakePCI(device, transport, **options), 0)
    if not source:
        del host.node.props["interrupt-map"]
    bus = Host(host.node)
    bus.enumerate()
    return pcifind.find(bus.functions[0], wanted), registers


def unplug(registers):
    """Take what attach() put in off the bus again."""
    memory.unmap(registers)
    if isinstance(registers, FakePCI):
        registers.host.unmap()


def blk(transport="mmio", **options):
    """An open Blk and the FakeBlk behind it; "mmio-packed" offers packed rings unless options say otherwise."""
    if transport == "mmio-packed":
        options.setdefault("ring_features", PACKED[3])
        transport = "mmio"
    device = FakeBlk(legacy=transport in LEGACY, **options)
    driver, _ = attach(device, Blk, transport=transport)
    return driver.open(), device


__all__ = [
    "BASE",
    "CASES",
    "LAYOUTS",
    "LEGACY",
    "MMIO",
    "PACKED",
    "SPLIT",
    "TRANSPORTS",
    "Blk",
    "FakeBlk",
    "FakeMMIO",
    "FakePCI",
    "attach",
    "blk",
    "fresh",
    "mask",
    "memory",
    "mmio",
    "plug",
    "ring_id",
    "unplug",
    "warp",
]
