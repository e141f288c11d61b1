"""virtio-gpu in QEMU: what is drawn is what QEMU shows, by screenshots; cursor, modes, text console, REPL."""

import re
import time

import bus
import pytest
from vnc import Viewer

# What is traced, and what QEMU says of the mistakes that a test makes on purpose.
ALLOWED = ["^virtio_gpu_update_cursor ", "illegal resource specified 77", "guest format 99", r"fb 8 8($|, rect )"]


@pytest.fixture(scope="module", params=bus.variants("virtio-gpu", full=False), ids=str)
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def vnc_path(tmp_path_factory, variant):
    return tmp_path_factory.mktemp("vnc") / "socket"


@pytest.fixture(scope="module")
def machine(variant, vnc_path):
    gpu = variant.device("virtio-gpu") + ",id=gpu,max_outputs=2,xres=320,yres=240"
    devices = [gpu, variant.device("virtio-keyboard")]
    extra = ["-vnc", f"unix:{vnc_path}", "-trace", "virtio_gpu_update_cursor"]
    return variant.machine(devices=devices, extra=extra, allow=ALLOWED)


class Screen:
    """A screenshot."""

    def __init__(self, data):
        magic, size, depth, self.pixels = data.split(b"\n", 3)
        assert (magic, depth) == (b"P6", b"255")
        self.size = self.width, self.height = tuple(map(int, size.split()))

    def pixel(self, x, y):
        at = 3 * (y * self.width + x)
        return int.from_bytes(self.pixels[at : at + 3])

    def colours(self, x, y, w, h):
        return {self.pixel(i, j) for j in range(y, y + h) for i in range(x, x + w)}


@pytest.fixture
def shot(guest, tmp_path):
    """shot(head): a screenshot of that display."""

    def shot(head=0):
        path = tmp_path / "screen.ppm"
        guest.qmp("screendump", filename=str(path), device="gpu", head=head)
        return Screen(path.read_bytes())

    return shot


@pytest.fixture
def gpu(guest):
    guest.exec("import virtio, time\ng = virtio.open('gpu0')")
    return guest


# Displays and frames


@pytest.mark.clauses("GPU-05", "GPU-06")
def test_displays(gpu):
    assert gpu.eval("[(d.size, d.enabled) for d in g.displays]") == [((320, 240), True), ((1280, 800), False)]
    assert gpu.eval("(g.displays[0].edid.vendor, g.displays[0].edid.name, g.displays[0].edid.preferred)") == (
        "RHT",
        "QEMU Monitor",
        (320, 240),
    )
    assert gpu.eval("(1024, 768) in g.displays[0].edid.modes or len(g.displays[0].edid.modes) > 3") is True


def test_shapes_are_shown_exactly(gpu, shot):
    gpu.exec(
        "f = g.frame()\nb = f.fb\n"
        "b.fill(0x102030)\n"
        "b.fill_rect(10, 20, 30, 40, 0xFF0000)\n"
        "b.rect(100, 100, 50, 20, 0x00FF00)\n"
        "b.hline(0, 239, 320, 0xABCDEF)\n"
        "b.line(200, 10, 210, 20, 0xFFFFFF)\n"
        "b.pixel(319, 0, 0x0000FF)\n"
        "f.show()\n"
        "b.fill(0x777777)\n"  # drawn, and not shown
        "f.show(0, 0, 2, 1)"
    )
    screen = shot()
    expected = {(x, y): 0x102030 for x in range(320) for y in range(240)}
    expected.update({(x, y): 0xFF0000 for x in range(10, 40) for y in range(20, 60)})
    expected.update(
        {(x, y): 0x00FF00 for x in range(100, 150) for y in range(100, 120) if x in (100, 149) or y in (100, 119)}
    )
    expected.update({(x, 239): 0xABCDEF for x in range(320)})
    expected.update({(200 + n, 10 + n): 0xFFFFFF for n in range(11)})
    expected[319, 0] = 0x0000FF
    expected[0, 0] = expected[1, 0] = 0x777777
    assert screen.size == (320, 240)
    wrong = {at: hex(screen.pixel(*at)) for at, colour in expected.items() if screen.pixel(*at) != colour}
    assert wrong == {}


def test_modes_change_and_frames_give_their_memory_back(gpu, shot):
    gpu.exec("import gc\nf = g.frame(64, 32)\nf.fb.fill(0x112233)\nf.show()")
    assert shot().size == (64, 32) and shot().colours(0, 0, 64, 32) == {0x112233}
    gpu.exec("h = g.frame(640, 480)\nh.fb.fill(0x445566)\nh.show()\nf.close()")
    assert shot().size == (640, 480) and shot().colours(0, 0, 640, 480) == {0x445566}
    gpu.exec("for n in range(12):\n    with g.frame(800, 600) as f: pass")
    assert gpu.eval("len(g._memory)") == 1


def test_two_displays_with_their_own_and_with_one_frame(gpu, shot):
    gpu.exec(
        "a = g.frame(64, 48)\nb = g.frame(80, 60, scanout=1)\na.fb.fill(0xA0)\nb.fb.fill(0xB0)\na.show()\nb.show()"
    )
    assert [(shot(n).size, shot(n).pixel(5, 5)) for n in (0, 1)] == [((64, 48), 0xA0), ((80, 60), 0xB0)]
    gpu.exec("b.on(0, 10, 10, 40, 30)\nb.fb.pixel(10, 10, 0xC0)\nb.show()")
    assert (shot(0).size, shot(0).pixel(0, 0), shot(1).pixel(10, 10)) == ((40, 30), 0xC0, 0xC0)


def test_what_the_host_refuses_has_a_name(gpu):
    gpu.exec("def fails(f):\n    try: f()\n    except OSError as e: return e.args[1]")
    assert gpu.eval("fails(lambda: g.destroy(77))") == "gpu0: unref 77: ERR_INVALID_RESOURCE_ID"
    assert gpu.eval("fails(lambda: g.create(5, 5, form=99))") == "gpu0: create 5x5: ERR_INVALID_PARAMETER"
    assert (
        gpu.eval("fails(lambda: g.frame(8, 8))") == "gpu0: set scanout 0: ERR_INVALID_PARAMETER"
    )  # QEMU: at least 16x16


def test_it_opens_again_after_close_and_soft_reset(gpu, shot):
    gpu.exec("g.frame()\ng.close()\nf = g.open().frame(16, 16)\nf.fb.fill(5)\nf.show()")
    assert shot().pixel(1, 1) == 5
    gpu.soft_reset()
    gpu.exec("import virtio\nf = virtio.open('gpu0').frame(16, 16)\nf.fb.fill(6)\nf.show()")
    assert shot().pixel(1, 1) == 6


# Drawing, beside framebuf's own


DRAW = """
import framebuf, random
from array import array
from virtio.gpu_frame import Surface
random.seed(%d)
W, H = 61, 43
data = bytearray(2 * W * H)
theirs = framebuf.FrameBuffer(data, W, H, framebuf.RGB565)
ours = Surface(W, H)
r = random.randint
def p(): return r(-20, W + 20), r(-20, H + 20)
def call(name, *args):
    getattr(theirs, name)(*args)
    getattr(ours, name)(*args)
def same(what):
    for y in range(H):
        for x in range(W):
            if theirs.pixel(x, y) != ours.pixel(x, y):
                raise ValueError("%%s differs at %%d,%%d" %% (what, x, y))
shapes = {
    "fill_rect": lambda c: p() + (r(-3, 40), r(-3, 40), c),
    "rect": lambda c: p() + (r(0, 40), r(0, 40), c, r(0, 1)),
    "hline": lambda c: p() + (r(0, 90), c),
    "vline": lambda c: p() + (r(0, 90), c),
    "line": lambda c: p() + p() + (c,),
    "ellipse": lambda c: p() + (r(0, 30), r(0, 30), c, r(0, 1), r(0, 15)),
    "poly": lambda c: p() + (array("h", [r(-20, 40) for _ in range(2 * r(1, 6))]), c, r(0, 1)),
    "text": lambda c: ("Ag$%%!~"[:r(0, 6)],) + p() + (c,),
    "pixel": lambda c: p() + (c,),
    "scroll": lambda c: (r(-9, 9), r(-9, 9)),
}
for turn in range(12):
    for name in shapes:
        args = shapes[name](r(0, 65535))
        call(name, *args)
        if turn > 8: same("%%s%%r" %% (name, args))
    same("turn %%d" %% turn)
"""


@pytest.mark.parametrize("seed", range(3))
def test_drawing_agrees_with_framebuf(gpu, variant, seed):
    if str(variant) != "mmio-split":
        return  # the same code wherever the device sits
    gpu.exec(DRAW % seed, timeout=60)


# Cursor and changes by the host


@pytest.mark.clauses("GPU-09", "GPU-10")
def test_the_host_gets_the_cursor(gpu, vnc_path):
    gpu.exec("f = g.frame()")
    with Viewer(vnc_path) as viewer:
        gpu.exec("c = g.cursor()\nc.fb.fill_rect(0, 0, 4, 4, 0xFF112233)\nc.show(30, 40, 1, 2)")
        viewer.wait(lambda: viewer.cursor and viewer.cursor[:4] == (64, 64, 1, 2))
    pixels = viewer.cursor[4]
    shown = [pixels[4 * (64 * y + x) :][:4] for y in (0, 3, 4) for x in (0, 3, 4)]
    colour, clear = b"\x33\x22\x11\xff", bytes(4)
    assert shown == [colour, colour, clear, colour, colour, clear, clear, clear, clear]
    gpu.exec("c.move(50, 60)\nc.hide()")
    lines = re.findall(r"virtio_gpu_update_cursor (.*)", gpu._log.read_text())[-3:]
    number = gpu.eval("c.id")
    assert lines == [
        f"scanout 0, x 30, y 40, update, res 0x{number:x}",
        f"scanout 0, x 50, y 60, move, res 0x{number:x}",
        "scanout 0, x 0, y 0, update, res 0x0",
    ]


@pytest.mark.clauses("GPU-01", "GPU-02", "GPU-03", "GPU-04")
def test_a_window_that_changes_its_size_is_a_changed_display(gpu, vnc_path):
    gpu.exec("seen = []\ng.on_display = lambda g: seen.append(g.displays[0].size)\nf = g.frame()")
    with Viewer(vnc_path) as viewer:
        viewer.resize(500, 400)
        gpu.exec(
            "end = time.ticks_add(time.ticks_ms(), 5000)\n"
            "while not seen and time.ticks_diff(end, time.ticks_ms()) > 0: pass"
        )
        assert gpu.eval("(seen[-1], g.config_u32(0), g.displays[0].edid.preferred)") == ((500, 400), 0, (500, 400))
        gpu.exec("f.close()\nf = g.frame()")
        viewer.wait(lambda: viewer.size == (500, 400))
        viewer.resize(320, 240)
        gpu.exec("while g.displays[0].size != (320, 240): pass")


# The text console


@pytest.fixture
def glyphs(gpu):
    """The characters by their 8x8 bitmaps, from the font of framebuf itself."""
    gpu.exec(
        "import framebuf\n"
        "def glyph(n):\n"
        "    b = bytearray(8)\n"
        "    framebuf.FrameBuffer(b, 8, 8, framebuf.MONO_HLSB).text(chr(n), 0, 0, 1)\n"
        "    return bytes(b)\n"
    )
    found = {}
    for n, bits in enumerate(gpu.eval("[glyph(n) for n in range(32, 127)]")):
        found.setdefault(bits, chr(32 + n))
    return found


def read_text(screen, glyphs, tall=2, background=0):
    """The lines of a text console; an inverted cell is the cursor, shown as _."""
    lines = []
    for top in range(0, screen.height // (8 * tall) * 8 * tall, 8 * tall):
        line = ""
        for left in range(0, screen.width // 8 * 8, 8):
            rows = [[screen.pixel(left + x, top + tall * y) != background for x in range(8)] for y in range(8)]
            bits = bytes(sum(on << 7 - x for x, on in enumerate(row)) for row in rows)
            line += "_" if all(map(all, rows)) else glyphs.get(bits, "?")
        lines.append(line.rstrip())
    while lines and not lines[-1]:
        lines.pop()
    return lines


def test_text_is_read_back_from_the_screen(gpu, shot, glyphs):
    gpu.exec(
        "c = g.console()\n"
        "for n in range(20): c.write('line %d of 20\\r\\n' % n)\n"
        "c.write('{~} \\x1b[32mend')\n"
        "c.flush()"
    )
    assert gpu.eval("(c.cols, c.rows)") == (40, 15)
    assert read_text(shot(), glyphs) == [f"line {n} of 20" for n in range(6, 20)] + ["{~} end_"]
    assert shot().colours(4 * 8, 14 * 16, 3 * 8, 16) == {0, 0x20A020}


@pytest.fixture
def terminal(gpu, shot, glyphs):
    """The REPL on the console and the virtio keyboard: (press(keys), text(last lines), guest)."""

    def press(*keys):
        for down in (True, False):
            events = [
                {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": key}}}
                for key in (keys if down else reversed(keys))
            ]
            gpu.qmp("input-send-event", events=events)

    def text(*wanted):
        """The last lines of the screen, as soon as they are these: it is written after the UART."""
        deadline = time.monotonic() + 10
        while (lines := read_text(shot(), glyphs)[-len(wanted) :]) != list(wanted) and time.monotonic() < deadline:
            pass
        return lines

    gpu.exec("c = g.console()\nkbd = c.repl()")
    gpu.leave_raw()
    yield press, text, gpu
    gpu.enter_raw()
    gpu.exec("c.repl(False)")


def test_the_repl_on_keyboard_and_screen(terminal):
    press, text, guest = terminal
    for keys in (["1"], ["shift", "equal"], ["3"], ["left"], ["2"], ["right"], ["ret"]):
        press(*keys)
    guest.expect_text("\r\n24\r\n>>> ")
    for key in "ab":
        press(key)
    press("backspace")
    guest.expect(r"\x08\x1b\[K$")
    lines = [">>> 1+23", "24", ">>> a_"]
    assert text(*lines) == lines


def test_ctrl_c_on_the_keyboard_and_its_traceback_on_the_screen(terminal):
    press, text, guest = terminal
    guest.write("print('go'); import time; time.sleep(1000)\r")
    guest.expect_text("go\r\n")
    press("ctrl", "c")
    guest.expect(r"KeyboardInterrupt: *\r\n>>> $")
    lines = ['  File "<stdin>", line 1, in <module>', "KeyboardInterrupt:", ">>> _"]
    assert text(*lines) == lines


def test_output_is_on_the_screen_while_the_program_goes_on(terminal):
    press, text, guest = terminal
    guest.write("print('wor' + 'king'); exec('while True: pass')\r")
    guest.expect_text("working\r\n")
    assert text("working", "_") == ["working", "_"]
    guest.write("\x03")
    guest.expect(r"KeyboardInterrupt: *\r\n>>> $")
