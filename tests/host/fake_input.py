"""A strict virtio-input device (5.8): its selector windows, events for the driver, status from it."""

import struct

from fake_device import FakeDevice, require

KEY, REL, ABS, LED = 1, 2, 3, 0x11


def bitmap(*bits):
    """Bytes with these bits set."""
    data = bytearray(max(bits) // 8 + 1)
    for bit in bits:
        data[bit // 8] |= 1 << bit % 8
    return bytes(data)


class FakeInput(FakeDevice):
    """A keyboard unless told otherwise. windows: (select, subsel) -> bytes of the union."""

    DEVICE_ID = 18

    def __init__(self, windows=None, queues=(64, 64), **options):
        super().__init__(config=bytes(136), queues=queues, **options)
        self.windows = {
            (1, 0): b"Fake Keyboard",
            (2, 0): b"serial-7",
            (3, 0): struct.pack("<4H", 6, 0x627, 1, 2),
            (0x11, KEY): bitmap(1, 30, 58, 69, 0x1F3),
            (0x11, LED): bitmap(0, 1),
        }
        self.windows.update(windows or {})
        self.written = set()  # selector fields written since the size was read
        self.states = []  # (type, code, value) from the statusq
        self.size_read = False
        self.status_length = 0  # used length of what statusq brought: QEMU 7.2 reports 8

    # -- configuration: select, subsel, then size, then the union ---------------------------

    def _window(self):
        return self.windows.get((self.config[0], self.config[1]), b"")

    def write_config(self, off, width, value):
        require(off in (0, 1), "INPUT-02", "write to offset %d" % off)
        require(width == 1, "INPUT-01", "%d bytes to the selector" % width)
        self.config[off] = value
        self.written.add(off)
        self.size_read = False

    def _check_field(self, off, width):
        require(off == 2 or off >= 8, "INPUT-01", "read of offset %d" % off)
        if off == 2:
            require(width == 1, "MMIO-08", "%d bytes of size" % width)
            require(self.written == {0, 1}, "INPUT-01", "select and subsel were not both written")
            return
        require(self.size_read, "INPUT-03", "the union was read without its size")
        select = self.config[0]
        require(width == {3: 2, 0x12: 4}.get(select, 1), "MMIO-08", "%d bytes of window %#x" % (width, select))
        require(off + width <= 8 + len(self._window()), "INPUT-03", "read behind the size")

    def read_config(self, off, width):
        window = self._window()
        self.config[2] = len(window) & 0xFF
        self.config[8:136] = window[:128].ljust(128, b"\xee")
        value = super().read_config(off, width)
        if off == 2:
            self.size_read = True
            self.written = set()
        return value

    # -- queues -------------------------------------------------------------------------

    def work(self, queue):
        if queue.index == 0:
            for chain in queue.held:
                require(not chain.readable, "INPUT-05", "a device-readable buffer in eventq")
                require(chain.room >= 8, "INPUT-06", "an event buffer of %d bytes" % chain.room)
            return
        super().work(queue)

    def process(self, queue, chain):
        require(not chain.writable, "INPUT-07", "a device-writable buffer in statusq")
        data = chain.data()
        require(len(data) >= 8, "INPUT-07", "a status of %d bytes" % len(data))
        self.states.append(struct.unpack_from("<HHi", data))
        return self.status_length

    @property
    def stock(self):
        """How many event buffers the driver keeps posted."""
        self.queues[0].fetch()
        return len(self.queues[0].held)

    def send(self, *events, syn=True, length=8):
        """Hand events to the driver as (type, code, value), and the end of their report."""
        queue = self.queues[0]
        for event in [*events, (0, 0, 0)] if syn else events:
            queue.fetch()
            require(queue.held, "INPUT-04", "no buffer for an event")
            chain = queue.held[0]
            chain.write(struct.pack("<HHi", *event))
            queue.finish(chain, length)
