"""Waiting for a virtqueue in asyncio: by interrupt where one comes, by looking again and again where not."""

import asyncio
import errno
import time

from micropython import const

_POLL = const(3)  # request of ioctl
_TICK_MS = const(50)  # interrupts make things faster, never correct: so often all that wait look by themselves
_EAGER = const(100)  # looks without a pause when no interrupt comes
_SLOW_MS = const(10)

_waiting = []
_ticking = None  # the task queue of the loop in which _tick() runs
_rounds = 0  # of _tick() since somebody began to wait


class _Wait(asyncio.ThreadSafeFlag):
    """A flag that looks for itself whenever the loop asks; interrupts make the loop ask."""

    def __init__(self, queue, look, timeout_ms):
        super().__init__()
        self.queue = queue
        self.look = look
        self.deadline = None if timeout_ms is None else time.ticks_add(time.ticks_ms(), timeout_ms)
        self.loop = asyncio.core._task_queue

    def ioctl(self, request, flags):
        if request != _POLL:
            return -1
        if not self.state and (self.used() or self.late() or not self.queue.live):
            self.state = 1
        return self.state * flags

    def used(self):
        """Whether what is waited for is there. An error counts: it comes again where it can be raised."""
        try:
            return self.look()
        except Exception:
            return True

    def late(self):
        return self.deadline is not None and time.ticks_diff(self.deadline, time.ticks_ms()) <= 0


async def until(queue, look, timeout_ms=None):
    """Wait until look() is true; False: it was not in timeout_ms, or the queue died first.

    The queue's interrupts are on meanwhile. look() takes in what the device has used, and is called
    from the event loop at any time.
    """
    wait = _Wait(queue, look, timeout_ms)
    if wait.used():
        return True
    _enter(wait)
    try:
        while not (wait.used() or wait.late()) and queue.live:
            await wait.wait()
    finally:
        _leave(wait)
    return bool(look())


async def wait(queue, head, timeout_ms=1000):
    """What Virtqueue.wait() does, while other tasks run; its used length.

    OSError(ETIMEDOUT), or cancelled: the queue keeps the buffers until the device uses them or is
    reset. DeviceError: the device broke down meanwhile.
    """
    queue.hold(head)
    try:
        queue.notify()
        if not await until(queue, lambda: queue.done(head), timeout_ms):
            queue.device.check_status()
            text = "%s: queue %d: no answer in %d ms" % (queue.device.name, queue.index, timeout_ms)
            raise OSError(errno.ETIMEDOUT, text)
    except BaseException:
        queue.abandon(head)
        raise
    return queue.release(head)


class Used:
    """async for token, length in queue: what get() gives, as it comes; ends when the device is closed."""

    def __init__(self, queue):
        self.queue = queue

    def __aiter__(self):
        return self

    async def __anext__(self):
        queue = self.queue
        while True:
            if not queue.live and not queue.device.is_open:
                raise StopAsyncIteration
            found = queue.get()
            if found is not None:
                return found
            await until(queue, lambda: not queue.live or queue.done())


# -- those that wait, and the task that looks after them ---------------------------------------


def _enter(wait):
    global _ticking, _rounds
    _waiting.append(wait)
    _rounds = 0
    wait.queue.device.attend(True)
    wait.queue.enable_cb()  # what came in before is seen by the look that follows
    if _ticking is not wait.loop:
        _ticking = wait.loop
        asyncio.create_task(_tick(wait.loop))


def _leave(wait):
    _waiting.remove(wait)
    queue = wait.queue
    if queue.live and not any([other.queue is queue for other in _waiting]):
        if not queue.device.wants_interrupts:
            queue.disable_cb()


async def _tick(loop):
    """Let the loop look: often while interrupts do not come, and at devices that ask for a reset."""
    global _ticking, _rounds
    while _ticking is loop:
        for old in [wait for wait in _waiting if wait.loop is not loop]:
            _waiting.remove(old)  # its loop is no more
        if not _waiting:
            _ticking = None
            return
        if all([wait.queue.device.attend(False) for wait in _waiting]):
            await asyncio.sleep_ms(_TICK_MS)
        else:
            _rounds += 1
            await asyncio.sleep_ms(0 if _rounds < _EAGER else 1 if _rounds < 10 * _EAGER else _SLOW_MS)
            if _rounds < 10 * _EAGER:
                continue
        _check([wait.queue.device for wait in _waiting if wait.queue.live])


def _check(devices):
    for device in devices:
        try:
            device.check_status()
        except (OSError, ValueError):
            pass  # those that wait see it
