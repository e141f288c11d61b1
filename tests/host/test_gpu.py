"""virtio-gpu on the strict device: displays, frames, cursor, errors; what is drawn, and the text console."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [p for p in [str(Path(__file__).parent)] if p not in sys.path]

import shim  # noqa: E402

shim.install()

from fake_device import mask  # noqa: E402
from fake_gpu import BAD_PARAMETER, BAD_SCANOUT, NO_MEMORY, FakeGPU, edid  # noqa: E402
from shim import framebuf  # noqa: E402
from virtio import gpu, gpu_console  # noqa: E402
from virtio.edid import Edid  # noqa: E402
from virtio.gpu_frame import Surface  # noqa: E402
from virtio.transport import DeviceError  # noqa: E402
from virtio_host import PACKED, SPLIT, attach, fresh  # noqa: E402


@pytest.fixture(params=["mmio-split", "pci-packed"])
def make(request):
    """make(...) -> (open driver, fake device)."""
    opened = []

    def make(**options):
        transport, ring = request.param.split("-")
        model = FakeGPU(ring_features=SPLIT[3] if ring == "split" else PACKED[3], **options)
        driver, _ = attach(model, gpu.GPU, source=8, transport=transport)
        opened.append(driver.open())
        return driver, model

    fresh()
    yield make
    for driver in opened:
        driver.close()
    fresh()


# Displays


@pytest.mark.clauses("GPU-05", "GPU-06")
def test_displays_and_what_they_tell(make):
    driver, model = make()
    first, second = driver.displays
    assert (first.enabled, first.size, first.x) == (True, (64, 48), 0) and not second.enabled
    assert (first.edid.name, first.edid.preferred) == ("Fake", (640, 480))
    assert second.size == (640, 480)  # from its EDID
    assert "64x48" in repr(driver) and repr(second) == "<display 1 off>"
    assert driver.features & 63 == mask(1)  # nothing but EDID


@pytest.mark.clauses("GPU-07")
def test_a_display_that_tells_nothing_has_the_default_size(make):
    driver, model = make(sizes=(None,), features=0)
    assert driver.displays[0].size == (1024, 768) and driver.displays[0].edid is None
    assert 0x10A not in model.requests


def test_an_edid_that_cannot_be_had_is_none(make):
    driver, model = make()
    model.errors[0x10A] = BAD_SCANOUT
    assert driver.edid(0) is None
    del model.errors[0x10A]
    model.edids[0] = bytes(128)
    assert driver.edid(0) is None


@pytest.mark.clauses("GPU-01", "GPU-02", "GPU-03", "GPU-04")
def test_a_changed_display_is_asked_anew(make):
    driver, model = make()
    seen = []
    driver.on_display = lambda g: seen.append(g.displays[0].size)
    model.edids[0] = edid(name="Other")
    model.resize(0, (800, 600))
    assert driver.poll_config()
    assert seen == [(800, 600)] and model.events == 0
    assert driver.displays[0].edid.name == "Other"


def test_a_changed_display_interrupts(make):
    import riscv

    driver, model = make()
    model.on_interrupt = lambda: riscv.irqs[8](8)
    model.resize(1, (32, 16))
    assert driver.displays[1].size == (32, 16) and driver.displays[1].enabled


@pytest.mark.parametrize("count", [0, 17])
def test_a_senseless_number_of_scanouts_is_a_device_error(make, count):
    driver, model = make()
    model.config[8] = count
    with pytest.raises(DeviceError, match="%d scanouts" % count):
        driver.update()


# EDID


def test_edid():
    one = Edid(edid("Screen"))
    assert (one.vendor, one.product, one.name, one.serial) == ("RHT", 0x1234, "Screen", "s7")
    assert (one.preferred, one.modes, one.size_cm) == ((640, 480), [(640, 480), (1280, 960)], (26, 15))
    assert repr(one) == "<EDID RHT 'Screen' 640x480>"


@pytest.mark.parametrize(
    "raw, text",
    [
        (b"", "0 bytes"),
        (bytes(128), "begins with"),
        (edid()[:20] + b"\7" + edid()[21:], "block 0: the checksum"),
        (edid() + b"\1" + bytes(127), "block 1: the checksum"),
    ],
)
def test_bad_edid_is_refused(raw, text):
    with pytest.raises(ValueError, match=text):
        Edid(raw)


# Frames


def test_what_is_drawn_is_seen_when_it_is_shown(make):
    driver, model = make()
    frame = driver.frame()
    assert (frame.width, frame.height) == (64, 48) and "on display 0" in repr(frame)
    frame.fb.fill_rect(10, 10, 5, 5, 0x123456)
    assert model.pixel(12, 12) == 0
    frame.show(0, 0, 12, 12)
    assert (model.pixel(11, 11), model.pixel(12, 11), model.pixel(11, 12)) == (0x123456, 0, 0)
    frame.show(11, 11, 1000, 1000)
    assert model.pixel(12, 12) == 0x123456 and model.pixel(15, 15) == 0
    before = len(model.requests)
    frame.show(64, 0, 5, 5)
    frame.show(0, 0, 0, 5)
    assert len(model.requests) == before


def test_a_frame_on_several_displays_and_parts_of_it(make):
    driver, model = make(sizes=((64, 48), (16, 16)))
    frame = driver.frame(64, 48)
    frame.fb.pixel(40, 30, 0xABCDEF)
    frame.on(1, 40, 30, 16, 16)
    frame.show()
    assert model.pixel(40, 30) == model.pixel(0, 0, scanout=1) == 0xABCDEF
    for part in ((0, 0, 65, 1), (-1, 0, 5, 5), (60, 0, 5, 5)):
        with pytest.raises(ValueError, match="no part of"):
            frame.on(1, *part)
    with pytest.raises(ValueError, match="display 2 of 2"):
        frame.on(2)
    frame.off()
    assert model.scanouts == {}


def test_another_frame_takes_the_display(make):
    driver, model = make()
    first = driver.frame()
    second = driver.frame(32, 16)
    assert model.scanouts == {0: (second.id, (0, 0, 32, 16))}
    first.close()
    assert model.scanouts and set(model.resources) == {second.id}
    second.close()
    second.close()
    assert model.scanouts == {} and model.resources == {} and "closed" in repr(second)
    with pytest.raises(ValueError, match="the frame is closed"):
        second.show()


def test_a_frame_does_not_outlive_its_device(make):
    driver, model = make()
    frame = driver.frame()
    driver.close()
    with pytest.raises(ValueError, match="gpu0 is closed"):
        frame.show()
    driver.open()
    other = driver.frame()
    assert other.id == frame.id
    frame.close()
    with pytest.raises(ValueError, match="the frame is closed"):
        frame.show()
    other.show()


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (20000, 1), (-1, 1)])
def test_a_frame_of_no_size_is_refused_before_the_device_hears_of_it(make, size):
    driver, model = make()
    before = len(model.requests)
    with pytest.raises(ValueError, match="pixels"):
        driver.frame(*size)
    assert len(model.requests) == before


# Errors


@pytest.mark.parametrize(
    "kind, answer, text",
    [
        (0x101, NO_MEMORY, "create 64x48: ERR_OUT_OF_MEMORY"),
        (0x106, BAD_PARAMETER, "attach 12288 bytes: ERR_INVALID_PARAMETER"),
        (0x103, BAD_SCANOUT, "set scanout 0: ERR_INVALID_SCANOUT_ID"),
        (0x105, 0x1200, "transfer 0,0 64x48: ERR_UNSPEC"),
        (0x104, 0x4711, "flush 0,0 64x48: answer 0x4711"),
    ],
)
def test_errors_have_names_and_leave_nothing_behind(make, kind, answer, text):
    driver, model = make()
    model.errors[kind] = answer
    with pytest.raises(OSError, match=text):
        driver.frame()
    assert model.resources == {} and driver.queues[0].in_flight == 0
    model.errors.clear()
    driver.frame().close()


def test_an_answer_that_is_too_short_is_a_device_error(make):
    driver, model = make()
    model.answer_length = 16
    with pytest.raises(DeviceError, match="create 8x8: an answer of 16 bytes"):
        driver.frame(8, 8)


def test_an_answer_with_another_fence_is_a_device_error(make):
    driver, model = make()
    frame = driver.frame()
    model.fence_shift = 1
    with pytest.raises(DeviceError, match="transfer .* fence 3, not 2"):
        frame.show()


def test_a_device_that_does_not_answer(make):
    driver, model = make()
    frame = driver.frame()
    driver.TIMEOUT_MS = 10
    model.dead = True
    with pytest.raises(OSError, match="no answer in 10 ms"):
        frame.show()
    with pytest.raises(OSError, match="no answer"):
        frame.close()
    model.dead = False
    frame.show()
    assert 0 in model.screens


def test_memory_stays_the_devices_until_it_gives_the_resource_back(make):
    driver, model = make()
    frame = driver.frame()
    model.errors[0x102] = BAD_PARAMETER
    with pytest.raises(OSError, match="unref 1: ERR_INVALID_PARAMETER"):
        frame.close()
    assert driver.owns(frame.id, frame._area)


# The cursor


@pytest.mark.clauses("GPU-09", "GPU-10")
def test_cursor(make):
    driver, model = make()
    cursor = driver.cursor()
    cursor.fb.fill_rect(0, 0, 8, 8, 0xFF00FF00)
    cursor.show(5, 6, hot_x=1, hot_y=2)
    assert model.cursor == (0, 5, 6, cursor.id, 1, 2)
    assert model.resources[cursor.id].pixels[:4] == b"\x00\xff\x00\xff" and model.resources[cursor.id].form == 1
    cursor.move(7, 8)
    assert model.cursor == (0, 7, 8, cursor.id, 1, 2)
    cursor.hide()
    assert model.cursor[3] == 0
    cursor.show(1, 1, scanout=1)
    cursor.close()
    assert model.cursor[:4] == (1, 0, 0, 0) and model.resources == {}
    with pytest.raises(ValueError, match="the cursor is closed"):
        cursor.move(1, 1)
    with pytest.raises(ValueError, match="display 2 of 2"):
        driver.cursor().show(0, 0, scanout=2)


# Drawing; line(), ellipse(), poly() and the font are compared with framebuf's in the guest


def rows(surface):
    """Pixels as one letter each: . for 0, else the low digit."""
    return ["".join("%x" % (surface.pixel(x, y) & 15) for x in range(surface.width)) for y in range(surface.height)]


@pytest.fixture
def surface():
    fresh()
    yield Surface(6, 4)
    fresh()


def test_shapes_are_cut_to_the_surface(surface):
    surface.rect(-1, -1, 4, 3, 1)
    surface.hline(3, 3, 100, 2)
    surface.vline(5, -5, 100, 3)
    surface.fill_rect(10, 10, 5, 5, 4)
    surface.fill_rect(0, 0, -1, 5, 4)
    surface.rect(0, 2, 2, 2, 5, True)
    surface.pixel(100, 0, 6)
    assert surface.pixel(-1, 0) is None and surface.pixel(0, 4) is None
    assert rows(surface) == ["001003", "111003", "550003", "550223"]


@pytest.mark.parametrize(
    "step", [(1, 0), (-1, 0), (0, 1), (0, -1), (2, 1), (-2, -1), (1, -1), (-1, 2), (6, 0), (0, -9)]
)
def test_scroll_moves_and_leaves_the_rest(surface, step):
    for n in range(24):
        surface.pixel(n % 6, n // 6, n)
    before = {(x, y): surface.pixel(x, y) for x in range(6) for y in range(4)}
    surface.scroll(*step)
    for (x, y), old in before.items():
        assert surface.pixel(x, y) == before.get((x - step[0], y - step[1]), old)


def test_blit(surface):
    small = Surface(3, 2)
    for n in range(6):
        small.pixel(n % 3, n // 3, n + 1)
    surface.blit(small, 4, 0)
    surface.blit(small, -1, 3)
    surface.blit(small, 0, 0, 2)
    surface.blit(small, 6, 0)
    assert rows(surface) == ["103012", "456045", "000000", "230000"]
    surface.fill(0)
    surface.blit((bytes([0, 1, 2, 3]), 2, 2, framebuf.GS8), 0, 0, palette=[7, 8, 9, 10])
    surface.blit((b"\x80", 2, 1, framebuf.MONO_HLSB), 4, 0)
    assert rows(surface)[:2] == ["7800f0", "9a0000"]
    surface.blit((b"\xff\xff\x00\xf8\xe0\x07\x1f\x00", 4, 1, framebuf.RGB565), 0, 2)
    assert [surface.pixel(x, 2) for x in range(4)] == [0xFFFFFF, 0xFF0000, 0x00FF00, 0x0000FF]
    with pytest.raises(TypeError, match="does not tell its size"):
        surface.blit(framebuf.FrameBuffer(bytearray(4), 2, 2, framebuf.GS8), 0, 0)


def test_text_lets_what_is_behind_show_through(surface):
    big = Surface(20, 10)
    big.fill(5)
    big.text("A", 2, 1, 9)
    assert rows(big)[1] == "55595555595555555555"  # 0x41
    assert rows(big)[2] == "55959999955555555555"  # 0xbe
    with pytest.raises(ValueError, match="3 bytes for 1x1"):
        Surface(1, 1, bytearray(3))


# The console


@pytest.fixture
def screen(make, monkeypatch):
    """screen(cols, rows) -> (console, text()): text() is what the display shows, read from its pixels."""

    def screen(cols=10, rows=4, **options):
        driver, model = make(sizes=((8 * cols + 3, 8 * rows + 5),))
        console = gpu_console.Console(driver.frame(), tall=1, **options)
        console.cursor = False

        def text():
            console.flush()
            lines = []
            for y in range(rows):
                line = ""
                for x in range(cols):
                    cell = [[model.pixel(8 * x + i, 8 * y + j) for i in range(8)] for j in range(8)]
                    lit = [sum((p not in BACKGROUNDS) << 7 - i for i, p in enumerate(row)) for row in cell]
                    line += next(c for c in CHARACTERS if list(framebuf.glyph(c)) == lit)
                lines.append(line.rstrip())
            return lines

        return console, text, model

    return screen


BACKGROUNDS = {0, gpu_console._COLOURS[4]}
CHARACTERS = [chr(c) for c in range(32, 128)]


def test_console_lines_and_scrolling(screen):
    console, text, model = screen()
    assert (console.cols, console.rows) == (10, 4)
    assert console.write("one\r\ntwo\r\n") == 10
    assert text() == ["one", "two", "", ""]
    console.write(b"0123456789abc\r\nfour\r\nfive")
    assert text() == ["0123456789", "abc", "four", "five"]
    console.write("\r\n" * 3)
    assert text() == ["five", "", "", ""]


def test_console_a_full_line_wraps_only_when_more_comes(screen):
    console, text, _ = screen()
    console.write("0123456789\r\nnext")
    assert text()[:2] == ["0123456789", "next"]


@pytest.mark.parametrize(
    "written, shown",
    [
        ("abc\bX", ["abX"]),
        ("abc\b\x1b[K", ["ab"]),
        ("abcdef\x1b[4D\x1b[K", ["ab"]),
        ("abcdef\x1b[4DX\x1b[CY", ["abXdYf"]),
        ("abcdef\x1b[3D\x1b[1K", ["    ef"]),
        ("abcdef\x1b[2KX", ["      X"]),
        ("a\tb", ["a       b"]),
        ("a\x1b[3;5Hb\x1b[Hc\x1b[99;99Hd", ["c", "", "    b", "         d"]),
        ("a\x1b[2Bb\x1b[1Ac\x1b[3Gd\x1b[4de", ["a", "  d", " b", "   e"]),
        ("1\r\n2\r\n3\r\n4\x1b[2;1H\x1b[J", ["1"]),
        ("1\r\n2\r\n3\r\n4\x1b[2;1H\x1b[1J", ["", "", "3", "4"]),
        ("1\r\n2\r\n3\x1b[2J", []),
        ("1\r\n2\r\n3\r\n4\x1b[2;1H\x1b[LX", ["1", "X", "2", "3"]),
        ("1\r\n2\r\n3\r\n4\x1b[2;1H\x1b[M", ["1", "3", "4"]),
        ("1\r\n2\r\n3\r\n4\x1b[9M\x1b[2;1H\x1b[9L", ["1"]),
        ("1\r\n2\x1b[S", ["2"]),
        ("1\r\n2\x1b[T", ["", "1", "2"]),
        ("abcdef\x1b[4D\x1b[2P", ["abef"]),
        ("abcdef\x1b[4D\x1b[2@XY", ["abXYcdef"]),
        ("ab\x1b[s\x1b[3;3Hx\x1b[uc\x1b7\r\nq\x1b8d", ["abcd", "q", "  x"]),
        ("a\x1b[31mb\x1b[1;4mc\x1b[0md", ["abcd"]),
        ("a\x1b(Bb\x1b[?25hc\x1b[?25l\x1b[?1049hd\x1b[!pe\x1b=f", ["abcdef"]),
        ("a\x1b[1;2xb\x1b[c", ["ab"]),
        ("a\x1bcb\x1b[?25l", ["b"]),
        ("a\x1b[3\x1b[2Cb", ["a  b"]),
        ("a\x1b[" + "1" * 66 + "mb", ["ab"]),
        ("gr\xfc\xdfe", ["gr\x7f\x7fe"]),
        ("\x1b[9A\x1b[9DX\x1b[9B\x1b[9CY\x07", ["X", "", "", "         Y"]),
    ],
)
def test_console_sequences(screen, written, shown):
    console, text, _ = screen()
    console.write(written)
    assert text() == shown + [""] * (4 - len(shown))


def test_console_sequences_in_pieces(screen):
    console, text, _ = screen()
    for byte in b"abcdef\x1b[4D\x1b[K!":
        console.write(bytes((byte,)))
    assert text()[0] == "ab!"


def test_console_colours(screen):
    console, text, model = screen()
    console.write("\x1b[31ma\x1b[1mb\x1b[44mc\x1b[0;7md\x1b[97me")
    console.flush()
    text_rows = [[model.pixel(8 * n + i, 0) for i in range(8)] for n in range(4)]
    dark, bright, blue = gpu_console._COLOURS[1], gpu_console._BRIGHT[1], gpu_console._COLOURS[4]
    assert set(text_rows[0]) == {0, dark}
    assert set(text_rows[1]) == {0, bright}
    assert set(text_rows[2]) == {blue, bright}
    assert [p == 0 for p in text_rows[3]] == [bool(ord("d") >> 7 - i & 1) for i in range(8)]


def test_console_shows_its_cursor_and_takes_it_away(screen):
    console, text, model = screen()
    console.cursor = True
    console.write("ab")
    console.flush()
    assert {model.pixel(16 + i, j) for i in range(8) for j in range(8)} == {0xFFFFFF}
    console.write("\x1b[?25l")
    assert text()[0] == "ab"
    console.write("\x1b[?25h\r")
    console.flush()
    assert model.pixel(0, 0) == 0xFFFFFF  # inverted: the first bit of "a" is not set


def test_console_flushes_the_lines_that_changed_and_no_more(screen):
    console, text, model = screen()
    text()
    flushed = []
    console.frame.gpu.transfer = lambda number, stride, *rect: flushed.append(rect)
    console.write("x\x1b[3;1Hy")
    console.flush()
    console.flush()
    assert flushed == [(0, 0, 83, 24)]
    console.write("z")
    console.flush()
    assert flushed[1:] == [(0, 16, 83, 8)]


def test_console_answers_questions(screen):
    console, text, _ = screen()
    buf = bytearray(10)
    assert console.readinto(buf) is None and console.ioctl(3, 5) == 4
    console.write("ab\r\ncd\x1b[6n\x1b[5n")
    assert console.ioctl(3, 5) == 5
    assert console.readinto(buf) == 10 and console.readinto(buf) is None
    assert bytes(buf) == b"\x1b[2;3R\x1b[0n"


def test_console_a_callback_that_writes_comes_afterwards(screen):
    console, text, _ = screen()
    control = console._control

    def interrupted(c):
        if c == 13:
            console.write("!")
        control(c)

    console._control = interrupted
    console.write("ab\r\nc")
    assert text()[:2] == ["ab", "c!"]


def test_console_needs_room():
    fresh()
    with pytest.raises(ValueError, match="4x4 pixels hold no text"):
        gpu_console.Console(type("F", (), {"fb": None, "width": 4, "height": 4})())


def test_console_repl_takes_a_keyboard_along(screen, monkeypatch):
    import os

    from fake_input import FakeInput
    from virtio import discover, input

    slots = [None, None, None]

    def dupterm(stream, slot=0):
        if slot >= len(slots):
            raise ValueError
        old, slots[slot] = slots[slot], stream
        return old

    monkeypatch.setattr(os, "dupterm", dupterm, raising=False)
    console, text, _ = screen()
    kbd, _ = attach(FakeInput(), input.Input, base=0x1000_7000, source=7)
    monkeypatch.setattr(discover, "_slots", [[kbd.transport, "input0", kbd]])
    assert console.repl() is kbd and kbd.is_open
    assert slots == [console, kbd.text, None]
    console.repl(False)
    assert slots == [None] * 3
    kbd.close()
    monkeypatch.setattr(discover, "_slots", [])
    assert console.repl() is None and slots == [console, None, None]
    console.repl(False)
