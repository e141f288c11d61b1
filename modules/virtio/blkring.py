"""Viper: request slots of virtio-blk (5.2.6) over the split ring of ring.py.

A slot is a FIXED chain of the queue with a record for its 16-byte header and its status byte.
A batch is a table of pieces (24 bytes each: address, sector, length) that belongs to a tag; how many
pieces of a tag are posted, and how many are still to be finished, is counted here, so that neither
an interrupt callback nor Ctrl-C ever finds a count half done.  Callers check everything else.

Slot block `bk`, 32-bit words, 64-bit values low word first:
    0 free slots  1 slots use indirect tables  2 address of the records  4 address of the tags
    6 capacity in sectors  8 block size - 1  9 longest piece  10 stack of free slots (heads)
Record of a slot, 80 bytes, found by its head:
    0 indirect table of three entries  48 header  64 status  68 tag  72 bytes of data
Tag, two words: posted, left.    State words of `st`: see ring.py.
"""

import micropython
from micropython import const

HEADER_SIZE = 40
RECORD_SIZE = 80
PIECE_SIZE = 24
HEADER = 48

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
        b[10 + i] = head
        i += 1
        head += step
        record += 80 * step
        desc += 16 * step
    b[0] = n


@micropython.viper
def limits(bk: int, capacity: int, block: int, longest: int):
    """Tell what stage() checks pieces against."""
    b = ptr32(bk)
    b[6] = capacity
    b[7] = capacity >> 32
    b[8] = block - 1
    b[9] = longest


@micropython.viper
def stage(bk: int, table: int, i: int, sector: int, addr: int, n: int) -> int:
    """Write piece i of a table; 0, 1: not whole blocks, 2: beyond the disk, 4: longer than a slot takes."""
    b = ptr32(bk)
    t = ptr32(table + 24 * i)
    if n == 0 or (n | sector << 9) & b[8]:
        return 1
    if sector < 0 or sector + (n >> 9) > (b[6] | b[7] << 32):
        return 2
    t[0] = addr
    t[1] = addr >> 32
    t[2] = sector
    t[3] = sector >> 32
    t[4] = n
    return 4 if n > b[9] else 0


@micropython.viper
def feed(st: int, bk: int, table: int, stop: int, kind: int, tag: int, depth: int) -> int:
    """Put reads (0) or writes (1) up to piece `stop` while slots are free; how many are posted in all.

    depth: most chains in flight in this queue.
    """
    s = ptr32(st)
    b = ptr32(bk)
    shadow = ptr32(s[6] | s[7] << 32)
    avail = ptr16(s[2] | s[3] << 32)
    tags = ptr32((b[4] | b[5] << 32) + 8 * tag)
    free = 0 if s[24] else b[0]
    idx = s[9]
    first = tags[0]
    i = first
    if stop > first + depth - s[14]:
        stop = first + depth - s[14]
    while i < stop and free > 0:
        free -= 1
        head = b[10 + free]
        p = ptr32(table + 24 * i)
        record = (b[2] | b[3] << 32) + 80 * head
        r = ptr32(record)
        r[12] = kind
        r[13] = 0
        r[14] = p[2]
        r[15] = p[3]
        r[16] = 0xFF
        r[17] = tag
        r[18] = p[4]
        mid = shadow[4 * head]
        link = shadow[4 * mid]
        d = ptr32((s[0] | s[1] << 32) + 16 * mid)
        if b[1]:
            d = ptr32(record + 16)
            link = 2
        d[0] = p[0]
        d[1] = p[1]
        d[2] = p[4]
        d[3] = (1 if kind else 3) | link << 16
        shadow[4 * head + 1] = (shadow[4 * head + 1] & (0xFFFF | _FIXED)) | _IN_FLIGHT
        shadow[4 * head + 2] = 1 if kind else p[4] + 1
        avail[2 + (idx & s[8])] = head
        idx = (idx + 1) & 0xFFFF
        i += 1
    if i == first:
        return i
    b[0] = free
    s[9] = idx
    s[14] = s[14] + i - first
    tags[0] = i
    return i


@micropython.viper
def single(st: int, bk: int, kind: int, sector: int, addr: int, n: int, tag: int) -> int:
    """stage(), begin() and feed() of one piece in one call; 0, or 1: nothing was done."""
    s = ptr32(st)
    b = ptr32(bk)
    if s[24] or b[0] == 0 or n == 0 or n > b[9] or (n | sector << 9) & b[8]:
        return 1
    if sector < 0 or sector + (n >> 9) > (b[6] | b[7] << 32):
        return 1
    b[0] = b[0] - 1
    head = b[10 + b[0]]
    record = (b[2] | b[3] << 32) + 80 * head
    r = ptr32(record)
    r[12] = kind
    r[13] = 0
    r[14] = sector
    r[15] = sector >> 32
    r[16] = 0xFF
    r[17] = tag
    r[18] = n
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
    tags = ptr32((b[4] | b[5] << 32) + 8 * tag)
    tags[0] = 1
    tags[1] = 1
    return 0


@micropython.viper
def finish(st: int, bk: int, tag: int) -> int:
    """Free the slots at the front of the done list whose request went well; what is left of a tag.

    -1: stopped at a chain that is no slot, or whose status or length says trouble.
    """
    s = ptr32(st)
    b = ptr32(bk)
    shadow = ptr32(s[6] | s[7] << 32)
    tags = ptr32(b[4] | b[5] << 32)
    free = b[0]
    first = s[18]
    n = s[19]
    while n:
        head = shadow[4 * (s[8] + 1) + first]
        c = 4 * head
        r = ptr32((b[2] | b[3] << 32) + 80 * head)
        if not (shadow[c + 1] & _FIXED) or r[16] & 0xFF:
            break
        if shadow[c + 3] < shadow[c + 2] and not s[15] & 2:
            break
        shadow[c + 1] = shadow[c + 1] & (0xFFFF | _FIXED)
        tags[2 * r[17] + 1] = tags[2 * r[17] + 1] - 1
        b[10 + free] = head
        free += 1
        first = (first + 1) & s[8]
        n -= 1
    b[0] = free
    s[18] = first
    s[19] = n
    return -1 if n else tags[2 * tag + 1]


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
    b[10 + b[0]] = head
    b[0] = b[0] + 1


@micropython.viper
def begin(bk: int, tag: int, left: int):
    """Start counting for a tag."""
    b = ptr32(bk)
    t = ptr32((b[4] | b[5] << 32) + 8 * tag)
    t[0] = 0
    t[1] = left


@micropython.viper
def count(bk: int, tag: int, posted: int, left: int):
    """Add to a tag's counters."""
    b = ptr32(bk)
    t = ptr32((b[4] | b[5] << 32) + 8 * tag)
    t[0] = t[0] + posted
    t[1] = t[1] + left


@micropython.viper
def posted(bk: int, tag: int) -> int:
    b = ptr32(bk)
    return ptr32((b[4] | b[5] << 32) + 8 * tag)[0]


@micropython.viper
def left(bk: int, tag: int) -> int:
    b = ptr32(bk)
    return ptr32((b[4] | b[5] << 32) + 8 * tag)[1]
