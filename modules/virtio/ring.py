"""Viper: the bytes of a split virtqueue (2.7), and the accounts that both layouts share.

Every function takes the address of a state block, words in ordinary memory (below), and checks
nothing but what the device wrote: indices, sizes and addresses are the caller's duty.
The free list, the links of a chain and the running indices live in the state block and in the
shadow table beside it; the ring itself is written, and only used.idx, used.ring, used.flags and
avail_event are ever read back.  Each change of state is one call, so an interrupt callback finds
the queue before it or after it.  packed.py has the same functions for the other layout.

State words of 32 bits, 64-bit addresses low word first:
    0 desc  2 avail or driver events  4 used or device events  6 shadow table
    8 entries of the shadow table - 1: the size, or the next power of two, less 1
    9 position as filled  10 as published  11 up to which used chains were taken
      (split: free-running indices; packed: offset, wrap counter in bit 15)
    12 head of the free list  13 free descriptors  14 chains in flight
    15 flags: 1 EVENT_IDX, 2 used lengths untrusted (legacy), 4 interrupts wanted, 8 IN_ORDER,
       16 NOTIFICATION_DATA, 32 packed, 64 descriptors go round in order (split and IN_ORDER)
    16, 17 the used element that broke a rule  18, 19 done list: first, count
    20 address of the notify register  22 what to write there  23 its width in bytes
    24 not 0: the device was given up, nothing may be posted  25 queue size
    26 with flag 64: the descriptor that was taken longest ago
    27 packed: flags of the first descriptor that is filled and not published
Shadow table, four words a descriptor (packed: a buffer id):
    next | chain: how many descriptors, and the flags below | writable bytes
    | used len (packed, in flight: where its first descriptor is, as in word 9)
    and after it the done list, a ring of one word a descriptor: heads used and not given back;
    with IN_ORDER the heads in flight follow them.
"""

import micropython
from micropython import const

STATE_SIZE = 112
SHADOW_SIZE = 20  # bytes a descriptor
OVERRUN = 0x10000  # added to the count by reap() when the device broke a rule

START = 0  # words 9 to 11 of a new queue
PACKED = False

# Flags of a chain.
_IN_FLIGHT = const(0x10000)
_DONE = const(0x20000)
_FIXED = const(0x40000)  # stays taken: a slot, see blkring.py
_HELD = const(0x80000)  # somebody waits for this very chain
_GIVEN = const(0x100000)  # free as soon as those taken before it are (flag 64)

HELD = 0x80000
FIXED = 0x40000


def layout(size, align):
    """(offset of avail, offset of used, bytes in all) of one block holding all three parts.

    align: 4, or QueueAlign on the legacy interface (2.7.2).  Pure.
    """
    avail = 16 * size
    used = (avail + 6 + 2 * size + align - 1) // align * align
    end = used + 6 + 8 * size
    return avail, used, (end + align - 1) // align * align


@micropython.viper
def init(st: int, size: int, start: int):
    """Link all descriptors into the free list; words 0 to 7 and 15 are set already."""
    s = ptr32(st)
    shadow = ptr32(ptr64(st)[3])
    s[9] = start
    s[10] = start
    s[11] = start
    s[13] = size
    s[25] = size
    mask = 1
    while mask < size:
        mask = mask << 1
    s[8] = mask - 1
    i = 0
    while i < size - 1:
        shadow[4 * i] = i + 1
        i += 1


@micropython.viper
def take(st: int, n: int) -> int:
    """Take n linked descriptors off the free list; the head, or -1 when there are too few."""
    s = ptr32(st)
    shadow = ptr32(ptr64(st)[3])
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
    shadow = ptr32(ptr64(st)[3])
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
    if chain & _FIXED:
        return
    if s[15] & 64:
        shadow[4 * head + 1] = chain & 0xFFFF | _GIVEN
        head = s[26]
        while s[13] < s[25] and shadow[4 * head + 1] & _GIVEN:
            n = shadow[4 * head + 1] & 0xFFFF
            shadow[4 * head + 1] = 0
            s[13] = s[13] + n
            head = (head + n) & mask
        s[26] = head
        return
    shadow[4 * head + 1] = 0
    last = head
    n = chain & 0xFFFF
    s[13] = s[13] + n
    while n > 1:
        last = shadow[4 * last]
        n -= 1
    shadow[4 * last] = s[12]
    s[12] = head


@micropython.viper
def first(st: int, skip: int) -> int:
    """The first head of the done list that has none of the flags in skip; -1 without one."""
    s = ptr32(st)
    shadow = ptr32(ptr64(st)[3])
    mask = s[8]
    i = 0
    while i < s[19]:
        head = shadow[4 * (mask + 1) + ((s[18] + i) & mask)]
        if not shadow[4 * head + 1] & skip:
            return head
        i += 1
    return -1


@micropython.viper
def pair(table: int, i: int, addr: int, n: int):
    """Write buffer i of a table for post(): 16 bytes each, address and length."""
    t = ptr64(table + 16 * i)
    t[0] = addr
    t[1] = n


@micropython.viper
def post(st: int, table: int, n: int, readable: int, how: int) -> int:
    """Make a chain of the n buffers in a table and place it in the available ring; its head.

    -1: too few free descriptors, nothing was done.  readable: how many come before the writable
    ones.  how: HELD, and 1 to make the table itself an indirect one, which then has room for one
    more entry and stays as it is until the chain is used.  publish() shows the chain to the device.
    """
    s = ptr32(st)
    t = ptr64(table)
    shadow = ptr32(ptr64(st)[3])
    head = s[12]
    desc = ptr64(st)[0]
    slots = n
    if how & 1:
        slots = 1
        desc = table
    if slots > s[13]:
        return -1
    d = ptr64(desc)
    at = 0 if how & 1 else head
    total = 0
    i = 0
    link = head
    while i < n:
        size = t[2 * i + 1]
        flags = 1 if i < n - 1 else 0
        if i >= readable:
            flags |= 2
            total += size
        link = i + 1 if how & 1 else int(shadow[4 * at])
        d[2 * at] = t[2 * i]
        d[2 * at + 1] = size | flags << 32 | (link << 48 if flags & 1 else 0)
        at = link
        i += 1
    if how & 1:
        d = ptr64(ptr64(st)[0] + 16 * head)
        d[0] = table
        d[1] = 16 * n | 4 << 32
        link = shadow[4 * head]
    s[12] = link
    s[13] = s[13] - slots
    shadow[4 * head + 1] = slots | _IN_FLIGHT | how & _HELD
    shadow[4 * head + 2] = total
    idx = s[9]
    ptr16(ptr64(st)[1])[2 + (idx & s[8])] = head
    if s[15] & 8:
        shadow[4 * (s[8] + 1) + ((s[18] + s[19] + s[14]) & s[8])] = head
    s[9] = (idx + 1) & 0xFFFF
    s[14] = s[14] + 1
    return head


@micropython.viper
def publish(st: int) -> int:
    """Move avail.idx over everything posted, and notify the device if it asks for it (2.7.10, 2.7.13).

    1 when it was notified. Both in one call, so that Ctrl-C cannot come between and lose the notification.
    """
    s = ptr32(st)
    new = s[9]
    old = s[10]
    if new == old or s[24]:
        return 0
    used = ptr16(ptr64(st)[2])
    riscv_fence()
    ptr16(ptr64(st)[1])[1] = new
    s[10] = new
    riscv_fence()
    if s[15] & 1:
        event = used[2 + 4 * (s[8] + 1)]
        if ((new - event - 1) & 0xFFFF) >= ((new - old) & 0xFFFF):
            return 0
    elif used[0] & 1:
        return 0
    value = s[22] | new << 16 if s[15] & 16 else int(s[22])
    if s[23] == 4:
        ptr32(ptr64(st)[10])[0] = value
    else:
        ptr16(ptr64(st)[10])[0] = value
    return 1


@micropython.viper
def reap(st: int, spins: int) -> int:
    """Take all used elements into the done list, looking up to `spins` times for one; how many.

    OVERRUN is added when the device broke a rule: words 16 and 17 hold the id and the length
    that it wrote (an id of all ones: used.idx itself); nothing from there on is taken.
    With IN_ORDER an element stands for all chains up to its own, which were used whole (2.7.9).
    """
    s = ptr32(st)
    shadow = ptr32(ptr64(st)[3])
    used = ptr64(st)[2]
    last = s[11]
    watch = ptr16(used)
    while watch[1] == last:
        spins -= 1
        if spins <= 0:
            return 0
    done = 4 * (s[8] + 1)
    n = 0
    bad = 0
    while True:
        ready = (int(watch[1]) - last) & 0xFFFF
        riscv_fence()
        if ready > s[14]:
            s[16] = 0xFFFFFFFF
            s[17] = ready
            bad = 0x10000
            break
        while n < ready:
            e = ptr32(used + 4 + 8 * ((last + n) & s[8]))
            c = 4 * e[0]
            if e[0] > s[8] or not (shadow[c + 1] & _IN_FLIGHT) or (e[1] > shadow[c + 2] and not s[15] & 2):
                s[16] = e[0]
                s[17] = e[1]
                bad = 0x10000
                break
            shadow[c + 3] = e[1]
            while s[15] & 8 and 4 * shadow[done + ((s[18] + s[19] + n) & s[8])] != c:
                skipped = 4 * shadow[done + ((s[18] + s[19] + n) & s[8])]
                shadow[skipped + 1] = (shadow[skipped + 1] ^ _IN_FLIGHT) | _DONE
                shadow[skipped + 3] = shadow[skipped + 2]
                n += 1
            shadow[c + 1] = (shadow[c + 1] ^ _IN_FLIGHT) | _DONE
            shadow[done + ((s[18] + s[19] + n) & s[8])] = c >> 2
            n += 1
        if bad or not s[15] & 1:
            break
        event = ptr16(ptr64(st)[1])
        if not s[15] & 4:
            event[3 + s[8]] = last + n - 1
            break
        event[3 + s[8]] = last + n
        riscv_fence()
        if (int(watch[1]) - last) & 0xFFFF == n:
            break
    s[11] = (last + n) & 0xFFFF
    s[14] = s[14] - n
    s[19] = s[19] + n
    return n + bad


@micropython.viper
def poll(st: int, spins: int) -> int:
    """Watch used.idx for up to `spins` rounds; 1 as soon as there is something to reap."""
    s = ptr32(st)
    used = ptr16(ptr64(st)[2])
    last = s[11]
    while spins > 0:
        if used[1] != last:
            return 1
        spins -= 1
    return 0


@micropython.viper
def state(st: int, head: int) -> int:
    """The used length of a chain that is done, -1 in flight, -2 neither."""
    shadow = ptr32(ptr64(st)[3])
    chain = shadow[4 * head + 1]
    if chain & _DONE:
        return shadow[4 * head + 3]
    return -1 if chain & _IN_FLIGHT else -2


@micropython.viper
def hold(st: int, head: int) -> int:
    """Keep a chain for somebody who waits for it; its state()."""
    shadow = ptr32(ptr64(st)[3])
    chain = shadow[4 * head + 1]
    if chain & _DONE:
        shadow[4 * head + 1] = chain | _HELD
        return shadow[4 * head + 3]
    if chain & _IN_FLIGHT:
        shadow[4 * head + 1] = chain | _HELD
        return -1
    return -2


@micropython.viper
def writable(st: int, head: int) -> int:
    """The writable bytes of a chain in flight or done."""
    return ptr32(ptr64(st)[3])[4 * head + 2]


@micropython.viper
def fixed(st: int, head: int) -> int:
    """Not 0 for a chain that stays taken: a slot (see blkring.py)."""
    return ptr32(ptr64(st)[3])[4 * head + 1] & _FIXED


@micropython.viper
def listen(st: int, wanted: int, ahead: int) -> int:
    """Ask for interrupts or not (2.7.7); 1 when something to reap came in meanwhile.

    ahead: with EVENT_IDX, how many more used chains to wait for before the interrupt.
    """
    s = ptr32(st)
    avail = ptr16(ptr64(st)[1])
    last = s[11]
    s[15] = s[15] & -5 | wanted << 2
    if s[15] & 1:
        avail[3 + s[8]] = last + ahead if wanted else last - 1
    else:
        avail[0] = 0 if wanted else 1
    riscv_fence()
    return 1 if ptr16(ptr64(st)[2])[1] != last else 0
