"""virtio.trace() on the machine: what it records, and that it costs nothing while it is off."""

import pytest

COUNT = """
import gc, riscv, virtio
from virtio import blkring
count = riscv.csr_read
d = virtio.open("blk0")
e = d.engine
d.read(0, bytearray(512))
m = memoryview(bytearray(4096 * 16))
pieces = tuple((8 * i, m[4096 * i : 4096 * i + 4096]) for i in range(16))
def once():
    req = e._pool[-1]
    a = count("minstret")
    e._start(req, 0, pieces, 128)
    b = count("minstret")
    d.transport.status()
    c = count("minstret")
    while d.vq._word(14) != 16 or not d.vq._poll(d.vq.st, 1): pass
    for _ in range(30000): pass
    x = count("minstret")
    n = e.reap(e.st, 1)
    left = blkring.finish(e.st, e.bk, req.tag)
    y = count("minstret")
    if left:
        e.finish(req, 1000)
    return (b - a, c - b, y - x) if n == 16 else (1 << 60,) * 3
def measure():
    gc.collect()  # what an allocation costs depends on what lies about
    return [min(part) for part in zip(*[once() for _ in range(15)])]
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    path = tmp_path_factory.mktemp("disk") / "disk.img"
    path.write_bytes(bytes(4 << 20))
    return {"smp": 1, "mem": "128M", "disks": [path], "extra": ["-icount", "shift=0"]}


def test_trace_costs_nothing_while_it_is_off(guest):
    guest.exec(COUNT)
    before = guest.eval("measure()")
    guest.exec("t = virtio.trace(True)\nduring = measure()\nvirtio.trace(False)")
    after = guest.eval("measure()")
    assert after == pytest.approx(before, rel=0.01)
    assert all(a > 1.1 * b for a, b in zip(guest.eval("during"), before))
    assert "published" in guest.exec("t.show()") and guest.eval("t.count") >= 45
