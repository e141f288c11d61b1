"""One virtqueue of a disk: batches of reads and writes, posted as slots get free, and their ends."""

import errno
import struct
import time

import micropython
import riscv
from machine import mem32
from micropython import const

from . import blkring, ring
from .blkrequest import Request, failure
from .dma import Area

_IN = const(0)
_OUT = const(1)

_SLOTS = const(128)
_TAGS = const(256)  # batches alive at a time
_SPINS = const(20000)  # looks at used.idx in one viper call: a fraction of a millisecond
_CHECK = const(63)  # after so many of them (plus 1) in vain, look at the status register
_OVERRUN = const(0x10000)
_CHUNK = const(64)  # longer batches are staged in such chunks, while the device works on the one before


class Engine:
    """The request slots of a virtqueue, and what is under way in them."""

    def __init__(self, device, vq):
        """device: the Blk; vq: its queue, with everything still free."""
        self.device = device
        self.vq = vq
        self.st = vq.st
        self.publish = vq._publish
        self.reap = vq._reap
        self._old = []
        self.requests = {}  # tag -> Request
        self._tags = []  # free ones below _next_tag
        self._next_tag = 0
        self._waiting = []  # requests with pieces that are not posted yet
        self._feeding = self._again = False
        self._pool = []  # Requests of blocking calls that are over, for the next ones
        self._kept = [None] * _TAGS  # tag -> buffer of a single() under way
        self._make_slots(vq)
        self.segment = self.piece = self.top = 0

    def _make_slots(self, vq):
        """Take descriptors for the slots: three each, or one and an indirect table."""
        size = vq.size
        indirect = vq.indirect and size < 3 * 32
        per_slot = 1 if indirect else 3
        spare = min(1 if vq.indirect else 128, size // 4)
        slots = min(_SLOTS, (size - spare) // per_slot) if indirect or size >= 16 else 0
        records = (blkring.HEADER_SIZE + 4 * size + 15) & ~15
        tags = records + blkring.RECORD_SIZE * size
        self._memory = area = Area(tags + 8 * _TAGS)
        self.bk = area.addr
        self._records = records
        struct.pack_into("<IIQQ", area.buf, 0, 0, indirect, area.addr + records, area.addr + tags)
        if slots:
            blkring.setup(vq.st, self.bk, ring.take(vq.st, slots * per_slot), slots)
        pool = self._pool
        bound = pool, pool.pop, pool.append, self._waiting, self._kept, len, riscv.addr, blkring.single, blkring.finish
        self._bound = bound + (self.publish, self.st, self.bk)  # for single(): looking names up costs more than it does
        self.slots = slots
        self.longest = size if vq.indirect else vq.num_free  # descriptors of a chain beside them

    def reset(self, size=None):
        """Reset the queue alone (RING_RESET); requests in flight end with EIO. Like Virtqueue.reset()."""
        self.vq.reset(size)
        self._waiting = []
        for tag, req in self.requests.items():
            if blkring.left(self.bk, tag):
                req.error = OSError(errno.EIO, "%s: queue was reset: %s" % (self.device.name, req.what()))
                blkring.begin(self.bk, tag, 0)
        self._old.append(self._memory)  # some call may still look there
        self._make_slots(self.vq)
        self.set_capacity(self.top)

    def set_limits(self, capacity, block_size, segment, piece):
        """capacity in sectors; segment, piece: most bytes of a data segment, of one request."""
        self.block_size = block_size
        self.segment = segment
        self.piece = piece
        self.set_capacity(capacity)

    def set_capacity(self, sectors):
        self.top = sectors
        blkring.limits(self.bk, sectors, self.block_size, self.segment if self.slots else 0)

    # -- starting ---------------------------------------------------------------------------

    def run(self, kind, pieces, depth, timeout_ms):
        """Do a batch and wait for it.

        ValueError and TypeError come before the device sees any of it, but for reads of more than
        64 pieces: those begin while the later pieces are still being looked at.
        """
        if not self.vq.live:
            self.device.check()
        if depth < 1:
            raise ValueError("%s: depth %d" % (self.device.name, depth))
        n = len(pieces)
        step = n
        if n > _CHUNK:
            step = _CHUNK
            if kind == _OUT:
                for sector, buf in pieces:
                    self.check(sector, len(buf))
        flying = []
        error = None
        try:
            for i in range(0, n, step):
                if len(flying) > depth // _CHUNK + 1:
                    error = self._conclude(flying, timeout_ms) or error
                req = self._spare() or self._pooled()
                flying.append(req)
                self._start(req, kind, pieces if step == n else pieces[i : i + step], depth)
            while flying:
                error = self._conclude(flying, timeout_ms) or error
        except BaseException:
            for req in flying:
                self._abandon(req)
            raise
        if error is not None:
            raise error

    @micropython.native
    def _spare(self):
        return self._pool.pop() if self._pool else None

    def _pooled(self):
        req = self._request()
        req.kept = True
        req.table = Area(blkring.PIECE_SIZE * _CHUNK)
        return req

    def _conclude(self, flying, timeout_ms):
        """Wait for the oldest Request of a blocking call, keep it for the next one; its error."""
        req = flying[0]
        self.finish(req, timeout_ms)
        error = req.error
        req.error = None
        req.pieces = ()
        flying.pop(0)
        self._pool.append(req)
        return error

    @micropython.native
    def single(self, kind, sector, buf, timeout_ms):
        """Like run() for one piece: the common case in as few steps as possible."""
        pool, take, put, waiting, kept, size, addr_of, begin, end, publish, st, bk = self._bound
        n = size(buf)
        addr = addr_of(buf, kind == 0)
        if not pool or waiting or sector > self.top:
            return self.run(kind, ((sector, buf),), _SLOTS, timeout_ms)
        own = take()
        tag = own.tag
        kept[tag] = buf
        if begin(st, bk, own.table.addr, kind, sector, addr, n, tag):
            kept[tag] = None
            put(own)
            return self.run(kind, ((sector, buf),), _SLOTS, timeout_ms)
        publish(st)
        if self.reap(st, _SPINS) != 1 or end(st, bk, tag):
            return self._linger(own, kind, sector, timeout_ms)
        kept[tag] = None
        put(own)

    def _linger(self, req, kind, sector, timeout_ms):
        """The rest of single() when the answer is not there at once, or is no good one."""
        try:
            req.kind = kind
            req.count = 1
            req.pieces = ((sector, self._kept[req.tag]),)
            self._kept[req.tag] = None
            error = self._conclude([req], timeout_ms)
        except BaseException:
            self._abandon(req)
            raise
        if error is not None:
            raise error

    def submit(self, kind, pieces, depth):
        """Start a batch; its Request."""
        self.device.check()
        req = self._request()
        try:
            self._start(req, kind, pieces, depth)
        except BaseException:
            self._abandon(req)
            raise
        return req

    def _request(self):
        """A new Request with a tag of its own. OSError(EAGAIN): too many are alive."""
        if len(self.requests) > _TAGS // 2:
            self.sweep()
        req = Request(self)
        if not self._tag(req):
            raise OSError(errno.EAGAIN, "%s: %d requests in flight" % (self.device.name, _TAGS))
        return req

    @micropython.native
    def _tag(self, req):
        """Give a new Request its tag; False: there is none left."""
        if self._tags:
            req.tag = self._tags.pop()
        elif self._next_tag < _TAGS:
            req.tag = self._next_tag
            self._next_tag += 1
        else:
            return False
        self.requests[req.tag] = req
        return True

    @micropython.native
    def _start(self, req, kind, pieces, depth):
        """Check the pieces, post what there is room for, notify."""
        n = len(pieces)
        bk = self.bk
        tag = req.tag
        blkring.begin(bk, tag, n)
        table = req.table
        if table is None or table.size < n * 24:
            req.table = table = Area(n * 24)
        req.kind = kind
        req.pieces = pieces
        req.count = n
        req.depth = depth
        req.long = False
        bits = self._stage(table, pieces, kind == 0)
        if bits:
            self._restage(req, bits)
        elif not self._waiting:
            n -= blkring.feed(self.st, bk, table.addr, n, kind, tag, depth)
            self.publish(self.st)
            if n == 0:
                return
        self._waiting.append(req)
        if req.long or self._hungry():
            self._feed()

    @micropython.native
    def _stage(self, table, pieces, reads):
        """Write the table; the bits of blkring.stage() over all pieces."""
        try:
            riscv.spans(table.buf, pieces, reads)
        except OverflowError:
            return 2  # no disk has such a sector
        return blkring.stage(self.bk, table.addr, len(pieces))

    def _restage(self, req, bits):
        """Something is odd: say what the caller did wrong, or cut what is too long for one request."""
        if bits & 3:
            for sector, buf in req.pieces:
                self.check(sector, len(buf))
        pieces = []
        most = self.piece
        for sector, buf in req.pieces:
            view = memoryview(buf)
            for off in range(0, len(buf), most):
                pieces.append((sector + off // 512, view[off : off + most]))
        req.pieces = pieces
        req.count = n = len(pieces)
        req.table = Area(n * blkring.PIECE_SIZE)
        req.long = self._stage(req.table, pieces, req.kind == _IN) != 0
        blkring.begin(self.bk, req.tag, n)

    def check(self, sector, n):
        """ValueError unless n bytes at sector are whole blocks of the disk."""
        block = self.block_size
        if n <= 0 or n % block or sector * 512 % block:
            raise ValueError("%d bytes at sector %d are not whole blocks" % (n, sector))
        if sector < 0 or sector + n // 512 > self.top:
            self.device.poll_config()  # it may have grown
            if sector < 0 or sector + n // 512 > self.top:
                raise ValueError("%s: sectors %d+%d of %d" % (self.device.name, sector, n // 512, self.top))

    # -- posting ----------------------------------------------------------------------------

    def _feed(self):
        """Post what waits, in order, as far as there are slots, and notify once."""
        if self._feeding:
            self._again = True  # the call that this one has interrupted looks once more
            return
        self._feeding = True
        self._again = False
        try:
            while self._waiting and self._feed_one(self._waiting[0]):
                self._waiting.pop(0)
        finally:
            self._feeding = False
        self.vq.notify()
        if self._again:
            self._feed()

    def _feed_one(self, req):
        """Post pieces of one request; True when none is left over."""
        st = self.st
        bk = self.bk
        n = req.count
        tag = req.tag
        table = req.table.addr
        if not req.long:
            return blkring.feed(st, bk, table, n, req.kind, tag, req.depth) == n
        while True:
            i = blkring.posted(bk, tag)
            if i >= n:
                return True
            sector, buf = req.pieces[i]
            if self.slots and len(buf) <= self.segment:
                if blkring.feed(st, bk, table, i + 1, req.kind, tag, req.depth) == i:
                    return False
            elif self.vq.in_flight >= req.depth or not self.chain(req, sector, *self._cut(req.kind, buf)):
                return False

    def _cut(self, kind, buf):
        """(readable, writable) segments for a buffer that does not fit into one."""
        addr = riscv.addr(buf)
        most = self.segment
        n = len(buf)
        segments = [(addr + off, min(most, n - off)) for off in range(0, n, most)]
        return (segments, []) if kind == _OUT else ([], segments)

    def chain(self, req, sector, readable, writable):
        """Put a request that fits no slot; False when the queue is full."""
        area = Area(32)
        struct.pack_into("<IIQ", area.buf, 0, req.kind, 0, sector)
        area.buf[16] = 0xFF
        readable = [(area.addr, 16)] + readable
        writable = writable + [(area.addr + 16, 1)]
        blkring.count(self.bk, req.tag, 1, 0)
        try:
            self.vq.add(readable, writable, (req, area))
        except OSError as er:
            blkring.count(self.bk, req.tag, -1, 0)
            if er.errno == errno.EAGAIN:
                return False
            raise
        return True

    def command(self, kind, sector, readable, writable, timeout_ms):
        """One request of another kind, waited for."""
        req = self._request()
        req.kind = kind
        req.pieces = (readable, writable)
        req.count = 1
        blkring.begin(self.bk, req.tag, 1)
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        try:
            while not self.chain(req, sector, readable, writable):
                if not self.vq.poll(deadline):
                    self.timed_out(req, timeout_ms)
                self.pump()
            self.vq.notify()
            self.finish(req, timeout_ms)
        except BaseException:
            self._abandon(req)
            raise
        self.forget(req)
        if req.error is not None:
            raise req.error

    # -- finishing ---------------------------------------------------------------------------

    def finish(self, req, timeout_ms):
        """Wait until a request is over; a look every fraction of a millisecond, Ctrl-C in between."""
        st = self.st
        bk = self.bk
        deadline = None
        rounds = 0
        if not self.vq.live:
            self.left(req)
        self.publish(st)  # in case Ctrl-C came before that was done
        while True:
            n = self.reap(st, _SPINS)
            left = blkring.finish(st, bk, req.tag)
            if left < 0 or n >= _OVERRUN:
                left = self._settle(n, req)
            if left == 0:
                break
            if n or deadline is None:
                deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
            elif time.ticks_diff(deadline, time.ticks_ms()) <= 0 and blkring.left(bk, req.tag):
                self.timed_out(req, timeout_ms)
            if self._hungry():
                self._feed()
            rounds += 1
            if rounds & _CHECK == 0:
                self.device.check_status()
        req.over = True

    @micropython.native
    def _hungry(self):
        """Whether something waits and posting is worth a notification: half of the slots, or of the depth, is free."""
        if not self._waiting:
            return False
        return mem32[self.st + 56] * 2 <= self._waiting[0].depth or mem32[self.bk] * 2 >= self.slots

    def pump(self):
        """Take what the device has finished and post what waits. Never blocks."""
        self.device.check()
        n = self.reap(self.st, 1)
        if blkring.finish(self.st, self.bk, 0) < 0 or n >= _OVERRUN:
            self._settle(n, None)
        if self._waiting:
            self._feed()

    def _settle(self, n, req):
        """Go through what blkring.finish() left for Python; what is left of req."""
        while self._complete():
            blkring.finish(self.st, self.bk, 0)
        if n >= _OVERRUN:
            self.vq.overrun()
        return blkring.left(self.bk, req.tag) if req is not None else 0

    @micropython.native
    def _complete(self):
        """Finish the first used chain: it is no slot, or its request failed. False: there is none."""
        vq = self.vq
        st = self.st
        head = ring.first(st, 0)
        if head < 0:
            return False
        used = ring.state(st, head)
        slot = ring.fixed(st, head)
        if slot:
            at = self._records + blkring.RECORD_SIZE * head + blkring.HEADER
            words = struct.unpack_from("<IIQIII", self._memory.buf, at)
            req = self.requests.get(words[4])
        else:
            token = vq._inflight[head][0]
            if token is None:
                vq.release(head)
                return True
            req, area = token
            words = struct.unpack_from("<IIQI", area.buf, 0)
        status = words[3] & 0xFF
        short = used < ring.writable(st, head) and not self.device.transport.legacy
        if (status or short) and req is not None and req.error is None:
            req.error = failure(self.device.name, words, status, used)
        if slot:
            blkring.retire(st, self.bk, head)
        else:
            vq.release(head)
            blkring.count(self.bk, req.tag, 0, -1)
        return True

    def timed_out(self, req, timeout_ms):
        self.device.check_status()
        text = "%s: %s: no answer in %d ms" % (self.device.name, req.what(), timeout_ms)
        raise OSError(errno.ETIMEDOUT, text)

    # -- accounts -------------------------------------------------------------------------------

    def left(self, req):
        """Pieces of a request that are not finished. OSError: the device was reset meanwhile."""
        if not self.vq.live:
            self.device.check()
            raise OSError(errno.EIO, "%s: reset while the request was in flight" % self.device.name)
        return blkring.left(self.bk, req.tag)

    @micropython.native
    def forget(self, req):
        """The tag is free for another request."""
        if self.requests.get(req.tag) is req:
            del self.requests[req.tag]
            self._tags.append(req.tag)

    def _abandon(self, req):
        """Nobody will wait for it; it keeps its buffers until the device is done with them."""
        req.kept = False
        if req in self._waiting:
            self._waiting.remove(req)
        if blkring.posted(self.bk, req.tag) == 0:
            self.forget(req)

    def sweep(self):
        """Forget requests that are over though nobody waited for them to the end."""
        self.pump()
        idle = self.vq.in_flight == 0 and not self._waiting
        for req in list(self.requests.values()):
            if not req.kept and (idle or blkring.left(self.bk, req.tag) == 0):
                req.over = True
                self.forget(req)
