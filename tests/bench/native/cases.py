"""The rows of the native table: which function runs with which arguments, and what is aimed at."""

from typing import NamedTuple


class Case(NamedTuple):
    """One row. The figure is (instructions(long) - instructions(short)) / (long - short).

    arguments: an expression of n and of the names in PRELUDE, evaluated on every board and here.
    viper, native: the most instructions aimed at. less: the row whose instructions are taken off, or "". A row
    without a text is there for others only.
    """

    key: str
    text: str
    arguments: str
    short: int = 40
    long: int = 200
    viper: float = 0
    native: float = 0
    less: str = ""
    only64: bool = False


# for MicroPython and for CPython
PRELUDE = """
from array import array
def words(code, n):
    return array(code, [i * 37 & 127 for i in range(n)])
def free():
    return array('H', [(i + 1) & 255 for i in range(256)] + [0])
def used(n):
    return array('H', [0, n]), array('I', [(i // 2 if i % 2 == 0 else 512) for i in range(512)])
def crc_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0xEDB88320 if i & 1 else 0)
        table.append(i)
    return array('I', table)
"""
CASES = (
    Case("sum8", "sum over ptr8", "words('B', n), n", viper=4.5),
    Case("sum16", "sum over ptr16", "words('H', n), n", viper=4.5),
    Case("sum32", "sum over ptr32", "words('I', n), n", viper=4.5),
    Case("sum64", "sum over ptr64", "words('Q', n), n", viper=4.5, only64=True),
    Case("checksum", "checksum, 2 bytes", "words('H', n), n", viper=9),
    Case("copy_for", "copy words, for range", "words('I', n), words('I', n), n", viper=9),
    Case("copy_while", "copy words, while", "words('I', n), words('I', n), n", viper=9),
    Case("fib", "fib loop", "n,", short=8, long=40, viper=6, native=50),
    Case("range_sum", "range sum", "n,", viper=6, native=47),
    Case("crc32", "crc32 by a table, byte", "words('B', n), crc_table(), 0xffffffff, n"),
    Case("ring_add", "add to a ring", "words('I', 1024), array('H', [0] * 258), free(), 0x40000, n"),
    Case(
        "ring_add64", "add to a ring, ptr64", "words('Q', 512), array('H', [0] * 258), free(), 0x40000, n", only64=True
    ),
    Case("ring_take", "take from a used ring", "used(n) + (free(), 0)", viper=18),
    Case("plain_loop", "", "nothing, n"),
    Case("plain_call", "call from bytecode, no argument", "nothing, n", viper=120, less="plain_loop"),
    Case("plain_call_int", "  more for an int", "take_int, n", viper=20, less="plain_call"),
    Case("plain_call_buffer", "  more for a buffer", "take_buffer, bytearray(8), n", less="plain_call"),
    Case("loop", "", "nothing, n"),
    Case("call", "call from the same, no argument", "nothing, n", less="loop"),
    Case("call_int", "  more for an int", "take_int, n", less="call"),
    Case("call_buffer", "  more for a buffer", "take_buffer, bytearray(8), n", less="call"),
)
