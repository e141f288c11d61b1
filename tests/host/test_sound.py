"""virtio-sound on the strict device, which is the only one it has met: QEMU 7.2 has none."""

import select
import sys
from pathlib import Path

import pytest

sys.path[:0] = [p for p in [str(Path(__file__).parent)] if p not in sys.path]

import shim  # noqa: E402

shim.install()

from fake_sound import IO_ERR, NOT_SUPP, FakeSound  # noqa: E402
from virtio import sound  # noqa: E402
from virtio.transport import DeviceError  # noqa: E402
from virtio_host import PACKED, SPLIT, attach, fresh  # noqa: E402


@pytest.fixture(params=["mmio-split", "pci-packed"])
def make(request):
    """make(...) -> (open driver, fake device)."""
    opened = []

    def make(**options):
        transport, ring = request.param.split("-")
        model = FakeSound(ring_features=SPLIT[3] if ring == "split" else PACKED[3], **options)
        driver, _ = attach(model, sound.Sound, source=8, transport=transport)
        opened.append(driver.open())
        return driver, model

    fresh()
    yield make
    for driver in opened:
        driver.close()
    fresh()


@pytest.fixture
def card(make):
    driver, model = make()
    return driver, model, *driver.streams


# Items


@pytest.mark.clauses("SND-01", "SND-04", "SND-05")
def test_what_the_card_has(make):
    driver, model = make()
    assert not driver.has(0)
    assert repr(driver.jacks) == "[<jack 0 not connected>, <jack 1 connected>]"
    assert (driver.jacks[1].config, driver.jacks[1].caps) == (0x101, 0x201)
    out, record = driver.streams
    assert (out.direction, record.direction) == ("out", "in")
    assert (out.formats, out.rates, out.channels) == (["IMA_ADPCM", "U8", "S16", "FLOAT"], [44100, 48000], (1, 2))
    assert driver.maps == [("out", ["FL", "FR"]), ("in", ["FL", "0x63"])]
    assert "2 streams" in repr(driver) and repr(out) == "<stream 0 out idle>"


@pytest.mark.clauses("SND-04", "SND-05")
@pytest.mark.parametrize("count", [0, 1, 32, 33, 100])
def test_many_items_are_asked_for_in_pieces(make, count):
    driver, model = make(jacks=count)
    assert [jack.number for jack in driver.jacks] == list(range(count))
    assert model.codes.count(1) == (count + 31) // 32


def test_jacks_that_can_are_remapped(make):
    driver, model = make()
    driver.jacks[0].remap(3, 4)
    assert model.remapped == (0, 3, 4)
    with pytest.raises(OSError, match="jack 1: remap"):
        driver.jacks[1].remap(3, 4)


@pytest.mark.clauses("SND-02", "SND-03")
def test_events(make):
    driver, model = make()
    seen = []
    driver.on_event = lambda name, number: seen.append((name, number))
    for _ in range(40):
        model.event(0x1000, 0)
        model.event(0x1101, 1)
        driver.poll()
    assert driver.jacks[0].connected and driver.streams[1].xruns == 40
    model.event(0x1001, 0)
    model.event(0x1100, 0)
    model.event(0x4711, 0)
    model.event(0x1000, 99)
    driver.poll()
    assert not driver.jacks[0].connected
    assert seen[-2:] == [("JACK_DISCONNECTED", 0), ("PCM_PERIOD_ELAPSED", 0)]
    model.event(0x1000, 0, length=4)
    with pytest.raises(DeviceError, match="event of 4 bytes"):
        driver.poll()


# Playing


@pytest.mark.clauses("SND-06", "SND-07", "SND-08", "SND-09", "SND-10", "SND-11", "SND-12", "SND-13")
def test_parameters(card):
    driver, model, out, _ = card
    out.setup(44100, 1, "U8", frames=100, periods=3)
    pcm = model.pcms[0]
    assert (pcm.period, pcm.buffer, pcm.parameters, pcm.state) == (100, 300, (1, 4, 6), "ready")
    out.close()
    out.setup(48000, 2, "FLOAT", frames=10, periods=2)
    assert (pcm.period, pcm.buffer, pcm.parameters) == (80, 160, (2, 19, 7))


@pytest.mark.clauses("SND-09", "SND-10", "SND-11")
@pytest.mark.parametrize(
    "change, text",
    [
        ({"rate": 8000}, "8000 Hz is none of"),
        ({"rate": 1}, "1 Hz is none of"),
        ({"form": "S8"}, "'S8' is none of"),
        ({"form": "X"}, "'X' is none of"),
        ({"form": "IMA_ADPCM"}, "'IMA_ADPCM' is none of"),
        ({"channels": 0}, "0 channels, 1 to 2"),
        ({"channels": 3}, "3 channels, 1 to 2"),
        ({"frames": 0}, "periods of 0 frames"),
        ({"periods": 1}, "1 of them"),
    ],
)
def test_what_the_stream_cannot_do_is_refused_before_the_device_hears_of_it(card, change, text):
    driver, model, out, _ = card
    before = len(model.codes)
    with pytest.raises(ValueError, match=text):
        out.setup(**change)
    assert len(model.codes) == before and out.state == "idle"


@pytest.mark.clauses("SND-14", "SND-15", "SND-16")
def test_what_is_written_is_played_in_periods(card):
    driver, model, out, _ = card
    out.setup(frames=25, periods=4)
    data = bytes(n & 255 for n in range(1230))
    for start in range(0, 1230, 70):
        assert out.write(data[start : start + 70]) == len(data[start : start + 70])
    assert b"".join(model.pcms[0].pieces) == data[:1200]
    out.drain()
    pieces = model.pcms[0].pieces
    assert b"".join(pieces) == data and [len(p) for p in pieces] == [100] * 12 + [30]
    assert (out.state, out.latency) == ("stopped", 77)
    out.close()
    assert model.pcms[0].state == "released"
    out.close()


def test_a_short_sound_starts_with_drain(card):
    driver, model, out, _ = card
    out.setup(frames=100)
    out.write(b"1234")
    assert model.pcms[0].state == "ready"
    out.drain()
    assert model.pcms[0].pieces == [b"1234"]
    out.write(b"5678")
    out.drain()
    assert model.pcms[0].pieces == [b"1234", b"5678"]


def test_a_device_that_does_not_play_on(card):
    driver, model, out, _ = card
    out.setup(frames=5, periods=2)
    out.timeout_ms = 10
    model.held_back = True
    with pytest.raises(OSError, match="stream 0: write: 10 ms"):
        out.write(bytes(100))
    assert out.ioctl(3, select.POLLOUT) == 0
    with pytest.raises(OSError, match="drain: 10 ms"):
        out.drain()
    model.held_back = False
    model.run(model.pcms[0])
    assert out.ioctl(3, select.POLLOUT) == select.POLLOUT
    out.drain()
    assert len(model.pcms[0].pieces) == 2


def test_what_could_not_be_played_is_said(card):
    driver, model, out, _ = card
    out.setup(frames=5, periods=2)
    model.play_status = IO_ERR
    with pytest.raises(OSError, match="stream 0: IO_ERR"):
        out.write(bytes(1000))
    model.play_status = 0xFFFFFFFF
    with pytest.raises(OSError, match="stream 0: status 0xffffffff"):
        out.write(bytes(1000))


def test_release_gets_the_buffers_back(card):
    driver, model, out, _ = card
    out.setup(frames=5, periods=8)
    out.write(bytes(100))
    assert driver.queues[2].in_flight == 5
    out.close()
    assert driver.queues[2].in_flight == 0 and model.pcms[0].pieces == []
    out.setup(frames=7, periods=2)
    out.write(bytes(28))
    out.drain()


@pytest.mark.parametrize(
    "code, text",
    [
        (0x101, "set parameters: NOT_SUPP"),
        (0x102, "prepare: NOT_SUPP"),
        (0x104, "start: NOT_SUPP"),
        (0x105, "stop: NOT_SUPP"),
        (0x103, "release: NOT_SUPP"),
    ],
)
def test_commands_that_fail_say_which(card, code, text):
    driver, model, out, _ = card
    model.errors[code] = NOT_SUPP
    with pytest.raises(OSError, match="sound0: stream 0: " + text):
        out.setup()
        out.start()
        out.stop()
        out.close()


def test_answers_that_are_too_short_are_device_errors(card):
    driver, model, out, _ = card
    model.answer_length = 3
    with pytest.raises(DeviceError, match="an answer of 3 bytes"):
        out.setup()


def test_a_list_that_is_too_short_is_a_device_error():
    fresh()
    model = FakeSound()
    model.answer_length = 40
    driver, _ = attach(model, sound.Sound)
    with pytest.raises(DeviceError, match="jacks: 40 bytes of 52"):
        driver.open()
    fresh()


def test_out_of_turn(card):
    driver, model, out, record = card
    for call in (out.start, out.stop, out.drain, lambda: out.write(b"x"), lambda: record.readinto(bytearray(1))):
        with pytest.raises(ValueError, match="is idle"):
            call()
    assert out.ioctl(3, select.POLLOUT) == select.POLLNVAL
    record.setup()
    with pytest.raises(ValueError, match="stream 1 is for input"):
        record.write(b"x")
    with pytest.raises(ValueError, match="stream 1 is ready"):
        record.setup()
    driver.close()
    with pytest.raises(ValueError, match="sound0 is closed"):
        record.start()
    driver.open()
    with pytest.raises(ValueError, match="closed meanwhile"):
        record.start()


# Recording


@pytest.mark.clauses("SND-14", "SND-17", "SND-18")
def test_what_is_recorded_is_read(card):
    driver, model, _, record = card
    source = model.source
    record.setup(frames=25, periods=4)
    record.start()
    pcm = model.pcms[1]
    assert len(pcm.waiting) == 4
    assert record.read(10) is None and record.ioctl(3, select.POLLIN) == 0
    got = b""
    buf = bytearray(70)
    for _ in range(10):
        model.run(pcm, 3)
        assert record.ioctl(3, select.POLLIN) == select.POLLIN
        while (n := record.readinto(buf)) is not None:
            got += bytes(buf[:n])
    assert got == source[:3000]
    record.stop()
    assert record.readinto(buf) is None
    record.start()
    model.run(pcm, 2)
    assert record.readinto(buf) == 70 and bytes(buf) == source[3000:3070]
    record.stop()
    record.close()
    assert driver.queues[3].in_flight == 0


def test_the_rest_is_read_after_stop(card):
    driver, model, _, record = card
    source = model.source
    record.setup(frames=25, periods=4)
    record.start()
    model.run(model.pcms[1], 4)
    record.stop()
    buf = bytearray(1000)
    assert record.readinto(buf) == 400 and bytes(buf[:400]) == source[:400]
    record.start()
    assert len(model.pcms[1].waiting) == 4


def test_what_could_not_be_recorded_is_said(card):
    driver, model, _, record = card
    record.setup(frames=25)
    record.start()
    model.play_status = IO_ERR
    model.run(model.pcms[1], 1)
    with pytest.raises(OSError, match="stream 1: IO_ERR"):
        record.readinto(bytearray(10))


def test_two_streams_at_once(card):
    driver, model, out, record = card
    source = model.source
    out.setup(frames=10, periods=2)
    record.setup(frames=10, periods=2)
    record.start()
    buf = bytearray(40)
    for n in range(20):
        out.write(bytes([n]) * 40)
        model.run(model.pcms[1], 1)
        assert record.readinto(buf) == 40
    out.drain()
    assert b"".join(model.pcms[0].pieces) == b"".join(bytes([n]) * 40 for n in range(20))
    assert bytes(buf) == source[760:800]
