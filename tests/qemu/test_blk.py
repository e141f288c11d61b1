"""virtio-blk on QEMU's own device: every transport, both rings, with and without INDIRECT_DESC and EVENT_IDX."""

import random
import struct

import bus
import pytest
from session import RemoteError

MIB = 1 << 20
SECTORS = 8 * MIB // 512
PATHS = []  # of the current machine's images
THROTTLED = {"throttling.iops-total": "4"}

# (where the disks are, without INDIRECT_DESC and EVENT_IDX)
MACHINES = [(bus.Variant("mmio", packed, not plain), plain) for packed in (False, True) for plain in (False, True)]
MACHINES += [(bus.Variant("mmio-legacy", False, not plain), plain) for plain in (False, True)]
MACHINES += [(bus.Variant("pci-transitional"), False), (bus.Variant("pci", True, False), True)]
MACHINES += [(bus.Variant("pci", True), False), (bus.Variant("pci-legacy"), False)]


def sector(i):
    """What sector i of every test disk holds."""
    return struct.pack("<I", i) + random.Random(i).randbytes(508)


@pytest.fixture(scope="module", params=MACHINES, ids=lambda m: str(m[0]))
def machine(request, tmp_path_factory):
    """Disks: plain, read-only, with blocks of 4096, one that fails at sector 100, one to make file systems on."""
    folder = tmp_path_factory.mktemp("disks")
    variant, plain = request.param
    image = b"".join(sector(i) for i in range(SECTORS))
    paths = []
    for name in ("plain", "readonly", "large", "bad", "scratch"):
        paths.append(folder / f"{name}.img")
        paths[-1].write_bytes(image)
    rules = folder / "rules.conf"
    rules.write_text('[inject-error]\nevent = "read_aio"\nerrno = "5"\nonce = "off"\nsector = "100"\n')
    options = ",indirect_desc=off" if plain else ""
    if variant.on_pci:
        options += ",queue-size=512"  # as many as virtio-mmio has; the default leaves one free beside the slots
    disks = [
        variant.disk(paths[0], "serial=plain-disk-0123456789" + options, discard="unmap"),
        variant.disk(paths[1], "serial=ro,num-queues=3" + options, readonly="on"),
        variant.disk(paths[2], "logical_block_size=4096,physical_block_size=4096" + options),
        variant.disk(f"blkdebug:{rules}:{paths[3]}", "serial=bad" + options),
        variant.disk(paths[4], "serial=scratch" + options),
    ]
    PATHS[:] = paths
    return variant.machine(smp=1, mem="128M", disks=disks)


@pytest.fixture
def variant(request, machine):
    """Where the disks of this machine are."""
    return request.node.callspec.params["machine"][0]


def raises(guest, code):
    """The last line of the traceback that code ends with."""
    with pytest.raises(RemoteError) as info:
        guest.exec(code)
    return info.value.error


@pytest.fixture
def disk(guest):
    """The guest with blk0 open as d, and check(sector, buf), which compares with its own arithmetic."""
    guest.exec("import virtio\nd = virtio.open('blk0')")
    return guest


def place(variant, i):
    """The name of the transport of device i."""
    return f"pci@00:{i + 1:02x}.0" if variant.on_pci else f"mmio@{0x10008000 - 0x1000 * i:x}"


def test_devices_are_listed_in_the_order_of_the_options(guest, variant):
    text = guest.eval("[repr(d) for d in __import__('virtio').devices()]")
    assert text == [f"<blk{i} {place(variant, i)} closed>" for i in range(5)]


@pytest.mark.clauses("GEN-INIT-07", "GEN-RSVD-01", "SPLIT-INDIR-01")
def test_open_negotiates_what_was_asked_for(guest, machine, variant):
    guest.exec("import virtio\nd = virtio.open(0)")
    plain = "indirect_desc=off" in machine["disks"][0]["properties"]
    assert guest.eval("(d.vq.indirect, d.vq.event_idx)") == (not plain, not plain)
    assert guest.eval("d.has(32)") == (not variant.legacy)
    assert guest.eval("repr(d)") == f"<blk0 {place(variant, 0)} {SECTORS} sectors DRIVER_OK>"


def test_read_gets_the_right_sectors(disk):
    disk.exec("b = bytearray(512 * 9)\nd.read(1000, b)")
    assert disk.eval("bytes(b)") == b"".join(sector(i) for i in range(1000, 1009))
    disk.exec(f"b = bytearray(512)\nd.read({SECTORS - 1}, b)")
    assert disk.eval("bytes(b)") == sector(SECTORS - 1)


def test_whole_disk_in_one_request(disk):
    disk.exec(f"import struct\nb = bytearray({SECTORS} * 512)\nd.read(0, b)\nn = d.vq._word(9)")
    assert disk.eval("n") in (1, 0x8000 + 3)  # packed: three descriptors on, wrap counter 1
    assert disk.eval(f"all(struct.unpack_from('<I', b, 512 * i)[0] == i for i in range({SECTORS}))")


def test_many_in_flight(disk):
    """More requests than the index has values: avail.idx and used.idx wrap at 65536."""
    disk.exec(
        f"""
import struct, random
def go(rounds):
    ps = [(random.randrange({SECTORS - 8}), bytearray(4096)) for _ in range(300)]
    for _ in range(rounds):
        d.read_many(ps)
        for s, b in ps:
            if struct.unpack_from('<I', b, 0)[0] != s or struct.unpack_from('<I', b, 3584)[0] != s + 7:
                raise ValueError(s)
            b[0] = b[3584] = b[3585] = 0xEE
go(225)
""",
        timeout=120,
    )
    assert disk.eval("d.vq.in_flight") == 0
    size, idx = disk.eval("(d.vq.packed and d.vq.size, d.vq._word(9))")
    if size:
        lap, off = divmod(3 * 225 * 300, size)
        assert idx == (off if lap & 1 else 0x8000 | off)
    else:
        assert idx == 225 * 300 & 0xFFFF


def test_submitted_requests_are_in_flight_together(disk):
    disk.exec("rs = [(i, bytearray(512)) for i in range(64)]\nqs = [d.submit('r', s, b) for s, b in rs]")
    disk.exec("for q in reversed(qs): q.wait()")
    assert disk.eval("all(q.done for q in qs)")
    assert disk.eval("[bytes(b[:4]) for s, b in rs]") == [struct.pack("<I", i) for i in range(64)]


@pytest.mark.clauses("BLK-04", "BLK-17", "BLK-18")
def test_write_reaches_the_image(disk):
    disk.exec(
        """
d.write(2000, bytes(range(256)) * 4)
d.write_many([(2010 + i, bytes([i]) * 512) for i in range(40)])
d.flush()
"""
    )
    with open(PATHS[0], "rb") as f:
        f.seek(2000 * 512)
        assert f.read(1024) == bytes(range(256)) * 4
        f.seek(2010 * 512)
        assert f.read(512 * 40) == b"".join(bytes([i]) * 512 for i in range(40))
    disk.exec("b = bytearray(512)\nd.read(2001, b)")
    assert disk.eval("bytes(b)") == bytes(range(256)) * 2


@pytest.mark.clauses("BLK-21")
def test_serial_number(disk):
    """20 characters at most."""
    assert disk.eval("d.id()") == "plain-disk-0123456789"[:20]


@pytest.mark.clauses("BLK-20", "BLK-22", "BLK-24", "BLK-27")
def test_discard_and_write_zeroes_reach_the_image(disk):
    disk.exec("d.discard(4096, 1024)\nd.write_zeroes(6000, 77)\nd.write_zeroes(6144, 64, True)\nd.flush()")
    image = PATHS[0].read_bytes()
    for first, count in ((4096, 1024), (6000, 77), (6144, 64)):
        assert image[first * 512 : (first + count) * 512] == bytes(512 * count)
    assert image[6077 * 512 : 6078 * 512] == sector(6077)


@pytest.mark.clauses("BLK-16")
def test_read_only_disk(guest):
    guest.exec("import virtio\nd = virtio.open('blk1')\nb = bytearray(512)\nd.read(5, b)")
    assert guest.eval("bytes(b)") == sector(5)
    assert guest.eval("d.readonly") is True
    assert raises(guest, "d.write(0, b)") == "OSError: [Errno 5] EIO: blk1: write sector 0: read-only"


def test_blocks_of_4096_bytes(guest):
    guest.exec("import virtio\nd = virtio.open('blk2')\nb = bytearray(4096)\nd.readblocks(3, b)")
    assert guest.eval("bytes(b[:512])") == sector(24)
    assert guest.eval("(d.block_size, d.ioctl(4, 0), d.ioctl(5, 0))") == (4096, SECTORS // 8, 4096)
    assert guest.eval("d.topology()['physical']") == 4096
    assert "ValueError" in raises(guest, "d.read(1, b)")
    guest.exec("c = bytearray(100)\nd.readblocks(2, c, 4090)")
    assert guest.eval("bytes(c)") == sector(23)[506:] + sector(24)[:94]


@pytest.mark.clauses("BLK-13")
def test_io_error_in_the_middle(guest):
    guest.exec("import virtio\nd = virtio.open('blk3')\nb = bytearray(8192)\nd.read(0, b)")
    assert raises(guest, "d.read(96, b)") == "OSError: [Errno 5] EIO: blk3: read sector 96+16: IOERR"
    # QEMU merges neighbours into one host request, so more than sector 100 may fail
    assert "+1: IOERR" in raises(guest, "d.read_many([(i, bytearray(512)) for i in range(64, 160)])")
    guest.exec("d.read(200, b)")
    assert guest.eval("bytes(b[:512])") == sector(200)


@pytest.mark.clauses("BLK-15", "BLK-19")
def test_bad_arguments_never_reach_the_device(disk):
    """QEMU would log or fail them."""
    for call in ("d.read(0, bytearray(100))", f"d.read({SECTORS}, bytearray(512))", "d.read(-1, bytearray(512))"):
        assert "ValueError" in raises(disk, call)
    assert "TypeError" in raises(disk, "d.read(0, bytes(512))")
    assert disk.eval("d.vq._word(9) in (0, 0x8000)")


@pytest.mark.clauses("BLK-14", "GEN-CFG-02", "GEN-LEGCFG-02")
def test_resize_is_seen(disk):
    try:
        disk.qmp("block_resize", device="disk0", size=12 * MIB)
        assert disk.eval("(d.poll_config(), d.capacity_sectors)") == (True, 12 * MIB // 512)
        disk.exec(f"d.read({12 * MIB // 512 - 1}, bytearray(512))")
        assert disk.eval("d.poll_config()") is False
    finally:
        disk.qmp("block_resize", device="disk0", size=8 * MIB)
    assert disk.eval("d.ioctl(4, 0)") == SECTORS


def test_open_close_open(disk):
    assert "EALREADY" in raises(disk, "d.open()") or "[Errno 114]" in raises(disk, "d.open()")
    disk.exec("b = bytearray(512)\nfor _ in range(20):\n d.close()\n d.open()\n d.read(9, b)")
    assert disk.eval("bytes(b)") == sector(9)
    disk.exec("d.close()")
    assert "closed" in raises(disk, "d.read(0, b)")


def test_soft_reset_leaves_the_device_reset(disk):
    disk.soft_reset()
    assert disk.eval("__import__('machine').mem32[0x10008070]") == 0
    disk.exec("import virtio\nd = virtio.open(0)\nb = bytearray(512)\nd.read(3, b)")
    assert disk.eval("bytes(b)") == sector(3)


@pytest.mark.parametrize("kind", ["VfsFat", "VfsLfs2"])
def test_file_system_on_the_disk(guest, kind):
    guest.exec(
        f"""
import os, vfs, virtio
d = virtio.open('blk4')
vfs.{kind}.mkfs(d)
vfs.mount(vfs.{kind}(d), '/m')
with open('/m/a.bin', 'wb') as f:
    for i in range(100): f.write(bytes([i]) * 1000)
os.mkdir('/m/dir')
with open('/m/dir/b.txt', 'w') as f: f.write('hello')
vfs.umount('/m')
d.close()
d.open()
vfs.mount(vfs.{kind}(d), '/m')
data = open('/m/a.bin', 'rb').read()
names = sorted(os.listdir('/m'))
text = open('/m/dir/b.txt').read()
vfs.umount('/m')
"""
    )
    assert guest.eval("(len(data), all(data[1000 * i:1000 * i + 1000] == bytes([i]) * 1000 for i in range(100)))") == (
        100000,
        True,
    )
    assert guest.eval("(names, text)") == (["a.bin", "dir"], "hello")


def test_ctrl_c_interrupts_reads_and_the_disk_goes_on(disk):
    disk.exec("b = bytearray(65536)")
    for _ in range(20):
        disk.begin("print('go')\nwhile 1: d.read_many([(i * 128, b) for i in range(100)])")
        disk.expect_text("go\r\n")
        disk.ctrl_c()
        assert "KeyboardInterrupt" in disk.end()[1]
    disk.exec("c = bytearray(512)\nd.read(33, c)")
    assert disk.eval("bytes(c)") == sector(33)
    assert disk.eval("d.vq.in_flight") == 0


@pytest.mark.clauses("MMIO-37", "MMIO-38", "MMIO-39", "SPLIT-UNOTIF-02", "SPLIT-UNOTIF-04")
def test_interrupts_finish_requests_without_polling(disk):
    disk.exec(
        """
import time
from virtio import blkring
seen = []
pump = d.engine.pump
def hook():
    seen.append(1)
    pump()
d.on_interrupt = hook
d.interrupts(True)
bs = [bytearray(512) for _ in range(20)]
qs = [d.submit('r', i, b) for i, b in enumerate(bs)]
end = time.ticks_add(time.ticks_ms(), 5000)
while any(blkring.left(d.engine.bk, q.tag) for q in qs) and time.ticks_diff(end, time.ticks_ms()) > 0:
    pass
"""
    )
    assert disk.eval("(d.vq.in_flight, len(seen) > 0, [b[0] for b in bs])") == (0, True, list(range(20)))
    assert disk.eval("d.transport.isr()") == 0
    disk.exec("d.interrupts(False)\nseen.clear()\nd.read_many([(i, bytearray(512)) for i in range(64)])")
    assert disk.eval("seen") == []


def test_callback_and_blocking_calls_share_the_queue(disk):
    """The interrupt finishes requests and starts its own, while the foreground reads one by one and many at once."""
    disk.exec(
        f"""
import struct
mine, bad = [], []
pump = d.engine.pump
def hook():
    pump()
    if len(mine) < 100:
        s, b = len(mine) * 7, bytearray(512)
        mine.append((s, b, d.submit('r', s, b)))
d.on_interrupt = hook
d.interrupts(True)
def check(s, b):
    if struct.unpack_from('<I', b, 0)[0] != s:
        bad.append(s)
for i in range(60):
    b = bytearray(512)
    d.read(i * 11, b)
    check(i * 11, b)
    ps = [((i * 31 + k * 5) % {SECTORS}, bytearray(512)) for k in range(20)]
    d.read_many(ps)
    for s, b in ps:
        check(s, b)
for s, b, r in mine:
    r.wait()
    check(s, b)
d.interrupts(False)
"""
    )
    assert disk.eval("(bad, len(mine) > 20, d.vq.in_flight)") == ([], True, 0)
    assert disk.eval("[r for r in d.engine.requests.values() if not r.kept]") == []


@pytest.mark.clauses("GEN-STATUS-04", "GEN-OPER-02")
def test_looping_chain_needs_a_reset(guest, machine, variant):
    """QEMU gives the device up, and tells modern drivers; close and open mend it."""
    if "packed=on" in str(machine["disks"]):
        return  # QEMU 7.2 itself does not return from its virtio_blk_handle_vq()
    guest.allow = (*guest.allow, "Looped descriptor", "looped", "too many write descriptors")
    guest.exec(
        """
import virtio
from machine import mem16
d = virtio.open(0)
h = d.vq.add([(0x80000000, 16)] * 2, [])
n = d.vq.desc + 16 * mem16[d.vq.desc + 16 * h + 14]
mem16[n + 12] = 1
mem16[n + 14] = h
d.vq.notify()
"""
    )
    if variant.legacy:
        assert "ETIMEDOUT" in raises(guest, "d.vq.wait(h, 100)")
    else:
        assert "needs a reset" in raises(guest, "d.vq.wait(h, 100)")
        assert "FAILED" in guest.eval("repr(d)")
        assert "needs a reset" in raises(guest, "d.read(0, bytearray(512))")
    guest.exec("d.close()\nd.open()\nb = bytearray(512)\nd.read(8, b)")
    assert guest.eval("bytes(b)") == sector(8)


@pytest.fixture
def slow(new_guest, tmp_path):
    """A guest whose disk answers four times a second."""
    path = tmp_path / "slow.img"
    path.write_bytes(b"".join(sector(i) for i in range(64)))
    guest = new_guest(smp=1, mem="128M", disks=[{"file": path, **THROTTLED}])
    guest.wait_prompt()
    guest.exec("import virtio\nd = virtio.open(0)")
    return guest


@pytest.mark.clauses("GEN-CLEANUP-01")
def test_slow_device_times_out_and_recovers(slow):
    error = raises(slow, "for _ in range(8): d.read(0, bytearray(512), timeout_ms=50)")
    assert error == "OSError: [Errno 110] ETIMEDOUT: blk0: read sector 0: no answer in 50 ms"
    assert slow.eval("d.vq.in_flight") > 0
    slow.exec("b = bytearray(512)\nd.read(5, b, timeout_ms=15000)", timeout=20)
    assert slow.eval("bytes(b)") == sector(5)


@pytest.mark.clauses("GEN-CLEANUP-02")
def test_soft_reset_with_requests_in_flight(slow):
    """The device is reset before its buffers become free memory."""
    slow.exec("bs = [bytearray(512) for _ in range(16)]\nqs = [d.submit('r', i, b) for i, b in enumerate(bs)]")
    slow.soft_reset()
    slow.exec("import gc\nx = [bytearray(512) for _ in range(5000)]\nimport time\ntime.sleep(2)")
    assert slow.eval("all(b == bytes(512) for b in x)")
    slow.exec("import virtio\nd = virtio.open(0)\nb = bytearray(512)\nd.read(5, b, timeout_ms=15000)", timeout=20)
    assert slow.eval("bytes(b)") == sector(5)


@pytest.mark.clauses("GEN-RSVD-03", "GEN-RSVD-05")
def test_platform_features_are_accepted(new_guest, tmp_path):
    """QEMU refuses drivers that leave ACCESS_PLATFORM out."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(sector(i) for i in range(64)))
    guest = new_guest(smp=1, mem="128M", disks=[{"file": path, "properties": "iommu_platform=on"}])
    guest.wait_prompt()
    guest.exec("import virtio\nd = virtio.open(0)\nb = bytearray(512)\nd.read(5, b)")
    assert guest.eval("(d.has(33), bytes(b))") == (True, sector(5))


@pytest.mark.parametrize("size", [4, 64, 1024])
def test_queue_sizes(new_guest, tmp_path, size):
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(sector(i) for i in range(64)))
    guest = new_guest(smp=1, mem="128M", disks=[{"file": path, "properties": "indirect_desc=off"}])
    guest.wait_prompt()
    guest.exec(
        f"""
import virtio
d = virtio.devices()[0]
q = d.queue
d.queue = lambda i, n: q(i, {size})
d.open()
bs = [(i % 64, bytearray(512)) for i in range(200)]
d.read_many(bs)
d.flush()
"""
    )
    assert guest.eval("d.vq.size") == size
    assert guest.eval("all(b[0] == i for i, b in bs)")


def test_driver_registered_live(new_guest):
    guest = new_guest(smp=1, mem="128M", extra=["-device", "virtio-rng-device"])
    guest.wait_prompt()
    guest.exec(
        """
import virtio
class Dice(virtio.Device):
    NAME = 'dice'
    IDS = (4,)
    def probe(self): self.vq = self.queue(0, 8)
    def roll(self):
        b = bytearray(1)
        self.vq.wait(self.vq.add([], [b]))
        return b[0] % 6 + 1
print(virtio.register(Dice))
d = virtio.open('dice0')
"""
    )
    assert guest.eval("all(1 <= d.roll() <= 6 for _ in range(100))")
    guest.exec("virtio.unregister(Dice)")
    assert guest.eval("[repr(d) for d in virtio.devices()]") == ["<rng0 mmio@10008000 closed>"]


def test_help_names_the_words(guest):
    text = guest.exec("import virtio\nvirtio.help()\nhelp(virtio)")
    assert text.count("devices()") == 2 and text.count("U-Boot's 'virtio scan'") == 2


def test_several_queues_take_turns(guest):
    guest.exec("import virtio\nd = virtio.devices()[1]\nd.QUEUES = 8\nd.open()")
    assert guest.eval("(d.has(12), len(d.engines), sorted(d.queues))") == (True, 3, [0, 1, 2])
    guest.exec(
        "def words(sectors, queue):\n"
        "    pieces = [(n, bytearray(512)) for n in sectors]\n"
        "    d.read_many(pieces, queue=queue)\n"
        "    return [n for n, buf in pieces if int.from_bytes(buf[:4], 'little') != n]\n"
    )
    assert guest.eval("[words(range(q or 3, 3000, 7), q) for q in (0, 1, 2, None, None, None)]", timeout=30) == [[]] * 6
    guest.exec("r = [d.submit('r', n, bytearray(512), queue=n % 3) for n in range(90)]\nfor x in r: x.wait()")
    assert guest.eval("[int.from_bytes(x.pieces[0][1][:4], 'little') for x in r]") == list(range(90))
    assert guest.eval("[q.in_flight for q in d.queues.values()]") == [0, 0, 0]
    guest.exec("d.close()\nd.QUEUES = 1\nd.open()")
    assert guest.eval("(d.has(12), len(d.engines))") == (False, 1)
