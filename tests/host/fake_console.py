"""A strict virtio-console device, with one port or several."""

import struct

from fake_device import FakeDevice, require

SIZE, MULTIPORT, EMERG_WRITE = 0, 1, 2
DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME = range(8)


class FakeConsole(FakeDevice):
    """Collects what is sent; say() hands input to the driver as far as it posted buffers.

    With MULTIPORT, `names` are those of the ports that are there from the start ({number: name}); the first one is a
    console. plug() and unplug() change that, tell() sends any control message. What the driver tells is in `told`.
    """

    DEVICE_ID = 3
    FIELDS = {0: (2, 0), 2: (2, 0), 4: (4, 1), 8: (4, 2)}

    def __init__(self, features=0, size=(80, 25), queue=64, ports=1, names=None, **options):
        config = struct.pack("<HHII", *size, ports, 0)
        count = 2 + 2 * ports if features >> MULTIPORT & 1 else 2
        super().__init__(features=features, config=config, queues=(queue,) * count, **options)
        self.names = dict(names or {})
        self.ports = ports
        self.emergency = b""
        self.stuck = False

    def _clear(self):
        super()._clear()
        self.output = {}  # number -> what was sent
        self.told = []  # (id, event, value)
        self.ready = False
        self.added = set()

    @property
    def sent(self):
        return self.output.get(0, b"")

    def work(self, queue):
        if queue.index & 1 and not self.stuck:
            super().work(queue)

    def process(self, queue, chain):
        require(not chain.writable, "CON-02", "device-writable buffer in transmitq")
        if queue.index == 3:
            self._control(chain)
        else:
            number = 0 if queue.index == 1 else (queue.index - 3) // 2
            self.output[number] = self.output.get(number, b"") + chain.data()
        return 0

    def _control(self, chain):
        require(self.has(MULTIPORT), "CON-03", "a control message without MULTIPORT")
        require(len(chain.readable) == 1 or not self.legacy, "CON-LEG-04", "%d descriptors" % len(chain.readable))
        require(len(chain.data()) == 8, "CON-LEG-02", "a message of %d bytes" % len(chain.data()))
        number, event, value = struct.unpack("<IHH", chain.data())
        self.told.append((number, event, value))
        if event == DEVICE_READY:
            require(value == 1 and not self.ready, "CON-03")
            self.ready = True
            for port in sorted(self.names):
                self.plug(port, self.names[port])
            return
        require(self.ready, "CON-03", "event %d before DEVICE_READY" % event)
        require(event in (PORT_READY, PORT_OPEN), "CON-LEG-02", "event %d" % event)
        require(number in self.added, "CON-05", "event %d of port %d" % (event, number))
        if event == PORT_READY and value and number == min(self.names):
            self.tell(number, CONSOLE_PORT, 1)
        if event == PORT_READY and value and self.names[number]:
            self.tell(number, PORT_NAME, 1, self.names[number].encode() + b"\0")

    def check_answers(self):
        """Every CONSOLE_PORT has been answered."""
        require((0, DEVICE_READY, 1) in self.told, "CON-03")
        if self.added:
            first = min(self.added)
            answers = [t for t in self.told if t[:2] == (first, PORT_OPEN)]
            require(answers, "CON-05", "CONSOLE_PORT was not answered")
            require(answers[0][2] == 1, "CON-06", str(answers))

    def plug(self, number, name=""):
        self.names[number] = name
        self.added.add(number)
        self.tell(number, PORT_ADD, 1)

    def unplug(self, number):
        self.added.discard(number)
        self.tell(number, PORT_REMOVE, 1)

    def tell(self, number, event, value=0, data=b""):
        self._give(2, struct.pack("<IHH", number, event, value) + data)

    def _give(self, index, data):
        queue = self.queues[index]
        queue.fetch()
        chain = queue.held[0]
        require(not chain.readable, "CON-01", "device-readable buffer in receiveq")
        require(len(chain.writable) == 1 or not self.legacy or index != 2, "CON-LEG-04", "split buffer")
        piece = data[: chain.room]
        chain.write(piece)
        queue.finish(chain, len(piece))
        return data[len(piece) :]

    def say(self, data, empty=False, port=0):
        while data or empty:
            data = self._give(0 if port == 0 else 2 * port + 2, data)
            empty = False

    def write_config(self, off, width, value):
        if off == 8:
            require(self.has(2), "GEN-CFG-03", "emergency write was not negotiated")
            self.emergency += bytes([value & 0xFF])
        else:
            require(False, "GEN-CFG-03", "read-only field")
