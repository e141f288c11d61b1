"""What the parts of the strict device share: status and feature bits, and how a broken rule is reported."""

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
ANY_LAYOUT, INDIRECT_DESC, EVENT_IDX, VERSION_1 = 27, 28, 29, 32
ACCESS_PLATFORM, RING_PACKED, IN_ORDER, ORDER_PLATFORM = 33, 34, 35, 36
NOTIFICATION_DATA, NOTIF_CONFIG_DATA, RING_RESET = 38, 39, 40


def mask(*bits):
    return sum(1 << bit for bit in bits)


class Violation(AssertionError):
    """The driver broke a rule; the first word of the text is the clause id."""


def require(condition, clause, text=""):
    if not condition:
        raise Violation("%s: %s" % (clause, text))
