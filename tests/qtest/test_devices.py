"""The drivers under CPython on QEMU's own devices, over both transports, register layouts and rings."""

import errno
import socket
import struct
import tempfile
import time

import pytest
import virtio

RINGS = ["packed=off,event_idx=on", "packed=off,event_idx=off", "packed=on,event_idx=on", "packed=on,event_idx=off"]
BUSES = {
    "mmio-legacy": ("device", ""),
    "mmio": ("device", ""),
    "pci": ("pci", ",disable-legacy=on"),
    "pci-transitional": ("pci", ""),
    "pci-legacy": ("pci", ",disable-modern=on,disable-legacy=off"),
}
# a legacy device has split rings only
KINDS = [(bus, ring) for bus in BUSES for ring in RINGS if not (bus.endswith("legacy") and "packed=on" in ring)]


@pytest.fixture(params=KINDS, ids=" ".join)
def start(request, machine):
    """start("rng", properties, *more arguments): a Machine with such a device."""
    bus, ring = request.param
    kind, tail = BUSES[bus]

    def run(device, properties="", *before, after=()):
        option = "virtio-%s-%s,%s%s%s" % (device, kind, ring, tail, properties)
        return machine(*before, "-device", option, *after, legacy=bus == "mmio-legacy")

    run.bus, run.packed = bus, "packed=on" in ring
    return run


def until(condition, seconds=10):
    """Wait for a true value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
    return value


def test_disk(start, tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(range(256)) * 4096)
    start("blk", ",drive=disk", "-drive", "file=%s,format=raw,if=none,id=disk" % image)
    with virtio.open("blk0") as disk:
        assert disk.queues[0].packed == start.packed
        assert disk.capacity_sectors == 2048
        buf = bytearray(2048)
        disk.read(3, buf)
        assert buf == bytes(range(256)) * 8
        disk.write(7, b"abcd" * 384)
        pieces = [(n, bytearray(512)) for n in range(0, 40)]
        disk.read_many(pieces)
        assert bytes(pieces[7][1] + pieces[8][1] + pieces[9][1]) == b"abcd" * 384
        assert pieces[10][1] == bytes(range(256)) * 2
        disk.flush()
        assert disk.queues[0].in_flight == 0
    assert image.read_bytes()[7 * 512 : 10 * 512] == b"abcd" * 384


def test_random_bytes(start):
    start("rng")
    with virtio.open("rng0") as rng:
        first, second = rng.read(100), rng.read(5000)
        assert len(first) == 100 and len(second) == 5000
        assert len(set(second)) > 200


def test_network(start):
    start("net", ",netdev=net" + (",romfile=" if start.bus.startswith("pci") else ""), "-netdev", "user,id=net")
    with virtio.open("net0") as net:
        us, them = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 2))
        request = struct.pack(">HHBBH", 1, 0x800, 6, 4, 1) + net.mac + us + bytes(6) + them
        for _ in range(300):  # more than the queues have room for
            net.send(b"\xff" * 6 + net.mac + b"\x08\x06" + request)
            answer = net.recv(timeout_ms=5000)
            assert answer[12:14] == b"\x08\x06" and answer[28:32] == them


def wrote(console, data):
    """Write, unless the device has not told yet that the host has the port open."""
    console.poll_control()
    try:
        return console.port.write(data)
    except OSError as error:
        assert error.args[0] == errno.ENOTCONN
        return 0


def test_console(start):
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(short + "/line")
        listener.listen(1)
        more = ("-device", "virtconsole,chardev=line")
        option = ("-chardev", "socket,id=line,path=%s/line" % short)
        machine = start("serial", "", *option, after=more)
        line, _ = listener.accept()
    with line, virtio.open("console0") as console:
        line.settimeout(10)
        until(lambda: wrote(console, b"to the host"))
        assert line.recv(100) == b"to the host"
        line.sendall(b"x" * 5000)
        got = bytearray()
        until(lambda: got.extend(console.port.read() or b"") or len(got) == 5000)
    assert got == b"x" * 5000
    assert machine.bus.log


def test_message_interrupts(start):
    """MSI-X: the device writes messages into the machine's RAM."""
    machine = start("rng")
    with virtio.open("rng0") as rng:
        if not start.bus.startswith("pci"):
            return  # no lines here: nobody plays the interrupt controller
        came = []
        rng.on_interrupt = lambda: came.append(1)
        rng.interrupts(True)
        assert "MSI-X" in rng.transport.interrupt_text()
        rng.queues[0].add((), (bytearray(64),), "token")
        rng.queues[0].notify()
        until(machine.messages)
        assert came and rng.queues[0].get() == ("token", 64)
        rng.interrupts(False)
