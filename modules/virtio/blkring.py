"""Viper: request slots of virtio-blk (5.2.6) over either ring, ring.py or packed.py.

A slot is a FIXED chain of the queue with a record for its 16-byte header and its status byte.
A batch is a table of pieces (24 bytes each: address, sector, length) that belongs to a tag; how many
pieces of a tag are posted, and how many are still to be finished, is counted here, so that neither
an interrupt callback nor Ctrl-C ever finds a count half done.  Callers check everything else.

Slot block `bk`, 32-bit words, 64-bit values low word first:
    0 free slots  1 slots use indirect tables  2 address of the records  4 address of the tags
    6 capacity in sectors  8 block size - 1  9 longest piece  10 stack of free slots (heads)
Record of a slot, 96 bytes, found by its head:
    0 the three descriptors of a request  48 one that points to them as an indirect table
    64 header  80 status  84 tag  88 bytes of data
Tag, two words: posted, left.    State words of `st`: see ring.py.
The descriptors of a record have the form that the layout gives them in an indirect table, or, where
slots use none, in the packed ring; in the split ring those of a slot lie in the descriptor table.
"""

import micropython
from micropython import const

HEADER_SIZE = 40
RECORD_SIZE = 96
PIECE_SIZE = 24
HEADER = 64

_FIXED = const(0x40000)
_IN_FLIGHT = const(0x10000)


@micropython.viper
def setup(st: int, bk: int, head: int, n: int):
    """Make n slots: write what never changes of them, and put them on the stack of free ones.

    Their chains lie behind each other from head on, as take() finds them in a new queue.
    """
    s = ptr32(st)
    b = ptr32(bk)
    shadow = ptr32(ptr64(st)[3])
    step = 1 if b[1] else 3
    packed = s[15] & 32
    shift = 48 if packed else 32
    i = 0
    while i < n:
        record = ptr64(bk)[1] + 96 * head
        d = ptr64(record)
        d[6] = record
        d[7] = 48 | 4 << shift
        at = ptr64(st)[0] + 16 * head
        link = head + 1
        if b[1] or packed:
            at = record
            link = 1
        if b[1] and not packed:
            d = ptr64(ptr64(st)[0] + 16 * head)
            d[0] = record
            d[1] = 48 | 4 << 32
        d = ptr64(at)
        d[0] = record + 64
        d[1] = 16
        if not packed:
            d[1] = 16 | 1 << 32 | link << 48
        elif not b[1]:
            d[1] = 16 | 1 << 48
        d[4] = record + 80
        d[5] = 1 | 2 << shift
        shadow[4 * head + 1] = step | _FIXED
        b[10 + i] = head
        i += 1
        head += step
    b[0] = n


@micropython.viper
def limits(bk: int, capacity: int, block: int, longest: int):
    """Tell what stage() checks pieces against."""
    b = ptr32(bk)
    ptr64(bk)[3] = capacity
    b[8] = block - 1
    b[9] = longest


@micropython.viper
def stage(bk: int, table: int, count: int) -> int:
    """Check the pieces of a table: 1 not whole blocks, 2 beyond the disk, 4 longer than a slot takes, else 0."""
    block = int(ptr32(bk)[8])
    longest = int(ptr32(bk)[9])
    sectors = int(ptr64(bk)[3])
    bits = 0
    while count > 0:
        t = ptr64(table)
        sector = int(t[1])
        n = int(t[2])
        if n == 0 or (n | sector << 9) & block:
            return 1
        if sector < 0 or n >> 9 > sectors or sector > sectors - (n >> 9):
            return 2
        if n > longest:
            bits = 4
        table += 24
        count -= 1
    return bits


@micropython.viper
def feed(st: int, bk: int, table: int, stop: int, kind: int, tag: int, depth: int) -> int:
    """Put reads (0) or writes (1) up to piece `stop` while slots are free; how many are posted in all.

    depth: most chains in flight in this queue.
    """
    s = ptr32(st)
    b = ptr32(bk)
    shadow = ptr32(ptr64(st)[3])
    ring = ptr64(st)[0]
    tags = ptr32(ptr64(bk)[2] + 8 * tag)
    free = 0 if s[24] else int(b[0])
    at = int(s[9])
    order = s[18] + s[19] + s[14]
    first = int(tags[0])
    i = first
    if stop > first + depth - s[14]:
        stop = first + depth - s[14]
    while i < stop and free > 0:
        free -= 1
        head = b[10 + free]
        p = ptr64(table + 24 * i)
        record = ptr64(bk)[1] + 96 * head
        r = ptr64(record)
        n = p[2]
        r[8] = kind
        r[9] = p[1]
        r[10] = 0xFF | tag << 32
        r[11] = n
        shadow[4 * head + 1] = (shadow[4 * head + 1] & (0xFFFF | _FIXED)) | _IN_FLIGHT
        shadow[4 * head + 2] = 1 if kind else n + 1
        shadow[4 * head + 3] = at
        if s[15] & 8:
            shadow[4 * (s[8] + 1) + ((order + i - first) & s[8])] = head
        flags = 0 if kind else 2
        if s[15] & 32:
            if not b[1]:
                flags |= 1
            r[2] = p[0]
            r[3] = n | flags << 48
            record += 48
            end = record + 16
            if not b[1]:
                record -= 48
                end = record + 48
            hold = 0x80 if at == s[10] else 0
            while record < end:
                r = ptr64(record)
                d = ptr64(ring + 16 * (at & 0x7FFF))
                n = r[1] | head << 32 | (0x80 if at & 0x8000 else 0x8000) << 48
                if hold:
                    s[27] = n >> 48
                d[0] = r[0]
                d[1] = n ^ hold << 48
                hold = 0
                if (at & 0x7FFF) + 1 == s[25]:
                    at = (at & 0x8000) ^ 0x8000
                else:
                    at += 1
                record += 16
        else:
            if not b[1]:
                link = shadow[4 * head]
                record = ring + 16 * link - 16
                flags |= shadow[4 * link] << 16
            else:
                flags |= 2 << 16
            r = ptr64(record)
            r[2] = p[0]
            r[3] = n | (flags | 1) << 32
            ptr16(ptr64(st)[1])[2 + (at & s[8])] = head
            at = (at + 1) & 0xFFFF
        i += 1
    if i == first:
        return i
    b[0] = free
    s[9] = at
    s[14] = s[14] + i - first
    tags[0] = i
    return i


@micropython.viper
def single(st: int, bk: int, table: int, kind: int, sector: int, addr: int, n: int, tag: int) -> int:
    """stage(), begin() and feed() of one piece in one call; 0, or 1: nothing was done."""
    b = ptr32(bk)
    if n == 0 or n > b[9] or (n | sector << 9) & b[8]:
        return 1
    if sector < 0 or sector + (n >> 9) > ptr64(bk)[3]:
        return 1
    t = ptr64(table)
    t[0] = addr
    t[1] = sector
    t[2] = n
    t = ptr64(ptr64(bk)[2] + 8 * tag)
    t[0] = 1 << 32
    if int(feed(st, bk, table, 1, kind, tag, 0x10000)) == 1:
        return 0
    t[0] = 0
    return 1


@micropython.viper
def finish(st: int, bk: int, tag: int) -> int:
    """Free the slots at the front of the done list whose request went well; what is left of a tag.

    -1: stopped at a chain that is no slot, or whose status or length says trouble.
    """
    s = ptr32(st)
    b = ptr32(bk)
    shadow = ptr32(ptr64(st)[3])
    tags = ptr32(ptr64(bk)[2])
    free = b[0]
    first = s[18]
    n = s[19]
    while n:
        head = shadow[4 * (s[8] + 1) + first]
        c = 4 * head
        r = ptr32(ptr64(bk)[1] + 96 * head)
        if not (shadow[c + 1] & _FIXED) or r[20] & 0xFF:
            break
        if shadow[c + 3] < shadow[c + 2] and not s[15] & 2:
            break
        shadow[c + 1] = shadow[c + 1] & (0xFFFF | _FIXED)
        tags[2 * r[21] + 1] = tags[2 * r[21] + 1] - 1
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
    shadow = ptr32(ptr64(st)[3])
    tags = ptr32(ptr64(bk)[2])
    r = ptr32(ptr64(bk)[1] + 96 * head)
    shadow[4 * head + 1] = shadow[4 * head + 1] & (0xFFFF | _FIXED)
    s[18] = (s[18] + 1) & s[8]
    s[19] = s[19] - 1
    tags[2 * r[21] + 1] = tags[2 * r[21] + 1] - 1
    b[10 + b[0]] = head
    b[0] = b[0] + 1


@micropython.viper
def begin(bk: int, tag: int, left: int):
    """Start counting for a tag."""
    t = ptr32(ptr64(bk)[2] + 8 * tag)
    t[0] = 0
    t[1] = left


@micropython.viper
def count(bk: int, tag: int, posted: int, left: int):
    """Add to a tag's counters."""
    t = ptr32(ptr64(bk)[2] + 8 * tag)
    t[0] = t[0] + posted
    t[1] = t[1] + left


@micropython.viper
def posted(bk: int, tag: int) -> int:
    return ptr32(ptr64(bk)[2] + 8 * tag)[0]


@micropython.viper
def left(bk: int, tag: int) -> int:
    return ptr32(ptr64(bk)[2] + 8 * tag)[1]
