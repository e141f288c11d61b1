"""modules/virtio/blk against disks that misbehave at random: no hang, no wild access, only documented exceptions."""

import random

import pytest
from fake_blk import FLUSH
from fake_device import EVENT_IDX, INDIRECT_DESC
from shim.memory import memory
from virtio.transport import DeviceError
from virtio_host import LEGACY, TRANSPORTS, Blk, FakeBlk, attach, fresh, mask

SECTORS = 64
STEPS = 150


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


class Hostile:
    """A disk that, now and then, lies; `honest` tells whether the last answers can be believed."""

    def __init__(self, rng, device):
        self.rng, self.device = rng, device
        self.honest = True

    def misbehave(self):
        rng, device = self.rng, self.device
        self.honest = False
        queue = device.queues[0]
        what = rng.randrange(9)
        if what == 0:
            device.lie = lambda head, n: (rng.randrange(1 << 32) if rng.random() < 0.3 else head, n)
        elif what == 1:
            device.lie = lambda head, n: (rng.randrange(queue.size), n)
        elif what == 2:
            device.lie = lambda head, n: (head, rng.randrange(1 << 32))
        elif what == 3:
            device.status_of = lambda kind, sector: rng.choice((0, 1, 2, 3, 0xFF))
        elif what == 4:
            device.dead = True
        elif what == 5 and queue.ready:
            queue.push(rng.randrange(2 * queue.size), rng.randrange(4096))
        elif what == 6:
            device.need_reset()
        elif what == 7:
            device.refuse = True
        elif what == 8 and queue.ready:
            at = queue.used + 2
            memory.view(at, 2)[:] = bytes((rng.randrange(256), rng.randrange(256)))
            queue.used_copy[2:4] = memory.view(at, 2)

    def behave(self):
        device = self.device
        device.lie = device.status_of = None
        device.dead = device.refuse = False


def step(rng, disk, device):
    """One operation; True when it moved data that can be compared."""
    what = rng.randrange(8)
    sector = rng.randrange(SECTORS - 8)
    n = 512 * rng.randrange(1, 8)
    if what == 0:
        disk.write(sector, rng.randbytes(n), timeout_ms=2)
    elif what == 1:
        pieces = [(rng.randrange(SECTORS), bytearray(512)) for _ in range(rng.randrange(1, 60))]
        disk.read_many(pieces, timeout_ms=2, depth=rng.choice((1, 5, 128)))
        return [(s, buf) for s, buf in pieces]
    elif what == 2:
        disk.flush(timeout_ms=2)
    elif what == 3:
        disk.poll_config()
    elif what == 4:
        disk.submit(rng.choice("rw"), sector, bytearray(n))
    elif what == 5:
        disk.engine.pump()
    else:
        buf = bytearray(n)
        disk.read(sector, buf, timeout_ms=2)
        return [(sector, buf)]
    return []


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.clauses("GEN-CLEANUP-01", "GEN-STATUS-03", "GEN-INIT-14")
def test_hostile_disk_never_does_harm(transport, seed):
    """Checked by the model at every step."""
    rng = random.Random(seed * 1000 + len(transport))
    features = rng.choice((0, mask(INDIRECT_DESC), mask(EVENT_IDX), mask(INDIRECT_DESC, EVENT_IDX)))
    options = dict(features=mask(FLUSH), ring_features=features, queue=rng.choice((4, 16, 64, 256)))
    device = FakeBlk(sectors=SECTORS, legacy=transport in LEGACY, **options)
    disk, _ = attach(device, Blk, transport=transport)
    disk.open()
    hostile = Hostile(rng, device)
    raised = 0
    for _ in range(STEPS):
        device.per_poll = rng.choice((None, None, 1, 3))
        if rng.random() < 0.1:
            hostile.misbehave()
        try:
            for sector, buf in step(rng, disk, device):
                if hostile.honest:
                    assert buf == device.disk[512 * sector : 512 * sector + len(buf)]
        except DeviceError:
            raised += 1
        except OSError as er:
            raised += 1
            assert er.args[0] in (5, 11, 95, 110), er
        if rng.random() < 0.3 and not hostile.honest:
            hostile.behave()
            disk.close()
            disk.open()
            hostile.honest = True
    assert raised
    hostile.behave()
    disk.close()
    disk.open()
    buf = bytearray(512)
    disk.read(5, buf)
    assert buf == device.disk[5 * 512 : 6 * 512]
