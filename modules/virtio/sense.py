"""What SCSI says about an error: sense data, status and response codes, as words and errno. Pure."""

import errno

from micropython import const

_EROFS = const(30)
_ENOMEDIUM = const(123)
_EBUSY = const(16)

KEYS = (
    "NO SENSE",
    "RECOVERED ERROR",
    "NOT READY",
    "MEDIUM ERROR",
    "HARDWARE ERROR",
    "ILLEGAL REQUEST",
    "UNIT ATTENTION",
    "DATA PROTECT",
    "BLANK CHECK",
    "VENDOR SPECIFIC",
    "COPY ABORTED",
    "ABORTED COMMAND",
    "KEY C",
    "VOLUME OVERFLOW",
    "MISCOMPARE",
    "COMPLETED",
)

# (ASC, ASCQ) in one number; an entry for ASCQ 0 serves the others of its ASC, too.
_CODES = {
    0x0000: "no more is known",
    0x0200: "no seek complete",
    0x0400: "not ready",
    0x0401: "becoming ready",
    0x0402: "needs to be started",
    0x0403: "needs manual help",
    0x0800: "communication failure",
    0x0C00: "write error",
    0x1000: "CRC error",
    0x1100: "unrecovered read error",
    0x1400: "recorded entity not found",
    0x1A00: "parameter list too long",
    0x2000: "no such command",
    0x2100: "block out of range",
    0x2400: "invalid field in the command",
    0x2500: "no such logical unit",
    0x2600: "invalid field in the parameters",
    0x2700: "write protected",
    0x2707: "out of space",
    0x2800: "medium may have changed",
    0x2900: "reset",
    0x2A00: "parameters changed",
    0x2A09: "capacity changed",
    0x2C00: "command sequence error",
    0x2F00: "commands cleared by another initiator",
    0x3000: "incompatible medium",
    0x3A00: "no medium",
    0x3F00: "target changed",
    0x3F0E: "list of units changed",
    0x4400: "internal failure",
    0x4700: "parity error",
    0x5300: "cannot load or eject",
    0x5302: "removal is prevented",
    0x5A01: "the operator asks for the medium",
    0x6400: "wrong kind of track",
}

RESPONSES = (
    "OK",
    "OVERRUN: more data than there was room for",
    "ABORTED",
    "BAD TARGET: nothing there",
    "RESET while it ran",
    "BUSY",
    "TRANSPORT FAILURE",
    "TARGET FAILURE",
    "NEXUS FAILURE",
    "FAILURE",
    "FUNCTION SUCCEEDED",
    "FUNCTION REJECTED",
    "INCORRECT LUN",
)

_STATUS = {2: "CHECK CONDITION", 8: "BUSY", 0x18: "RESERVATION CONFLICT", 0x28: "TASK SET FULL", 0x40: "TASK ABORTED"}

NO_SENSE = const(0)
RECOVERED = const(1)
NOT_READY = const(2)
UNIT_ATTENTION = const(6)


def decode(raw):
    """(key, code: ASC << 8 | ASCQ, information field or None) of sense data in either format; None."""
    n = len(raw)
    form = raw[0] & 0x7F if n else 0
    if form in (0x70, 0x71) and n >= 8:
        code = (raw[12] << 8 if n > 12 else 0) | (raw[13] if n > 13 else 0)
        return raw[2] & 15, code, int.from_bytes(raw[3:7], "big") if raw[0] & 0x80 else None
    if form in (0x72, 0x73) and n >= 4:
        return raw[1] & 15, raw[2] << 8 | raw[3], _information(raw)
    return None


def _information(raw):
    # The descriptor of type 0 holds the block that the error is about.
    at = 8
    while at + 2 <= len(raw):
        if raw[at] == 0 and raw[at + 1] >= 10 and at + 12 <= len(raw):
            return int.from_bytes(raw[at + 4 : at + 12], "big") if raw[at + 2] & 0x80 else None
        at += 2 + raw[at + 1]
    return None


def text(found):
    """'MEDIUM ERROR 11/00 unrecovered read error'."""
    key, code, info = found
    why = _CODES.get(code) or _CODES.get(code & 0xFF00) or ""
    where = " at block %d" % info if info else ""
    return ("%s %02X/%02X %s" % (KEYS[key], code >> 8, code & 255, why)).rstrip() + where


def error(name, what, response, status, found):
    """The OSError for a command that failed; found: decoded sense data or None."""
    number = errno.EIO
    if response:
        why = RESPONSES[response] if response < len(RESPONSES) else "response %d" % response
        if response in (3, 12):
            number = errno.ENODEV
    elif found:
        why = text(found)
        number = _number(found[0], found[1])
    else:
        why = _STATUS.get(status) or "status %#x" % status
        if status == 0x18:
            number = _EBUSY
    return OSError(number, "%s: %s: %s" % (name, what, why))


def _number(key, code):
    if code >> 8 == 0x3A:
        return _ENOMEDIUM
    if key == 7:
        return _EROFS
    if key == 5:
        if code == 0x2000:
            return errno.EOPNOTSUPP
        return errno.ENODEV if code == 0x2500 else errno.EINVAL
    return errno.EIO
