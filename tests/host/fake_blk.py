"""A strict virtio-blk device over a bytearray, on top of fake_device.py."""

import struct

from fake_device import FEATURES_OK, FakeDevice, require

SIZE_MAX, SEG_MAX, GEOMETRY, RO, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE = 1, 2, 4, 5, 6, 9, 10, 11
MQ, DISCARD, WRITE_ZEROES, LIFETIME, SECURE_ERASE, ZONED = 12, 13, 14, 15, 16, 17

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
        34: (2, MQ),
        60: (4, SECURE_ERASE),
        64: (4, SECURE_ERASE),
        68: (4, SECURE_ERASE),
        **{at: (4, ZONED) for at in range(72, 92, 4)},
        92: (1, ZONED),
    }

    def __init__(self, sectors=64, features=0, queue=256, **options):
        config = {name: 0 for name in _NAMES}
        config["capacity"] = sectors
        for name in list(options):
            if name in config:
                config[name] = options.pop(name)
        packed = struct.pack(_FORMAT, *(config[name] for name in _NAMES))
        super().__init__(features=features, config=packed, queues=(queue,) * max(1, config["num_queues"]), **options)
        self.settings = config
        self.disk = bytearray((i * 7 + i // 512) & 0xFF for i in range(512 * sectors))
        self.bad = set()
        self.status_of = None  # callable(kind, sector) -> status byte, to lie
        self.requests = []  # (kind, sector, bytes), in order
        self.segments_seen = []
        self.used_queues = []  # index of each request's queue
        # Zones: [kind, state, pointer] each; the first one is conventional.
        size = config["zone_sectors"]
        self.zone_list = [[2 if n else 1, 1 if n else 0, n * size] for n in range(sectors // size)] if size else []

    def _check_features(self):
        super()._check_features()
        if self.offered >> ZONED & 1 and self.settings["model"] == 1:
            require(self.has(ZONED), "BLK-09", "a host-managed disk as a plain one")
            require(not self.has(DISCARD), "BLK-07", "DISCARD on a host-managed disk")

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
        self.used_queues.append(queue.index)
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
        if kind == 10:
            require(self.has(LIFETIME) and room == 6, "BLK-LIFETIME", "%d bytes" % room)
            return 0, struct.pack("<HHH", 1, 3, 4)
        if kind in (11, 13, 14):
            return self._ranges(kind, payload)
        if kind in (15, 16, 18, 20, 22, 24, 26):
            require(self.has(ZONED), "BLK-06", "zone request %d" % kind)
            return self._zone(kind, sector, payload, room)
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
        if self.zone_list and self.settings["model"] == 1:
            status = self._sequential(sector, n)
            if status:
                return status, b""
        self.disk[512 * sector : 512 * sector + n] = payload
        return 0, b""

    def _sequential(self, sector, n):
        size = self.settings["zone_sectors"]
        zone = self.zone_list[sector // size]
        if zone[0] == 1:
            return 0
        grain = self.settings["write_granularity"]
        require(n % grain == 0, "BLK-39", "%d bytes" % n)
        require(512 * sector % grain == 0, "BLK-40", "sector %d" % sector)
        start = sector // size * size
        end = sector + n // 512
        require(zone[2] <= sector and end <= start + size, "BLK-41", "%d+%d, pointer %d" % (sector, n // 512, zone[2]))
        if sector != zone[2]:
            return 4
        zone[2] = end
        zone[1] = 14 if end == start + size else 2
        return 0

    def _zone(self, kind, sector, payload, room):
        size = self.settings["zone_sectors"]
        if kind == 16:
            require(room >= 64 and room % 64 == 0 and not payload, "BLK-31", "%d bytes" % room)
            require(sector < len(self.disk) // 512, "BLK-31", "sector %d" % sector)
            first = sector // size
            zones = self.zone_list[first : first + room // 64 - 1]
            out = struct.pack("<Q56x", len(zones))
            for i, (zone, state, pointer) in enumerate(zones):
                out += struct.pack("<QQQBB38x", size, (first + i) * size, pointer, zone, state)
            return 0, out.ljust(room, b"\0")
        if kind == 26:
            require(sector == 0, "BLK-34", "sector %d" % sector)
            for n, zone in enumerate(self.zone_list):
                if zone[0] != 1:
                    zone[1:] = [1, n * size]
            return 0, b""
        require(sector % size == 0, "BLK-35" if kind == 15 else "BLK-33", "sector %d" % sector)
        zone = self.zone_list[sector // size]
        if kind == 15:
            grain = self.settings["write_granularity"]
            require(len(payload) and len(payload) % grain == 0, "BLK-36", "%d bytes" % len(payload))
            require(len(payload) <= 512 * self.settings["max_append"], "BLK-37", "%d bytes" % len(payload))
            require(room == 8, "BLK-38", "%d bytes" % room)
            where = zone[2]
            if zone[0] == 1 or where + len(payload) // 512 > sector + size:
                return 3, b""
            self.disk[512 * where : 512 * where + len(payload)] = payload
            zone[1:] = [2, where + len(payload) // 512]
            return 0, struct.pack("<Q", where)
        require(not payload and not room, "BLK-33", "data with request %d" % kind)
        if zone[0] == 1:
            return 3, b""
        if kind == 18 and sum(z[1] == 3 for z in self.zone_list) >= self.settings["max_open"]:
            return 5, b""
        zone[1] = {18: 3, 20: 4, 22: 14, 24: 1}[kind]
        if kind == 24:
            zone[2] = sector
        return 0, b""

    def _ranges(self, kind, payload):
        require(payload and len(payload) % 16 == 0, "BLK-20", "%d bytes" % len(payload))
        names = {11: ("discard", DISCARD, "BLK-22"), 13: ("write_zeroes", WRITE_ZEROES, "BLK-24")}
        names[14] = ("secure_erase", SECURE_ERASE, "BLK-23")
        name, bit, clause = names[kind]
        require(self.has(bit), "BLK-20", "not negotiated")
        require(len(payload) // 16 <= self.settings["max_%s_seg" % name], clause)
        for off in range(0, len(payload), 16):
            sector, count, flags = struct.unpack_from("<QII", payload, off)
            require(flags & ~1 == 0, "BLK-27", "flags %#x" % flags)
            if kind != 13:
                require(flags == 0, "BLK-27", "unmap in a discard")
            require(count <= self.settings["max_%s_sectors" % name], clause, "%d sectors" % count)
            require(sector + count <= len(self.disk) // 512, "BLK-15")
            if self.has(RO):
                return 1, b""
            if self.bad & set(range(sector, sector + count)):
                return 1, b""
            self.disk[512 * sector : 512 * (sector + count)] = bytes(512 * count)
        return 0, b""
