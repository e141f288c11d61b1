"""virtio-input on the strict device: what a keyboard is, its events, its lights, typed text."""

import select
import sys
from pathlib import Path

import pytest

sys.path[:0] = [p for p in [str(Path(__file__).parent)] if p not in sys.path]

import shim  # noqa: E402

shim.install()

from fake_input import ABS, KEY, LED, REL, FakeInput, bitmap  # noqa: E402
from virtio import input, keys, repl  # noqa: E402
from virtio.transport import DeviceError  # noqa: E402
from virtio_host import PACKED, SPLIT, attach, fresh  # noqa: E402


@pytest.fixture(params=["mmio-split", "mmio-packed", "pci-packed", "mmio-legacy-split"])
def make(request):
    """make(...) -> (open driver, fake device)."""
    opened = []

    def make(**options):
        transport, ring = request.param.rsplit("-", 1)
        rings = SPLIT[3] if ring == "split" else PACKED[3]
        model = FakeInput(legacy=transport == "mmio-legacy", ring_features=rings, **options)
        driver, _ = attach(model, input.Input, source=8, transport=transport)
        opened.append(driver.open())
        return driver, model

    fresh()
    yield make
    for driver in opened:
        driver.close()
    fresh()


def press(model, *codes):
    for code in codes:
        model.send((KEY, code, 1))
        model.send((KEY, code, 0))


# What it is


@pytest.mark.clauses("INPUT-01", "INPUT-02", "INPUT-03")
def test_what_the_device_says_of_itself(make):
    driver, model = make(
        windows={
            (0x10, 0): bitmap(1, 9),
            (0x11, ABS): bitmap(0, 1),
            (0x12, 0): (0).to_bytes(4, "little") + b"\xff\x7f\0\0" + bytes(12),
            (0x12, 1): (-5 & 0xFFFFFFFF).to_bytes(4, "little") + b"\5\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0",
        }
    )
    assert driver.label == "Fake Keyboard" and driver.serial == "serial-7"
    assert "'Fake Keyboard'" in repr(driver)
    assert driver.ids == (6, 0x627, 1, 2)
    assert driver.properties == ["DIRECT", "0x9"]
    assert driver.can() == ["KEY", "ABS", "LED"]
    assert driver.can("KEY") == ["KEY_ESC", "KEY_A", "KEY_CAPSLOCK", "KEY_NUMLOCK", "KEY_0x1f3"]
    assert driver.can("REL") == []
    assert driver.axis("ABS_X") == {"min": 0, "max": 32767, "fuzz": 0, "flat": 0, "res": 0}
    assert driver.axis("ABS_Y") == {"min": -5, "max": 5, "fuzz": 1, "flat": 2, "res": 3}
    assert driver.axis("ABS_Z") is None
    for question in (lambda: driver.axis("KEY_A"), lambda: driver.axis("ABS_NONE"), lambda: driver.can("KEYS")):
        with pytest.raises(ValueError):
            question()


def test_windows_that_are_not_there_are_empty(make):
    driver, model = make(windows={(1, 0): b"", (2, 0): b"", (3, 0): b"", (0x11, LED): b""})
    assert (driver.label, driver.serial, driver.ids, driver.properties) == ("", "", None, [])
    with pytest.raises(OSError, match="it has no LED_CAPSL"):
        driver.leds(capsl=True)


@pytest.mark.clauses("INPUT-03")
def test_a_window_longer_than_the_union_is_a_device_error(make):
    driver, model = make()
    model.windows[1, 0] = bytes(129)
    with pytest.raises(DeviceError, match="129 bytes of 0x1/0x0"):
        driver.query(1)


# Events


@pytest.mark.clauses("INPUT-04", "INPUT-05", "INPUT-06")
def test_events_come_in_order_and_their_buffers_go_back(make):
    driver, model = make()
    assert driver.read() is None and not driver.any()
    for n in range(1000):
        model.send((REL, 0, n), (REL, 8, -n))
        events = [driver.read(), driver.read(), driver.read()]
        assert [(e.type, e.code, e.value) for e in events[:2]] == [(REL, 0, n), (REL, 8, -n)] and events[2] is None
    assert model.stock == 64


@pytest.mark.clauses("INPUT-04")
def test_as_many_events_may_wait_as_there_are_buffers(make):
    driver, model = make()
    model.send(*((KEY, 30, n & 1) for n in range(64)), syn=False)
    assert model.stock == 0
    assert sum(1 for _ in iter(driver.read, None)) == 64
    assert model.stock == 64


def test_a_tiny_queue_will_do(make):
    driver, model = make(queues=(1, 1))
    for n in range(20):
        model.send((KEY, n, 1), syn=False)
        assert driver.read().code == n
        driver.send("LED_CAPSL", n & 1)
    assert len(model.states) == 20


def test_names_and_values(make):
    driver, model = make()
    model.send((KEY, 30, 1), (KEY, 30, 0), (KEY, 30, 2), (KEY, 0x110, 1), (REL, 8, -1), (ABS, 0, 77), (KEY, 0x2FF, 7))
    events = list(iter(driver.read, None))
    assert [repr(e) for e in events] == [
        "<KEY_A press>",
        "<KEY_A release>",
        "<KEY_A repeat>",
        "<BTN_LEFT press>",
        "<REL_WHEEL -1>",
        "<ABS_X 77>",
        "<KEY_0x2ff 7>",
    ]
    assert events[0].pressed and not events[1].pressed and events[0].name == "KEY_A"


def test_marks_between_reports_are_there_on_demand(make):
    driver, model = make()
    driver.with_syn = True
    model.send((KEY, 30, 1))
    assert [e.name for e in iter(driver.read, None)] == ["KEY_A", "SYN_REPORT"]


@pytest.mark.clauses("INPUT-08")
def test_events_of_unknown_types_are_skipped(make):
    driver, model = make()
    model.send((0x77, 1, 2), (KEY, 30, 1), (0x15, 0, 0))
    assert [e.name for e in iter(driver.read, None)] == ["KEY_A"]
    assert driver.skipped == 2 and model.stock == 64


def test_an_event_that_is_too_short_is_a_device_error(make):
    driver, model = make()
    model.send((KEY, 30, 1), syn=False, length=4)
    if driver.transport.legacy:  # such devices' lengths are not to be trusted
        assert driver.read().name == "KEY_A"
        return
    with pytest.raises(DeviceError, match="event of 4 bytes"):
        driver.read()


def test_a_callback_gets_what_the_interrupt_brings(make):
    import riscv

    driver, model = make()
    seen = []
    driver.on_event = lambda event: seen.append(event.name)
    press(model, 30)
    assert seen == []
    driver.poll()
    assert seen == ["KEY_A"] * 2
    model.on_interrupt = lambda: riscv.irqs[8](8)
    press(model, 48)
    assert seen[2:] == ["KEY_B"] * 2


def test_an_interrupt_during_the_callback_loses_nothing(make):
    driver, model = make()
    seen = []

    def callback(event):
        if event.code == 30:
            press(model, 48)
            driver.on_interrupt()  # as the scheduler may call it between two bytecodes
        seen.append(event.code)

    driver.on_event = callback
    model.send((KEY, 30, 1))
    driver.poll()
    assert seen == [30, 48, 48]


# Status


@pytest.mark.clauses("INPUT-07")
def test_lights(make):
    driver, model = make()
    driver.leds(capsl=True, numl=False)
    assert sorted(model.states) == [(LED, 0, 0), (LED, 1, 1)]
    with pytest.raises(OSError, match="it has no LED_KANA"):
        driver.leds(kana=True)
    with pytest.raises(ValueError, match="LED_NONE"):
        driver.send("LED_NONE", 1)


def test_a_device_that_reports_the_length_it_read(make):
    driver, model = make()
    model.status_length = 8
    for n in range(100):
        driver.leds(capsl=n & 1)
    assert len(model.states) == 100


def test_status_that_nobody_takes_ends_in_eagain(make):
    driver, model = make(queues=(64, 4))
    model.manual = True
    for _ in range(4):
        driver.leds(capsl=True)
    with pytest.raises(OSError, match="full"):
        driver.leds(capsl=True)


# Text


SHIFT, CTRL, ALT, CAPS, NUM = 42, 29, 56, 58, 69
CODES = (
    dict(zip("qwertyuiop", range(16, 26))) | dict(zip("asdfghjkl", range(30, 39))) | dict(zip("zxcvbnm", range(44, 51)))
)


def hold(model, code, *keys):
    model.send((KEY, code, 1))
    press(model, *keys)
    model.send((KEY, code, 0))


def test_typed_text(make):
    driver, model = make()
    text = driver.text
    assert text.read() is None and text.readinto(bytearray(3)) is None
    press(model, *(CODES[c] for c in "hello"), 57, 2, 28)
    assert text.read() == b"hello 1\r"
    hold(model, SHIFT, CODES["a"], 2, 40)
    hold(model, CTRL, CODES["a"], CODES["d"], 57)
    hold(model, ALT, CODES["f"])
    assert text.read() == b'A!"\x01\x04\0\x1bf'
    press(model, 103, 108, 106, 105, 102, 107, 111, 14, 15, 1)
    assert text.read() == b"\x1b[A\x1b[B\x1b[C\x1b[D\x1b[H\x1b[F\x1b[3~\x7f\t\x1b"
    model.send((KEY, 30, 1), (KEY, 30, 2), (KEY, 30, 2), (KEY, 30, 0), (KEY, 59, 1), (KEY, 59, 0))
    buf = bytearray(2)
    assert text.readinto(buf) == 2 and text.readinto(buf) == 1 and bytes(buf) == b"aa"
    assert text.read(0) == b"" and text.readinto(bytearray()) == 0 and text.write(b"xy") == 2


def test_locks_change_the_text_and_the_lights(make):
    driver, model = make()
    press(model, CAPS, CODES["a"], 2)
    hold(model, SHIFT, CODES["b"], 3)
    press(model, CAPS, CODES["c"], 71, 83, 98, 96, NUM, 71, 83)
    assert driver.text.read() == b"A1b@c7./\r\x1b[H\x1b[3~"
    assert model.states == [(LED, 1, 1), (LED, 0, 1), (LED, 1, 0), (LED, 0, 1), (LED, 1, 0), (LED, 0, 0)]


def test_every_printable_character_can_be_typed():
    typed = set()
    for shift in (0, 1):
        keymap = keys.Keymap()
        keymap.feed(SHIFT, shift)
        typed |= {keymap.feed(code, 1) for code in range(58) if code not in (SHIFT, CTRL, ALT, 54)}
    assert {bytes([c]) for c in range(32, 127)} <= typed


def test_names_agree_with_numbers():
    for name, number in {"A": 30, "F11": 87, "KPENTER": 96, "UP": 103, "F24": 194, "SEARCH": 217, "MEDIA": 226}.items():
        assert keys.name(KEY, number) == "KEY_" + name and keys.code("KEY_" + name) == (KEY, number)
    for kind, name, number in (
        (KEY, "BTN_TOUCH", 0x14A),
        (KEY, "BTN_GEAR_UP", 0x151),
        (ABS, "ABS_MT_TRACKING_ID", 0x39),
    ):
        assert keys.name(kind, number) == name and keys.code(name) == (kind, number)
    assert keys.name(0x33, 1) == "EV_0x33_0x1" and keys.name(KEY, 84) == "KEY_0x54"


@pytest.fixture
def terminal(make, monkeypatch):
    """The REPL on the keyboard: (driver, model, characters that stopped something)."""
    import os

    import riscv

    slots, taken = [None, None], []

    def dupterm(stream, slot=0):
        if slot >= len(slots):
            raise ValueError("slot")
        old, slots[slot] = slots[slot], stream
        return old

    def keyboard_interrupt(char):
        taken.append(char)
        return terminal_takes[0]

    terminal_takes = [True]
    monkeypatch.setattr(os, "dupterm", dupterm, raising=False)
    monkeypatch.setattr(riscv, "keyboard_interrupt", keyboard_interrupt, raising=False)
    driver, model = make()
    driver.repl()
    assert slots == [driver.text, None]
    model.on_interrupt = lambda: riscv.irqs[8](8)
    yield driver, model, taken, terminal_takes, slots
    driver.close()
    assert slots == [None, None]


def test_the_repl_gets_what_is_typed(terminal):
    driver, model, taken, _, _ = terminal
    press(model, CODES["a"])
    assert driver.text.ioctl(3, select.POLLIN | select.POLLOUT) == select.POLLIN | select.POLLOUT
    assert driver.text.read() == b"a" and taken == []
    assert driver.text.ioctl(3, select.POLLIN) == 0
    driver.close()
    assert driver.text.ioctl(3, select.POLLIN) == select.POLLNVAL


def test_ctrl_c_stops_what_runs_and_drops_what_was_typed_before(terminal):
    driver, model, taken, takes, _ = terminal
    press(model, CODES["x"])
    hold(model, CTRL, CODES["c"])
    press(model, CODES["y"])
    assert taken == [3] and driver.text.read() == b"y"
    takes[0] = False
    hold(model, CTRL, CODES["c"])
    assert driver.text.read() == b"\x03"


def test_what_comes_while_the_repl_reads_is_kept(terminal):
    driver, model, taken, _, _ = terminal
    driver.hold(True)
    press(model, CODES["a"])
    hold(model, CTRL, CODES["c"])
    assert taken == []
    driver.hold(False)
    assert taken == [3] and driver.text.read() is None


def test_repl_slots_are_shared(terminal):
    driver, model, _, _, slots = terminal
    other, third = object(), object()
    repl.attach(other)
    assert slots == [driver.text, other]
    repl.attach(other)
    with pytest.raises(OSError, match="on 2 streams"):
        repl.attach(third)
    assert slots == [driver.text, other]
    repl.detach(other)
    repl.detach(third)
    assert slots == [driver.text, None]


def test_it_opens_again(make):
    driver, model = make()
    press(model, 30)
    driver.close()
    with pytest.raises(ValueError, match="closed"):
        driver.read()
    driver.open()
    assert driver.read() is None
    press(model, 48)
    assert driver.read().name == "KEY_B"
