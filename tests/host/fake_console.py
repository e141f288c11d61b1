"""A strict virtio-console device."""

import struct

from fake_device import FakeDevice, require


class FakeConsole(FakeDevice):
    """Collects what is sent; say() hands input to the driver as far as it posted buffers."""

    DEVICE_ID = 3
    FIELDS = {0: (2, 0), 2: (2, 0), 4: (4, 1), 8: (4, 2)}

    def __init__(self, features=0, size=(80, 25), queue=64, **options):
        config = struct.pack("<HHII", *size, 1, 0)
        super().__init__(features=features, config=config, queues=(queue, queue), **options)
        self.sent = b""
        self.emergency = b""
        self.stuck = False

    def work(self, queue):
        if queue.index == 1 and not self.stuck:
            super().work(queue)

    def process(self, queue, chain):
        require(not chain.writable, "CON-02", "device-writable buffer in transmitq")
        self.sent += chain.data()
        return 0

    def say(self, data, empty=False):
        queue = self.queues[0]
        queue.fetch()
        while data or empty:
            chain = queue.held[0]
            require(not chain.readable, "CON-01", "device-readable buffer in receiveq")
            piece, data = data[: chain.room], data[chain.room :]
            chain.write(piece)
            queue.finish(chain, len(piece))
            empty = False

    def write_config(self, off, width, value):
        if off == 8:
            require(self.has(2), "GEN-CFG-03", "emergency write was not negotiated")
            self.emergency += bytes([value & 0xFF])
        else:
            require(False, "GEN-CFG-03", "read-only field")
