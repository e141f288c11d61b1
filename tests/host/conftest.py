"""Host tests run the frozen modules under CPython: stand-ins for MicroPython's own modules come first."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import shim  # noqa: E402

shim.install()


@pytest.fixture(params=["mmio-legacy", "mmio"])
def legacy(request):
    """Both register layouts, on a fresh memory."""
    import virtio_host

    virtio_host.fresh()
    yield request.param == "mmio-legacy"
    virtio_host.fresh()


@pytest.fixture
def attach(legacy):
    """attach(driver class, fake device class, ...) -> (open driver, fake device)."""
    import virtio_host

    opened = []

    def attach(driver, fake, open=True, **options):
        model = fake(legacy=legacy, **options)
        for _, registers in opened:  # the slot is the new device's
            virtio_host.memory.unmap(registers)
        device, registers = virtio_host.attach(model, driver, source=8)
        opened.append((device, registers))
        if open:
            device.open()
        return device, model

    yield attach
    for device, _ in opened:
        device.close()
