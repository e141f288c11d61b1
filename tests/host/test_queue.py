"""modules/virtio/queue: chains against the strict device, lifetime of buffers, deadlines, bad devices."""

import pytest
import riscv
from fake_device import EVENT_IDX, INDIRECT_DESC, FakeDevice, Violation, mask
from machine import mem32
from virtio.device import Device
from virtio.transport import DeviceError
from virtio_host import TRANSPORTS, attach, fresh


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


class Echo(FakeDevice):
    """Writes what it read, reversed, into the writable part."""

    DEVICE_ID = 42

    def process(self, queue, chain):
        data = chain.data()[::-1][: chain.room]
        chain.write(data)
        return len(data)


class EchoDriver(Device):
    NAME = "echo"
    IDS = (42,)
    SIZE = None

    def probe(self):
        self.vq = self.queue(0, self.SIZE)


RINGS = [0, mask(INDIRECT_DESC), mask(EVENT_IDX), mask(INDIRECT_DESC, EVENT_IDX)]


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


def rig(transport="mmio", ring_features=RINGS[3], size=16, **options):
    device = Echo(legacy=transport == "mmio-legacy", ring_features=ring_features, queues=(size,), **options)
    driver, _ = attach(device, EchoDriver)
    driver.open()
    return driver.vq, device


@pytest.mark.parametrize("features", RINGS)
@pytest.mark.clauses("GEN-RSVD-05", "SPLIT-DESC-02", "SPLIT-FRAME-01", "SPLIT-FRAME-02")
def test_chain_goes_to_the_device_and_back(transport, features):
    vq, _ = rig(transport, features)
    answer = bytearray(6)
    head = vq.add([b"abc", b"def"], [answer])
    assert vq.wait(head) == 6
    assert answer == b"fedcba"
    assert vq.num_free == 16 and vq.in_flight == 0


@pytest.mark.parametrize("features", RINGS)
@pytest.mark.clauses("SPLIT-INDIR-01", "SPLIT-INDIR-02", "SPLIT-INDIR-03", "SPLIT-INDIR-04")
def test_long_chain_uses_an_indirect_table_where_that_was_negotiated(transport, features):
    vq, device = rig(transport, features)
    device.manual = True
    vq.add([bytes([i]) for i in range(7)], [bytearray(7)], "token")
    vq.notify()
    indirect = bool(features & mask(INDIRECT_DESC))
    (chain,) = device.queues[0].held
    assert chain.indirect == indirect
    assert vq.num_free == 16 - (1 if indirect else 8)
    assert chain.data() == bytes(range(7)) and chain.room == 7


@pytest.mark.clauses("SPLIT-INDIR-03")
def test_chain_longer_than_the_queue_is_refused():
    vq, _ = rig(size=4)
    with pytest.raises(ValueError):
        vq.add([b"x"] * 5, [])
    with pytest.raises(ValueError):
        vq.add([], [])
    with pytest.raises(ValueError):
        vq.add([b""], [])
    assert vq.num_free == 4


@pytest.mark.clauses("SPLIT-DESC-02")
def test_chain_of_more_bytes_than_32_bits_count_is_refused():
    vq, _ = rig()
    addr = vq.desc
    with pytest.raises(ValueError, match="2\\^32"):
        vq.add([(addr, 1 << 31)], [(addr, 1 << 31), (addr, 1)])
    assert vq.num_free == 16


def test_full_queue_says_eagain_and_recovers():
    vq, device = rig(ring_features=0, size=4)
    device.manual = True
    for i in range(4):
        vq.add([b"x"], [], i)
    with pytest.raises(OSError) as info:
        vq.add([b"x"], [])
    assert info.value.args[0] == 11
    vq.notify()
    for chain in list(device.queues[0].held):
        device.queues[0].finish(chain, 0)
    assert [vq.get()[0] for _ in range(4)] == [0, 1, 2, 3]
    assert vq.get() is None
    assert vq.num_free == 4


@pytest.mark.parametrize("features", RINGS)
@pytest.mark.parametrize("start", [0, 65500])
@pytest.mark.clauses("SPLIT-AVAIL-01", "SPLIT-ANOTIF-04", "SPLIT-ANOTIF-06", "SPLIT-ANOTIF-07")
def test_many_in_flight_complete_in_any_order_across_the_wrap(transport, features, start):
    vq, device = rig(transport, features)
    device.manual = True
    queue = device.queues[0]
    queue.start_at(start)
    for word in (9, 10, 11):
        vq._state.buf[4 * word : 4 * word + 4] = start.to_bytes(4, "little")
    for round_ in range(20):
        answers = {i: bytearray(2) for i in range(8)}
        for i, answer in answers.items():
            vq.add([bytes([i, round_])], [answer], i)
        vq.notify()
        order = [3, 1, 0, 2, 7, 5, 6, 4]
        chains = {chain.data()[0]: chain for chain in list(queue.held)}
        for i in order:
            queue.finish(chains[i], device.process(queue, chains[i]))
        assert [vq.get() for _ in range(8)] == [(i, 2) for i in order]
        assert all(answer == bytes([round_, i]) for i, answer in answers.items())


def test_wait_for_one_keeps_the_others_for_get():
    vq, device = rig()
    first = vq.add([b"1"], [bytearray(1)], "first")
    second = vq.add([b"2"], [bytearray(1)], "second")
    assert vq.wait(second) == 1
    assert vq.get() == ("first", 1)
    assert vq.get() is None
    assert first != second


@pytest.mark.clauses("GEN-CLEANUP-01")
def test_timeout_leaves_the_buffer_with_the_queue():
    """The chain stays in the ring, the memory stays alive, and is freed once used."""
    vq, device = rig()
    device.dead = True
    buf = bytearray(8)
    head = vq.add([b"x"], [buf])
    with pytest.raises(OSError) as info:
        vq.wait(head, timeout_ms=5)
    assert info.value.args[0] == 110 and "echo0" in info.value.args[1]
    assert vq.in_flight == 1
    assert vq._inflight[head][2][0] is buf
    queue = device.queues[0]
    queue.finish(queue.held[0], 1)
    vq.reap()
    assert vq.in_flight == 0 and vq.num_free == 16
    assert vq.get() is None
    assert vq._inflight == [None] * 16


def test_ctrl_c_leaves_the_buffer_with_the_queue(monkeypatch):
    vq, device = rig()
    device.dead = True
    head = vq.add([b"x"], [bytearray(8)])

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vq, "poll", interrupt)
        with pytest.raises(KeyboardInterrupt):
            vq.wait(head)
    assert vq._inflight[head] is not None
    device.dead = False
    other = vq.add([b"y"], [bytearray(1)])
    assert vq.wait(other) == 1
    assert vq.num_free == 16


@pytest.mark.parametrize(
    "lie,text",
    [
        (lambda head, n: (16, n), "used id 16 in a queue of 16"),
        (lambda head, n: (head + 3, n), "is not in flight"),
        (lambda head, n: (head, n + 1), "more than its writable bytes"),
    ],
)
@pytest.mark.clauses("GEN-INIT-13")
def test_lying_device_is_stopped(lie, text):
    """FAILED is set, every further call raises, close() and open() bring it back."""
    vq, device = rig()
    device.lie = lie
    head = vq.add([b"x"], [bytearray(1)])
    with pytest.raises(DeviceError, match=text):
        vq.wait(head)
    assert device.status & 128
    driver = vq.device
    with pytest.raises(DeviceError, match=text):
        vq.add([b"x"], [])
    with pytest.raises(DeviceError, match=text):
        vq.get()
    assert "FAILED" in repr(driver)
    driver.close()
    device.lie = None
    driver.open()
    assert driver.vq.wait(driver.vq.add([b"x"], [bytearray(1)])) == 1


def test_runaway_used_index_is_stopped():
    vq, device = rig()
    device.queues[0].push(0, 0)
    with pytest.raises(DeviceError, match="ahead"):
        vq.get()


@pytest.mark.clauses("GEN-STATUS-04", "GEN-OPER-02")
def test_needs_reset_ends_the_wait(transport):
    vq, device = rig(transport)
    device.dead = True
    head = vq.add([b"x"], [bytearray(1)])
    vq.notify()
    device.need_reset()
    with pytest.raises(DeviceError, match="reset"):
        vq.wait(head, timeout_ms=50)
    vq.device.close()
    device.dead = False
    vq.device.open()
    assert vq.device.vq.wait(vq.device.vq.add([b"x"], [bytearray(1)])) == 1


@pytest.mark.clauses("SPLIT-UNOTIF-05")
def test_spurious_completion_interrupt_is_harmless():
    vq, device = rig()
    vq.device.on_interrupt()
    assert vq.get() is None


def test_polling_device_needs_no_notification(transport):
    """A device that suppresses notifications and looks by itself is served all the same."""
    vq, device = rig(transport, ring_features=0)
    device.polling = True
    device.queues[0].set_no_notify(True)
    head = vq.add([b"ab"], [bytearray(2)])
    assert vq.wait(head) == 2


def test_model_catches_a_missing_notification():
    vq, device = rig(ring_features=0)
    vq._state.buf[80:88] = vq.st.to_bytes(8, "little")  # the register is somewhere else
    head = vq.add([b"x"], [])
    with pytest.raises(Violation, match="SPLIT-ANOTIF-04"):
        vq.wait(head, timeout_ms=5)


def test_model_catches_a_needless_notification():
    vq, device = rig()
    with pytest.raises(Violation, match="SPLIT-ANOTIF-07"):
        mem32[0x1000_8050] = 0


def test_model_catches_a_scribble_on_a_descriptor_in_flight():
    vq, device = rig()
    device.manual = True
    vq.add([b"x"], [])
    vq.notify()
    vq._area.buf[8] ^= 1
    with pytest.raises(Violation, match="GEN-CLEANUP-01"):
        device.queues[0].look()


@pytest.mark.clauses("SPLIT-LAYOUT-01", "MMIO-17", "MMIO-LEG-05")
def test_size_is_rounded_down_to_a_power_of_two(transport):
    device = Echo(legacy=transport == "mmio-legacy", queues=(100,))
    driver, _ = attach(device, EchoDriver)
    driver.open()
    assert driver.vq.size == 64
    assert device.queues[0].size == 64


def test_queue_of_one_works(transport):
    vq, _ = rig(transport, size=1, ring_features=0)
    for _ in range(3):
        assert vq.wait(vq.add([b"x"], [])) == 0


@pytest.mark.clauses("MMIO-03")
def test_missing_queue_is_enodev():
    vq, _ = rig()
    with pytest.raises(OSError) as info:
        vq.device.queue(5)
    assert info.value.args[0] == 19


def test_dump_shows_what_is_in_flight(capsys):
    vq, device = rig()
    device.manual = True
    vq.add([b"abc"], [bytearray(4)])
    vq.notify()
    vq.dump()
    text = capsys.readouterr().out
    assert "in flight" in text and "+3 readable" in text and "+4 writable" in text
    assert repr(vq).startswith("<queue 0 of echo0: split, size 16")


def test_fences_are_executed():
    vq, _ = rig()
    before = riscv.fences[0]
    vq.wait(vq.add([b"x"], []))
    assert riscv.fences[0] >= before + 3
