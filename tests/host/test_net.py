"""The network driver on a strict fake device, over both MMIO register layouts."""

import gc
import struct
import sys
import weakref
from pathlib import Path

import pytest

sys.path[:0] = [p for p in [str(Path(__file__).parent)] if p not in sys.path]

import shim  # noqa: E402

shim.install()

from fake_device import mask  # noqa: E402
from fake_net import ALL, ALL_MODERN, FakeNet  # noqa: E402
from frames import frame, ip_frame, layers, total  # noqa: E402
from virtio import net, netbuf, netpacket  # noqa: E402
from virtio.transport import DeviceError  # noqa: E402


@pytest.mark.clauses("NET-TX-03", "NET-TX-04", "NET-TX-05", "NET-TX-33", "NET-TX-47")
def test_net_sends_and_receives(attach):
    device, model = attach(net.Net, FakeNet)
    assert device.recv() is None
    assert device.recv(timeout_ms=5) is None
    assert device.send(frame(1)) == 60
    assert model.frames == [frame(1)]
    model.deliver(frame(2))
    model.deliver(frame(3, 1514))
    assert device.recv() == frame(2)
    buf = bytearray(2000)
    assert device.recv_into(buf) == 1514 and bytes(buf[:1514]) == frame(3, 1514)
    assert device.recv_into(buf) is None
    assert (device.sent, device.received) == (1, 2)


@pytest.mark.clauses("NET-LEG-10", "NET-LEG-04")
@pytest.mark.parametrize("ring", [(), (27,), (28, 29), (27, 28, 29)])
def test_net_header_fits_the_negotiated_framing(attach, legacy, ring):
    """Legacy without ANY_LAYOUT: the header has a descriptor to itself."""
    ring = [bit for bit in ring if legacy or bit != 27]
    device, model = attach(net.Net, FakeNet, ring_features=mask(*ring))
    for i in range(100):
        device.send(frame(i))
        model.deliver(frame(i + 1))
        assert device.recv() == frame(i + 1)
    assert model.frames == [frame(i) for i in range(100)]


@pytest.mark.clauses("NET-CFG-02", "NET-CFG-03", "GEN-LEGCFG-02")
def test_net_mac_is_the_configured_one(attach):
    device, model = attach(net.Net, FakeNet)
    assert device.has(5) and device.mac == FakeNet.ADDRESS == device.config("mac")
    assert "52:54:00:12:34:56" in repr(device)


@pytest.mark.clauses("NET-CFG-04")
def test_net_without_mac_invents_a_local_one(attach):
    device, _ = attach(net.Net, FakeNet, features=0)
    assert len(device.mac) == 6 and device.mac[0] & 3 == 2


@pytest.mark.clauses("NET-LEG-01", "NET-CFG-06")
def test_net_link_state(attach):
    device, model = attach(net.Net, FakeNet)
    assert device.isconnected()
    model.change_config(b"\0\0", 6)
    assert not device.isconnected()
    assert " down" in repr(device)


@pytest.mark.clauses("NET-CFG-05")
def test_net_without_status_the_link_is_up(attach):
    device, _ = attach(net.Net, FakeNet, features=mask(5), status=0)
    assert device.isconnected()


@pytest.mark.parametrize("mtu", [68, 1500, 9000])
@pytest.mark.clauses("NET-CFG-07", "NET-CFG-08", "NET-CFG-09")
def test_net_mtu_bounds_what_is_sent_and_received(attach, mtu):
    device, model = attach(net.Net, FakeNet, features=mask(3, 5), mtu=mtu)
    assert device.mtu == mtu == device.config("mtu")
    device.send(frame(1, mtu + 14))
    with pytest.raises(ValueError, match="%d to %d fit" % (14, mtu + 14)):
        device.send(frame(1, mtu + 15))
    model.deliver(frame(2, mtu + 14))
    assert device.recv() == frame(2, mtu + 14)
    assert len(model.frames) == 1


def test_net_without_mtu_takes_a_vlan_tag(attach):
    device, model = attach(net.Net, FakeNet)
    device.send(frame(1, 1518))
    for size in (0, 13, 1519):
        with pytest.raises(ValueError):
            device.send(bytes(size))
    with pytest.raises(ValueError, match="no parameter"):
        device.config("ssid")


def test_net_send_does_not_wait_for_the_device(attach):
    device, model = attach(net.Net, FakeNet)
    model.stuck = True
    data = bytearray(frame(0))
    for i in range(64):
        data[20] = i
        device.send(data)
    with pytest.raises(OSError, match="no buffer"):
        device.send(data, timeout_ms=10)
    with pytest.raises(OSError, match="flush"):
        device.flush(timeout_ms=10)
    model.stuck = False
    model.work(model.queues[1])
    device.send(frame(9))
    device.flush()
    assert [f[20] for f in model.frames] == list(range(64)) + [9]


@pytest.mark.clauses("NET-INIT-01")
def test_net_holds_as_many_frames_as_it_posted_buffers(attach):
    device, model = attach(net.Net, FakeNet)
    model.queues[0].fetch()
    assert len(model.queues[0].held) == 64
    for i in range(64):
        model.deliver(frame(i))
    assert [device.recv() for _ in range(65)] == [frame(i) for i in range(64)] + [None]
    model.deliver(frame(40))
    assert device.recv() == frame(40)


def test_net_works_with_a_tiny_queue(attach):
    device, model = attach(net.Net, FakeNet, queue=2)
    for i in range(10):
        device.send(frame(i))
        model.deliver(frame(i))
        assert device.recv() == frame(i)


def test_net_frame_longer_than_the_callers_buffer_stays(attach):
    device, model = attach(net.Net, FakeNet)
    model.deliver(frame(1, 100))
    with pytest.raises(ValueError, match="100 bytes, a buffer of 50"):
        device.recv_into(bytearray(50))
    assert device.recv() == frame(1, 100)


@pytest.mark.clauses("NET-RX-07", "NET-RX-10", "NET-RX-12")
def test_net_unknown_header_flags_do_not_matter(attach, legacy):
    device, model = attach(net.Net, FakeNet)
    model.deliver(frame(1), header=b"\xf8\0" + b"\xff" * 8 + (b"" if legacy else b"\1\0"))
    assert device.recv() == frame(1)


def test_net_answer_shorter_than_its_header_is_a_device_error(attach):
    device, model = attach(net.Net, FakeNet)
    model.deliver(b"", header=bytes(5))
    with pytest.raises(DeviceError, match="5 bytes"):
        device.recv()
    with pytest.raises(DeviceError):
        device.send(frame(1))


def test_net_reopens(attach):
    device, model = attach(net.Net, FakeNet)
    device.send(frame(1))
    device.close()
    with pytest.raises(ValueError, match="closed"):
        device.send(frame(2))
    device.open()
    model.deliver(frame(3))
    assert device.recv() == frame(3)


# Features


@pytest.mark.clauses("NET-FEAT-01", "NET-CFG-13", "NET-CFG-14")
@pytest.mark.parametrize("missing", [(), (0,), (1,), (7, 8), (11, 12), (15,), (17,), (0, 1, 17)])
def test_features_go_with_what_they_need(attach, legacy, missing):
    offered = (ALL if legacy else ALL_MODERN) & ~mask(*missing)
    device, model = attach(net.Net, FakeNet, features=offered, pairs=2)
    assert not missing or device.features & 0xFFFFFF != offered & 0xFFFFFF or missing == (15,)
    if not missing:
        assert device.features & offered == offered
    device.send(frame(1))
    model.deliver(frame(2))
    assert device.recv() == frame(2) and model.frames == [frame(1)]


@pytest.mark.clauses("NET-CFG-11", "NET-CFG-12")
def test_speed_and_duplex(attach, legacy):
    device, model = attach(net.Net, FakeNet, features=mask(5) if legacy else mask(5, 63), speed=1000, duplex=1)
    assert (device.speed, device.duplex) == ((None, None) if legacy else (1000, "full"))
    if legacy:
        return
    for speed, duplex, seen in (
        (0x7FFFFFFF, 0, (0x7FFFFFFF, "half")),
        (0x80000000, 2, (None, None)),
        (0xFFFFFFFF, 0xFF, (None, None)),
    ):
        model.change_config(struct.pack("<IB", speed, duplex), 12)
        device.poll_config()
        assert (device.speed, device.duplex) == seen


@pytest.mark.clauses("NET-CFG-01", "NET-CTRL-07")
def test_an_invented_address_is_told_to_the_card(attach):
    device, model = attach(net.Net, FakeNet, features=mask(16, 17, 18, 23))
    assert model.commands == [(1, 1, device.mac)]


# Offloads on the way out


@pytest.mark.clauses("NET-TX-05", "NET-LEG-03", "NET-TX-29", "NET-TX-30", "NET-TX-31", "NET-TX-32", "NET-TX-37")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", [6, 17])
@pytest.mark.parametrize("vlan", [False, True])
def test_checksum_is_left_to_the_card(attach, family, protocol, vlan):
    device, model = attach(net.Net, FakeNet, features=mask(0, 5))
    data = ip_frame(b"some payload!", protocol, family, vlan, finish=False)
    assert device.send(data, csum=True) == len(data)
    header = model.headers[0]
    start, offset = struct.unpack_from("<HH", header, 6)
    assert header[0] == 1 and header[1] == 0
    sent = bytearray(model.frames[0])
    struct.pack_into(">H", sent, start + offset, total(sent[start:]) ^ 0xFFFF)
    assert bytes(sent) == ip_frame(b"some payload!", protocol, family, vlan)
    for _ in range(130):  # until the same buffer is used again
        device.send(frame(1))
    assert not any(map(any, model.headers[1:]))


@pytest.mark.clauses("NET-TX-05", "NET-TX-06")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", [6, 17])
def test_checksum_is_computed_where_the_card_cannot(attach, family, protocol):
    device, model = attach(net.Net, FakeNet)
    for payload in (b"", b"x", b"odd", bytes(1400)):
        device.send(ip_frame(payload, protocol, family, finish=False), csum=True)
        assert model.frames[-1] == ip_frame(payload, protocol, family)


def test_checksum_at_a_place_that_the_caller_names(attach):
    for features in (mask(0, 5), mask(5)):
        device, model = attach(net.Net, FakeNet, features=features)
        data = bytearray(ip_frame(b"payload", finish=False))
        pseudo, l4, at, _, _ = layers(data)
        struct.pack_into(">H", data, l4 + at, pseudo)
        device.send(data, csum=(l4, at))
        for bad in ((l4, len(data)), (len(data), 0), (-1, 0)):
            with pytest.raises(ValueError, match="checksum at"):
                device.send(data, csum=bad)
        device.close()


@pytest.mark.parametrize(
    "data",
    [
        frame(1),
        ip_frame(b"x")[:40],
        ip_frame(b"x")[:23] + b"\1" + ip_frame(b"x")[24:],
        ip_frame(b"x")[:20] + b"\x20\0" + ip_frame(b"x")[22:],
    ],
    ids=["ethertype", "short", "icmp", "fragment"],
)
def test_frames_without_a_checksum_to_offload_are_refused(attach, data):
    device, model = attach(net.Net, FakeNet, features=mask(0, 5))
    with pytest.raises(ValueError):
        device.send(data, csum=True)
    assert model.frames == []


@pytest.mark.clauses(
    "NET-LEG-03",
    "NET-TX-19",
    "NET-TX-24",
    "NET-TX-44",
    "NET-TX-45",
    "NET-TX-47",
    "NET-TX-08",
    "NET-TX-10",
    "NET-TX-12",
    "NET-TX-14",
    "NET-TX-34",
    "NET-TX-35",
    "NET-TX-36",
)
@pytest.mark.parametrize("payload", [1000, 5000, 65000])
@pytest.mark.parametrize("kind, family, protocol", [("tcp4", 4, 6), ("tcp6", 6, 6), ("uso", 4, 17), ("ufo", 6, 17)])
def test_large_frames_are_cut_by_the_card(attach, legacy, kind, family, protocol, payload):
    if legacy and kind == "uso":
        return  # a bit above 31
    features = mask(0, 5, 11, 12, 14) if legacy else mask(0, 5, 11, 12, 14, 56, 59)
    device, model = attach(net.Net, FakeNet, features=features)
    data = ip_frame(bytes(range(250)) * (payload // 250), protocol, family, finish=False)
    gso = 700 if kind in ("tcp4", "tcp6", "uso") else (kind, 700)
    assert device.send(data, gso=gso) == len(data)
    assert model.headers[0][1] == {"tcp4": 1, "ufo": 3, "tcp6": 4, "uso": 5}[kind]
    assert struct.unpack_from("<H", model.headers[0], 4)[0] == 700
    assert model.frames[0][100:] == data[100:]
    device.send(frame(3))
    assert model.frames[1] == frame(3)


@pytest.mark.clauses("NET-TX-09", "NET-TX-11", "NET-TX-13", "NET-TX-15", "NET-TX-33")
@pytest.mark.parametrize("kind, family, protocol", [("tcp4", 4, 6), ("tcp6", 6, 6), ("uso", 4, 17), ("ufo", 4, 17)])
def test_segmentation_that_was_not_negotiated_is_refused(attach, kind, family, protocol):
    device, model = attach(net.Net, FakeNet, features=mask(0, 5))
    with pytest.raises(OSError, match="not negotiated"):
        device.send(ip_frame(bytes(3000), protocol, family, finish=False), gso=(kind, 700))
    assert model.frames == []


@pytest.mark.clauses("NET-TX-16", "NET-TX-17")
def test_congestion_marks_go_with_the_segments(attach):
    data = ip_frame(bytes(3000), flags=0x90, finish=False)
    device, model = attach(net.Net, FakeNet, features=mask(0, 5, 11, 13))
    device.send(data, gso=700)
    assert model.headers[0][1] == 0x81
    device.close()
    device, model = attach(net.Net, FakeNet, features=mask(0, 5, 11))
    with pytest.raises(OSError, match="HOST_ECN"):
        device.send(data, gso=700)


def test_bad_segments_are_refused(attach):
    device, model = attach(net.Net, FakeNet, features=mask(0, 5, 11, 12, 14))
    data = ip_frame(bytes(3000), finish=False)
    for gso, text in ((0, "segments of 0"), (1 << 16, "segments of"), (("tcp6", 700), "the frame is tcp4")):
        with pytest.raises(ValueError, match=text):
            device.send(data, gso=gso)
    with pytest.raises(ValueError, match="bytes"):
        device.send(ip_frame(bytes(70_000), finish=False), gso=1000)
    with pytest.raises(ValueError, match="fit"):
        device.send(ip_frame(bytes(3000), finish=False), csum=True)
    assert model.frames == []


def test_a_large_frame_the_card_does_not_take_times_out_and_stays_the_queues(attach):
    device, model = attach(net.Net, FakeNet, features=mask(0, 5, 11))
    data = ip_frame(bytes(9000), finish=False)
    model.stuck = True
    with pytest.raises(OSError, match="not sent in"):
        device.send(data, gso=1000, timeout_ms=10)
    assert device.queues[1].in_flight == 1
    model.stuck = False
    model.work(model.queues[1])
    device.flush()
    assert model.frames[0][54:] == bytes(9000)


# Offloads on the way in


BIG = mask(0, 1, 5, 7, 8, 9, 10)


def unfinished(payload, **kind):
    """(frame with the pseudo-header's sum alone, header fields, the frame as it should be)."""
    data = bytearray(ip_frame(payload, finish=False))
    pseudo, l4, at, end, _ = layers(data)
    struct.pack_into(">H", data, l4 + at, pseudo)
    return bytes(data), {"flags": 1, "start": l4, "offset": at, "hdr_len": end, **kind}, ip_frame(payload)


@pytest.mark.clauses("NET-LEG-03", "NET-RX-10", "NET-RX-12", "NET-RX-13")
def test_packet_tells_what_the_card_says(attach):
    device, model = attach(net.Net, FakeNet, features=BIG)
    model.deliver(frame(1), hdr_len=0xFFFF, start=0xFFFF, offset=7)
    model.deliver(frame(2), flags=2)
    data, fields, whole = unfinished(b"payload")
    model.deliver(data, **fields)
    plain, checked, partial = (device.recv_packet() for _ in range(3))
    assert (plain.data, plain.needs_csum, plain.data_valid, plain.gso) == (frame(1), None, False, None)
    assert (checked.data_valid, checked.needs_csum) == (True, None) and "checked" in repr(checked)
    assert partial.needs_csum == (34, 16) and not partial.data_valid and "missing" in repr(partial)
    assert partial.data == data and partial.finished() == whole and plain.finished() == frame(1)
    assert device.recv_packet() is None


def test_a_missing_checksum_is_completed_for_who_wants_bytes(attach):
    device, model = attach(net.Net, FakeNet, features=BIG)
    for payload in (b"", b"p", b"payload", bytes(range(256)) * 5):
        data, fields, whole = unfinished(payload)
        for _ in range(3):
            model.deliver(data, **fields)
        assert device.recv() == whole
        buf = bytearray(2000)
        assert device.recv_into(buf) == len(whole) and buf[: len(whole)] == whole
        assert bytes(device.recv_view()) == whole


@pytest.mark.clauses("NET-RX-07", "NET-RX-13")
def test_flags_mean_nothing_without_guest_csum(attach):
    device, model = attach(net.Net, FakeNet)
    data, fields, _ = unfinished(b"payload")
    fields["flags"] = 0xF3
    model.deliver(data, **fields)
    packet = device.recv_packet()
    assert (packet.needs_csum, packet.data_valid, packet.data) == (None, False, data)


@pytest.mark.clauses("NET-RX-14", "NET-RX-15", "NET-RX-16", "NET-RX-17", "NET-RX-18", "NET-RX-19")
def test_tunnels_and_checksums_outside_the_frame_are_dropped(attach):
    device, model = attach(net.Net, FakeNet, features=BIG)
    for fields in (
        {"kind": 0x21, "flags": 1},
        {"kind": 0x41, "flags": 1},
        {"kind": 0x61, "flags": 1},
        {"kind": 0x21},
        {"kind": 0x21, "flags": 2},
        {"kind": 0x20, "flags": 1},
        {"flags": 9},
        {"flags": 1, "start": 59},
        {"flags": 1, "start": 0xFFFF, "offset": 0xFFFF},
    ):
        model.deliver(frame(1), **fields)
    model.deliver(frame(2), flags=8)
    assert device.recv() == frame(2) and device.recv() is None
    assert device.dropped == 9 and device.received == 1


@pytest.mark.clauses("NET-RX-01", "NET-RX-03", "NET-RX-04", "NET-RX-06")
@pytest.mark.parametrize("merge", [False, True])
def test_large_frames_come_in_whole(attach, merge):
    device, model = attach(net.Net, FakeNet, features=BIG | (mask(15) if merge else 0))
    for size in (100, 3000, 30_000, 65_000):
        for _ in range(10):
            data, fields, whole = unfinished(bytes(range(250)) * (size // 250), kind=0x81, mss=1448)
            model.deliver(data, **fields)
            packet = device.recv_packet()
            assert packet.data == data and packet.gso == ("tcp4", 1448) and packet.ecn
            assert "tcp4 of 1448 ecn" in repr(packet)
            model.deliver(data, **fields)
            assert device.recv() == whole
            model.deliver(data, **fields)
            assert bytes(device.recv_view()) == whole
    with pytest.raises(ValueError, match="a buffer of 50"):
        model.deliver(frame(1))
        device.recv_into(bytearray(50))
    assert device.recv() == frame(1)


@pytest.mark.parametrize("pieces", [0, 2, 200])
def test_frames_whose_buffers_do_not_come_are_a_device_error(attach, pieces):
    device, model = attach(net.Net, FakeNet, features=mask(5, 15))
    model.deliver(frame(1), pieces=pieces)
    with pytest.raises(DeviceError, match="of a frame|buffers"):
        device.recv()
    device.close()


def test_a_view_stays_good_until_the_next_receive(attach):
    device, model = attach(net.Net, FakeNet)
    for n in range(200):
        model.deliver(frame(n))
        model.deliver(frame(n + 1))
        view = device.recv_view()
        assert bytes(view) == frame(n)
        assert device.recv() == frame(n + 1)
    assert device.recv_view() is None


def test_lent_memory_comes_back_with_a_frame(attach):
    device, model = attach(net.Net, FakeNet)
    store = bytearray(4 * 2048)
    with pytest.raises(ValueError, match="a frame needs"):
        device.lend(bytearray(100))
    for round in range(3):
        for at in range(0, len(store), 2048):
            device.lend(memoryview(store)[at : at + 2048])
        for n in range(68):
            model.deliver(frame(n))
        views = [device.recv_view() for _ in range(64)] if round == 0 else []
        seen = [bytes(device.recv_view()) for _ in range(68 - len(views))]
        assert [data[14] for data in seen] == list(range(len(views), 68))
        cut = device.header_size
        found = [bytes(store[at + cut : at + cut + 60]) for at in range(0, len(store), 2048)]
        assert frame(67) in found
    assert device.recv_view() is None


def test_many_frames_with_one_notification(attach):
    device, model = attach(net.Net, FakeNet)
    notified = []
    real = model.notify
    model.notify = lambda value, queue=None: (notified.append(value), real(value, queue))
    assert device.send_many([frame(n) for n in range(64)]) == 64
    assert notified == [1] and model.frames == [frame(n) for n in range(64)]
    assert device.send_many(frame(n) for n in range(200)) == 200 and len(notified) < 8
    with pytest.raises(ValueError, match="fit"):
        device.send_many([frame(1), b"short", frame(2)])
    assert len(model.frames) == 265 == device.sent
    del notified[:]
    for n in range(40):
        model.deliver(frame(n))
    assert device.recv_many(30) == [frame(n) for n in range(30)]
    assert device.recv_many() == [frame(n) for n in range(30, 40)]
    assert device.recv_many(5, timeout_ms=5) == []
    assert notified.count(0) <= 3


# The control queue


def control(attach, **options):
    return attach(net.Net, FakeNet, features=mask(0, 1, 5, 7, 15, *range(16, 24), 2), **options)


@pytest.mark.clauses("NET-INIT-02", "NET-CTRL-04", "NET-CTRL-05", "NET-LEG-11", "NET-LEG-12", "NET-LEG-15")
@pytest.mark.parametrize("ring", [(), (28, 29)])
@pytest.mark.parametrize("pairs", [1, 3])
def test_receive_modes(attach, ring, pairs):
    device, model = control(attach, ring_features=mask(*ring), pairs=pairs)
    device.ctrl.rx_mode(promisc=False)
    device.ctrl.rx_mode(allmulti=True)
    device.ctrl.rx_mode(alluni=1)
    device.ctrl.rx_mode(nomulti=True)
    device.ctrl.rx_mode(nouni=False)
    device.ctrl.rx_mode(nobcast=True)
    assert model.commands == [(0, n, bytes([on])) for n, on in enumerate((0, 1, 1, 1, 0, 1))]
    with pytest.raises(ValueError, match="no receive mode"):
        device.ctrl.rx_mode(promiscuous=True)


@pytest.mark.clauses("NET-CTRL-04", "NET-CTRL-05", "NET-CTRL-06", "NET-CTRL-12", "NET-RSS-01")
def test_commands_without_their_feature_are_refused(attach, legacy):
    device, model = attach(net.Net, FakeNet, features=mask(5, 17))
    ctrl = device.ctrl
    for call in (
        lambda: ctrl.rx_mode(promisc=True),
        lambda: ctrl.rx_mode(nouni=True),
        lambda: ctrl.mac_table([frame(0)[:6]]),
        lambda: ctrl.vlan_add(1),
        lambda: ctrl.pairs(1),
        lambda: ctrl.offloads(),
        lambda: ctrl.rss(()),
        lambda: ctrl.hash_report(()),
    ):
        with pytest.raises(OSError, match="not negotiated"):
            call()
    if not legacy:
        with pytest.raises(OSError, match="CTRL_MAC_ADDR"):
            ctrl.set_mac(b"\2\0\0\0\0\1")
    assert model.commands == []
    device.close()
    with pytest.raises(ValueError, match="closed"):
        ctrl.rx_mode(promisc=True)


@pytest.mark.clauses("NET-LEG-02", "NET-CFG-01")
def test_set_mac(attach, legacy):
    mac = b"\2\1\2\3\4\5"
    device, model = control(attach)
    device.config(mac=mac)
    assert model.commands == [(1, 1, mac)] and device.mac == mac and bytes(model.config[:6]) == FakeNet.ADDRESS
    with pytest.raises(ValueError, match="7 bytes"):
        device.ctrl.set_mac(bytes(7))
    with pytest.raises(ValueError, match="no parameter"):
        device.config(ssid="x")
    device.close()
    if legacy:
        device, model = attach(net.Net, FakeNet)
        device.ctrl.set_mac(mac)
        assert bytes(model.config[:6]) == mac == device.mac


@pytest.mark.clauses("NET-CTRL-08", "NET-CTRL-09", "NET-LEG-06", "NET-LEG-13", "NET-LEG-14")
def test_mac_table(attach):
    device, model = control(attach, ring_features=0)
    macs = [bytes([0, 0, 0, 0, 0, n]) for n in range(5)]
    device.ctrl.mac_table(macs[:2], macs[2:])
    device.ctrl.mac_table()
    two = b"\2\0\0\0" + macs[0] + macs[1] + b"\3\0\0\0" + b"".join(macs[2:])
    assert model.commands == [(1, 0, two), (1, 0, bytes(8))]


@pytest.mark.clauses("NET-LEG-12", "NET-LEG-07")
def test_vlans(attach):
    device, model = control(attach)
    device.ctrl.vlan_add(0x123)
    device.ctrl.vlan_remove(0x123)
    assert model.commands == [(2, 0, b"\x23\1"), (2, 1, b"\x23\1")]
    for number in (-1, 4096):
        with pytest.raises(ValueError, match="0 to 4095"):
            device.ctrl.vlan_add(number)


def test_the_card_may_refuse_or_keep_silent(attach):
    device, model = control(attach)
    for answer, text in ((1, "refused"), (0xFF, "not answered"), (7, "answer 7")):
        model.answer = answer
        with pytest.raises(OSError, match="vlan_add 5: " + text):
            device.ctrl.vlan_add(5)
    model.answer = 0
    model.dead = True
    with pytest.raises(OSError, match="no answer"):
        device.ctrl._command("x", 0, 0, b"\1", timeout_ms=5)
    model.dead = False
    device.ctrl.vlan_add(5)
    assert device.queues[2].in_flight == 0


@pytest.mark.clauses("NET-CTRL-10", "NET-CTRL-11")
def test_announcement(attach):
    device, model = control(attach)
    model.change_config(b"\3\0", 6)
    assert device.poll_config()
    assert model.commands == [(3, 0, b"")]
    assert model.frames[0][:14] == b"\xff" * 6 + device.mac + b"\x80\x35" and len(model.frames[0]) == 60
    seen = []
    device.on_announce = lambda card: seen.append(card.mac)
    model.change_config(b"\3\0", 6)
    device.poll_config()
    assert seen == [device.mac] and len(model.frames) == 1 and len(model.commands) == 2
    model.change_config(b"\1\0", 6)
    device.poll_config()
    assert len(model.commands) == 2
    for _ in range(200):  # the queue does not fill up with answers that nobody fetches
        model.change_config(b"\3\0", 6)
        device.poll_config()
    device.ctrl.vlan_add(1)
    assert device.queues[2].num_free == device.queues[2].size


def test_link_changes_are_told(attach):
    device, model = control(attach)
    seen = []
    device.on_link = lambda card: seen.append(card.isconnected())
    for status in (1, 0, 0, 1):
        model.change_config(bytes([status, 0]), 6)
        device.poll_config()
    assert seen == [False, True]


@pytest.mark.clauses("NET-CTRL-12", "NET-LEG-09")
def test_guest_offloads(attach):
    device, model = control(attach)
    device.ctrl.offloads("csum", "tso4")
    device.ctrl.offloads()
    assert model.commands == [(5, 0, struct.pack("<Q", mask(1, 7))), (5, 0, bytes(8))]
    with pytest.raises(ValueError, match="tso6 is not negotiated"):
        device.ctrl.offloads("tso6")
    with pytest.raises(ValueError, match="no offload lro"):
        device.ctrl.offloads("lro")


# Several pairs of queues


@pytest.mark.clauses(
    "NET-MQ-02",
    "NET-LEG-01",
    "NET-MQ-04",
    "NET-MQ-05",
    "NET-MQ-06",
    "NET-MQ-07",
    "NET-RX-05",
    "NET-LEG-08",
    "NET-MQ-03",
)
def test_pairs_of_queues(attach):
    device, model = control(attach, pairs=3)
    assert (device.pairs_ready, device.pairs_used) == (3, 1)
    with pytest.raises(ValueError, match="pair 1 of 1"):
        device.send(frame(1), queue=1)
    for bad in (0, 4):
        with pytest.raises(ValueError, match="1 to 3 are set up"):
            device.ctrl.pairs(bad)
    device.ctrl.pairs(3)
    for n in range(3):
        device.send(frame(n), queue=n)
        device.send_many([frame(n)], queue=n)
    assert model.through == [0, 0, 1, 1, 2, 2]
    for n in range(3):
        model.deliver(frame(n), queue=n)
        model.deliver(frame(n + 3), queue=n)
    packets = [device.recv_packet() for _ in range(6)]
    assert sorted(p.data[14] for p in packets) == list(range(6))
    assert [p.queue for p in packets] == [0, 1, 2, 0, 1, 2]
    assert device.recv(timeout_ms=5) is None
    model.deliver(frame(9), queue=2)

    def send_beyond(kind, command):
        with pytest.raises(ValueError, match="pair 2 of 1"):
            device.send(frame(1), queue=2)

    model.on_command = send_beyond  # placed in the ring: from now on nothing goes out beyond
    device.ctrl.pairs(1)
    model.on_command = None
    assert device.recv() == frame(9)  # what was on its way when the pair went out of use
    with pytest.raises(ValueError, match="pair 2 of 1"):
        device.send(frame(1), queue=2)
    device.ctrl.pairs(2)
    device.send(frame(1), queue=1)
    device.close()
    device.open()
    with pytest.raises(ValueError, match="pair 1 of 1"):
        device.send(frame(1), queue=1)


def test_pairs_that_the_card_refuses_are_not_used(attach):
    device, model = control(attach, pairs=3)
    model.answer = 1
    with pytest.raises(OSError, match="pairs 2: refused"):
        device.ctrl.pairs(2)
    with pytest.raises(ValueError, match="pair 1 of 1"):
        device.send(frame(1), queue=1)


def test_more_pairs_than_are_wanted_stay_unused(attach):
    device, model = control(attach, pairs=10)
    assert device.pairs_ready == 4
    device.ctrl.pairs(4)


@pytest.mark.clauses("NET-RSS-02", "NET-RSS-03", "NET-RSS-04", "NET-RSS-05", "NET-MQ-08", "NET-RX-04")
def test_receive_side_scaling_and_hash_reports(attach, legacy):
    if legacy:
        return  # bits above 31
    device, model = attach(net.Net, FakeNet, features=ALL_MODERN, pairs=3, table=4, hashes=0x13)
    assert device.ctrl.hash_types() == ("ip4", "tcp4", "tcp6")
    device.ctrl.pairs(3)
    device.ctrl.rss(("ip4", "tcp4"))
    assert model.commands[-1][2][:18] == struct.pack("<IHH4HH", 3, 3, 0, 0, 1, 2, 0, 3)
    device.ctrl.rss(("tcp6",), table=[2, 1], unclassified=1, key=b"key")
    assert model.commands[-1][2] == struct.pack("<IHH2HHB", 16, 1, 1, 2, 1, 3, 3) + b"key"
    for table, unclassified in (([], 0), ([0, 1, 2], 0), ([0] * 8, 0), ([3], 0), ([0], 3), ([-1], 0)):
        with pytest.raises(ValueError, match="table"):
            device.ctrl.rss((), table=table, unclassified=unclassified)
    with pytest.raises(ValueError, match="no hash udp4"):
        device.ctrl.rss(("udp4",))
    with pytest.raises(ValueError, match="a key of 41"):
        device.ctrl.hash_report(("ip4",), key=bytes(41))
    device.ctrl.hash_report(("tcp4",))
    model.deliver(frame(1), hash=0x12345678, report=2)
    model.deliver(frame(2))
    assert device.recv_packet().hash == (0x12345678, 2)
    assert device.recv_packet().hash is None
    device.send(frame(3))
    assert len(model.headers[0]) == 20


def test_hashes_are_not_told_of_without_the_features(attach):
    device, _ = attach(net.Net, FakeNet)
    assert device.ctrl.hash_types() == ()


# Sums


def test_sums_agree_with_the_plain_definition():
    import random

    rng = random.Random(3)
    for size in (0, 1, 2, 3, 7, 64, 1501, 65535):
        data = bytearray(rng.randbytes(size + 1))
        for start in (0, 1):
            assert netpacket.checksum(memoryview(data)[start:]) % 0xFFFF == total(data[start:]) % 0xFFFF
    assert netpacket.checksum(b"\xff" * 70000) == 0xFFFF


def test_lending_never_takes_the_place_of_the_cards_own_buffers(attach):
    device, model = attach(net.Net, FakeNet, queue=8)
    model.deliver(frame(1))
    view = device.recv_view()
    lent = 0
    with pytest.raises(OSError, match="no room"):
        while True:
            device.lend(bytearray(2048))
            lent += 1
    assert bytes(view) == frame(1)
    for n in range(20):
        model.deliver(frame(n))
        assert device.recv() == frame(n)
    assert device.queues[0].in_flight == 8 if not device.split else True


@pytest.mark.clauses("NET-TX-03", "NET-TX-04")
def test_segments_leave_num_buffers_alone(attach):
    device, model = attach(net.Net, FakeNet, features=mask(0, 5, 11, 15))
    device.send(ip_frame(bytes(3000), finish=False), gso=1000)
    device.send(ip_frame(bytes(100), finish=False), csum=True)
    assert [header[10:] for header in model.headers] == [b"\0\0"] * 2


def test_packed_rings_go_without_event_idx(attach, legacy):
    if legacy:
        return
    device, model = attach(net.Net, FakeNet, ring_features=mask(28, 29, 34))
    if not device.has(34):
        return  # a transport without packed rings
    assert not device.has(29)
    for n in range(300):
        device.send(frame(n))
        model.deliver(frame(n))
        assert device.recv() == frame(n)
    assert model.frames == [frame(n) for n in range(300)]


def test_recovery_sets_again_what_was_set(attach):
    device, model = control(attach, pairs=3)
    device.ctrl.rx_mode(promisc=False, allmulti=True)
    device.ctrl.vlan_add(5)
    device.ctrl.vlan_add(6)
    device.ctrl.vlan_remove(5)
    device.ctrl.mac_table([frame(0)[:6]])
    device.config(mac=b"\2\0\0\0\0\1")
    device.ctrl.pairs(2)
    device.ctrl.offloads("csum")
    last = {command[:2] + ((command[2],) if command[0] in (0, 2) else ()): command for command in model.commands}
    del last[(2, 0, b"\5\0")]
    del model.commands[:]
    model.need_reset()
    device.recover()
    assert sorted(model.commands) == sorted(last.values())
    device.send(frame(1), queue=1)
    assert device.mac == b"\2\0\0\0\0\1"


def test_net_keeps_the_memory_that_its_rings_are_filled_from(attach, monkeypatch):
    areas = []

    class Watched(netbuf.Area):
        def __init__(self, *args):
            super().__init__(*args)
            areas.append(weakref.ref(self))

    monkeypatch.setattr(netbuf, "Area", Watched)
    device, model = attach(net.Net, FakeNet)
    gc.collect()
    assert len(areas) == 4 and all(area() is not None for area in areas)


def test_net_queues_belong_to_the_driver(attach):
    device, model = attach(net.Net, FakeNet)
    model.deliver(frame(1))
    with pytest.raises(ValueError, match="net0: the driver takes what queue 0 gives"):
        device.queues[0].get()
    assert device.recv() == frame(1)
