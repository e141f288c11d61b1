"""os.urandom from virtio-rng: first asked when random bytes are first wanted, not at start-up."""

import riscv

_STORE = 4096  # bytes fetched at a time; the device is open only meanwhile

_store = b""
_at = 0


def _fetch():
    # A store full of random bytes from the first virtio-rng device.
    import errno

    import virtio

    for device in virtio.devices():
        if device.name == "rng0":
            if device.is_open:
                return bytearray(device.read(_STORE))
            with device:
                return bytearray(device.read(_STORE))
    riscv.entropy_source(None)  # do not ask again: the next best source serves
    raise OSError(errno.ENODEV, "no virtio-rng device")


def fill(buf):
    """Fill buf from virtio-rng. OSError: there is no such device, or it does not answer."""
    global _store, _at
    done = 0
    while done < len(buf):
        if _at == len(_store):
            _store = _fetch()
            _at = 0
        n = min(len(buf) - done, len(_store) - _at)
        buf[done : done + n] = _store[_at : _at + n]
        _store[_at : _at + n] = bytes(n)  # handed out once, and found nowhere afterwards
        _at += n
        done += n


def register():
    """Make virtio-rng what os.urandom and seeds come from, if there is such a device."""
    riscv.entropy_source("virtio-rng", fill)
