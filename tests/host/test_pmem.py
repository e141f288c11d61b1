"""modules/virtio/pmem on a strict device."""

import struct

import pytest
from fake_device import FakeDevice, require
from shim.memory import memory
from virtio.pmem import PMem
from virtio.transport import DeviceError
from virtio_host import LAYOUTS, fresh
from virtio_host import attach as plug

SIZE = 1 << 16


class FakePMem(FakeDevice):
    """shm: the region is shared memory 0, not what the configuration says."""

    DEVICE_ID = 27
    SHM_EXPECTED = True

    def __init__(self, shm=False, **options):
        self.data = bytearray(SIZE)
        addr = memory.addr(self.data)
        self.FIELDS = {} if shm else {off: (4, None) for off in (0, 4, 8, 12)}
        super().__init__(features=int(shm), config=struct.pack("<QQ", addr, SIZE), queues=(16,), **options)
        if shm:
            self.shm = {0: (addr, SIZE), 1: (0x1000, 16)}
        self.saved = bytes(SIZE)
        self.result = 0
        self.length = 4

    def process(self, queue, chain):
        require(chain.data() == bytes(4) and chain.room == 4, "PMEM-03", "%r and %d" % (chain.data(), chain.room))
        self.saved = bytes(self.data)
        chain.write(struct.pack("<I", self.result))
        return self.length


@pytest.fixture
def pmem():
    fresh()
    opened = []

    def make(**options):
        model = FakePMem(**options)
        driver, _ = plug(model, PMem)
        opened.append(driver)
        return driver, model

    yield make
    for driver in opened:
        driver.close()


@pytest.mark.clauses("PMEM-01", "PMEM-02", "PMEM-03")
@pytest.mark.parametrize("shm", [False, True])
@pytest.mark.parametrize("rings", LAYOUTS)
def test_bytes_and_sectors_are_safe_after_a_flush(pmem, shm, rings):
    driver, model = pmem(shm=shm, ring_features=rings)
    driver.open()
    assert driver.capacity_sectors == 128 == driver.ioctl(4, 0) and "+0x10000" in repr(driver)
    driver.mem[5:8] = b"abc"
    driver.write(2, b"x" * 1024)
    driver.writeblocks(10, b"part", 3)
    assert model.saved == bytes(SIZE)
    driver.ioctl(3, 0)
    assert model.saved[5:8] == b"abc" and model.saved[1024:2048] == b"x" * 1024 and model.saved[5123:5127] == b"part"
    buf = bytearray(512)
    driver.read(3, buf)
    assert buf == b"x" * 512
    for sector, size in ((0, 100), (128, 512), (-1, 512)):
        with pytest.raises(ValueError, match="at sector"):
            driver.read(sector, bytearray(size))


def test_flushes_that_fail(pmem):
    driver, model = pmem()
    driver.open()
    model.result = 0xFFFFFFFF
    with pytest.raises(OSError, match="pmem0: flush: 0xffffffff"):
        driver.flush()
    model.result, model.dead = 0, True
    with pytest.raises(OSError, match="no answer in 10 ms"):
        driver.flush(timeout_ms=10)
    driver.close()
    model.dead, model.length = False, 2
    driver.open()
    with pytest.raises(DeviceError, match="answer of 2 bytes"):
        driver.flush()


def test_devices_without_memory(pmem):
    driver, model = pmem(shm=True)
    model.shm = {}
    with pytest.raises(DeviceError, match="without a shared memory region 0"):
        driver.open()
    fresh()
    driver, model = pmem()
    model.config[8:] = bytes(8)
    with pytest.raises(DeviceError, match="no memory"):
        driver.open()
