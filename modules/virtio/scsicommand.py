"""Commands of virtio-scsi on a request queue: started, waited for, tried again where that is right."""

import errno
import struct
import time

from micropython import const

from . import sense

_RETRIES = const(8)  # unit attentions and aborted commands in a row
_BUSY_MS = const(10)  # between tries of a unit that is busy
_CHECK_CONDITION = const(2)
_BUSY = const(8)
_TASK_SET_FULL = const(0x28)
_RESET = const(4)  # a response: the unit was reset while the command ran
_BUSY_RESPONSE = const(5)


def address(target, lun):
    """The 8 bytes of an address (5.6.6.1): 1, the target, the LUN in flat form."""
    return struct.pack(">BBHI", 1, target, lun | 0x4000, 0)


class Command:
    """A command under way, or its outcome: .response, .status, .sense (decoded, or None), .moved."""

    def __init__(self, place, lun, cdb, what):
        self.place = place  # a Unit, or what has its .name and .in_flight
        self.lun = lun
        self.cdb = cdb
        self.what = what
        self.number = 0
        self.head = -1
        self.finished = False
        self.lost = False  # nobody waits for it any more
        self.out = None
        self.into = None

    @property
    def size(self):
        """Bytes of data that it should move."""
        return len(self.out if self.out is not None else self.into if self.into is not None else b"")

    def decode(self, resp, sense_size):
        """Read the outcome from the response buffer."""
        self.finished = True
        sense_len, residual, _, self.status, self.response = struct.unpack_from("<IIHBB", resp)
        self.moved = self.size - min(residual, self.size)
        self.sense = None
        if self.response == 0 and self.status == _CHECK_CONDITION:
            self.sense = sense.decode(bytes(resp[12 : 12 + min(sense_len, sense_size)]))

    @property
    def good(self):
        """Whether it was done."""
        if self.response:
            return False
        key = self.sense[0] if self.sense else None
        return self.status == 0 or key == sense.NO_SENSE or key == sense.RECOVERED

    @property
    def busy(self):
        """Whether the unit wants to be asked again later."""
        return self.response == _BUSY_RESPONSE or not self.response and self.status in (_BUSY, _TASK_SET_FULL)

    def error(self):
        """The OSError for what it is."""
        return sense.error(self.place.name, self.what, self.response, self.status, self.sense)


class Commands:
    """The request queue of an adapter."""

    def __init__(self, device, queue):
        self.device = device
        self.queue = queue
        self._number = 0

    @property
    def depth(self):
        """Commands that a unit may have under way (5.6.4.2)."""
        return max(1, min(self.device.cmd_per_lun or 1, self.queue.size))

    def start(self, place, lun, cdb, out=None, into=None, what="command"):
        """Send a command with data to write or to read, or neither. Does not block.

        OSError(EAGAIN): the queue is full, or the unit has as many commands as it may.
        """
        device = self.device
        device.check()
        if place.in_flight >= self.depth:
            raise OSError(errno.EAGAIN, "%s: %d commands under way" % (place.name, place.in_flight))
        command = Command(place, lun, cdb, what)
        command.out, command.into = out, into
        self._number += 1
        command.number = self._number
        head = bytearray(19 + device.cdb_size)
        struct.pack_into("<8sQ", head, 0, lun, self._number)
        head[19 : 19 + len(cdb)] = cdb
        command.resp = bytearray(12 + device.sense_size)
        command.resp[11] = 0xFF
        readable = (head,) if out is None else (head, out)
        writable = (command.resp,) if into is None else (command.resp, into)
        command.head = self.queue.add(readable, writable)
        place.in_flight += 1
        self.queue.notify()
        return command

    def finish(self, command, timeout_ms):
        """Wait until it is done, well or not; the command with its outcome.

        OSError(ETIMEDOUT), and Ctrl-C: the device was told to abort it, and if that did not help
        it counts as under way until the adapter is reset.
        """
        try:
            self.queue.wait(command.head, timeout_ms)
        except BaseException:
            command.lost = True
            if self.device.abort(command):
                command.place.in_flight -= 1
            raise
        command.place.in_flight -= 1
        command.decode(command.resp, self.device.sense_size)
        if command.response == 0xFF:
            self.device.fail("%s: no response was written" % command.what)
        return command

    def run(self, place, lun, cdb, out=None, into=None, what="command", timeout_ms=5000, command=None):
        """Do a command, again if need be; the Command. OSError names what went wrong.

        command: one that was started before, with the same arguments.
        """
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        tries = 0
        while True:
            if command is None:
                command = self.start(place, lun, cdb, out, into, what)
            if not command.finished:
                left = time.ticks_diff(deadline, time.ticks_ms())
                self.finish(command, max(left, 1))
            if command.good:
                return command
            if not self._again(command, tries, deadline):
                raise command.error()
            tries += 1
            command = None

    def _again(self, command, tries, deadline):
        """Whether to try once more what failed."""
        if command.busy:
            if time.ticks_diff(deadline, time.ticks_ms()) <= _BUSY_MS:
                return False
            time.sleep_ms(_BUSY_MS)
            return True
        if tries >= _RETRIES:
            return False
        if command.sense and command.sense[0] == sense.UNIT_ATTENTION:
            return command.place.attention(command.sense[1])
        return command.response == _RESET

    def drop(self, command):
        """Let go of a started command whose outcome nobody wants."""
        if command.finished or command.lost:
            return
        try:
            self.finish(command, 0)
        except (OSError, ValueError):
            pass
