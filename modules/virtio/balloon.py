"""virtio-balloon (5.5): RAM that the host takes away for a while, statistics, reports of free memory.

The memory comes from what nobody uses, not from the heap: the garbage collector would look into it.
riscv.regions() shows it, and heap, native code and kernels are placed round it.
"""

import errno
import gc
import struct

import riscv
from micropython import const

from .device import Device

_MUST_TELL_HOST = const(0)
_STATS_VQ = const(1)
_DEFLATE_ON_OOM = const(2)
_FREE_PAGE_HINT = const(3)
_PAGE_REPORTING = const(5)

_NUM_PAGES = const(0)
_ACTUAL = const(4)

_PAGE = const(4096)
_SHIFT = const(12)
_NUMBERS = const(1024)  # page numbers in one request
_PIECES = const(32)  # regions that the balloon may consist of
_KEEP = const(16 << 20)
_REPORT = const(1 << 22)  # bytes of free memory in one buffer
_REPORTS = const(32)  # buffers in one request
_TIMEOUT_MS = const(5000)

# Statistics: all that make sense without virtual memory, six of them (5.5.6.3).
_STAT = "<HQ"
_SWAP_IN = const(0)
_SWAP_OUT = const(1)
_FREE = const(4)
_TOTAL = const(5)
_AVAILABLE = const(6)
_CACHES = const(7)


class Balloon(Device):
    """Memory lent to the host. adjust() does what it wants now, follow() from now on.

    keep: bytes that stay free for the heap whatever the host wants.
    """

    NAME = "balloon"
    IDS = (5,)
    FEATURES = 1 << _MUST_TELL_HOST | 1 << _STATS_VQ | 1 << _DEFLATE_ON_OOM | 1 << _PAGE_REPORTING
    FEATURE_NAMES = {
        0: "MUST_TELL_HOST",
        1: "STATS_VQ",
        2: "DEFLATE_ON_OOM",
        3: "FREE_PAGE_HINT",
        4: "PAGE_POISON",
        5: "PAGE_REPORTING",
    }

    def __init__(self, transport, name):
        Device.__init__(self, transport, name)
        self.keep = _KEEP
        self._lent = []  # [start, end] of memory that the host has, oldest first
        self._limbo = []  # [queue, start, middle, end]: nobody has seen the host's answer for start..middle

    # -- start and end ---------------------------------------------------------------------

    def probe(self):
        self.inflateq = self.queue(0)
        self.deflateq = self.queue(1)
        self._following = False
        self._busy = False
        self._answered = 0
        index = 2
        self.statsq = self.reportingq = None
        if self.has(_STATS_VQ):
            self.statsq = self.queue(index)
            self._stats = bytearray(6 * struct.calcsize(_STAT))
        # Queues that are not offered leave no gap in the numbers, whatever 5.5.2 says.
        index += self.offered >> _STATS_VQ & 1
        index += self.offered >> _FREE_PAGE_HINT & 1
        if self.has(_PAGE_REPORTING):
            self.reportingq = self.queue(index)

    def ready(self):
        if self.statsq:
            self._post_stats()

    def remove(self):
        """Take everything back; the host is told."""
        self._following = False
        self._shrink(self.lent)

    def close(self):
        """Take the memory back and let the device go."""
        Device.close(self)
        self._forget()

    def save(self):
        return self._following

    def restore(self, following):
        """The reset has given all memory back; what the host wants is lent anew."""
        self._forget()
        if following:
            self.follow()

    def _forget(self):
        for start, _ in self._lent:
            riscv.release(start)
        for entry in self._limbo:
            riscv.release(entry[1])
        self._lent = []
        self._limbo = []

    def about(self):
        return "%d pages lent" % self.lent

    # -- size ----------------------------------------------------------------------------------

    @property
    def lent(self):
        """Pages of 4096 bytes that the host has."""
        size = sum([end - start for start, end in self._lent])
        for queue, start, _, end in self._limbo:
            if queue is self.deflateq:
                size += end - start
        return size >> _SHIFT

    def target(self):
        """Pages that the host wants."""
        return self.config_u32(_NUM_PAGES)

    def adjust(self, timeout_ms=_TIMEOUT_MS):
        """Lend or take back until the host has what it wants, or no more can be spared; the pages lent.

        Blocks; Ctrl-C safe. OSError(ETIMEDOUT): what it did not answer stays taken until it does,
        EAGAIN: it has still not answered.
        """
        self.check()
        if self._busy:
            return self.lent
        self._busy = True
        try:
            self._settle()
            wanted = -1
            while wanted != self.target():  # once more if the host has changed its mind
                wanted = self.target()
                more = wanted - self.lent
                if more > 0:
                    self._grow(more, timeout_ms)
                elif more < 0:
                    self._shrink(-more, timeout_ms)
        finally:
            self._busy = False
        return self.lent

    def follow(self, on=True):
        """Adjust now and, by interrupts, whenever the host changes its mind; or stop that.

        OSError(ENODEV): no interrupts here; call poll() from time to time.
        """
        self._following = on
        if on:
            self.adjust()
            self.interrupts(True)

    def poll(self):
        """Without interrupts: see what the host wants, answer its questions; whether there were any."""
        changed = self.poll_config()
        return self._serve_stats() or changed

    def config_changed(self):
        if self._following:
            self.adjust()

    def on_interrupt(self):
        self._serve_stats()

    def reclaim(self, pages):
        """Take pages back although the host wants them, because memory is short; how many.

        OSError(EOPNOTSUPP): the host did not allow it (DEFLATE_ON_OOM).
        """
        self.check()
        if not self.has(_DEFLATE_ON_OOM):
            raise OSError(errno.EOPNOTSUPP, "%s: DEFLATE_ON_OOM is not offered" % self.name)
        self._following = False
        pages = min(pages, self.lent)
        self._shrink(pages)
        return pages

    def _grow(self, pages, timeout_ms=_TIMEOUT_MS):
        """Lend that many pages, as far as there is memory to spare."""
        while pages > 0 and len(self._lent) < _PIECES:
            start, end = riscv.largest_free()
            size = min(pages * _PAGE, end - start - self.keep) & -_PAGE
            if size <= 0:
                return
            # The end of the gap: what is below stays in one piece for a kernel.
            start = end - size
            try:
                riscv.reserve(start, end, self.name)
            except ValueError:  # the heap has grown into it just now
                continue
            self._move(self.inflateq, start, end, end, timeout_ms)
            self._say_actual()
            pages -= size >> _SHIFT

    def _take(self, start, end):
        """Enter a piece; one that touches the last becomes part of it."""
        if self._lent and self._lent[-1][0] == end:
            riscv.resize(end, start, self._lent[-1][1])
            self._lent[-1][0] = start
        else:
            self._lent.append([start, end])

    def _shrink(self, pages, timeout_ms=_TIMEOUT_MS):
        """Take pages back: the latest first, from the bottom; they are ours when the host has answered."""
        while pages > 0 and self._lent:
            start, end = self._lent.pop()
            size = min(pages * _PAGE, end - start)
            self._move(self.deflateq, start, start + size, end, timeout_ms)
            self._say_actual()
            pages -= size >> _SHIFT

    def _move(self, queue, start, middle, end, timeout_ms):
        """Lend start..middle, or take it back from what goes on to end; known to be done at the end."""
        self._limbo.append((queue, start, middle, end))
        self._tell(queue, start, middle, timeout_ms)
        self._done(self._limbo.pop())

    def _done(self, entry):
        """The host has answered."""
        queue, start, middle, end = entry
        if queue is self.inflateq:
            self._take(start, end)
        elif middle == end:
            riscv.release(start)
        else:
            riscv.resize(start, middle, end)
            self._lent.append([middle, end])

    def _settle(self):
        """See whether the host has answered by now what it did not answer in time."""
        if not self._limbo:
            return
        for queue in [entry[0] for entry in self._limbo]:
            queue.reap()
            if queue.in_flight:
                raise OSError(errno.EAGAIN, "%s: the host has not answered yet" % self.name)
        while self._limbo:
            self._done(self._limbo.pop())
        self._say_actual()

    def _tell(self, queue, start, end, timeout_ms):
        """Send the numbers of all pages of a piece, some requests at a time, and wait for all answers."""
        first, last = start >> _SHIFT, end >> _SHIFT
        flying = []
        try:
            while flying or first < last:
                while first < last and len(flying) < queue.size // 2 + 1:
                    n = min(_NUMBERS, last - first)
                    flying.append(queue.add((_numbers(first, n),), ()))
                    first += n
                queue.notify()
                queue.wait(flying.pop(0), timeout_ms)
        except BaseException:
            for head in flying:
                queue.abandon(head)
            raise

    def _say_actual(self):
        self.transport.set_config(_ACTUAL, 4, self.lent)

    # -- statistics ---------------------------------------------------------------------------------

    def stats(self):
        """{name: bytes} of what the host is told."""
        total = sum([end - start for start, end in riscv.ram()])
        free = total - sum([end - start for start, end, _ in riscv.regions()])
        start, end = riscv.largest_free()  # the collector counts it, too
        return {"total": total, "free": free, "available": free + gc.mem_free() - (end - start)}

    def _post_stats(self):
        now = self.stats()
        values = (
            (_SWAP_IN, 0),
            (_SWAP_OUT, 0),
            (_FREE, now["free"]),
            (_TOTAL, now["total"]),
            (_AVAILABLE, now["available"]),
            (_CACHES, 0),
        )
        size = struct.calcsize(_STAT)
        for i in range(len(values)):
            struct.pack_into(_STAT, self._stats, i * size, *values[i])
        self.statsq.add((self._stats,), (), True)
        self.statsq.notify()

    def _serve_stats(self):
        """The host gave the buffer back, so it wants new figures."""
        if self.statsq is None or self.statsq.get() is None:
            return False
        self._post_stats()
        return True

    # -- free memory ---------------------------------------------------------------------------------

    def report(self, timeout_ms=_TIMEOUT_MS):
        """Tell the host which memory is free, so that it can drop what is in it; the bytes reported.

        Blocks; the memory can be used again as soon as this returns, its contents are lost.
        OSError(EOPNOTSUPP): the host takes no reports.
        """
        self.check()
        if self.reportingq is None:
            raise OSError(errno.EOPNOTSUPP, "%s: PAGE_REPORTING is not offered" % self.name)
        start, end = riscv.largest_free()
        end -= self.keep & -_PAGE  # the heap may have to grow meanwhile
        total = 0
        if start >= end:
            return total
        riscv.reserve(start, end, self.name)
        entry = (self.reportingq, start, end, end)
        self._limbo.append(entry)
        for at in range(start, end, _REPORT * _REPORTS):
            stop = min(end, at + _REPORT * _REPORTS)
            buffers = [(a, min(_REPORT, stop - a)) for a in range(at, stop, _REPORT)]
            self.reportingq.wait(self.reportingq.add((), buffers), timeout_ms)
            total += stop - at
        self._limbo.remove(entry)
        riscv.release(start)
        return total


def _numbers(first, n):
    """n page numbers from first on, as the device reads them."""
    data = bytearray(4 * n)
    for i in range(n):
        struct.pack_into("<I", data, 4 * i, first + i)
    return data
