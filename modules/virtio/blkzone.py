"""Zones of a zoned disk (5.2.6): what they are, and the requests that manage them."""

import struct

from micropython import const

_APPEND = const(15)
_REPORT = const(16)
_OPEN = const(18)
_CLOSE = const(20)
_FINISH = const(22)
_RESET = const(24)
_RESET_ALL = const(26)

_HEAD = const(64)  # bytes of a report before the zones, and of a zone
_AT_ONCE = const(32)  # zones of one report

_KINDS = {1: "conventional", 2: "sequential", 3: "preferred"}
_STATES = {0: "no pointer", 1: "empty", 2: "open", 3: "opened", 4: "closed", 13: "read-only", 14: "full", 15: "offline"}


class Zone:
    """start, capacity and pointer in sectors; kind conventional, sequential or preferred; state."""

    def __init__(self, raw):
        self.capacity, self.start, self.pointer, kind, state = struct.unpack_from("<QQQBB", raw)
        self.kind = _KINDS.get(kind) or "kind %d" % kind
        self.state = _STATES.get(state) or "state %d" % state

    def __repr__(self):
        text = "<zone %d+%d %s %s" % (self.start, self.capacity, self.kind, self.state)
        return text + (">" if self.kind == "conventional" else " at %d>" % self.pointer)


class Zones:
    """disk.zones: report(), open(), close(), finish(), reset(), reset_all(), append().

    managed: whether the disk wants sequential zones written in order (host-managed); others only
    prefer it. sectors: of a zone; max_open, max_active: zones, 0 without a limit; max_append:
    sectors; granularity: bytes that writes are multiples of.
    """

    def __init__(self, disk):
        self._disk = disk
        self.managed = disk.config_u8(92) == 1
        self.sectors = disk.config_u32(72)
        self.max_open = disk.config_u32(76)
        self.max_active = disk.config_u32(80)
        self.max_append = disk.config_u32(84)
        self.granularity = disk.config_u32(88) or 512
        if self.sectors == 0 or self.granularity & 511:
            disk.fail("zones of %d sectors, written by %d bytes" % (self.sectors, self.granularity))

    def _place(self, sector):
        # Requests that manage a zone name its first sector.
        if sector % self.sectors or not 0 <= sector < self._disk.capacity_sectors:
            raise ValueError("%s: no zone begins at sector %d" % (self._disk.name, sector))
        return sector

    def report(self, sector=0, count=None):
        """The zones from that which `sector` lies in: a list of up to `count` of them, else all."""
        disk = self._disk
        if not 0 <= sector < disk.capacity_sectors:
            raise ValueError("%s: sector %d of %d" % (disk.name, sector, disk.capacity_sectors))
        zones = []
        while sector < disk.capacity_sectors and (count is None or len(zones) < count):
            n = _AT_ONCE if count is None else min(_AT_ONCE, count - len(zones))
            buf = bytearray(_HEAD + _HEAD * n)
            disk.command(_REPORT, sector, [], [buf])
            found = min(struct.unpack_from("<Q", buf)[0], n)
            if found == 0:
                break
            for i in range(found):
                zones.append(Zone(memoryview(buf)[_HEAD + _HEAD * i :]))
            sector = zones[-1].start // self.sectors * self.sectors + self.sectors
        return zones

    def open(self, sector):
        """Open the zone that begins at sector, so that it stays open until it is closed or full."""
        self._disk.command(_OPEN, self._place(sector), [], [])

    def close(self, sector):
        """Give an open zone's resources back; it can still be written."""
        self._disk.command(_CLOSE, self._place(sector), [], [])

    def finish(self, sector):
        """Make a zone full."""
        self._disk.command(_FINISH, self._place(sector), [], [])

    def reset(self, sector):
        """Make a zone empty: what it held is gone."""
        self._disk.command(_RESET, self._place(sector), [], [])

    def reset_all(self):
        """Make all zones empty."""
        self._disk.command(_RESET_ALL, 0, [], [])

    def append(self, sector, buf):
        """Write buf where the pointer of the zone that begins at sector is; the sector that became of it."""
        disk = self._disk
        n = len(buf)
        if n == 0 or n % self.granularity or n % disk.block_size:
            raise ValueError("%s: append %d bytes: %d at a time" % (disk.name, n, self.granularity))
        if n > 512 * self.max_append:
            raise ValueError("%s: append %d bytes, %d sectors at most" % (disk.name, n, self.max_append))
        where = bytearray(8)
        disk.command(_APPEND, self._place(sector), [buf], [where])
        return struct.unpack("<Q", where)[0]

    def check(self, pieces):
        """ValueError unless these writes keep to the rules of sequential zones (host-managed alone)."""
        if not self.managed:
            return
        pointers = {}
        for sector, buf in pieces:
            start = sector // self.sectors * self.sectors
            if start not in pointers:
                zone = self.report(start, 1)[0]
                pointers[start] = None if zone.kind == "conventional" else [zone.pointer, start + zone.capacity]
            place = pointers[start]
            if place is None:
                continue
            end = sector + len(buf) // 512
            if len(buf) % self.granularity or sector != place[0] or end > place[1]:
                text = "%s: write sectors %d+%d: the zone goes on at %d, up to %d, by %d bytes"
                where = sector, end - sector, place[0], place[1]
                raise ValueError(text % ((self._disk.name,) + where + (self.granularity,)))
            place[0] = end
