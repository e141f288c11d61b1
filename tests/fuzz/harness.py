"""Runs functions and condenses what they do. The same text runs on the host, for what is expected, and in the guest.

MicroPython's Python and nothing else, since the guest gets this file as it is.
"""

import binascii
import struct

MEMORY = 512
MASK = 0xFFFFFFFFFFFFFFFF
PATTERN = bytes((i * 167 + (i >> 5)) & 255 for i in range(MEMORY))
memory = bytearray(MEMORY)


class Reject(BaseException):
    """Done on the host only: this function does what nobody promises anything about."""


# What vipermodel.py calls. An address is an offset into the memory, far from zero so that it is no small number.

BASE = 0x40000000


def get(address, size):
    at = ((address - BASE) & MASK) + 64
    if at + size > MEMORY + 64 or at < 64:
        raise Reject("load out of memory")
    value = int.from_bytes(memory[at - 64 : at - 64 + size], "little")
    return value - (1 << 64) if size == 8 and value >> 63 else value


def put(address, size, value):
    at = ((address - BASE) & MASK) + 64
    if at + size > MEMORY + 64 or at < 64:
        raise Reject("store out of memory")
    memory[at - 64 : at - 64 + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def word(value):
    return ((int_of(value) + (1 << 63)) & MASK) - (1 << 63)


def int_of(value):
    if value is True or value is False or isinstance(value, int):
        return int(value)
    raise TypeError("no integer")


def count(value):
    if not 0 <= value < 64:
        raise Reject("shift count")
    return value


def dividend(value):
    if not -(1 << 62) <= value < 1 << 62:
        raise Reject("division of a large number")
    return value


def divisor(value):
    if not value or not -(1 << 62) <= value < 1 << 62:
        raise Reject("division by zero or by a large number")
    return value


def counted(start, end=None, step=1):
    """range() of machine integers, whose counter must not wrap. MicroPython's own takes small integers only."""
    if end is None:
        start, end = 0, start
    unsigned = start >> 63 == 1 or end >> 63 == 1
    if not -(1 << 63) <= end + step < 1 << 63 + unsigned:
        raise Reject("counter wraps")
    while start < end if step > 0 else start > end:
        yield start
        start += step


# Objects that functions get, and what became of them.


def show(value):
    """A text that is the same for equal values on CPython and MicroPython."""
    text = repr(value)
    if not ("." in text or "e" in text or "n" in text or "{" in text):
        return text  # numbers and the like: much faster
    kind = type(value)
    if kind is bool:
        return str(int(value))  # of two bools MicroPython makes an integer where CPython makes a bool
    if kind is float:
        return "nan" if value != value else binascii.hexlify(struct.pack("<d", value)).decode()
    if kind is list:
        return "[%s]" % ", ".join([show(v) for v in value])
    if kind is tuple:
        return "(%s%s)" % (", ".join([show(v) for v in value]), "," if len(value) == 1 else "")
    if kind is dict:
        return "{%s}" % ", ".join(sorted([show(k) + ": " + show(v) for k, v in value.items()]))
    if value is None or kind is int or kind is str:
        return text
    raise Reject("no value to compare")


def error_name(e):
    name = type(e).__name__
    return "NameError" if name == "UnboundLocalError" else name


def run(f, args, of_objects):
    """What a call returned or raised, and what it left behind, as bytes."""
    if not of_objects:
        memory[:] = PATTERN
        try:
            got = repr(f(*args))
        except NameError:
            raise Reject("viper does not test whether a local has a value") from None
        except Exception as e:
            got = error_name(e)
        return got.encode() + memory
    generators.clear()
    try:
        got = show(f(*args))
    except Exception as e:
        got = error_name(e)
    return (got + show(args)).encode()


def digest(f, calls, of_objects):
    crc = 0
    for args in calls:
        crc = binascii.crc32(run(f, args, of_objects), crc)
    return crc


# What viper functions call.


def plus(a, b=3):
    return a + b


def pick(a, b, c):
    return b if a & 1 else c


def many(*args):
    return len(args) * 3 + args[0] - args[-1]


def raiser(a):
    if a & 3 == 0:
        raise ValueError
    if a & 3 == 1:
        raise KeyError(a)
    return a >> 1


# What functions of objects call.

generators = []


def kept(generator):
    generators.append(generator)
    return generator


HELPERS = (plus, pick, many, raiser, kept, get, put, word, count, dividend, divisor, counted)


def scope():
    """The globals of a module of functions."""
    return {f.__name__: f for f in HELPERS}
