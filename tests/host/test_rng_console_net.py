"""The rng, console and net drivers on a strict fake device, over both MMIO register layouts."""

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

from fake_device import FakeDevice, FakeMMIO, mask, require  # noqa: E402
from virtio import console, mmio, net, rng  # noqa: E402
from virtio.transport import DeviceError  # noqa: E402

BASE = 0x1000_8000


@pytest.fixture(params=["mmio-legacy", "mmio"])
def legacy(request):
    shim.memory.reset()
    yield request.param == "mmio-legacy"
    shim.memory.reset()


@pytest.fixture
def attach(legacy):
    """attach(driver class, fake device class, ...) -> (open driver, fake device)."""
    opened = []

    def attach(driver, fake, open=True, **options):
        model = fake(legacy=legacy, **options)
        FakeMMIO(model, BASE)
        device = driver(mmio.find(BASE, source=8), driver.NAME + "0")
        if open:
            device.open()
            opened.append(device)
        return device, model

    yield attach
    for device in opened:
        device.close()


# rng


class FakeRNG(FakeDevice):
    """Answers each request with the next bytes of a known sequence, and poison behind them."""

    DEVICE_ID = 4

    def __init__(self, **options):
        super().__init__(**options)
        self.most = None  # bytes of an answer, at most
        self.source = random.Random(7)
        self.answers = []
        self.depth = 0  # most chains in flight at a time

    def process(self, queue, chain):
        require(not chain.readable, "RNG-01", "device-readable buffer")
        self.depth = max(self.depth, len(queue.held))
        n = chain.room if self.most is None else min(chain.room, self.most)
        data = self.source.randbytes(n)
        chain.write(data + b"\xee" * (chain.room - n))
        self.answers.append(data)
        return n


def test_rng_fills_the_buffer(attach):
    device, model = attach(rng.RNG, FakeRNG)
    buf = bytearray(100)
    assert device.readinto(buf) == 100
    assert bytes(buf) == model.answers[0]
    assert len(device.read(7)) == 7
    assert device.read(0) == b""


@pytest.mark.clauses("RNG-02")
def test_rng_uses_exactly_what_the_used_length_reports(attach):
    device, model = attach(rng.RNG, FakeRNG)
    model.most = 5
    data = device.read(23)
    assert sorted(data) == sorted(b"".join(model.answers))
    assert len(b"".join(model.answers)) == 23


def test_rng_keeps_several_requests_in_flight(attach):
    device, model = attach(rng.RNG, FakeRNG)
    data = device.read(50_000)
    assert len(model.answers) == 13 and model.depth == 13
    assert sorted(data) == sorted(b"".join(model.answers))


def test_rng_read_longer_than_the_queue_is_deep(attach):
    device, model = attach(rng.RNG, FakeRNG, queues=(4,))
    assert len(device.read(100_000)) == 100_000
    assert model.depth <= 4


def test_rng_answer_without_bytes_is_a_device_error(attach):
    device, model = attach(rng.RNG, FakeRNG)
    model.most = 0
    with pytest.raises(DeviceError, match="without bytes"):
        device.read(8)
    with pytest.raises(DeviceError):
        device.read(8)
    device.close()
    model.most = None
    assert len(device.open().read(8)) == 8


def test_rng_timeout_keeps_the_buffers_and_the_device_works_on(attach):
    device, model = attach(rng.RNG, FakeRNG)
    model.dead = True
    with pytest.raises(OSError, match="no answer"):
        device.readinto(bytearray(20_000), timeout_ms=20)
    assert device.queues[0].in_flight == 5
    model.dead = False
    assert len(device.read(10)) == 10
    assert device.queues[0].in_flight == 0
    assert device.queues[0].num_free == device.queues[0].size


def test_rng_device_that_lies_about_length_is_caught(attach, legacy):
    device, model = attach(rng.RNG, FakeRNG)
    model.lie = lambda head, length: (head, length + 1)
    if legacy:  # known to report wrong lengths: cut to the buffer
        assert len(device.read(8)) == 8
        return
    with pytest.raises(DeviceError):
        device.read(8)


def test_closed_rng_refuses(attach):
    device, _ = attach(rng.RNG, FakeRNG)
    device.close()
    with pytest.raises(ValueError, match="closed"):
        device.read(1)


def test_entropy_store_is_handed_out_once(attach, monkeypatch):
    import entropy
    import riscv
    import virtio

    device, model = attach(rng.RNG, FakeRNG, open=False)
    named = []
    monkeypatch.setattr(riscv, "entropy_source", lambda *args: named.append(args), raising=False)
    monkeypatch.setattr(virtio, "devices", lambda: [device])
    monkeypatch.setattr(entropy, "_store", b"")
    monkeypatch.setattr(entropy, "_at", 0)
    entropy.register()
    assert named == [("virtio-rng", entropy.fill)]
    handed = bytearray()
    for size in (32, 4096, 1, 5000):
        buf = bytearray(size)
        entropy.fill(buf)
        handed += buf
    assert not device.is_open
    assert bytes(handed) == b"".join(model.answers)[: len(handed)]
    assert not any(entropy._store[: entropy._at])


def test_entropy_without_a_device_steps_aside(monkeypatch):
    import entropy
    import riscv
    import virtio

    named = []
    monkeypatch.setattr(riscv, "entropy_source", lambda *args: named.append(args), raising=False)
    monkeypatch.setattr(virtio, "devices", lambda: [])
    monkeypatch.setattr(entropy, "_store", b"")
    monkeypatch.setattr(entropy, "_at", 0)
    with pytest.raises(OSError, match="no virtio-rng"):
        entropy.fill(bytearray(4))
    assert named == [(None,)]


# console


class FakeConsole(FakeDevice):
    """Collects what is sent; say() hands input to the driver as far as it posted buffers."""

    DEVICE_ID = 3
    FIELDS = {0: (2, 0), 2: (2, 0), 4: (4, 1), 8: (4, 2)}

    def __init__(self, features=0, size=(80, 25), queue=64, **options):
        config = struct.pack("<HHII", *size, 1, 0)
        super().__init__(features=features, config=config, queues=(queue, queue), **options)
        self.sent = b""
        self.emergency = b""
        self.stuck = False

    def work(self, queue):
        if queue.index == 1 and not self.stuck:
            super().work(queue)

    def process(self, queue, chain):
        require(not chain.writable, "CON-02", "device-writable buffer in transmitq")
        self.sent += chain.data()
        return 0

    def say(self, data, empty=False):
        queue = self.queues[0]
        queue.fetch()
        while data or empty:
            chain = queue.held[0]
            require(not chain.readable, "CON-01", "device-readable buffer in receiveq")
            piece, data = data[: chain.room], data[chain.room :]
            chain.write(piece)
            queue.finish(chain, len(piece))
            empty = False

    def write_config(self, off, width, value):
        if off == 8:
            require(self.has(2), "GEN-CFG-03", "emergency write was not negotiated")
            self.emergency += bytes([value & 0xFF])
        else:
            require(False, "GEN-CFG-03", "read-only field")


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


# net


class FakeNet(FakeDevice):
    """Collects frames; deliver() hands frames to the driver as far as it posted buffers."""

    DEVICE_ID = 1
    FIELDS = {**{i: (1, 5) for i in range(6)}, 6: (2, 16), 8: (2, 22), 10: (2, 3)}
    MAC = bytes.fromhex("525400123456")

    def __init__(self, features=mask(5, 16), mtu=1500, status=1, queue=256, **options):
        config = self.MAC + struct.pack("<HHH", status, 1, mtu)
        super().__init__(features=features, config=config, queues=(queue, queue), **options)
        self.mtu = mtu
        self.frames = []
        self.stuck = False

    @property
    def header(self):
        return 10 if self.legacy else 12

    def work(self, queue):
        if queue.index == 1 and not self.stuck:
            super().work(queue)

    def process(self, queue, chain):
        require(not chain.writable, "NET-TX", "device-writable buffer in transmitq")
        if self.legacy and not self.has(27):
            require(len(chain.readable[0]) == self.header, "SPLIT-FRAME-LEG", "header shares its descriptor")
        data = chain.data()
        header, frame = data[: self.header], data[self.header :]
        require(len(frame) >= 14, "NET-TX-03", "header of another size")
        require(not any(header), "NET-TX-04 NET-TX-05 NET-TX-33 NET-TX-47", header.hex())
        if self.has(3):
            require(len(frame) <= self.mtu + 14, "NET-CFG-09", "frame of %d bytes" % len(frame))
        self.frames.append(frame)
        return 0

    def deliver(self, frame, header=None):
        queue = self.queues[0]
        queue.fetch()
        chain = queue.held[0]
        require(not chain.readable, "NET-RX", "device-readable buffer in receiveq")
        require(chain.room >= 1526, "NET-RX-02", "buffer of %d bytes" % chain.room)
        if self.has(3):
            require(chain.room >= self.header + self.mtu + 14, "NET-CFG-08", "buffer of %d bytes" % chain.room)
        if self.legacy and not self.has(27):
            require(len(chain.writable[0]) == self.header, "SPLIT-FRAME-LEG", "header shares its descriptor")
        if header is None:
            header = bytes(10) if self.legacy else bytes(10) + b"\1\0"
        chain.write(header + frame)
        queue.finish(chain, len(header) + len(frame))


def frame(n, size=60):
    return bytes.fromhex("525400123456525400abcdef0800") + bytes([n & 0xFF]) * (size - 14)


@pytest.mark.clauses("NET-TX-03", "NET-TX-04", "NET-TX-05", "NET-TX-33", "NET-TX-47")
def test_net_sends_and_receives(attach):
    device, model = attach(net.Net, FakeNet)
    assert device.recv() is None
    assert device.recv(timeout_ms=5) is None
    assert device.send(frame(1)) == 60
    assert model.frames == [frame(1)]
    model.deliver(frame(2))
    model.deliver(frame(3, 1514))
    assert device.recv() == frame(2)
    buf = bytearray(2000)
    assert device.recv_into(buf) == 1514 and bytes(buf[:1514]) == frame(3, 1514)
    assert device.recv_into(buf) is None
    assert (device.sent, device.received) == (1, 2)


@pytest.mark.parametrize("ring", [(), (27,), (28, 29), (27, 28, 29)])
def test_net_header_fits_the_negotiated_framing(attach, legacy, ring):
    """Legacy without ANY_LAYOUT: the header has a descriptor to itself."""
    ring = [bit for bit in ring if legacy or bit != 27]
    device, model = attach(net.Net, FakeNet, ring_features=mask(*ring))
    for i in range(100):
        device.send(frame(i))
        model.deliver(frame(i + 1))
        assert device.recv() == frame(i + 1)
    assert model.frames == [frame(i) for i in range(100)]


@pytest.mark.clauses("NET-CFG-02", "NET-CFG-03", "GEN-LEGCFG-02")
def test_net_mac_is_the_configured_one(attach):
    device, model = attach(net.Net, FakeNet)
    assert device.has(5) and device.mac == FakeNet.MAC == device.config("mac")
    assert "52:54:00:12:34:56" in repr(device)


@pytest.mark.clauses("NET-CFG-04")
def test_net_without_mac_invents_a_local_one(attach):
    device, _ = attach(net.Net, FakeNet, features=0)
    assert len(device.mac) == 6 and device.mac[0] & 3 == 2


@pytest.mark.clauses("NET-CFG-06")
def test_net_link_state(attach):
    device, model = attach(net.Net, FakeNet)
    assert device.isconnected()
    model.change_config(b"\0\0", 6)
    assert not device.isconnected()
    assert " down" in repr(device)


@pytest.mark.clauses("NET-CFG-05")
def test_net_without_status_the_link_is_up(attach):
    device, _ = attach(net.Net, FakeNet, features=mask(5), status=0)
    assert device.isconnected()


@pytest.mark.parametrize("mtu", [68, 1500, 9000])
@pytest.mark.clauses("NET-CFG-07", "NET-CFG-08", "NET-CFG-09")
def test_net_mtu_bounds_what_is_sent_and_received(attach, mtu):
    device, model = attach(net.Net, FakeNet, features=mask(3, 5), mtu=mtu)
    assert device.mtu == mtu == device.config("mtu")
    device.send(frame(1, mtu + 14))
    with pytest.raises(ValueError, match="%d to %d fit" % (14, mtu + 14)):
        device.send(frame(1, mtu + 15))
    model.deliver(frame(2, mtu + 14))
    assert device.recv() == frame(2, mtu + 14)
    assert len(model.frames) == 1


def test_net_without_mtu_takes_a_vlan_tag(attach):
    device, model = attach(net.Net, FakeNet)
    device.send(frame(1, 1518))
    for size in (0, 13, 1519):
        with pytest.raises(ValueError):
            device.send(bytes(size))
    with pytest.raises(ValueError, match="no parameter"):
        device.config("ssid")


@pytest.mark.clauses("NET-FEAT-01")
def test_net_refuses_offloads_it_does_not_have(attach):
    device, _ = attach(net.Net, FakeNet, features=mask(0, 1, 5, 7, 10, 11, 15, 16, 17, 18, 22))
    assert device.features & 0xFFFFFF == mask(5, 16)


def test_net_send_does_not_wait_for_the_device(attach):
    device, model = attach(net.Net, FakeNet)
    model.stuck = True
    data = bytearray(frame(0))
    for i in range(32):
        data[20] = i
        device.send(data)
    with pytest.raises(OSError, match="no buffer"):
        device.send(data, timeout_ms=10)
    with pytest.raises(OSError, match="flush"):
        device.flush(timeout_ms=10)
    model.stuck = False
    model.work(model.queues[1])
    device.send(frame(9))
    device.flush()
    assert [f[20] for f in model.frames] == list(range(32)) + [9]


@pytest.mark.clauses("NET-INIT-01")
def test_net_holds_as_many_frames_as_it_posted_buffers(attach):
    device, model = attach(net.Net, FakeNet)
    model.queues[0].fetch()
    assert len(model.queues[0].held) == 32
    for i in range(32):
        model.deliver(frame(i))
    assert [device.recv() for _ in range(33)] == [frame(i) for i in range(32)] + [None]
    model.deliver(frame(40))
    assert device.recv() == frame(40)


def test_net_works_with_a_tiny_queue(attach):
    device, model = attach(net.Net, FakeNet, queue=2)
    for i in range(10):
        device.send(frame(i))
        model.deliver(frame(i))
        assert device.recv() == frame(i)


def test_net_frame_longer_than_the_callers_buffer_stays(attach):
    device, model = attach(net.Net, FakeNet)
    model.deliver(frame(1, 100))
    with pytest.raises(ValueError, match="100 bytes, a buffer of 50"):
        device.recv_into(bytearray(50))
    assert device.recv() == frame(1, 100)


@pytest.mark.clauses("NET-RX-07", "NET-RX-10", "NET-RX-12")
def test_net_unknown_header_flags_do_not_matter(attach, legacy):
    device, model = attach(net.Net, FakeNet)
    model.deliver(frame(1), header=b"\xf8\0" + b"\xff" * 8 + (b"" if legacy else b"\1\0"))
    assert device.recv() == frame(1)


def test_net_answer_shorter_than_its_header_is_a_device_error(attach):
    device, model = attach(net.Net, FakeNet)
    model.deliver(b"", header=bytes(5))
    with pytest.raises(DeviceError, match="5 bytes"):
        device.recv()
    with pytest.raises(DeviceError):
        device.send(frame(1))


def test_net_reopens(attach):
    device, model = attach(net.Net, FakeNet)
    device.send(frame(1))
    device.close()
    with pytest.raises(ValueError, match="closed"):
        device.send(frame(2))
    device.open()
    model.deliver(frame(3))
    assert device.recv() == frame(3)
