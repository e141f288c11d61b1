"""Pictures of 32-bit pixels with the methods of framebuf.FrameBuffer, and what a GPU shows of them."""

import framebuf
import riscv
from micropython import const

from .gpu_kernels import copy, fill, keyed, rgb565, stamp

_GLYPH = const(8)


class Surface:
    """Pixels 0xRRGGBB in memory, drawn on as on a framebuf.FrameBuffer; all is cut to its size.

    line(), ellipse() and poly() are framebuf's own, through a mask. .buf is the memory,
    .stride its bytes a line.
    """

    def __init__(self, width, height, buf=None):
        self.width = width
        self.height = height
        self.stride = 4 * width
        self.buf = memoryview(bytearray(4 * width * height) if buf is None else buf)
        if len(self.buf) < 4 * width * height:
            raise ValueError("%d bytes for %dx%d pixels" % (len(self.buf), width, height))
        self.addr = riscv.addr(self.buf)

    def __repr__(self):
        return "<%dx%d pixels>" % (self.width, self.height)

    def clip(self, x, y, w, h):
        """The part of a rectangle that lies inside: (x, y, w, h), w or h 0 for nothing."""
        right, low = min(x + w, self.width), min(y + h, self.height)
        x, y = max(x, 0), max(y, 0)
        return x, y, max(0, right - x), max(0, low - y)

    def at(self, x, y):
        """Address of a pixel."""
        return self.addr + y * self.stride + 4 * x

    # -- as framebuf has it -------------------------------------------------------------------

    def fill(self, c):
        fill(self.addr, self.stride, self.width, self.height, c)

    def fill_rect(self, x, y, w, h, c):
        x, y, w, h = self.clip(x, y, w, h)
        if w and h:
            fill(self.at(x, y), self.stride, w, h, c)

    def pixel(self, x, y, c=None):
        """Set a pixel, or without c get it; None outside."""
        if not (0 <= x < self.width and 0 <= y < self.height):
            return None
        if c is None:
            at = y * self.stride + 4 * x
            return int.from_bytes(self.buf[at : at + 4], "little")
        fill(self.at(x, y), self.stride, 1, 1, c)

    def hline(self, x, y, w, c):
        self.fill_rect(x, y, w, 1, c)

    def vline(self, x, y, h, c):
        self.fill_rect(x, y, 1, h, c)

    def rect(self, x, y, w, h, c, f=False):
        if f:
            self.fill_rect(x, y, w, h, c)
            return
        self.hline(x, y, w, c)
        self.hline(x, y + h - 1, w, c)
        self.vline(x, y, h, c)
        self.vline(x + w - 1, y, h, c)

    def line(self, x1, y1, x2, y2, c):
        box = (min(x1, x2), min(y1, y2), abs(x1 - x2) + 1, abs(y1 - y2) + 1)
        self._masked(box, c, lambda m, x, y: m.line(x1 - x, y1 - y, x2 - x, y2 - y, 1))

    def ellipse(self, x, y, xr, yr, c, f=False, m=15):
        box = (x - xr, y - yr, 2 * xr + 1, 2 * yr + 1)
        self._masked(box, c, lambda mask, dx, dy: mask.ellipse(x - dx, y - dy, xr, yr, 1, f, m))

    def poly(self, x, y, coords, c, f=False):
        """coords: array of x and y in turn, relative to x and y."""
        xs = [coords[n] for n in range(0, len(coords) - 1, 2)]
        ys = [coords[n] for n in range(1, len(coords), 2)]
        if not ys:
            return
        box = (x + min(xs), y + min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)
        self._masked(box, c, lambda m, dx, dy: m.poly(x - dx, y - dy, coords, 1, f))

    def _masked(self, box, c, draw):
        """Let framebuf draw into one bit a pixel, and colour what it has set."""
        x, y, w, h = self.clip(*box)
        if w and h:
            stride = w + 7 >> 3
            bits = bytearray(stride * h)
            draw(framebuf.FrameBuffer(bits, w, h, framebuf.MONO_HLSB), x, y)
            stamp(self.at(x, y), self.stride, bits, stride, h, c)

    def text(self, s, x, y, c=0xFFFFFF):
        """8x8 characters of framebuf's font; what lies behind shows through."""
        self._masked((x, y, _GLYPH * len(s), _GLYPH), c, lambda m, dx, dy: m.text(s, x - dx, y - dy, 1))

    def scroll(self, xstep, ystep):
        """Move all by so many pixels; what is left behind stays, as framebuf does it."""
        w, h = self.width - abs(xstep), self.height - abs(ystep)
        if w <= 0 or h <= 0:
            return
        source = self.at(max(0, -xstep), max(0, -ystep))
        target = self.at(max(0, xstep), max(0, ystep))
        if xstep == 0:  # whole lines, which memmove() moves faster
            start, end = source - self.addr, target - self.addr
            self.buf[end : end + h * self.stride] = self.buf[start : start + h * self.stride]
        elif target > source:
            copy(target + (h - 1) * self.stride, -self.stride, source + (h - 1) * self.stride, -self.stride, -w, h)
        else:
            copy(target, self.stride, source, self.stride, w, h)

    def blit(self, source, x, y, key=-1, palette=None):
        """Copy another picture to x, y, but for pixels of the colour key.

        source: a Surface, or (buffer, width, height, format[, stride]) with framebuf's formats:
        RGB565 is converted; the numbers of others are looked up in palette, a list of colours,
        without it they are shades of grey.
        """
        if not isinstance(source, Surface):
            if isinstance(source, framebuf.FrameBuffer):
                raise TypeError("a FrameBuffer does not tell its size: (buffer, width, height, format)")
            source = _convert(source, palette)
        left, top, w, h = self.clip(x, y, source.width, source.height)
        if not (w and h):
            return
        at = source.at(left - x, top - y)
        if key < 0:
            copy(self.at(left, top), self.stride, at, source.stride, w, h)
        else:
            keyed(self.at(left, top), self.stride, at, source.stride, w * 65536 + h, key)


def _convert(source, palette):
    """A Surface of a picture in one of framebuf's formats."""
    buf, width, height, form = source[:4]
    stride = source[4] if len(source) > 4 else width
    picture = Surface(width, height)
    fb = framebuf.FrameBuffer(buf, width, height, form, stride)
    if form == framebuf.RGB565 and palette is None:
        for y in range(height):
            rgb565(picture.at(0, y), riscv.addr(buf) + 2 * stride * y, width)
        return picture
    if palette is None:
        most = {framebuf.GS2_HMSB: 3, framebuf.GS4_HMSB: 15, framebuf.GS8: 255}.get(form, 1)
        palette = [n * 255 // most * 0x010101 for n in range(most + 1)]
    for y in range(height):
        for x in range(width):
            picture.pixel(x, y, palette[fb.pixel(x, y)])
    return picture


class Frame:
    """A picture on a GPU: draw on .fb, then show() it. close() gives it back."""

    def __init__(self, gpu, width, height):
        self.gpu = gpu
        self.id, self._area = gpu.create(width, height)
        self.fb = Surface(width, height, self._area.buf)
        self.width = width
        self.height = height

    def __repr__(self):
        shown = [n for n in self.gpu.shown if self.gpu.shown[n] is self]
        on = " on display " + ", ".join(str(n) for n in sorted(shown)) if shown else ""
        state = on if self.gpu.owns(self.id, self._area) else " closed"
        return "<frame %dx%d of %s%s>" % (self.width, self.height, self.gpu.name, state)

    def _check(self):
        self.gpu.check()
        if not self.gpu.owns(self.id, self._area):
            raise ValueError("the frame is closed")

    def on(self, scanout, x=0, y=0, width=None, height=None):
        """Show it on that display, or a part of it; several displays may show the same frame."""
        self._check()
        part = (x, y, width or self.width - x, height or self.height - y)
        if self.fb.clip(*part) != part or not (part[2] > 0 and part[3] > 0):
            raise ValueError("%r: no part of %dx%d pixels" % (part, self.width, self.height))
        self.gpu.set_scanout(scanout, self.id, *part)
        self.gpu.shown[scanout] = self

    def show(self, x=0, y=0, w=None, h=None):
        """Bring what was drawn, in a rectangle or all of it, to the displays. Blocks until it is there."""
        self._check()
        x, y, w, h = self.fb.clip(x, y, self.width if w is None else w, self.height if h is None else h)
        if w and h:
            self.gpu.transfer(self.id, self.fb.stride, x, y, w, h)

    def off(self):
        """Switch off the displays that show it."""
        for scanout in list(self.gpu.shown):
            if self.gpu.shown[scanout] is self:
                self.gpu.set_scanout(scanout, 0)
                del self.gpu.shown[scanout]

    def close(self):
        """Take it off its displays and give its memory back. Harmless when closed."""
        if self.gpu.owns(self.id, self._area):
            self.off()
            self.gpu.destroy(self.id)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()


class Cursor:
    """The mouse cursor: draw 0xAARRGGBB on .fb, then show(x, y), move(x, y), hide()."""

    def __init__(self, gpu, number, area):
        self.gpu = gpu
        self.id = number
        self._area = area
        self.fb = Surface(64, 64, area.buf)
        self.scanout = 0
        self._hot = (0, 0)

    def __repr__(self):
        return "<cursor of %s>" % self.gpu.name

    def show(self, x, y, hot_x=0, hot_y=0, scanout=0):
        """Show it as it is drawn now, its pixel hot_x, hot_y at x, y of the display."""
        self._check()
        self.gpu.transfer(self.id, self.fb.stride, 0, 0, 64, 64, flush=False)
        self.gpu.point("update", scanout, x, y, self.id, hot_x, hot_y)
        self.scanout = scanout
        self._hot = (hot_x, hot_y)

    def move(self, x, y):
        self._check()
        self.gpu.point("move", self.scanout, x, y, self.id, *self._hot)

    def hide(self):
        self._check()
        self.gpu.point("update", self.scanout, 0, 0)

    def _check(self):
        self.gpu.check()
        if not self.gpu.owns(self.id, self._area):
            raise ValueError("the cursor is closed")

    def close(self):
        """Hide it and give its memory back. Harmless when closed."""
        if self.gpu.owns(self.id, self._area):
            self.hide()
            self.gpu.destroy(self.id)


def font():
    """The 8x8 glyphs of the characters 32 to 127, 8 bytes each, the leftmost pixel in bit 7."""
    data = bytearray(8 * 96)
    view = memoryview(data)
    for n in range(96):
        cell = framebuf.FrameBuffer(view[8 * n : 8 * n + 8], 8, 8, framebuf.MONO_HLSB)
        cell.text(chr(32 + n), 0, 0, 1)
    return data
