"""A QEMU whose console output carries host time stamps, for every contender of the bench alike."""

import os
import subprocess
import threading
import time


class Late(Exception):
    """A guest did not print what the bench waited for."""


class Guest:
    """Start QEMU; `.start` is the moment before, at() the seconds from then until some output was complete."""

    def __init__(self, command, limit_s=60):
        self._data = bytearray()
        self._arrivals = []  # (bytes so far, time)
        self._changed = threading.Condition()
        self._ended = False
        self._from = 0
        self._limit_s = limit_s
        self._command = command
        self.start = time.monotonic()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            chunk = os.read(self._process.stdout.fileno(), 65536)
            now = time.monotonic()
            with self._changed:
                self._data += chunk
                self._arrivals.append((len(self._data), now))
                self._ended = not chunk
                self._changed.notify_all()
            if not chunk:
                return

    def at(self, marker):
        """Wait for a marker in output not consumed yet; consume through it; seconds since QEMU was started."""
        deadline = time.monotonic() + self._limit_s
        with self._changed:
            while (found := self._data.find(marker, self._from)) < 0:
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    tail = self._data[-300:].decode(errors="replace")
                    raise Late(f"no {marker!r} from\n  {' '.join(self._command)}\nit printed: {tail}")
                self._changed.wait(left)
            self._from = found + len(marker)
            return next(when for size, when in self._arrivals if size >= self._from) - self.start

    def text_until(self, marker):
        """The output up to a marker, which is consumed."""
        begin = self._from
        self.at(marker)
        return self._data[begin : self._from - len(marker)].decode(errors="replace")

    def first_byte(self):
        """Seconds until the first output of all."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._data or self._ended, self._limit_s) or not self._data:
                raise Late(f"no output from {' '.join(self._command)}")
            return self._arrivals[0][1] - self.start

    def type(self, data):
        self._process.stdin.write(data)

    def line(self, text, prompt):
        """Type a line at a prompt; (seconds between its echo and the next prompt, what it printed)."""
        self.type(text.encode() + b"\n")
        begin = self.at(text.encode()[-8:])
        printed = self.text_until(prompt)
        return self._last_time() - begin, printed

    def python(self, code):
        """Run a script in the raw REPL of a guest at its prompt; what it printed."""
        self.at(b">>> ")
        self.type(b"\x01")
        self.at(b"CTRL-B to exit\r\n")
        return self.again(code)

    def begin(self, code):
        """Start another script after python()."""
        self.at(b">")
        self.type(code.encode() + b"\x04")
        self.at(b"OK")

    def again(self, code):
        """Run another script after python(); what it printed."""
        self.begin(code)
        printed = self.text_until(b"\x04")
        fault = self.text_until(b"\x04")
        if fault:
            raise RuntimeError(f"{printed}{fault}")
        return printed

    def _last_time(self):
        return next(when for size, when in self._arrivals if size >= self._from) - self.start

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
