"""The PCI transport (4.1), modern interface: structures that capabilities point to."""

import errno
import time

from machine import mem8, mem16, mem32
from micropython import const

from . import transport as _t
from .pcibase import PCIBase
from .transport import DeviceError

# Common configuration (4.1.4.3).
_DEVICE_FEATURE_SELECT = const(0x00)
_DEVICE_FEATURE = const(0x04)
_DRIVER_FEATURE_SELECT = const(0x08)
_DRIVER_FEATURE = const(0x0C)
_CONFIG_MSIX_VECTOR = const(0x10)
_NUM_QUEUES = const(0x12)
_DEVICE_STATUS = const(0x14)
_CONFIG_GENERATION = const(0x15)
_QUEUE_SELECT = const(0x16)
_QUEUE_SIZE = const(0x18)
_QUEUE_MSIX_VECTOR = const(0x1A)
_QUEUE_ENABLE = const(0x1C)
_QUEUE_NOTIFY_OFF = const(0x1E)
_QUEUE_DESC = const(0x20)
_QUEUE_DRIVER = const(0x28)
_QUEUE_DEVICE = const(0x30)
_QUEUE_NOTIF_CONFIG_DATA = const(0x38)
_QUEUE_RESET = const(0x3A)

_RESET_MS = const(1000)


class Region:
    """A structure in a BAR that the CPU can reach."""

    def __init__(self, addr, size):
        self.addr = addr
        self.size = size

    def get(self, off, width):
        mem = mem32 if width == 4 else mem8 if width == 1 else mem16
        return mem[self.addr + off]

    def put(self, off, width, value):
        mem = mem32 if width == 4 else mem8 if width == 1 else mem16
        mem[self.addr + off] = value


class PCI(PCIBase):
    """One virtio device on PCI, modern; see transport.py for the contract."""

    legacy = False
    queue_align = 4
    queue_fixed = False
    features = _t.MODERN | _t.NOTIF_CONFIG_DATA

    def __init__(self, function, device_id, structures):
        """structures: a virtio.pcicap.Structures."""
        super().__init__(function, device_id)
        self.structures = structures
        self._common = structures.common
        self._notify = structures.notify
        self._isr = structures.isr
        self._config = structures.device
        self.config_size = self._config.size if self._config is not None else 0
        self._generation = None
        self._negotiated = 0
        self._calls = {}  # queue -> function that notifies it by way of PCI_CFG

    def __repr__(self):
        return "<%s modern device %d>" % (self.name, self.device_id)

    def explain(self):
        """Which interface this is, and why; QEMU's switch that changes it."""
        text = "modern interface through %s" % self.structures.text()
        if self.structures.window:
            text += " and PCI_CFG (%s)" % self.structures.window
        if self.why:
            text += ", " + self.why
        if self.function.device < 0x1040:
            return text + "; QEMU: disable-modern=on leaves the legacy one, disable-legacy=on this one"
        return text + "; QEMU: disable-legacy=off adds the legacy one"

    def status_address(self):
        """Where the CPU finds the status register, None when it takes PCI_CFG."""
        return self._common.addr + _DEVICE_STATUS if self._common.addr is not None else None

    # -- status and features ----------------------------------------------------------------

    def status(self):
        return self._common.get(_DEVICE_STATUS, 1)

    def set_status(self, bits):
        self._common.put(_DEVICE_STATUS, 1, bits)

    def read_features(self, words=2):
        bits = 0
        for i in range(words):
            self._common.put(_DEVICE_FEATURE_SELECT, 4, i)
            bits |= self._common.get(_DEVICE_FEATURE, 4) << (32 * i)
        return bits

    def write_features(self, bits):
        self._negotiated = bits
        for i in range(2 if bits >> 64 == 0 else 4):
            self._common.put(_DRIVER_FEATURE_SELECT, 4, i)
            self._common.put(_DRIVER_FEATURE, 4, bits >> (32 * i) & 0xFFFFFFFF)

    # -- queues -------------------------------------------------------------------------------

    def queue_max(self, index):
        common = self._common
        common.put(_QUEUE_SELECT, 2, index)
        size = common.get(_QUEUE_SIZE, 2)
        if size and common.get(_QUEUE_ENABLE, 2):
            raise DeviceError("%s: queue %d is in use already" % (self.name, index))
        return size

    def queue_setup(self, index, size, desc, avail, used):
        """Give a queue its memory, zeroed by the caller, and make it live."""
        common = self._common
        if self.queue_max(index) != size:
            common.put(_QUEUE_SIZE, 2, size)
        for field, addr in ((_QUEUE_DESC, desc), (_QUEUE_DRIVER, avail), (_QUEUE_DEVICE, used)):
            common.put(field, 4, addr & 0xFFFFFFFF)
            common.put(field + 4, 4, addr >> 32)
        self.map_queue(index)
        common.put(_QUEUE_ENABLE, 2, 1)

    def notify_register(self, index):
        """(address, value, width) of the write that notifies the queue (4.1.4.4)."""
        common = self._common
        width = 4 if self._negotiated & _t.NOTIFICATION_DATA else 2
        common.put(_QUEUE_SELECT, 2, index)
        off = common.get(_QUEUE_NOTIFY_OFF, 2) * self.structures.multiplier
        if off + width > self._notify.size or off % width:
            raise DeviceError(
                "%s: queue %d notifies at %#x of a structure of %#x bytes" % (self.name, index, off, self._notify.size)
            )
        value = common.get(_QUEUE_NOTIF_CONFIG_DATA, 2) if self._negotiated & _t.NOTIF_CONFIG_DATA else index
        if self._notify.addr is None:
            from .pciwindow import Caller

            self._calls[index] = call = Caller(self._notify, off, width)
            return call.addr, value, width
        return self._notify.addr + off, value, width

    def publisher(self, index, publish):
        """What takes the place of publish(), which tells the device by writing to an address."""
        call = self._calls.get(index)
        return publish if call is None else call.wrap(publish)

    def queue_state(self, index):
        """(enabled, size, desc, avail, used) as the device has them."""
        common = self._common
        common.put(_QUEUE_SELECT, 2, index)
        places = [
            common.get(field, 4) | common.get(field + 4, 4) << 32
            for field in (_QUEUE_DESC, _QUEUE_DRIVER, _QUEUE_DEVICE)
        ]
        return (common.get(_QUEUE_ENABLE, 2), common.get(_QUEUE_SIZE, 2)) + tuple(places)

    def queue_reset(self, index):
        """Reset one queue (2.6.1), which may be set up again then; DeviceError after a second."""
        common = self._common
        common.put(_QUEUE_SELECT, 2, index)
        common.put(_QUEUE_RESET, 2, 1)
        start = time.ticks_ms()
        while common.get(_QUEUE_RESET, 2) != 0:
            if time.ticks_diff(time.ticks_ms(), start) > _RESET_MS:
                raise DeviceError("%s: the reset of queue %d does not end" % (self.name, index))
        if common.get(_QUEUE_ENABLE, 2) != 0:
            raise DeviceError("%s: queue %d is live after its reset" % (self.name, index))

    def queue_stop(self, index):
        """There is no other way than a reset, of the queue or of the device (4.1.4.3.2)."""
        if not self._negotiated & _t.RING_RESET:
            raise OSError(errno.EOPNOTSUPP, "%s: a queue cannot be stopped without RING_RESET" % self.name)
        self.queue_reset(index)

    def num_queues(self):
        return self._common.get(_NUM_QUEUES, 2)

    # -- interrupts -----------------------------------------------------------------------------

    def set_config_vector(self, vector):
        """Map configuration changes to an MSI-X vector; what the device made of it."""
        self._common.put(_CONFIG_MSIX_VECTOR, 2, vector)
        return self._common.get(_CONFIG_MSIX_VECTOR, 2)

    def set_queue_vector(self, vector):
        """The same for the selected queue."""
        self._common.put(_QUEUE_MSIX_VECTOR, 2, vector)
        return self._common.get(_QUEUE_MSIX_VECTOR, 2)

    def isr(self):
        """The causes; reading acknowledges them (4.1.4.5). With MSI-X only changes of the configuration."""
        if self.vectors is None:
            return self._isr.get(0, 1) & 3
        before = self._generation
        self._generation = self.generation()
        return self.vectors.take_missed() | (0 if before == self._generation else 2)

    def arm(self):
        super().arm()
        self._generation = self.generation()

    def ack(self, bits):
        """Nothing: isr() did it."""

    def shm(self, number):
        """(address, bytes) of the shared memory region with that id; None without one."""
        return self.structures.shm(number)

    # -- configuration space --------------------------------------------------------------------

    def config(self, off, width):
        return self._config.get(off, width)

    def set_config(self, off, width, value):
        self._config.put(off, width, value)

    def generation(self):
        return self._common.get(_CONFIG_GENERATION, 1)
