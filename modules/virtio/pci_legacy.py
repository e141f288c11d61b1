"""The PCI transport, legacy interface (4.1.4.10): a header in the I/O ports of BAR0."""

from machine import mem8, mem16, mem32
from micropython import const

from . import transport as _t
from .pcibase import PCIBase
from .transport import DeviceError

_DEVICE_FEATURES = const(0x00)
_DRIVER_FEATURES = const(0x04)
_QUEUE_ADDRESS = const(0x08)
_QUEUE_SIZE = const(0x0C)
_QUEUE_SELECT = const(0x0E)
_QUEUE_NOTIFY = const(0x10)
_DEVICE_STATUS = const(0x12)
_ISR_STATUS = const(0x13)
_CONFIG_MSIX_VECTOR = const(0x14)  # these two only while MSI-X is enabled
_QUEUE_MSIX_VECTOR = const(0x16)
_HEADER = const(20)
_HEADER_MSIX = const(24)

_PAGE = const(4096)
_QUEUES = const(16)  # vectors are asked for at most for so many; the header does not say how many there are


class PCILegacy(PCIBase):
    """One virtio device on PCI, legacy; see transport.py for the contract."""

    legacy = True
    queue_align = _PAGE
    queue_fixed = True  # the device says how large a queue is (4.1.5.1.3.1)
    features = _t.INDIRECT_DESC | _t.EVENT_IDX | _t.ANY_LAYOUT

    def __init__(self, function, device_id):
        super().__init__(function, device_id)
        bar = function.bars[0]
        self.base = bar.cpu_address
        self._size = bar.size

    def __repr__(self):
        return "<%s legacy device %d>" % (self.name, self.device_id)

    def explain(self):
        """Which interface this is, and why; QEMU's switch that changes it."""
        text = "legacy interface in the I/O ports of BAR0: " + self.why
        if self.function.device >= 0x1040:
            return text
        return text + "; QEMU: disable-modern=off offers the modern one beside it"

    def status_address(self):
        return self.base + _DEVICE_STATUS

    # -- status and features ----------------------------------------------------------------

    def status(self):
        return mem8[self.base + _DEVICE_STATUS]

    def set_status(self, bits):
        mem8[self.base + _DEVICE_STATUS] = bits

    def read_features(self, words=1):
        return mem32[self.base + _DEVICE_FEATURES]

    def write_features(self, bits):
        mem32[self.base + _DRIVER_FEATURES] = bits & 0xFFFFFFFF

    # -- queues -------------------------------------------------------------------------------

    def _select(self, index):
        mem16[self.base + _QUEUE_SELECT] = index

    def num_queues(self):
        return _QUEUES

    def queue_max(self, index):
        self._select(index)
        size = mem16[self.base + _QUEUE_SIZE]
        if size and mem32[self.base + _QUEUE_ADDRESS] != 0:
            raise DeviceError("%s: queue %d is in use already" % (self.name, index))
        return size

    def queue_setup(self, index, size, desc, avail, used):
        """Give a queue its memory, zeroed by the caller, and make it live."""
        now = self.queue_max(index)
        if now != size:
            raise DeviceError("%s: the size of queue %d is %d, not %d" % (self.name, index, now, size))
        if desc % _PAGE or desc >> 44:
            raise ValueError("a legacy queue needs a page below 16 TiB")
        self.map_queue(index)
        mem32[self.base + _QUEUE_ADDRESS] = desc // _PAGE

    def queue_stop(self, index):
        """Take a queue out of service; a device may still finish requests it has begun."""
        self._select(index)
        mem32[self.base + _QUEUE_ADDRESS] = 0

    def notify_register(self, index):
        return self.base + _QUEUE_NOTIFY, index, 2

    def queue_state(self, index):
        """(enabled, size, desc, avail, used) as the device has them, None for what it does not tell."""
        mem16[self.base + _QUEUE_SELECT] = index
        page = mem32[self.base + _QUEUE_ADDRESS]
        return page != 0, mem16[self.base + _QUEUE_SIZE], page * _PAGE, None, None

    def publisher(self, index, publish):
        """Notifications are plain writes."""
        return publish

    # -- interrupts -----------------------------------------------------------------------------

    def set_config_vector(self, vector):
        """Map configuration changes to an MSI-X vector; what the device made of it."""
        mem16[self.base + _CONFIG_MSIX_VECTOR] = vector
        return mem16[self.base + _CONFIG_MSIX_VECTOR]

    def set_queue_vector(self, vector):
        """The same for the selected queue."""
        mem16[self.base + _QUEUE_MSIX_VECTOR] = vector
        return mem16[self.base + _QUEUE_MSIX_VECTOR]

    def isr(self):
        """The causes; reading acknowledges them."""
        bits = mem8[self.base + _ISR_STATUS] & 3
        return bits if self.vectors is None else bits | self.vectors.take_missed()

    def ack(self, bits):
        """Nothing: isr() did it."""

    def shm(self, number):
        """There are none."""
        return None

    # -- configuration space --------------------------------------------------------------------

    @property
    def _config(self):
        return _HEADER if self.vectors is None else _HEADER_MSIX

    @property
    def config_size(self):
        return self._size - self._config

    def config(self, off, width):
        mem = mem32 if width == 4 else mem8 if width == 1 else mem16
        return mem[self.base + self._config + off]

    def set_config(self, off, width, value):
        mem = mem32 if width == 4 else mem8 if width == 1 else mem16
        mem[self.base + self._config + off] = value

    def generation(self):
        """There is no counter."""
        return None
