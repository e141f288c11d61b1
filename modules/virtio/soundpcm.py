"""PCM streams of virtio-sound (5.14.6.6, 5.14.6.8): to play with, to record with."""

import errno
import io
import struct
import time

from micropython import const

from .dma import Area

_TXQ = const(2)
_RXQ = const(3)

_SET_PARAMS = const(0x101)
_PREPARE = const(0x102)
_RELEASE = const(0x103)
_START = const(0x104)
_STOP = const(0x105)

_OK = const(0x8000)
_STATUS = ("OK", "BAD_MSG", "NOT_SUPP", "IO_ERR")
DIRECTIONS = ("out", "in")

_EVT_XRUNS = const(4)  # the one stream feature that is of use here
_STATUS_SIZE = const(8)

_FORMATS = (
    "IMA_ADPCM MU_LAW A_LAW S8 U8 S16 U16 S18_3 U18_3 S20_3 U20_3 S24_3 U24_3 S20 U20 S24 U24 S32 U32"
    " FLOAT FLOAT64 DSD_U8 DSD_U16 DSD_U32 IEC958_SUBFRAME"
)
_BYTES = b"\0\1\1\1\1\2\2\3\3\3\3\3\3\4\4\4\4\4\4\4\x08\1\2\4\4"  # of a sample in each of them
_RATES = (5512, 8000, 11025, 16000, 22050, 32000, 44100, 48000, 64000, 88200, 96000, 176400, 192000, 384000)
_IOCTL_POLL = const(3)
_POLL_RD = const(1)
_POLL_WR = const(4)
_POLL_NVAL = const(0x20)


class Stream(io.IOBase):
    """A PCM stream, .direction 'out' or 'in': setup(), then write(), or start() and read().

    .formats ('S16'), .rates (Hz) and .channels (least, most) are what it can do, .xruns counts
    the gaps that the device told of, .latency is in bytes.
    """

    def __init__(self, device, number, data):
        self._device = device
        self.number = number
        node, self.features, formats, rates, direction, least, most = struct.unpack_from("<IIQQ3B", data)
        self.direction = DIRECTIONS[direction & 1]
        names = _FORMATS.split()
        self.formats = [names[n] for n in range(len(names)) if formats >> n & 1]
        self.rates = [_RATES[n] for n in range(len(_RATES)) if rates >> n & 1]
        self.channels = (least, most)
        self.state = "idle"  # ready once prepared, running, stopped
        self.timeout_ms = 5000
        self.xruns = self.latency = 0
        self._header = struct.pack("<I", number)

    def __repr__(self):
        return "<stream %d %s %s>" % (self.number, self.direction, self.state)

    # -- commands (5.14.6.6) ------------------------------------------------------------------

    def _command(self, what, code, form="", *values):
        self._device.command("stream %d: %s" % (self.number, what), code, "I" + form, self.number, *values)

    def _must_be(self, *states):
        self._device.check()
        if self._device.streams[self.number : self.number + 1] != [self]:
            raise ValueError("stream %d: its device was closed meanwhile" % self.number)
        if self.state not in states:
            raise ValueError("%s: stream %d is %s" % (self._device.name, self.number, self.state))

    def setup(self, rate=48000, channels=2, form="S16", frames=1024, periods=4):
        """Choose the parameters and prepare the stream; `frames` of each channel make a period.

        ValueError: the stream does not list one of them. OSError: EIO.
        """
        self._must_be("idle")
        size = self._check(rate, channels, form)
        if frames <= 0 or periods < 2:
            raise ValueError("periods of %d frames, %d of them: 1 and 2 at least" % (frames, periods))
        self.frame = size * channels
        self.period = self.frame * frames
        features = self.features & 1 << _EVT_XRUNS
        numbers = (channels, _FORMATS.split().index(form), _RATES.index(rate), 0)
        self._command("set parameters", _SET_PARAMS, "III4B", self.period * periods, self.period, features, *numbers)
        self._command("prepare", _PREPARE)
        self._memory = Area((self.period + _STATUS_SIZE) * periods)
        self._free = list(range(periods))
        self._flying = 0
        self._full = []  # (buffer, length) of an input stream that nobody has read
        self._at = 0  # how far the buffer in hand is filled, or read
        self._error = None
        self.state = "ready"

    def _check(self, rate, channels, form):
        """Bytes of a sample, if the stream can do all that."""
        if rate not in self.rates:
            raise ValueError("stream %d: %r Hz is none of %r" % (self.number, rate, self.rates))
        if form not in self.formats or not _BYTES[_FORMATS.split().index(form)]:
            raise ValueError("stream %d: format %r is none of %r" % (self.number, form, self.formats))
        if not self.channels[0] <= channels <= self.channels[1]:
            raise ValueError("stream %d: %d channels, %d to %d can be" % ((self.number, channels) + self.channels))
        return _BYTES[_FORMATS.split().index(form)]

    def start(self):
        """Let it run. An input stream gets its buffers first; an output stream starts by itself."""
        self._must_be("ready", "stopped")
        if self.direction == "in":
            while self._free:
                self._submit(self._free.pop(0), self.period)
        self._command("start", _START)
        self.state = "running"

    def stop(self):
        """Halt; start() goes on."""
        self._must_be("running")
        self._command("stop", _STOP)
        self.state = "stopped"

    def close(self):
        """Stop and give the stream back; the device returns all buffers. Harmless when idle."""
        if self.state == "idle":
            return
        self._must_be("ready", "running", "stopped")
        if self.state == "running":
            self.stop()
        self._command("release", _RELEASE)
        self._wait(lambda: not self._flying, "release")
        self.state = "idle"

    # -- buffers (5.14.6.8) -------------------------------------------------------------------

    def _buffer(self, i):
        """(samples, status) of period i."""
        start = i * (self.period + _STATUS_SIZE)
        return self._memory.buf[start : start + self.period], self._memory.buf[start + self.period :][:_STATUS_SIZE]

    def _submit(self, i, size):
        samples, status = self._buffer(i)
        status[:] = b"\xff" * _STATUS_SIZE
        queue = self._device.queues[_TXQ if self.direction == "out" else _RXQ]
        if self.direction == "out":
            queue.add((self._header, samples[:size]), (status,), (self, i))
        else:
            queue.add((self._header,), (samples, status), (self, i))
        self._flying += 1
        queue.notify()

    def done(self, i, used):
        """The device has used a buffer."""
        self._flying -= 1
        status, self.latency = struct.unpack("<II", self._buffer(i)[1])
        if status != _OK and self._error is None:
            self._error = status
        if self.direction == "in" and status == _OK and used > _STATUS_SIZE:
            self._full.append((i, used - _STATUS_SIZE))
        else:
            self._free.append(i)

    def _trouble(self):
        status, self._error = self._error, None
        if status is not None:
            text = "%s: stream %d: %s" % (self._device.name, self.number, status_name(status))
            raise OSError(errno.EIO, text)

    def _wait(self, condition, what):
        queue = self._device.queues[_TXQ if self.direction == "out" else _RXQ]
        deadline = time.ticks_add(time.ticks_ms(), self.timeout_ms)
        while not condition():
            if not queue.poll(deadline):
                text = "%s: stream %d: %s: %d ms" % (self._device.name, self.number, what, self.timeout_ms)
                raise OSError(errno.ETIMEDOUT, text)
            self._device.collect()

    def write(self, data):
        """Play: copies data, waiting for room; how many bytes. The rest of a period waits for drain().

        OSError: EIO, the device could not play what came before; ETIMEDOUT. ValueError: not set up.
        """
        self._must_be("ready", "running", "stopped")
        if self.direction != "out":
            raise ValueError("stream %d is for input" % self.number)
        view = memoryview(data)
        done = 0
        while done < len(view):
            self._device.collect()
            self._trouble()
            if not self._free:
                if self.state != "running":
                    self.start()
                self._wait(lambda: self._free, "write")
            n = min(len(view) - done, self.period - self._at)
            self._buffer(self._free[0])[0][self._at : self._at + n] = view[done : done + n]
            done += n
            self._at += n
            if self._at == self.period:
                self._send()
        return done

    def _send(self):
        size, self._at = self._at, 0
        self._submit(self._free.pop(0), size)

    def drain(self):
        """Play all that was written to its end, then stop. OSError: EIO, ETIMEDOUT."""
        self._must_be("ready", "running", "stopped")
        if self._at:
            self._send()
        if self._flying and self.state != "running":
            self.start()
        self._wait(lambda: not self._flying, "drain")
        if self.state == "running":
            self.stop()
        self._trouble()

    def readinto(self, buf):
        """Recorded samples into buf: how many bytes, or None when there are none now."""
        self._must_be("ready", "running", "stopped")
        self._device.collect()
        self._trouble()
        done = 0
        while done < len(buf) and self._full:
            i, size = self._full[0]
            n = min(len(buf) - done, size - self._at)
            buf[done : done + n] = self._buffer(i)[0][self._at : self._at + n]
            done += n
            self._at += n
            if self._at == size:
                self._full.pop(0)
                self._at = 0
                self._again(i)
        return done or None

    def read(self, n):
        """Up to n bytes of what was recorded, or None."""
        buf = bytearray(n)
        size = self.readinto(buf)
        return bytes(buf[:size]) if size else None

    def _again(self, i):
        if self.state == "running":
            self._submit(i, self.period)
        else:
            self._free.append(i)

    def ioctl(self, request, arg):
        if request != _IOCTL_POLL:
            return 0
        if not self._device.is_open or self.state == "idle":
            return _POLL_NVAL
        self._device.collect()
        ready = (_POLL_RD if self._full else 0) if self.direction == "in" else (_POLL_WR if self._free else 0)
        return arg & ready


def status_name(status):
    """'IO_ERR', or a number that is none of the four."""
    return _STATUS[status - _OK] if _OK <= status < _OK + 4 else "status %#x" % status
