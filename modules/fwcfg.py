"""QEMU's fw_cfg device (memory-mapped): named files and numbered items that the user handed to QEMU.

Its registers and the DMA interface are described in QEMU's docs/specs/fw_cfg.rst. Everything is
big-endian. Items are read by DMA straight into the caller's buffer.
"""

from errno import EIO, ENODEV, ENOENT
from struct import pack_into, unpack_from

from micropython import const

BOOT_MENU = const(0x0E)
KERNEL_SIZE = const(0x08)
KERNEL_DATA = const(0x11)
INITRD_SIZE = const(0x0B)
INITRD_DATA = const(0x12)
CMDLINE_SIZE = const(0x14)
CMDLINE_DATA = const(0x15)

_SIGNATURE = const(0x00)
_FILE_DIR = const(0x19)
_MAX_FILES = const(4096)
_CHUNK = const(0x40000000)

_REG_DMA = const(16)

_DMA_ERROR = const(1)
_DMA_READ = const(2)
_DMA_SKIP = const(4)
_DMA_SELECT = const(8)

_device = None
_files = None


class FwCfg:
    """The device at addr. files: name -> (selector, size)."""

    def __init__(self, addr):
        from uctypes import addressof

        self.addr = addr
        self._control = bytearray(16)  # of one DMA transfer; a multiple of 16 does not cross pages here
        self._control_addr = addressof(self._control)
        if self.read_item(_SIGNATURE, 4) != b"QEMU":
            raise OSError(ENODEV, "fw_cfg at 0x%x: no signature" % addr)

    def __repr__(self):
        return "<fw_cfg mmio@%x>" % self.addr

    def _transfer(self, control, buf_addr, size):
        from machine import mem32
        from riscv import fence

        block = self._control
        pack_into(">IIQ", block, 0, control, size, buf_addr)
        fence()
        at = self._control_addr
        mem32[self.addr + _REG_DMA] = _swap(at >> 32)
        mem32[self.addr + _REG_DMA + 4] = _swap(at & 0xFFFFFFFF)  # this one starts it
        fence()
        # QEMU answers before the store returns; a device that does not would leave other bits set.
        state = unpack_from(">I", block, 0)[0]
        if state:
            raise OSError(EIO, "fw_cfg: transfer of %d bytes: control 0x%x" % (size, state))

    def read_item_into(self, selector, buf, offset=0):
        """Fill buf with an item's bytes from offset; beyond its end come zeros."""
        from uctypes import addressof

        control = selector << 16 | _DMA_SELECT
        if offset:
            self._transfer(control | _DMA_SKIP, 0, offset)
            control = 0
        view = memoryview(buf)
        done = 0
        addr = addressof(buf)
        while done < len(view):
            step = min(len(view) - done, _CHUNK)
            self._transfer(control | _DMA_READ, addr + done, step)
            control = 0
            done += step
        return len(view)

    def read_item(self, selector, size):
        """The first size bytes of a numbered item."""
        buf = bytearray(size)
        self.read_item_into(selector, buf)
        return bytes(buf)

    def u32(self, selector):
        """A numbered item that is a little-endian 32-bit integer (0 when there is none)."""
        return unpack_from("<I", self.read_item(selector, 4))[0]

    def files(self):
        """The named files as a new dict: name -> (selector, size)."""
        count = unpack_from(">I", self.read_item(_FILE_DIR, 4))[0]
        if count > _MAX_FILES:
            raise OSError(EIO, "fw_cfg: directory of %d files" % count)
        return parse_directory(self.read_item(_FILE_DIR, 4 + 64 * count))


def _swap(v):
    return v >> 24 | v >> 8 & 0xFF00 | (v & 0xFF00) << 8 | (v & 0xFF) << 24


def parse_directory(buf):
    """name -> (selector, size) of a file directory item."""
    found = {}
    count = unpack_from(">I", buf, 0)[0]
    if len(buf) < 4 + 64 * count:
        raise OSError(EIO, "fw_cfg: directory of %d files in %d bytes" % (count, len(buf)))
    for at in range(4, 4 + 64 * count, 64):
        size, selector = unpack_from(">IH", buf, at)
        name = bytes(buf[at + 8 : at + 64]).split(b"\0")[0]
        found[name.decode()] = (selector, size)
    return found


def device():
    """The machine's FwCfg. OSError ENODEV: there is none."""
    global _device
    if _device is None:
        import fdt

        nodes = fdt.system().compatible("qemu,fw-cfg-mmio")
        if not nodes:
            raise OSError(ENODEV, "fw_cfg: not in the devicetree")
        _device = FwCfg(nodes[0].reg()[0])
    return _device


def files():
    """The named files: name -> (selector, size). Empty without the device."""
    global _files
    if _files is None:
        try:
            _files = device().files()
        except OSError as e:
            if e.errno != ENODEV:
                raise
            _files = {}
    return _files


def _entry(name):
    entry = files().get(name)
    if entry is None:
        raise OSError(ENOENT, "fw_cfg: no file %s" % name)
    return entry


def size(name):
    """Bytes in a named file. OSError ENOENT."""
    return _entry(name)[1]


def read(name):
    """A named file's bytes. OSError ENOENT."""
    selector, size = _entry(name)
    return device().read_item(selector, size)


def read_into(name, buf, offset=0):
    """Fill buf from a named file by DMA. ValueError: buf reaches beyond its end. OSError ENOENT."""
    selector, size = _entry(name)
    if offset < 0 or offset + len(memoryview(buf)) > size:
        raise ValueError("fw_cfg: %s has %d bytes, not %d+%d" % (name, size, offset, len(memoryview(buf))))
    return device().read_item_into(selector, buf, offset)
