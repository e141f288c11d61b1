"""virtio-pmem (5.19): memory of the host's that keeps what is in it, as bytes and as a disk."""

import errno
import struct

from micropython import const

from .blockdev import BlockDevice
from .device import Device

_SHMEM_REGION = const(0)
_START = const(0)
_SIZE = const(8)
_TIMEOUT_MS = const(10000)


class PMem(BlockDevice, Device):
    """mem: all of it as a memoryview; what was written there is safe after flush(). A block device, too."""

    NAME = "pmem"
    IDS = (27,)
    FEATURES = 1 << _SHMEM_REGION
    FEATURE_NAMES = {0: "SHMEM_REGION"}
    block_size = 512
    readonly = False

    def probe(self):
        self._requestq = self.queue(0)
        if self.has(_SHMEM_REGION):
            region = self.transport.shm(0)
            if region is None:
                self.fail("SHMEM_REGION without a shared memory region 0")
            self.addr, self.size = region
        else:
            self.addr, self.size = self.config_u64(_START), self.config_u64(_SIZE)
        if not self.addr or not self.size or self.addr + self.size > 1 << 64:
            self.fail("no memory: %#x+%#x" % (self.addr, self.size))
        self.mem = _view(self.addr, self.size)

    def about(self):
        return "%#x+%#x" % (self.addr, self.size)

    @property
    def capacity_sectors(self):
        """Whole sectors of 512 bytes."""
        return self.size >> 9

    def flush(self, timeout_ms=_TIMEOUT_MS):
        """Return when all that was written is safe. Blocks; Ctrl-C safe. OSError: EIO, ETIMEDOUT."""
        self.check()
        answer = bytearray(b"\xff\xff\xff\xff")
        head = self._requestq.add((struct.pack("<I", 0),), (answer,))
        used = self._requestq.wait(head, timeout_ms)
        if used < 4:
            self.fail("flush: an answer of %d bytes, not 4" % used)
        result = struct.unpack("<I", answer)[0]
        if result:
            raise OSError(errno.EIO, "%s: flush: %#x" % (self.name, result))

    def read(self, sector, buf):
        """Whole sectors into buf. ValueError: not whole, or past the end."""
        at = self._place(sector, len(buf))
        memoryview(buf)[:] = self.mem[at : at + len(buf)]

    def write(self, sector, buf):
        """Whole sectors from buf; safe after flush(). ValueError: not whole, or past the end."""
        at = self._place(sector, len(buf))
        self.mem[at : at + len(buf)] = buf

    def _place(self, sector, n):
        self.check()
        if n % 512 or sector < 0 or sector * 512 + n > self.size & -512:
            raise ValueError("%s: %d bytes at sector %d of %d" % (self.name, n, sector, self.capacity_sectors))
        return sector * 512


def _view(addr, size):
    from uctypes import bytearray_at

    return memoryview(bytearray_at(addr, size))
