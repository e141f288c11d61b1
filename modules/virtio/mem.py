"""virtio-mem (5.15): memory that the host plugs in and takes out, block by block."""

import errno
import struct

from micropython import const

from .device import Device

_UNPLUGGED_INACCESSIBLE = const(1)

_BLOCK_SIZE = const(0)
_ADDR = const(16)
_REGION_SIZE = const(24)
_USABLE_REGION_SIZE = const(32)
_PLUGGED_SIZE = const(40)
_REQUESTED_SIZE = const(48)

_PLUG = const(0)
_UNPLUG = const(1)
_UNPLUG_ALL = const(2)
_STATE = const(3)
_REQUEST = "<HHHHQHHHH"  # type, padding, addr, nb_blocks, padding
_ANSWER_SIZE = const(10)  # type, padding, state
_MOST = const(0xFFFF)  # blocks in one request
_ANSWERS = ("ACK", "NACK", "BUSY", "ERROR")
_STATES = ("plugged", "unplugged", "mixed")
_TIMEOUT_MS = const(5000)


class Mem(Device):
    """adjust() plugs or unplugs what the host asks for; take() and give() use what is plugged.

    Memory that is not plugged is never touched, memory in use never unplugged.
    """

    NAME = "mem"
    IDS = (24,)
    FEATURES = 1 << _UNPLUGGED_INACCESSIBLE
    FEATURE_NAMES = {0: "ACPI_PXM", 1: "UNPLUGGED_INACCESSIBLE", 2: "PERSISTENT_SUSPEND"}

    def probe(self):
        self._requestq = self.queue(0)
        self.block_size = self.config_u64(_BLOCK_SIZE)
        self.addr = self.config_u64(_ADDR)
        self.region_size = self.config_u64(_REGION_SIZE)
        size = self.block_size
        if size < 1 or size & (size - 1) or self.addr % size or self.region_size % size:
            self.fail("blocks of %#x bytes in %#x+%#x" % (size, self.addr, self.region_size))
        self._plugged = set()  # numbers of blocks
        self._used = {}  # first block -> blocks

    def ready(self):
        """What an earlier driver left plugged goes back: nothing is known about it."""
        if self.config_u64(_PLUGGED_SIZE):
            self._request(_UNPLUG_ALL)

    def about(self):
        return "%d of %d blocks plugged" % (len(self._plugged), self.region_size // self.block_size)

    @property
    def plugged(self):
        """Bytes that are plugged."""
        return len(self._plugged) * self.block_size

    def wanted(self):
        """Bytes that the host wants us to have."""
        return self.config_u64(_REQUESTED_SIZE)

    def _usable(self):
        return min(self.config_u64(_USABLE_REGION_SIZE), self.region_size) // self.block_size

    def _request(self, kind, block=0, count=0):
        # The answer's bytes after its type. OSError: EAGAIN for BUSY, EIO for anything but ACK.
        self.check()
        addr = 0 if kind == _UNPLUG_ALL else self.addr + block * self.block_size
        answer = bytearray(b"\xff" * _ANSWER_SIZE)
        data = struct.pack(_REQUEST, kind, 0, 0, 0, addr, count, 0, 0, 0)
        used = self._requestq.wait(self._requestq.add((data,), (answer,)), _TIMEOUT_MS)
        code = struct.unpack_from("<H", answer)[0]
        if used < (_ANSWER_SIZE if kind == _STATE and not code else 2):
            self.fail("an answer of %d bytes" % used)
        if code:
            text = _ANSWERS[code] if code < len(_ANSWERS) else "answer %d" % code
            what = ("plug", "unplug", "unplug all", "state")[kind]
            number = errno.EAGAIN if code == 2 else errno.EIO
            raise OSError(number, "%s: %s %d blocks from %#x: %s" % (self.name, what, count, addr, text))
        return answer[8:]

    def state(self, block, count=1):
        """'plugged', 'unplugged' or 'mixed', as the device sees these blocks."""
        self._inside(block, count)
        found = struct.unpack("<H", self._request(_STATE, block, count))[0]
        if found >= len(_STATES):
            self.fail("state %d" % found)
        return _STATES[found]

    def plug(self, block, count=1):
        """Plug blocks, which are zeroed. OSError: EAGAIN, the device is busy; EIO, it refuses."""
        self._inside(block, count)
        if block + count > self._usable() or self.plugged + count * self.block_size > self.wanted():
            raise ValueError("%s: %d blocks from %d are more than the host allows" % (self.name, count, block))
        if any([n in self._plugged for n in range(block, block + count)]):
            raise ValueError("%s: some of %d blocks from %d are plugged" % (self.name, count, block))
        self._request(_PLUG, block, count)
        self._plugged.update(range(block, block + count))
        zeros = bytes(min(self.block_size, 65536))
        view = _view(self.addr + block * self.block_size, count * self.block_size)
        for at in range(0, len(view), len(zeros)):
            view[at : at + len(zeros)] = zeros

    def unplug(self, block, count=1):
        """Unplug blocks; what is in them is lost. ValueError: some are in use or not plugged."""
        self._inside(block, count)
        blocks = range(block, block + count)
        if not all([n in self._plugged for n in blocks]) or any([self._in_use(n) for n in blocks]):
            raise ValueError("%s: some of %d blocks from %d are in use or not plugged" % (self.name, count, block))
        self._plugged.difference_update(blocks)  # not touched any more, whatever the answer
        try:
            self._request(_UNPLUG, block, count)
        except OSError as er:
            if self.error is None and er.errno != errno.ETIMEDOUT:
                self._plugged.update(blocks)
            raise

    def _inside(self, block, count):
        self.check()
        if block < 0 or not 0 < count <= _MOST or block + count > self.region_size // self.block_size:
            raise ValueError("%s: there are no %d blocks from %d" % (self.name, count, block))

    def _in_use(self, block):
        return any([first <= block < first + count for first, count in self._used.items()])

    def adjust(self):
        """Plug or unplug towards what the host wants, as far as it goes; the bytes plugged.

        Memory in use stays. OSError(EAGAIN): the device is busy, try again later.
        """
        self.check()
        goal = self.wanted() // self.block_size
        for block in range(self._usable()):
            if len(self._plugged) >= goal:
                break
            if block not in self._plugged:
                self.plug(block)
        for block in sorted(self._plugged, reverse=True):
            if len(self._plugged) <= goal:
                break
            if not self._in_use(block):
                self.unplug(block)
        return self.plugged

    def take(self, count=1):
        """(address, memoryview) of so many blocks in a row that nobody uses. OSError(ENOMEM)."""
        self.check()
        for block in sorted(self._plugged):
            if all([n in self._plugged and not self._in_use(n) for n in range(block, block + count)]):
                self._used[block] = count
                addr = self.addr + block * self.block_size
                return addr, _view(addr, count * self.block_size)
        raise OSError(errno.ENOMEM, "%s: no %d plugged blocks in a row are free" % (self.name, count))

    def give(self, addr):
        """What take() gave is not in use any more."""
        del self._used[(addr - self.addr) // self.block_size]


def _view(addr, size):
    from uctypes import bytearray_at

    return memoryview(bytearray_at(addr, size))
