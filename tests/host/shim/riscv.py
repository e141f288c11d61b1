"""The firmware's riscv module as far as drivers need it; records what tests look at."""

import errno
import struct
import time as _time

from .memory import memory

fences = [0]  # how many fences were executed
on_fence = []  # called at each of them
quiesce = {}  # addr -> width, the table of device status registers
irqs = {}  # source -> callback
messages = {}  # number -> (address, data) of the messages that are taken
message_address = [lambda number: 0x2400_0000]  # an IMSIC's; tests/qtest has its own
storms = {}  # source -> useless interrupts in a row
silenced = set()
STORM_MAX = 4096
FOREIGN = 99  # phandle of a controller that serves other harts
completed = []  # sources passed to irq_complete
blob = b""  # what fdt() answers
BANK = (0xA000_0000, 0xA400_0000)  # free RAM, with nothing in it
reserved = []  # [start, end, name] in it


def reset():
    fences[0] = 0
    del reserved[:]
    del on_fence[:]
    quiesce.clear()
    irqs.clear()
    messages.clear()
    storms.clear()
    silenced.clear()
    del completed[:]


def fence():
    fences[0] += 1
    for callback in on_fence:
        callback()


def addr(buf, writable=False):
    if writable and memoryview(buf).readonly:
        raise TypeError("object with buffer protocol required")
    return memory.addr(buf)


def spans(table, pieces, writable):
    for i, (number, buf) in enumerate(pieces):
        if not -(1 << 63) <= number < 1 << 63:
            raise OverflowError("overflow converting long int to machine word")
        struct.pack_into("<QqQ", table, 24 * i, addr(buf, writable), number, memoryview(buf).nbytes)


def time():
    return _time.monotonic_ns() // 100


def timebase():
    return 10_000_000


def fdt():
    return memoryview(blob)


def quiesce_add(where, width):
    if len(quiesce) == 64 and where not in quiesce:
        raise OSError(errno.ENOMEM, "")
    quiesce[where] = width


def quiesce_remove(where):
    quiesce.pop(where, None)


def irq_controller():
    return "PLIC"


def irq_serves(phandle):
    return phandle != FOREIGN


def irq(source, callback, trigger=4):
    if callback is None:
        irqs.pop(source, None)
        storms.pop(source, None)
        silenced.discard(source)
    else:
        if source in silenced:
            silenced.discard(source)
            storms.pop(source, None)
        irqs[source] = callback


def irq_complete(source, worked=False):
    """As the firmware does it, but that every interrupt counts as coming at once."""
    completed.append(source)
    storms[source] = 0 if worked else storms.get(source, 0) + 1
    if storms[source] >= STORM_MAX:
        silenced.add(source)
    return source not in silenced


def irq_state(source):
    return completed.count(source), STORM_MAX if source in silenced else 0


def msi_alloc():
    number = next(n for n in range(97, 256) if n not in messages)
    messages[number] = (message_address[0](number), number)
    return number, *messages[number]


def msi_free(number):
    del messages[number]


def interrupt(source):
    """Not the firmware's: what the scheduler does when the source interrupts."""
    if source in irqs and source not in silenced:
        irqs[source](source)


def ram():
    return (BANK,)


def regions():
    return tuple(tuple(region) for region in sorted(reserved))


def largest_free():
    at, best = BANK[0], (0, 0)
    for start, end, _ in (*regions(), (BANK[1], BANK[1], "")):
        if start - at > best[1] - best[0]:
            best = (at, start)
        at = end
    return best


def reserve(start, end, name):
    if not BANK[0] <= start < end <= BANK[1]:
        raise ValueError("%s: not in RAM" % name)
    if any(start < other[1] and other[0] < end for other in reserved):
        raise ValueError("%s overlaps something" % name)
    reserved.append([start, end, name])


def release(start):
    for region in reserved:
        if region[0] == start:
            reserved.remove(region)
            return
    raise ValueError("not reserved")


def resize(start, new_start, new_end):
    old = next((region for region in reserved if region[0] == start), None)
    hit = [region for region in reserved if region[0] < new_end and new_start < region[1] and region is not old]
    swallowed = [region for region in hit if region[2] == old[2] and new_start <= region[0] and region[1] <= new_end]
    if old is None or swallowed != hit or not BANK[0] <= new_start < new_end <= BANK[1]:
        raise ValueError("not reserved, or something is in the way")
    for region in (*hit, old):
        reserved.remove(region)
    reserved.append([new_start, new_end, old[2]])
