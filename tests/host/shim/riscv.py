"""The firmware's riscv module as far as drivers need it; records what tests look at."""

import time as _time

from .memory import memory

fences = [0]  # how many fences were executed
on_fence = []  # called at each of them
quiesce = {}  # addr -> width, the table of device status registers
irqs = {}  # source -> callback
messages = {}  # number -> (address, data) of the messages that are taken
completed = []  # sources passed to irq_complete
blob = b""  # what fdt() answers


def reset():
    fences[0] = 0
    del on_fence[:]
    quiesce.clear()
    irqs.clear()
    messages.clear()
    del completed[:]


def fence():
    fences[0] += 1
    for callback in on_fence:
        callback()


def addr(buf, writable=False):
    if writable and memoryview(buf).readonly:
        raise TypeError("object with buffer protocol required")
    return memory.addr(buf)


def time():
    return _time.monotonic_ns() // 100


def timebase():
    return 10_000_000


def fdt():
    return memoryview(blob)


def quiesce_add(where, width):
    quiesce[where] = width


def quiesce_remove(where):
    quiesce.pop(where, None)


def irq(source, callback):
    if callback is None:
        irqs.pop(source, None)
    else:
        irqs[source] = callback


def irq_complete(source):
    completed.append(source)


def msi_alloc():
    number = next(n for n in range(97, 256) if n not in messages)
    messages[number] = (0x2400_0000, number)
    return number, *messages[number]


def msi_free(number):
    del messages[number]


def interrupt(source):
    """Not the firmware's: what the scheduler does when the source interrupts."""
    if source in irqs:
        irqs[source](source)
