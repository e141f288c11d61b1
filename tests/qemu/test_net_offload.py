"""virtio-net's offloads, merged buffers and pairs of queues in QEMU, over a tap interface of this machine.

QEMU offers them only where its backend passes the offload header on. Without the right to make a tap interface
these are skipped: what is left is shown by the fake card (tests/host/test_net.py).
"""

import hashlib
import random
import struct

import bus
import pytest
import tap
from frames import ip_frame, layers, total

GUEST = bytes.fromhex("525400000001")


@pytest.fixture(scope="module")
def wire():
    why = tap.missing()
    if why:
        pytest.skip(why)
    wire = tap.Tap()
    yield wire
    wire.close()


VARIANTS = [bus.Variant("mmio"), bus.Variant("mmio-legacy"), bus.Variant("pci-legacy"), bus.Variant("pci", packed=True)]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def machine(request, wire):
    card = {"netdev": "tap", "mac": "52:54:00:00:00:01", "mq": "on", "rss": "on", "hash": "on"}
    return request.param.machine(
        devices=[request.param.device("virtio-net", **card)], extra=wire.options("tap", queues=3)
    )


@pytest.fixture
def card(guest, wire):
    """The guest with its card open as `d`."""
    guest.exec("import virtio, time\nd = virtio.open('net0')")
    wire.open()
    guest.exec("while d.recv(20): pass")
    return guest


def outgoing(data):
    """A frame from the guest to somebody else."""
    return bytes.fromhex("5254000000ff") + GUEST + data[12:]


def incoming(data):
    return GUEST + bytes.fromhex("5254000000ff") + data[12:]


def unfinished(data):
    """A frame with the pseudo-header's sum alone where its checksum belongs, and where that is."""
    data = bytearray(data)
    pseudo, l4, at, end, _ = layers(data)
    struct.pack_into(">H", data, l4 + at, pseudo)
    return bytes(data), {"flags": 1, "start": l4, "offset": at, "hdr_len": end}


def right(data):
    """Whether the transport checksum is right."""
    pseudo, l4, _, _, _ = layers(data)
    return total(struct.pack(">H", pseudo) + data[l4:]) == 0xFFFF


def test_what_is_negotiated(card):
    offloads = [0, 1, 2, 5, *range(7, 16), *range(16, 24)]
    assert [bit for bit in offloads if card.eval(f"d.has({bit})") is False] == []
    assert card.eval("(d.pairs_ready, d.pairs_used)") == (3, 1)


@pytest.mark.clauses("NET-TX-31", "NET-TX-32")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", [6, 17])
def test_the_host_gets_checksums_to_finish(card, wire, family, protocol):
    data = outgoing(ip_frame(b"payload" * 9, protocol, family, finish=False))
    assert card.eval(f"d.send({data!r}, csum=True)") == len(data)
    fields, seen = wire.recv(lambda frame: frame[6:12] == GUEST)
    assert (seen, fields["flags"] & 1) == (unfinished(data)[0], 1)
    assert (fields["start"], fields["offset"]) == layers(data)[1:3]


@pytest.mark.clauses("NET-TX-34", "NET-TX-35")
@pytest.mark.parametrize("family, kind", [(4, 1), (6, 4)])
def test_the_host_gets_large_frames_to_cut(card, wire, family, kind):
    for size in (5000, 65000):
        data = outgoing(ip_frame(bytes(range(250)) * (size // 250), family=family, finish=False))
        head = len(data) - size
        card.exec(f"a = {data[:head]!r} + bytes(range(250)) * {size // 250}")
        assert card.eval("d.send(a, gso=1400)") == len(data)
        fields, seen = wire.recv(lambda frame: frame[6:12] == GUEST)
        assert seen == unfinished(data)[0]
        assert (fields["kind"], fields["mss"], fields["flags"] & 1) == (kind, 1400, 1)


@pytest.mark.clauses("NET-RX-06")
@pytest.mark.parametrize("size", [500, 3000, 64000])
def test_large_frames_come_in_over_several_buffers(card, wire, size):
    whole = incoming(ip_frame(random.Random(size).randbytes(size)))
    data, fields = unfinished(whole)
    if size > 1400:
        fields.update(kind=1, mss=1400)
    for _ in range(5):
        wire.send(data, **fields)
    card.exec("p = d.recv_packet(5000)\nimport hashlib\nh = lambda b: hashlib.sha256(b).digest().hex()")

    assert card.eval("(p.needs_csum is not None, p.gso)") == (True, ("tcp4", 1400) if size > 1400 else None)
    assert card.eval("h(p.data)") == hashlib.sha256(data).hexdigest()
    assert card.eval("h(p.finished())") == hashlib.sha256(whole).hexdigest()
    assert card.eval("h(d.recv(5000))") == hashlib.sha256(whole).hexdigest()
    card.exec("b = bytearray(70000)\nn = d.recv_into(b, 5000)")
    assert card.eval("h(memoryview(b)[:n])") == hashlib.sha256(whole).hexdigest()
    assert card.eval("h(d.recv_view(5000))") == hashlib.sha256(whole).hexdigest()
    assert card.eval("(d.recv(5000) is not None, d.recv(), d.dropped)") == (True, None, 0)


@pytest.mark.clauses("NET-CTRL-12")
def test_offloads_are_switched_off_by_command(card, wire):
    card.exec("d.ctrl.offloads()")
    data, fields = unfinished(incoming(ip_frame(bytes(6000))))
    wire.send(data, **fields, kind=1, mss=1400)
    parts = card.eval("[(len(p.data), p.needs_csum, p.gso) for p in [d.recv_packet(5000) for _ in range(5)]]")
    assert [size - 54 for size, _, _ in parts] == [1400] * 4 + [400]
    assert {part[1:] for part in parts} == {(None, None)}


@pytest.mark.clauses("NET-MQ-04", "NET-MQ-05", "NET-MQ-06", "NET-MQ-07")
def test_pairs_of_queues(card, wire):
    """The host spreads by flow; the guest sends where it wants."""
    card.exec("d.ctrl.pairs(3)")
    for n in range(60):
        flow = bytearray(ip_frame(b"flow", protocol=17, finish=False))
        flow[34:36] = struct.pack(">H", 1000 + n)
        wire.send(incoming(bytes(flow)))
    card.exec("f = [d.recv_packet(5000) for _ in range(60)]")
    ports = card.eval("sorted([(p.data[34] << 8 | p.data[35]) for p in f])")
    assert ports == list(range(1000, 1060))
    assert card.eval("len(set([p.queue for p in f]))") > 1
    data = outgoing(ip_frame(b"out", finish=True))
    for queue in range(3):
        card.exec(f"d.send({data!r}, queue={queue})")
        assert wire.recv(lambda frame: frame[6:12] == GUEST)[1] == data
    card.exec("d.ctrl.pairs(1)")
    for _ in range(20):
        wire.send(incoming(ip_frame(b"one pair", finish=True)))
    assert card.eval("set([d.recv_packet(5000).queue for _ in range(20)])") == {0}


def test_traffic_both_ways_on_all_pairs(card, wire):
    card.exec(
        "d.ctrl.pairs(3)\n"
        "def echo(count):\n"
        "    n = 0\n"
        "    while n < count:\n"
        "        for f in d.recv_many(50, 5000):\n"
        "            d.send(f[6:12] + f[:6] + f[12:], queue=n % 3)\n"
        "            n += 1\n"
        "    d.flush()\n"
    )
    card.begin("echo(600)")
    seen = []
    for start in range(0, 600, 30):
        frames = [incoming(ip_frame(struct.pack(">H", n) * 40, protocol=17)) for n in range(start, start + 30)]
        for data in frames:
            wire.send(data)
        for _ in frames:
            seen.append(wire.recv(lambda frame: frame[6:12] == GUEST)[1])
    assert card.end() == ("", "")
    assert sorted(int.from_bytes(data[42:44], "big") for data in seen) == list(range(600))
    assert all(right(data) for data in seen)


def toeplitz(key, data):
    """The hash of RSS (5.1.9.4.3)."""
    window = int.from_bytes(key, "big")
    result = 0
    for i in range(8 * len(data)):
        if data[i // 8] >> (7 - i % 8) & 1:
            result ^= window >> (8 * len(key) - 32 - i) & 0xFFFFFFFF
    return result


@pytest.mark.clauses("NET-RX-04", "NET-RSS-02", "NET-MQ-08")
def test_queue_by_hash_and_its_report(card, wire):
    if card.eval("d.transport.legacy"):
        assert card.eval("d.ctrl.hash_types()") == ()  # feature bits above 31
        return
    assert "udp4" in card.eval("d.ctrl.hash_types()")
    card.exec("d.ctrl.pairs(3)\nd.ctrl.rss(('udp4', 'ip4'), table=[1, 2, 1, 2], unclassified=0)")
    key = card.eval("__import__('virtio.netctrl', None, None, ('_KEY',))._KEY")
    for n in range(40):
        flow = bytearray(ip_frame(b"flow", protocol=17, finish=False))
        flow[34:36] = struct.pack(">H", 1000 + n)
        wire.send(incoming(bytes(flow)))
    got = card.eval("[(bytes(p.data[26:38]), p.hash, p.queue) for p in [d.recv_packet(5000) for _ in range(40)]]")
    for addresses, (value, kind), queue in got:
        assert value == toeplitz(key, addresses) and kind == 3  # UDPv4
        assert queue == [1, 2, 1, 2][value & 3]
