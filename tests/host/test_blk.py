"""modules/virtio/blk against the strict disk: requests, splitting, many in flight, errors, the block protocol."""

import time

import pytest
from fake_blk import (
    BLK_SIZE,
    CONFIG_WCE,
    DISCARD,
    FLUSH,
    GEOMETRY,
    LIFETIME,
    MQ,
    RO,
    SECURE_ERASE,
    SEG_MAX,
    SIZE_MAX,
    TOPOLOGY,
    WRITE_ZEROES,
    ZONED,
)
from fake_device import IN_ORDER, RING_PACKED, Violation
from virtio import blkring, ring
from virtio.transport import DeviceError
from virtio_host import CASES, LAYOUTS, PACKED, SPLIT, TRANSPORTS, Blk, FakeBlk, attach, blk, fresh, mask, ring_id, warp


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


@pytest.fixture(params=[*TRANSPORTS, "mmio-packed"])
def transport(request):
    return request.param


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture(params=[4, 8, 16, 64, 512])
def size(request):
    return request.param


def code(info):
    return info.value.args[0]


# -- reading and writing ---------------------------------------------------------------------


@pytest.mark.parametrize("transport,features", CASES)
@pytest.mark.clauses("BLK-01", "BLK-12", "BLK-19", "BLK-LEG-03", "BLK-LEG-10", "SPLIT-FRAME-03")
def test_read_and_write_move_the_right_bytes(transport, features, size):
    disk, device = blk(transport, ring_features=features, queue=size)
    buf = bytearray(1536)
    disk.read(5, buf)
    assert buf == device.disk[5 * 512 : 8 * 512]
    disk.write(9, bytes(range(256)) * 4)
    assert device.disk[9 * 512 : 11 * 512] == bytes(range(256)) * 4
    assert device.requests == [(0, 5, 1536), (1, 9, 1024)]


def test_read_goes_straight_into_a_slice(transport):
    disk, device = blk(transport)
    buf = bytearray(b"\xee" * 2048)
    disk.read(1, memoryview(buf)[512:1536])
    assert buf == b"\xee" * 512 + device.disk[512:1536] + b"\xee" * 512


@pytest.mark.parametrize("transport,features", CASES)
@pytest.mark.parametrize("start", [0, 65400])
def test_read_many_keeps_many_in_flight(transport, features, size, start):
    disk, device = blk(transport, ring_features=features, queue=size)
    warp(disk.vq, device.queues[0], start)
    pieces = [(i * 5 % 60, bytearray(512 * (1 + i % 3))) for i in range(160)]
    disk.read_many(pieces)
    for sector, buf in pieces:
        assert buf == device.disk[512 * sector : 512 * sector + len(buf)]
    assert disk.vq.in_flight == 0


@pytest.mark.parametrize("transport,features", CASES)
def test_completions_in_any_order(transport, features):
    disk, device = blk(transport, ring_features=features)
    device.manual = True
    pieces = [(i, bytearray(512)) for i in range(40)]
    req = disk.submit("r", 50, bytearray(512))
    waiting = disk.engine.submit(0, pieces, 128)
    queue = device.queues[0]
    for i in range(len(queue.held)):
        chain = queue.held[(i * 7) % len(queue.held)]
        queue.finish(chain, device.process(queue, chain))
    waiting.wait()
    assert req.done
    assert all(buf == device.disk[512 * s : 512 * s + 512] for s, buf in pieces)


@pytest.mark.parametrize("transport,features", CASES)
def test_device_that_finishes_one_per_look(transport, features):
    disk, device = blk(transport, ring_features=features, queue=64)
    device.per_poll = 1
    pieces = [(i % 64, bytearray(512)) for i in range(300)]
    disk.read_many(pieces)
    assert all(buf == device.disk[512 * s : 512 * s + 512] for s, buf in pieces)


def test_depth_limits_what_is_in_flight():
    disk, device = blk()
    most = []
    work = device.work
    device.work = lambda queue: (most.append(len(queue.in_flight)), work(queue))
    disk.read_many([(i % 64, bytearray(512)) for i in range(100)], depth=8)
    assert max(most) == 8
    device.manual = True
    req = disk.engine.submit(0, [(i, bytearray(512)) for i in range(20)], 3)
    assert disk.vq.in_flight == 3
    device.manual = False
    device.work(device.queues[0])
    req.wait()


@pytest.mark.parametrize("ring_features", [f | 1 << IN_ORDER for f in (SPLIT[3], *PACKED)], ids=ring_id)
@pytest.mark.parametrize("batch", [1, 5, 40])
@pytest.mark.clauses("PACKED-INORDER-01")
def test_disk_that_finishes_in_order(ring_features, batch, size):
    """Slots do not move in a split ring, so IN_ORDER is left alone there; packed rings take it."""
    disk, device = blk(ring_features=ring_features, queue=size)
    assert disk.has(IN_ORDER) == disk.has(RING_PACKED)
    device.batch = batch
    warp(disk.vq, device.queues[0], 3 * disk.vq.size - 1)
    for n in (1, 40, 90):
        pieces = [(i % 60, bytearray(512 * (1 + i % 3))) for i in range(n)]
        disk.read_many(pieces)
        assert all(buf == device.disk[512 * s : 512 * s + len(buf)] for s, buf in pieces)
        disk.flush()


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 9, 40, 100])
@pytest.mark.parametrize("size", [16, 32, 256])
def test_any_depth_gets_through(depth, size, layout):
    disk, device = blk(ring_features=layout, queue=size)
    pieces = [(i % 64, bytearray(512)) for i in range(150)]
    disk.read_many(pieces, depth=depth)
    assert all(buf == device.disk[512 * s : 512 * s + 512] for s, buf in pieces)


def test_what_cannot_be_is_refused_before_the_device_sees_it():
    disk, device = blk(features=mask(DISCARD, WRITE_ZEROES))
    for call in (
        lambda: disk.read_many([(0, bytearray(512))], depth=0),
        lambda: disk.write_many([(0, bytes(512))], depth=-1),
        lambda: disk.discard(8, -1),
        lambda: disk.write_zeroes(8, -1),
        lambda: disk.discard(8, 0),
    ):
        with pytest.raises(ValueError):
            call()
    assert device.requests == []
    disk.read_many([(0, bytearray(512))], depth=1)


def test_bad_piece_of_a_long_write_is_found_before_anything_is_written():
    disk, device = blk()
    with pytest.raises(ValueError):
        disk.write_many([(i % 64, bytes(512)) for i in range(200)] + [(64, bytes(512))])
    assert device.requests == []
    with pytest.raises(ValueError):
        disk.read_many([(i % 64, bytearray(512)) for i in range(200)] + [(64, bytearray(512))])
    disk.read(0, bytearray(512))
    assert disk.vq.in_flight == 0


@pytest.mark.clauses("SPLIT-ANOTIF-07")
def test_batch_notifies_once(layout):
    disk, device = blk(ring_features=layout)
    notified = []
    notify = device.notify
    device.notify = lambda index: (notified.append(index), notify(index))
    disk.read_many([(i, bytearray(512)) for i in range(40)])
    assert len(notified) == 1


def test_submit_returns_at_once_and_wait_finishes():
    disk, device = blk()
    device.manual = True
    buf = bytearray(512)
    req = disk.submit("r", 3, buf)
    assert not req.done and "in flight" in repr(req)
    device.manual = False
    device.work(device.queues[0])
    assert req.done
    req.wait()
    assert buf == device.disk[1536:2048] and "done" in repr(req)
    with pytest.raises(ValueError):
        disk.submit("x", 0, buf)


def test_more_requests_than_tags_say_eagain_and_recover():
    disk, device = blk()
    device.manual = True
    taken = []
    with pytest.raises(OSError) as info:
        while True:
            taken.append(disk.submit("r", 0, bytearray(512)))
    assert code(info) == 11 and len(taken) == 256
    device.manual = False
    device.work(device.queues[0])
    for req in taken:
        req.wait()
    disk.read(0, bytearray(512))


def test_requests_nobody_waits_for_do_not_pile_up():
    disk, device = blk()
    for _ in range(1000):
        disk.submit("r", 0, bytearray(512))
    assert len(disk.engine.requests) <= 256
    disk.read(0, bytearray(512))


# -- splitting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("transport,features", CASES)
@pytest.mark.parametrize("size_max,seg_max", [(512, 1), (512, 4), (1024, 3), (700, 5), (4096, 2)])
@pytest.mark.clauses("SPLIT-INDIR-03", "PACKED-SG-06", "PACKED-INDIR-04")
def test_large_requests_are_split_by_size_max_and_seg_max(transport, features, size_max, seg_max):
    """The model raises when a segment or a request is larger than the device said."""
    options = dict(features=mask(SIZE_MAX, SEG_MAX), size_max=size_max, seg_max=seg_max)
    disk, device = blk(transport, ring_features=features, sectors=200, **options)
    buf = bytearray(512 * 100)
    disk.read(20, buf)
    assert buf == device.disk[20 * 512 : 120 * 512]
    disk.write(0, buf)
    assert device.disk[: 512 * 100] == buf
    assert all(n % 512 == 0 for _, _, n in device.requests)
    assert max(n for _, _, n in device.requests) == size_max * seg_max // 512 * 512


def test_without_limits_a_large_read_is_one_request(transport):
    disk, device = blk(transport, sectors=4096, features=mask(SEG_MAX), seg_max=126)
    disk.read(0, bytearray(512 * 4096))
    assert device.requests == [(0, 0, 512 * 4096)]
    assert device.segments_seen == [[512 * 4096]]


def test_size_max_below_a_block_is_refused():
    device = FakeBlk(features=mask(SIZE_MAX), size_max=100)
    disk, _ = attach(device, Blk)
    with pytest.raises(DeviceError, match="size_max 100"):
        disk.open()
    assert device.status & 128


# -- what the caller may not do ------------------------------------------------------------------


@pytest.mark.parametrize("sector,n", [(0, 0), (0, 100), (0, 513), (64, 512), (63, 1024), (-1, 512), (1 << 60, 512)])
@pytest.mark.clauses("BLK-15", "BLK-19")
def test_bad_place_or_length_never_reaches_the_device(sector, n):
    disk, device = blk()
    disk.read(0, bytearray(512))  # so that the next one goes the short way
    with pytest.raises(ValueError):
        disk.read(sector, bytearray(n))
    with pytest.raises(ValueError):
        disk.read_many([(0, bytearray(512)), (sector, bytearray(n))])
    assert device.requests == [(0, 0, 512)]


def test_read_into_read_only_memory_is_refused():
    disk, device = blk()
    with pytest.raises(TypeError):
        disk.read(0, bytes(512))
    assert device.requests == []


@pytest.mark.clauses("BLK-16")
def test_write_to_read_only_device_raises_eio():
    disk, device = blk(features=mask(RO, WRITE_ZEROES), max_write_zeroes_seg=1)
    assert disk.readonly and " ro " in repr(disk)
    with pytest.raises(OSError) as info:
        disk.write(0, bytes(512))
    assert code(info) == 5 and "read-only" in info.value.args[1]
    with pytest.raises(OSError):
        disk.write_zeroes(0, 1)
    assert device.requests == []


@pytest.mark.parametrize("sector,n,good", [(0, 4096, True), (8, 8192, True), (1, 4096, False), (0, 512, False)])
def test_requests_are_whole_blocks(sector, n, good):
    disk, device = blk(features=mask(BLK_SIZE), blk_size=4096)
    assert disk.block_size == 4096
    if good:
        disk.read(sector, bytearray(n))
    else:
        with pytest.raises(ValueError):
            disk.read(sector, bytearray(n))


# -- what the device may answer ----------------------------------------------------------------------


@pytest.mark.clauses("BLK-13")
def test_io_error_names_the_place(transport):
    disk, device = blk(transport)
    device.bad = {9}
    with pytest.raises(OSError) as info:
        disk.read(8, bytearray(8192))
    assert info.value.args == (5, "blk0: read sector 8+16: IOERR")
    disk.read(10, bytearray(512))
    with pytest.raises(OSError, match="write sector 9\\+1: IOERR"):
        disk.write(9, bytes(512))


def test_one_bad_piece_of_many_raises_after_the_rest_came(transport):
    disk, device = blk(transport)
    device.bad = {20}
    pieces = [(i, bytearray(512)) for i in range(64)]
    with pytest.raises(OSError, match="read sector 20\\+1: IOERR"):
        disk.read_many(pieces)
    assert all(buf == device.disk[512 * s : 512 * s + 512] for s, buf in pieces if s != 20)
    assert disk.vq.in_flight == 0
    disk.read(0, bytearray(512))


@pytest.mark.clauses("BLK-13")
def test_unsupported_and_unknown_status(transport):
    disk, device = blk(transport)
    device.status_of = lambda kind, sector: 2
    with pytest.raises(OSError) as info:
        disk.id()
    assert code(info) == 95 and "UNSUPP" in info.value.args[1]
    device.status_of = lambda kind, sector: 77
    with pytest.raises(OSError, match="status 77"):
        disk.read(0, bytearray(512))


@pytest.mark.clauses("SPLIT-USED-03", "SPLIT-USED-04")
def test_status_that_was_never_written_is_an_error(transport):
    """The status byte starts as 0xFF."""
    disk, device = blk(transport)
    device.process = lambda queue, chain: 0
    device.litter = False
    with pytest.raises(OSError, match="no status"):
        disk.read(0, bytearray(512))


@pytest.mark.clauses("SPLIT-USED-03")
def test_short_answer_is_an_error_on_modern_devices(layout):
    disk, device = blk(ring_features=layout)
    device.lie = lambda head, n: (head, 100)
    with pytest.raises(OSError, match="only 100 bytes"):
        disk.read(0, bytearray(512))


@pytest.mark.parametrize("length", [0, 100, 100000])
@pytest.mark.clauses("BLK-LEG-04", "SPLIT-USED-02")
def test_used_length_of_legacy_devices_is_disregarded(length):
    disk, device = blk("mmio-legacy")
    device.lie = lambda head, n: (head, length)
    buf = bytearray(512)
    disk.read(1, buf)
    assert buf == device.disk[512:1024]


@pytest.mark.clauses("GEN-CLEANUP-01")
def test_device_that_never_answers_times_out_and_keeps_the_buffer(transport):
    disk, device = blk(transport)
    device.dead = True
    buf = bytearray(512)
    with pytest.raises(OSError) as info:
        disk.read(7, buf, timeout_ms=5)
    assert info.value.args == (110, "blk0: read sector 7: no answer in 5 ms")
    assert disk.vq.in_flight == 1
    assert any(req.pieces[0][1] is buf for req in disk.engine.requests.values())
    device.dead = False
    device.work(device.queues[0])
    disk.read(0, bytearray(512))
    disk.engine.sweep()
    assert [req for req in disk.engine.requests.values() if not req.kept] == []


def test_timed_out_batch_does_not_disturb_the_next(transport):
    disk, device = blk(transport, queue=64)
    device.dead = True
    old = [(i % 64, bytearray(512)) for i in range(200)]
    with pytest.raises(OSError):
        disk.read_many(old, timeout_ms=5)
    device.dead = False
    new = [(i % 64, bytearray(512)) for i in range(200)]
    device.work(device.queues[0])
    disk.read_many(new)
    assert all(buf == device.disk[512 * s : 512 * s + 512] for s, buf in new)
    assert disk.vq.in_flight == 0
    disk.engine.sweep()
    assert [req for req in disk.engine.requests.values() if not req.kept] == []


def test_ctrl_c_in_the_middle_leaves_a_working_disk(transport, monkeypatch):
    disk, device = blk(transport, queue=64)
    device.per_poll = 1
    device.dead = True
    pieces = [(i % 64, bytearray(512)) for i in range(200)]

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(time, "ticks_diff", interrupt)
        with pytest.raises(KeyboardInterrupt):
            disk.read_many(pieces)
    assert disk.vq.in_flight > 0
    device.dead = False
    device.per_poll = None
    device.work(device.queues[0])
    buf = bytearray(512)
    disk.read(3, buf)
    assert buf == device.disk[1536:2048]
    assert disk.vq.in_flight == 0


def test_reset_during_a_request_is_told():
    disk, device = blk()
    device.manual = True
    req = disk.submit("r", 0, bytearray(512))
    disk.close()
    disk.open()
    with pytest.raises(OSError, match="reset while"):
        req.wait()


@pytest.mark.parametrize("size", [1, 2])
def test_queue_too_small_for_a_request_is_refused(size):
    device = FakeBlk(queue=size)
    disk, _ = attach(device, Blk)
    with pytest.raises(DeviceError, match="cannot hold"):
        disk.open()
    assert device.status & 128


@pytest.mark.clauses("BLK-06", "BLK-09")
@pytest.mark.parametrize("model, mine", [(3, Blk.FEATURES), (255, Blk.FEATURES), (1, Blk.FEATURES & ~mask(ZONED))])
def test_zones_that_cannot_be_managed_are_refused(model, mine):
    """An unknown model; or host-managed zones and a driver told to leave ZONED alone."""
    device = FakeBlk(features=mask(ZONED, DISCARD), model=model, zone_sectors=16)
    disk, _ = attach(device, Blk)
    disk.FEATURES = mine
    with pytest.raises(DeviceError, match="zones"):
        disk.open()
    assert device.status == 131


@pytest.mark.parametrize("model", [0, 2])
@pytest.mark.clauses("BLK-06", "BLK-08", "BLK-10", "BLK-11")
def test_other_zone_models_are_plain_disks_too(model):
    disk, device = blk(features=mask(ZONED, DISCARD), model=model, max_discard_seg=1, zone_sectors=16)
    assert disk.has(ZONED) and disk.has(DISCARD) and (disk.zones is None) == (model == 0)
    disk.read(0, bytearray(512))
    disk.write(50, bytes(512))
    disk.write(20, bytes(1024))


ZONES = dict(sectors=128, zone_sectors=16, max_open=2, max_active=3, max_append=4, write_granularity=1024, model=1)


@pytest.mark.clauses("BLK-07", "BLK-30", "BLK-31", "BLK-32", "BLK-33", "BLK-34", "BLK-35", "BLK-36", "BLK-37", "BLK-38")
def test_host_managed_zones(transport):
    disk, device = blk(transport, features=mask(ZONED, DISCARD), **ZONES)
    zones = disk.zones
    assert not disk.has(DISCARD) and (zones.managed, zones.sectors, zones.max_open) == (True, 16, 2)
    found = zones.report()
    assert [z.start for z in found] == list(range(0, 128, 16)) and found[0].kind == "conventional"
    assert [z.start for z in zones.report(37, 2)] == [32, 48]
    assert zones.append(16, b"a" * 1024) == 16 and zones.append(16, b"b" * 2048) == 18
    assert repr(zones.report(16, 1)) == "[<zone 16+16 sequential open at 22>]"
    zones.open(32)
    zones.open(48)
    with pytest.raises(OSError, match="zone open: ZONE_OPEN_RESOURCE"):
        zones.open(64)
    zones.close(32)
    zones.finish(48)
    assert [z.state for z in zones.report(16, 3)] == ["open", "closed", "full"]
    zones.reset(16)
    assert zones.report(16, 1)[0].pointer == 16
    zones.reset_all()
    assert {z.state for z in zones.report(16)} == {"empty"}
    with pytest.raises(OSError, match="zone append: ZONE_INVALID_CMD"):
        zones.append(0, bytes(1024))
    for call in (
        lambda: zones.append(17, bytes(1024)),
        lambda: zones.append(16, bytes(512)),
        lambda: zones.append(16, bytes(4096)),
        lambda: zones.append(16, b""),
        lambda: zones.open(1),
        lambda: zones.close(128),
        lambda: zones.finish(-16),
        lambda: zones.reset(8),
        lambda: zones.report(128),
    ):
        with pytest.raises(ValueError):
            call()


@pytest.mark.clauses("BLK-39", "BLK-40", "BLK-41")
def test_sequential_zones_are_written_in_order(transport):
    disk, device = blk(transport, features=mask(ZONED), **ZONES)
    disk.write(0, bytes(1024))  # conventional
    disk.write(9, bytes(512))
    disk.write_many([(16, b"1" * 1024), (18, b"2" * 1024), (32, b"3" * 2048)])
    disk.submit("w", 20, b"4" * 1024).wait()
    assert device.disk[16 * 512 : 22 * 512] == b"1" * 1024 + b"2" * 1024 + b"4" * 1024
    before = len(device.requests)
    for pieces in (
        [(22, bytes(512))],
        [(23, bytes(1024))],
        [(24, bytes(1024))],
        [(20, bytes(1024))],
        [(22, bytes(6 * 1024))],
        [(22, bytes(1024)), (22, bytes(1024))],
    ):
        with pytest.raises(ValueError):
            disk.write_many(pieces)
        with pytest.raises(ValueError):
            disk.write(*pieces[-1]) if len(pieces) == 1 else disk.write_many(pieces)
    assert {kind for kind, _, _ in device.requests[before:]} <= {16}  # reports alone reached the disk


@pytest.mark.parametrize("transport", [*TRANSPORTS, "mmio-packed"])
def test_several_queues(transport):
    device_options = dict(features=mask(MQ), num_queues=3, sectors=256)
    device = FakeBlk(legacy=transport.endswith("legacy"), **device_options)
    disk, _ = attach(device, Blk, transport=transport.replace("-packed", ""))
    disk.QUEUES = 8
    disk.open()
    assert len(disk.engines) == 3
    for n in range(6):
        buf = bytearray(1024)
        disk.read_many([(2 * n, buf)])
        assert buf == device.disk[1024 * n : 1024 * n + 1024]
    assert device.used_queues == [0, 1, 2, 0, 1, 2]
    requests = [disk.submit("r", n, bytearray(512), queue=n % 3) for n in range(30)]
    for request in requests:
        request.wait()
    assert [bytes(r.pieces[0][1]) for r in requests] == [bytes(device.disk[512 * n : 512 * n + 512]) for n in range(30)]
    disk.write_many([(5, b"x" * 512)], queue=2)
    disk.write(6, b"y" * 512)
    assert device.disk[5 * 512 : 7 * 512] == b"x" * 512 + b"y" * 512
    with pytest.raises(ValueError, match="queue 3 of 3"):
        disk.read_many([(0, bytearray(512))], queue=3)
    device.resize(300)
    disk.poll_config()
    disk.read_many([(299, bytearray(512))], queue=1)
    disk.close()


def test_one_queue_is_enough_by_default():
    disk, device = blk(features=mask(MQ), num_queues=4)
    assert not disk.has(MQ) and len(disk.engines) == 1


@pytest.mark.clauses("BLK-20", "BLK-23")
def test_lifetime_and_secure_erase(transport):
    limits = dict(max_secure_erase_sectors=8, max_secure_erase_seg=2)
    disk, device = blk(transport, features=mask(LIFETIME, SECURE_ERASE), **limits)
    assert disk.lifetime() == (1, 3, 4)
    disk.secure_erase(1, 33)
    assert device.disk[512 : 34 * 512] == bytes(33 * 512)
    disk.close()
    fresh()
    disk, device = blk(transport)
    for call in (disk.lifetime, lambda: disk.secure_erase(0, 1)):
        with pytest.raises(OSError, match="not offered"):
            call()


# -- other commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("transport,features", CASES)
@pytest.mark.clauses("BLK-02", "BLK-04", "BLK-17", "BLK-18", "BLK-20", "BLK-21", "BLK-22", "BLK-24", "BLK-27")
def test_flush_id_discard_zeroes(transport, features, size):
    limits = dict(max_discard_sectors=8, max_discard_seg=2, max_write_zeroes_sectors=4, max_write_zeroes_seg=1)
    options = dict(ring_features=features, queue=size, features=mask(FLUSH, DISCARD, WRITE_ZEROES))
    disk, device = blk(transport, **options, **limits)
    disk.flush()
    assert disk.id() == "fake-disk-0001"
    disk.discard(1, 33)
    assert device.disk[512 : 34 * 512] == bytes(33 * 512)
    disk.write_zeroes(40, 7, unmap=True)
    assert device.disk[40 * 512 : 47 * 512] == bytes(7 * 512)
    kinds = [kind for kind, _, _ in device.requests]
    assert kinds == [4, 8, 11, 11, 11, 13, 13]


@pytest.mark.clauses("GEN-CFG-03", "BLK-03")
def test_commands_that_were_not_offered(transport):
    """Without FLUSH there is nothing to flush."""
    disk, device = blk(transport)
    disk.flush()
    for call in (disk.discard, disk.write_zeroes):
        with pytest.raises(OSError) as info:
            call(0, 1)
        assert code(info) == 95
    with pytest.raises(OSError):
        disk.writeback = True
    assert device.requests == [] and disk.topology() is None and disk.geometry() is None


@pytest.mark.clauses("BLK-15")
def test_discard_beyond_the_disk_is_refused():
    disk, device = blk(features=mask(DISCARD), max_discard_seg=1, max_discard_sectors=100)
    for sector, count in ((60, 5), (0, 0), (-1, 2)):
        with pytest.raises(ValueError):
            disk.discard(sector, count)
    assert device.requests == []


@pytest.mark.clauses("BLK-29")
def test_discard_error_is_reported():
    disk, device = blk(features=mask(DISCARD), max_discard_seg=4, max_discard_sectors=2)
    device.bad = {5}
    with pytest.raises(OSError, match="discard: IOERR"):
        disk.discard(0, 8)


@pytest.mark.clauses("GEN-INIT-11", "BLK-05", "BLK-25", "BLK-LEG-02")
def test_write_cache_mode(transport):
    disk, device = blk(transport, features=mask(FLUSH, CONFIG_WCE), writeback=1)
    assert disk.writeback is True
    disk.writeback = False
    assert device.config[32] == 0 and disk.writeback is False


@pytest.mark.clauses("GEN-CFG-03", "MMIO-08")
def test_topology_and_geometry():
    options = dict(physical_exp=3, alignment=1, min_io=8, opt_io=64, cylinders=7, heads=16, sectors_=0)
    options.pop("sectors_")
    disk, device = blk(features=mask(TOPOLOGY, GEOMETRY), **options)
    assert disk.topology() == {"physical": 4096, "offset": 512, "min_io": 4096, "opt_io": 32768}
    assert disk.geometry()[:2] == (7, 16)


# -- resize ---------------------------------------------------------------------------------------------


@pytest.mark.clauses("BLK-LEG-01", "BLK-14")
def test_resize_is_seen(transport):
    disk, device = blk(transport)
    device.resize(128)
    assert disk.poll_config()
    assert disk.capacity_sectors == 128
    disk.read(127, bytearray(512))


def test_read_beyond_the_old_end_finds_the_new_one(transport):
    disk, device = blk(transport)
    device.resize(128)
    disk.read(100, bytearray(512))
    assert disk.ioctl(4, 0) == 128
    device.resize(32)
    assert disk.ioctl(4, 0) == 32
    with pytest.raises(ValueError):
        disk.read(32, bytearray(512))


# -- MicroPython's block protocol --------------------------------------------------------------------------


@pytest.mark.parametrize("block", [512, 4096])
def test_block_protocol(transport, block):
    features = mask(BLK_SIZE, FLUSH)
    disk, device = blk(transport, features=features, blk_size=block)
    assert disk.ioctl(4, 0) == 64 * 512 // block and disk.ioctl(5, 0) == block
    assert disk.ioctl(1, 0) == disk.ioctl(2, 0) == disk.ioctl(3, 0) == disk.ioctl(6, 0) == 0
    buf = bytearray(block)
    disk.readblocks(1, buf)
    assert buf == device.disk[block : 2 * block]
    disk.writeblocks(2, buf)
    assert device.disk[2 * block : 3 * block] == buf


@pytest.mark.parametrize("off,n", [(0, 16), (16, 32), (500, 24), (100, 2000), (512, 512), (1000, 600)])
def test_block_protocol_with_offset(transport, off, n):
    disk, device = blk(transport)
    before = bytes(device.disk)
    buf = bytearray(n)
    disk.readblocks(3, buf, off)
    assert buf == before[1536 + off : 1536 + off + n]
    disk.writeblocks(5, b"\x5a" * n, off)
    at = 2560 + off
    assert device.disk == before[:at] + b"\x5a" * n + before[at + n :]


# -- layout ----------------------------------------------------------------------------------------------------


def test_constants_shared_with_the_ring_agree():
    for name in ("_FIXED", "_IN_FLIGHT"):
        assert getattr(ring, name) == getattr(blkring, name)


def test_model_catches_a_write_of_half_a_sector():
    """The model itself."""
    disk, device = blk()
    with pytest.raises(Violation, match="BLK-19"):
        disk.command(1, 0, [bytes(100)], [])
