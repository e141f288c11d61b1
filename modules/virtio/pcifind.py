"""PCI functions to virtio transports: which ids are virtio, and which interface is used."""

from micropython import const

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


def find(function):
    """The transport for a function, None when it is no virtio device."""
    device_id = type_of(function)
    if device_id == 0:
        return None
    try:
        return _modern(function, device_id)
    except OSError as e:
        return Broken(function, device_id, e.args[-1])


def _modern(function, device_id):
    from . import pcicap
    from .pci import PCI

    structures = pcicap.Structures(function, pcicap.read(function))
    missing = structures.missing()
    if missing:
        raise OSError(5, "PCI %s: no virtio structure: %s" % (function.name, ", ".join(missing)))
    return PCI(function, device_id, structures)


class Broken:
    """In place of the transport of a device that cannot be used: says why when it is opened."""

    legacy = False
    source = 0
    features = 0
    config_size = 0

    def __init__(self, function, device_id, why):
        self.function = function
        self.device_id = device_id
        self.vendor_id = function.vendor
        self.why = why

    @property
    def name(self):
        return "pci@" + self.function.name

    def __repr__(self):
        return "<%s device %d unusable>" % (self.name, self.device_id)

    def status(self):
        return 0

    def reset(self):
        raise DeviceError(self.why)

    def explain(self):
        return "cannot be used: " + self.why
