"""Linux as the peer: Debian's kernel, its virtio-blk modules and reader.c as init."""

import lzma
import stat
import subprocess
from pathlib import Path

from inputs import CC

HERE = Path(__file__).resolve().parent
MODULES = ("virtio_mmio.ko.xz", "virtio_blk.ko.xz")
FLAGS = ["-march=rv64gc", "-mabi=lp64d", "-mcmodel=medany", "-O2", "-Wall", "-Wextra", "-ffreestanding", "-nostdlib"]
APPEND = "console=ttyS0 quiet"


def entry(number, name, mode, data=b"", device=(0, 0)):
    """One file of an initramfs: a cpio archive in the format that Linux calls newc."""
    name = name.encode() + b"\0"
    words = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % word for word in words) + name
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def archive(files):
    """files: (name, mode, data) or (name, mode, data, (major, minor))."""
    whole = b"".join(entry(number, *file) for number, file in enumerate([*files, ("TRAILER!!!", 0)], 1))
    return whole + bytes(-len(whole) % 512)


class Linux:
    """The kernel, and an initramfs whose init reads `count` blocks and half as many at each depth."""

    def __init__(self, build, folder):
        supply = build / "supply" / "linux"
        self.kernel = supply / "linux"
        self._modules = [supply / name for name in MODULES]
        self._folder = folder

    def initrd(self, count):
        init = self._folder / "reader"
        subprocess.run([CC, *FLAGS, f"-DCOUNT={count}", "-static", "-o", init, HERE / "reader.c"], check=True)
        directory, file, device = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFCHR | 0o600
        files = [
            ("dev", directory, b""),
            ("dev/console", device, b"", (5, 1)),
            ("modules", directory, b""),
            ("init", file, init.read_bytes()),
        ]
        for number, path in enumerate(self._modules):
            files.append((f"modules/{number}", file, lzma.decompress(path.read_bytes())))
        path = self._folder / "reader.initrd"
        path.write_bytes(archive(files))
        return path
