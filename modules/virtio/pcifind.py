"""PCI functions to virtio transports: which ids are virtio, and which interface is used."""

import errno

from micropython import const

from .pcibase import PCIBase
from .transport import DeviceError

_VENDOR = const(0x1AF4)
_MODERN = const(0x1040)
_TRANSITIONAL = {0x1000: 1, 0x1001: 2, 0x1002: 5, 0x1003: 3, 0x1004: 8, 0x1005: 4, 0x1009: 9}


def type_of(function):
    """The virtio device id of a function, 0 when it is no virtio device (4.1.2). Any revision."""
    device = function.device
    if function.vendor != _VENDOR or device < 0x1000 or device > 0x107F:
        return 0
    if device >= _MODERN:
        return device - _MODERN
    return _TRANSITIONAL.get(device) or function.subsystem[1]


def find(function, wanted=None):
    """The transport for a function, None when it is no virtio device.

    wanted: 'modern', 'legacy', 'window' (modern by way of PCI_CFG), or None: the best. What cannot
    be used becomes a Broken, which says why when it is opened.
    """
    device_id = type_of(function)
    if device_id == 0:
        return None
    try:
        if wanted == "legacy":
            return _legacy(function, device_id, "as prefer() asked for")
        return _best(function, device_id, wanted)
    except OSError as e:
        return Broken(function, device_id, e.args[-1])


def _best(function, device_id, wanted):
    """Modern, or legacy where there is nothing modern (4.1.5.1.1.1)."""
    from . import pcicap

    capabilities = pcicap.read(function)
    structures = pcicap.Structures(function, capabilities, wanted == "window")
    missing = structures.missing()
    if not missing:
        from .pci import PCI

        transport = PCI(function, device_id, structures)
        transport.why = "as prefer() asked for" if wanted else ""
        return transport
    why = "no reachable " + " and no reachable ".join(missing)
    if not [c for c in capabilities if c.bar is not None]:
        why = "no virtio capabilities"
    if wanted:
        raise _nothing(function, why)
    return _legacy(function, device_id, why)


def _legacy(function, device_id, why):
    bar = function.bars.get(0)
    if function.device >= _MODERN or bar is None or bar.kind != "io":
        raise _nothing(function, why + ", and no legacy interface (QEMU: disable-legacy=off)")
    from .pci_legacy import PCILegacy

    transport = PCILegacy(function, device_id)
    transport.why = why
    return transport


def _nothing(function, why):
    return OSError(errno.ENODEV, "PCI %s: %s" % (function.name, why))


class Broken(PCIBase):
    """In place of the transport of a device that cannot be used."""

    legacy = False
    features = 0
    config_size = 0

    def __init__(self, function, device_id, why):
        super().__init__(function, device_id)
        self.why = why

    def __repr__(self):
        return "<%s unusable device %d>" % (self.name, self.device_id)

    def explain(self):
        return "cannot be used: " + self.why

    def status(self):
        return 0

    def set_status(self, bits):
        pass

    def reset(self):
        raise DeviceError(self.why)
