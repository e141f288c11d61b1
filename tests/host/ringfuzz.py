"""Virtqueues against a strict and sometimes hostile device: random steps of both sides, checked one by one.

An episode is a plan (ring layout, features, size) and a list of steps, pairs of a name and a number
from which the step draws what it needs; so any episode can be run again, cut short and made smaller.
Time is virtual: every look at the clock is a millisecond, so no wait takes longer than it has to.
"""

import argparse
import contextlib
import errno
import functools
import multiprocessing
import random
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import shim

    shim.install()

import fake_hostile
from fake_device import FakeDevice, Violation, mask
from fake_rules import EVENT_IDX, IN_ORDER, INDIRECT_DESC, NOTIFICATION_DATA, RING_PACKED, RING_RESET
from micropython import natives
from virtio.device import Device
from virtio.transport import DeviceError
from virtio_host import attach, fresh

EPISODE = 400  # steps
HANG_S = 30  # real seconds for an episode of some tenths


class Hang(BaseException):
    """An episode that does not end; not an Exception, so that nobody handles it."""


class Clock:
    """time.ticks_ms() that goes on by itself."""

    def __init__(self):
        self.now = 0

    def ticks_ms(self):
        self.now += 1
        return self.now & 0x3FFFFFFF

    @contextlib.contextmanager
    def running(self):
        old = time.ticks_ms
        time.ticks_ms = self.ticks_ms
        try:
            yield
        finally:
            time.ticks_ms = old


@dataclass(frozen=True)
class Plan:
    """What an episode is about."""

    packed: bool = False
    event_idx: bool = False
    indirect: bool = False
    in_order: bool = False
    data: bool = False
    legacy: bool = False
    reset: bool = False
    irq: bool = False  # a callback uses the queue between any two lines of Python in queue.py
    size: int = 8
    start: int = 0  # chains or slots that have gone through already

    @classmethod
    def draw(cls, dice):
        packed = dice.random() < 0.5
        flags = [dice.random() < 0.5 for _ in range(3)]
        size = dice.choice([1, 2, 3, 5, 7, 8, 16, 33]) if packed else dice.choice([1, 2, 3, 4, 8, 16, 31, 32])
        legacy = not packed and dice.random() < 0.2
        modern = not legacy
        start = dice.choice([0, 0, size, 2 * size - 1]) if packed else dice.choice([0, 0, 65500, 65535])
        return cls(
            packed=packed,
            event_idx=flags[0],
            indirect=flags[1],
            in_order=modern and flags[2],
            data=modern and dice.random() < 0.25,
            legacy=legacy,
            reset=modern and dice.random() < 0.5,
            irq=dice.random() < 0.2,
            size=size,
            start=start,
        )

    def features(self):
        bits = (
            (RING_PACKED, self.packed),
            (EVENT_IDX, self.event_idx),
            (INDIRECT_DESC, self.indirect),
            (IN_ORDER, self.in_order),
            (NOTIFICATION_DATA, self.data),
            (RING_RESET, self.reset),
        )
        return mask(*(bit for bit, on in bits if on))


class Mirror(FakeDevice):
    """Writes what it read backwards, as much of it as there is room for."""

    DEVICE_ID = 42

    def __init__(self, **options):
        super().__init__(**options)
        self.jobs = {}  # id of a job's first buffer -> Job

    def finished(self, chains, length):
        for chain in chains:
            job = self.jobs.pop(id((chain.readable + chain.writable)[0].obj))
            job.used = length if chain is chains[-1] else chain.room

    def process(self, queue, chain):
        data = chain.data()[::-1][: chain.room]
        if data:
            chain.write(data)
        return len(data)


class Driver(Device):
    NAME = "fuzz"

    def probe(self):
        self.vq = self.queue(0)


class Job:
    """A chain from the driver's point of view."""

    def __init__(self, number, readable, writable):
        self.number = number
        self.readable = readable
        self.writable = writable
        self.head = None
        self.token = False
        self.used = None  # the length that the device gave back, None: not yet

    def key(self):
        return b"".join(bytes(b) for b in self.readable)

    def check(self, length):
        assert length == self.used, "job %d: length %d, the device said %r" % (self.number, length, self.used)
        got = b"".join(bytes(b) for b in self.writable)[:length]
        assert got == self.key()[::-1][:length], "job %d: wrong data" % self.number


class World:
    """One driver, one device, and what must be true between them."""

    def __init__(self, plan):
        fresh()
        self.plan = plan
        self.device = Mirror(legacy=plan.legacy, ring_features=plan.features(), queues=(plan.size,))
        self.device.manual = True
        self.driver, _ = attach(self.device, Driver)
        self.jobs = {}  # number -> Job, not given back
        self.count = 0
        self.bad = False  # the device has done what DeviceError is for
        self.lied = False  # and the driver has to notice when it looks
        self.listening = False  # an interrupt is due when something is used
        self.stats = Counter()
        self.driver.open()
        self.busy = False  # in the callback
        self.quiet = False  # the queue is being made again: a callback would get an error
        self.dice = random.Random(plan.size)
        self.size = self.vq.size
        if plan.start:
            fake_hostile.warp(self.vq, self.queue, plan.start)

    # -- bookkeeping ---------------------------------------------------------------------

    @property
    def vq(self):
        return self.driver.vq

    @property
    def queue(self):
        return self.device.queues[0]

    def step(self, name, number):
        dice = random.Random(number)
        self.stats[name] += 1
        if self.driver.error is not None and name not in DEVICE_STEPS and dice.random() < 0.7:
            name = "reopen"
        try:
            getattr(self, "do_" + name)(dice)
        except DeviceError as error:
            assert self.bad, "DeviceError though the device has done nothing: %r" % (error,)
            self.stats["DeviceError"] += 1
            self.lied = False
        assert self.driver.error is None or self.bad
        if not self.bad:
            assert 0 <= self.vq.in_flight <= self.size
            assert 0 <= self.vq.num_free <= self.size

    # -- a callback between two lines -----------------------------------------------------

    def trace(self, frame, event, arg):
        """sys.settrace() calls this: queue.py's Python may be interrupted, native code and viper may not."""
        if frame.f_code in natives or not frame.f_code.co_filename.endswith("virtio/queue.py"):
            return None
        return self.line

    def line(self, frame, event, arg):
        if event == "line" and not self.busy and not self.quiet and self.dice.random() < 0.03:
            self.busy = True
            self.stats["callback"] += 1
            try:
                self.callback(self.dice)
            except DeviceError:
                assert self.bad
            finally:
                self.busy = False
        return self.line

    def callback(self, dice):
        """What a driver does on an interrupt."""
        for _ in range(dice.randint(0, 3)):
            self.do_get(dice)
        if dice.random() < 0.5:
            self.job(dice, True)
            self.vq.notify()

    def job(self, dice, token):
        """Add one chain of some buffers; the Job, None when the queue is full.

        After a lie the driver looks first: it cannot tell if the device names an id that was free
        then and is in flight by now.
        """
        while self.lied:
            self.do_get(dice)
        most = self.size
        n = dice.randint(1, min(most, dice.choice([1, 3, 8])))
        if dice.random() < 0.02:
            self.refused(dice)
        split = dice.randint(0, n)
        self.count += 1
        name = self.count.to_bytes(4, "little")
        readable = [name[: dice.randint(1, 4)] if i else name for i in range(split)]
        writable = [bytearray(dice.choice([1, 2, 4, 64])) for _ in range(n - split)]
        job = Job(self.count, readable, writable)
        free = self.vq.num_free
        try:
            job.head = self.vq.add(readable, writable, job.number if token else None)
        except OSError as error:
            if isinstance(error, DeviceError):
                raise
            assert error.args[0] == errno.EAGAIN, error
            need = 1 if self.plan.indirect and n > 1 else n
            assert free < need or self.plan.irq, "EAGAIN with %d of %d free" % (free, need)
            self.stats["EAGAIN"] += 1
            return None
        assert job.head not in [other.head for other in self.jobs.values() if other.head is not None]
        job.token = token
        self.jobs[job.number] = job
        self.device.jobs[id((readable + writable)[0])] = job
        return job

    def refused(self, dice):
        """What the queue does not take, whatever its state."""
        small, good = bytearray(1), bytes(1)
        wrong = [
            ([], []),
            ([b""], []),
            ([], [bytearray()]),
            ([good] * (self.size + 1), []),
            ([good], [small] * self.size),
        ]
        readable, writable = dice.choice(wrong)
        free = self.vq.num_free
        try:
            self.vq.add(readable, writable)
        except ValueError:
            assert self.vq.num_free == free or self.plan.irq
            return
        raise AssertionError("a chain of %d and %d buffers was taken" % (len(readable), len(writable)))

    def behind(self):
        """Whether the device has used chains that the driver has not taken yet."""
        taken, queue = self.vq._word(11), self.queue
        if self.plan.packed:
            return taken != queue.used_pos % queue.size | queue.wrap(queue.used_pos) << 15
        return taken != queue.used_idx

    def done(self, job, length):
        job.check(length)
        del self.jobs[job.number]
        self.stats["completed"] += 1

    # -- the driver's steps --------------------------------------------------------------

    def do_add(self, dice):
        for _ in range(dice.choice([1, 1, 2, 5])):
            self.job(dice, True)

    def do_notify(self, dice):
        self.vq.notify()

    def do_get(self, dice):
        got = self.vq.get()
        if got is None:
            assert not self.lied, "a lie went unnoticed"
            return
        number, length = got
        assert number in self.jobs, "token %r is not in flight" % (number,)
        self.done(self.jobs[number], length)

    def do_drain(self, dice):
        for _ in range(self.size + 1):
            self.do_get(dice)

    def do_wait(self, dice):
        job = self.job(dice, False)
        if job is None:
            return
        self.device.manual = dice.random() < 0.3
        try:
            length = self.vq.wait(job.head, timeout_ms=dice.choice([0, 1, 5]))
        except OSError as error:
            if not isinstance(error, DeviceError):
                assert error.args[0] == errno.ETIMEDOUT, error
                # A callback may finish it after the last look, before the error gets here.
                assert job.used is None or self.plan.irq, "a chain was used, and the wait for it timed out"
                self.stats["ETIMEDOUT"] += 1
            job.head = None  # an orphan
            del self.jobs[job.number]
            if isinstance(error, DeviceError):
                raise
        else:
            self.done(job, length)
        finally:
            self.device.manual = True

    def do_poll(self, dice):
        self.vq.poll(time.ticks_ms() + 1)

    def do_listen(self, dice):
        wanted = dice.random() < 0.5
        self.check_listen(self.vq.listen(wanted))
        self.listening = wanted

    def do_enable(self, dice):
        name = dice.choice(["disable_cb", "enable_cb", "enable_cb_delayed"])
        found = getattr(self.vq, name)()
        if found is not None:
            self.check_listen(found)
        self.listening = name == "enable_cb"  # the delayed one may come at any time from now on

    def check_listen(self, found):
        """What came in before interrupts were asked for is told, or it would be lost."""
        if self.device.live and not self.queue.broken and not self.plan.irq:
            assert found == self.behind(), "listen() says %r" % found

    def do_reopen(self, dice):
        """After trouble, or just so: whatever was in flight is the driver's again."""
        self.device.alarms = []
        self.quiet = True
        self.driver.close()
        self.device.dead = False
        self.device.jobs = {}
        self.bad = self.lied = self.listening = False
        self.jobs = {}
        self.driver.open()
        self.size = self.vq.size
        assert self.vq.num_free == self.size and self.vq.in_flight == 0
        self.quiet = False

    def do_reset(self, dice):
        """Only this queue, perhaps with another size."""
        if not self.plan.reset or not hasattr(self.vq, "reset"):
            return
        tokens = sorted(job.number for job in self.jobs.values() if job.token)
        self.device.queue_reset_delay = dice.choice([0, 0, 3])
        self.quiet = True
        try:
            lost = self.vq.reset(dice.choice([None, self.size, dice.randint(1, self.plan.size)]))
        except OSError as error:
            if error.args[0] != errno.ENODEV or not self.bad:
                raise
            self.do_reopen(dice)  # the device lost its state meanwhile, and so its queues
            return
        assert sorted(lost) == tokens or self.bad, "%r was in flight, reset() says %r" % (tokens, lost)
        self.jobs, self.device.jobs = {}, {}
        self.lied = self.listening = False
        self.size = self.vq.size
        assert self.vq.num_free == self.size and self.vq.in_flight == 0
        self.quiet = False

    # -- the device's steps ---------------------------------------------------------------

    def live(self):
        """The device may go on by the rules."""
        return self.device.live and self.queue.ready and not self.device.dead and not self.queue.broken

    def do_finish(self, dice):
        """Use some chains, with all that was written or less."""
        if not self.live():
            return
        queue = self.queue
        queue.look()
        for _ in range(dice.randint(1, 4)):
            if not queue.held:
                return
            due, before = self.listening and not self.behind(), self.device.interrupts
            if self.plan.in_order:
                self._finish_batch(dice)
            else:
                chain = dice.choice(queue.held)
                length = self.device.process(queue, chain)
                queue.finish(chain, dice.choice([length, length, dice.randint(0, length)]))
            assert not due or self.device.interrupts > before, "no interrupt, though the driver listens"

    def _finish_batch(self, dice):
        queue = self.queue
        batch = []
        for chain in queue.held[: dice.randint(1, 4)]:
            length = self.device.process(queue, chain)
            batch.append(chain)
            if length != chain.room:
                break
        queue.finish_batch(batch, length)

    def do_fetch(self, dice):
        """Look without having been notified."""
        if self.live():
            self.queue.look()
            self.queue.owed = False
            self.queue.fetch()

    def do_suppress(self, dice):
        """Want notifications, or not, or from some point on."""
        if not self.live():
            return
        queue = self.queue
        queue.look()
        self.device.follow_event = dice.random() < 0.5
        if not self.plan.event_idx:
            queue.set_no_notify(dice.random() < 0.5)
        elif not self.plan.packed:
            queue.set_avail_event(queue.seen + dice.randint(-2, 3))
        elif dice.random() < 0.3:
            queue.set_no_notify(dice.random() < 0.5)
        else:
            queue.set_event(max(0, queue.fill + dice.randint(0, 3)))

    def do_lie(self, dice):
        if self.live() and not self.bad:
            self.vq.notify()  # a chain that was not published has an id in flight as far as reap() knows
            self.queue.look()
            if dice.choice(fake_hostile.LIES)(self.queue, dice):
                self.bad = self.lied = True

    def do_prank(self, dice):
        if self.live():
            self.queue.look()
            dice.choice(fake_hostile.PRANKS)(self.queue, dice)

    def do_trouble(self, dice):
        what = dice.choice(["need_reset", "lose_state", "die"])
        if what != "die":
            self.bad = True
        if dice.random() < 0.5:
            getattr(self.device, what)()
        else:
            self.device.at(dice.choice(["access", "chain"]), dice.randint(1, 9), getattr(self.device, what))

    # -- the end -------------------------------------------------------------------------

    def end(self):
        """Everything comes back when both sides do their duty."""
        self.quiet = True
        if not self.bad and not self.device.dead and not self.device.alarms:
            self.vq.notify()
            self.do_fetch(random)
            for _ in range(2 * self.size + 2):
                self.do_finish(random.Random(1))
                self.do_get(random)
            assert not self.jobs, "jobs %r never came back" % (sorted(self.jobs),)
            self.vq.reap()
            assert self.vq.num_free == self.size and self.vq.in_flight == 0, repr(self.vq)
        self.driver.close()


DRIVER_STEPS = {
    **{"add": 20, "notify": 20, "get": 20, "drain": 8, "wait": 8, "poll": 2},
    **{"listen": 2, "enable": 2, "reset": 0.7, "reopen": 0.5},
}
DEVICE_STEPS = {"finish": 25, "fetch": 5, "suppress": 5, "prank": 2, "lie": 0.6, "trouble": 0.4}
STEPS = {**DRIVER_STEPS, **DEVICE_STEPS}


def run(plan, steps):
    """One episode; what it did. Raises what went wrong, after the number of the step in its notes."""
    clock = Clock()
    with clock.running():
        world = World(plan)
        if plan.irq:
            sys.settrace(world.trace)
        done = 0
        try:
            for name, number in steps:
                done += 1
                world.step(name, number)
            world.end()
        except BaseException as error:
            error.add_note("step %d of %d, %s" % (done, len(steps), plan))
            raise
        finally:
            sys.settrace(None)
    return world.stats


def draw(seed, episode, length=EPISODE):
    """The plan and the steps of an episode."""
    dice = random.Random("%s/%d" % (seed, episode))
    plan = Plan.draw(dice)
    names = dice.choices(list(STEPS), weights=list(STEPS.values()), k=length)
    return plan, [(name, dice.getrandbits(32)) for name in names]


# -- the runner ----------------------------------------------------------------------------


def _alarm(signum, frame):
    raise Hang("no end after %d s" % HANG_S)


def guarded(plan, steps):
    """run(), stopped when it hangs; (what it did, None) or (None, what went wrong)."""
    signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        return run(plan, steps), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return None, error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _kind(error):
    """What makes two failures the same: the type, and the place in our own code or the broken rule."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return type(error), place.filename, place.lineno if not isinstance(error, Violation) else str(error).split(":")[0]


def shrink(plan, steps, error, tries=2000):
    """Fewer steps that go wrong in the same way."""
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps) and tries:
            tries -= 1
            less = steps[:at] + steps[at + size :]
            found = guarded(plan, less)[1]
            if found is not None and _kind(found) == _kind(error):
                steps = less
            else:
                at += size
        size //= 2
    return steps


def episode(seed, number, length=EPISODE):
    """(steps, statistics, text of what went wrong or None)."""
    plan, steps = draw(seed, number, length)
    stats, error = guarded(plan, steps)
    if error is None:
        return len(steps), stats, None
    trace = "".join(traceback.format_exception(error)[-6:])
    less = shrink(plan, steps, error)
    text = "episode %d of seed %s:\n%sreplay(%r,\n       %r)\n" % (number, seed, trace, plan, less)
    return len(steps), Counter(), text


def replay(plan, steps):
    """For the lines that the runner prints: run the steps and show what goes wrong."""
    return run(plan, steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=100_000, help="steps in all")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--episode", type=int, help="run this one only")
    args = parser.parse_args()
    numbers = [args.episode] if args.episode is not None else range(-(-args.n // EPISODE))
    total, stats, bad = 0, Counter(), []
    start = shown = time.monotonic()
    with multiprocessing.Pool(args.jobs) as pool:
        for steps, counts, text in pool.imap_unordered(functools.partial(episode, args.seed), numbers, 8):
            total += steps
            stats.update(counts)
            if text is not None:
                bad.append(text)
                print(text, flush=True)
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                print("%d steps, %d found" % (total, len(bad)), flush=True)
    print("%d steps in %d episodes, %.0f s, seed %s" % (total, len(numbers), time.monotonic() - start, args.seed))
    print("  ".join("%s %d" % item for item in sorted(stats.items())))
    print("%d found" % len(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
