"""Host tests run the frozen modules under CPython: stand-ins for MicroPython's own modules come first."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import shim  # noqa: E402

shim.install()


@pytest.fixture(params=["mmio-legacy", "mmio", "pci-legacy", "pci-transitional", "pci"])
def transport(request):
    """The name of each transport, on a fresh memory."""
    import virtio_host

    virtio_host.fresh()
    yield request.param
    virtio_host.fresh()


@pytest.fixture
def legacy(transport):
    """Whether the transport is a legacy one."""
    return transport.endswith("legacy")


@pytest.fixture
def attach(transport, legacy):
    """attach(driver class, fake device class, ...) -> (open driver, fake device)."""
    import virtio_host

    opened = []

    def attach(driver, fake, open=True, **options):
        model = fake(legacy=legacy, **options)
        for _, registers in opened:  # the slot is the new device's
            virtio_host.unplug(registers)
        device, registers = virtio_host.attach(model, driver, source=8, transport=transport)
        opened.append((device, registers))
        if open:
            device.open()
        return device, model

    yield attach
    for device, _ in opened:
        device.close()
