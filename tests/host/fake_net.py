"""A strict virtio-net device: checks every frame's header and every command, and hands out frames."""

import struct

from fake_device import ANY_LAYOUT, FakeDevice, mask, require
from frames import layers, total

CSUM, GUEST_CSUM, CTRL_GUEST_OFFLOADS, MTU, MAC = 0, 1, 2, 3, 5
GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO = 7, 8, 9, 10
HOST_TSO4, HOST_TSO6, HOST_ECN, HOST_UFO, MRG_RXBUF, STATUS = 11, 12, 13, 14, 15, 16
CTRL_VQ, CTRL_RX, CTRL_VLAN, CTRL_RX_EXTRA, GUEST_ANNOUNCE, MQ, CTRL_MAC_ADDR = 17, 18, 19, 20, 21, 22, 23
GUEST_USO4, GUEST_USO6, HOST_USO, HASH_REPORT, GUEST_HDRLEN, RSS, SPEED_DUPLEX = 54, 55, 56, 57, 59, 60, 63

ALL = mask(*range(0, 4), MAC, *range(7, 24))
ALL_MODERN = ALL | mask(54, 55, 56, 57, 59, 60, 63)

_DEPENDS = {
    **dict.fromkeys((GUEST_TSO4, GUEST_TSO6, GUEST_UFO, GUEST_USO4, GUEST_USO6), (GUEST_CSUM,)),
    **dict.fromkeys((HOST_TSO4, HOST_TSO6, HOST_UFO, HOST_USO), (CSUM,)),
    GUEST_ECN: (GUEST_TSO4, GUEST_TSO6),
    HOST_ECN: (HOST_TSO4, HOST_TSO6),
    **dict.fromkeys((CTRL_RX, CTRL_VLAN, GUEST_ANNOUNCE, MQ, CTRL_MAC_ADDR, RSS, CTRL_GUEST_OFFLOADS), (CTRL_VQ,)),
}
_GSO = {
    1: (HOST_TSO4, "NET-TX-09"),
    4: (HOST_TSO6, "NET-TX-11"),
    3: (HOST_UFO, "NET-TX-13"),
    5: (HOST_USO, "NET-TX-15"),
}


class FakeNet(FakeDevice):
    """Collects frames and commands; deliver() hands frames to the driver as far as it posted buffers."""

    DEVICE_ID = 1
    FIELDS = {
        **{i: (1, MAC) for i in range(6)},
        6: (2, STATUS),
        8: (2, None),  # MQ or RSS
        10: (2, MTU),
        12: (4, SPEED_DUPLEX),
        16: (1, SPEED_DUPLEX),
        17: (1, None),  # RSS or HASH_REPORT
        18: (2, RSS),
        20: (4, None),
    }
    ADDRESS = bytes.fromhex("525400123456")

    def __init__(
        self,
        features=mask(MAC, STATUS),
        mtu=1500,
        status=1,
        queue=256,
        pairs=1,
        speed=0xFFFFFFFF,
        duplex=0xFF,
        key_size=40,
        table=128,
        hashes=0x1FF,
        **options,
    ):
        config = self.ADDRESS + struct.pack("<HHHIBBHII", status, pairs, mtu, speed, duplex, key_size, table, hashes, 0)
        super().__init__(features=features, config=config, queues=(queue,) * (2 * pairs) + (64,), **options)
        self.mtu = mtu
        self.pairs = pairs
        self.key_size, self.table, self.hashes = key_size, table, hashes
        self.frames = []
        self.headers = []  # beside frames
        self.through = []  # number of the pair, beside frames
        self.commands = []  # (class, command, data)
        self.in_use = 1
        self.stuck = False
        self.answer = 0  # what the control queue says
        self.on_command = None  # called with (class, command) as a command arrives

    def _clear(self):
        super()._clear()
        self.in_use = 1

    def _check_features(self):
        super()._check_features()
        for bit, needed in _DEPENDS.items():
            require(not self.has(bit) or any(map(self.has, needed)), "NET-FEAT-01", "bit %d without %s" % (bit, needed))
        require(not self.has(HASH_REPORT) or self.has(CTRL_VQ), "NET-CFG-13")
        require(not self.has(CTRL_RX_EXTRA) or self.has(CTRL_VQ), "NET-CFG-14")

    def read_config(self, off, width):
        if off == 8:
            require(self.offered & mask(MQ, RSS), "GEN-CFG-03", "max_virtqueue_pairs")
        if off in (17, 20):
            require(self.offered & mask(RSS, HASH_REPORT), "GEN-CFG-03", "hash fields")
        return super().read_config(off, width)

    def write_config(self, off, width, value):
        require(self.legacy and off < 6, "NET-CFG-01", "configuration offset %d" % off)
        super().write_config(off, width, value)

    @property
    def header(self):
        if self.has(HASH_REPORT):
            return 20
        return 10 if self.legacy and not self.has(MRG_RXBUF) else 12

    @property
    def split(self):
        return self.legacy and not self.has(ANY_LAYOUT)

    def work(self, queue):
        if queue.index % 2 == 1 and not self.stuck or queue.index == 2 * self.pairs:
            super().work(queue)

    def process(self, queue, chain):
        if queue.index == 2 * self.pairs:
            return self._control(chain)
        require(not chain.writable, "NET-TX-03", "device-writable buffer in transmitq")
        require(queue.index // 2 < self.in_use, "NET-MQ-06 NET-MQ-07", "frame on pair %d" % (queue.index // 2))
        if self.split:
            require(len(chain.readable[0]) == self.header, "NET-LEG-10", "header shares its descriptor")
        data = chain.data()
        header, frame = data[: self.header], data[self.header :]
        require(len(frame) >= 14, "NET-TX-03", "header of another size")
        self._check_header(header, frame)
        self.frames.append(frame)
        self.headers.append(header)
        self.through.append(queue.index // 2)
        return 0

    def _check_header(self, header, frame):
        flags, kind, hdr_len, mss, start, offset = struct.unpack_from("<BBHHHH", header)
        require(not any(header[10:]), "NET-TX-04", header.hex())
        require(self.has(CSUM) or not flags, "NET-TX-05", "flags %#x" % flags)
        require(not flags & 6, "NET-TX-47", "flags %#x" % flags)
        require(not flags & 8, "NET-TX-24 NET-TX-45", "flags %#x" % flags)
        require(not kind & 0x60, "NET-TX-19 NET-TX-44", "gso_type %#x" % kind)
        base = kind & 0x7F
        if base:
            feature, clause = _GSO[base]
            require(self.has(feature), clause, "gso_type %d" % base)
            require(flags & 1, "NET-TX-34", "gso_type %d without NEEDS_CSUM" % base)
        else:
            require(kind == 0 and mss == 0, "NET-TX-33", header.hex())
            limit = self.mtu + 14 if self.has(MTU) else self.mtu + 18
            require(len(frame) <= limit, "NET-CFG-09", "frame of %d bytes" % len(frame))
        found = layers(frame)
        if flags & 1:
            require(start + offset + 2 <= len(frame), "NET-TX-32", "checksum at %d+%d" % (start, offset))
        if found is None:
            require(not base, "NET-TX-35", "segments of what is neither TCP nor UDP")
            return
        pseudo, l4, at, end, bits = found
        if not flags & 1:
            require(total(frame[l4:]) == (~pseudo & 0xFFFF), "NET-TX-06", "wrong checksum")
            return
        require((start, offset) == (l4, at), "NET-TX-32", "checksum at %d+%d" % (start, offset))
        field = struct.unpack_from(">H", frame, l4 + at)[0]
        require(field == pseudo, "NET-TX-31", "%#x instead of %#x" % (field, pseudo))
        if base:
            require(mss, "NET-TX-35", "segments of 0 bytes")
            if self.has(GUEST_HDRLEN):
                require(hdr_len == end, "NET-TX-36", "hdr_len %d, headers %d" % (hdr_len, end))
            require(hdr_len >= end, "NET-TX-37", "hdr_len %d, headers %d" % (hdr_len, end))
            if bits & 0x80:
                require(self.has(HOST_ECN), "NET-TX-16")
                require(kind & 0x80, "NET-TX-17")

    # -- frames for the driver ------------------------------------------------------------

    def large(self):
        return any(map(self.has, (GUEST_TSO4, GUEST_TSO6, GUEST_UFO, GUEST_USO4, GUEST_USO6)))

    def deliver(self, frame, header=None, queue=0, pieces=None, **fields):
        """Give the driver a frame; header: raw bytes; pieces: say another num_buffers."""
        queue = self.queues[2 * queue]
        queue.fetch()
        data = (header if header is not None else self._header(**fields)) + frame
        chains = []
        room = 0
        while room < len(data):
            chain = queue.held[len(chains)]
            self._check_buffer(chain)
            chains.append(chain)
            room += chain.room
            require(len(chains) == 1 or self.has(MRG_RXBUF), "MODEL", "a frame longer than its buffer")
        if header is None and self.header > 10:
            count = len(chains) if pieces is None else pieces
            data = data[:10] + struct.pack("<H", count) + data[12:]
        for chain in chains:
            piece, data = data[: chain.room], data[chain.room :]
            chain.write(piece)
            queue.finish(chain, len(piece))

    def _header(self, flags=0, kind=0, hdr_len=0, mss=0, start=0, offset=0, hash=0, report=0):
        raw = struct.pack("<BBHHHH", flags, kind, hdr_len, mss, start, offset)
        if self.header > 10:
            raw += b"\1\0"
        return raw + (struct.pack("<IHH", hash, report, 0) if self.has(HASH_REPORT) else b"")

    def _check_buffer(self, chain):
        require(not chain.readable, "NET-RX-02", "device-readable buffer in receiveq")
        if self.split:
            require(len(chain.writable[0]) == self.header, "NET-LEG-10", "header shares its descriptor")
        if self.has(MRG_RXBUF):
            require(chain.room >= self.header, "NET-RX-03", "buffer of %d bytes" % chain.room)
        elif self.large():
            require(chain.room >= self.header - 12 + 65601, "NET-RX-01", "buffer of %d bytes" % chain.room)
        else:
            require(chain.room >= self.header - 12 + 1526, "NET-RX-02", "buffer of %d bytes" % chain.room)
        if self.has(MTU):
            require(chain.room >= self.header + self.mtu + 14, "NET-CFG-08", "buffer of %d bytes" % chain.room)

    # -- the control queue --------------------------------------------------------------------

    def _control(self, chain):
        require(self.has(CTRL_VQ), "NET-CTRL-04", "no control queue was negotiated")
        data = chain.data()
        kind, command, data = data[0], data[1], data[2:]
        require(chain.writable[-1][-1] not in (0, 1), "STYLE-4.6", "ack is preset")
        if self.split:
            sizes = [len(view) for view in chain.readable]
            require(sizes[0] == 2, "NET-LEG-11", str(sizes))
            require(len(chain.writable[-1]) == 1, "NET-LEG-15")
            if (kind, command) == (1, 0):
                count = struct.unpack_from("<I", data)[0]
                require(sizes[1] == 4 + 6 * count, "NET-LEG-13", str(sizes))
                require(len(sizes) == 3, "NET-LEG-14", str(sizes))
            else:
                require(len(sizes) <= 2, "NET-LEG-12", str(sizes))
        if self.on_command is not None:
            self.on_command(kind, command)
        check = {0: self._rx, 1: self._mac, 2: self._vlan, 3: self._announce, 4: self._mq, 5: self._offloads}[kind]
        check(command, data)
        self.commands.append((kind, command, data))
        if self.answer == 0 and (kind, command) == (4, 0):
            self.in_use = struct.unpack("<H", data)[0]
        chain.write(bytes([self.answer]))
        return 1

    def _rx(self, command, data):
        require(command < 6 and data in (b"\0", b"\1"), "NET-CTRL", data.hex())
        if command < 2:
            require(self.has(CTRL_RX), "NET-CTRL-04")
        else:
            require(self.has(CTRL_RX_EXTRA), "NET-CTRL-05")

    def _mac(self, command, data):
        if command == 1:
            require(self.has(CTRL_MAC_ADDR), "NET-CTRL-06")
            require(len(data) == 6, "NET-CTRL-07", data.hex())
            return
        require(command == 0 and self.has(CTRL_RX), "NET-CTRL-06")
        for _ in range(2):
            count = struct.unpack_from("<I", data)[0]
            require(len(data) >= 4 + 6 * count, "NET-CTRL-08", data.hex())
            data = data[4 + 6 * count :]
        require(not data, "NET-CTRL-08", data.hex())

    def _vlan(self, command, data):
        require(self.has(CTRL_VLAN) and command < 2 and len(data) == 2, "NET-LEG-07", data.hex())
        require(struct.unpack("<H", data)[0] < 4096, "NET-LEG-07", data.hex())

    def _announce(self, command, data):
        require(self.has(GUEST_ANNOUNCE) and command == 0 and not data, "NET-CTRL-11", data.hex())
        self.config[6] &= ~2

    def _mq(self, command, data):
        if command == 0:
            require(self.has(MQ), "NET-MQ-05", "MQ was not negotiated")
            count = struct.unpack("<H", data)[0]
            require(1 <= count <= self.pairs, "NET-MQ-05", "%d pairs" % count)
            for queue in self.queues[: 2 * count]:
                require(queue.ready, "NET-MQ-04", "queue %d is not set up" % queue.index)
                queue.fetch()
                require(queue.index % 2 or queue.in_flight, "NET-RX-05", "queue %d has no buffers" % queue.index)
            for queue in self.queues[2 * count : 2 * self.pairs]:
                require(queue.index % 2 == 0 or not queue.owed, "NET-MQ-07")
            return
        types = struct.unpack_from("<I", data)[0]
        require(not types & ~self.hashes, "NET-RSS-05", hex(types))
        if command == 1:
            require(self.has(RSS), "NET-RSS-01")
            last, other = struct.unpack_from("<HH", data, 4)
            require((last + 1) & last == 0, "NET-RSS-03", "%d entries" % (last + 1))
            require(last < self.table, "NET-RSS-04", "%d entries" % (last + 1))
            entries = struct.unpack_from("<%dH" % (last + 1), data, 8)
            require(max(entries + (other,)) < self.in_use, "NET-RSS-02", str(entries))
            at = 8 + 2 * len(entries)
            require(1 <= struct.unpack_from("<H", data, at)[0] <= self.in_use, "NET-RSS-02", "max_tx_vq")
            at += 2
        else:
            require(command == 2 and self.has(HASH_REPORT), "NET-MQ-08")
            require(not any(data[4:12]), "NET-MQ-08", data.hex())
            at = 12
        require(data[at] <= self.key_size and len(data) == at + 1 + data[at], "NET-RSS-04", "key")

    def _offloads(self, command, data):
        require(self.has(CTRL_GUEST_OFFLOADS) and command == 0, "NET-CTRL-12", "not negotiated")
        bits = struct.unpack("<Q", data)[0]
        require(not bits & ~self.features, "NET-CTRL-12", hex(bits))
        require(not bits & ~mask(1, 7, 8, 9, 10, 54, 55), "NET-CTRL-12", hex(bits))
