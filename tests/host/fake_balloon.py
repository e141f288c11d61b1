"""A strict virtio-balloon device, on top of fake_device.py. It knows which pages the driver holds back."""

import struct

import riscv
from fake_device import FakeDevice, require
from shim.memory import memory

MUST_TELL_HOST, STATS_VQ, DEFLATE_ON_OOM, FREE_PAGE_HINT, PAGE_POISON, PAGE_REPORTING = range(6)


class FakeBalloon(FakeDevice):
    DEVICE_ID = 5

    def __init__(self, features=1 << MUST_TELL_HOST | 1 << STATS_VQ | 1 << DEFLATE_ON_OOM, **options):
        self.FIELDS = {0: (4, None), 4: (4, None)}
        self.roles = ["inflate", "deflate"]
        for bit, name in ((STATS_VQ, "stats"), (FREE_PAGE_HINT, "hint"), (PAGE_REPORTING, "report")):
            if features >> bit & 1:
                self.roles.append(name)
        super().__init__(features=features, config=bytes(16), queues=(64,) * len(self.roles), **options)
        self.pages = set()  # numbers of the pages that it has
        self.reported = []  # (address, bytes)
        self.figures = []  # statistics, in order
        self.actuals = []  # values of actual, in order
        self.stuck = set()  # roles of queues that get no answer

    def _clear(self):
        super()._clear()
        self.pages = set()

    def want(self, pages):
        self.change_config(struct.pack("<I", pages))

    def write_config(self, off, width, value):
        require(off == 4 and width == 4, "BALLOON-LEG-03", "%d bytes at %d" % (width, off))
        require(value == len(self.pages), "BALLOON-14", "actual %d, %d pages" % (value, len(self.pages)))
        super().write_config(off, width, value)
        self.actuals.append(value)

    def work(self, queue):
        role = self.roles[queue.index]
        if self.dead or role in self.stuck:
            return
        if role == "stats":
            require(len(queue.held) <= 1, "BALLOON-16", "%d stats buffers" % len(queue.held))
            for chain in queue.held:
                self._stats(chain)
            return
        for chain in list(queue.held):
            queue.finish(chain, getattr(self, "_" + role)(chain))

    def ask(self):
        """Give the stats buffer back: the driver is to bring new figures."""
        queue = self.queues[self.roles.index("stats")]
        queue.fetch()
        require(len(queue.held) == 1, "BALLOON-17", "no stats buffer")
        self._stats(queue.held[0])
        queue.finish(queue.held[0], 0)

    def _stats(self, chain):
        require(not chain.writable, "BALLOON-19", "a writable stats buffer")
        data = chain.data()
        require(len(data) % 6 == 0 and len(data) % 10 == 0, "BALLOON-20", "%d bytes" % len(data))
        found = dict(struct.unpack_from("<HQ", data, at) for at in range(0, len(data), 10))
        if self.figures:
            require(found.keys() == self.figures[0].keys(), "BALLOON-23", str(found))
        if not self.figures or self.figures[-1] != found:
            self.figures.append(found)

    def _numbers(self, chain):
        require(not chain.writable, "BALLOON-09", "a writable buffer")
        data = chain.data()
        require(data and len(data) % 4 == 0, "BALLOON-09", "%d bytes" % len(data))
        numbers = struct.unpack("<%dI" % (len(data) // 4), data)
        require(len(set(numbers)) == len(numbers), "BALLOON-12", "a page twice")
        held = [(start >> 12, end >> 12) for start, end, name in riscv.regions() if name == "balloon0"]
        for number in numbers:
            require(any(a <= number < b for a, b in held), "BALLOON-12", "page %#x is not held back" % number)
        return numbers

    def _inflate(self, chain):
        numbers = self._numbers(chain)
        require(not self.pages & set(numbers), "BALLOON-12", "a page that it has already")
        self.pages |= set(numbers)
        return 0

    def _deflate(self, chain):
        numbers = self._numbers(chain)  # still held back: it is the driver's only after the answer
        require(self.pages >= set(numbers), "BALLOON-13", "a page that it does not have")
        self.pages -= set(numbers)
        return 0

    def _report(self, chain):
        require(not chain.readable, "BALLOON-39", "a readable buffer")
        held = [(start, end) for start, end, name in riscv.regions() if name == "balloon0"]
        for view in chain.writable:
            addr, size = memory.addr(view), len(view)
            require(addr % 4096 == 0 and size % 4096 == 0, "BALLOON-39", "%#x+%#x" % (addr, size))
            require(any(a <= addr and addr + size <= b for a, b in held), "BALLOON-39", "%#x is in use" % addr)
            self.reported.append((addr, size))
        return 0
