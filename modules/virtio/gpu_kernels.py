"""viper: loops over 32-bit pixels. The caller has cut everything to the memory there is."""

import micropython


@micropython.viper
def fill(at: int, stride: int, w: int, h: int, c: int):
    """Set a rectangle of pixels."""
    while h > 0:
        p = ptr32(at)
        i = 0
        while i < w:
            p[i] = c
            i += 1
        at += stride
        h -= 1


@micropython.viper
def copy(to: int, to_stride: int, at: int, stride: int, w: int, h: int):
    """Copy a rectangle, row by row; from its right end to the left if w is negative."""
    step = 1
    first = 0
    if w < 0:
        step = -1
        w = 0 - w
        first = w - 1
    while h > 0:
        p = ptr32(to)
        q = ptr32(at)
        i = first
        n = w
        while n > 0:
            p[i] = q[i]
            i += step
            n -= 1
        to += to_stride
        at += stride
        h -= 1


@micropython.viper
def keyed(to: int, to_stride: int, at: int, stride: int, size: int, key: int):
    """Copy a rectangle of size >> 16 by size & 0xffff, but for pixels that are key."""
    w = size >> 16
    h = size & 0xFFFF
    while h > 0:
        p = ptr32(to)
        q = ptr32(at)
        i = 0
        while i < w:
            c = q[i]
            if c != key:
                p[i] = c
            i += 1
        to += to_stride
        at += stride
        h -= 1


@micropython.viper
def stamp(to: int, to_stride: int, bits: ptr8, stride: int, h: int, c: int):
    """Set the pixels whose bits are set, bit 7 first, stride bytes a row."""
    at = 0
    while h > 0:
        p = ptr32(to)
        i = 0
        while i < stride:
            byte = int(bits[at + i])
            x = 8 * i
            while byte:
                if byte & 0x80:
                    p[x] = c
                byte = byte << 1 & 0xFF
                x += 1
            i += 1
        at += stride
        to += to_stride
        h -= 1


@micropython.viper
def rgb565(to: int, at: int, n: int):
    """Convert n pixels of 16 bits to 32, the high bits of each colour repeated below."""
    p = ptr32(to)
    q = ptr16(at)
    i = 0
    while i < n:
        c = int(q[i])
        r = c >> 11
        g = c >> 5 & 63
        b = c & 31
        p[i] = (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | b << 3 | b >> 2
        i += 1


@micropython.viper
def glyphs(to: int, stride: int, font: ptr8, text: ptr8, n: int, tall: int, fg: int, bg: int):
    """Draw n characters beside each other, each row of them `tall` times; others than ASCII as 127."""
    k = 0
    while k < n:
        c = int(text[k])
        c = c - 32 if 32 <= c < 127 else 95
        at = to + 32 * k
        row = 0
        while row < 8 * tall:
            p = ptr32(at)
            byte = int(font[8 * c + row // tall])
            x = 0
            while x < 8:
                p[x] = fg if byte & (0x80 >> x) else bg
                x += 1
            at += stride
            row += 1
        k += 1


@micropython.viper
def invert(to: int, stride: int, w: int, h: int):
    """Turn the colours of a rectangle round; twice is as before."""
    while h > 0:
        p = ptr32(to)
        i = 0
        while i < w:
            p[i] = p[i] ^ 0xFFFFFF
            i += 1
        to += stride
        h -= 1


@micropython.viper
def printable(text: ptr8, start: int, end: int) -> int:
    """How many characters from start on are printable ASCII."""
    i = start
    while i < end:
        c = int(text[i])
        if c < 32 or c > 126:
            return i - start
        i += 1
    return i - start
