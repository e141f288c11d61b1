"""A strict virtio-sound device (5.14): items, the life of PCM streams, what is played and recorded."""

import struct

from fake_device import FakeDevice, mask, require

OK, BAD_MSG, NOT_SUPP, IO_ERR = range(0x8000, 0x8004)
SET_PARAMS, PREPARE, RELEASE, START, STOP = range(0x101, 0x106)
FORMATS, RATES = 25, 14  # that are defined

# What a stream command may follow (5.14.6.6.1).
STATES = {
    SET_PARAMS: ({"idle", "set", "ready", "released"}, "set"),
    PREPARE: ({"set", "ready", "released"}, "ready"),
    START: ({"ready", "stopped"}, "running"),
    STOP: ({"running"}, "stopped"),
    RELEASE: ({"ready", "stopped"}, "released"),
}


class PCM:
    """A stream as the device sees it."""

    def __init__(
        self, direction, formats=mask(0, 4, 5, 19), rates=mask(6, 7), channels=(1, 2), features=mask(0, 1, 2, 4)
    ):
        self.direction, self.formats, self.rates, self.channels = direction, formats, rates, channels
        self.features = features
        self.state = "idle"
        self.period = self.buffer = 0
        self.parameters = None  # (channels, format, rate)
        self.pieces = []  # what was played, a buffer each
        self.waiting = []  # chains


class FakeSound(FakeDevice):
    """Two jacks, an output and an input stream, two channel maps."""

    DEVICE_ID = 25
    FIELDS = {0: (4, None), 4: (4, None), 8: (4, None), 12: (4, 0)}

    def __init__(self, features=mask(0), queues=(64, 64, 64, 64), jacks=2, **options):
        self.jack_count = jacks
        self.pcms = [PCM(0), PCM(1)]
        config = struct.pack("<4I", jacks, 2, 2, 3)
        super().__init__(features=features, config=config, queues=queues, **options)
        self.errors = {}  # request code -> status
        self.codes = []
        self.remapped = None
        self.play_status = OK
        self.source = bytes(range(256)) * 40  # what is recorded
        self.held_back = False  # keep buffers in spite of START
        self.answer_length = None

    def _clear(self):
        super()._clear()
        self.pcms = [PCM(0), PCM(1)]

    def read_config(self, off, width):
        require(off != 12 or self.has(0), "SND-01", "controls is read without CTLS")
        return super().read_config(off, width)

    def write_config(self, off, width, value):
        require(False, "GEN-CFG-03", "read-only field")

    # -- queues -------------------------------------------------------------------------------

    def work(self, queue):
        if queue.index == 1:
            for chain in queue.held:
                require(not chain.readable, "SND-03", "a device-readable buffer in eventq")
                require(chain.room >= 8, "SND-02", "an event buffer of %d bytes" % chain.room)
        elif queue.index == 0:
            super().work(queue)
        elif not self.dead:
            self._transfer(queue)

    def process(self, queue, chain):
        request = chain.data()
        code = struct.unpack_from("<I", request)[0]
        self.codes.append(code)
        status, data = self.errors.get(code, OK), b""
        if code in (1, 0x100, 0x200):
            status, data = self._info(code, request, chain.room, status)
        elif code == 2:
            self.remapped = struct.unpack("<3I", request[4:])
        else:
            require(code in STATES, "SND-CODE", "request %#x" % code)
            if status == OK:
                self._stream(code, request)
        answer = struct.pack("<I", status) + data
        require(chain.room >= 4, "SND-05", "an answer of %d bytes" % chain.room)
        chain.write(answer)
        return len(answer) if self.answer_length is None else self.answer_length

    def _info(self, code, request, room, status):
        first, count, size = struct.unpack("<3I", request[4:])
        total = {1: self.jack_count, 0x100: 2, 0x200: 2}[code]
        require(first + count <= total, "SND-04", "items %d+%d of %d" % (first, count, total))
        require(size == {1: 24, 0x100: 32, 0x200: 24}[code], "SND-05", "items of %d bytes" % size)
        require(room == 4 + count * size, "SND-05", "an answer of %d bytes for %d items" % (room, count))
        if status != OK:
            return status, b""
        return OK, b"".join(self._item(code, n).ljust(size, b"\0") for n in range(first, first + count))

    def _item(self, code, n):
        if code == 1:
            return struct.pack("<4IB", n, 1 - n % 2, 0x100 + n, 0x200 + n, n % 2)
        if code == 0x100:
            pcm = self.pcms[n]
            return struct.pack("<IIQQ3B", n, pcm.features, pcm.formats, pcm.rates, pcm.direction, *pcm.channels)
        return struct.pack("<IBB", 0, n, 2) + bytes([3, 4 if n == 0 else 99])

    def _stream(self, code, request):
        number = struct.unpack_from("<I", request, 4)[0]
        require(number < 2, "SND-ID", "stream %d" % number)
        pcm = self.pcms[number]
        allowed, state = STATES[code]
        require(pcm.state in allowed, "SND-LIFE", "request %#x to a stream that is %s" % (code, pcm.state))
        if code == SET_PARAMS:
            self._parameters(pcm, request)
        if code == START and pcm.direction == 1:
            self.queues[3].fetch()
            self._sort(self.queues[3])
            require(pcm.waiting, "SND-17", "an input stream starts without buffers")
        pcm.state = state
        if code == RELEASE:
            for queue in self.queues[2:]:
                queue.fetch()
                self._sort(queue)
            for queue, chain in pcm.waiting:
                self._return(pcm, queue, chain, b"")
            pcm.waiting = []
        elif code == START and not self.held_back:
            self.run(pcm)

    def _parameters(self, pcm, request):
        buffer, period, features, channels, form, rate, padding = struct.unpack("<III4B", request[8:])
        require(padding == 0, "SND-13", "padding %d" % padding)
        require(period and buffer % period == 0, "SND-08", "periods of %d in %d bytes" % (period, buffer))
        require(features & 3 != 3, "SND-12", "both kinds of shared memory")
        require(not features & 1, "SND-06", "SHMEM_HOST")
        require(not features & 2, "SND-07", "SHMEM_GUEST")
        require(form < FORMATS and rate < RATES and features < 32, "SND-09", "something undefined")
        listed = pcm.formats >> form & 1 and pcm.rates >> rate & 1 and not features & ~pcm.features
        require(listed, "SND-10", "something that the stream does not list")
        require(pcm.channels[0] <= channels <= pcm.channels[1], "SND-11", "%d channels" % channels)
        pcm.buffer, pcm.period, pcm.parameters = buffer, period, (channels, form, rate)

    # -- PCM data -------------------------------------------------------------------------------

    def _sort(self, queue):
        """Give new chains to their streams."""
        known = [chain for pcm in self.pcms for _, chain in pcm.waiting]
        for chain in queue.held:
            if any(chain is one for one in known):
                continue
            require(len(chain.readable) and len(chain.readable[0]) == 4, "SND-14", "no stream number in front")
            number = struct.unpack("<I", bytes(chain.readable[0]))[0]
            require(number < 2, "SND-ID", "stream %d" % number)
            pcm = self.pcms[number]
            require(
                pcm.state not in ("idle", "set", "released"), "SND-LIFE", "data for a stream that is %s" % pcm.state
            )
            require(queue.index == 2 + pcm.direction, "SND-14", "the queue of the other direction")
            self._check(pcm, chain)
            pcm.waiting.append((queue, chain))

    def _check(self, pcm, chain):
        if pcm.direction == 0:
            require(chain.room == 8, "SND-16", "%d device-writable bytes" % chain.room)
            size = len(chain.data()) - 4
            ended = pcm.pieces and len(pcm.pieces[-1]) < pcm.period and pcm.state == "running"
            require(0 < size <= pcm.period and not ended, "SND-15", "a buffer of %d" % size)
        else:
            require(len(chain.data()) == 4, "SND-18", "device-readable data")
            require(chain.room == pcm.period + 8, "SND-17", "a buffer of %d" % chain.room)

    def _transfer(self, queue):
        queue.fetch()
        self._sort(queue)
        for pcm in self.pcms:
            if pcm.state == "running" and not self.held_back:
                self.run(pcm)

    def run(self, pcm, count=None):
        """Play all that waits, or record into as many buffers."""
        for queue, chain in pcm.waiting[: (0 if pcm.direction else None) if count is None else count]:
            data = b""
            if pcm.direction == 0:
                pcm.pieces.append(chain.data()[4:])
            else:
                data, self.source = self.source[: pcm.period], self.source[pcm.period :]
            self._return(pcm, queue, chain, data)
            pcm.waiting.remove((queue, chain))

    def _return(self, pcm, queue, chain, data):
        if data:
            chain.write(data)
        chain.write(struct.pack("<II", self.play_status, 77), chain.room - 8)
        queue.finish(chain, len(data) + 8)

    def event(self, code, number, length=8):
        queue = self.queues[1]
        queue.fetch()
        require(queue.held, "SND-02", "no buffer for an event")
        chain = queue.held[0]
        chain.write(struct.pack("<II", code, number))
        queue.finish(chain, length)
