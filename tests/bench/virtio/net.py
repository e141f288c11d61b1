"""Frames a second out of and into virtio-net, the other end being a socket of this process."""

import socket
import threading
from typing import NamedTuple

import qemu
from guest import Guest

SIZES = (64, 1500)
SENT, RECEIVED, ROUNDS = 20000, 10000, 3
BATCH = 32
TICK = 100e-9
MAC = bytes.fromhex("525400123456")

OURS = """
import riscv, time, virtio
net = virtio.open('net0')
def clock(what, size, count, t):
    print(what, size, count, riscv.time() - t)
def send(size, count):
    batch = [b'\\xff' * 6 + net.mac + b'\\x88\\xb5' + bytes(size - 14)] * %(batch)d
    t = riscv.time()
    for _ in range(count // %(batch)d):
        net.send_many(batch)
    net.flush()
    clock('out', size, count // %(batch)d * %(batch)d, t)
def receive(size, count):
    while net.recv_many(): pass
    print('go')
    left = count
    net.recv(5000)
    t = riscv.time()
    while left > 0:
        got = len(net.recv_many(64, 1000))
        if not got:
            break
        left -= got
    clock('in', size, count - left, t)
    print('stop')
"""


class Rate(NamedTuple):
    out: float
    into: float


class Flood(threading.Thread):
    """Sends one frame over and over until it is stopped; QEMU drops what the guest has no buffers for."""

    def __init__(self, wire, peer, frame):
        super().__init__(daemon=True)
        self._wire, self._peer, self._frame = wire, peer, frame
        self._going = True

    def run(self):
        while self._going:
            try:
                self._wire.sendto(self._frame, self._peer)
            except BlockingIOError:
                continue

    def stop(self):
        self._going = False
        self.join()


class Net:
    """The firmware with one card."""

    def __init__(self, firmware, folder):
        self._firmware = firmware
        self._folder = folder

    def _wire(self):
        """(socket of ours, the address of QEMU's, QEMU's options)."""
        ours, theirs = self._folder / "wire", self._folder / "wire.qemu"
        for path in ours, theirs:
            path.unlink(missing_ok=True)
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        wire.bind(str(ours))
        ends = f"local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}"
        card = f"virtio-net-device,netdev=wire,mac={MAC.hex(':')}"
        return wire, str(theirs), ["-netdev", f"dgram,id=wire,{ends}", "-device", card]

    def measure(self):
        """{size: Rate}, in frames a second, the best of some rounds."""
        wire, peer, options = self._wire()
        command = qemu.command(self._firmware, smp=1, mem="256M", extra=["-boot", "menu=on", *options])
        with wire, Guest(command) as guest:
            guest.python(OURS % {"batch": BATCH})
            return {size: Rate(self._out(guest, wire, size), self._into(guest, wire, peer, size)) for size in SIZES}

    @staticmethod
    def _rate(line):
        count, ticks = map(int, line.split()[-2:])
        return count / (ticks * TICK)

    def _out(self, guest, wire, size):
        drain = threading.Event()

        def swallow():
            wire.settimeout(0.1)
            while not drain.is_set():
                try:
                    wire.recv(2048)
                except TimeoutError:
                    continue

        thread = threading.Thread(target=swallow, daemon=True)
        thread.start()
        rates = [self._rate(guest.again(f"send({size}, {SENT})")) for _ in range(ROUNDS)]
        drain.set()
        thread.join()
        return max(rates)

    def _into(self, guest, wire, peer, size):
        rates = []
        wire.setblocking(False)
        for _ in range(ROUNDS):
            guest.begin(f"receive({size}, {RECEIVED})")
            guest.at(b"go\r\n")
            flood = Flood(wire, peer, MAC + b"\xff" * 6 + b"\x88\xb5" + bytes(size - 14))
            flood.start()
            line = guest.text_until(b"stop\r\n")
            flood.stop()
            guest.at(b"\x04")
            rates.append(self._rate(line))
        return max(rates)
