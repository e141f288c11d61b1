"""A text console on a GPU's frame: a stream with a VT100's most common words, and the REPL on it."""

import io

import micropython
import riscv
from micropython import const

from . import repl
from .gpu_frame import font
from .gpu_kernels import fill, glyphs, invert, printable

_ESC = const(27)
_IOCTL_POLL = const(3)
_POLL_WR = const(4)
_LONGEST = const(64)  # bytes of an escape sequence; more of it is not looked at

_COLOURS = (0x000000, 0xC02020, 0x20A020, 0xB0A020, 0x3050D0, 0xA030A0, 0x20A0A0, 0xC0C0C0)
_BRIGHT = (0x606060, 0xFF6060, 0x60FF60, 0xFFFF60, 0x6080FF, 0xFF60FF, 0x60FFFF, 0xFFFFFF)
_FOREGROUND = const(0xC0C0C0)
_BACKGROUND = const(0x000000)


class Console(io.IOBase):
    """Text of 8x8 or (tall=2) 8x16 pixels a character on a frame. write() shows it at once or,
    if the program goes on, between two bytecodes; flush() shows it now.

    It knows \\a \\b \\t \\n \\r and the sequences of cursor movement, erasing, inserting and deleting
    lines, colours, and the questions that MicroPython's line editor may ask; readinto()
    gives the answers to those.
    """

    def __init__(self, frame, tall=2):
        self.frame = frame
        self.fb = frame.fb
        self.cols = frame.width // 8
        self.rows = frame.height // (8 * tall)
        if tall < 1 or not (self.cols and self.rows):
            raise ValueError("%dx%d pixels hold no text" % (frame.width, frame.height))
        self._tall = tall
        self._high = 8 * tall
        self._font = font()
        self._answers = b""
        self._later = []
        self._busy = self._scheduled = False
        self._flush_bound = self._flush_scheduled
        self.reset()

    def __repr__(self):
        return "<console %dx%d on %r>" % (self.cols, self.rows, self.frame)

    def reset(self):
        """An empty screen, everything as in the beginning."""
        self.x = self.y = 0
        self._wrap = False  # the last column was written: the next character starts a line
        self._saved = (0, 0)
        self._sequence = None  # bytes after ESC while they come in
        self._drawn = False  # whether the cursor is inverted now
        self.cursor = True
        self._attributes()
        self._dirty = None
        self.fb.fill(_BACKGROUND)
        self._touch(0, self.rows)
        self.flush()

    def _attributes(self):
        self._fg, self._bg, self._bold, self._inverse = _FOREGROUND, _BACKGROUND, False, False

    # -- what is shown when -------------------------------------------------------------------

    def _touch(self, top, low):
        """Rows from top to before low have to be shown."""
        if self._dirty is not None:
            top, low = min(top, self._dirty[0]), max(low, self._dirty[1])
        self._dirty = (top, low)

    def flush(self):
        """Show what was written. OSError: as Frame.show()."""
        dirty, self._dirty = self._dirty, None
        if dirty is not None:
            high = self._high
            low = self.frame.height if dirty[1] == self.rows else dirty[1] * high
            self.frame.show(0, dirty[0] * high, None, low - dirty[0] * high)

    def _flush_scheduled(self, _):
        self._scheduled = False
        if self._dirty is not None and self.frame.gpu.is_open:
            self.flush()

    def _show_soon(self):
        """One flush for all that a print() writes in pieces."""
        if self._scheduled:
            return
        self._scheduled = True
        try:
            micropython.schedule(self._flush_bound, None)
        except RuntimeError:  # its queue is full
            self._scheduled = False
            self.flush()

    def _toggle(self):
        """Draw the cursor, or take it away."""
        at = self.fb.at(8 * self.x, self._high * self.y)
        invert(at, self.fb.stride, 8, self._high)
        self._drawn = not self._drawn
        self._touch(self.y, self.y + 1)

    # -- writing ------------------------------------------------------------------------------

    def write(self, buf):
        """Text, or bytes of it; how many. A callback that writes meanwhile comes after it."""
        data = bytes(buf.encode() if isinstance(buf, str) else buf)
        if self._busy:
            self._later.append(data)
            return len(data)
        self._busy = True
        try:
            if self._drawn:
                self._toggle()
            self._put(data)
            while self._later:
                self._put(self._later.pop(0))
            if self.cursor:
                self._toggle()
        finally:
            self._busy = False
        self._show_soon()
        return len(buf)

    def _put(self, data):
        at, end = 0, len(data)
        base = riscv.addr(data) if end else 0
        while at < end:
            if self._sequence is not None:
                self._collect(data[at])
                at += 1
                continue
            n = printable(data, at, end)
            if n:
                at += self._text(base + at, n)
            else:
                self._control(data[at])
                at += 1

    def _text(self, addr, n):
        """Draw up to n characters, as many as the line takes; how many."""
        if self._wrap:
            self.x = 0
            self._line_feed()
        n = min(n, self.cols - self.x)
        fg, bg = self._pair()
        at = self.fb.at(8 * self.x, self._high * self.y)
        glyphs(at, self.fb.stride, self._font, addr, n, self._tall, fg, bg)
        self._touch(self.y, self.y + 1)
        self._move(self.x + n)
        return n

    def _move(self, x):
        self._wrap = x >= self.cols
        self.x = min(x, self.cols - 1)

    def _pair(self):
        fg = self._fg
        if self._bold and fg in _COLOURS:
            fg = _BRIGHT[_COLOURS.index(fg)]
        return (self._bg, fg) if self._inverse else (fg, self._bg)

    def _control(self, c):
        if c == 10 or c == 11 or c == 12:
            self._line_feed()
        elif c == 13:
            self._move(0)
        elif c == 8:
            self._move(max(0, self.x - 1))
        elif c == 9:
            self._move(min(self.cols - 1, (self.x | 7) + 1))
        elif c == _ESC:
            self._sequence = b""
        elif c >= 0xC0:  # the first byte of a character that the font does not have
            self._text(riscv.addr(b"\x7f"), 1)

    def _line_feed(self):
        self._wrap = False
        if self.y < self.rows - 1:
            self.y += 1
        else:
            self._shift(0, 1)

    def _shift(self, top, n):
        """Move the rows below top up by n, or down if n is negative; empty ones come in."""
        high = self._high
        count = min(abs(n), self.rows - top)
        keep = self.rows - top - count
        line = self.fb.stride * high
        buf = self.fb.buf
        low, up = (top + count) * line, top * line
        if n > 0:
            buf[up : up + keep * line] = buf[low : low + keep * line]
            self._erase(0, top + keep, self.cols, count)
        else:
            buf[low : low + keep * line] = buf[up : up + keep * line]
            self._erase(0, top, self.cols, count)
        self._touch(top, self.rows)

    def _erase(self, x, y, w, h):
        """Cells in the background colour; the rest of the frame's width and height with them."""
        high = self._high
        wide = self.fb.width - 8 * x if x + w == self.cols else 8 * w
        fill(self.fb.at(8 * x, high * y), self.fb.stride, wide, high * h, self._pair()[1])
        self._touch(y, y + h)

    # -- escape sequences ---------------------------------------------------------------------

    def _collect(self, c):
        """A byte after ESC: act when the sequence is complete."""
        seen = self._sequence
        if c == _ESC:
            self._sequence = b""
        elif c < 32:
            self._control(c)
        elif not seen:
            self._sequence = bytes((c,)) if c in b"[()#" else None
            self._simple(c)
        elif seen[0] != 91:  # a character set: one byte, of no interest
            self._sequence = None
        elif 0x40 <= c <= 0x7E:
            self._sequence = None
            self._csi(seen[1:], c)
        elif len(seen) < _LONGEST:
            self._sequence = seen + bytes((c,))

    def _simple(self, c):
        if c == 55:  # 7
            self._saved = (self.x, self.y)
        elif c == 56:  # 8
            self._go(*self._saved)
        elif c == 99:  # c
            self.reset()
        elif c == 68:  # D
            self._line_feed()
        elif c == 69:  # E
            self._move(0)
            self._line_feed()

    def _go(self, x, y):
        self.y = max(0, min(y, self.rows - 1))
        self._move(max(0, min(x, self.cols - 1)))

    def _csi(self, text, final):
        if text[:1] == b"?":
            if text == b"?25":
                self.cursor = final == 104 if final in (104, 108) else self.cursor  # h, l
            return
        try:
            numbers = [int(part) if part else 0 for part in text.split(b";")]
        except ValueError:
            return  # no sequence that we know
        action = _ACTIONS.get(chr(final))
        if action is not None:
            action(self, numbers[0], numbers)

    def _lines(self, n, first):
        """IL, DL: shift the rows from the cursor on."""
        self._move(0)
        self._shift(self.y, n)

    def _erase_line(self, n, _):
        first, last = ((self.x, self.cols), (0, self.x + 1), (0, self.cols))[n if n < 3 else 2]
        self._erase(first, self.y, last - first, 1)

    def _erase_screen(self, n, _):
        if n == 0:
            self._erase_line(0, _)
            top, low = self.y + 1, self.rows
        elif n == 1:
            self._erase_line(1, _)
            top, low = 0, self.y
        else:
            top, low = 0, self.rows
        if low > top:
            self._erase(0, top, self.cols, low - top)

    def _characters(self, n, insert):
        """ICH, DCH: move the rest of the line by n cells."""
        fb, high = self.fb, self._high
        n = min(max(n, 1), self.cols - self.x)
        keep = self.cols - self.x - n
        near, far = 8 * self.x, 8 * (self.x + n)
        for y in range(self.y * high, (self.y + 1) * high):
            a, b, size = y * fb.stride + 4 * near, y * fb.stride + 4 * far, 32 * keep
            if insert:
                fb.buf[b : b + size] = fb.buf[a : a + size]
            else:
                fb.buf[a : a + size] = fb.buf[b : b + size]
        self._erase(self.x if insert else self.x + keep, self.y, n, 1)

    def _report(self, n, _):
        if n == 6:
            self._answers += b"\x1b[%d;%dR" % (self.y + 1, self.x + 1)
        elif n == 5:
            self._answers += b"\x1b[0n"

    def _colours(self, _, numbers):
        for n in numbers:
            if n == 0:
                self._attributes()
            elif n in (1, 22):
                self._bold = n == 1
            elif n in (7, 27):
                self._inverse = n == 7
            elif n == 39 or n == 49:
                self._fg, self._bg = (_FOREGROUND, self._bg) if n == 39 else (self._fg, _BACKGROUND)
            elif 30 <= n < 38 or 90 <= n < 98:
                self._fg = (_COLOURS if n < 38 else _BRIGHT)[n % 10]
            elif 40 <= n < 48 or 100 <= n < 108:
                self._bg = (_COLOURS if n < 48 else _BRIGHT)[n % 10]

    # -- as a stream --------------------------------------------------------------------------

    def readinto(self, buf):
        """The answers to questions that were written; None without one."""
        n = min(len(buf), len(self._answers))
        buf[:n] = self._answers[:n]
        self._answers = self._answers[n:]
        return n or None

    def ioctl(self, request, arg):
        if request != _IOCTL_POLL:
            return 0
        return arg & (_POLL_WR | (1 if self._answers else 0))

    def repl(self, on=True, keyboard=None):
        """Put the REPL on this console, with a virtio keyboard; or take it off.

        keyboard: an open Input; without it the first one is opened, if there is one.
        """
        if on:
            repl.attach(self)
            self._keyboard = keyboard or _find_keyboard()
        else:
            repl.detach(self)
        if self._keyboard is not None and self._keyboard.is_open:
            self._keyboard.repl(on)
        return self._keyboard

    _keyboard = None


def _at(n):
    return max(n, 1)


_ACTIONS = {
    "A": lambda c, n, _: c._go(c.x, c.y - _at(n)),
    "B": lambda c, n, _: c._go(c.x, c.y + _at(n)),
    "C": lambda c, n, _: c._go(c.x + _at(n), c.y),
    "D": lambda c, n, _: c._go(c.x - _at(n), c.y),
    "E": lambda c, n, _: c._go(0, c.y + _at(n)),
    "F": lambda c, n, _: c._go(0, c.y - _at(n)),
    "G": lambda c, n, _: c._go(_at(n) - 1, c.y),
    "d": lambda c, n, _: c._go(c.x, _at(n) - 1),
    "H": lambda c, n, all: c._go(_at(all[1] if len(all) > 1 else 1) - 1, _at(n) - 1),
    "f": lambda c, n, all: c._go(_at(all[1] if len(all) > 1 else 1) - 1, _at(n) - 1),
    "J": Console._erase_screen,
    "K": Console._erase_line,
    "L": lambda c, n, _: c._lines(-_at(n), _),
    "M": lambda c, n, _: c._lines(_at(n), _),
    "S": lambda c, n, _: c._shift(0, _at(n)),
    "T": lambda c, n, _: c._shift(0, -_at(n)),
    "@": lambda c, n, _: c._characters(n, True),
    "P": lambda c, n, _: c._characters(n, False),
    "m": Console._colours,
    "n": Console._report,
    "s": lambda c, n, _: setattr(c, "_saved", (c.x, c.y)),
    "u": lambda c, n, _: c._go(*c._saved),
}


def _find_keyboard():
    """The first virtio keyboard, open; None without one."""
    from . import discover

    for slot in discover.slots():
        if slot[0].device_id == 18:
            device = discover.device(slot)
            if not device.is_open:
                device.open()
                if "KEY_A" not in device.can("KEY"):
                    device.close()
                    continue
            if "KEY_A" in device.can("KEY"):
                return device
    return None
