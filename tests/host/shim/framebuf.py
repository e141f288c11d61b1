"""framebuf as far as host tests need it: bitmaps, and a font in which a character shows its own number."""

MONO_VLSB, RGB565, GS4_HMSB, MONO_HLSB, MONO_HMSB, GS2_HMSB, GS8 = range(7)


class FrameBuffer:
    """Formats MONO_HLSB, GS8 and RGB565; pixel() and text()."""

    def __init__(self, buf, width, height, form, stride=None):
        self.buf, self.width, self.height, self.form = memoryview(buf), width, height, form
        self.stride = stride or width

    def pixel(self, x, y, c=None):
        if not (0 <= x < self.width and 0 <= y < self.height):
            return None
        if self.form == MONO_HLSB:
            at, bit = (self.stride + 7) // 8 * y + x // 8, 0x80 >> x % 8
            if c is None:
                return 1 if self.buf[at] & bit else 0
            self.buf[at] = self.buf[at] | bit if c else self.buf[at] & ~bit
        elif self.form == GS8:
            if c is None:
                return self.buf[self.stride * y + x]
            self.buf[self.stride * y + x] = c

    def text(self, s, x, y, c=1):
        for n, char in enumerate(s):
            for row in range(8):
                for bit in range(8):
                    if glyph(char)[row] >> 7 - bit & 1:
                        self.pixel(x + 8 * n + bit, y + row, c)


def glyph(char):
    """Eight rows: the number of the character, then its complement, in turn; a blank is empty."""
    return bytes(8) if char == " " else bytes([ord(char), ord(char) ^ 0xFF] * 4)
