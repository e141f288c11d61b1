"""The MMIO transport (4.2), modern (version 2) and legacy (version 1)."""

import errno
import time

import riscv
from machine import mem8, mem16, mem32
from micropython import const

from . import transport as _t
from .transport import DeviceError

_MAGIC_VALUE = const(0x000)
_VERSION = const(0x004)
_DEVICE_ID = const(0x008)
_VENDOR_ID = const(0x00C)
_DEVICE_FEATURES = const(0x010)
_DEVICE_FEATURES_SEL = const(0x014)
_DRIVER_FEATURES = const(0x020)
_DRIVER_FEATURES_SEL = const(0x024)
_GUEST_PAGE_SIZE = const(0x028)  # legacy
_QUEUE_SEL = const(0x030)
_QUEUE_SIZE_MAX = const(0x034)
_QUEUE_SIZE = const(0x038)
_QUEUE_ALIGN = const(0x03C)  # legacy
_QUEUE_PFN = const(0x040)  # legacy
_QUEUE_READY = const(0x044)
_QUEUE_NOTIFY = const(0x050)
_INTERRUPT_STATUS = const(0x060)
_INTERRUPT_ACK = const(0x064)
_STATUS = const(0x070)
_QUEUE_DESC = const(0x080)
_QUEUE_DRIVER = const(0x090)
_QUEUE_DEVICE = const(0x0A0)
_SHM_SEL = const(0x0AC)
_SHM_LEN = const(0x0B0)
_SHM_BASE = const(0x0B8)
_QUEUE_RESET = const(0x0C0)
_CONFIG_GENERATION = const(0x0FC)
_CONFIG = const(0x100)

_MAGIC = const(0x74726976)
_PAGE = const(4096)
_RESET_MS = const(1000)


def find(base, size=0x200, source=0):
    """The transport at base, or None: wrong magic, unknown version, or an empty slot (4.2.3.1.1).

    Reads MagicValue, Version and DeviceID, in that order, and nothing else.
    source: interrupt number, or (number, trigger), or a callable that finds that when it is needed.
    """
    if mem32[base + _MAGIC_VALUE] != _MAGIC:
        return None
    version = mem32[base + _VERSION]
    if version != 1 and version != 2:
        return None
    device_id = mem32[base + _DEVICE_ID]
    if device_id == 0:
        return None
    return MMIO(base, size, source, version, device_id)


class MMIO:
    """One virtio-mmio device; see transport.py for the contract."""

    queue_fixed = False
    gone = False

    def __init__(self, base, size, source, version, device_id):
        self.base = base
        self.version = version
        self.legacy = version == 1
        self.device_id = device_id
        self._source = source
        self._trigger = 4
        self._handler = None
        self._interrupt_bound = self._interrupt
        self.config_size = size - _CONFIG
        self.queue_align = _PAGE if self.legacy else 4
        if self.legacy:
            self.features = _t.INDIRECT_DESC | _t.EVENT_IDX | _t.ANY_LAYOUT
        else:
            self.features = _t.MODERN

    def __repr__(self):
        return "<%s version %d device %d>" % (self.name, self.version, self.device_id)

    @property
    def name(self):
        return "mmio@%x" % self.base

    def explain(self):
        """Which interface this is, and why; QEMU's switch that changes it."""
        text = "registers of version %d, the only ones it has; " % self.version
        if self.legacy:
            return "legacy " + text + "QEMU: -global virtio-mmio.force-legacy=off gives version 2"
        return text + "QEMU: -global virtio-mmio.force-legacy=on, its default, gives version 1"

    @property
    def source(self):
        """Interrupt number, 0 without one; looked up in the device tree on first use."""
        if callable(self._source):
            self._source = self._source()
        if isinstance(self._source, tuple):
            self._source, self._trigger = self._source
        return self._source

    @property
    def vendor_id(self):
        return mem32[self.base + _VENDOR_ID]

    # -- status and features ------------------------------------------------------

    def status(self):
        return mem32[self.base + _STATUS]

    def set_status(self, bits):
        mem32[self.base + _STATUS] = bits

    def reset(self):
        """Reset and wait until the device says so (2.4); DeviceError after a second."""
        status = self.base + _STATUS
        mem32[status] = 0
        if mem32[status] == 0:
            return
        start = time.ticks_ms()
        while mem32[status] != 0:
            if time.ticks_diff(time.ticks_ms(), start) > _RESET_MS:
                raise DeviceError("%s: reset: status stays %#x" % (self.name, mem32[status]))

    def read_features(self, words=2):
        """The offered features; sel 2 and 3 only when asked for (see device.py)."""
        bits = 0
        for i in range(words):
            mem32[self.base + _DEVICE_FEATURES_SEL] = i
            bits |= mem32[self.base + _DEVICE_FEATURES] << (32 * i)
        return bits

    def write_features(self, bits):
        words = 1 if self.legacy else 2 if bits >> 64 == 0 else 4
        for i in range(words):
            mem32[self.base + _DRIVER_FEATURES_SEL] = i
            mem32[self.base + _DRIVER_FEATURES] = bits >> (32 * i) & 0xFFFFFFFF
        if self.legacy:
            mem32[self.base + _GUEST_PAGE_SIZE] = _PAGE

    # -- queues -------------------------------------------------------------------

    def _select(self, index):
        """Select a queue and check that it is not in use (4.2.3.2)."""
        mem32[self.base + _QUEUE_SEL] = index
        if mem32[self.base + (_QUEUE_PFN if self.legacy else _QUEUE_READY)] != 0:
            raise DeviceError("%s: queue %d is in use already" % (self.name, index))

    def queue_max(self, index):
        self._select(index)
        return mem32[self.base + _QUEUE_SIZE_MAX]

    def queue_setup(self, index, size, desc, avail, used):
        """Give a queue its memory, zeroed by the caller, and make it live."""
        base = self.base
        self._select(index)
        mem32[base + _QUEUE_SIZE] = size
        if self.legacy:
            if desc % _PAGE or desc >> 44:
                raise ValueError("a legacy queue needs a page below 16 TiB")
            mem32[base + _QUEUE_ALIGN] = _PAGE
            mem32[base + _QUEUE_PFN] = desc // _PAGE
            return
        for reg, addr in ((_QUEUE_DESC, desc), (_QUEUE_DRIVER, avail), (_QUEUE_DEVICE, used)):
            mem32[base + reg] = addr & 0xFFFFFFFF
            mem32[base + reg + 4] = addr >> 32
        mem32[base + _QUEUE_READY] = 1

    def queue_stop(self, index):
        """Take a queue out of service; a device may still finish requests it has begun."""
        mem32[self.base + _QUEUE_SEL] = index
        if self.legacy:
            mem32[self.base + _QUEUE_PFN] = 0
            return
        mem32[self.base + _QUEUE_READY] = 0
        if mem32[self.base + _QUEUE_READY] != 0:  # the read back is required (4.2.2.2)
            raise DeviceError("%s: queue %d does not stop" % (self.name, index))

    def queue_state(self, index):
        """(enabled, size, desc, avail, used) as the device has them, None for what it does not tell."""
        mem32[self.base + _QUEUE_SEL] = index
        if not self.legacy:
            return mem32[self.base + _QUEUE_READY] & 1, None, None, None, None
        page = mem32[self.base + _QUEUE_PFN]
        return page != 0, None, page * _PAGE, None, None

    def queue_reset(self, index):
        """Reset one queue (2.6.1), which may be set up again then; DeviceError after a second.

        OSError(EOPNOTSUPP): nothing happened. QEMU 7.2 offers RING_RESET and has no such register.
        """
        base = self.base
        mem32[base + _QUEUE_SEL] = index
        mem32[base + _QUEUE_RESET] = 1
        start = time.ticks_ms()
        while mem32[base + _QUEUE_RESET] != 0:
            if time.ticks_diff(time.ticks_ms(), start) > _RESET_MS:
                raise DeviceError("%s: the reset of queue %d does not end" % (self.name, index))
        if mem32[base + _QUEUE_READY] != 0:
            raise OSError(errno.EOPNOTSUPP, "%s: QueueReset of queue %d is ignored" % (self.name, index))

    def notify_register(self, index):
        return self.base + _QUEUE_NOTIFY, index, 4

    def publisher(self, index, publish):
        """Notifications are plain writes."""
        return publish

    # -- interrupts -----------------------------------------------------------------

    def isr(self):
        return mem32[self.base + _INTERRUPT_STATUS] & 3

    def ack(self, bits):
        mem32[self.base + _INTERRUPT_ACK] = bits & 3

    def connect(self, handler):
        """Call handler(bits, None) by interrupt. OSError(ENODEV): no route, or no controller."""
        import irq  # not before somebody wants it: a boot does not

        source = self.source
        try:
            irq.connect(source, self._interrupt_bound, self._trigger)
        except (OSError, ValueError) as er:
            raise OSError(errno.ENODEV, "%s: %s" % (self.name, er.args[-1]))
        self._handler = handler

    def disconnect(self):
        """No more calls."""
        if self._handler is not None:
            import irq

            irq.disconnect(self.source, self._interrupt_bound)
            self._handler = None

    def silenced(self):
        import irq

        return irq.silenced(self.source)

    def interrupt_text(self):
        import irq

        return irq.text(self.source) if self.source else "none"

    def _interrupt(self, source):
        """Read the cause, let it be handled, acknowledge it, look once more (4.2.3.4).

        The last is for what was used after the first look and before the acknowledgement, which
        takes both down.
        """
        handler = self._handler
        bits = mem32[self.base + _INTERRUPT_STATUS] & 3
        if not bits or handler is None:
            return False
        try:
            worked = handler(bits, None)
        finally:
            mem32[self.base + _INTERRUPT_ACK] = bits
        if bits & 1 and self._handler is not None and handler(1, None):
            worked = True
        return worked

    def shm(self, number):
        """(address, bytes) of the shared memory region with that id; None without one (4.2.2)."""
        if self.legacy:
            return None
        base = self.base
        mem32[base + _SHM_SEL] = number
        size = mem32[base + _SHM_LEN] | mem32[base + _SHM_LEN + 4] << 32
        if size == 0xFFFFFFFFFFFFFFFF:
            return None
        return mem32[base + _SHM_BASE] | mem32[base + _SHM_BASE + 4] << 32, size

    # -- configuration space --------------------------------------------------------

    def config(self, off, width):
        mem = mem32 if width == 4 else mem8 if width == 1 else mem16
        return mem[self.base + _CONFIG + off]

    def set_config(self, off, width, value):
        mem = mem32 if width == 4 else mem8 if width == 1 else mem16
        mem[self.base + _CONFIG + off] = value

    def generation(self):
        return None if self.legacy else mem32[self.base + _CONFIG_GENERATION]

    # -- the table of devices that C resets -------------------------------------------

    def arm(self):
        riscv.quiesce_add(self.base + _STATUS, 4)

    def disarm(self):
        riscv.quiesce_remove(self.base + _STATUS)
