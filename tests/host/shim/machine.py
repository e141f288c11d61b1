"""machine.mem8/16/32 over the fake physical memory."""

from .memory import memory


class _Mem:
    def __init__(self, width):
        self._width = width

    def __getitem__(self, addr):
        return memory.read(addr, self._width)

    def __setitem__(self, addr, value):
        memory.write(addr, self._width, value)


mem8 = _Mem(1)
mem16 = _Mem(2)
mem32 = _Mem(4)
