"""modules/virtio/vsock on a strict device."""

import errno
import random

import fake_vsock as host
import pytest
from fake_vsock import FakeVSock
from virtio.transport import DeviceError
from virtio.vsock import VSock
from virtio_host import LAYOUTS, fresh
from virtio_host import attach as plug

ROOM = 65536


@pytest.fixture
def vsock():
    fresh()
    opened = []

    def make(**options):
        model = FakeVSock(**options)
        driver, _ = plug(model, VSock, source=8)
        opened.append(driver.open())
        return driver, model

    yield make
    for driver in opened:
        driver.close()


@pytest.fixture
def pair(vsock):
    driver, model = vsock()
    return driver, model, driver.connect(2, 1234)


def key_of(stream):
    return (stream.key[2], stream.key[0])


def code(info):
    return info.value.errno


@pytest.mark.clauses("VSOCK-01", "VSOCK-02", "VSOCK-05", "VSOCK-06", "VSOCK-07", "VSOCK-09")
@pytest.mark.parametrize("features", [0, 1, 5])
def test_a_stream_echoes_on_every_transport(attach, features):
    driver, model = attach(VSock, FakeVSock, features=features)
    assert driver.cid == 7 and "cid 7" in repr(driver)
    assert driver.features & 7 == features
    with driver.connect(cid=2, port=1234) as s:
        assert s.write(b"hello\nworld") == 11
        assert s.readline() == b"hello\n"
        assert s.read() == b"world"
    driver.pump()
    assert model.log[-1].op == host.SHUTDOWN and model.log[-1].flags == 3
    assert not model.peers and not driver._streams


@pytest.mark.clauses("VSOCK-05", "VSOCK-06")
@pytest.mark.parametrize("rings", LAYOUTS)
def test_much_data_in_pieces_of_any_size(vsock, rings):
    driver, _ = vsock(ring_features=rings)
    s = driver.connect(2, 1234)
    rng = random.Random(1)
    data = rng.randbytes(400_000)
    out, back = memoryview(data), bytearray()
    at = 0
    while len(back) < len(data):
        n = min(rng.choice([1, 100, 4052, 4053, 20_000]), ROOM - (at - len(back)), len(data) - at)
        at += s.write(out[at : at + n]) if n else 0
        if s.any() > 30_000 or at == len(data):
            back += s.read(rng.choice([1, 17_000, ROOM]))
    assert back == data


@pytest.mark.clauses("VSOCK-05")
def test_a_writer_stops_at_the_peers_credit_and_asks_for_more(vsock):
    driver, model = vsock()
    s = driver.connect(2, 99)
    s.timeout_ms = 0
    assert s.write(bytes(10_000)) == 8192 and s.credit == 0
    assert s.write(b"x") is None and s.ioctl(3, 4) == 0
    assert [p.op for p in model.log].count(host.CREDIT_REQUEST) == 1
    model.take(key_of(s), 5000)
    assert s.ioctl(3, 4) == 4 and s.write(bytes(10_000)) == 5000
    s.timeout_ms = 20
    with pytest.raises(OSError, match="no room in 20 ms") as info:
        s.write(b"x")
    assert code(info) == errno.ETIMEDOUT


@pytest.mark.clauses("VSOCK-06")
def test_the_peer_is_told_what_was_read(pair):
    _, model, s = pair
    key = key_of(s)
    for _ in range(20):
        model.send(host.RW, *key, payload=bytes(4000))
        s.read(4000)
    told = [p.fwd_cnt for p in model.log if p.op == host.CREDIT_UPDATE]
    assert told == [36_000, 72_000]
    model.send(host.CREDIT_REQUEST, *key)
    s.any()
    assert model.log[-1][6:] == (host.CREDIT_UPDATE, 0, ROOM, 80_000, b"")


@pytest.mark.clauses("VSOCK-04")
def test_packets_are_received_while_nothing_can_be_sent(vsock):
    driver, model = vsock()
    a, b = driver.connect(2, 1234), driver.connect(2, 1234)
    model.stuck = True
    a.timeout_ms = 0
    while a.write(bytes(100)):
        pass
    for _ in range(100):  # each asks for an answer, too
        model.send(host.CREDIT_REQUEST, *key_of(b))
        model.send(host.RW, *key_of(b), payload=b"still here")
        assert b.read(10) == b"still here"
    for _ in range(1000):  # an end there must be
        model.send(host.CREDIT_REQUEST, *key_of(b))
    driver.pump()
    assert 256 <= len(driver._answers) < 300 and model.outbox
    model.unstick()
    assert driver.wait(lambda: not model.outbox and not driver._answers, 2000)
    assert [p.op for p in model.log].count(host.CREDIT_UPDATE) == 1100


def test_nobody_listens_or_answers(vsock):
    driver, model = vsock()
    with pytest.raises(OSError, match="vsock0: 2:5: nobody listens there") as info:
        driver.connect(2, 5)
    assert code(info) == errno.ECONNREFUSED
    model.silent = True
    with pytest.raises(OSError, match="no answer in 20 ms") as info:
        driver.connect(2, 1234, timeout_ms=20)
    assert code(info) == errno.ETIMEDOUT and model.log[-1].op == host.RST
    for cid, port in ((2, -1), (2, 1 << 32), (-1, 3)):
        with pytest.raises(ValueError, match="no such address"):
            driver.connect(cid, port)
    assert not driver._streams


def test_a_listener_accepts_up_to_its_backlog(vsock):
    driver, model = vsock()
    listener = driver.listen(80, backlog=2)
    with pytest.raises(OSError) as info:
        driver.listen(80)
    assert code(info) == errno.EADDRINUSE
    assert listener.accept(0) is None and listener.ioctl(3, 1) == 0
    for port in (1, 2, 3):
        model.echo.add(port)
        model.send(host.REQUEST, port, 80)
    assert listener.ioctl(3, 1) == 1
    assert [(p.dst_port, p.op) for p in model.log] == [(1, host.RESPONSE), (2, host.RESPONSE), (3, host.RST)]
    s = listener.accept()
    assert s.key == (80, 2, 1) and s.write(b"hi") == 2 and s.read() == b"hi"
    listener.close()
    assert model.log[-1].op == host.RST and model.log[-1].dst_port == 2
    with pytest.raises(OSError, match="is closed"):
        listener.accept()
    model.send(host.REQUEST, 4, 80)
    driver.pump()
    assert model.log[-1].op == host.RST
    with pytest.raises(OSError, match="nobody came in 10 ms"):
        driver.listen(81).accept(10)


def test_the_peer_shuts_one_way_then_the_other(vsock):
    driver, model = vsock()
    s = driver.connect(2, 99)
    key = key_of(s)
    model.send(host.RW, *key, payload=b"last")
    model.send(host.SHUTDOWN, *key, flags=2)
    assert s.read() == b"last" and s.read() == b"" and s.readinto(bytearray(3)) == 0 and s.readline() == b""
    assert s.write(b"more") == 4
    model.send(host.SHUTDOWN, *key, flags=1)
    s.ioctl(3, 1)
    assert model.log[-1].op == host.RST
    with pytest.raises(OSError) as info:
        s.write(b"x")
    assert code(info) == errno.ENOTCONN and s.read() == b""


def test_the_peer_breaks_the_connection(pair):
    _, model, s = pair
    model.send(host.RW, *key_of(s), payload=b"last")
    model.send(host.RST, *key_of(s))
    assert s.read() == b"last" and s.ioctl(3, 5) & 0x1D == 0x1D
    for call in (lambda: s.read(), lambda: s.write(b"x"), lambda: s.readinto(bytearray(2))):
        with pytest.raises(OSError, match="the peer broke") as info:
            call()
        assert code(info) == errno.ECONNRESET
    s.close()


def test_shutdown_here_and_close_without_an_answer(pair):
    driver, model, s = pair
    s.shutdown()
    with pytest.raises(OSError, match="closed"):
        s.write(b"x")
    model.silent = True
    s.close()
    assert model.log[-1].op == host.SHUTDOWN and driver._streams
    s._deadline -= 2000
    driver.pump()
    assert model.log[-1].op == host.RST and not driver._streams


def test_reading_waits_and_says_so(pair):
    _, _, s = pair
    s.timeout_ms = 10
    for call in (lambda: s.read(1), lambda: s.readinto(bytearray(1)), lambda: s.readline()):
        with pytest.raises(OSError, match="no data in 10 ms") as info:
            call()
        assert code(info) == errno.ETIMEDOUT
    s.timeout_ms = 0
    assert (s.read(), s.readinto(bytearray(1)), s.readline(), s.ioctl(3, 1)) == (None, None, None, 0)
    assert s.read(0) == b"" and s.readinto(bytearray()) == 0
    s.write(b"half a line")
    assert s.readline() is None and s.read(4) == b"half"


@pytest.mark.clauses("VSOCK-08")
@pytest.mark.parametrize(
    "fields", [{"kind": 2}, {"kind": 77}, {"dst": 6}, {"src": 5}, {"dst_port": 1}], ids=lambda f: next(iter(f))
)
def test_packets_for_nobody_are_answered_by_rst(pair, fields):
    _, model, s = pair
    before = len(model.log)
    model.send(host.RW, *key_of(s), **fields)
    s.any()
    (answer,) = model.log[before:]
    assert answer.op == host.RST and answer.kind == fields.get("kind", 1) and answer.dst == fields.get("src", 2)
    assert answer.dst_port == 1234 and s.open
    model.send(host.RST, *key_of(s), **fields)
    s.any()
    assert len(model.log) == before + 1 and s.open


@pytest.mark.parametrize(
    "op, fields, text",
    [
        (host.RW, {"payload": bytes(4000), "times": 17}, "4000 bytes without credit"),
        (host.RESPONSE, {}, "unexpected operation 2"),
        (42, {}, "unexpected operation 42"),
        (host.RW, {"fwd_cnt": 1}, "fwd_cnt of 1 is wrong"),
    ],
)
def test_a_peer_that_breaks_the_rules_is_cut_off(pair, op, fields, text):
    driver, model, s = pair
    for _ in range(fields.pop("times", 1)):
        model.send(op, *key_of(s), **fields)
    driver.pump()
    assert model.log[-1].op == host.RST and not s.open
    with pytest.raises(OSError, match=text):
        while s.read():
            pass


@pytest.mark.parametrize("data, text", [(bytes(43), "packet of 43 bytes"), (None, "5 bytes of payload said, 4 there")])
def test_a_device_that_cuts_packets_off_is_not_trusted(pair, data, text):
    driver, model, s = pair
    if data is None:
        data = host.HEADER.pack(2, 7, 1234, s.key[0], 5, 1, host.RW, 0, 8192, 0) + b"four"
    model.raw(data)
    with pytest.raises(DeviceError, match=text):
        s.read()
    with pytest.raises(DeviceError, match=text):
        driver.connect(2, 1234)


@pytest.mark.clauses("VSOCK-09", "VSOCK-10", "VSOCK-11", "VSOCK-12")
def test_after_a_transport_reset_listeners_are_left_under_the_new_cid(pair):
    driver, model, s = pair
    listener = driver.listen(80)
    for cid in range(20, 40):  # more than there are event buffers
        model.moved(cid)
        driver.pump()
        assert driver.cid == cid
    with pytest.raises(OSError, match="the transport was reset") as info:
        s.read()
    assert code(info) == errno.ECONNRESET
    model.echo.add(5)
    model.send(host.REQUEST, 5, 80)
    t = listener.accept()
    assert t.write(b"new") == 3 and t.read() == b"new" and model.log[-1].src == 39
    model.event(9)  # nobody knows it
    t.any()
    assert t.open


def test_a_short_event(pair):
    driver, model, _ = pair
    model.event(0, size=2)
    with pytest.raises(DeviceError, match="event of 2 bytes"):
        driver.pump()


def test_interrupts_take_packets_in_and_recovery_keeps_listeners(pair):
    driver, model, s = pair
    listener = driver.listen(80)
    driver.recover()
    with pytest.raises(OSError, match="was reset"):
        s.read()
    model.peers.clear()
    model.echo.add(5)
    model.send(host.REQUEST, 5, 80)
    assert listener.accept().key == (80, 2, 5)


def test_a_device_without_streams_and_one_that_is_closed(vsock):
    with pytest.raises(OSError, match="has no streams"):
        vsock(features=6)
    fresh()
    driver, model = vsock()
    s = driver.connect(2, 1234)
    driver.close()
    assert model.log[-1].op == host.RST and s.ioctl(3, 1) == 0x20
    with pytest.raises(OSError, match="was closed"):
        s.read()
    with pytest.raises(ValueError, match="is closed"):
        driver.connect(2, 1234)
