"""A strict virtio-vsock device and the host behind it, on top of fake_device.py."""

import struct
from collections import namedtuple

from fake_device import FakeDevice, require

STREAM, SEQPACKET, NO_IMPLIED_STREAM = range(3)
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
HEADER = struct.Struct("<QQIIIHHIII")
HOST = 2

Packet = namedtuple("Packet", "src dst src_port dst_port size kind op flags buf_alloc fwd_cnt payload")


class Peer:
    """The host's end of a connection."""

    def __init__(self, buf_alloc):
        self.buf_alloc = buf_alloc  # what it has told, and what that allows
        self.fwd_cnt = 0
        self.rx_cnt = 0
        self.tx_cnt = 0
        self.received = bytearray()
        self.guest_alloc = self.guest_fwd = 0
        self.shut = 0


class FakeVSock(FakeDevice):
    """Ports in `echo` send back what comes, those in `sink` keep it and give no credit until take()."""

    DEVICE_ID = 19
    FIELDS = {0: (4, None), 4: (4, None)}

    def __init__(self, cid=7, features=1 << STREAM, **options):
        super().__init__(features=features, config=struct.pack("<Q", cid), queues=(64, 64, 8), **options)
        self.echo, self.sink = {1234}, {99}
        self.buf_alloc = 8192
        self.peers = {}  # (host's port, guest's port) -> Peer
        self.log = []  # Packets that the driver sent
        self.outbox = []  # packets that wait for a receive buffer
        self.stuck = False  # takes nothing that the driver sends
        self.silent = False  # does not answer

    @property
    def cid(self):
        return struct.unpack("<Q", self.config)[0]

    def work(self, queue):
        if queue.index == 1 and not self.stuck:
            super().work(queue)
        if queue.index == 0:
            self._deliver()

    def unstick(self):
        self.stuck = False
        self.queues[1].fetch()
        self.work(self.queues[1])

    # -- what the driver sends ------------------------------------------------------------

    def process(self, queue, chain):
        require(not chain.writable, "VSOCK-05", "a writable buffer to send")
        data = chain.data()
        require(len(data) >= HEADER.size, "VSOCK-07", "%d bytes" % len(data))
        packet = Packet(*HEADER.unpack_from(data), data[HEADER.size :])
        self.log.append(packet)
        require(packet.src == self.cid, "VSOCK-07", "source cid %d" % packet.src)
        require(packet.size == len(packet.payload), "VSOCK-05", "%d said, %d sent" % (packet.size, len(data)))
        require(packet.op == RW or not packet.size, "VSOCK-05", "payload with operation %d" % packet.op)
        if packet.op == RST or self.silent:
            self.peers.pop((packet.dst_port, packet.src_port), None)
            return 0
        require(packet.kind == 1, "VSOCK-08", "type %d" % packet.kind)
        require(packet.buf_alloc > 0, "VSOCK-06", "no buf_alloc")
        self._stream_packet(packet)
        return 0

    def _stream_packet(self, packet):
        key = (packet.dst_port, packet.src_port)
        peer = self.peers.get(key)
        if packet.op == REQUEST:
            require(peer is None, "VSOCK-07", "the address is in use")
            if packet.dst_port not in self.echo | self.sink:
                self.send(RST, *key)
                return
            peer = self.peers[key] = Peer(self.buf_alloc)
        require(peer is not None, "VSOCK-07", "operation %d without a connection" % packet.op)
        require((packet.fwd_cnt - peer.guest_fwd) & 0xFFFFFFFF <= peer.tx_cnt, "VSOCK-06", "fwd_cnt went back")
        require(peer.guest_fwd <= packet.fwd_cnt <= peer.tx_cnt, "VSOCK-06", "fwd_cnt %d" % packet.fwd_cnt)
        peer.guest_alloc, peer.guest_fwd = packet.buf_alloc, packet.fwd_cnt
        if packet.op == REQUEST:
            self.send(RESPONSE, *key)
        elif packet.op == RW:
            self._data(key, peer, packet)
        elif packet.op == CREDIT_REQUEST:
            self.send(CREDIT_UPDATE, *key)
        elif packet.op == SHUTDOWN:
            require(packet.flags & ~3 == 0 and packet.flags, "VSOCK-05", "flags %#x" % packet.flags)
            peer.shut = packet.flags
            if packet.flags == 3:
                self.send(RST, *key)

    def _data(self, key, peer, packet):
        require(not peer.shut & 2, "VSOCK-05", "data after the end")
        peer.rx_cnt += packet.size
        require(peer.rx_cnt - peer.fwd_cnt <= peer.buf_alloc, "VSOCK-05", "%d bytes in flight" % peer.rx_cnt)
        peer.received += packet.payload
        if key[0] in self.echo:
            peer.fwd_cnt += packet.size
            self.send(RW, *key, payload=packet.payload)

    def take(self, key, n):
        """The program behind a sink reads n bytes."""
        self.peers[key].fwd_cnt += n
        self.send(CREDIT_UPDATE, *key)

    # -- what it sends ----------------------------------------------------------------------

    def send(self, op, port, guest_port, payload=b"", **fields):
        """A packet from the host's port; fields replace what it would have."""
        peer = self.peers.get((port, guest_port)) or Peer(self.buf_alloc)
        if op == REQUEST:
            peer = self.peers[port, guest_port] = Peer(self.buf_alloc)
        peer.tx_cnt += len(payload)
        values = {"src": HOST, "dst": self.cid, "src_port": port, "dst_port": guest_port, "size": len(payload)}
        values |= {"kind": 1, "op": op, "flags": 0, "buf_alloc": peer.buf_alloc, "fwd_cnt": peer.fwd_cnt}
        values |= fields
        self.outbox.append(HEADER.pack(*values.values()) + payload)
        if op == RST:
            self.peers.pop((port, guest_port), None)
        self._deliver()

    def raw(self, data):
        self.outbox.append(data)
        self._deliver()

    def _deliver(self):
        queue = self.queues[0]
        queue.fetch()
        while self.outbox and queue.held:
            data = self.outbox.pop(0)
            chain = queue.held[0]
            require(not chain.readable, "VSOCK-04", "a readable buffer to receive")
            chain.write(data)
            queue.finish(chain, len(data))

    def event(self, number, size=4):
        """An event; it needs a buffer there and then."""
        queue = self.queues[2]
        queue.fetch()
        require(queue.held, "VSOCK-09", "no buffer for an event")
        queue.held[0].write(struct.pack("<I", number)[:size])
        queue.finish(queue.held[0], size)

    def moved(self, cid):
        """The machine was migrated: connections are forgotten, the context id is another."""
        self.peers = {}
        self.config[:] = struct.pack("<Q", cid)
        self.generation += 1
        self.event(0)
