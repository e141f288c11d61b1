"""From the FDT to devices: finds transports, knows which driver serves which device id."""

import errno

from micropython import const

from . import mmio

# Device id -> (module in this package, class), imported when such a device is first asked for.
_BUILTIN = {1: ("net", "Net"), 2: ("blk", "Blk"), 3: ("console", "Console"), 4: ("rng", "RNG")}
_BUILTIN.update(
    {
        5: ("balloon", "Balloon"),
        8: ("scsi", "SCSI"),
        9: ("p9", "P9"),
        16: ("gpu", "GPU"),
        18: ("input", "Input"),
        19: ("vsock", "VSock"),
        20: ("crypto", "Crypto"),
        23: ("iommu", "IOMMU"),
        24: ("mem", "Mem"),
        25: ("sound", "Sound"),
        27: ("pmem", "PMem"),
    }
)

# Names of device types (5), for what no driver here serves.
_TYPES = {
    1: "net",
    2: "blk",
    3: "console",
    4: "rng",
    5: "balloon",
    8: "scsi",
    9: "9p",
    16: "gpu",
    17: "rtc",
    18: "input",
    19: "vsock",
    20: "crypto",
    23: "iommu",
    24: "mem",
    25: "sound",
    26: "fs",
    27: "pmem",
    28: "rpmb",
    32: "scmi",
    34: "i2c",
    41: "gpio",
}

_VENDOR = const(0x1AF4)  # of virtio devices on PCI

_preferred = {}  # name of a PCI function, None: all others -> interface that prefer() chose

_registered = {}  # device id -> driver class given at run time
_slots = None  # [transport, name, Device or None], in device order


def scan(tree=None):
    """Find the transports; keeps devices that are known already. tree: an fdt.FDT, default the system's.

    The order is that of QEMU's -device options: of virtio-mmio its highest slot takes the first
    of them. PCI devices follow, by bus, slot and function.
    """
    global _slots
    if tree is None:
        import fdt

        tree = fdt.system()
    known = {slot[0].name: slot for slot in _slots or () if not slot[0].gone}
    slots = []
    for transport in _mmio(tree) + _pci(tree, known):
        slot = known.pop(transport.name, None)
        if slot is None or slot[0].device_id != transport.device_id:
            slot = [transport, "", None]
        slots.append(slot)
    for slot in _slots or ():
        if slot[0].gone and slot[2] is not None:
            slot[2].lost()
    _name(slots)
    _slots = slots  # not before: Ctrl-C may come at any time
    return slots


def _mmio(tree):
    """The transports on virtio-mmio, the highest address first."""
    bases = []
    for node in tree.compatible("virtio,mmio"):
        if node.enabled:
            base, size = node.reg(0)
            bases.append((base, size, _source_of(node)))
    bases.sort(key=lambda item: -item[0])
    found = [mmio.find(base, size, source) for base, size, source in bases]
    return [transport for transport in found if transport is not None]


def _pci(tree, known):
    """The transports on PCI, after a look for what came and went; known ones are kept."""
    import pci

    found = []
    hosts = pci.hosts(tree)
    if _slots is not None:
        pci.rescan()
        for name in [name for name, slot in known.items() if slot[0].gone]:
            del known[name]
    for host in hosts:
        for function in host.functions:
            if function.vendor == _VENDOR:
                slot = known.get("pci@" + function.name)
                same = slot is not None and slot[0].function is function
                found.append(slot[0] if same else _transport(function))
    return [transport for transport in found if transport is not None]


def watch(callback):
    """Call callback(new, lost) by interrupt when devices come or go; returns what to close()."""
    import pci

    def look():
        before = [(slot, device(slot)) for slot in slots()]
        after = scan()
        kept = [slot for slot, _ in before]
        new = [device(slot) for slot in after if slot not in kept]
        lost = [d for slot, d in before if slot not in after]
        if new or lost:
            callback(new, lost)

    slots()
    return pci.watch(look)


def _transport(function):
    from . import pcifind

    return pcifind.find(function, _preferred.get(function.name, _preferred.get(None)))


def prefer(interface, which=None):
    """Use another interface of a closed PCI device, or of all of them: 'modern', 'legacy', 'window'.

    'window' is the modern one by way of PCI_CFG alone; None lets the driver choose again.
    ValueError: no such interface. OSError: EALREADY when it is open, ENODEV when it is not on PCI.
    """
    if interface not in (None, "modern", "legacy", "window"):
        raise ValueError("'modern', 'legacy' or 'window', not %r" % (interface,))
    one = None if which is None else find(which)
    found = [slot for slot in slots() if which is None or slot[2] is one]
    found = [slot for slot in found if hasattr(slot[0], "function")]
    if one is not None and not found:
        raise OSError(errno.ENODEV, "%s is not on PCI" % one.name)
    for slot in found:
        if slot[2] is not None and slot[2].is_open:
            raise OSError(errno.EALREADY, "%s is open: close it first" % slot[1])
    _preferred[None if which is None else found[0][0].function.name] = interface
    for slot in found:
        slot[0] = _transport(slot[0].function)
        slot[2] = None
    return [device(slot) for slot in found]


def _name(slots):
    """Number the devices of each kind; those that have a name keep it."""
    fresh = []
    used = set()
    for slot in slots:
        kind = _kind(slot[0].device_id)
        if slot[1].startswith(kind) and slot[1][len(kind) :].isdigit():
            used.add(slot[1])
        else:
            fresh.append((kind, slot))
    for kind, slot in fresh:
        n = 0
        while kind + str(n) in used:
            n += 1
        slot[1] = kind + str(n)
        used.add(slot[1])


def _source_of(node):
    def source():
        import irq

        found = node.interrupts()
        return irq.route(found[0]) if found else 0

    return source


def _kind(device_id):
    cls = _registered.get(device_id)
    if cls is not None:
        return cls.NAME
    return _TYPES.get(device_id) or "dev%d_" % device_id


def slots():
    return scan() if _slots is None else _slots


def _driver(device_id):
    """The driver class for a device id; the Device base when there is none."""
    cls = _registered.get(device_id)
    if cls is None and device_id in _BUILTIN:
        module, name = _BUILTIN[device_id]
        try:
            cls = getattr(__import__("virtio." + module, None, None, (name,)), name)
        except ImportError:
            cls = None
    if cls is None:
        from .device import Device as cls
    return cls


def device(slot):
    """The Device of a slot, made when first asked for."""
    if slot[2] is None:
        slot[2] = _driver(slot[0].device_id)(slot[0], slot[1])
    return slot[2]


def find(which):
    """The Device with that name ('blk0'), number in devices(), or itself. OSError(ENODEV)."""
    if isinstance(which, int):
        if 0 <= which < len(slots()):
            return device(_slots[which])
    else:
        for slot in slots():
            if slot[1] == which or slot[2] is which:
                return device(slot)
    raise OSError(errno.ENODEV, "no virtio device %r" % (which,))


def register(cls):
    """Let cls drive its IDS from now on; binds closed devices at once and returns them.

    OSError(EALREADY): a device of that type is open; nothing was changed.
    """
    if not cls.IDS:
        raise ValueError("%s.IDS is empty" % cls.__name__)
    found = _closed(cls.IDS)
    for device_id in cls.IDS:
        _registered[device_id] = cls
    return _rebind(found)


def unregister(cls):
    """Take cls out again; closes its devices, which the driver that was there before gets back."""
    ids = [i for i in cls.IDS if _registered.get(i) is cls]
    for slot in slots():
        if slot[0].device_id in ids and slot[2] is not None:
            slot[2].close()
    for device_id in ids:
        del _registered[device_id]
    _rebind([slot for slot in slots() if slot[0].device_id in ids])


def _closed(ids):
    found = [slot for slot in slots() if slot[0].device_id in ids]
    for slot in found:
        if slot[2] is not None and slot[2].is_open:
            raise OSError(errno.EALREADY, "%s is open: close it first" % slot[1])
    return found


def _rebind(found):
    for slot in found:
        slot[2] = None
    _name(_slots)
    return [device(slot) for slot in found]
