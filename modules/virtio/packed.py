"""Viper: the bytes of a packed virtqueue (2.8); the functions of ring.py over the same state block.

What ring.py calls a head is a buffer id here: a chain takes as many ids off the free list as it has
descriptors, and goes by the first of them.  The descriptors themselves lie in the ring one behind
the other, from word 9 on.  The first one of all that were posted since the last publish() is
written without being available; publish() makes it so, and with it all the others.
"""

import micropython
from micropython import const

from .ring import fixed, first, give, init, pair, state, take, writable  # noqa: F401

START = 0x8000  # both wrap counters begin at 1
PACKED = True

_IN_FLIGHT = const(0x10000)
_DONE = const(0x20000)
_HELD = const(0x80000)


def layout(size, align):
    """(offset of the driver's event structure, of the device's, bytes in all) of one block. Pure."""
    return 16 * size, 16 * size + 4, 16 * size + 8


@micropython.viper
def post(st: int, table: int, n: int, readable: int, how: int) -> int:
    """Make a chain of the n buffers in a table and write it into the ring; its buffer id.

    -1: too few free descriptors, nothing was done.  See ring.post().
    """
    s = ptr32(st)
    t = ptr64(table)
    shadow = ptr32(ptr64(st)[3])
    slots = n
    total = 0
    i = readable
    while i < n:
        total += t[2 * i + 1]
        i += 1
    if how & 1:
        slots = 1
    if slots > s[13]:
        return -1
    i = 0
    if how & 1:
        while i < n:
            if i >= readable:
                t[2 * i + 1] = t[2 * i + 1] | 2 << 48
            i += 1
        t[2 * n] = table
        t[2 * n + 1] = 16 * n | 4 << 48
        readable = n + 1
        n += 1
    head = s[12]
    next = head
    at = int(s[9])
    hold = 0x80 if at == s[10] else 0
    while i < n:
        flags = 0x80 if at & 0x8000 else 0x8000
        if i < n - 1:
            flags |= 1
        if i >= readable:
            flags |= 2
        word = t[2 * i + 1] | head << 32 | flags << 48
        if hold:
            s[27] = word >> 48
        d = ptr64(ptr64(st)[0] + 16 * (at & 0x7FFF))
        d[0] = t[2 * i]
        d[1] = word ^ hold << 48
        hold = 0
        next = shadow[4 * next]
        if (at & 0x7FFF) + 1 == s[25]:
            at = (at & 0x8000) ^ 0x8000
        else:
            at += 1
        i += 1
    s[12] = next
    s[13] = s[13] - slots
    shadow[4 * head + 1] = slots | _IN_FLIGHT | how & _HELD
    shadow[4 * head + 2] = total
    shadow[4 * head + 3] = s[9]
    if s[15] & 8:
        shadow[4 * (s[8] + 1) + ((s[18] + s[19] + s[14]) & s[8])] = head
    s[9] = at
    s[14] = s[14] + 1
    return head


@micropython.viper
def publish(st: int) -> int:
    """Make everything posted available, and notify the device if it asks for it (2.8.21).

    1 when it was notified. Both in one call, so that Ctrl-C cannot come between and lose the notification.
    """
    s = ptr32(st)
    new = s[9]
    old = s[10]
    if new == old or s[24]:
        return 0
    slot = ptr16(ptr64(st)[0] + 16 * (old & 0x7FFF))
    riscv_fence()
    slot[7] = s[27]
    s[10] = new
    riscv_fence()
    event = int(ptr32(ptr64(st)[2])[0])
    if event & 0x30000 == 0x10000:
        return 0
    if event & 0x30000 == 0x20000 and s[15] & 1:
        at = event & 0x7FFF
        if (event ^ new) & 0x8000:
            at -= s[25]
        n = (new & 0x7FFF) - (old & 0x7FFF)
        if (old ^ new) & 0x8000:
            n += s[25]
        if ((new & 0x7FFF) - at - 1) & 0xFFFF >= n:
            return 0
    value = s[22] | new << 16 if s[15] & 16 else int(s[22])
    if s[23] == 4:
        ptr32(ptr64(st)[10])[0] = value
    else:
        ptr16(ptr64(st)[10])[0] = value
    return 1


@micropython.viper
def reap(st: int, spins: int) -> int:
    """Take all used descriptors into the done list, looking up to `spins` times for one; how many.

    OVERRUN and IN_ORDER: see ring.reap().  The second half of a descriptor is read in one go, so
    its flags say that the id and the length beside them are there (2.8.22).  A length without the
    flag WRITE means nothing (2.8.4); but QEMU never sets it, so a length that can be is taken.
    """
    s = ptr32(st)
    shadow = ptr32(ptr64(st)[3])
    desc = ptr64(st)[0]
    done = 4 * (s[8] + 1)
    off = s[11] & 0x7FFF
    want = 0x8080 if s[11] & 0x8000 else 0
    n = 0
    bad = 0
    watch = ptr16(desc + 16 * off)
    while watch[7] & 0x8080 != want:
        spins -= 1
        if spins <= 0:
            return 0
    while True:
        word = ptr64(desc + 16 * off)[1]
        if (word >> 48) & 0x8080 != want:
            if not n or s[15] & 5 != 5:
                break
            event = ptr16(ptr64(st)[1])
            event[0] = off | (want & 0x8000)
            riscv_fence()
            if ptr16(desc + 16 * off)[7] & 0x8080 != want:
                break
            continue
        c = 4 * ((word >> 32) & 0xFFFF)
        used = word & 0xFFFFFFFF
        trusted = (word >> 48) & 2 & (s[15] ^ 2)
        if c > 4 * s[8] or not (shadow[c + 1] & _IN_FLIGHT) or (used > shadow[c + 2] and trusted):
            s[16] = c >> 2
            s[17] = used
            bad = 0x10000
            break
        if used > shadow[c + 2]:
            used = 0
        shadow[c + 3] = used
        while True:
            h = c
            if s[15] & 8:
                h = 4 * shadow[done + ((s[18] + s[19] + n) & s[8])]
            if h != c:
                shadow[h + 3] = shadow[h + 2]
            off += shadow[h + 1] & 0xFFFF
            shadow[h + 1] = (shadow[h + 1] ^ _IN_FLIGHT) | _DONE
            shadow[done + ((s[18] + s[19] + n) & s[8])] = h >> 2
            n += 1
            if off >= s[25]:
                off -= s[25]
                want ^= 0x8080
            if h == c:
                break
    riscv_fence()
    s[11] = off | want & 0x8000
    s[14] = s[14] - n
    s[19] = s[19] + n
    return n + bad


@micropython.viper
def poll(st: int, spins: int) -> int:
    """Watch the next descriptor for up to `spins` rounds; 1 as soon as there is something to reap."""
    s = ptr32(st)
    watch = ptr16(ptr64(st)[0] + 16 * (s[11] & 0x7FFF))
    want = 0x8080 if s[11] & 0x8000 else 0
    while spins > 0:
        if watch[7] & 0x8080 == want:
            return 1
        spins -= 1
    return 0


@micropython.viper
def listen(st: int, wanted: int, ahead: int) -> int:
    """Ask for interrupts or not (2.8.10); 1 when something to reap came in meanwhile.

    ahead: with EVENT_IDX, how many more descriptors to wait for before the interrupt.
    """
    s = ptr32(st)
    event = ptr16(ptr64(st)[1])
    last = s[11]
    s[15] = s[15] & -5 | wanted << 2
    if not wanted:
        event[1] = 1
    elif s[15] & 1:
        at = (last & 0x7FFF) + ahead
        wrap = last & 0x8000
        if at >= s[25]:
            at -= s[25]
            wrap ^= 0x8000
        event[0] = at | wrap
        riscv_fence()
        event[1] = 2
    else:
        event[1] = 0
    riscv_fence()
    want = 0x8080 if last & 0x8000 else 0
    return 1 if ptr16(ptr64(st)[0] + 16 * (last & 0x7FFF))[7] & 0x8080 == want else 0
