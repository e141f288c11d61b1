"""virtio-blk (5.2): block requests, many in flight, straight into the caller's memory."""

import errno
import struct
import time

import micropython
import riscv
from machine import mem32
from micropython import const

from . import blkring, ring
from .device import Device
from .dma import Area
from .transport import DeviceError

_IN = const(0)
_OUT = const(1)
_FLUSH = const(4)
_GET_ID = const(8)
_DISCARD = const(11)
_WRITE_ZEROES = const(13)

_MAX_BYTES = const(1 << 30)  # of one request: a length field has 32 bits, QEMU's own limit is 2^31
_SIZE = const(512)  # queue size asked for
_SLOTS = const(128)
_TAGS = const(256)  # requests alive at a time
_TIMEOUT_MS = const(5000)

_KINDS = {0: "read", 1: "write", 4: "flush", 8: "get id", 11: "discard", 13: "write zeroes"}
_STATUS = {1: "IOERR", 2: "UNSUPP", 0xFF: "no status written"}
_FEATURES = {
    0: "BARRIER",
    1: "SIZE_MAX",
    2: "SEG_MAX",
    4: "GEOMETRY",
    5: "RO",
    6: "BLK_SIZE",
    7: "SCSI",
    9: "FLUSH",
    10: "TOPOLOGY",
    11: "CONFIG_WCE",
    12: "MQ",
    13: "DISCARD",
    14: "WRITE_ZEROES",
    15: "LIFETIME",
    16: "SECURE_ERASE",
    17: "ZONED",
}


class Request:
    """Reads or writes under way: one or more pieces, each a request of its own to the device."""

    def __init__(self, blk, kind, pieces, tag, depth=_SLOTS):
        self.blk = blk
        self.kind = kind
        self.pieces = pieces  # [(sector, buffer)], the reference that keeps the buffers
        self.tag = tag
        self.depth = depth
        self.vq = blk.vq
        self.error = None
        self._over = False

    def __repr__(self):
        what = "%s %s, %d pieces" % (self.blk.name, _KINDS[self.kind], len(self.pieces))
        state = "failed" if self.error is not None else "done" if self._over else "in flight"
        return "<%s: %s>" % (what, state)

    @property
    def done(self):
        """Whether all of it is finished; looks at the queue, never blocks."""
        if not self._over:
            self.blk.pump()
            self._over = self.blk.over(self)
        return self._over

    def wait(self, timeout_ms=_TIMEOUT_MS):
        """Wait for the end; raises what went wrong. timeout_ms: without any progress.

        OSError: EIO, ETIMEDOUT (the buffers stay in use until the device answers or is reset).
        """
        if not self._over:
            self.blk.finish(self, timeout_ms)
            self._over = True
        if self.error is not None:
            raise self.error


class Blk(Device):
    """A virtio disk. Sectors have 512 bytes, blocks .block_size; buffers are used in place."""

    NAME = "blk"
    IDS = (2,)
    FEATURES = 0x6E76  # SIZE_MAX SEG_MAX GEOMETRY RO BLK_SIZE FLUSH TOPOLOGY CONFIG_WCE DISCARD ..
    FEATURE_NAMES = _FEATURES

    def about(self):
        return "%d sectors%s" % (self.capacity_sectors, " ro" if self.readonly else "")

    # -- start -------------------------------------------------------------------------

    def choose(self, features):
        """A host-managed zoned disk is refused (5.2.5.2); others work as plain disks."""
        if self.offered >> 17 & 1 and self.config_u8(92) == 1:
            raise DeviceError("%s: host-managed zones are not supported" % self.name)
        return features

    def probe(self):
        self.vq = vq = self.queue(0, _SIZE)
        if vq.size < 3:
            raise DeviceError("%s: a queue of %d cannot hold a request" % (self.name, vq.size))
        self._st = vq.st
        spare = self._make_slots(vq)
        self._read_config(spare - 2)
        self._requests = {}  # tag -> Request
        self._tags = list(range(_TAGS))
        self._waiting = []  # requests with pieces that are not posted yet
        self._feeding = False

    def _make_slots(self, vq):
        """Take descriptors for the request slots: three each, or one and an indirect table.

        Returns the longest chain that is possible beside them.
        """
        size = vq.size
        indirect = vq.indirect and size < 3 * 32
        per_slot = 1 if indirect else 3
        spare = min(1 if vq.indirect else 128, size // 4)
        slots = min(_SLOTS, (size - spare) // per_slot) if indirect or size >= 16 else 0
        records = (32 + 4 * size + 15) & ~15
        tags = records + blkring.RECORD_SIZE * size
        self._slots = area = Area(tags + 8 * _TAGS)
        self._bk = area.addr
        self._records = records
        struct.pack_into("<IIQQ", area.buf, 0, 0, indirect, area.addr + records, area.addr + tags)
        if slots:
            blkring.setup(vq.st, self._bk, ring.take(vq.st, slots * per_slot), slots)
        self.slots = slots
        return size if vq.indirect else vq.num_free

    def _read_config(self, longest):
        """Read the fields that were negotiated (2.5.1); longest: data segments a chain can have."""
        has = self.has
        self.capacity_sectors = self.config_u64(0)
        self.readonly = has(5)
        self.block_size = size = self.config_u32(20) if has(6) else 512
        if size < 512 or size & (size - 1):
            raise DeviceError("%s: block size %d" % (self.name, size))
        segment = self.config_u32(8) if has(1) else 0
        self._segment = min(segment or _MAX_BYTES, _MAX_BYTES)
        self._segments = max(1, min(self.config_u32(12) if has(2) else 1, longest))
        self._piece = min(self._segment * self._segments, _MAX_BYTES) // size * size
        if self._piece == 0:
            raise DeviceError("%s: size_max %d is less than a block" % (self.name, segment))

    def config_changed(self):
        """The disk was resized: take the new capacity."""
        self.capacity_sectors = self.config_u64(0)

    # -- requests ---------------------------------------------------------------------------

    def submit(self, what, sector, buf):
        """Start reading ('r') or writing ('w') sectors; a Request to wait for. Does not block."""
        if what != "r" and what != "w":
            raise ValueError("'r' or 'w', not %r" % (what,))
        return self._start(_IN if what == "r" else _OUT, ((sector, buf),))

    def read(self, sector, buf, timeout_ms=_TIMEOUT_MS):
        """Read whole sectors into buf; blocks, polls, Ctrl-C safe.

        sector: first 512-byte sector.  buf: writable, a non-zero multiple of .block_size long.
        ValueError: bad length or place.  OSError: EIO, ETIMEDOUT (buf stays in use until the
        device answers or is reset).  virtio 5.2.6; needs DRIVER_OK.
        """
        self._start(_IN, ((sector, buf),)).wait(timeout_ms)

    def write(self, sector, buf, timeout_ms=_TIMEOUT_MS):
        """Write buf to whole sectors; otherwise like read(). EIO on a read-only disk."""
        self._start(_OUT, ((sector, buf),)).wait(timeout_ms)

    def read_many(self, pieces, timeout_ms=_TIMEOUT_MS, depth=_SLOTS):
        """Read [(sector, buf), ...], as many at once as the queue holds, depth at most.

        The pieces may complete in any order. timeout_ms: without any progress.
        """
        if pieces:
            self._start(_IN, pieces, depth).wait(timeout_ms)

    def write_many(self, pieces, timeout_ms=_TIMEOUT_MS, depth=_SLOTS):
        """Write [(sector, buf), ...]; like read_many()."""
        if pieces:
            self._start(_OUT, pieces, depth).wait(timeout_ms)

    def _start(self, kind, pieces, depth=_SLOTS):
        """Check the pieces, split what is too long, post what there is room for; a Request."""
        self.check()
        if kind == _OUT and self.readonly:
            raise OSError(errno.EIO, "%s: write sector %d: read-only" % (self.name, pieces[0][0]))
        if self._check_pieces(kind, pieces):
            pieces = self._split(pieces)
        req = self._request(kind, pieces, len(pieces), depth)
        self._waiting.append(req)
        self._feed()
        return req

    @micropython.native
    def _check_pieces(self, kind, pieces):
        """Raise ValueError for what the device must not see; True if some piece is too long."""
        block = self.block_size - 1
        limit = self._piece
        long = False
        for sector, buf in pieces:
            n = len(buf)
            if n == 0 or n & block or (sector << 9) & block:
                raise ValueError("%d bytes at sector %d are not whole blocks" % (n, sector))
            if sector < 0 or sector + (n >> 9) > self.capacity_sectors:
                self._beyond(sector, n >> 9)
            if n > limit:
                long = True
            if kind == 0:
                buf[0] = buf[0]  # TypeError when it is read-only
        return long

    def _beyond(self, sector, count):
        """Last chance: the disk may have grown."""
        self.poll_config()
        if sector < 0 or sector + count > self.capacity_sectors:
            raise ValueError("%s: sectors %d+%d of %d" % (self.name, sector, count, self.capacity_sectors))

    def _split(self, pieces):
        """The pieces with long ones cut to what one request may carry (size_max, seg_max)."""
        result = []
        most = self._piece
        for sector, buf in pieces:
            view = memoryview(buf)
            for off in range(0, len(buf), most):
                result.append((sector + off // 512, view[off : off + most]))
        return result

    def _request(self, kind, pieces, left, depth=_SLOTS):
        if not self._tags or len(self._requests) > _TAGS // 2:
            self._sweep()
        if not self._tags:
            raise OSError(errno.EAGAIN, "%s: %d requests in flight" % (self.name, _TAGS))
        tag = self._tags.pop()
        blkring.begin(self._bk, tag, left)
        req = self._requests[tag] = Request(self, kind, pieces, tag, depth)
        return req

    def _sweep(self):
        """Forget requests that are over though nobody waited for them to the end."""
        self.pump()
        idle = self.vq.in_flight == 0 and not self._waiting
        for req in list(self._requests.values()):
            if idle or self.over(req):
                self._forget(req)

    def _forget(self, req):
        if self._requests.pop(req.tag, None) is req:
            self._tags.append(req.tag)

    # -- the engine ---------------------------------------------------------------------------

    def _feed(self):
        """Post what waits, in order, as far as there are slots, and notify once."""
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._waiting and self._feed_one(self._waiting[0]):
                self._waiting.pop(0)
        finally:
            self._feeding = False
        self.vq.notify()

    @micropython.native
    def _feed_one(self, req):
        """Post pieces of one request; True when none is left over."""
        st = self._st
        bk = self._bk
        post = blkring.post
        addr = riscv.addr
        kind = req.kind
        tag = req.tag
        pieces = req.pieces
        n = len(pieces)
        i = blkring.posted(bk, tag)
        stop = min(n, req.depth + n - blkring.left(bk, tag))
        segment = self._segment if self.slots else 0
        while i < stop:
            sector, buf = pieces[i]
            size = len(buf)
            if size > segment:
                if not self._chain(req, sector, *self._cut(kind, buf)):
                    break
            elif post(st, bk, kind, sector, addr(buf), size, tag) < 0:
                break
            i += 1
        return i == n

    def _cut(self, kind, buf):
        """(readable, writable) segments for a buffer that does not fit into one."""
        addr = riscv.addr(buf)
        most = self._segment
        n = len(buf)
        segments = [(addr + off, min(most, n - off)) for off in range(0, n, most)]
        return (segments, []) if kind == _OUT else ([], segments)

    def _chain(self, req, sector, readable, writable):
        """Put a request that fits no slot; False when the queue is full."""
        area = Area(32)
        struct.pack_into("<IIQ", area.buf, 0, req.kind, 0, sector)
        area.buf[16] = 0xFF
        readable = [(area.addr, 16)] + readable
        writable = writable + [(area.addr + 16, 1)]
        blkring.count(self._bk, req.tag, 1, 0)
        try:
            self.vq.add(readable, writable, (req, area))
        except OSError as er:
            blkring.count(self._bk, req.tag, -1, 0)
            if er.errno == errno.EAGAIN:
                return False
            raise
        return True

    def pump(self):
        """Take what the device has finished and post what waits. Never blocks."""
        self.check()
        st = self._st
        bk = self._bk
        self.vq.reap()
        blkring.finish(st, bk)
        head = ring.first(st)
        while head >= 0:
            self._complete(head)
            blkring.finish(st, bk)
            head = ring.first(st)
        if self._waiting and (mem32[bk] * 2 >= self.slots or not self.vq.in_flight):
            self._feed()

    def _complete(self, head):
        """Finish a chain that is no slot, or whose request failed."""
        vq = self.vq
        st = self._st
        used = ring.state(st, head)
        slot = ring.fixed(st, head)
        if slot:
            at = self._records + blkring.RECORD_SIZE * head + blkring.HEADER
            head_words = struct.unpack_from("<IIQIII", self._slots.buf, at)
            req = self._requests.get(head_words[4])
        else:
            token = vq.token(head)
            if token is None:
                vq.release(head)
                return
            req, area = token
            head_words = struct.unpack_from("<IIQI", area.buf, 0)
        status = head_words[3] & 0xFF
        short = used < ring.writable(st, head) and not self.transport.legacy
        if (status or short) and req is not None and req.error is None:
            req.error = self._error(head_words, status, used)
        if slot:
            blkring.retire(st, self._bk, head)
        else:
            vq.release(head)
            blkring.count(self._bk, req.tag, 0, -1)

    def _error(self, words, status, used):
        what = _KINDS.get(words[0], "request")
        if words[0] <= _OUT:
            what += " sector %d" % words[2]
            if len(words) > 5:
                what += "+%d" % (words[5] // 512)
        why = _STATUS.get(status) or "status %d" % status
        if status == 0:
            why = "only %d bytes written" % used
        code = errno.EOPNOTSUPP if status == 2 else errno.EIO
        return OSError(code, "%s: %s: %s" % (self.name, what, why))

    def over(self, req):
        """Whether the device has finished all of a request."""
        if req.vq is not self.vq:
            raise OSError(errno.EIO, "%s: reset while the request was in flight" % self.name)
        return blkring.left(self._bk, req.tag) == 0

    def finish(self, req, timeout_ms):
        """Pump until a request is over; see Request.wait()."""
        before = -1
        deadline = 0
        try:
            while not self.over(req):
                self.pump()
                left = blkring.left(self._bk, req.tag)
                if left == 0:
                    break
                if left != before:
                    before = left
                    deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
                if not self.vq.poll(deadline):
                    self._timed_out(req, timeout_ms)
        except BaseException:
            if req in self._waiting:
                self._waiting.remove(req)
            raise
        self._forget(req)

    def _timed_out(self, req, timeout_ms):
        text = "%s: %s: no answer in %d ms" % (self.name, _KINDS[req.kind], timeout_ms)
        if req.kind <= _OUT:
            text = "%s: %s sector %d: no answer in %d ms" % (
                self.name,
                _KINDS[req.kind],
                req.pieces[0][0],
                timeout_ms,
            )
        raise OSError(errno.ETIMEDOUT, text)

    def on_interrupt(self):
        self.pump()

    # -- other commands ------------------------------------------------------------------------

    def _command(self, kind, sector, readable, writable, timeout_ms=_TIMEOUT_MS):
        """One request of another kind, waited for."""
        self.check()
        req = self._request(kind, ((sector, (readable, writable)),), 1)
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while not self._chain(req, sector, readable, writable):
            if not self.vq.poll(deadline):
                self._timed_out(req, timeout_ms)
            self.pump()
        self.vq.notify()
        req.wait(timeout_ms)

    def flush(self, timeout_ms=_TIMEOUT_MS):
        """Make all finished writes durable; nothing to do where FLUSH was not offered (5.2.6.2)."""
        self.check()
        if self.has(9):
            self._command(_FLUSH, 0, [], [], timeout_ms)

    def id(self):
        """The serial that the device was given, up to 20 characters."""
        buf = bytearray(20)
        self._command(_GET_ID, 0, [], [buf])
        return bytes(buf).split(b"\0")[0].decode()

    def discard(self, sector, count, timeout_ms=_TIMEOUT_MS):
        """Tell the device that these sectors are not needed; what they read as then is open."""
        if not self.has(13):
            raise OSError(errno.EOPNOTSUPP, "%s: DISCARD is not offered" % self.name)
        limits = self.config_u32(36), self.config_u32(40)
        self._ranges(_DISCARD, sector, count, 0, limits, timeout_ms)

    def write_zeroes(self, sector, count, unmap=False, timeout_ms=_TIMEOUT_MS):
        """Make these sectors read as zeroes; unmap: the device may give their storage back."""
        if not self.has(14):
            raise OSError(errno.EOPNOTSUPP, "%s: WRITE_ZEROES is not offered" % self.name)
        limits = self.config_u32(48), self.config_u32(52)
        self._ranges(_WRITE_ZEROES, sector, count, 1 if unmap else 0, limits, timeout_ms)

    def _ranges(self, kind, sector, count, flags, limits, timeout_ms):
        """Send a range as segments of struct virtio_blk_discard_write_zeroes, within the limits."""
        block = self.block_size >> 9
        if count <= 0 or sector % block or count % block:
            raise ValueError("%d sectors at %d are not whole blocks" % (count, sector))
        if sector < 0 or sector + count > self.capacity_sectors:
            self._beyond(sector, count)
        if self.readonly:
            raise OSError(errno.EIO, "%s: %s: read-only" % (self.name, _KINDS[kind]))
        most = limits[0] // block * block or count
        segments = max(1, min(limits[1], 256))
        while count:
            data = bytearray()
            while count and len(data) < 16 * segments:
                n = min(count, most, 0xFFFFFFFF // block * block)
                data.extend(struct.pack("<QII", sector, n, flags))
                sector += n
                count -= n
            self._command(kind, 0, [data], [], timeout_ms)

    @property
    def writeback(self):
        """Whether the device caches writes (CONFIG_WCE), else what FLUSH implies (5.2.5)."""
        return self.config_u8(32) != 0 if self.has(11) else self.has(9)

    @writeback.setter
    def writeback(self, on):
        if not self.has(11):
            raise OSError(errno.EOPNOTSUPP, "%s: CONFIG_WCE is not offered" % self.name)
        self.transport.set_config(32, 1, 1 if on else 0)

    def topology(self):
        """{'physical': bytes, 'offset': .., 'min_io': .., 'opt_io': ..}, None when not offered."""
        if not self.has(10):
            return None
        size = self.block_size
        return {
            "physical": size << self.config_u8(24),
            "offset": size * self.config_u8(25),
            "min_io": size * self.config_u16(26),
            "opt_io": size * self.config_u32(28),
        }

    def geometry(self):
        """(cylinders, heads, sectors), None when not offered."""
        if not self.has(4):
            return None
        return self.config_u16(16), self.config_u8(18), self.config_u8(19)

    # -- MicroPython's block protocol ----------------------------------------------------------

    def readblocks(self, block, buf, offset=0):
        """Read blocks from block on, or from offset bytes into it."""
        n = len(buf)
        size = self.block_size
        if offset == 0 and n % size == 0:
            self.read(block * (size >> 9), buf)
            return
        whole, skip, bounce = self._bounce(block, offset, n)
        self.read(whole * (size >> 9), bounce)
        buf[:] = memoryview(bounce)[skip : skip + n]

    def writeblocks(self, block, buf, offset=0):
        """Write blocks; with an offset or a part of a block, what is round it is read first."""
        n = len(buf)
        size = self.block_size
        if offset == 0 and n % size == 0:
            self.write(block * (size >> 9), buf)
            return
        whole, skip, bounce = self._bounce(block, offset, n)
        self.read(whole * (size >> 9), bounce)
        bounce[skip : skip + n] = buf
        self.write(whole * (size >> 9), bounce)

    def _bounce(self, block, offset, n):
        """(first whole block, offset in it, buffer for all blocks that n bytes touch)."""
        size = self.block_size
        block += offset // size
        skip = offset % size
        return block, skip, bytearray((skip + n + size - 1) // size * size)

    def ioctl(self, op, arg):
        """1 init, 2 deinit, 3 sync, 4 block count, 5 block size, 6 erase (nothing to do)."""
        if op == 3 or op == 2:
            self.flush()
            return 0
        if op == 4:
            self.poll_config()
            return self.capacity_sectors // (self.block_size >> 9)
        if op == 5:
            return self.block_size
        return 0 if op == 1 or op == 6 else None
