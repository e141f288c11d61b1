"""The host's end of a serial line, console or port of a guest: a socket that QEMU connects to."""

import re
import socket


class Line:
    """The other end of the console: a socket that QEMU connects to."""

    def __init__(self, folder, name="console"):
        self.path = folder / name
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        self._listener.settimeout(30)
        self._connection = None
        self.unread = b""

    @property
    def connection(self):
        if self._connection is None:
            self._connection = self._listener.accept()[0]
        return self._connection

    def options(self, name):
        return ["-chardev", f"socket,id={name},path={self.path}"]

    def send(self, data):
        self.connection.settimeout(30)
        self.connection.sendall(data)

    def read(self, count, timeout=20):
        self.connection.settimeout(timeout)
        while len(self.unread) < count:
            self._more()
        data, self.unread = self.unread[:count], self.unread[count:]
        return data

    def expect(self, pattern, timeout=20):
        """Wait for a regular expression; what came up to its end."""
        self.connection.settimeout(timeout)
        while not (found := re.search(pattern, self.unread, re.S)):
            self._more()
        data, self.unread = self.unread[: found.end()], self.unread[found.end() :]
        return data

    def _more(self):
        try:
            data = self.connection.recv(65536)
        except TimeoutError:
            raise AssertionError(f"nothing more came; unread: {self.unread[-300:]!r}") from None
        assert data, "QEMU closed the console"
        self.unread += data

    def drain(self):
        """Forget what came so far; connect anew if QEMU was started anew."""
        self.unread = b""
        while True:
            self.connection.settimeout(0.1)
            try:
                if not self.connection.recv(65536):
                    self.connection.close()
                    self._connection = None
            except TimeoutError:
                return

    def close(self):
        self._listener.close()
        if self._connection is not None:
            self._connection.close()
