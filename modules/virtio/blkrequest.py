"""What a caller holds of a disk request under way, and the words for how it ended."""

import errno

import micropython
from micropython import const

_OUT = const(1)

KINDS = {0: "read", 1: "write", 4: "flush", 8: "get id", 10: "get lifetime", 11: "discard", 13: "write zeroes"}
KINDS.update({14: "secure erase", 15: "zone append", 16: "zone report", 18: "zone open", 20: "zone close"})
KINDS.update({22: "zone finish", 24: "zone reset", 26: "zone reset all"})
_STATUS = {1: "IOERR", 2: "UNSUPP", 3: "ZONE_INVALID_CMD", 4: "ZONE_UNALIGNED_WP", 5: "ZONE_OPEN_RESOURCE"}
_STATUS.update({6: "ZONE_ACTIVE_RESOURCE", 0xFF: "no status written"})


@micropython.native
def failure(name, words, status, used):
    """The OSError for a request whose record says (type, 0, sector, status, tag, bytes)."""
    what = KINDS.get(words[0], "request")
    if words[0] <= _OUT:
        what += " sector %d" % words[2]
        if len(words) > 5:
            what += "+%d" % (words[5] // 512)
    why = _STATUS.get(status) or "status %d" % status
    if status == 0:
        why = "only %d bytes written" % used
    return OSError(errno.EOPNOTSUPP if status == 2 else errno.EIO, "%s: %s: %s" % (name, what, why))


class Request:
    """Reads or writes under way: one or more pieces, each a request of its own to the device."""

    def __init__(self, engine):
        self.engine = engine
        self.kind = 0
        self.pieces = ()  # [(sector, buffer)], the reference that keeps the buffers
        self.count = 0
        self.table = None  # Area with the staged pieces
        self.long = False  # some piece needs more than one segment
        self.tag = 0
        self.depth = 0
        self.error = None
        self.over = False
        self.kept = False  # belongs to a blocking call, or waits for the next one

    def __repr__(self):
        state = "failed" if self.error is not None else "done" if self.over else "in flight"
        name = self.engine.device.name
        return "<%s %s, %d pieces: %s>" % (name, KINDS[self.kind], self.count, state)

    def what(self):
        """'read sector 8': for messages."""
        text = KINDS[self.kind]
        return text if self.kind > _OUT else "%s sector %d" % (text, self.pieces[0][0])

    @property
    def done(self):
        """Whether all of it is finished; looks at the queue, never blocks."""
        if not self.over:
            self.engine.pump()
            self.over = self.engine.left(self) == 0
        return self.over

    def wait(self, timeout_ms=5000):
        """Wait for the end; raises what went wrong. timeout_ms: without any progress.

        OSError: EIO, ETIMEDOUT (the buffers stay in use until the device answers or is reset).
        """
        if not self.over:
            self.engine.finish(self, timeout_ms)
        self.engine.forget(self)
        if self.error is not None:
            raise self.error

    async def wait_async(self, timeout_ms=5000):
        """await r.wait_async(): like wait(), while other tasks of asyncio run. timeout_ms: in all."""
        from . import aio

        if not await aio.until(self.engine.vq, lambda: self.done, timeout_ms):
            self.engine.timed_out(self, timeout_ms)
        self.wait()
