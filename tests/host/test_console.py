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

from fake_console import FakeConsole  # noqa: E402
from fake_device import mask  # noqa: E402
from virtio import console  # noqa: E402


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


@pytest.mark.clauses("CON-LEG-01")
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


def test_console_multiport_is_not_accepted(attach):
    device, model = attach(console.Console, FakeConsole, features=mask(0, 1, 2))
    assert not device.has(1)


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
    monkeypatch.setattr(os, "dupterm", streams.append, raising=False)
    monkeypatch.setattr(riscv, "keyboard_interrupt", keyboard_interrupt, raising=False)
    device.repl()
    assert streams == [device.port] and 8 in riscv.irqs
    model.on_interrupt = lambda: riscv.irqs[8](8)
    yield device, model, taken, keyboard_interrupt
    device.repl(False)
    assert streams[-1] is None


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
