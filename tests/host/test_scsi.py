"""modules/virtio/scsi*: an adapter with disks and CD-ROMs on a strict device."""

import errno
import random
import struct

import pytest
import riscv
from fake_device import Violation
from fake_scsi import BUSY, CHECK, CONFLICT, NO_MEDIUM, UA_CAPACITY, UA_MEDIUM, UA_RESET, FakeSCSI, FakeUnit
from virtio import sense
from virtio.scsi import SCSI
from virtio.transport import DeviceError
from virtio_host import TRANSPORTS, attach, fresh


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


def rig(transport="mmio", open=True, **options):
    model = FakeSCSI(legacy=transport == "mmio-legacy", **options)
    driver, _ = attach(model, SCSI, source=9)
    return (driver.open() if open else driver), model


def some_units():
    return {
        (0, 0): FakeUnit(),
        (2, 0): FakeUnit(blocks=16, block=4096),
        (2, 300): FakeUnit(readonly=True),
        (5, 1): FakeUnit(kind=5, block=2048, blocks=20),
    }


@pytest.mark.clauses(
    "SCSI-04", "SCSI-07", "SCSI-11", "SCSI-12", "SCSI-LEG-01", "SCSI-LEG-03", "SCSI-LEG-06", "SCSI-LEG-07"
)
def test_all_units_are_found_and_described(transport):
    driver, model = rig(transport, units=some_units())
    assert [u.name for u in driver.units] == ["scsi0:0:0", "scsi0:2:0", "scsi0:2:300", "scsi0:5:1"]
    assert [u.kind for u in driver.units] == ["disk", "disk", "disk", "cdrom"]
    assert [u.block_size for u in driver.units] == [512, 4096, 512, 2048]
    assert [u.capacity_sectors for u in driver.units] == [64, 128, 64, 80]
    assert [u.readonly for u in driver.units] == [False, False, True, True]
    unit = driver.unit(2, 300)
    assert (unit.vendor, unit.product, unit.revision, unit.serial()) == ("FAKE", "STRICT UNIT", "1.0", "SERIAL-512")
    assert repr(unit) == "<scsi0:2:300 disk FAKE STRICT UNIT 64 sectors ro>"
    assert "4 units" in repr(driver)
    with pytest.raises(OSError) as error:
        driver.unit(7)
    assert error.value.errno == errno.ENODEV


def test_an_adapter_without_units(transport):
    driver, _ = rig(transport, units={})
    assert driver.units == []


def test_reads_and_writes_reach_the_right_blocks(transport):
    driver, model = rig(transport, units=some_units())
    disk, data = driver.unit(0), model.units[(0, 0)].data
    buf = bytearray(1536)
    disk.read(3, buf)
    assert buf == data[3 * 512 : 6 * 512]
    disk.write(60, b"w" * 1024)
    assert data[60 * 512 : 62 * 512] == b"w" * 1024
    big = driver.unit(2)
    big.write(8, b"b" * 4096)
    assert model.units[(2, 0)].data[4096:8192] == b"b" * 4096
    big.readblocks(1, buf, 100)
    assert buf == b"b" * 1536
    big.writeblocks(2, b"zz", 4095)
    assert model.units[(2, 0)].data[3 * 4096 - 1 : 3 * 4096 + 1] == b"zz"
    assert (big.ioctl(4, 0), big.ioctl(5, 0)) == (16, 4096)
    for sector, size in ((0, 512), (1, 4096), (128, 4096), (0, 0), (-8, 4096)):
        with pytest.raises(ValueError):
            big.read(sector, bytearray(size))
    with pytest.raises(OSError) as error:
        driver.unit(5, 1).write(0, bytes(2048))
    assert error.value.errno == 30


def test_long_transfers_are_cut_to_what_the_device_allows():
    driver, model = rig(max_sectors=8)
    buf = bytearray(64 * 512)
    driver.unit(0).read(0, buf)
    assert buf == model.units[(0, 0)].data
    assert model.units[(0, 0)].log.count(0x28) == 8


@pytest.mark.clauses("SCSI-05")
@pytest.mark.parametrize("limit, queue", [(3, 64), (16, 64), (64, 8), (0, 64)])
def test_many_commands_are_under_way_but_never_more_than_a_unit_may_have(limit, queue):
    driver, model = rig(cmd_per_lun=limit or 1, queue=queue)
    disk = driver.unit(0)
    model.lazy = True
    pieces = [(i % 64, bytearray(512)) for i in range(200)]
    disk.read_many(pieces)
    for sector, buf in pieces:
        assert buf == model.units[(0, 0)].data[sector * 512 : sector * 512 + 512]
    assert model.most == (limit or 1) if queue == 64 and limit < 20 else 2 <= model.most <= queue
    disk.write_many([(i, bytes([i]) * 512) for i in range(64)], depth=2)
    assert model.units[(0, 0)].data == b"".join(bytes([i]) * 512 for i in range(64))
    assert disk.in_flight == 0


def test_blocks_beyond_32_bits_use_the_long_commands():
    driver, model = rig()
    model.units[(0, 0)].capacity = 1 << 33
    assert driver.unit(0).capacity_sectors == 1 << 33
    with pytest.raises(Violation, match="blocks 8589934591"):  # the model has no such block, but was asked for it
        driver.unit(0).read((1 << 33) - 1, bytearray(512))
    assert model.log[-1] == ((0, 0), 0x88)


def test_flush_discard_zeroes_and_limits(transport):
    driver, model = rig(transport)
    disk, unit = driver.unit(0), model.units[(0, 0)]
    disk.write(0, bytes(512))
    assert unit.cached == 1
    disk.flush()
    assert unit.cached == 0
    disk.discard(10, 25)
    assert unit.data[10 * 512 : 35 * 512] == bytes(25 * 512) and any(unit.data[35 * 512 : 36 * 512])
    assert unit.log.count(0x42) == 3
    disk.write_zeroes(36, 28)
    assert unit.data[36 * 512 :] == bytes(28 * 512) and unit.log.count(0x93) == 2
    assert disk.limits() == {"transfer": 32, "unmap": 10, "unmap_ranges": 1, "write_same": 20, "can_unmap": True}
    assert disk.writeback is True
    unit.thin = False
    disk.refresh()
    with pytest.raises(OSError) as error:
        disk.discard(0, 1)
    assert error.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("descriptor", [False, True])
@pytest.mark.parametrize(
    "found, number, text",
    [
        ((3, 0x11, 0), errno.EIO, "scsi0:0:0: read block 0: MEDIUM ERROR 11/00 unrecovered read error at block 8"),
        ((4, 0x44, 1), errno.EIO, "HARDWARE ERROR 44/01 internal failure"),
        ((5, 0x21, 0), errno.EINVAL, "ILLEGAL REQUEST 21/00 block out of range"),
        ((5, 0x20, 0), errno.EOPNOTSUPP, "no such command"),
        ((5, 0x25, 0), errno.ENODEV, "no such logical unit"),
        ((7, 0x27, 0), 30, "DATA PROTECT 27/00 write protected"),
        ((2, 0x3A, 1), 123, "NOT READY 3A/01 no medium"),
        ((0xB, 0x99, 0x99), errno.EIO, "ABORTED COMMAND 99/99"),
    ],
)
def test_sense_data_become_errors_with_names(descriptor, found, number, text):
    driver, model = rig()
    disk, unit = driver.unit(0), model.units[(0, 0)]
    disk.refresh()
    unit.bad[8] = found
    unit.descriptor = descriptor
    with pytest.raises(OSError) as error:
        disk.read(0, bytearray(64 * 512))
    assert error.value.errno == number and text in str(error.value)
    assert "scsi0:0:0: read block 0" in str(error.value)
    disk.read(9, bytearray(512))


def test_decoding_of_short_and_odd_sense_data():
    assert sense.decode(b"") is None and sense.decode(b"\x70\0\3") is None and sense.decode(b"\x7f" * 20) is None
    assert sense.decode(b"\x70\0\3\0\0\0\0\0") == (3, 0, None)
    assert sense.decode(
        b"\x72\x03\x11\x00" + bytes(4) + b"\x09\x0c" + bytes(12) + b"\0\x0a\x80\0" + bytes(7) + b"\x07"
    ) == (
        3,
        0x1100,
        7,
    )
    assert sense.decode(b"\x72\x03\x11\x00" + bytes(4) + b"\0\x0a\x80") == (3, 0x1100, None)


def test_a_recovered_error_is_a_success():
    driver, model = rig()
    disk = driver.unit(0)
    disk.refresh()
    raw = struct.pack(">BBBIB4xBB4x", 0x70, 0, 1, 0, 10, 0x17, 0)
    model.response = lambda lun, cdb: (0, CHECK, raw) if cdb[0] == 0x28 else None
    disk.read(0, bytearray(512))


@pytest.mark.parametrize(
    "response, number, text",
    [
        (3, errno.ENODEV, "BAD TARGET"),
        (12, errno.ENODEV, "INCORRECT LUN"),
        (1, errno.EIO, "OVERRUN"),
        (9, errno.EIO, "FAILURE"),
    ]
    + [(2, errno.EIO, "ABORTED"), (7, errno.EIO, "TARGET FAILURE"), (77, errno.EIO, "response 77")],
)
@pytest.mark.clauses("SCSI-13")
def test_response_codes_become_errors_and_are_not_tried_again(response, number, text):
    driver, model = rig()
    disk = driver.unit(0)
    disk.refresh()
    model.response = lambda lun, cdb: (response, 0, b"")
    before = len(model.log)
    with pytest.raises(OSError) as error:
        disk.read(0, bytearray(512))
    assert error.value.errno == number and text in str(error.value)
    assert len(model.log) == before + 1


def test_unit_attentions_are_taken_note_of_and_the_command_is_tried_again():
    driver, model = rig()
    disk, unit = driver.unit(0), model.units[(0, 0)]
    unit.attention = [UA_RESET, UA_RESET, UA_RESET]
    disk.read(0, bytearray(512))
    unit.data += bytes(512)
    unit.attention = [UA_CAPACITY]
    disk.read(0, bytearray(512))
    assert disk.capacity_sectors == 65
    unit.attention = [UA_RESET] * 30
    with pytest.raises(OSError, match="UNIT ATTENTION 29/00 reset"):
        disk.read(0, bytearray(512))


def test_a_busy_unit_is_asked_again_until_the_time_is_over():
    driver, model = rig()
    disk = driver.unit(0)
    disk.refresh()
    times = [BUSY, 0x28, BUSY]
    model.response = lambda lun, cdb: (0, times.pop(), b"") if times else None
    disk.read(0, bytearray(512))
    assert not times
    model.response = lambda lun, cdb: (5, 0, b"")
    with pytest.raises(OSError, match="BUSY"):
        disk.read(0, bytearray(512), timeout_ms=30)
    model.response = lambda lun, cdb: (0, CONFLICT, b"")
    with pytest.raises(OSError) as error:
        disk.read(0, bytearray(512))
    assert error.value.errno == 16


def test_a_changed_medium_is_told_once_and_then_used():
    driver, model = rig(units={(0, 0): FakeUnit(kind=5, block=2048, blocks=4)})
    cd, unit = driver.unit(0), model.units[(0, 0)]
    assert cd.capacity_sectors == 16
    unit.data = bytearray(b"new!" * 512 * 6)
    unit.attention = [UA_MEDIUM]
    buf = bytearray(2048)
    with pytest.raises(OSError, match="medium may have changed"):
        cd.read(0, buf)
    cd.read(20, buf)
    assert buf[:4] == b"new!" and cd.capacity_sectors == 24 and cd.changes == 1


def test_tray_and_lock():
    driver, model = rig(units={(0, 0): FakeUnit(kind=5, block=2048)})
    cd = driver.unit(0)
    assert cd.ready()
    cd.lock()
    with pytest.raises(OSError, match="removal is prevented"):
        cd.eject()
    cd.lock(False)
    cd.eject()
    assert not cd.ready()
    with pytest.raises(OSError) as error:
        cd.read(0, bytearray(2048))
    assert error.value.errno == 123 and "no medium" in str(error.value)
    cd.load()
    assert cd.ready()
    cd.read(0, bytearray(2048))
    cd.start_stop(False)


def test_less_data_than_asked_for_is_an_error():
    driver, model = rig()
    disk = driver.unit(0)
    disk.refresh()
    model.cut = 100
    with pytest.raises(OSError, match="only 412 of 512 bytes"):
        disk.read(0, bytearray(512))


def test_any_command_can_be_sent_by_hand():
    driver, model = rig()
    disk = driver.unit(0)
    buf = bytearray(96)
    assert disk.command(bytes((0x12, 0, 0, 0, 96, 0)), None, buf) == 36
    with pytest.raises(OSError, match="odd thing: ILLEGAL REQUEST 20/00 no such command"):
        disk.command(bytes((0xC0, 0, 0, 0, 0, 0)), None, None, "odd thing")
    assert disk.vital(0x83) is None


# Control queue


@pytest.mark.clauses("SCSI-LEG-04")
def test_task_management_and_asynchronous_notifications(transport):
    driver, model = rig(transport)
    assert driver.tmf("unit reset", 0) == 0
    assert driver.tmf("query task", 0, 0, 99) == 0
    assert driver.tmf("nexus reset", 3) == 3
    assert driver.tmf("abort task set", 0, 5) == 12
    assert driver.query_an(0, 0, 6) == 2 and driver.subscribe_an(0, 0, 2) == 2
    assert model.controls == [(0, 5), (0, 6), (0, 4), (0, 1), (1, 6), (2, 2)]
    with pytest.raises(OSError, match="INCORRECT LUN"):
        driver.query_an(0, 9, 2)
    with pytest.raises(KeyError):
        driver.tmf("no such thing", 0)


def test_a_command_without_answer_is_aborted_and_the_unit_works_on():
    driver, model = rig()
    disk = driver.unit(0)
    disk.refresh()
    model.stuck = {0x28}
    with pytest.raises(OSError) as error:
        disk.read_many([(i, bytearray(512)) for i in range(4)], timeout_ms=20)
    assert error.value.errno == errno.ETIMEDOUT
    assert model.controls == [(0, 0)] * 4
    model.stuck = set()
    assert disk.in_flight == 0 and driver.commands.queue.in_flight == 0
    disk.read(0, bytearray(512))


def test_a_dead_device_costs_two_deadlines_and_no_more():
    from virtio import scsi

    driver, model = rig()
    disk = driver.unit(0)
    disk.refresh()
    before, scsi._ABORT_MS = scsi._ABORT_MS, 20
    model.dead = True
    try:
        with pytest.raises(OSError) as error:
            disk.read_many([(i, bytearray(512)) for i in range(16)], timeout_ms=20)
    finally:
        scsi._ABORT_MS = before
    assert error.value.errno == errno.ETIMEDOUT
    assert disk.in_flight == 16
    with pytest.raises(OSError):
        disk.read(0, bytearray(512), timeout_ms=20)
    driver.close()
    model.dead = False
    driver.open().unit(0).read(0, bytearray(512))


def test_a_response_that_was_not_written_fails_the_device():
    driver, model = rig()
    disk = driver.unit(0)
    disk.refresh()
    model.response = lambda lun, cdb: (0xFF, 0, b"")
    with pytest.raises(DeviceError, match="no response"):
        disk.read(0, bytearray(512))


# Events


@pytest.mark.clauses("SCSI-08", "SCSI-14", "SCSI-15", "SCSI-16", "SCSI-17", "SCSI-LEG-05")
@pytest.mark.parametrize("size", [16, 40, 4])
def test_event_buffers_are_posted_and_posted_again(transport, size):
    driver, model = rig(transport, event=size)
    assert len(model.queues[1].held) == 8
    for _ in range(30):
        assert model.event(1, 0, 0, 1)
        assert driver.poll() == [("added", 0, 0)]
    model.queues[1].fetch()
    assert len(model.queues[1].held) == 8


@pytest.mark.clauses("SCSI-LEG-02")
@pytest.mark.parametrize("length", [0, 1, 4000])
def test_used_lengths_of_a_legacy_device_are_not_believed(length):
    driver, model = rig("mmio-legacy")
    model.lie = lambda head, used: (head, length)
    driver.unit(0).read(0, bytearray(512))
    model.event(1, 0, 0, 1)
    assert driver.poll() == [("added", 0, 0)]
    assert driver.tmf("unit reset", 0) == 0


def test_events_are_off_without_their_features():
    driver, model = rig(features=0)
    model.queues[1].fetch()
    assert model.queues[1].held == [] and driver.units


@pytest.mark.clauses("SCSI-01", "SCSI-20")
def test_units_that_come_and_go(transport):
    driver, model = rig(transport)
    first = driver.unit(0)
    seen = []
    driver.callback = lambda *event: seen.append(event)
    model.units[(3, 0)] = FakeUnit()
    model.units[(3, 4)] = FakeUnit()
    model.event(1, 3, 0, 1)
    assert [u.name for u in driver.units] == ["scsi0:0:0", "scsi0:3:0", "scsi0:3:4"]
    assert driver.unit(0) is first and seen == [("added", 3, 0)]
    gone = driver.unit(3, 4)
    del model.units[(3, 0)], model.units[(3, 4)]
    model.event(1, 3, 0, 2)
    assert driver.poll() == [("added", 3, 0), ("removed", 3, 0)]
    assert [u.name for u in driver.units] == ["scsi0:0:0"]
    with pytest.raises(OSError) as error:
        gone.read(0, bytearray(512))
    assert error.value.errno == errno.ENODEV and "gone" in repr(gone)


def test_events_call_back_by_interrupt():
    driver, model = rig()
    seen = []
    driver.callback = lambda *event: seen.append(event)
    driver.interrupts(True)
    for target in range(300):
        model.event(1, target & 7, 0, 1)
        riscv.irqs[9](9)
    assert len(seen) == 300 and seen[-1] == ("added", 3, 0)
    assert len(driver.units) == 1 and len(driver.poll()) == 256


@pytest.mark.clauses("SCSI-02")
def test_a_changed_parameter_is_read_again():
    driver, model = rig()
    disk, unit = driver.unit(0), model.units[(0, 0)]
    assert disk.ioctl(4, 0) == 64
    unit.data += bytes(512 * 6)
    model.event(3, 0, 0, 0x2A | 9 << 8)
    assert disk.ioctl(4, 0) == 70
    assert driver.poll() == [("changed", 0, 0)]


@pytest.mark.clauses("SCSI-18", "SCSI-19")
def test_missed_events_make_it_ask_everybody():
    driver, model = rig()
    assert len(driver.units) == 1
    model.units[(6, 1)] = FakeUnit()
    model.units[(0, 0)].attention.append(UA_CAPACITY)
    model.event(0x80000000, 0, 0, 0)
    assert [u.name for u in driver.units] == ["scsi0:0:0", "scsi0:6:1"]
    assert driver.poll() == [("missed", -1, -1)]
    model.event(2, 0, 0, 4)
    assert driver.poll() == [("notice", 0, 0)]


def test_an_event_that_is_too_short():
    driver, model = rig()
    chain = model.queues[1].held[0]
    model.queues[1].finish(chain, 8)
    with pytest.raises(DeviceError, match="event of 8 bytes"):
        driver.poll()


def test_a_unit_of_an_adapter_that_was_closed():
    driver, model = rig()
    disk = driver.unit(0)
    driver.close()
    driver.open()
    with pytest.raises(OSError) as error:
        disk.read(0, bytearray(512))
    assert error.value.errno == errno.ENODEV


def test_units_survive_a_recovery_of_the_adapter(transport):
    driver, model = rig(transport, units=some_units())
    disk, other = driver.unit(0), driver.unit(2)
    disk.refresh()
    del model.units[(2, 0)]
    model.units[(0, 0)].attention = [UA_RESET]
    model.need_reset()
    with pytest.raises(DeviceError):
        driver.check_status()
    assert driver.recover().unit(0) is disk and other.gone
    disk.read(0, bytearray(512))
    assert len(model.queues[1].held) == 8


@pytest.mark.clauses("SCSI-03", "SCSI-09", "SCSI-10")
def test_one_request_queue_serves_and_nothing_else_is_written_to_the_configuration():
    driver, model = rig(num_queues=4)
    driver.unit(0).read(0, bytearray(512))
    assert sorted(driver.queues) == [0, 1, 2]


@pytest.mark.parametrize("change", [{"cdb": 8}, {"sense": 4}, {"event": 1 << 20}, {"cdb": 1 << 20}])
def test_sizes_that_will_not_do_are_refused(change):
    driver, _ = rig(open=False, **change)
    with pytest.raises(DeviceError, match="bytes"):
        driver.open()


@pytest.mark.clauses("SCSI-04")
def test_a_write_to_the_configuration_is_noticed():
    driver, model = rig()
    with pytest.raises(Violation, match="SCSI-04"):
        driver.transport.set_config(12, 4, 1)


def test_report_luns_that_lie_about_their_length():
    driver, model = rig()
    answer = model._answer
    model._answer = lambda where, cdb, out, room: (
        (0, 0, b"", struct.pack(">II", 0xFFFFFFF0, 0) + bytes(16))
        if cdb[0] == 0xA0 and where == (0, 0)
        else answer(where, cdb, out, room)
    )
    assert {u.name for u in driver.units} == {"scsi0:0:0"}


def test_a_target_that_was_reset_tells_so_before_it_lists_its_units():
    driver, model = rig()
    model.units[(0, 0)].attention = ["report"]
    assert [u.name for u in driver.units] == ["scsi0:0:0"]
    assert NO_MEDIUM


def test_a_device_that_answers_at_random_gets_nothing_but_oserrors():
    source = random.Random(4)
    for _ in range(60):
        fresh()
        driver, model = rig(units=some_units())

        def response(lun, cdb):
            if source.random() < 0.9:
                return None
            return source.randrange(256), source.randrange(256), source.randbytes(source.randrange(97))

        def lie(head, used):
            if source.random() < 0.97:
                return head, used
            return source.choice((head, source.randrange(70))), source.choice((used, source.randrange(5000)))

        model.response, model.lie = response, lie
        try:
            for unit in driver.units:
                unit.refresh()
                unit.read_many([(0, bytearray(unit.block_size)) for _ in range(5)], timeout_ms=50)
                if not unit.readonly:
                    unit.write(0, bytes(unit.block_size), timeout_ms=50)
                model.event(source.randrange(1 << 32), source.randrange(8), 0, source.randrange(1 << 32))
                driver.poll()
                driver.tmf("unit reset", unit.target, unit.lun)
                unit.limits()
        except (OSError, ValueError):
            pass
        driver.close()
