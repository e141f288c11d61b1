"""A strict virtio-scsi adapter with disks and CD-ROMs over bytearrays, on top of fake_device.py."""

import struct

from fake_device import FakeDevice, require

HOTPLUG, CHANGE = 1, 2
GOOD, CHECK, BUSY, CONFLICT = 0, 2, 8, 0x18
BAD_TARGET, INCORRECT_LUN = 3, 12
NO_MEDIUM, UA_RESET, UA_MEDIUM, UA_CAPACITY = (2, 0x3A, 0), (6, 0x29, 0), (6, 0x28, 0), (6, 0x2A, 9)
_CONFIG = "<IIIIIIIHHI"


class Sense(Exception):
    """A command ends with CHECK CONDITION: (key, asc, ascq)."""


class FakeUnit:
    def __init__(self, blocks=64, block=512, kind=0, removable=False, readonly=False):
        self.block = block
        self.kind = kind
        self.removable = removable or kind == 5
        self.readonly = readonly or kind == 5
        self.data = bytearray((i * 7 + i // block) & 0xFF for i in range(blocks * block))
        self.capacity = None  # told instead of the real one
        self.attention = [UA_RESET]  # what it has to tell first
        self.medium = True
        self.bad = {}  # block -> sense
        self.thin = True
        self.descriptor = False  # format of its sense data
        self.cached = 0  # writes since the last SYNCHRONIZE CACHE
        self.locked = False
        self.log = []  # operation codes


class FakeSCSI(FakeDevice):
    """self.units: {(target, lun): FakeUnit}."""

    DEVICE_ID = 8
    FIELDS = {off: (4, None) for off in (0, 4, 8, 12, 16, 20, 24, 32)} | {28: (2, None), 30: (2, None)}

    def __init__(self, units=None, features=1 << HOTPLUG | 1 << CHANGE, queue=64, **options):
        settings = {"num_queues": 1, "seg_max": 126, "max_sectors": 0xFFFF, "cmd_per_lun": 16, "event": 16}
        settings |= {"sense": 96, "cdb": 32, "max_channel": 0, "max_target": 7, "max_lun": 16383}
        settings |= {name: options.pop(name) for name in list(options) if name in settings}
        super().__init__(
            features=features, config=struct.pack(_CONFIG, *settings.values()), queues=(64, 64, queue), **options
        )
        self.settings = settings
        self.units = {(0, 0): FakeUnit()} if units is None else units
        self.numbers = set()
        self.controls = []  # (type, subtype) of control requests
        self.most = 0  # commands under way on one unit
        self.lazy = False  # answers when no more commands come
        self.burst = 0
        self.response = None  # callable(lun, cdb) -> (response, status, sense bytes) or None, to lie
        self.stuck = set()  # operation codes that get no answer until they are aborted
        self.cut = 0  # bytes of data that are never moved
        self.log = []

    def write_config(self, off, width, value):
        require(off in (20, 24), "SCSI-04", "write to configuration offset %d" % off)
        super().write_config(off, width, value)

    def _clear(self):
        super()._clear()
        self.numbers = set()

    # -- rings --------------------------------------------------------------------------------

    def work(self, queue):
        if self.dead:
            return
        if queue.index == 1:
            for chain in queue.held:
                self._check_event_buffer(chain)
            return
        if queue.index == 2:
            self._check_depth(queue)
            if self.lazy and len(queue.held) > self.burst:
                self.burst = len(queue.held)
                return
            self.burst = 0
        for chain in list(queue.held):
            if chain not in queue.held or queue.index == 2 and chain.data()[19] in self.stuck:
                continue
            queue.finish(chain, self.process(queue, chain))

    def _check_event_buffer(self, chain):
        require(not chain.readable, "SCSI-15", "a readable event buffer")
        require(chain.room >= 16, "SCSI-17", "event buffer of %d" % chain.room)
        require(chain.room >= self.settings["event"], "SCSI-16", "event buffer of %d" % chain.room)

    def _check_depth(self, queue):
        count = {}
        for chain in queue.held:
            lun = chain.data()[:8]
            count[lun] = count.get(lun, 0) + 1
        if count:
            self.most = max(self.most, *count.values())
        require(self.most <= self.settings["cmd_per_lun"], "SCSI-05", "%d commands on a LUN" % self.most)
        require(self.most <= queue.size, "SCSI-06", "%d commands on a LUN" % self.most)

    def process(self, queue, chain):
        return self._control(chain) if queue.index == 0 else self._command(queue, chain)

    def event(self, event, target=0, lun=0, reason=0):
        """Send an event; whether there was a buffer for it."""
        queue = self.queues[1]
        queue.fetch()
        if not queue.held:
            return False
        chain = queue.held[0]
        where = bytes([1, target, 0x40 | lun >> 8, lun & 255, 0, 0, 0, 0])
        chain.write(struct.pack("<I8sI", event, where, reason))
        queue.finish(chain, 16)
        return True

    # -- control requests ------------------------------------------------------------------------

    def _control(self, chain):
        data = chain.data()
        require(len(data) >= 16, "SCSI-LEG-04", "a control request of %d" % len(data))
        kind = struct.unpack_from("<I", data)[0]
        if kind == 0:
            require(len(data) == 24 and chain.room == 1, "SCSI-LEG-04", "TMF of %d + %d" % (len(data), chain.room))
            _, subtype, lun, number = struct.unpack("<II8sQ", data)
            require(subtype <= 7, "SCSI-LEG-04", "TMF %d" % subtype)
            self.controls.append((kind, subtype))
            chain.write(bytes([self._tmf(subtype, self._lun(lun), lun, number)]))
            return 1
        require(kind in (1, 2), "SCSI-LEG-04", "control request %d" % kind)
        require(len(data) == 16 and chain.room == 5, "SCSI-LEG-04", "AN of %d + %d" % (len(data), chain.room))
        _, lun, mask = struct.unpack("<I8sI", data)
        self.controls.append((kind, mask))
        where = self._lun(lun)
        if where not in self.units:
            chain.write(struct.pack("<IB", 0, INCORRECT_LUN))
        else:
            chain.write(struct.pack("<IB", mask & 2, 0))
        return 5

    def _tmf(self, subtype, where, lun, number):
        if not any(where[0] == target for target, _ in self.units):
            return BAD_TARGET
        if where not in self.units:
            return INCORRECT_LUN
        queue = self.queues[2]
        queue.fetch()
        hit = [c for c in queue.held if c.data()[:8] == lun and struct.unpack_from("<Q", c.data(), 8)[0] == number]
        if subtype == 6:
            return 10 if hit else 0
        if subtype == 5:
            hit = [c for c in queue.held if c.data()[:8] == lun]
            self.units[where].attention.append(UA_RESET)
        for chain in hit if subtype in (0, 5) else ():
            chain.write(struct.pack("<IIHBB", 0, 0, 0, 0, 2 if subtype == 0 else 4))
            queue.finish(chain, 12)
        return 0

    def _lun(self, raw):
        require(raw[0] == 1 and raw[2] & 0xC0 == 0x40 and not any(raw[4:]), "SCSI-11", raw.hex())
        return raw[1], (raw[2] & 0x3F) << 8 | raw[3]

    # -- commands ------------------------------------------------------------------------------

    def _command(self, queue, chain):
        cdb_size, sense_size = self.settings["cdb"], self.settings["sense"]
        data = chain.data()
        require(len(data) >= 19 + cdb_size, "SCSI-LEG-03", "a header of %d" % len(data))
        if self.legacy and not self.has(27):
            require(len(chain.readable[0]) == 19 + cdb_size, "SCSI-LEG-06", "header descriptor")
            require(len(chain.writable[0]) == 12 + sense_size, "SCSI-LEG-07", "response descriptor")
        require(chain.room >= 12 + sense_size, "SCSI-LEG-03", "room of %d" % chain.room)
        lun, number, attr, prio, crn = struct.unpack_from("<8sQBBB", data)
        require((attr, prio, crn) == (0, 0, 0), "SCSI-12", "task_attr %d, prio %d, crn %d" % (attr, prio, crn))
        require(number not in self.numbers, "SCSI-11", "id %d twice" % number)
        self.numbers.add(number)
        require(bytes(chain.writable[0])[11] == 0xFF, "STYLE-4.6", "the response is preset")
        cdb = data[19 : 19 + cdb_size]
        out = data[19 + cdb_size :]
        room = chain.room - 12 - sense_size
        where = self._lun(lun)
        self.log.append((where, cdb[0]))
        response, status, sense, back = self._answer(where, cdb, out, room)
        if self.response is not None:
            said = self.response(where, cdb)
            if said is not None:
                response, status, sense, back = (*said, b"")
        back = back[: max(0, room - self.cut)] if self.cut else back[:room]
        residual = (room or len(out)) - (len(back) if room else len(out)) if response == 0 and not status else 0
        chain.write(struct.pack("<IIHBB", len(sense), residual, 0, status, response) + sense)
        chain.write(back, 12 + sense_size)
        return min(12 + sense_size + len(back), chain.room)

    def _answer(self, where, cdb, out, room):
        if not any(where[0] == target for target, _ in self.units):
            return BAD_TARGET, 0, b"", b""
        unit = self.units.get(where)
        if cdb[0] == 0xA0:
            luns = [lun for target, lun in sorted(self.units) if target == where[0]]
            if unit is not None and unit.attention and unit.attention[0] == "report":
                unit.attention.pop(0)
                return 0, CHECK, self._sense(unit, UA_RESET), b""
            raw = b"".join(struct.pack(">BB6x", lun >> 8 | (0x40 if lun > 255 else 0), lun & 255) for lun in luns)
            return 0, GOOD, b"", struct.pack(">II", len(raw), 0) + raw
        if unit is None:
            return INCORRECT_LUN, 0, b"", b""
        unit.log.append(cdb[0])
        try:
            if unit.attention and cdb[0] != 0x12:
                raise Sense(unit.attention.pop(0))
            return 0, GOOD, b"", self._do(unit, cdb, out, room)
        except Sense as sense:
            return 0, CHECK, self._sense(unit, *sense.args), b""

    def _sense(self, unit, found, block=None):
        key, asc, ascq = found
        if unit.descriptor:
            info = struct.pack(">BBBBQ", 0, 10, 0x80, 0, block) if block is not None else b""
            return struct.pack(">BBBB3xB", 0x72, key, asc, ascq, len(info)) + info
        valid = 0x80 if block is not None else 0
        return struct.pack(">BBBIB4xBB4x", 0x70 | valid, 0, key, block or 0, 10, asc, ascq)

    def _do(self, unit, cdb, out, room):
        code = cdb[0]
        if code == 0x12:
            return self._inquiry(unit, cdb)
        if code in (0x1B, 0x1E):
            return self._medium(unit, cdb)
        require(code in _KNOWN or code == 0xC0, "SCSI-11", "operation %#x" % code)
        if code == 0xC0:
            raise Sense((5, 0x20, 0))
        if not unit.medium and code != 0x1A:
            raise Sense(NO_MEDIUM)
        return getattr(self, "_" + _KNOWN[code])(unit, cdb, out, room)

    def _inquiry(self, unit, cdb):
        if not cdb[1] & 1:
            head = bytes([unit.kind, 0x80 if unit.removable else 0, 5, 2, 31, 0, 0, 0])
            return head + b"FAKE    " + b"STRICT UNIT     " + b"1.0 "
        pages = {0x80: b"SERIAL-%d" % unit.block}
        pages[0xB0] = bytes(4) + struct.pack(">IIIII", 32, 0, 0, 10, 1) + bytes(8) + struct.pack(">Q", 20) + bytes(20)
        pages[0xB2] = bytes([0, 0x80 if unit.thin else 0, 0, 0])
        page = cdb[2]
        if page not in pages:
            raise Sense((5, 0x24, 0))
        return struct.pack(">BBH", unit.kind, page, len(pages[page])) + pages[page]

    def _medium(self, unit, cdb):
        if cdb[0] == 0x1E:
            unit.locked = cdb[4] & 1 != 0
        elif cdb[4] & 2:
            if unit.locked:
                raise Sense((5, 0x53, 2))
            unit.medium = cdb[4] & 1 != 0
            if unit.medium:
                unit.attention.append(UA_MEDIUM)
        return b""

    def _test(self, unit, cdb, out, room):
        return b""

    def _capacity(self, unit, cdb, out, room):
        blocks = unit.capacity or len(unit.data) // unit.block
        if cdb[0] == 0x9E:
            require(cdb[1] == 0x10, "SCSI-11", "service action %#x" % cdb[1])
            return struct.pack(">QI20x", blocks - 1, unit.block)
        return struct.pack(">II", min(blocks - 1, 0xFFFFFFFF), unit.block)

    def _mode(self, unit, cdb, out, room):
        page = cdb[2] & 0x3F
        body = b"\x08\x12\x04" + bytes(17) if page in (8, 0x3F) else None
        if body is None:
            raise Sense((5, 0x24, 0))
        return bytes([3 + len(body), 0, 0x80 if unit.readonly and unit.kind == 0 else 0, 0]) + body

    def _place(self, unit, cdb):
        if cdb[0] in (0x28, 0x2A):
            block, count = struct.unpack_from(">I", cdb, 2)[0], struct.unpack_from(">H", cdb, 7)[0]
        else:
            block, count = struct.unpack_from(">QI", cdb, 2)
        require((block + count) * unit.block <= len(unit.data), "SCSI-11", "blocks %d+%d" % (block, count))
        for at in range(block, block + count):
            if at in unit.bad:
                raise Sense(unit.bad[at], at)
        return block, count

    def _read(self, unit, cdb, out, room):
        block, count = self._place(unit, cdb)
        require(count * unit.block == room, "SCSI-11", "%d blocks into %d bytes" % (count, room))
        require(not out, "SCSI-11", "a read with data")
        require(count * unit.block <= self.settings["max_sectors"] * 512, "SCSI-11", "%d blocks" % count)
        return bytes(unit.data[block * unit.block : (block + count) * unit.block])

    def _write(self, unit, cdb, out, room):
        block, count = self._place(unit, cdb)
        require(count * unit.block == len(out) and not room, "SCSI-11", "%d blocks, %d bytes" % (count, len(out)))
        if unit.readonly:
            raise Sense((7, 0x27, 0))
        unit.data[block * unit.block : (block + count) * unit.block] = out
        unit.cached += 1
        return b""

    def _sync(self, unit, cdb, out, room):
        unit.cached = 0
        return b""

    def _unmap(self, unit, cdb, out, room):
        require(unit.thin, "SCSI-11", "UNMAP is not offered")
        size, ranges, block, count, zero = struct.unpack(">HH4xQII", out)
        require((size, ranges, zero) == (22, 16, 0), "SCSI-11", "UNMAP of %d" % len(out))
        require(struct.unpack_from(">H", cdb, 7)[0] == len(out), "SCSI-11", "UNMAP length")
        require(count <= 10, "SCSI-11", "UNMAP of %d blocks" % count)
        unit.data[block * unit.block : (block + count) * unit.block] = bytes(count * unit.block)
        return b""

    def _same(self, unit, cdb, out, room):
        block, count = self._place(unit, cdb)
        require(len(out) == unit.block and count <= 20, "SCSI-11", "WRITE SAME of %d" % count)
        unit.data[block * unit.block : (block + count) * unit.block] = out * count
        return b""


_KNOWN = {0x00: "test", 0x25: "capacity", 0x9E: "capacity", 0x1A: "mode", 0x28: "read", 0x88: "read", 0x2A: "write"}
_KNOWN |= {0x8A: "write", 0x35: "sync", 0x42: "unmap", 0x93: "same"}
