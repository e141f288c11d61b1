"""Things that a broken or malicious device does to a queue; for tests and fuzzing of any driver.

LIES and PRANKS are lists of functions f(queue, rng) -> bool: whether something was done, since some
need a chain in flight. After a lie a driver has to raise DeviceError when it looks at the ring next,
after a prank nothing may happen. Writes outside the ring are not among them: without an IOMMU nothing
helps against those.

What a whole device can do wrong is set on FakeDevice: dead, mute, refuse, reset_delay, lie, restless,
need_reset(), vanish(), spurious(), and at() for doing one of these at some point.
"""

import functools
import struct

from fake_packed import FakePackedQueue
from fake_rules import IN_ORDER
from shim.memory import memory


def lie(function):
    """After this the model itself does not know what holds: it only watches where the driver writes."""

    @functools.wraps(function)
    def tell(queue, rng):
        done = function(queue, rng)
        queue.broken = queue.broken or done
        return done

    return tell


def _packed(queue):
    return isinstance(queue, FakePackedQueue)


def _ids(queue):
    """All ids that the driver may have given out; a packed queue's ids are its own affair."""
    return range(queue.size)


def _some(queue, rng):
    """A chain that may be finished now."""
    chains = list(queue.in_flight.values())
    if not chains:
        return None
    return chains[0] if queue.device.has(IN_ORDER) else rng.choice(chains)


def _drop(queue, chain):
    if chain in queue.held:
        queue.held.remove(chain)
    del queue.in_flight[chain.head]
    queue.forget(chain)


# -- lies: the driver has to notice ----------------------------------------------------------------


@lie
def id_out_of_range(queue, rng):
    """A used element with an id beyond the queue."""
    if not queue.in_flight:
        return False
    ids = [queue.size, 2 * queue.size + 1, 0x8000, 0xFFFF, 0x10000, 0xFFFF_FFFF]
    most = 0xFFFF if _packed(queue) else 0xFFFF_FFFF
    queue.push(rng.choice([i for i in ids if queue.size <= i <= most]), 0)
    return True


@lie
def id_not_in_flight(queue, rng):
    """An id that is free, while something is in flight."""
    queue.fetch()
    free = [i for i in _ids(queue) if i not in queue.in_flight]
    if not queue.in_flight or not free:
        return False
    queue.push(rng.choice(free), 0)
    return True


@lie
def id_twice(queue, rng):
    """The same chain is used two times, while another is in flight."""
    if len(queue.in_flight) < 2:
        return False
    chain = _some(queue, rng)
    queue.finish(chain, 0)
    queue.push(chain.head, 0)
    return True


@lie
def length_too_long(queue, rng):
    """More bytes than the device-writable part has; legacy devices get that wrong in good faith."""
    chain = _some(queue, rng)
    if chain is None or queue.device.legacy:
        return False
    _drop(queue, chain)
    length = min(chain.room + rng.choice([1, 2, 4096, 1 << 31]), 0xFFFF_FFFF)
    queue.push(chain.head, length, chain.slots if _packed(queue) else 1)
    return True


@lie
def index_ahead(queue, rng):
    """used.idx moves beyond what is in flight."""
    if _packed(queue):
        return False
    step = queue.size + rng.choice([1, 2, 1000])
    idx = (queue.used_idx + len(queue.in_flight) + step) & 0xFFFF
    queue.used_idx = idx
    queue._write_used(2, struct.pack("<H", idx))
    return True


# -- pranks: nothing may come of them --------------------------------------------------------------


def scribble(queue, rng):
    """Write into the descriptors in flight: links that loop, addresses, lengths."""
    if not queue.in_flight:
        return False
    if _packed(queue):
        for slot in {p % queue.size for p in range(queue.used_pos, queue.fill)}:
            queue.raw(slot)[:14] = rng.randbytes(14)
            queue.copy[16 * slot : 16 * slot + 16] = queue.raw(slot)
        return True
    for chain in queue.in_flight.values():
        for i in chain.descriptors:
            raw = rng.randbytes(12) + struct.pack("<HH", rng.randrange(8), rng.choice([i, 0, 0xFFFF]))
            memory.view(queue.desc + 16 * i, 16)[:] = raw
            chain.descriptors[i] = raw
    return True


def odd_flags(queue, rng):
    """Bits of used.flags that mean nothing, with EVENT_IDX all of them; avail_event without EVENT_IDX."""
    if _packed(queue):
        return False
    queue._write_used(0, struct.pack("<H", rng.randrange(1 << 16) & (0xFFFF if queue.event_idx else 0xFFFE)))
    if not queue.event_idx:
        queue.set_avail_event(rng.randrange(1 << 16))
    return True


def interrupt(queue, rng):
    """An interrupt without a reason."""
    queue.device.spurious()
    return True


LIES = [id_out_of_range, id_not_in_flight, id_twice, length_too_long, index_ahead]
PRANKS = [scribble, odd_flags, interrupt]


def warp(vq, queue, position):
    """Let both sides of a fresh queue believe that so many chains (packed: slots) have gone through."""
    queue.start_at(position)
    word = position % vq.size | queue.wrap(position) << 15 if _packed(queue) else position
    for i in (9, 10, 11):  # filled, published, taken: the state block of modules/virtio/ring.py
        vq._state.buf[4 * i : 4 * i + 4] = word.to_bytes(4, "little")
