"""virtio-input in QEMU: keyboard, mouse and tablet, moved through QMP; the REPL typed on the keyboard."""

import bus
import pytest
from vnc import Viewer

VARIANTS = [bus.Variant("mmio-legacy"), *bus.variants("virtio-keyboard", full=False)]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def vnc_path(tmp_path_factory, variant):
    return tmp_path_factory.mktemp("vnc") / "socket"


@pytest.fixture(scope="module")
def machine(variant, vnc_path):
    devices = [variant.device(f"virtio-{kind}", serial=kind[0] + "7") for kind in ("keyboard", "mouse", "tablet")]
    return variant.machine(devices=devices, extra=["-vnc", f"unix:{vnc_path}"])


@pytest.fixture
def inputs(guest):
    """The guest with kbd, mouse and tablet open, and names(d, n): n events as (name, value)."""
    guest.exec(
        "import virtio, time\n"
        "kbd, mouse, tablet = (virtio.open('input%d' % n) for n in range(3))\n"
        "def events(d, n):\n"
        "    found = []\n"
        "    end = time.ticks_add(time.ticks_ms(), 5000)\n"
        "    while len(found) < n and time.ticks_diff(end, time.ticks_ms()) > 0:\n"
        "        e = d.read()\n"
        "        if e: found.append((e.name, e.value))\n"
        "    return found\n"
    )
    return guest


def send(guest, *events):
    """('key', 'a', True), ('rel', 'x', 3), ('abs', 'x', 100), ('btn', 'left', True), as one report."""
    words = []
    for kind, what, value in events:
        if kind == "key":
            data = {"down": value, "key": {"type": "qcode", "data": what}}
        elif kind == "btn":
            data = {"down": value, "button": what}
        else:
            data = {"axis": what, "value": value}
        words.append({"type": kind, "data": data})
    guest.qmp("input-send-event", events=words)


def press(guest, *keys):
    """Press the keys, let them go in reverse order."""
    for key in keys:
        send(guest, ("key", key, True))
    for key in reversed(keys):
        send(guest, ("key", key, False))


@pytest.mark.clauses("INPUT-01", "INPUT-02", "INPUT-03")
def test_what_they_say_of_themselves(inputs):
    labels = ["QEMU Virtio Keyboard", "QEMU Virtio Mouse", "QEMU Virtio Tablet"]
    assert inputs.eval("[d.label for d in (kbd, mouse, tablet)]") == labels
    assert inputs.eval("[d.serial for d in (kbd, mouse, tablet)]") == ["k7", "m7", "t7"]
    assert inputs.eval("kbd.ids[:2]") == (6, 0x627)
    assert inputs.eval("kbd.can()") == ["KEY", "LED", "REP"]
    assert inputs.eval("[k in kbd.can('KEY') for k in ('KEY_ESC', 'KEY_A', 'KEY_KPENTER', 'BTN_LEFT')]") == [
        True
    ] * 3 + [False]
    assert inputs.eval("[k for k in kbd.can('KEY') if '0x' in k]") == []
    assert inputs.eval("kbd.can('LED')") == ["LED_NUML", "LED_CAPSL", "LED_SCROLLL"]
    assert inputs.eval("mouse.can('REL')") == ["REL_X", "REL_Y", "REL_WHEEL"]
    assert inputs.eval("'BTN_LEFT' in mouse.can('KEY')") is True
    assert inputs.eval("tablet.can('ABS')") == ["ABS_X", "ABS_Y"]
    assert inputs.eval("[tablet.axis('ABS_X')[k] for k in ('min', 'max')]") == [0, 0x7FFF]
    assert inputs.eval("(tablet.axis('ABS_Z'), mouse.axis('ABS_X'))") == (None, None)


@pytest.mark.clauses("INPUT-04", "INPUT-05", "INPUT-06")
def test_keys(inputs):
    press(inputs, "shift", "a")
    press(inputs, "kp_enter")
    assert inputs.eval("events(kbd, 6)") == [
        ("KEY_LEFTSHIFT", 1),
        ("KEY_A", 1),
        ("KEY_A", 0),
        ("KEY_LEFTSHIFT", 0),
        ("KEY_KPENTER", 1),
        ("KEY_KPENTER", 0),
    ]
    assert inputs.exec("send = kbd.read()\nprint(send)") == "None\n"


def test_many_keys_wait_in_their_buffers_and_go_round(inputs):
    for turn in range(4):
        for _ in range(10):
            press(inputs, "b")
        assert inputs.eval("events(kbd, 20)") == [("KEY_B", 1), ("KEY_B", 0)] * 10, turn
    assert inputs.eval("(kbd.read(), kbd.queues[0].in_flight)") == (None, 64)


def test_mouse_and_wheel(inputs):
    inputs.exec("tablet.close()")  # QEMU gives buttons to the pointing device that was opened last
    send(inputs, ("rel", "x", 5), ("rel", "y", -7))
    for what in ("wheel-up", "wheel-down", "left"):
        send(inputs, ("btn", what, True))
        send(inputs, ("btn", what, False))
    found = inputs.eval("events(mouse, 8)")
    assert [entry for entry in found if "GEAR" not in entry[0]] == [
        ("REL_X", 5),
        ("REL_Y", -7),
        ("REL_WHEEL", 1),
        ("REL_WHEEL", -1),
        ("BTN_LEFT", 1),
        ("BTN_LEFT", 0),
    ]


def test_tablet_with_marks_between_reports(inputs):
    inputs.exec("tablet.with_syn = True")
    send(inputs, ("abs", "x", 100), ("abs", "y", 32767))
    assert inputs.eval("events(tablet, 3)") == [("ABS_X", 100), ("ABS_Y", 32767), ("SYN_REPORT", 0)]


def test_async_for_waits_while_other_tasks_run(inputs):
    inputs.begin(
        "import asyncio\n"
        "ticks = 0\n"
        "async def tick():\n"
        "    global ticks\n"
        "    while True:\n"
        "        ticks += 1\n"
        "        await asyncio.sleep_ms(10)\n"
        "async def main():\n"
        "    t = asyncio.create_task(tick())\n"
        "    print('ready')\n"
        "    async for e in kbd:\n"
        "        print(e)\n"
        "        if e.name == 'KEY_Q' and not e.pressed: break\n"
        "    t.cancel()\n"
        "asyncio.run(main())\n"
        "print(ticks > 0)"
    )
    inputs.expect_text("ready\r\n")
    press(inputs, "x")
    inputs.expect_text("<KEY_X release>\r\n")
    press(inputs, "q")
    assert inputs.end() == ("<KEY_Q press>\n<KEY_Q release>\nTrue\n", "")


def test_callback(inputs):
    inputs.begin("kbd.on_event = lambda e: seen.append(e.name)\nseen = []\nprint('ready')\nwhile len(seen) < 2: pass")
    inputs.expect_text("ready\r\n")
    press(inputs, "f12")
    inputs.end()
    assert inputs.eval("seen") == ["KEY_F12", "KEY_F12"]


@pytest.mark.clauses("INPUT-07")
def test_lights_arrive_at_the_host(inputs, vnc_path):
    with Viewer(vnc_path) as viewer:
        inputs.exec("kbd.leds(capsl=True, numl=False, scrolll=False)")
        viewer.wait(lambda: viewer.leds == 4)
        inputs.exec("kbd.leds(capsl=False, numl=True)")
        viewer.wait(lambda: viewer.leds == 2)
        inputs.exec("kbd.leds(scrolll=True)")
        viewer.wait(lambda: viewer.leds == 3)
        inputs.exec("kbd.leds(numl=False, scrolll=False)")
        viewer.wait(lambda: viewer.leds == 0)


@pytest.fixture
def terminal(inputs):
    inputs.exec("kbd.repl()")
    inputs.leave_raw()
    yield inputs
    inputs.enter_raw()
    inputs.exec("kbd.repl(False)")


def test_the_repl_is_typed_on_the_keyboard(terminal):
    for key in ("6", "asterisk", "7", "ret"):
        press(terminal, key)
    terminal.expect_text("6*7\r\n42\r\n>>> ")
    press(terminal, "up")  # readline's history
    press(terminal, "backspace")
    press(terminal, "8")
    press(terminal, "ret")
    terminal.expect_text("\r\n48\r\n>>> ")


@pytest.mark.parametrize("code", ["exec('while True: pass')", "__import__('time').sleep(1000)"])
def test_ctrl_c_on_the_keyboard_stops_what_runs(terminal, code):
    terminal.write(f"print('g' + 'o'); {code}\r")
    terminal.expect_text("go\r\n")
    press(terminal, "ctrl", "c")
    terminal.expect(r"KeyboardInterrupt: *\r\n>>> $")
