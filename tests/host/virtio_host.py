"""What the virtio tests share: the stand-ins installed, a fresh memory, a driver on a strict device."""

import irq
import riscv
from fake_blk import FakeBlk
from fake_bus import FakeHost
from fake_device import FakeMMIO, mask
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
    """An open Blk and the FakeBlk behind it."""
    device = FakeBlk(legacy=transport in LEGACY, **options)
    driver, _ = attach(device, Blk, transport=transport)
    return driver.open(), device


__all__ = ["BASE", "LEGACY", "MMIO", "TRANSPORTS", "Blk", "FakeBlk", "FakeMMIO", "FakePCI"]
__all__ += ["attach", "blk", "fresh", "mask", "memory", "mmio", "plug", "unplug"]
