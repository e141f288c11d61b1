"""A unit on a SCSI adapter: a disk or CD-ROM, with the words of Blk and MicroPython's block protocol."""

import errno
import struct
import time

from micropython import const

from .blockdev import BlockDevice
from .scsicommand import address

_EROFS = const(30)
_TIMEOUT_MS = const(5000)
_EJECT_MS = const(10000)
_PIECE = const(1 << 20)  # most bytes of one command
_DEPTH = const(64)
_KINDS = {0: "disk", 1: "tape", 5: "cdrom", 7: "optical", 12: "array", 13: "enclosure", 14: "disk"}

_TEST_UNIT_READY = const(0x00)
_INQUIRY = const(0x12)
_MODE_SENSE_6 = const(0x1A)
_START_STOP = const(0x1B)
_PREVENT = const(0x1E)
_READ_CAPACITY_10 = const(0x25)
_READ_10 = const(0x28)
_WRITE_10 = const(0x2A)
_SYNCHRONIZE_CACHE = const(0x35)
_UNMAP = const(0x42)
_READ_16 = const(0x88)
_WRITE_16 = const(0x8A)
_WRITE_SAME_16 = const(0x93)
_SERVICE_IN_16 = const(0x9E)


class Unit(BlockDevice):
    """A disk or CD-ROM; sectors have 512 bytes, blocks .block_size; buffers are used in place.

    kind: 'disk', 'cdrom', ...; vendor, product, revision; removable; serial() and limits() ask it.
    """

    def __init__(self, adapter, target, lun):
        self.adapter = adapter
        self.target = target
        self.lun = lun
        self.name = "%s:%d:%d" % (adapter.name, target, lun)
        self.in_flight = 0
        self.gone = False
        self.stale = True  # capacity and the like have to be read
        self.changes = 0  # how often the medium was changed
        self._commands = adapter.commands
        self._lun = address(target, lun)
        self._forgiving = False
        self._size = self._blocks = 0
        self._limits = None

    def adopt(self):
        """The adapter came up again."""
        self._commands = self.adapter.commands
        self.in_flight = 0
        self.stale = True

    def __repr__(self):
        state = "gone" if self.gone else "" if self.stale else "%d sectors" % self._sectors()
        if not self.stale and self._readonly:
            state += " ro"
        return "<%s %s %s %s%s>" % (self.name, self.kind, self.vendor, self.product, state and " " + state)

    # -- commands --------------------------------------------------------------------------

    def command(self, cdb, out=None, into=None, what="command", timeout_ms=_TIMEOUT_MS):
        """Any SCSI command: out is sent with it, into filled; the bytes moved. Blocks; Ctrl-C safe.

        OSError names sense key and code; ETIMEDOUT: the command was aborted.
        """
        if self.adapter.commands is not self._commands or self.gone:
            raise OSError(errno.ENODEV, "%s: %s: the unit is gone" % (self.name, what))
        return self._commands.run(self, self._lun, cdb, out, into, what, timeout_ms).moved

    def attention(self, code):
        """The unit tells of a change (UNIT ATTENTION); whether the command may be tried again."""
        if code >> 8 == 0x28 and self.removable:
            self.changes += 1
            self.stale = True
            return self._forgiving
        if code >> 8 == 0x2A:
            self.stale = True
        elif code == 0x3F0E:
            self.adapter.look_again(self.target)
        return True

    def inquire(self):
        """Ask what it is; False when there is nothing at this address."""
        buf = bytearray(96)
        self.removable = False
        self.gone = False
        n = self.command(struct.pack(">BBBHB", _INQUIRY, 0, 0, 96, 0), None, buf, "inquiry")
        if n < 36 or buf[0] >> 5:
            return False
        self.kind = _KINDS.get(buf[0] & 31) or "type%d" % (buf[0] & 31)
        self.removable = buf[1] & 0x80 != 0
        self.vendor, self.product, self.revision = [_text(buf[a:b]) for a, b in ((8, 16), (16, 32), (32, 36))]
        return True

    def vital(self, page):
        """A page of vital product data, without its header; None when it has no such page."""
        buf = bytearray(252)
        try:
            n = self.command(struct.pack(">BBBHB", _INQUIRY, 1, page, 252, 0), None, buf, "inquiry %#x" % page)
        except OSError as e:
            if e.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return None
        if n < 4 or buf[1] != page:
            return None
        return bytes(buf[4 : min(n, 4 + (buf[2] << 8 | buf[3]))])

    def serial(self):
        """The serial number that it was given, '' without one."""
        return _text(self.vital(0x80) or b"")

    id = serial

    def limits(self):
        """{'transfer', 'unmap', 'unmap_ranges', 'write_same': most blocks (0: not told), 'can_unmap'}."""
        if self._limits is None:
            raw = (self.vital(0xB0) or b"") + bytes(60)
            thin = (self.vital(0xB2) or b"") + bytes(4)
            transfer, _, _, unmap, ranges = struct.unpack_from(">IIIII", raw, 4)
            same = struct.unpack_from(">Q", raw, 32)[0]
            found = {"transfer": transfer, "unmap": unmap, "unmap_ranges": ranges, "write_same": same}
            found["can_unmap"] = thin[1] & 0x80 != 0
            self._limits = found
        return self._limits

    def ready(self):
        """TEST UNIT READY: whether there is a medium that can be used."""
        self._forgiving = True
        try:
            self.command(bytes(6), None, None, "test unit ready")
            return True
        except OSError as e:
            if e.errno in (errno.ENODEV, errno.ETIMEDOUT):
                raise
            return False
        finally:
            self._forgiving = False

    def refresh(self):
        """Read capacity, block size and write protection again. OSError: 123 without a medium."""
        self._forgiving = True
        try:
            self.command(bytes(6), None, None, "test unit ready")
            last, size = self._read_capacity()
            self._readonly = self.kind == "cdrom" or self._protected()
        finally:
            self._forgiving = False
        if size < 512 or size > 65536 or size & (size - 1):
            raise OSError(errno.EIO, "%s: blocks of %d bytes" % (self.name, size))
        self._size, self._blocks = size, last + 1
        self._limits = None
        self.stale = False

    def _read_capacity(self):
        buf = bytearray(8)
        self._all(self.command(bytes((_READ_CAPACITY_10,)) + bytes(9), None, buf, "read capacity"), 8)
        last, size = struct.unpack(">II", buf)
        if last == 0xFFFFFFFF:
            buf = bytearray(32)
            cdb = struct.pack(">BBQIBB", _SERVICE_IN_16, 0x10, 0, 32, 0, 0)
            self._all(self.command(cdb, None, buf, "read capacity"), 12)
            last, size = struct.unpack_from(">QI", buf)
        return last, size

    def _all(self, n, wanted):
        if n < wanted:
            raise OSError(errno.EIO, "%s: read capacity: only %d bytes" % (self.name, n))

    def _protected(self):
        try:
            return self.mode(0x3F)[2] & 0x80 != 0
        except OSError as e:
            if e.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return False

    def mode(self, page):
        """The answer of MODE SENSE(6): header, block descriptors and the page."""
        buf = bytearray(252)
        n = self.command(bytes((_MODE_SENSE_6, 0, page, 0, 252, 0)), None, buf, "mode sense %#x" % page)
        if n < 4:
            raise OSError(errno.EIO, "%s: mode sense: only %d bytes" % (self.name, n))
        return bytes(buf[:n])

    def _fresh(self):
        if self.stale:
            self.refresh()

    def _sectors(self):
        return self._blocks * (self._size >> 9)

    @property
    def block_size(self):
        """Bytes of a block: 512 or 4096 of a disk, 2048 of a CD."""
        self._fresh()
        return self._size

    @property
    def capacity_sectors(self):
        """512-byte sectors."""
        self._fresh()
        return self._sectors()

    @property
    def readonly(self):
        """Whether it cannot be written."""
        self._fresh()
        return self._readonly

    @property
    def writeback(self):
        """Whether it caches writes (mode page 8)."""
        raw = self.mode(8)
        at = 4 + raw[3]
        return len(raw) > at + 2 and raw[at + 2] & 4 != 0

    # -- reading and writing -----------------------------------------------------------------

    def read(self, sector, buf, timeout_ms=_TIMEOUT_MS):
        """Read whole blocks into buf; blocks, polls, Ctrl-C safe.

        sector: first 512-byte sector.  ValueError: bad length or place.  OSError: what the unit says.
        """
        self._run(False, ((sector, buf),), timeout_ms, _DEPTH)

    def write(self, sector, buf, timeout_ms=_TIMEOUT_MS):
        """Write buf to whole blocks; otherwise like read()."""
        self._run(True, ((sector, buf),), timeout_ms, _DEPTH)

    def read_many(self, pieces, timeout_ms=_TIMEOUT_MS, depth=_DEPTH):
        """Read [(sector, buf), ...], depth commands at a time at most; they may end in any order."""
        self._run(False, pieces, timeout_ms, depth)

    def write_many(self, pieces, timeout_ms=_TIMEOUT_MS, depth=_DEPTH):
        """Write [(sector, buf), ...]; like read_many()."""
        self._run(True, pieces, timeout_ms, depth)

    def _run(self, out, pieces, timeout_ms, depth):
        self._fresh()
        if out and self._readonly and pieces:
            raise OSError(_EROFS, "%s: write block %d: read-only" % (self.name, pieces[0][0] // (self._size >> 9)))
        jobs = self._cut(pieces, out)
        flying = []
        error = None
        try:
            for job in jobs:
                if len(flying) >= depth:
                    error = self._conclude(flying.pop(0), timeout_ms) or error
                flying.append(self._start(job, flying, timeout_ms))
            while flying:
                error = self._conclude(flying.pop(0), timeout_ms) or error
        except BaseException:
            for command in flying:
                self._commands.drop(command)
            raise
        if error:
            raise error

    def _cut(self, pieces, out):
        """[(first block, view, command, words)]; ValueError before anything was sent."""
        size = self._size
        per = size >> 9
        most = min(_PIECE, self.adapter.max_sectors * 512 or _PIECE) // size * size or size
        jobs = []
        for sector, buf in pieces:
            n = len(buf)
            if n % size or not n or sector % per:
                raise ValueError("%s: sector %d, %d bytes: blocks have %d" % (self.name, sector, n, size))
            if sector < 0 or sector + n // 512 > self._sectors():
                raise ValueError("%s: sector %d+%d of %d" % (self.name, sector, n // 512, self._sectors()))
            view = memoryview(buf)
            for at in range(0, n, most):
                jobs.append((sector // per + at // size, view[at : at + most], out))
        return jobs

    def _start(self, job, flying, timeout_ms):
        """Send a read or write; waits for room."""
        block, view, out = job
        what = "%s block %d" % ("write" if out else "read", block)
        count = len(view) // self._size
        if block + count > 0xFFFFFFFF or count > 0xFFFF:
            cdb = struct.pack(">BBQIBB", _WRITE_16 if out else _READ_16, 0, block, count, 0, 0)
        else:
            cdb = struct.pack(">BBIBHB", _WRITE_10 if out else _READ_10, 0, block, 0, count, 0)
        data = (view, None) if out else (None, view)
        if self.adapter.commands is not self._commands or self.gone:
            raise OSError(errno.ENODEV, "%s: %s: the unit is gone" % (self.name, what))
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while True:
            try:
                return self._commands.start(self, self._lun, cdb, data[0], data[1], what)
            except OSError as e:
                if e.errno != errno.EAGAIN or time.ticks_diff(deadline, time.ticks_ms()) <= 0:
                    raise
            for command in flying:
                if not command.finished:
                    self._commands.finish(command, timeout_ms)  # its outcome is looked at in its turn
                    break
            else:
                time.sleep_ms(1)
                self._commands.queue.reap()

    def _conclude(self, command, timeout_ms):
        """Wait for a read or write; its error or None. OSError: the wait itself failed."""
        if not command.finished:
            self._commands.finish(command, timeout_ms)
        try:
            args = (self, self._lun, command.cdb, command.out, command.into, command.what, timeout_ms, command)
            done = self._commands.run(*args)
        except OSError as e:
            if e.errno == errno.ETIMEDOUT:
                raise
            return e
        if done.moved != done.size:
            return OSError(errno.EIO, "%s: %s: only %d of %d bytes" % (self.name, done.what, done.moved, done.size))
        return None

    def flush(self, timeout_ms=_TIMEOUT_MS):
        """Make all finished writes durable (SYNCHRONIZE CACHE)."""
        if self.kind != "cdrom":
            self.command(bytes((_SYNCHRONIZE_CACHE,)) + bytes(9), None, None, "synchronize cache", timeout_ms)

    def _range(self, sector, count, what):
        """(block, blocks) of a range of sectors to be changed."""
        self._fresh()
        per = self._size >> 9
        if sector < 0 or count <= 0 or sector % per or count % per or sector + count > self._sectors():
            raise ValueError("%s: %s: sector %d+%d" % (self.name, what, sector, count))
        if self._readonly:
            raise OSError(_EROFS, "%s: %s block %d: read-only" % (self.name, what, sector // per))
        return sector // per, count // per

    def discard(self, sector, count, timeout_ms=_TIMEOUT_MS):
        """Tell that these sectors are not needed (UNMAP); OSError(EOPNOTSUPP) where it cannot."""
        block, count = self._range(sector, count, "unmap")
        limits = self.limits()
        if not limits["can_unmap"]:
            raise OSError(errno.EOPNOTSUPP, "%s: UNMAP is not offered" % self.name)
        most = min(limits["unmap"] or 0xFFFFFFFF, 0xFFFFFFFF)
        while count:
            n = min(count, most)
            data = struct.pack(">HHIQII", 22, 16, 0, block, n, 0)
            cdb = struct.pack(">BBIBHB", _UNMAP, 0, 0, 0, len(data), 0)
            self.command(cdb, data, None, "unmap block %d+%d" % (block, n), timeout_ms)
            block += n
            count -= n

    def write_zeroes(self, sector, count, unmap=False, timeout_ms=_TIMEOUT_MS):
        """Make these sectors read as zeroes (WRITE SAME); unmap: their storage may be given back."""
        block, count = self._range(sector, count, "write same")
        most = min(self.limits()["write_same"] or 0xFFFF, 0xFFFFFFFF)
        zeroes = bytes(self._size)
        while count:
            n = min(count, most)
            cdb = struct.pack(">BBQIBB", _WRITE_SAME_16, 8 if unmap else 0, block, n, 0, 0)
            self.command(cdb, zeroes, None, "write same block %d+%d" % (block, n), timeout_ms)
            block += n
            count -= n

    # -- the medium ------------------------------------------------------------------------------

    def eject(self):
        """Open the tray."""
        self.command(bytes((_START_STOP, 0, 0, 0, 2, 0)), None, None, "eject", _EJECT_MS)
        self.stale = True

    def load(self):
        """Close the tray."""
        self.command(bytes((_START_STOP, 0, 0, 0, 3, 0)), None, None, "load", _EJECT_MS)
        self.stale = True

    def start_stop(self, on):
        """Spin up or down."""
        self.command(bytes((_START_STOP, 0, 0, 0, 1 if on else 0, 0)), None, None, "start/stop", _EJECT_MS)

    def lock(self, on=True):
        """Keep the medium from being taken out, or let it."""
        self.command(bytes((_PREVENT, 0, 0, 0, 1 if on else 0, 0)), None, None, "prevent removal")

    def ioctl(self, op, arg):
        """The block protocol; events and changed media are seen at op 4, the count of blocks."""
        if op == 4:
            self.adapter.follow()
        return BlockDevice.ioctl(self, op, arg)


def _text(raw):
    """ASCII from a padded field."""
    return "".join([chr(byte) if 32 <= byte < 127 else "" for byte in raw]).strip()
