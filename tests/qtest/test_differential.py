"""The strict model against QEMU: the same driver, the same requests, the same answers and register accesses."""

import random
import struct

import fake_blk
import pytest
import virtio.discover
from fake_blk import FakeBlk
from virtio.device import Device
from virtio_host import BASE, FakeMMIO, fresh, mmio

RINGS = ["packed=off,event_idx=on", "packed=off,event_idx=off", "packed=on,event_idx=on", "packed=on,event_idx=off"]
SECTORS = 2048
SERIAL = "fake-disk-0001"
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13


class RawBlk(Device):
    """Requests byte by byte; reads all of the configuration that is there."""

    NAME = "blk"
    FEATURES = sum(1 << bit for bit in (1, 2, 4, 5, 6, 9, 10, 11, 13, 14))

    def probe(self):
        self.seen = {}
        for off, (width, bit) in FakeBlk.FIELDS.items():
            if bit is None or self.offered >> bit & 1:
                self.seen[off] = getattr(self, "config_u%d" % (8 * width))(off)
        self.vq = self.queue(0)

    def request(self, readable, writable):
        """(status, used length, data) of one request."""
        head = self.vq.add(readable, writable)
        length = self.vq.wait(head, timeout_ms=5000)
        data = b"".join(bytes(b) for b in writable)
        return data[-1], length, data[:-1]


def cut(data, dice, most=6):
    """The same bytes in several buffers."""
    marks = sorted(dice.sample(range(1, len(data)), min(len(data) - 1, dice.randint(0, most))))
    return [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)])]


def requests(seed, count, whole):
    """(readable, writable sizes) of legal requests; whole: header and status have descriptors of their own."""
    dice = random.Random(seed)
    for _ in range(count):
        kind = dice.choice([IN, IN, OUT, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, 99])
        sector, n = dice.randrange(SECTORS - 16), dice.randint(1, 16)
        data, room = b"", 0
        if kind == IN:
            room = 512 * n
        elif kind == OUT:
            data = dice.randbytes(512 * n)
        elif kind == GET_ID:
            room = 20
        elif kind in (DISCARD, WRITE_ZEROES):
            data = struct.pack("<QII", sector, n, 0)
        if kind not in (IN, OUT):
            sector = 0
        header = struct.pack("<IIQ", kind, 0, sector)
        if whole:
            readable = [header, *(cut(data, dice) if data else [])]
            sizes = [*([len(b) for b in cut(bytes(room), dice)] if room else []), 1]
        else:
            readable = cut(header + data, dice)
            sizes = [len(b) for b in cut(bytes(room + 1), dice)] if room else [1]
        yield kind, readable, sizes


def play(driver, seed, whole):
    """What a device answers."""
    answers = []
    for kind, readable, sizes in requests(seed, 120, whole):
        status, length, data = driver.request(readable, [bytearray(b"\xff" * n) for n in sizes])
        if kind == GET_ID:
            data = data.partition(b"\0")[0]  # QEMU leaves what follows as it is
        answers.append((kind, status, length, data))
    return answers


class Recorder(FakeMMIO):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.log = []

    def read(self, off, width):
        value = super().read(off, width)
        self.log.append(("r", off, width, value))
        return value

    def write(self, off, width, value):
        self.log.append(("w", off, width, value))
        super().write(off, width, value)


def comparable(log):
    """Without addresses of memory, notifications and looks at a live device's status: those depend on who is faster."""
    addresses = {0x40, 0x50, 0x80, 0x84, 0x90, 0x94, 0xA0, 0xA4}
    return [e for e in log if not (e[0] == "w" and e[1] in addresses or e[:2] == ("r", 0x70) and e[3] & 4)]


def model(driver, config, readonly):
    """A FakeBlk that offers what QEMU's device did."""
    legacy = driver.transport.legacy
    device = FakeBlk(sectors=SECTORS, queue=1024, legacy=legacy)
    device.offered = driver.offered
    if not legacy and driver.offered >> 64:
        device.offered &= (1 << 64) - 1
    device.config[:] = config
    names = dict(zip(fake_blk._NAMES, struct.unpack(fake_blk._FORMAT, bytes(device.config))))
    device.settings.update(names)
    device.disk[:] = bytes(range(256)) * (2 * SECTORS)
    return device


@pytest.mark.parametrize("readonly", [False, True], ids=["rw", "ro"])
@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
@pytest.mark.parametrize("ring", RINGS)
def test_model_and_qemu_answer_alike(machine, tmp_path, ring, legacy, readonly):
    if legacy and "packed=on" in ring:
        ring = "packed=off,event_idx=on,indirect_desc=off"
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(range(256)) * (2 * SECTORS))
    drive = "file=%s,format=raw,if=none,id=disk,discard=unmap,readonly=%s" % (image, "on" if readonly else "off")
    option = "virtio-blk-device,drive=disk,serial=%s,%s" % (SERIAL, ring)
    qemu = machine("-drive", drive, "-device", option, legacy=legacy)
    transport = virtio.discover.find("blk0").transport
    del qemu.bus.log[:]
    driver = RawBlk(mmio.find(transport.base), "blk0").open()
    config = qemu.peek(transport.base + 0x100, len(FakeBlk().config))
    expected = play(driver, 1, legacy)
    driver.close()
    expected_log = [(way, addr - transport.base, width, value) for way, addr, width, value in qemu.bus.log]
    contents = image.read_bytes()

    qemu.stop()
    fresh()
    device = model(driver, config, readonly)
    registers = Recorder(device, BASE)
    twin = RawBlk(mmio.find(BASE), "blk0").open()
    assert twin.features == driver.features and twin.seen == driver.seen
    answers = play(twin, 1, legacy)
    twin.close()
    assert answers == expected
    assert device.disk == contents
    assert comparable(registers.log) == comparable(expected_log)
