"""modules/virtio/queue: chains against the strict device, lifetime of buffers, deadlines, bad devices."""

import pytest
import riscv
from fake_device import IN_ORDER, INDIRECT_DESC, NOTIFICATION_DATA, RING_PACKED, RING_RESET, FakeDevice, Violation, mask
from machine import mem32
from virtio.device import Device
from virtio.transport import DeviceError
from virtio_host import CASES, LAYOUTS, LEGACY, PACKED, SPLIT, TRANSPORTS, attach, fresh, ring_id, warp


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


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


def rig(transport="mmio", ring_features=SPLIT[3], size=16, **options):
    device = Echo(legacy=transport in LEGACY, ring_features=ring_features, queues=(size,), **options)
    driver, _ = attach(device, EchoDriver, transport=transport)
    driver.open()
    return driver.vq, device


@pytest.mark.parametrize("transport,features", CASES)
@pytest.mark.clauses("GEN-RSVD-05", "SPLIT-DESC-02", "SPLIT-FRAME-01", "SPLIT-FRAME-02")
@pytest.mark.clauses("PACKED-SG-08", "PACKED-SG-02", "PACKED-SG-03")
def test_chain_goes_to_the_device_and_back(transport, features):
    vq, _ = rig(transport, features)
    answer = bytearray(6)
    head = vq.add([b"abc", b"def"], [answer])
    assert vq.wait(head) == 6
    assert answer == b"fedcba"
    assert vq.num_free == 16 and vq.in_flight == 0


@pytest.mark.parametrize("transport,features", CASES)
@pytest.mark.clauses("SPLIT-INDIR-01", "SPLIT-INDIR-02", "SPLIT-INDIR-03", "SPLIT-INDIR-04")
@pytest.mark.clauses("PACKED-INDIR-01", "PACKED-INDIR-02", "PACKED-INDIR-03", "PACKED-INDIR-05", "PACKED-SG-01")
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


@pytest.mark.clauses("SPLIT-INDIR-03", "PACKED-SG-07", "PACKED-INDIR-04")
def test_chain_longer_than_the_queue_is_refused(layout):
    vq, _ = rig(ring_features=layout, size=4)
    with pytest.raises(ValueError):
        vq.add([b"x"] * 5, [])
    with pytest.raises(ValueError):
        vq.add([], [])
    with pytest.raises(ValueError):
        vq.add([b""], [])
    assert vq.num_free == 4


@pytest.mark.clauses("SPLIT-DESC-02")
def test_chain_of_more_bytes_than_32_bits_count_is_refused(layout):
    vq, device = rig(ring_features=layout)
    with pytest.raises(ValueError, match="2\\^32"):
        vq.add([(0x8000_0000, 0x8000_0000)] * 2, [(0x8000_0000, 1)])
    assert vq.num_free == 16 and device.queues[0].held == []


@pytest.mark.parametrize("features", [0, 1 << RING_PACKED], ids=ring_id)
@pytest.mark.clauses("PACKED-SG-09", "PACKED-SG-10")
def test_full_queue_says_eagain_and_recovers(features):
    vq, device = rig(ring_features=features, size=4)
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


@pytest.mark.parametrize("transport,features", CASES)
@pytest.mark.parametrize("start", [0, 65500])
@pytest.mark.clauses("SPLIT-LEGLAYOUT-04", "SPLIT-AVAIL-01", "SPLIT-ANOTIF-04", "SPLIT-ANOTIF-06", "SPLIT-ANOTIF-07")
@pytest.mark.clauses("PACKED-WRAP-01", "PACKED-WRAP-02", "PACKED-WRAP-03", "PACKED-EVENT-02", "PACKED-EVENT-03")
@pytest.mark.clauses("PACKED-DESC-01", "PACKED-DESC-02", "PACKED-SG-04", "PACKED-SG-05", "PACKED-SG-11")
def test_many_in_flight_complete_in_any_order_across_the_wrap(transport, features, start):
    vq, device = rig(transport, features)
    device.manual = True
    queue = device.queues[0]
    warp(vq, queue, start)
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


def test_wait_for_one_keeps_the_others_for_get(layout):
    vq, device = rig(ring_features=layout)
    first = vq.add([b"1"], [bytearray(1)], "first")
    second = vq.add([b"2"], [bytearray(1)], "second")
    assert vq.wait(second) == 1
    assert vq.get() == ("first", 1)
    assert vq.get() is None
    assert first != second


@pytest.mark.clauses("GEN-CLEANUP-01")
def test_timeout_leaves_the_buffer_with_the_queue(layout):
    """The chain stays in the ring, the memory stays alive, and is freed once used."""
    vq, device = rig(ring_features=layout)
    device.dead = True
    buf = bytearray(8)
    head = vq.add([b"x"], [buf])
    with pytest.raises(OSError) as info:
        vq.wait(head, timeout_ms=5)
    assert info.value.args[0] == 110 and "echo0" in info.value.args[1]
    assert vq.in_flight == 1
    assert vq._inflight[head] is not None and vq._inflight[head][2][0] is buf
    queue = device.queues[0]
    queue.finish(queue.held[0], 1)
    vq.reap()
    assert vq.in_flight == 0 and vq.num_free == 16
    assert vq.get() is None
    assert vq._inflight == [None] * 16


def test_ctrl_c_leaves_the_buffer_with_the_queue(monkeypatch, layout):
    vq, device = rig(ring_features=layout)
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
def test_lying_device_is_stopped(lie, text, layout):
    """FAILED is set, every further call raises, close() and open() bring it back."""
    vq, device = rig(ring_features=layout)
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


def test_used_buffer_that_nobody_gave_is_refused(layout):
    vq, device = rig(ring_features=layout)
    device.queues[0].push(0, 0)
    with pytest.raises(DeviceError, match="not in flight" if vq.packed else "ahead"):
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
def test_spurious_completion_interrupt_is_harmless(layout):
    vq, device = rig(ring_features=layout)
    vq.device.on_interrupt()
    assert vq.get() is None


@pytest.mark.parametrize("transport,features", [c for c in CASES if not c.values[1] & mask(28, 29)])
@pytest.mark.clauses("SPLIT-ANOTIF-03", "PACKED-EVENT-02")
def test_polling_device_needs_no_notification(transport, features):
    """A device that suppresses notifications and looks by itself is served all the same."""
    vq, device = rig(transport, features)
    device.polling = True
    device.queues[0].set_no_notify(True)
    head = vq.add([b"ab"], [bytearray(2)])
    assert vq.wait(head) == 2


@pytest.mark.parametrize("features,clause", [(0, "SPLIT-ANOTIF-04"), (1 << RING_PACKED, "PACKED-EVENT-02")])
def test_model_catches_a_missing_notification(features, clause):
    vq, device = rig(ring_features=features)
    vq._state.buf[80:88] = vq._scratch.addr.to_bytes(8, "little")  # the register is somewhere else
    head = vq.add([b"x"], [])
    with pytest.raises(Violation, match=clause):
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
    if transport == "pci-legacy":
        return  # the device chooses
    device = Echo(legacy=transport in LEGACY, queues=(100,))
    driver, _ = attach(device, EchoDriver, transport=transport)
    driver.open()
    assert driver.vq.size == 64
    assert device.queues[0].size == 64


@pytest.mark.parametrize("size", [1, 3, 100, 32767, 32768, 65535])
@pytest.mark.clauses("PACKED-LAYOUT-01", "PACKED-LAYOUT-02", "PACKED-LAYOUT-03", "PACKED-LAYOUT-04")
def test_packed_queue_has_any_size(size):
    device = Echo(ring_features=PACKED[3], queues=(size,))
    driver, _ = attach(device, EchoDriver)
    driver.SIZE = 65535
    driver.open()
    vq = driver.vq
    assert vq.size == device.queues[0].size == min(size, 32768)
    warp(vq, device.queues[0], 2 * vq.size - 1)
    for _ in range(4):
        answer = bytearray(3)
        assert vq.wait(vq.add([b"ab"], [answer] if size > 1 else [])) == (2 if size > 1 else 0)
        assert answer[:2] == (b"ba" if size > 1 else bytes(2))
    assert vq.num_free == vq.size


@pytest.mark.clauses("SPLIT-LAYOUT-01")
def test_split_queue_of_32768():
    vq, device = rig(size=40000)
    device.queues[0].stop()
    driver = vq.device
    driver.SIZE = 40000
    driver.close()
    driver.open()
    assert driver.vq.size == 32768
    warp(driver.vq, device.queues[0], 65535)
    heads = [driver.vq.add([b"x"], []) for _ in range(3)]
    assert [driver.vq.wait(head) for head in heads] == [0, 0, 0]


@pytest.mark.parametrize("transport,features", CASES)
def test_queue_of_one_works(transport, features):
    vq, _ = rig(transport, features & ~(1 << INDIRECT_DESC), size=1)
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


def test_fences_are_executed(layout):
    vq, _ = rig(ring_features=layout)
    before = riscv.fences[0]
    vq.wait(vq.add([b"x"], []))
    assert riscv.fences[0] >= before + 3


# -- features that change what the two sides say to each other -------------------------------

ORDERED = [f | 1 << IN_ORDER for f in (*SPLIT, *PACKED)]


@pytest.mark.parametrize("features", ORDERED, ids=ring_id)
@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("start", [0, 65530])
@pytest.mark.clauses("SPLIT-DESC-01", "SPLIT-DESC-03", "SPLIT-INDIR-05", "SPLIT-INORDER-01", "SPLIT-INORDER-02")
@pytest.mark.clauses("PACKED-INORDER-01")
def test_one_used_element_ends_a_batch_in_order(features, batch, start):
    vq, device = rig(ring_features=features, size=16)
    device.batch = batch
    warp(vq, device.queues[0], start)
    device.queues[0].next_desc = 0
    for _ in range(12):
        answers = [bytearray(2) for _ in range(7)]
        for i, answer in enumerate(answers):
            vq.add([bytes([i])] if i % 3 else [bytes([i]), b"y"], [answer] if i % 2 else [], i)
        vq.notify()
        got = [vq.get() or (None, 0) for _ in range(7)]
        assert [token for token, _ in got] == list(range(7))
        assert vq.get() is None and vq.in_flight == 0 and vq.num_free == 16
    assert driver_accounts(vq) == []


def driver_accounts(vq):
    """Heads that the queue still knows of."""
    return [head for head in range(vq.size) if vq._inflight[head] is not None]


@pytest.mark.parametrize("features", ORDERED, ids=ring_id)
@pytest.mark.clauses("SPLIT-DESC-01")
def test_chains_in_order_may_be_given_back_in_any_order(features):
    vq, device = rig(ring_features=features, size=8)
    for _ in range(30):
        heads = [vq.add([b"ab"], [bytearray(2)]) for _ in range(4)]
        assert [vq.wait(heads[i]) for i in (2, 0, 3, 1)] == [2] * 4
    assert vq.num_free == 8


@pytest.mark.parametrize("features", [f | 1 << NOTIFICATION_DATA for f in (*SPLIT, *PACKED)], ids=ring_id)
@pytest.mark.parametrize("start", [0, 32766, 65530])
@pytest.mark.clauses("GEN-NOTIFDATA-01", "GEN-NOTIFDATA-02", "MMIO-36", "PACKED-DESC-03")
def test_notification_tells_where_the_next_chain_goes(features, start):
    vq, device = rig(ring_features=features, size=16)
    warp(vq, device.queues[0], start)
    for i in range(40):
        assert vq.wait(vq.add([b"ab"] * (1 + i % 2), [bytearray(9)])) == 2 + i % 2 * 2


# -- interrupts and their suppression ----------------------------------------------------------


@pytest.mark.parametrize("features", SPLIT + PACKED, ids=ring_id)
@pytest.mark.parametrize("start", [0, 65530])
@pytest.mark.clauses("SPLIT-UNOTIF-01", "SPLIT-UNOTIF-02", "SPLIT-UNOTIF-03", "SPLIT-RECV-01", "SPLIT-RECV-02")
@pytest.mark.clauses("PACKED-EVENT-01", "PACKED-EVENT-04", "PACKED-RECV-01", "PACKED-RECV-02")
def test_callbacks_are_switched_off_and_on(features, start):
    vq, device = rig(ring_features=features)
    device.manual = True
    queue = device.queues[0]
    warp(vq, queue, start)
    for _ in range(9):
        for i in range(4):
            vq.add([bytes([i])], [bytearray(1)], i)
        vq.notify()
        vq.disable_cb()
        before = device.interrupts
        queue.finish(queue.held[0], 1)
        assert device.interrupts == before
        assert vq.enable_cb() is True
        assert vq.get() == (0, 1)
        assert vq.enable_cb() is False
        queue.finish(queue.held[0], 1)
        assert device.interrupts == before + 1
        assert vq.get() == (1, 1) and vq.get() is None
        queue.finish(queue.held[0], 1)
        assert device.interrupts == before + 2
        vq.disable_cb()
        queue.finish(queue.held[0], 1)
        assert device.interrupts == before + 2
        assert [vq.get(), vq.get(), vq.get()] == [(2, 1), (3, 1), None]


@pytest.mark.parametrize("features", SPLIT + PACKED, ids=ring_id)
@pytest.mark.parametrize("start", [0, 65530])
@pytest.mark.clauses("SPLIT-UNOTIF-04")
def test_delayed_callback_waits_for_three_quarters(features, start):
    vq, device = rig(ring_features=features)
    device.manual = True
    queue = device.queues[0]
    warp(vq, queue, start)
    for _ in range(5):
        for i in range(8):
            vq.add([], [bytearray(1)], i)
        vq.notify()
        before = device.interrupts
        assert vq.enable_cb_delayed() is False
        came = []
        for _ in range(8):
            queue.finish(queue.held[0], 1)
            came.append(device.interrupts - before)
        assert came[6] == 1 if vq.event_idx else came == list(range(1, 9))
        assert not vq.event_idx or came[5] == 0
        assert [vq.get()[0] for _ in range(8)] == list(range(8))


def test_buffer_used_while_the_event_moves_is_not_missed(layout):
    """The device answers just before reap() says which buffer it wants to hear of next."""
    vq, device = rig(ring_features=layout)
    device.manual = True
    queue = device.queues[0]
    for i in range(3):
        vq.add([], [bytearray(1)], i)
    vq.notify()
    assert vq.enable_cb() is False
    queue.finish(queue.held[0], 1)
    riscv.on_fence.append(lambda: queue.held and queue.finish(queue.held[0], 1))
    vq.reap()
    riscv.on_fence.clear()
    assert [vq.get() for _ in range(4)] == [(0, 1), (1, 1), (2, 1), None]


# -- who gets a chain ------------------------------------------------------------------------------


def test_get_leaves_chains_without_a_token_to_wait(layout):
    vq, _ = rig(ring_features=layout)
    mine = vq.add([b"1"], [bytearray(1)])
    vq.add([b"2"], [bytearray(1)], "other")
    vq.notify()
    assert vq.get() == ("other", 1)
    assert vq.get() is None
    assert vq.wait(mine) == 1
    with pytest.raises(ValueError):
        vq.wait(mine)


def test_readable_memory_is_not_taken_for_writing(layout):
    vq, _ = rig(ring_features=layout)
    with pytest.raises(TypeError):
        vq.add([], [b"constant"])
    assert vq.num_free == 16


def test_chain_of_an_earlier_life_is_refused(layout):
    vq, _ = rig(ring_features=layout)
    driver = vq.device
    head = vq.add([b"x"], [])
    driver.close()
    driver.open()
    for call in (lambda: vq.add([b"x"], []), lambda: vq.get(), lambda: vq.wait(head)):
        with pytest.raises(OSError, match="was reset"):
            call()


# -- the reset of one queue ------------------------------------------------------------------------

RESETS = [("mmio", SPLIT[3]), ("mmio", PACKED[3]), ("pci", SPLIT[3]), ("pci", PACKED[3])]


def reset_rig(transport, features):
    device = Echo(ring_features=features | 1 << RING_RESET, queues=(32,))
    driver, registers = attach(device, EchoDriver, transport=transport)
    driver.SIZE = 16
    driver.open()
    return driver.vq, device, registers


@pytest.mark.parametrize("transport,features", RESETS)
@pytest.mark.parametrize("size", [None, 8, 32])
@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.clauses("GEN-VQRESET-01", "GEN-VQRESET-02", "GEN-VQRESET-03", "GEN-CLEANUP-02")
@pytest.mark.clauses("MMIO-24", "MMIO-25", "MMIO-26")
def test_queue_is_reset_and_set_up_again(transport, features, size, delay):
    vq, device, _ = reset_rig(transport, features)
    device.queue_reset_delay = delay
    assert vq.wait(vq.add([b"ab"], [bytearray(2)])) == 2
    device.manual = True
    lost = bytearray(4)
    for i in range(3):
        vq.add([b"ab"], [lost], "token %d" % i)
    vq.notify()
    vq.add([b"not published"], [])
    assert sorted(vq.reset(size)) == ["token 0", "token 1", "token 2"]
    assert (vq.size, vq.num_free, vq.in_flight) == (size or 16, size or 16, 0)
    lost[:] = b"mine"
    device.manual = False
    for _ in range(40):
        assert vq.wait(vq.add([b"ab"], [bytearray(2)])) == 2
    assert lost == b"mine" and vq.get() is None


@pytest.mark.parametrize("transport,features", RESETS)
def test_reset_of_a_queue_ends_who_waits(transport, features, monkeypatch):
    vq, device, _ = reset_rig(transport, features)
    device.manual = True
    head = vq.add([b"ab"], [bytearray(2)])
    check = device.read_status

    def status():
        if vq.life == 0:
            vq.reset()
        return check()

    monkeypatch.setattr(vq.device, "check_status", status)
    with pytest.raises(OSError, match="queue 0 was reset") as info:
        vq.wait(head, timeout_ms=0)
    assert info.value.args[0] == 5
    device.manual = False
    assert vq.wait(vq.add([b"ab"], [bytearray(2)])) == 2
    assert vq.num_free == 16


@pytest.mark.clauses("GEN-VQRESET-01", "MMIO-24")
def test_device_that_only_says_it_can_reset_queues():
    """QEMU 7.2 over MMIO: the write is ignored and the register reads 0."""
    vq, device, registers = reset_rig("mmio", SPLIT[3])
    registers.ignore_queue_reset = True
    head = vq.add([b"ab"], [bytearray(2)])
    with pytest.raises(OSError) as info:
        vq.reset()
    assert info.value.args[0] == 95 and "ignored" in info.value.args[1]
    assert vq.wait(head) == 2


@pytest.mark.parametrize("transport,features", RESETS)
@pytest.mark.clauses("GEN-VQRESET-01", "MMIO-24")
def test_reset_that_does_not_end_gives_the_device_up(transport, features, monkeypatch):
    vq, device, _ = reset_rig(transport, features)
    monkeypatch.setattr("virtio.%s._RESET_MS" % transport, 2)
    device.queue_reset_delay = -1
    with pytest.raises(DeviceError, match="does not end"):
        vq.reset()
    with pytest.raises(DeviceError, match="does not end"):
        vq.add([b"ab"], [])
    assert device.status & 128


def test_chain_that_a_callback_takes_in_at_the_deadline_is_no_time_out(layout, monkeypatch):
    vq, device = rig(ring_features=layout)
    device.manual = True
    head = vq.add([b"ab"], [bytearray(2)])
    vq.notify()

    def callback():
        device.queues[0].finish(device.queues[0].held[0], 1)
        vq.reap()

    monkeypatch.setattr(vq.device, "check_status", callback)
    assert vq.wait(head, timeout_ms=0) == 1


def test_queue_is_not_reset_without_the_feature(layout):
    vq, _ = rig(ring_features=layout)
    with pytest.raises(OSError) as info:
        vq.reset()
    assert info.value.args[0] == 95


# -- features by hand ----------------------------------------------------------------------------


@pytest.mark.parametrize("left_out", [RING_PACKED, INDIRECT_DESC, 29])
def test_features_can_be_left_out(left_out):
    device = Echo(ring_features=PACKED[3])
    driver, _ = attach(device, EchoDriver)
    device.optional = {RING_PACKED}  # the driver may be told to do without
    driver.accept = ~(1 << left_out)
    driver.open()
    assert driver.features == device.features == (PACKED[3] | 1 << 32) & ~(1 << left_out)
    assert driver.vq.packed == (left_out != RING_PACKED)
    assert driver.vq.wait(driver.vq.add([b"ab"], [bytearray(2)])) == 2
    driver.close()
    driver.accept = 0
    assert driver.open().features == 1 << 32
