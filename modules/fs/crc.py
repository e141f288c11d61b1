"""CRC-32C and CRC-16 as ext4 uses them: no inversion at the start or the end."""

import micropython
from array import array

_tables = {}


@micropython.viper
def _make_table(table: ptr32, poly: int):
    # Four times 256 words: what a byte that is followed by 0, 1, 2 or 3 bytes adds.
    n = 0
    while n < 256:
        crc = n
        bit = 0
        while bit < 8:
            if crc & 1:
                crc = (crc >> 1) ^ poly
            else:
                crc = crc >> 1
            bit += 1
        table[n] = crc
        n += 1
    while n < 1024:
        crc = int(table[n - 256])
        table[n] = (crc >> 8) ^ int(table[crc & 0xFF])
        n += 1


@micropython.viper
def _bytes(buf: ptr8, at: int, end: int, crc: int, table: ptr32) -> int:
    while at < end:
        crc = int(table[(crc ^ int(buf[at])) & 0xFF]) ^ (crc >> 8)
        at += 1
    return crc


@micropython.viper
def _words(buf: ptr32, count: int, crc: int, table: ptr32) -> int:
    i = 0
    while i < count:
        crc = crc ^ int(buf[i])
        low = int(table[768 + (crc & 0xFF)]) ^ int(table[512 + (crc >> 8 & 0xFF)])
        crc = low ^ int(table[256 + (crc >> 16 & 0xFF)]) ^ int(table[crc >> 24])
        i += 1
    return crc


def _update(buf, crc, poly):
    table = _tables.get(poly)
    if table is None:
        table = _tables[poly] = array("I", bytes(4096))
        _make_table(table, poly)
    size = len(buf)
    words = size >> 2
    if words:
        crc = _words(buf, words, crc, table)
    return _bytes(buf, words << 2, size, crc, table) if size & 3 else crc


def crc32c(buf, crc=0xFFFFFFFF):
    """CRC-32C of buf going on from crc (start with all ones)."""
    return _update(buf, crc, 0x82F63B78)


def crc16(buf, crc=0xFFFF):
    """CRC-16 (polynomial 0x8005 reflected) of buf going on from crc."""
    return _update(buf, crc, 0xA001)
