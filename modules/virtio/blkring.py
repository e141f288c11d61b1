"""Viper: request slots of virtio-blk (5.2.6) over the split ring of ring.py.

A slot is a FIXED chain of the queue with a record for its 16-byte header and its status byte.
Every request belongs to a tag; how many of a tag's requests are posted, and how many are still to
be finished, is counted here, so that an interrupt callback or Ctrl-C never finds a count half done.

Slot block `bk`, 32-bit words:
    0 free slots  1 slots use indirect tables  2 address of the records  4 address of the tags
    8 stack of free slots (heads), one word a descriptor
Record of a slot, 80 bytes, found by its head:
    0 indirect table of three entries  48 header  64 status  68 tag  72 bytes of data
Tag, two words: posted, left.    State words of `st`: see ring.py.
"""

import micropython
from micropython import const

RECORD_SIZE = 80
HEADER = 48
STATUS = 64

_FIXED = const(0x40000)
_IN_FLIGHT = const(0x10000)


@micropython.viper
def setup(st: int, bk: int, head: int, n: int):
    """Make n slots: write what never changes of them, and put them on the stack of free ones.

    Their chains lie behind each other from head on, as take() finds them in a new queue.
    """
    s = ptr32(st)
    b = ptr32(bk)
    shadow = ptr32(s[6] | s[7] << 32)
    step = 1 if b[1] else 3
    record = (b[2] | b[3] << 32) + 80 * head
    desc = (s[0] | s[1] << 32) + 16 * head
    i = 0
    while i < n:
        chain = desc
        d = ptr32(desc)
        if b[1]:
            d[0] = record
            d[1] = record >> 32
            d[2] = 48
            d[3] = 4
            chain = record
            d = ptr32(record)
        d[0] = record + 48
        d[1] = (record + 48) >> 32
        d[2] = 16
        d[3] = 1 | (1 if b[1] else head + 1) << 16
        d = ptr32(chain + 32)
        d[0] = record + 64
        d[1] = (record + 64) >> 32
        d[2] = 1
        d[3] = 2
        shadow[4 * head + 1] = step | _FIXED
        b[8 + i] = head
        i += 1
        head += step
        record += 80 * step
        desc += 16 * step
    b[0] = n


@micropython.viper
def post(st: int, bk: int, kind: int, sector: int, addr: int, n: int, tag: int) -> int:
    """Fill a free slot for a read (0) or write (1) of n bytes and put it; its head, -1: no slot."""
    b = ptr32(bk)
    free = b[0] - 1
    if free < 0:
        return -1
    b[0] = free
    head = b[8 + free]
    record = (b[2] | b[3] << 32) + 80 * head
    r = ptr32(record)
    r[12] = kind
    r[13] = 0
    r[14] = sector
    r[15] = sector >> 32
    r[16] = 0xFF
    r[17] = tag
    r[18] = n
    s = ptr32(st)
    shadow = ptr32(s[6] | s[7] << 32)
    mid = shadow[4 * head]
    link = shadow[4 * mid]
    d = ptr32((s[0] | s[1] << 32) + 16 * mid)
    if b[1]:
        d = ptr32(record + 16)
        link = 2
    d[0] = addr
    d[1] = addr >> 32
    d[2] = n
    d[3] = (1 if kind else 3) | link << 16
    shadow[4 * head + 1] = (shadow[4 * head + 1] & (0xFFFF | _FIXED)) | _IN_FLIGHT
    shadow[4 * head + 2] = 1 if kind else n + 1
    ptr16(s[2] | s[3] << 32)[2 + (s[9] & s[8])] = head
    s[9] = (s[9] + 1) & 0xFFFF
    s[14] = s[14] + 1
    t = ptr32(b[4] | b[5] << 32)
    t[2 * tag] = t[2 * tag] + 1
    return head


@micropython.viper
def finish(st: int, bk: int) -> int:
    """Free the slots at the front of the done list whose request went well; how many.

    Stops at the first chain that is no slot, or whose status or length says trouble.
    """
    s = ptr32(st)
    b = ptr32(bk)
    shadow = ptr32(s[6] | s[7] << 32)
    tags = ptr32(b[4] | b[5] << 32)
    done = 4 * (s[8] + 1)
    n = 0
    while s[19]:
        head = shadow[done + s[18]]
        c = 4 * head
        r = ptr32((b[2] | b[3] << 32) + 80 * head)
        if not shadow[c + 1] & _FIXED or int(ptr8(r)[64]):
            return n
        if shadow[c + 3] < shadow[c + 2] and not s[15] & 2:
            return n
        shadow[c + 1] = shadow[c + 1] & (0xFFFF | _FIXED)
        s[18] = (s[18] + 1) & s[8]
        s[19] = s[19] - 1
        tags[2 * r[17] + 1] = tags[2 * r[17] + 1] - 1
        b[8 + b[0]] = head
        b[0] = b[0] + 1
        n += 1
    return n


@micropython.viper
def retire(st: int, bk: int, head: int):
    """Free the slot that heads the done list, whatever became of its request."""
    s = ptr32(st)
    b = ptr32(bk)
    shadow = ptr32(s[6] | s[7] << 32)
    tags = ptr32(b[4] | b[5] << 32)
    r = ptr32((b[2] | b[3] << 32) + 80 * head)
    shadow[4 * head + 1] = shadow[4 * head + 1] & (0xFFFF | _FIXED)
    s[18] = (s[18] + 1) & s[8]
    s[19] = s[19] - 1
    tags[2 * r[17] + 1] = tags[2 * r[17] + 1] - 1
    b[8 + b[0]] = head
    b[0] = b[0] + 1


@micropython.viper
def begin(bk: int, tag: int, left: int):
    """Start counting for a tag."""
    b = ptr32(bk)
    t = ptr32(b[4] | b[5] << 32)
    t[2 * tag] = 0
    t[2 * tag + 1] = left


@micropython.viper
def count(bk: int, tag: int, posted: int, left: int):
    """Add to a tag's counters."""
    b = ptr32(bk)
    t = ptr32(b[4] | b[5] << 32)
    t[2 * tag] = t[2 * tag] + posted
    t[2 * tag + 1] = t[2 * tag + 1] + left


@micropython.viper
def posted(bk: int, tag: int) -> int:
    b = ptr32(bk)
    return ptr32(b[4] | b[5] << 32)[2 * tag]


@micropython.viper
def left(bk: int, tag: int) -> int:
    b = ptr32(bk)
    return ptr32(b[4] | b[5] << 32)[2 * tag + 1]
