"""virtio-blk (5.2): block requests, many in flight, straight into the caller's memory."""

import errno
import struct

import micropython
from micropython import const

from .blkqueue import Engine
from .blkzone import Zones
from .blockdev import BlockDevice
from .device import Device
from .transport import DeviceError

_IN = const(0)
_OUT = const(1)
_FLUSH = const(4)
_GET_ID = const(8)
_GET_LIFETIME = const(10)
_DISCARD = const(11)
_WRITE_ZEROES = const(13)
_SECURE_ERASE = const(14)

_MAX_BYTES = const(1 << 30)  # of one request: a length field has 32 bits, QEMU's own limit is 2^31
_SIZE = const(512)  # queue size asked for
_DEPTH = const(128)
_TIMEOUT_MS = const(5000)

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


class Blk(BlockDevice, Device):
    """A virtio disk. Sectors have 512 bytes, blocks .block_size; buffers are used in place."""

    NAME = "blk"
    IDS = (2,)
    FEATURES = 0x3FE76  # SIZE_MAX SEG_MAX GEOMETRY RO BLK_SIZE FLUSH TOPOLOGY CONFIG_WCE MQ .. ZONED
    FEATURE_NAMES = _FEATURES
    LIVE = ("engine", "engines", "_single")
    QUEUES = 1  # most queues that are set up; set it before open() for more

    def about(self):
        return "%d sectors%s" % (self.capacity_sectors, " ro" if self.readonly else "")

    # -- start -------------------------------------------------------------------------

    def choose(self, features):
        """A host-managed zoned disk needs ZONED and goes without DISCARD (5.2.5.1).

        The slots of blkring.py stay where they are in a split ring, which IN_ORDER forbids (2.7.5).
        """
        if self.offered >> 17 & 1:
            model = self.config_u8(92)
            if model > 2 or model == 1 and not features >> 17 & 1:
                raise DeviceError("%s: zones of model %d are not supported" % (self.name, model))
            if model == 1:
                features &= ~(1 << 13)
        if self.QUEUES < 2:
            features &= ~(1 << 12)
        return features if features >> 34 & 1 else features & ~(1 << 35)

    def probe(self):
        self._writeback = None  # what was asked for
        count = min(self.config_u16(34), self.QUEUES) if self.has(12) else 1
        self.engines = []
        for i in range(max(1, count)):
            vq = self.queue(i, _SIZE)
            if vq.size < 3:
                raise DeviceError("%s: a queue of %d cannot hold a request" % (self.name, vq.size))
            self.engines.append(Engine(self, vq))
        self.engine = self.engines[0]
        self.vq = self.engine.vq
        self._single = self.engine.single  # a name less to look for in read()
        self._turn = 0
        self._read_config()
        self.zones = Zones(self) if self.has(17) and self.config_u8(92) else None

    def _read_config(self):
        """Read the fields that were negotiated (2.5.1)."""
        has = self.has
        self.capacity_sectors = self.config_u64(0)
        self.readonly = has(5)
        self.block_size = size = self.config_u32(20) if has(6) else 512
        if size < 512 or size & (size - 1):
            raise DeviceError("%s: block size %d" % (self.name, size))
        size_max = self.config_u32(8) if has(1) else 0
        segment = min(size_max or _MAX_BYTES, _MAX_BYTES)
        segments = max(1, min(self.config_u32(12) if has(2) else 1, self.engine.longest - 2))
        piece = min(segment * segments, _MAX_BYTES) // size * size
        if piece == 0:
            raise DeviceError("%s: size_max %d is less than a block" % (self.name, size_max))
        for engine in self.engines:
            engine.set_limits(self.capacity_sectors, size, segment, piece)

    def config_changed(self):
        """The disk was resized: take the new capacity."""
        self.capacity_sectors = self.config_u64(0)
        for engine in self.engines:
            engine.set_capacity(self.capacity_sectors)

    # -- requests ---------------------------------------------------------------------------

    @micropython.native
    def read(self, sector, buf, timeout_ms=_TIMEOUT_MS):
        """Read whole sectors into buf; blocks, polls, Ctrl-C safe.

        sector: first 512-byte sector.  buf: writable, a non-zero multiple of .block_size long.
        ValueError: bad length or place.  OSError: EIO, ETIMEDOUT (buf stays in use until the
        device answers or is reset).  virtio 5.2.6; needs DRIVER_OK.
        """
        self._single(_IN, sector, buf, timeout_ms)

    def write(self, sector, buf, timeout_ms=_TIMEOUT_MS):
        """Write buf to whole sectors; otherwise like read(). EIO on a read-only disk."""
        self._check_write("write sector %d", sector)
        if self.zones is not None:
            self.zones.check(((sector, buf),))
        self._single(_OUT, sector, buf, timeout_ms)

    def _queue(self, queue):
        # The engine of that queue, or of the one whose turn it is.
        self.check()
        if queue is None:
            queue = self._turn
            self._turn = (queue + 1) % len(self.engines)
        elif not 0 <= queue < len(self.engines):
            raise ValueError("%s: queue %d of %d" % (self.name, queue, len(self.engines)))
        return self.engines[queue]

    def read_many(self, pieces, timeout_ms=_TIMEOUT_MS, depth=_DEPTH, queue=None):
        """Read [(sector, buf), ...], as many at once as the queue holds, depth at most.

        The pieces may complete in any order. timeout_ms: without any progress. queue: of .engines,
        else they take turns.
        """
        if pieces:
            self._queue(queue).run(_IN, pieces, depth, timeout_ms)

    def write_many(self, pieces, timeout_ms=_TIMEOUT_MS, depth=_DEPTH, queue=None):
        """Write [(sector, buf), ...]; like read_many()."""
        if pieces:
            self._check_write("write sector %d", pieces[0][0])
            if self.zones is not None:
                self.zones.check(pieces)
            self._queue(queue).run(_OUT, pieces, depth, timeout_ms)

    def submit(self, what, sector, buf, queue=None):
        """Start reading ('r') or writing ('w') sectors; a Request to wait for. Does not block."""
        if what == "r":
            return self._queue(queue).submit(_IN, ((sector, buf),), _DEPTH)
        if what != "w":
            raise ValueError("'r' or 'w', not %r" % (what,))
        self._check_write("write sector %d", sector)
        if self.zones is not None:
            self.zones.check(((sector, buf),))
        return self._queue(queue).submit(_OUT, ((sector, buf),), _DEPTH)

    def _check_write(self, what, sector):
        self.check()
        if self.readonly:
            raise OSError(errno.EIO, "%s: %s: read-only" % (self.name, what % sector))

    def on_interrupt(self):
        for engine in self.engines:
            engine.pump()

    # -- other commands ------------------------------------------------------------------------

    def command(self, kind, sector, readable, writable, timeout_ms=_TIMEOUT_MS):
        """One request of a type that has no method here; waits for it (5.2.6)."""
        self.check()
        self.engine.command(kind, sector, readable, writable, timeout_ms)

    def flush(self, timeout_ms=_TIMEOUT_MS):
        """Make all finished writes durable; nothing to do where FLUSH was not offered (5.2.6.2)."""
        self.check()
        if self.has(9):
            self.command(_FLUSH, 0, [], [], timeout_ms)

    def id(self):
        """The serial that the device was given, up to 20 characters."""
        buf = bytearray(20)
        self.command(_GET_ID, 0, [], [buf])
        return bytes(buf).split(b"\0")[0].decode()

    def lifetime(self):
        """How worn the device says it is: (end of life 0-3, type A, type B in tenths), 5.2.6."""
        self._need(15)
        buf = bytearray(6)
        self.command(_GET_LIFETIME, 0, [], [buf])
        return struct.unpack("<HHH", buf)

    def _need(self, bit):
        if not self.has(bit):
            raise OSError(errno.EOPNOTSUPP, "%s: %s is not offered" % (self.name, _FEATURES[bit]))

    def secure_erase(self, sector, count, timeout_ms=_TIMEOUT_MS):
        """Make sure that nobody can read what these sectors held, copies included."""
        self._need(16)
        limits = self.config_u32(60), self.config_u32(64)
        self._ranges(_SECURE_ERASE, sector, count, 0, limits, timeout_ms)

    def discard(self, sector, count, timeout_ms=_TIMEOUT_MS):
        """Tell the device that these sectors are not needed; what they read as then is open."""
        self._need(13)
        limits = self.config_u32(36), self.config_u32(40)
        self._ranges(_DISCARD, sector, count, 0, limits, timeout_ms)

    def write_zeroes(self, sector, count, unmap=False, timeout_ms=_TIMEOUT_MS):
        """Make these sectors read as zeroes; unmap: the device may give their storage back."""
        self._need(14)
        limits = self.config_u32(48), self.config_u32(52)
        self._ranges(_WRITE_ZEROES, sector, count, 1 if unmap else 0, limits, timeout_ms)

    def _ranges(self, kind, sector, count, flags, limits, timeout_ms):
        """Send a range as segments of struct virtio_blk_discard_write_zeroes, within the limits."""
        block = self.block_size >> 9
        self.engine.check(sector, count * 512)
        self._check_write("discard or zeroes at sector %d", sector)
        most = limits[0] // block * block or count
        segments = max(1, min(limits[1], 256))
        while count:
            data = bytearray()
            while count and len(data) < 16 * segments:
                n = min(count, most, 0xFFFFFFFF // block * block)
                data.extend(struct.pack("<QII", sector, n, flags))
                sector += n
                count -= n
            self.command(kind, 0, [data], [], timeout_ms)

    @property
    def writeback(self):
        """Whether the device caches writes (CONFIG_WCE), else what FLUSH implies (5.2.5)."""
        return self.config_u8(32) != 0 if self.has(11) else self.has(9)

    @writeback.setter
    def writeback(self, on):
        self._need(11)
        self.transport.set_config(32, 1, 1 if on else 0)
        self._writeback = on

    def save(self):
        return self._writeback

    def restore(self, state):
        if state is not None:
            self.writeback = state

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
        self.check()
        BlockDevice.readblocks(self, block, buf, offset)

    def writeblocks(self, block, buf, offset=0):
        """Write blocks; with an offset or a part of a block, what is round it is read first."""
        self.check()
        BlockDevice.writeblocks(self, block, buf, offset)

    def ioctl(self, op, arg):
        """As BlockDevice.ioctl(); the count of blocks is the device's latest."""
        if op == 4:
            self.poll_config()
        return BlockDevice.ioctl(self, op, arg)
