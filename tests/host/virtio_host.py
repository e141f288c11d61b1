"""What the virtio tests share: the stand-ins installed, a fresh memory, a driver on a strict device."""

import irq
import riscv
from fake_blk import FakeBlk
from fake_device import FakeMMIO, mask
from shim.memory import memory
from virtio import blkqueue, mmio, queue
from virtio.blk import Blk

blkqueue._SPINS = queue._SPINS = 20  # CPython is slow enough

BASE = 0x1000_8000
TRANSPORTS = ("mmio", "mmio-legacy")


def fresh():
    """Forget all pinned memory, registers and recordings."""
    memory.reset()
    riscv.reset()
    irq._lines.clear()


def attach(device, cls, base=BASE, name=None, source=0):
    """(driver, registers) for a FakeDevice, found as the bus finds it; not opened."""
    registers = FakeMMIO(device, base)
    transport = mmio.find(base, source=source)
    return cls(transport, name or cls.NAME + "0"), registers


def blk(transport="mmio", **options):
    """An open Blk and the FakeBlk behind it."""
    device = FakeBlk(legacy=transport == "mmio-legacy", **options)
    driver, _ = attach(device, Blk)
    return driver.open(), device


__all__ = ["BASE", "TRANSPORTS", "Blk", "FakeBlk", "FakeMMIO", "attach", "blk", "fresh", "mask", "memory", "mmio"]
