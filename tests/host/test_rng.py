"""The rng driver on a strict fake device, over both MMIO register layouts."""

import random
import sys
from pathlib import Path

import pytest

sys.path[:0] = [p for p in [str(Path(__file__).parent)] if p not in sys.path]

import shim  # noqa: E402

shim.install()

from fake_device import FakeDevice, require  # noqa: E402
from virtio import rng  # noqa: E402
from virtio.transport import DeviceError  # noqa: E402


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


@pytest.mark.clauses("RNG-01")
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
