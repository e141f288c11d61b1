"""Where the bytes of a kernel, initramfs or devicetree come from: one read() over files, items, memory."""

import errno

from uctypes import bytearray_at


class Source:
    """Bytes with a size and a name. read_at(addr, offset, size) brings them to physical memory."""

    def __init__(self, name, size):
        self.name = name
        self.size = size

    def __repr__(self):
        return "<%s %d bytes>" % (self.name, self.size)

    def read_at(self, addr, offset=0, size=None):
        """Read size bytes (default: the rest) to a physical address. OSError EIO: fewer came."""
        size = self.size - offset if size is None else size
        if size:
            self.read_into(bytearray_at(addr, size), offset)

    def head(self, size):
        """The first bytes, at most size."""
        buf = bytearray(min(size, self.size))
        if buf:
            self.read_into(buf, 0)
        return buf

    def read_into(self, buf, offset):
        """Fill buf from offset."""
        got = self._read(buf, offset)
        if got != len(buf):
            raise OSError(errno.EIO, "%s: read of %d+%d brought %d bytes" % (self.name, offset, len(buf), got))


class VolumeFile(Source):
    """A file of a volume (fs.volume()), read by large requests straight into place."""

    def __init__(self, volume, path):
        self.volume = volume
        self.path = path
        Source.__init__(self, path, volume.size(path))

    def _read(self, buf, offset):
        return self.volume.read_into(self.path, buf, offset)


class MountedFile(Source):
    """A file of the mounted file system, by its path."""

    def __init__(self, path):
        import os

        self.path = path
        Source.__init__(self, path, os.stat(path)[6])

    def _read(self, buf, offset):
        with open(self.path, "rb") as f:
            f.seek(offset)
            view = memoryview(buf)
            done = 0
            while done < len(view):
                got = f.readinto(view[done:])
                if not got:
                    break
                done += got
        return done


class Buffer(Source):
    """A bytes-like object."""

    def __init__(self, buf, name="buffer"):
        self.buf = memoryview(buf)
        Source.__init__(self, name, len(self.buf))

    def _read(self, buf, offset):
        buf[:] = self.buf[offset : offset + len(buf)]
        return len(buf)


class InMemory(Buffer):
    """Physical memory that somebody filled before: stays where it is if it may."""

    def __init__(self, addr, size, name):
        self.addr = addr
        Buffer.__init__(self, bytearray_at(addr, size), name)


class FwCfgItem(Source):
    """A numbered item of QEMU's fw_cfg device."""

    def __init__(self, selector, size, name):
        self.selector = selector
        Source.__init__(self, name, size)

    def _read(self, buf, offset):
        import fwcfg

        return fwcfg.device().read_item_into(self.selector, buf, offset)


class Joined(Source):
    """Several sources one after the other (initramfs archives), each at a multiple of 4."""

    def __init__(self, sources):
        self.sources = sources
        Source.__init__(self, ", ".join([s.name for s in sources]), sum([s.size + 3 & -4 for s in sources]))

    def read_at(self, addr, offset=0, size=None):
        """Read all of them to a physical address."""
        for source in self.sources:
            source.read_at(addr)
            padded = source.size + 3 & -4
            if padded != source.size:
                bytearray_at(addr + source.size, padded - source.size)[:] = bytes(padded - source.size)
            addr += padded


def find(what, volume, kind):
    """The Source that a user means.

    what: a Source, bytes-like, a path (on volume if there is one, else mounted), or a list of them.
    kind: 'kernel', 'initrd' or 'fdt', for the error. OSError: ENOENT and such, naming kind and path.
    """
    if what is None or isinstance(what, Source):
        return what
    if isinstance(what, (list, tuple)):
        sources = [find(item, volume, kind) for item in what]
        return sources[0] if len(sources) == 1 else Joined(sources) if sources else None
    if not isinstance(what, str):
        return Buffer(what, kind)
    try:
        if volume:
            return VolumeFile(volume, what)
        return _on_root(what) or MountedFile(what)
    except OSError as e:
        if e.errno == errno.ENOENT:
            where = " on %r" % volume if volume else ""
            raise OSError(errno.ENOENT, "%s %s: no such file%s" % (kind, what, where))
        if e.errno == errno.ENODEV and not volume:
            raise OSError(errno.ENODEV, "%s %s: nothing is mounted there, and no volume was given" % (kind, what))
        raise


def _on_root(path):
    # A file of the partition that a boot.py came from, past the slower file system it is mounted as.
    from . import policy

    if policy.root is None or not path.startswith("/"):
        return None
    import fs

    volume = fs.volume(policy.root)
    return VolumeFile(volume, path) if policy.exists(volume, path) else None
