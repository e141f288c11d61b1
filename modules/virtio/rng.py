"""virtio-rng (5.4): random bytes, and os.urandom fed from them."""

from .device import Device

_PIECE = 4096  # bytes of one request; a long read keeps several in flight


class RNG(Device):
    """A source of random bytes: read(n), readinto(buf)."""

    NAME = "rng"
    IDS = (4,)
    LIVE = ("_requestq",)

    def probe(self):
        self._requestq = self.queue(0)

    def readinto(self, buf, timeout_ms=5000):
        """Fill all of buf with random bytes; blocks, polls, Ctrl-C safe. Returns len(buf).

        The device writes straight into buf, several requests at a time, and may answer each with
        less than it was asked for. OSError: ETIMEDOUT (buf stays in use until the device is
        reset). DeviceError: an answer without bytes.
        virtio 5.4.6.1; needs DRIVER_OK.
        """
        view = memoryview(buf)
        total = len(view)
        todo = [(start, min(_PIECE, total - start)) for start in range(0, total, _PIECE)]
        flying = []
        try:
            while todo or flying:
                self._submit(view, todo, flying)
                head, start, size = flying[0]
                used = self._requestq.wait(head, timeout_ms)
                flying.pop(0)
                if not used:
                    self.fail("an answer without bytes")
                if used < size:
                    todo.append((start + used, size - used))
        except BaseException:
            self._abandon(flying)
            raise
        return total

    def _submit(self, view, todo, flying):
        # Move from todo to flying what the queue has room for.
        queue = self._requestq
        while todo and (queue.num_free or not flying):
            start, size = todo.pop()
            flying.append((queue.add((), (view[start : start + size],)), start, size))
        queue.notify()

    def _abandon(self, flying):
        # Nobody waits for these any more; the queue keeps their memory until they are used.
        for head, _, _ in flying:
            try:
                self._requestq.wait(head, 0)
            except (OSError, ValueError):
                pass

    def read(self, n, timeout_ms=5000):
        """n random bytes, as readinto()."""
        buf = bytearray(n)
        self.readinto(buf, timeout_ms)
        return bytes(buf)
