"""Status and feature bits, and the contract that every transport meets.

Section numbers here and in all drivers are those of virtio 1.4 (cs01).  The drivers are
transitional: they run modern devices and, where VERSION_1 is not offered, legacy ones.

A transport is an object with
    name            text that tells where it is: "mmio@10008000"
    device_id       virtio device id; vendor_id likewise; both read at discovery
    legacy          True for the legacy interface
    features        device-independent bits that work over this transport (allow-list)
    queue_align     alignment of the used ring inside the queue block: 4, legacy 4096
    status() / set_status(bits) / reset()      reset() returns only after status reads 0
    read_features(words) -> int                words: how many 32-bit words to ask for
    write_features(bits)
    queue_max(index) -> entries, 0: no such queue; ValueError-free
    queue_setup(index, size, desc, avail, used)
    queue_fixed     True where the device alone says how large a queue is
    queue_stop(index)
    queue_state(index) -> (enabled, size, desc, avail, used) as the device has them, None: it does not tell
    notify_register(index) -> (address, value, width 2 or 4): the write that notifies the queue
    publisher(index, publish) -> what the queue calls in place of publish(), its function that does this write
    shm(id) -> (address, bytes) of a shared memory region, None without one
    explain() -> one line: which interface this is, why, and QEMU's switch that changes it
    isr() -> 1 used buffers | 2 configuration  /  ack(bits) when they were handled
    connect(handler) / disconnect()     handler(bits, queue index or None) is called by the scheduler, bits as
                    of isr(), None: any queue; True: it found work. OSError(ENODEV): no interrupt comes from there
    silenced()      whether they were a storm, and do not come any more
    interrupt_text()    'PLIC 8', 'MSI-X 3 vectors', 'none': for people
    config(off, width) / set_config(off, width, value)      width 1, 2 or 4 as the field has it
    generation() -> int, None where there is no counter
    gone            True when the device was pulled out: it reads as ones, and touches no memory any more
    config_size     bytes of configuration space that can be reached
    arm() / disarm()    enter or leave the table of devices reset by C when Python cannot
"""

import errno

from micropython import const

ACKNOWLEDGE = const(1)
DRIVER = const(2)
DRIVER_OK = const(4)
FEATURES_OK = const(8)
NEEDS_RESET = const(64)
FAILED = const(128)

_STATUS = (
    (1, "ACKNOWLEDGE"),
    (2, "DRIVER"),
    (8, "FEATURES_OK"),
    (4, "DRIVER_OK"),
    (16, "SUSPEND"),
    (64, "NEEDS_RESET"),
    (128, "FAILED"),
)

# Device-independent feature bits (6), as masks.
ANY_LAYOUT = const(1 << 27)
INDIRECT_DESC = const(1 << 28)
EVENT_IDX = const(1 << 29)
VERSION_1 = const(1 << 32)
ACCESS_PLATFORM = const(1 << 33)
RING_PACKED = const(1 << 34)
IN_ORDER = const(1 << 35)
ORDER_PLATFORM = const(1 << 36)
NOTIFICATION_DATA = const(1 << 38)
NOTIF_CONFIG_DATA = const(1 << 39)
RING_RESET = const(1 << 40)

# What queues and drivers can handle over any modern transport.
MODERN = const(
    (1 << 28) | (1 << 29) | (1 << 32) | (1 << 33) | (1 << 34) | (1 << 35) | (1 << 36) | (1 << 38) | (1 << 40)
)

FEATURES = {
    24: "NOTIFY_ON_EMPTY",
    27: "ANY_LAYOUT",
    28: "INDIRECT_DESC",
    29: "EVENT_IDX",
    32: "VERSION_1",
    33: "ACCESS_PLATFORM",
    34: "RING_PACKED",
    35: "IN_ORDER",
    36: "ORDER_PLATFORM",
    37: "SR_IOV",
    38: "NOTIFICATION_DATA",
    39: "NOTIF_CONFIG_DATA",
    40: "RING_RESET",
    41: "ADMIN_VQ",
    43: "SUSPEND",
}


class DeviceError(OSError):
    """The device broke the specification, or stopped working: only a reset helps."""

    def __init__(self, text):
        super().__init__(errno.EIO, text)


def status_names(bits):
    """'ACKNOWLEDGE|DRIVER', the unknown rest in hex, 'reset' for none."""
    names = []
    for bit, name in _STATUS:
        if bits & bit:
            names.append(name)
            bits &= ~bit
    if bits:
        names.append(hex(bits))
    return "|".join(names) or "reset"


def stage(bits):
    """One word for how far a device has come."""
    for bit in (FAILED, NEEDS_RESET, DRIVER_OK, FEATURES_OK, DRIVER, ACKNOWLEDGE):
        if bits & bit:
            return status_names(bit)
    return "reset"


def feature_names(bits, names=None):
    """'VERSION_1 FLUSH 0x...': names from the device's own table first, then the common ones."""
    words = []
    rest = 0
    bit = 0
    while bits >> bit:
        if bits >> bit & 1:
            name = (names or {}).get(bit) or FEATURES.get(bit)
            if name:
                words.append(name)
            else:
                rest |= 1 << bit
        bit += 1
    if rest:
        words.append(hex(rest))
    return " ".join(words) or "none"
