"""What the parts of the strict device share: status and feature bits, and how a broken rule is reported."""

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
SUSPEND_BIT = 16
ANY_LAYOUT, INDIRECT_DESC, EVENT_IDX, VERSION_1 = 27, 28, 29, 32
ACCESS_PLATFORM, RING_PACKED, IN_ORDER, ORDER_PLATFORM = 33, 34, 35, 36
NOTIFICATION_DATA, NOTIF_CONFIG_DATA, RING_RESET = 38, 39, 40

SR_IOV, ADMIN_VQ, SUSPEND = 37, 41, 43

# Feature bits that a device type has (5), legacy ones among them; 9p has none in the text, one in practice.
TYPE_BITS = {
    1: {*range(4), *range(5, 24), 41, 42, *range(50, 58), *range(59, 71)},
    2: {0, 1, 2, 4, 5, 6, 7, *range(9, 18)},
    3: {0, 1, 2},
    4: set(),
    5: {0, 1, 2, 3, 4, 5},
    8: {0, 1, 2, 3},
    9: {0},
    16: {0, 1, 2, 3, 4, 5},
    17: {0},
    18: set(),
    19: {0, 1, 2},
    20: {0, 1, 2, 3, 4, 5},
    23: {0, 1, 2, 3, 4, 5, 6},
    24: {0, 1, 2},
    25: {0},
    26: {0},
    27: {0},
}
_DEFINED = set().union(*TYPE_BITS.values())
_COMMON = {*range(24, 41), 43} - {25, 26, 31}  # of queues and negotiation (6)


def mask(*bits):
    return sum(1 << bit for bit in bits)


class Violation(AssertionError):
    """The driver broke a rule; the first word of the text is the clause id."""


def require(condition, clause, text=""):
    if not condition:
        raise Violation("%s: %s" % (clause, text))


def check_bits(features, device_id, mmio):
    """No accepted bit is undefined, reserved, of another type or of another transport (2.2.1)."""
    for bit in (b for b in range(features.bit_length()) if features >> b & 1):
        if mmio:
            require(bit != SR_IOV, "GEN-RSVD-10", "SR_IOV over MMIO")
            require(bit != ADMIN_VQ or device_id == 1, "MMIO-40", "ADMIN_VQ over MMIO")
            require(bit != NOTIF_CONFIG_DATA, "GEN-FEAT-06", "NOTIF_CONFIG_DATA over MMIO")
        if bit in _COMMON or bit == ADMIN_VQ and not mmio:
            continue
        typed = bit < 24 or bit in (41, 42) or 50 <= bit < 128
        require(typed, "GEN-FEAT-05", "reserved bit %d accepted" % bit)
        if device_id in TYPE_BITS:
            require(bit in _DEFINED, "GEN-FEAT-04", "undefined bit %d accepted" % bit)
            require(bit in TYPE_BITS[device_id], "GEN-FEAT-07", "bit %d of another device type accepted" % bit)
