"""Directory entries of FAT: short and long names, times."""

import micropython
from micropython import const

from fs.base import local_time
from fs.part import utf16

_ENTRY = const(32)
_ATTR_VOLUME = const(0x08)
_CASE_BASE = const(0x08)
_CASE_EXT = const(0x10)
_LONG_UNITS = const(260)

# Code page 437, bytes 128 to 255: what short names are written in.
_CP437 = (
    "\xc7\xfc\xe9\xe2\xe4\xe0\xe5\xe7\xea\xeb\xe8\xef\xee\xec\xc4\xc5"
    "\xc9\xe6\xc6\xf4\xf6\xf2\xfb\xf9\xff\xd6\xdc\xa2\xa3\xa5\u20a7\u0192"
    "\xe1\xed\xf3\xfa\xf1\xd1\xaa\xba\xbf\u2310\xac\xbd\xbc\xa1\xab\xbb"
    "\u2591\u2592\u2593\u2502\u2524\u2561\u2562\u2556\u2555\u2563\u2551\u2557\u255d\u255c\u255b\u2510"
    "\u2514\u2534\u252c\u251c\u2500\u253c\u255e\u255f\u255a\u2554\u2569\u2566\u2560\u2550\u256c\u2567"
    "\u2568\u2564\u2565\u2559\u2558\u2552\u2553\u256b\u256a\u2518\u250c\u2588\u2584\u258c\u2590\u2580"
    "\u03b1\xdf\u0393\u03c0\u03a3\u03c3\xb5\u03c4\u03a6\u0398\u03a9\u03b4\u221e\u03c6\u03b5\u2229"
    "\u2261\xb1\u2265\u2264\u2320\u2321\xf7\u2248\xb0\u2219\xb7\u221a\u207f\xb2\u25a0\xa0"
)


# The callers of these have checked that the buffers hold what is asked for.


@micropython.viper
def _next(data: ptr8, at: int, end: int, mask: int, value: int) -> int:
    # The first entry from at on with these attributes, or end; deleted ones, . and .. do not count.
    while at < end:
        first = int(data[at])
        if first == 0:
            return end
        if first != 0xE5 and first != 0x2E and int(data[at + 11]) & mask == value:
            return at
        at += 32
    return end


@micropython.viper
def _long(data: ptr8, at: int, out: ptr16) -> int:
    # Put the long name in front of the short entry at together; returns its length in units of 16
    # bits, or 0 when there is none that belongs to it.
    total = 0
    i = 0
    while i < 11:
        total = ((total & 1) << 7 | total >> 1) + int(data[at + i]) & 0xFF
        i += 1
    order = 1
    entry = at - 32
    while entry >= 0 and order <= 20:
        mark = int(data[entry])
        if mark & 0xBF != order or data[entry + 11] & 0x3F != 0x0F or int(data[entry + 13]) != total:
            return 0
        i = 0
        unit = entry + 1
        while i < 13:
            out[13 * order - 13 + i] = data[unit] | data[unit + 1] << 8
            i += 1
            unit += 5 if i == 5 else 4 if i == 11 else 2
        if mark & 0x40:
            return 13 * order
        order += 1
        entry -= 32
    return 0


@micropython.viper
def _narrow(units: ptr16, count: int, out: ptr8) -> int:
    # Copy a name up to its zero; returns its length, or -1 when it is not all ASCII.
    i = 0
    while i < count:
        unit = int(units[i])
        if unit == 0:
            return i
        if unit > 127:
            return -1
        out[i] = unit
        i += 1
    return i


def files(data):
    """(name, offset) of each file and directory, but not of . and .."""
    units = memoryview(bytearray(2 * _LONG_UNITS))
    narrow = memoryview(bytearray(_LONG_UNITS))
    end = len(data) - len(data) % _ENTRY
    at = _next(data, 0, end, _ATTR_VOLUME, 0)
    while at < end:
        count = _long(data, at, units)
        length = _narrow(units, count, narrow) if count else 0
        if length > 0:
            yield str(narrow[:length], "utf-8"), at
        else:
            yield (utf16(units[: 2 * count]) if length else "") or short_name(data[at : at + _ENTRY]), at
        at = _next(data, at + _ENTRY, end, _ATTR_VOLUME, 0)


def find(data, lower):
    """(name, offset) of the file or directory that is called so, cases apart, or None.

    A long name goes before the short name of another file.
    """
    for name, at in files(data):
        if name.lower() == lower:
            return name, at
    for name, at in files(data):
        if short_name(data[at : at + _ENTRY]).lower() == lower:
            return name, at
    return None


def label(data):
    """The volume label that a root directory holds, or an empty string."""
    end = len(data) - len(data) % _ENTRY
    at = _next(data, 0, end, 0x0F, _ATTR_VOLUME)
    return short_text(data[at : at + 11]).rstrip() if at < end else ""


def short_text(raw):
    """Text of code page 437."""
    raw = bytes(raw)
    if max(raw) < 128:
        return raw.decode()
    return "".join([chr(byte) if byte < 128 else _CP437[byte - 128] for byte in raw])


def short_name(raw):
    """NAME.EXT of a short entry, in lower case where Windows NT's two bits say so."""
    base = bytes(raw[:8])
    if base[0] == 0x05:
        base = b"\xe5" + base[1:]
    base, extension = short_text(base).rstrip(), short_text(raw[8:11]).rstrip()
    base = base.lower() if raw[12] & _CASE_BASE else base
    extension = extension.lower() if raw[12] & _CASE_EXT else extension
    return base + "." + extension if extension else base


def seconds(clock, date):
    """Seconds of a DOS date and time as this Python counts them; 0 without a date."""
    if not date:
        return 0
    year, month, day = 1980 + (date >> 9), date >> 5 & 15, date & 31
    shifted = year - 1 if month <= 2 else year  # years that begin in March: leap days come last
    days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400
    days += ((month + 9) % 12 * 153 + 2) // 5 + day - 1 - 719468
    return local_time(days * 86400 + (clock >> 11) * 3600 + (clock >> 5 & 63) * 60 + (clock & 31) * 2)
