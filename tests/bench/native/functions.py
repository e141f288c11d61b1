"""What the native table measures: loops like those of a driver, the same text as bytecode, native and viper code.

The annotations mean something to viper only. Elsewhere a ptr32 is an array of 32-bit words, and `int` is a
Python integer. cases.py says with what arguments each one runs; functions.c holds the same in C.
"""
# ruff: noqa: F821


def sum8(p: ptr8, n: int) -> int:
    s = 0
    i = 0
    while i < n:
        s += p[i]
        i += 1
    return s


def sum16(p: ptr16, n: int) -> int:
    s = 0
    i = 0
    while i < n:
        s += p[i]
        i += 1
    return s


def sum32(p: ptr32, n: int) -> int:
    s = 0
    i = 0
    while i < n:
        s += p[i]
        i += 1
    return s


def sum64(p: ptr64, n: int) -> int:
    s = 0
    i = 0
    while i < n:
        s += p[i]
        i += 1
    return s


def checksum(p: ptr16, n: int) -> int:
    s = 0
    i = 0
    while i < n:
        s += p[i]
        s = (s & 0xFFFF) + (s >> 16)
        i += 1
    return s ^ 0xFFFF


def copy_for(to: ptr32, p: ptr32, n: int):
    for i in range(n):
        to[i] = p[i]


def copy_while(to: ptr32, p: ptr32, n: int):
    i = 0
    while i < n:
        to[i] = p[i]
        i += 1


def fib(n: int) -> int:
    a = 0
    b = 1
    while n > 0:
        a, b = b, (a + b) & 0x3FFFFFFF
        n -= 1
    return a


def range_sum(n: int) -> int:
    s = 0
    for i in range(n):
        s += i
    return s


def crc32(p: ptr8, table: ptr32, c: uint, n: int) -> uint:
    i = 0
    while i < n:
        c = (c >> 8) ^ table[(c ^ p[i]) & 0xFF]
        i += 1
    return c


# A split virtqueue (2.7) of 256 entries. next[i] is the free descriptor after i, next[256] the first one.


def ring_add(desc: ptr32, avail: ptr16, next: ptr16, addr: int, n: int):
    """Make n buffers of 512 bytes available to the device, which may write them."""
    idx = avail[1]
    head = next[256]
    while n > 0:
        d = 4 * head
        desc[d] = addr
        desc[d + 1] = 0
        desc[d + 2] = 512
        desc[d + 3] = 2
        avail[2 + (idx & 255)] = head
        head = next[head]
        idx += 1
        addr += 512
        n -= 1
    next[256] = head
    avail[1] = idx


def ring_add64(desc: ptr64, avail: ptr16, next: ptr16, addr: int, n: int):
    """The same with a store of 64 bits for the address, another for length and flags."""
    idx = avail[1]
    head = next[256]
    while n > 0:
        d = 2 * head
        desc[d] = addr
        desc[d + 1] = 512 | 2 << 32
        avail[2 + (idx & 255)] = head
        head = next[head]
        idx += 1
        addr += 512
        n -= 1
    next[256] = head
    avail[1] = idx


def ring_take(used: ptr16, elements: ptr32, next: ptr16, last: int) -> int:
    """Take all used elements, give their descriptors back; the bytes written in all."""
    end = used[1]
    free = next[256]
    total = 0
    while last != end:
        e = 2 * (last & 255)
        i = elements[e]
        total += elements[e + 1]
        next[i] = free
        free = i
        last = (last + 1) & 0xFFFF
    next[256] = free
    return total


# Calls of a function that does nothing, from a loop that does nothing else. elements.py makes a second set of
# these loops that stay bytecode.


def nothing():
    pass


def take_int(x: int):
    pass


def take_buffer(p: ptr8):
    pass


def loop(f, n: int):
    while n > 0:
        n -= 1


def call(f, n: int):
    while n > 0:
        f()
        n -= 1


def call_int(f, n: int):
    while n > 0:
        f(n)
        n -= 1


def call_buffer(f, b, n: int):
    while n > 0:
        f(b)
        n -= 1
