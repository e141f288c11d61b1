"""A strict virtio-blk device over a bytearray, on top of fake_device.py."""

import struct

from fake_device import FEATURES_OK, FakeDevice, require

SIZE_MAX, SEG_MAX, GEOMETRY, RO, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE = 1, 2, 4, 5, 6, 9, 10, 11
DISCARD, WRITE_ZEROES, ZONED = 13, 14, 17

_FORMAT = "<QIIHBBIBBHIBBHIIIIIB3xIIIIIIIIB"
_NAMES = (
    "capacity size_max seg_max cylinders heads sectors blk_size physical_exp alignment min_io opt_io "
    "writeback unused num_queues max_discard_sectors max_discard_seg discard_alignment "
    "max_write_zeroes_sectors max_write_zeroes_seg write_zeroes_may_unmap max_secure_erase_sectors "
    "max_secure_erase_seg secure_erase_alignment zone_sectors max_open max_active max_append "
    "write_granularity model"
).split()


class FakeBlk(FakeDevice):
    """Reads and writes self.disk; sectors in .bad answer with IOERR."""

    DEVICE_ID = 2
    FIELDS = {
        0: (4, None),
        4: (4, None),
        8: (4, SIZE_MAX),
        12: (4, SEG_MAX),
        16: (2, GEOMETRY),
        18: (1, GEOMETRY),
        19: (1, GEOMETRY),
        20: (4, BLK_SIZE),
        24: (1, TOPOLOGY),
        25: (1, TOPOLOGY),
        26: (2, TOPOLOGY),
        28: (4, TOPOLOGY),
        32: (1, CONFIG_WCE),
        36: (4, DISCARD),
        40: (4, DISCARD),
        44: (4, DISCARD),
        48: (4, WRITE_ZEROES),
        52: (4, WRITE_ZEROES),
        56: (1, WRITE_ZEROES),
        92: (1, ZONED),
    }

    def __init__(self, sectors=64, features=0, queue=256, **options):
        config = {name: 0 for name in _NAMES}
        config["capacity"] = sectors
        for name in list(options):
            if name in config:
                config[name] = options.pop(name)
        packed = struct.pack(_FORMAT, *(config[name] for name in _NAMES))
        super().__init__(features=features, config=packed, queues=(queue,), **options)
        self.settings = config
        self.disk = bytearray((i * 7 + i // 512) & 0xFF for i in range(512 * sectors))
        self.bad = set()
        self.status_of = None  # callable(kind, sector) -> status byte, to lie
        self.requests = []  # (kind, sector, bytes), in order
        self.segments_seen = []

    def read_config(self, off, width):
        if off == 32:
            require(self.status & FEATURES_OK or self.legacy, "BLK-05", "writeback read early")
        return super().read_config(off, width)

    def resize(self, sectors):
        self.disk.extend(bytes(max(0, 512 * sectors - len(self.disk))))
        del self.disk[512 * sectors :]
        self.change_config(struct.pack("<Q", sectors))

    def process(self, queue, chain):
        require(chain.readable, "BLK-12", "no header")
        require(len(chain.readable[0]) >= 16 or not self.legacy, "BLK-LEG-10", "short header")
        data = chain.data()
        require(len(data) >= 16, "BLK-12", "header of %d bytes" % len(data))
        require(chain.writable, "BLK-12", "no status byte")
        if self.legacy and not self.has(27):
            require(len(chain.readable[0]) == 16, "BLK-LEG-10", "header descriptor")
            require(len(chain.writable[-1]) == 1, "BLK-LEG-10", "status descriptor")
        kind, _, sector = struct.unpack_from("<IIQ", data)
        require(_ == 0, "BLK-12", "reserved word %d" % _)
        room = chain.room - 1
        payload = data[16:]
        require(chain.writable[-1][-1] not in (0, 1, 2), "STYLE-4.6", "status byte is preset")
        self.requests.append((kind, sector, room or len(payload)))
        self._check_segments(chain)
        answer = self._command(kind, sector, payload, room)
        status, out = answer
        if self.status_of is not None:
            status = self.status_of(kind, sector)
        if status == 0:
            chain.write(out)
        chain.write(bytes([status]), room)
        return room + 1

    def _check_segments(self, chain):
        views = list(chain.readable) + list(chain.writable)
        sizes = [len(view) for view in views[1:-1]]
        self.segments_seen.append(sizes)
        if self.has(SIZE_MAX):
            require(all(n <= self.settings["size_max"] for n in sizes), "BLK-SIZE_MAX", str(sizes))
        if self.has(SEG_MAX):
            require(len(sizes) <= self.settings["seg_max"], "BLK-SEG_MAX", str(len(sizes)))

    def _command(self, kind, sector, payload, room):
        if kind == 0:
            return self._transfer(kind, sector, room, b"")
        if kind == 1:
            require(not room, "BLK-12", "a write with writable data")
            return self._transfer(kind, sector, len(payload), payload)
        if kind == 4:
            require(self.has(FLUSH), "BLK-02", "flush was not negotiated")
            require(sector == 0, "BLK-17")
            require(not payload and not room, "BLK-18")
            return 0, b""
        if kind == 8:
            require(room == 20, "BLK-21", "%d bytes" % room)
            return 0, b"fake-disk-0001".ljust(20, b"\0")
        if kind in (11, 13):
            return self._ranges(kind, payload)
        return 2, b""

    def _transfer(self, kind, sector, n, payload):
        require(n and n % 512 == 0, "BLK-19", "%d bytes" % n)
        count = n // 512
        require(sector + count <= len(self.disk) // 512, "BLK-15", "%d+%d" % (sector, count))
        if self.has(RO) and kind == 1:
            return 1, b""
        if self.bad & set(range(sector, sector + count)):
            return 1, b""
        if kind == 0:
            return 0, self.disk[512 * sector : 512 * sector + n]
        self.disk[512 * sector : 512 * sector + n] = payload
        return 0, b""

    def _ranges(self, kind, payload):
        require(payload and len(payload) % 16 == 0, "BLK-20", "%d bytes" % len(payload))
        name = "discard" if kind == 11 else "write_zeroes"
        require(self.has(DISCARD if kind == 11 else WRITE_ZEROES), "BLK-20", "not negotiated")
        clause = "BLK-22" if kind == 11 else "BLK-24"
        require(len(payload) // 16 <= self.settings["max_%s_seg" % name], clause)
        for off in range(0, len(payload), 16):
            sector, count, flags = struct.unpack_from("<QII", payload, off)
            require(flags & ~1 == 0, "BLK-27", "flags %#x" % flags)
            if kind == 11:
                require(flags == 0, "BLK-27", "unmap in a discard")
            require(count <= self.settings["max_%s_sectors" % name], clause, "%d sectors" % count)
            require(sector + count <= len(self.disk) // 512, "BLK-15")
            if self.has(RO):
                return 1, b""
            if self.bad & set(range(sector, sector + count)):
                return 1, b""
            self.disk[512 * sector : 512 * (sector + count)] = bytes(512 * count)
        return 0, b""
