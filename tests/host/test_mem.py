"""modules/virtio/mem on a strict device."""

import errno
import struct

import pytest
from fake_device import FakeDevice, require
from shim.memory import memory
from virtio.mem import Mem
from virtio.transport import DeviceError
from virtio_host import LAYOUTS, fresh
from virtio_host import attach as plug

BLOCK = 4096
BLOCKS = 16
PLUG, UNPLUG, UNPLUG_ALL, STATE = range(4)
ACK, NACK, BUSY, ERROR = range(4)


class FakeMem(FakeDevice):
    """Memory that is not plugged holds 0xEE, which nobody may change."""

    DEVICE_ID = 24
    FIELDS = {off: (4, None) for off in (0, 4, *range(16, 56, 4))}

    def __init__(self, usable=BLOCKS, wanted=0, left=0, **options):
        raw = bytearray(BLOCK * (BLOCKS + 1))
        addr = memory.addr(raw)
        skip = -addr % BLOCK
        self.data = memoryview(raw)[skip : skip + BLOCK * BLOCKS]
        self.data[:] = b"\xee" * len(self.data)
        self.base = addr + skip
        sizes = (self.base, BLOCK * BLOCKS, BLOCK * usable, BLOCK * left, BLOCK * wanted)
        config = struct.pack("<QH6s5Q", BLOCK, 0xABCD, b"noise!", *sizes)
        options.setdefault("features", 7)
        super().__init__(config=config, queues=(16,), **options)
        self.plugged = set(range(left))
        self.answer = None  # in place of ACK
        self.length = None
        self.log = []

    def write_config(self, off, width, value):
        require(False, "MEM-01", "configuration offset %d written" % off)

    def want(self, blocks, usable=BLOCKS):
        self.change_config(struct.pack("<Q", usable * BLOCK), 32)
        self.change_config(struct.pack("<Q", blocks * BLOCK), 48)

    def untouched(self):
        for n in set(range(BLOCKS)) - self.plugged:
            require(bytes(self.data[n * BLOCK :][:BLOCK]) == b"\xee" * BLOCK, "MEM-06", "block %d was written" % n)

    def process(self, queue, chain):
        data = chain.data()
        require(len(data) == 24 and chain.room == 10, "MEM-17", "%d and %d" % (len(data), chain.room))
        kind, a, b, c, addr, count, *rest = struct.unpack("<HHHHQHHHH", data)
        require(kind <= 3 and not any((a, b, c, *rest)), "MEM-17", data.hex())
        block = (addr - self.base) // BLOCK
        if kind != UNPLUG_ALL:
            require(addr % BLOCK == 0 and count and 0 <= block <= BLOCKS - count, "MEM-14", "%#x+%d" % (addr, count))
        blocks = set(range(block, block + count))
        self.log.append(kind)
        code = ACK if self.answer is None else self.answer
        state = 0
        if kind == STATE:
            inside = len(blocks & self.plugged)
            state = 0 if inside == count else 1 if inside == 0 else 2
        elif code == ACK:
            self._change(kind, blocks)
        chain.write(struct.pack("<HHHHH", code, 1, 2, 3, state if kind == STATE else 77))
        return 10 if self.length is None else self.length

    def _change(self, kind, blocks):
        if kind == PLUG:
            usable, _, wanted = struct.unpack_from("<QQQ", self.config, 32)
            require(max(blocks) < usable // BLOCK, "MEM-14", str(blocks))
            require(not blocks & self.plugged, "MEM-13", str(blocks))
            self.plugged |= blocks
            require(len(self.plugged) * BLOCK <= wanted, "MEM-13", "%d blocks" % len(self.plugged))
            return
        gone = set(self.plugged) if kind == UNPLUG_ALL else blocks
        require(gone <= self.plugged, "MEM-13", str(blocks))
        self.plugged -= gone
        for n in gone:
            self.data[n * BLOCK : (n + 1) * BLOCK] = b"\xee" * BLOCK
        self.config[40:48] = struct.pack("<Q", len(self.plugged) * BLOCK)


@pytest.fixture
def mem():
    fresh()
    opened = []

    def make(**options):
        model = FakeMem(**options)
        driver, _ = plug(model, Mem)
        opened.append((driver, model))
        return driver.open(), model

    yield make
    for driver, model in opened:
        if driver.error is None:
            model.untouched()
        driver.close()


@pytest.mark.clauses("MEM-01", "MEM-02", "MEM-03", "MEM-04", "MEM-06", "MEM-12", "MEM-13", "MEM-14")
@pytest.mark.clauses("MEM-17", "MEM-18", "MEM-20")
@pytest.mark.parametrize("rings", LAYOUTS)
def test_it_follows_what_the_host_wants(mem, rings):
    driver, model = mem(ring_features=rings)
    assert driver.features & 7 == 2 and driver.adjust() == 0
    for blocks, usable in ((3, 16), (8, 6), (2, 16), (16, 16), (5, 16), (0, 16)):
        model.want(blocks, usable)
        assert driver.adjust() == min(blocks, usable) * BLOCK == driver.plugged
        assert len(model.plugged) == min(blocks, usable)
        assert all(not any(model.data[n * BLOCK :][:BLOCK]) for n in model.plugged)
        model.untouched()
    model.want(3)
    driver.adjust()
    assert [driver.state(*at) for at in ((0, 3), (3, 4), (2, 2))] == ["plugged", "unplugged", "mixed"]
    assert "3 of 16 blocks plugged" in repr(driver)


@pytest.mark.clauses("MEM-11", "MEM-15")
def test_memory_in_use_stays(mem):
    driver, model = mem(wanted=4)
    driver.adjust()
    addr, view = driver.take(2)
    view[:] = b"u" * (2 * BLOCK)
    assert addr == model.base and driver.take()[0] == addr + 2 * BLOCK
    with pytest.raises(OSError, match="no 2 plugged blocks"):
        driver.take(2)
    model.want(0)
    assert driver.adjust() == 3 * BLOCK and bytes(view[:3]) == b"uuu"
    for block in (0, 3, 2):
        with pytest.raises(ValueError, match="in use or not plugged"):
            driver.unplug(block)
    driver.give(addr)
    assert driver.adjust() == BLOCK and model.plugged == {2}


@pytest.mark.clauses("MEM-05", "MEM-19")
def test_what_was_left_plugged_goes_back(mem):
    driver, model = mem(left=5, wanted=5)
    assert model.log == [UNPLUG_ALL] and not model.plugged and driver.plugged == 0
    assert driver.adjust() == 5 * BLOCK


@pytest.mark.clauses("MEM-17", "MEM-18", "MEM-21")
def test_answers_that_say_no(mem):
    driver, model = mem(wanted=4)
    driver.plug(0, 2)
    for answer, text, number in (
        (NACK, "NACK", errno.EIO),
        (BUSY, "BUSY", errno.EAGAIN),
        (ERROR, "ERROR", errno.EIO),
        (9, "answer 9", errno.EIO),
    ):
        model.answer = answer
        for call in (lambda: driver.plug(2), lambda: driver.unplug(0), lambda: driver.state(0), driver.adjust):
            with pytest.raises(OSError, match=text) as info:
                call()
            assert info.value.errno == number
        assert driver.plugged == 2 * BLOCK and model.plugged == {0, 1}
    for block, count in ((1, 1), (2, 3), (-1, 1), (16, 1), (0, 0)):
        with pytest.raises(ValueError, match="mem0: "):
            driver.plug(block, count)


def test_devices_that_make_no_sense(mem):
    driver, model = mem(wanted=4)
    model.length = 1
    with pytest.raises(DeviceError, match="answer of 1 bytes"):
        driver.plug(0)
    fresh()
    model = FakeMem()
    model.config[0] = 3
    with pytest.raises(DeviceError, match="blocks of"):
        plug(model, Mem)[0].open()
