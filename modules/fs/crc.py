"""CRC-32C and CRC-16 as ext4 uses them: no inversion at the start or the end."""

import micropython
from array import array

_tables = []


@micropython.viper
def _make_table(table: ptr32, poly: int):
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


@micropython.viper
def _update(buf: ptr8, size: int, crc: int, table: ptr32) -> int:
    i = 0
    while i < size:
        crc = int(table[(crc ^ int(buf[i])) & 0xFF]) ^ (crc >> 8)
        i += 1
    return crc


def _table(index):
    if not _tables:
        for poly in (0x82F63B78, 0xA001):
            table = array("I", bytes(1024))
            _make_table(table, poly)
            _tables.append(table)
    return _tables[index]


def crc32c(buf, crc=0xFFFFFFFF):
    """CRC-32C of buf going on from crc (start with all ones)."""
    return _update(buf, len(buf), crc, _table(0))


def crc16(buf, crc=0xFFFF):
    """CRC-16 (polynomial 0x8005 reflected) of buf going on from crc."""
    return _update(buf, len(buf), crc, _table(1))
