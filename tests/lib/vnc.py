"""A VNC viewer for tests (RFB 3.8): what QEMU tells a display, and what a window's owner would do.

with Viewer(path) as viewer:            # -vnc unix:path
    viewer.resize(800, 600)
    viewer.wait(lambda: viewer.leds == 4)
"""

import socket
import struct
import time

RAW, CURSOR, RESIZE, LEDS = 0, -314, -308, -261


class Viewer:
    """.size, .cursor (width, height, hot x, hot y, BGRA bytes), .leds: as last told by the server."""

    def __init__(self, path, timeout=10):
        self.size = self.cursor = self.leds = None
        self._timeout = timeout
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._unread = b""
        assert self._read(12) == b"RFB 003.008\n"
        self._socket.sendall(b"RFB 003.008\n")
        types = self._read(self._read(1)[0])
        assert 1 in types, types  # no password
        self._socket.sendall(b"\1")
        assert self._read(4) == bytes(4)
        self._socket.sendall(b"\1")  # others may look, too
        self.size = struct.unpack(">HH", self._read(4))
        self._read(16)
        self._read(struct.unpack(">I", self._read(4))[0])
        encodings = (RAW, CURSOR, RESIZE, LEDS)
        self._socket.sendall(struct.pack(">BxH4i", 2, len(encodings), *encodings))
        self._socket.sendall(struct.pack(">BB4H", 3, 0, 0, 0, 1, 1))

    def _read(self, count):
        while len(self._unread) < count:
            data = self._socket.recv(65536)
            assert data, "QEMU closed the connection"
            self._unread += data
        data, self._unread = self._unread[:count], self._unread[count:]
        return data

    def resize(self, width, height):
        """As if somebody had pulled at the window."""
        self._socket.sendall(struct.pack(">BxHHBxI4HI", 251, width, height, 1, 0, 0, 0, width, height, 0))

    def wait(self, condition):
        """Take what the server sends until the condition holds."""
        deadline = time.monotonic() + self._timeout
        while not condition():
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            self._message()

    def _message(self):
        kind = self._read(1)[0]
        assert kind == 0, "a message of type %d" % kind
        for _ in range(struct.unpack(">xH", self._read(3))[0]):
            x, y, w, h, encoding = struct.unpack(">4Hi", self._read(12))
            if encoding == RAW:
                self._read(4 * w * h)
            elif encoding == CURSOR:
                self._read(4)
                self.cursor = (w, h, x, y, self._read(4 * w * h))
            elif encoding == RESIZE:
                self._read(16 * struct.unpack(">B3x", self._read(4))[0])
                self.size = (w, h)
            elif encoding == LEDS:
                self.leds = self._read(1)[0]
            else:
                raise AssertionError("encoding %d" % encoding)

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()
