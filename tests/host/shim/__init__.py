"""Stand-ins that let the frozen modules run under CPython: call install() before importing them."""

import builtins
import os
import sys

from .memory import MemoryFault, memory

_HERE = os.path.dirname(__file__)
MODULES = os.environ.get("MODULES_DIR") or os.path.abspath(os.path.join(_HERE, "../../../modules"))


def install():
    """Put the stand-ins into sys.modules and the viper words into builtins; idempotent."""
    from . import framebuf, machine, micropython, riscv, uctypes

    for module in (framebuf, machine, micropython, riscv, uctypes):
        sys.modules[module.__name__.rsplit(".", 1)[1]] = module
    for name in ("ptr8", "ptr16", "ptr32", "ptr64", "ptr", "uint"):
        setattr(builtins, name, getattr(micropython, name))
    builtins.const = micropython.const
    builtins.riscv_fence = riscv.fence
    _install_time()
    _install_asyncio()
    if MODULES not in sys.path:
        sys.path.insert(0, MODULES)


def _install_time():
    import time

    def ticks_ms():
        return (time.monotonic_ns() // 1_000_000) & 0x3FFFFFFF

    def ticks_us():
        return (time.monotonic_ns() // 1000) & 0x3FFFFFFF

    def ticks_add(ticks, delta):
        return (ticks + delta) & 0x3FFFFFFF

    def ticks_diff(end, start):
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000

    time.ticks_ms = ticks_ms
    time.ticks_us = ticks_us
    time.ticks_add = ticks_add
    time.ticks_diff = ticks_diff
    time.sleep_ms = lambda ms: time.sleep(ms / 1000)
    time.sleep_us = lambda us: time.sleep(us / 1000000)


def _install_asyncio():
    import asyncio
    import types

    class ThreadSafeFlag:
        """Looks whenever the loop comes round, as MicroPython's poll object asks its streams."""

        def __init__(self):
            self.state = 0

        def set(self):
            self.state = 1

        async def wait(self):
            while not self.ioctl(3, 1):
                await asyncio.sleep(0.0001)
            self.state = 0

    class Core(types.ModuleType):
        @property
        def _task_queue(self):
            return asyncio.get_running_loop()

    asyncio.ThreadSafeFlag = ThreadSafeFlag
    asyncio.core = Core("core")
    asyncio.sleep_ms = lambda ms: asyncio.sleep(ms / 1000)


__all__ = ["MODULES", "MemoryFault", "install", "memory"]
