"""virtio-console (5.3): ports as streams, and a REPL on any of them."""

import errno
import struct
import time

import riscv
from micropython import const

from .device import Device
from .port import Port

_F_SIZE = const(0)
_F_MULTIPORT = const(1)
_F_EMERG_WRITE = const(2)

_COLS = const(0)  # rows follow
_MAX_NR_PORTS = const(4)
_EMERG_WR = const(8)

_CONTROL_RECEIVEQ = const(2)
_CONTROL_TRANSMITQ = const(3)

# Events of control messages (5.3.6.2).
_DEVICE_READY = const(0)
_PORT_ADD = const(1)
_PORT_REMOVE = const(2)
_PORT_READY = const(3)
_CONSOLE_PORT = const(4)
_RESIZE = const(5)
_PORT_OPEN = const(6)
_PORT_NAME = const(7)

_MESSAGE = const(8)  # bytes of id, event, value
_MESSAGE_ROOM = const(256)  # of a received one: a name follows
_MESSAGES = const(32)
_PORT_QUEUE = const(32)  # entries
_FIRST_MS = const(100)  # for the device to name its ports
_LOOK_MS = const(2)
_CTRL_C = const(3)


class Console(Device):
    """Ports to the host: .port is the first one, .ports all, open_port(name or number) opens one."""

    NAME = "console"
    IDS = (3,)
    FEATURES = 1 << _F_SIZE | 1 << _F_MULTIPORT | 1 << _F_EMERG_WRITE
    FEATURE_NAMES = {0: "SIZE", 1: "MULTIPORT", 2: "EMERG_WRITE"}
    LIVE = ("port",)
    BUFFERS = 16  # of each direction and port
    PORTS = 32  # most ports whose queues are set up

    def probe(self):
        self.on_resize = None  # called with this device when the size of the first port has changed
        self.on_port = None  # called with (port, what): added removed opened closed named resized
        count = 1
        if self.has(_F_MULTIPORT):
            count = max(1, min(self.config_u32(_MAX_NR_PORTS), self.PORTS))
            self._make_control()
        self._queues = [self._port_queues(i) for i in range(count)]
        self._known = {}  # number -> Port, removed ones too
        self.port = self._port(0)
        if not self.has(_F_MULTIPORT):
            self.port.host_open = self.port.guest_open = self.port.console = True

    def _port_queues(self, number):
        # Those of the first port come before the control queues, all others after them (5.3.2).
        at = 0 if number == 0 else 2 * number + 2
        size = None if number == 0 else _PORT_QUEUE
        return self.queue(at, size), self.queue(at + 1, size)

    def _port(self, number):
        receiveq, transmitq = self._queues[number]
        port = Port(self, number, receiveq, transmitq, self.BUFFERS, self._known.get(number))
        self._known[number] = port
        return port

    def ready(self):
        self.queues[0].notify()
        if self.has(_F_MULTIPORT):
            self._controlq.notify()
            self._tell(0, _DEVICE_READY, 1)
            self._settle()
        try:
            self.interrupts(True)
        except OSError:
            pass  # no interrupt controller that we know: whoever waits has to poll

    def interrupts(self, on):
        """As Device.interrupts(); what was sent need not interrupt."""
        super().interrupts(on)
        for index, queue in self.queues.items():
            if index & 1:
                queue.listen(False)

    def remove(self):
        for port in self._known.values():
            port.repl(False)

    # -- ports -----------------------------------------------------------------------------

    @property
    def ports(self):
        """The ports that are there, by number."""
        self.poll_control()
        if not self.has(_F_MULTIPORT):
            return [self.port]
        known = self._known
        return [known[n] for n in sorted(known) if known[n].added and not known[n].removed]

    def find_port(self, which):
        """The port with that name or number, which the device may still be telling of. OSError: ENODEV."""
        deadline = time.ticks_add(time.ticks_ms(), _FIRST_MS)
        over = not self.has(_F_MULTIPORT)
        while True:
            for port in self.ports:
                if port.number == which or port.name == which != "":
                    return port
            if over:
                raise OSError(errno.ENODEV, "%s: no port %r" % (self.name, which))
            over = time.ticks_diff(deadline, time.ticks_ms()) <= 0
            self._controlq.poll(time.ticks_add(time.ticks_ms(), _LOOK_MS))  # an interrupt may come before it

    def open_port(self, which):
        """Open the port with that name or number on our side, so that the host sees it; returns it."""
        return self.find_port(which).open()

    # -- control messages -------------------------------------------------------------------

    def _make_control(self):
        self._controlq = queue = self.queue(_CONTROL_RECEIVEQ, _MESSAGES)
        self._sendq = self.queue(_CONTROL_TRANSMITQ, _MESSAGES)
        self._messages = [bytearray(_MESSAGE_ROOM) for _ in range(min(_MESSAGES, queue.size))]
        for i in range(len(self._messages)):
            queue.add((), (self._messages[i],), i)

    def _settle(self):
        # Wait until the device has told of its first port, then take what else is there.
        self._controlq.poll(time.ticks_add(time.ticks_ms(), _FIRST_MS))
        self.poll_control()

    def _tell(self, number, event, value):
        """Send a control message; waits only while the queue is full."""
        queue = self._sendq
        while queue.get() is not None:
            pass
        message = struct.pack("<IHH", number, event, value)
        try:
            queue.add((message,), (), event + 1)
        except OSError:
            queue.poll(time.ticks_add(time.ticks_ms(), 1000))
            while queue.get() is not None:
                pass
            queue.add((message,), (), event + 1)
        queue.notify()

    def tell_open(self, port):
        """Tell the device that a port was opened or closed here."""
        if self.has(_F_MULTIPORT) and port.added:
            self._tell(port.number, _PORT_OPEN, 1 if port.guest_open else 0)

    def poll_control(self):
        """Handle the control messages that have come in, without interrupts; how many."""
        if not self.has(_F_MULTIPORT):
            return 0
        n = 0
        found = self._controlq.get()
        while found is not None:
            i, used = found
            message = bytes(memoryview(self._messages[i])[:used])
            self._controlq.add((), (self._messages[i],), i)
            self._controlq.notify()
            if used < _MESSAGE:
                self.fail("a control message of %d bytes" % used)
            number, event, value = struct.unpack_from("<IHH", message)
            self._handle(number, event, value, message[_MESSAGE:])
            n += 1
            found = self._controlq.get()
        return n

    def _handle(self, number, event, value, data):
        port = self._known.get(number)
        if event == _PORT_ADD:
            self._add(number, port)
        elif port is None or not port.added or port.removed:
            return  # of a port that is gone, or was refused
        elif event == _PORT_REMOVE:
            port.removed = True
            port.host_open = False
            port.repl(False)
            self._event(port, "removed")
        elif event == _CONSOLE_PORT:
            port.console = port.host_open = port.guest_open = True
            self._tell(number, _PORT_OPEN, 1)
            if not self.port.added:
                self.port = port
        elif event == _PORT_OPEN:
            port.host_open = value != 0
            self._event(port, "opened" if value else "closed")
        elif event == _PORT_NAME:
            port.name = data.split(b"\0")[0].decode()
            self._event(port, "named")
        elif event == _RESIZE and len(data) >= 4:
            port.size = struct.unpack_from("<HH", data)
            self._event(port, "resized")

    def _add(self, number, port):
        if number >= len(self._queues):
            self._tell(number, _PORT_READY, 0)  # no queues for it
            return
        if port is None or port.removed:
            port = self._port(number)
        if number == 0:
            self.port = port
        port.added = True
        self._tell(number, _PORT_READY, 1)
        self._queues[number][0].notify()
        self._event(port, "added")

    def _event(self, port, what):
        if self.on_port:
            self.on_port(port, what)

    # -- the rest -------------------------------------------------------------------------------

    def save(self):
        state = [(n, port.on_repl, port.guest_open) for n, port in self._known.items() if not port.removed]
        for port in self._known.values():
            port.repl(False)
        return state

    def restore(self, state):
        there = [port.number for port in self.ports] if self.has(_F_MULTIPORT) else [0]
        for number, on_repl, guest_open in state:
            if number in there and guest_open:
                self._known[number].open().repl(on_repl)

    @property
    def size(self):
        """(columns, rows) of the first port, or None where the device does not tell."""
        if not self.has(_F_SIZE):
            return None
        return tuple(self._config(_COLS, 2, 2))

    def config_changed(self):
        if self.on_resize:
            self.on_resize(self)

    def emergency_write(self, data):
        """Send bytes without any queue or memory, one register write each. OSError: EOPNOTSUPP."""
        if not self.has(_F_EMERG_WRITE):
            raise OSError(errno.EOPNOTSUPP, "%s: emergency write" % self.name)
        for byte in data.encode() if isinstance(data, str) else data:
            self.transport.set_config(_EMERG_WR, 4, byte)

    def repl(self, on=True):
        """Put the REPL on the first port too, beside the UART, or take it off again."""
        self.port.repl(on)

    def on_interrupt(self):
        """Wakes whoever waits for input; while something runs, Ctrl-C stops it."""
        self.poll_control()
        for port in self._known.values():
            if port.on_repl:
                port.take_interrupt(_CTRL_C, riscv.keyboard_interrupt)

    def about(self):
        size = self.size
        words = ["%dx%d" % size] if size else []
        if self.has(_F_MULTIPORT):
            words.append("%d ports" % len(self.ports))
        if any([port.on_repl for port in self._known.values()]):
            words.append("repl")
        return " ".join(words)

    # The words of a stream, for the first port.

    def read(self, n=-1):
        """As port.read()."""
        return self.port.read(n)

    def readinto(self, buf):
        """As port.readinto()."""
        return self.port.readinto(buf)

    def write(self, buf):
        """As port.write()."""
        return self.port.write(buf)
