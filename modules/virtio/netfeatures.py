"""Feature bits of virtio-net (5.1.3): their names, and which of them need others."""

from micropython import const

_EVENT_IDX = const(1 << 29)
_PACKED = const(1 << 34)

# Feature bit -> bits of which one at least must be there too (5.1.3.1), in an order that settles in one pass.
_NEEDS = (
    ((7, 8, 10, 54, 55), (1,)),
    ((9,), (7, 8)),
    ((11, 12, 14, 56), (0,)),
    ((13,), (11, 12)),
    ((2, 18, 19, 20, 21, 22, 23, 57, 60), (17,)),
)

NAMES = {
    0: "CSUM",
    1: "GUEST_CSUM",
    2: "CTRL_GUEST_OFFLOADS",
    3: "MTU",
    5: "MAC",
    6: "GSO",
    7: "GUEST_TSO4",
    8: "GUEST_TSO6",
    9: "GUEST_ECN",
    10: "GUEST_UFO",
    11: "HOST_TSO4",
    12: "HOST_TSO6",
    13: "HOST_ECN",
    14: "HOST_UFO",
    15: "MRG_RXBUF",
    16: "STATUS",
    17: "CTRL_VQ",
    18: "CTRL_RX",
    19: "CTRL_VLAN",
    20: "CTRL_RX_EXTRA",
    21: "GUEST_ANNOUNCE",
    22: "MQ",
    23: "CTRL_MAC_ADDR",
    50: "DEVICE_STATS",
    51: "HASH_TUNNEL",
    52: "VQ_NOTF_COAL",
    53: "NOTF_COAL",
    54: "GUEST_USO4",
    55: "GUEST_USO6",
    56: "HOST_USO",
    57: "HASH_REPORT",
    59: "GUEST_HDRLEN",
    60: "RSS",
    61: "RSC_EXT",
    62: "STANDBY",
    63: "SPEED_DUPLEX",
}


def settle(chosen, packed_events):
    """Drop what makes no sense without a feature that is not there, and what QEMU gets wrong.

    QEMU 7.2 loses a notification with EVENT_IDX in a packed ring: when a backend that was busy
    takes frames again, the event index stays behind what the device has taken since.
    """
    if chosen & _PACKED and not packed_events:
        chosen &= ~_EVENT_IDX
    for bits, needed in _NEEDS:
        if not any([chosen >> bit & 1 for bit in needed]):
            for bit in bits:
                chosen &= ~(1 << bit)
    return chosen
