"""virtio: devices, drivers, and the words for the REPL; virtio.help() lists them."""

from . import discover as _discover


class _Word:
    """A function that tells what it does when it is shown, for help(virtio)."""

    def __init__(self, function, text):
        self._function = function
        self._text = text

    def __call__(self, *args, **kwargs):
        return self._function(*args, **kwargs)

    def __repr__(self):
        return self._text


def _devices():
    found = [_discover.device(slot) for slot in _discover.slots()]
    _keep_words()
    return found


def _rescan():
    _discover.scan()
    return _devices()


def _open(which=0, features=None):
    found = _discover.find(which)
    _keep_words()
    if features is not None and not found.is_open:
        found.accept = features
    return found.open()


def _generic(which=0):
    from .generic import take

    _keep_words()
    return take(which)


def _explain(which=None):
    found = _devices() if which is None else [_discover.find(which)]
    for device in found:
        print("%s %s: %s" % (device.name, device.transport.name, device.explain()))


def _trace(on=None, limit=None):
    from .tracer import trace

    return trace(on, limit)


def _keep_words():
    # When they are first imported, modules take the places of the words of the same name.
    globals()["device"] = _device
    globals()["generic"] = _generic_word


def _command(name):
    def run(*args):
        from . import cmd

        try:
            return getattr(cmd, name)(*args)
        finally:
            _keep_words()

    return run


def _help():
    words = globals()
    for name in _SHOWN:
        print("  %r" % words[name])
    print("A device d: d.open() d.close() d.dump(), d.features, d.queues; see also its own methods.")


devices = _Word(_devices, "devices()            list of every virtio device found, open or not")
open = _Word(_open, "open(which)          open a device by name ('blk0') or number; features=mask")
generic = _generic_word = _Word(_generic, "generic(which)       a device by hand: features, queues, configuration")
register = _Word(_discover.register, "register(cls)        let a driver class serve its IDS from now on")
unregister = _Word(_discover.unregister, "unregister(cls)      take a driver class out again")
rescan = _Word(_rescan, "rescan()             look again for devices that came or went")
watch = _Word(
    _discover.watch, "watch(callback)      call callback(new, lost) when devices are plugged in or pulled out"
)
explain = _Word(_explain, "explain([which])     which interface of a device is used, and why")
prefer = _Word(_discover.prefer, "prefer(how[, which]) PCI: 'modern', 'legacy', 'window', None: as it was")
trace = _Word(_trace, "trace(on)            record register and ring accesses; trace().show()")
scan = _Word(_command("scan"), "scan()               U-Boot's 'virtio scan'")
info = _Word(_command("info"), "info()               U-Boot's 'virtio info'")
device = _device = _Word(_command("device"), "device([n])          U-Boot's 'virtio device': show or choose the disk")
part = _Word(_command("part"), "part([n])            U-Boot's 'virtio part': list partitions")
read = _Word(_command("read"), "read(addr, blk, n)   U-Boot's 'virtio read': blocks to memory")
write = _Word(_command("write"), "write(addr, blk, n)  U-Boot's 'virtio write': memory to blocks")
help = _Word(_help, "help()               this list")

_SHOWN = (
    "devices",
    "open",
    "generic",
    "register",
    "unregister",
    "rescan",
    "watch",
    "explain",
    "prefer",
    "scan",
    "info",
    "device",
    "part",
)
_SHOWN += ("read", "write", "help")


def __getattr__(name):
    """DeviceError and Device, imported only when somebody asks for them."""
    if name == "DeviceError":
        from .transport import DeviceError

        return DeviceError
    if name == "Device":
        from .device import Device

        _keep_words()
        return Device
    try:  # MicroPython asks here for what `from . import ring` means, too
        return __import__("virtio." + name, None, None, (name,))
    except ImportError:
        raise AttributeError(name)
