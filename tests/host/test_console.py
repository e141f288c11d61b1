"""The console driver on a strict fake device, over both MMIO register layouts."""

import random
import select
import struct
import sys
import time
from pathlib import Path

import pytest

sys.path[:0] = [p for p in [str(Path(__file__).parent)] if p not in sys.path]

import shim  # noqa: E402

shim.install()

from fake_console import MULTIPORT, PORT_NAME, PORT_OPEN, PORT_READY, RESIZE, FakeConsole  # noqa: E402
from fake_device import mask  # noqa: E402
from virtio import console  # noqa: E402


@pytest.mark.clauses("CON-01", "CON-02")
def test_console_sends_and_receives(attach):
    device, model = attach(console.Console, FakeConsole)
    port = device.port
    assert port.write(b"hello") == 5 and model.sent == b"hello"
    assert port.readinto(bytearray(4)) is None and port.read() is None and port.readline() is None
    model.say(b"abcdef")
    buf = bytearray(4)
    assert port.readinto(buf) == 4 and bytes(buf) == b"abcd"
    assert port.readinto(buf) == 2 and bytes(buf) == b"efcd"
    assert port.readinto(buf) is None
    assert port.readinto(bytearray()) == 0 and port.write(b"") == 0


def test_console_moves_more_than_its_buffers_hold(attach):
    device, model = attach(console.Console, FakeConsole)
    data = random.Random(1).randbytes(100_000)
    assert device.write(data) == len(data) and model.sent == data
    got = b""
    for start in range(0, len(data), 5000):
        model.say(data[start : start + 5000])
        got += device.read() or b""
    assert got == data


def test_console_works_with_a_tiny_queue(attach):
    device, model = attach(console.Console, FakeConsole, queue=1)
    data = bytes(range(256)) * 10
    assert device.write(data) == len(data) and model.sent == data
    for i in range(5):
        model.say(b"x%d" % i)
        assert device.read() == b"x%d" % i


def test_console_read_and_readline(attach):
    device, model = attach(console.Console, FakeConsole)
    model.say(b"one\ntwo")
    model.say(b" three\nfour")
    port = device.port
    assert port.read(2) == b"on"
    assert port.readline() == b"e\n"
    assert port.readline() == b"two three\n"
    assert port.readline() == b"four"
    assert port.read(5) is None and port.read(0) == b""


def test_console_empty_answer_is_no_input(attach):
    device, model = attach(console.Console, FakeConsole)
    model.say(b"", empty=True)
    model.say(b"x")
    assert device.read() == b"x"


def test_console_nobody_reads_costs_one_timeout_and_then_drops(attach):
    device, model = attach(console.Console, FakeConsole)
    port = device.port
    port.timeout_ms = 50
    model.stuck = True
    room = 16 * 512
    start = time.monotonic()
    assert port.write(bytes(20_000)) == room
    assert time.monotonic() - start >= 0.05
    start = time.monotonic()
    for _ in range(20):
        assert port.write(b"dropped") is None
    assert time.monotonic() - start < 1
    assert "stalled" in repr(port)
    with pytest.raises(OSError, match="flush"):
        port.flush()
    model.stuck = False
    model.work(model.queues[1])
    assert port.write(b"again") == 5
    port.flush()
    assert model.sent == bytes(room) + b"again"


def test_console_poll(attach):
    device, model = attach(console.Console, FakeConsole)
    port = device.port
    assert port.ioctl(3, select.POLLIN | select.POLLOUT) == select.POLLOUT
    model.say(b"x")
    assert port.ioctl(3, select.POLLIN) == select.POLLIN
    assert port.read() == b"x"
    assert port.ioctl(3, select.POLLIN) == 0
    port.timeout_ms = 1
    model.stuck = True
    port.write(bytes(10_000))
    assert port.ioctl(3, select.POLLOUT) == 0
    before = model.interrupts
    model.stuck = False
    model.work(model.queues[1])
    assert model.interrupts > before  # the device was asked to tell
    assert port.ioctl(3, select.POLLOUT) == select.POLLOUT
    assert port.ioctl(4, 0) == 0
    assert port.ioctl(99, 0) < 0
    device.close()
    assert port.ioctl(3, select.POLLIN) == select.POLLNVAL


@pytest.mark.clauses("CON-LEG-01", "CON-01", "CON-02")
def test_console_size_and_resize(attach, legacy):
    """Fields are guest-endian, which on this machine is little-endian too."""
    device, model = attach(console.Console, FakeConsole, features=mask(0), size=(132, 43))
    assert device.size == (132, 43)
    assert "132x43" in repr(device)
    seen = []
    device.on_resize = lambda d: seen.append(d.size)
    model.change_config(struct.pack("<HH", 100, 30))
    assert device.poll_config()
    assert seen == [(100, 30)]


def test_console_without_size(attach):
    device, _ = attach(console.Console, FakeConsole)
    assert device.size is None


def test_console_emergency_write(attach):
    device, model = attach(console.Console, FakeConsole, features=mask(2))
    device.emergency_write("help")
    assert model.emergency == b"help"


def test_console_emergency_write_not_offered(attach):
    device, _ = attach(console.Console, FakeConsole)
    with pytest.raises(OSError, match="emergency write"):
        device.emergency_write(b"x")


@pytest.fixture
def repl(attach, monkeypatch):
    import os

    import riscv

    device, model = attach(console.Console, FakeConsole)
    streams, taken = [], []

    def keyboard_interrupt(char):
        taken.append(char)
        return keyboard_interrupt.wanted

    keyboard_interrupt.wanted = True
    monkeypatch.setattr(os, "dupterm", lambda stream, slot: streams.append(stream), raising=False)
    monkeypatch.setattr(riscv, "keyboard_interrupt", keyboard_interrupt, raising=False)
    device.repl()
    assert streams == [device.port] and 8 in riscv.irqs
    model.on_interrupt = lambda: riscv.irqs[8](8)
    yield device, model, taken, keyboard_interrupt
    monkeypatch.setattr(os, "dupterm", lambda stream, slot: device.port, raising=False)
    device.repl(False)


def test_console_ctrl_c_is_taken_in_the_interrupt(repl):
    device, model, taken, _ = repl
    model.say(b"typed ahead")
    assert taken == []
    model.say(b"more\x03rest")
    assert taken == [3]
    assert device.read() == b"rest"


def test_console_ctrl_c_that_is_no_interrupt_stays_input(repl):
    device, model, taken, keyboard_interrupt = repl
    keyboard_interrupt.wanted = False
    model.say(b"raw\x03code")
    assert device.read() == b"raw\x03code"


def test_console_interrupt_while_reading_leaves_the_port_alone(repl):
    device, model, taken, _ = repl
    device.port._reading = True
    model.say(b"a\x03b")
    device.port._reading = False
    assert taken == [] and device.read() == b"a\x03b"


# Several ports

NAMES = {0: "", 1: "org.qemu.guest_agent.0", 3: "data"}


@pytest.fixture
def ports(attach):
    device, model = attach(console.Console, FakeConsole, features=mask(MULTIPORT), ports=5, names=NAMES)
    model.check_answers()
    return device, model


@pytest.mark.clauses("CON-03", "CON-04", "CON-05", "CON-06", "CON-LEG-02", "CON-LEG-04")
def test_ports_are_there_by_number_and_name(ports):
    device, model = ports
    assert [(p.number, p.name, p.console) for p in device.ports] == [
        (0, "", True),
        (1, NAMES[1], False),
        (3, "data", False),
    ]
    assert device.port is device.ports[0] and device.port.host_open and device.port.guest_open
    assert model.told[0] == (0, 0, 1)
    assert {t for t in model.told if t[1] == PORT_READY} == {(n, PORT_READY, 1) for n in NAMES}
    assert [t for t in model.told if t[1] == PORT_OPEN] == [(0, PORT_OPEN, 1)]
    assert device.find_port("data").number == 3 and device.find_port(1).name == NAMES[1]
    for which in ("", "other", 2, 4, 99):
        with pytest.raises(OSError, match="no port"):
            device.find_port(which)
    assert "3 ports" in repr(device) and "host closed" in repr(device.find_port(1))


def test_a_name_that_comes_late_is_waited_for(attach, monkeypatch):
    late = []

    class Slow(FakeConsole):
        def tell(self, number, event, value=0, data=b""):
            if event == PORT_NAME:
                late.append((number, event, value, data))
            else:
                super().tell(number, event, value, data)

    device, model = attach(console.Console, Slow, features=mask(MULTIPORT), ports=5, names=NAMES)
    looks = []
    look = device.poll_control

    def poll_control():
        looks.append(1)
        if len(looks) == 4:
            for message in late:
                FakeConsole.tell(model, *message)
        return look()

    monkeypatch.setattr(device, "poll_control", poll_control)
    assert device.open_port("data").number == 3


def test_port_opens_and_closes_on_both_sides(ports):
    device, model = ports
    port = device.open_port("data")
    port.open()
    assert model.told[-1] == (3, PORT_OPEN, 1) and model.told.count((3, PORT_OPEN, 1)) == 1
    assert port.read() == b"" and port.readinto(bytearray(4)) == 0 and port.readline() == b""
    with pytest.raises(OSError, match=r"port 3 \(data\): nobody has it open"):
        port.write(b"x")
    assert port.ioctl(3, select.POLLIN | select.POLLOUT) == select.POLLIN | select.POLLOUT | select.POLLHUP
    seen = []
    device.on_port = lambda port, what: seen.append((port.number, what))
    model.tell(3, PORT_OPEN, 1)
    device.poll_control()
    assert port.read() is None and port.write(b"hello") == 5 and model.output[3] == b"hello"
    model.say(b"one\ntwo", port=3)
    model.tell(3, PORT_OPEN, 0)
    device.poll_control()
    assert seen == [(3, "opened"), (3, "closed")]
    assert (
        port.readline() == b"one\n" and port.read() == b"two" and port.read() == b""
    )  # what came before the end first
    port.close()
    port.close()
    assert model.told[-1] == (3, PORT_OPEN, 0) and model.told.count((3, PORT_OPEN, 0)) == 1


def test_ports_do_not_mix(ports):
    device, model = ports
    for n in (1, 3):
        model.tell(n, PORT_OPEN, 1)
    for n in range(50):
        for number in NAMES:
            port = device.find_port(number)
            model.say(b"%d in %d" % (n, number), port=number)
            assert port.read() == b"%d in %d" % (n, number)
            port.write(b"%d " % n)
    assert model.output == {number: b"".join(b"%d " % n for n in range(50)) for number in NAMES}


def test_ports_come_and_go(ports):
    device, model = ports
    seen = []
    device.on_port = lambda port, what: seen.append((port.number, port.name, what))
    model.plug(4, "late")
    model.tell(4, PORT_OPEN, 1)
    port = device.open_port("late")
    assert seen == [(4, "", "added"), (4, "", "opened"), (4, "late", "named")]
    model.say(b"left over", port=4)
    assert port.any()
    model.unplug(4)
    device.poll_control()
    assert seen[-1] == (4, "late", "removed") and "removed" in repr(port)
    assert [p.number for p in device.ports] == [0, 1, 3]
    assert port.read() == b"left over" and port.read() == b""
    with pytest.raises(OSError, match="was removed"):
        port.write(b"x")
    with pytest.raises(OSError, match="was removed"):
        port.open()
    port.close()
    model.say(b"to nobody", port=4)
    model.plug(4, "new")
    model.tell(4, PORT_OPEN, 1)
    again = device.open_port("new")
    assert again is not port and again.read() is None
    for n in range(40):
        model.say(b"%d" % n, port=4)
        assert again.read() == b"%d" % n
    assert port.read() == b""
    again.write(b"x" * 20_000)
    assert len(model.output[4]) == 20_000


def test_resize_of_a_port(ports):
    device, model = ports
    seen = []
    device.on_port = lambda port, what: seen.append((port.size, what))
    model.tell(1, RESIZE, 0, struct.pack("<HH", 100, 30))
    model.tell(1, RESIZE, 0, b"")
    device.poll_control()
    assert seen == [((100, 30), "resized")]


def test_odd_control_messages_do_no_harm(ports):
    device, model = ports
    before = device.ports
    for event in range(9):
        if event != 1:
            model.tell(4, event, 1, b"xxxx")  # a port that was never added
            model.tell(0xFFFFFFFF, event, 1)
    model.tell(1, 99, 1)
    model.added.add(70)
    model.names[70] = ""
    model.tell(70, 1, 1)  # more than the device said it has
    assert device.ports == before and model.told[-1] == (70, PORT_READY, 0)
    model.tell(1, 1, 1)
    assert device.find_port(1) is before[1]  # added twice
    model._give(2, b"short")
    with pytest.raises(OSError, match="a control message of 5"):
        device.poll_control()


def test_a_port_with_the_repl_outlasts_the_other_side(ports, monkeypatch):
    import os

    import riscv

    device, model = ports
    slots = [None, None]

    def dupterm(stream, slot):
        if slot >= len(slots):
            raise ValueError("slot")
        before, slots[slot] = slots[slot], stream
        return before

    monkeypatch.setattr(os, "dupterm", dupterm, raising=False)
    monkeypatch.setattr(riscv, "keyboard_interrupt", lambda char: True, raising=False)
    one, three = device.find_port(1), device.find_port(3)
    one.repl()
    three.repl()
    assert slots == [one, three] and (3, PORT_OPEN, 1) in model.told
    assert one.read() is None and one.write(b"dropped") == 7 and 1 not in model.output
    with pytest.raises(OSError, match="2 streams"):
        device.repl()
    assert "repl" in repr(device)
    model.tell(1, PORT_OPEN, 1)
    device.poll_control()
    one.write(b"seen")
    assert model.output[1] == b"seen"
    model.say(b"run\x03rest", port=1)
    device.on_interrupt()
    assert one.read() == b"rest"
    model.unplug(3)
    device.poll_control()
    assert slots == [one, None]
    device.close()
    assert slots == [None, None]


def test_fewer_ports_than_the_device_has_may_be_set_up(attach):
    device, model = attach(console.Console, FakeConsole, features=mask(MULTIPORT), ports=40, names={0: "", 39: "far"})
    assert [port.number for port in device.ports] == [0]
    assert (39, PORT_READY, 0) in model.told


def test_multiport_device_without_ports(attach):
    device, model = attach(console.Console, FakeConsole, features=mask(MULTIPORT), ports=2, names={})
    assert device.ports == []
    with pytest.raises(OSError, match="nobody has it open"):
        device.write(b"x")
    assert device.read() == b""


def test_reopened_device_has_its_ports_again(ports):
    device, model = ports
    model.tell(1, PORT_OPEN, 1)
    port = device.open_port(1)
    device.close()
    assert port.ioctl(3, select.POLLIN) == select.POLLNVAL
    with pytest.raises(ValueError, match="closed"):
        port.open()
    device.open()
    assert [p.name for p in device.ports] == list(NAMES.values())
    told = len(model.told)
    port.close()
    with pytest.raises(ValueError, match="closed meanwhile"):
        port.open()
    assert len(model.told) == told and port.ioctl(3, select.POLLIN) == select.POLLNVAL


def test_recovery_opens_ports_again(ports):
    device, model = ports
    device.open_port("data")
    model.need_reset()
    device.recover()
    assert device.find_port("data").guest_open and (3, PORT_OPEN, 1) in model.told
    assert not device.find_port(1).guest_open
