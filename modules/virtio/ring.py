"""Viper: the bytes of a split virtqueue (2.7) and nothing else.

Every function takes the address of a state block, 32-bit words in ordinary memory (below), and
checks nothing but what the device wrote: indices, sizes and addresses are the caller's duty.
The free list, the links of a chain and the running indices live in the state block and in the
shadow table beside it; the ring itself is written, and only used.idx, used.ring, used.flags and
avail_event are ever read back.  Each change of state is one call, so an interrupt callback finds
the queue before it or after it.  `fence` is riscv.fence, passed because a global costs viper an
exception frame.

State words, 64-bit addresses low word first:
    0 desc  2 avail  4 used  6 shadow table  8 size - 1
    9 avail idx as filled  10 avail idx as published  11 used idx
    12 head of the free list  13 free descriptors  14 chains in flight
    15 flags: 1 EVENT_IDX, 2 used lengths untrusted (legacy), 4 interrupts wanted
    16, 17 the used element that broke a rule  18, 19 done list: first, count
    20 address of the notify register  22 what to write there  23 its width in bytes
    24 not 0: the device was given up, nothing may be posted
Shadow table, four words a descriptor:
    next | chain: length of the chain it heads, IN_FLIGHT, DONE, FIXED | writable bytes | used len
    and after it the done list, a ring of one word a descriptor: heads used and not given back
"""

import micropython
from micropython import const

STATE_SIZE = 104
SHADOW_SIZE = 20  # bytes a descriptor
OVERRUN = 0x10000  # added to the count by reap() when the device broke a rule

_IN_FLIGHT = const(0x10000)
_DONE = const(0x20000)
_FIXED = const(0x40000)


def layout(size, align):
    """(offset of avail, offset of used, bytes in all) of one block holding all three parts.

    align: 4, or QueueAlign on the legacy interface (2.7.2).  Pure.
    """
    avail = 16 * size
    used = (avail + 6 + 2 * size + align - 1) // align * align
    end = used + 6 + 8 * size
    return avail, used, (end + align - 1) // align * align


@micropython.viper
def init(st: int, size: int):
    """Link all descriptors into the free list."""
    s = ptr32(st)
    shadow = ptr32(s[6] | s[7] << 32)
    s[8] = size - 1
    s[13] = size
    i = 0
    while i < size:
        shadow[4 * i] = i + 1
        i += 1


@micropython.viper
def take(st: int, n: int) -> int:
    """Take n linked descriptors off the free list; the head, or -1 when there are too few."""
    s = ptr32(st)
    shadow = ptr32(s[6] | s[7] << 32)
    if n > s[13]:
        return -1
    head = s[12]
    last = head
    i = 1
    while i < n:
        last = shadow[4 * last]
        i += 1
    s[12] = shadow[4 * last]
    s[13] = s[13] - n
    shadow[4 * head + 1] = n
    return head


@micropython.viper
def give(st: int, head: int):
    """Take a chain that is not in flight off the done list and free it, unless it is FIXED."""
    s = ptr32(st)
    shadow = ptr32(s[6] | s[7] << 32)
    mask = s[8]
    chain = shadow[4 * head + 1]
    shadow[4 * head + 1] = chain & (0xFFFF | _FIXED)
    if chain & _DONE:
        done = 4 * (mask + 1)
        i = s[18]
        while shadow[done + i] != head:
            i = (i + 1) & mask
        while i != s[18]:
            shadow[done + i] = shadow[done + ((i - 1) & mask)]
            i = (i - 1) & mask
        s[18] = (i + 1) & mask
        s[19] = s[19] - 1
    if not chain & _FIXED:
        shadow[4 * head + 1] = 0
        last = head
        i = chain & 0xFFFF
        s[13] = s[13] + i
        while i > 1:
            last = shadow[4 * last]
            i -= 1
        shadow[4 * last] = s[12]
        s[12] = head


@micropython.viper
def first(st: int) -> int:
    """The head that heads the done list, -1 when it is empty."""
    s = ptr32(st)
    shadow = ptr32(s[6] | s[7] << 32)
    if s[19] == 0:
        return -1
    return shadow[4 * (s[8] + 1) + s[18]]


@micropython.viper
def fill(st: int, i: int, addr: int, n: int, flags: int) -> int:
    """Write descriptor i with flags (NEXT 1, WRITE 2, INDIRECT 4); the next one of its chain."""
    s = ptr32(st)
    shadow = ptr32(s[6] | s[7] << 32)
    link = shadow[4 * i]
    d = ptr32((s[0] | s[1] << 32) + 16 * i)
    d[0] = addr
    d[1] = addr >> 32
    d[2] = n
    if flags & 1:
        d[3] = flags | link << 16
    else:
        d[3] = flags
    return link


@micropython.viper
def entry(table: int, i: int, addr: int, n: int, flags: int):
    """Write entry i of an indirect table; NEXT links to i + 1."""
    d = ptr32(table + 16 * i)
    d[0] = addr
    d[1] = addr >> 32
    d[2] = n
    if flags & 1:
        d[3] = flags | (i + 1) << 16
    else:
        d[3] = flags


@micropython.viper
def put(st: int, head: int, writable: int):
    """Place a filled chain in the available ring; publish() shows it to the device."""
    s = ptr32(st)
    shadow = ptr32(s[6] | s[7] << 32)
    avail = ptr16(s[2] | s[3] << 32)
    shadow[4 * head + 1] = (shadow[4 * head + 1] & (0xFFFF | _FIXED)) | _IN_FLIGHT
    shadow[4 * head + 2] = writable
    idx = s[9]
    avail[2 + (idx & s[8])] = head
    s[9] = (idx + 1) & 0xFFFF
    s[14] = s[14] + 1


@micropython.viper
def publish(st: int, fence) -> int:
    """Move avail.idx over everything put, and notify the device if it asks for it (2.7.10, 2.7.13).

    1 when it was notified. Both in one call, so that Ctrl-C cannot come between and lose the notification.
    """
    s = ptr32(st)
    new = s[9]
    old = s[10]
    if new == old:
        return 0
    avail = ptr16(s[2] | s[3] << 32)
    used = ptr16(s[4] | s[5] << 32)
    fence()
    avail[1] = new
    s[10] = new
    fence()
    if s[15] & 1:
        event = used[2 + 4 * (s[8] + 1)]
        if ((new - event - 1) & 0xFFFF) >= ((new - old) & 0xFFFF):
            return 0
    elif used[0] & 1:
        return 0
    if s[23] == 4:
        ptr32(s[20] | s[21] << 32)[0] = s[22]
    else:
        ptr16(s[20] | s[21] << 32)[0] = s[22]
    return 1


@micropython.viper
def reap(st: int, spins: int, fence) -> int:
    """Take all used elements into the done list, looking up to `spins` times for one; how many.

    OVERRUN is added when the device broke a rule: words 16 and 17 hold the id and the length
    that it wrote (an id of all ones: used.idx itself); nothing from there on is taken.
    """
    s = ptr32(st)
    used = s[4] | s[5] << 32
    shadow = ptr32(s[6] | s[7] << 32)
    last = s[11]
    watch = ptr16(used)
    while watch[1] == last:
        spins -= 1
        if spins <= 0:
            return 0
    fence()
    ready = (int(watch[1]) - last) & 0xFFFF
    if ready > s[14]:
        s[16] = 0xFFFFFFFF
        s[17] = ready
        return 0x10000
    n = 0
    while n < ready:
        e = ptr32(used + 4 + 8 * ((last + n) & s[8]))
        c = 4 * e[0]
        if e[0] > s[8] or not (shadow[c + 1] & _IN_FLIGHT) or (e[1] > shadow[c + 2] and not s[15] & 2):
            s[16] = e[0]
            s[17] = e[1]
            ready = 0
        else:
            shadow[c + 1] = (shadow[c + 1] ^ _IN_FLIGHT) | _DONE
            shadow[c + 3] = e[1]
            shadow[4 * (s[8] + 1) + ((s[18] + s[19] + n) & s[8])] = e[0]
            n += 1
    s[11] = (last + n) & 0xFFFF
    s[14] = s[14] - n
    s[19] = s[19] + n
    if s[15] & 1:
        ptr16(s[2] | s[3] << 32)[3 + s[8]] = last + n if s[15] & 4 else last + n - 1
    return n if ready else n + 0x10000


@micropython.viper
def poll(st: int, spins: int) -> int:
    """Watch used.idx for up to `spins` rounds; 1 as soon as there is something to reap."""
    s = ptr32(st)
    used = ptr16(s[4] | s[5] << 32)
    last = s[11]
    while spins > 0:
        if used[1] != last:
            return 1
        spins -= 1
    return 0


@micropython.viper
def state(st: int, head: int) -> int:
    """The used length of a chain that is done, -1 in flight, -2 neither."""
    s = ptr32(st)
    shadow = ptr32(s[6] | s[7] << 32)
    chain = shadow[4 * head + 1]
    if chain & _DONE:
        return shadow[4 * head + 3]
    return -1 if chain & _IN_FLIGHT else -2


@micropython.viper
def writable(st: int, head: int) -> int:
    """The writable bytes that put() was told of."""
    s = ptr32(st)
    return ptr32(s[6] | s[7] << 32)[4 * head + 2]


@micropython.viper
def fixed(st: int, head: int) -> int:
    """Not 0 for a chain that stays taken: a slot (see blkring.py)."""
    s = ptr32(st)
    return ptr32(s[6] | s[7] << 32)[4 * head + 1] & _FIXED


@micropython.viper
def listen(st: int, wanted: int, fence) -> int:
    """Ask for interrupts or not (2.7.7); 1 when something to reap came in meanwhile."""
    s = ptr32(st)
    avail = ptr16(s[2] | s[3] << 32)
    used = ptr16(s[4] | s[5] << 32)
    last = s[11]
    s[15] = s[15] & 3 | wanted << 2
    if s[15] & 1:
        avail[2 + s[8] + 1] = last if wanted else last - 1
    else:
        avail[0] = 0 if wanted else 1
    fence()
    return 1 if used[1] != last else 0
