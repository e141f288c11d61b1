"""Interrupts for Python: lines that several callbacks share, and messages (MSI).

A source is a number from the device tree. All callbacks run between two bytecodes, in the order in
which they were connected; when the last has run, the source may interrupt again. A callback gets
the source and must not block. What it returns tells storms from work: True if it found something
to do, False if its device did not interrupt, None if it does not know.
"""

import errno

import riscv

_lines = {}  # source -> _Line


class _Line:
    """The callbacks of one source."""

    def __init__(self, source):
        self.source = source
        self.callbacks = ()  # replaced as a whole: a callback may connect and disconnect
        self.run_bound = self.run  # a callback allocates nothing

    def run(self, source):
        worked = False
        error = None
        try:
            for callback in self.callbacks:
                try:
                    if callback(source):
                        worked = True
                except Exception as er:  # the others on the line must be asked all the same
                    error = er
        finally:
            riscv.irq_complete(source)
        if error is not None:
            raise error
        return worked


def connect(source, callback):
    """Let callback(source) run when the source interrupts, beside those that are connected already.

    OSError(ENODEV): no interrupt controller, or source 0: polling works without. ValueError: the
    controller has no such source. Connecting the same callback twice changes nothing.
    """
    if not source:
        raise OSError(errno.ENODEV, "no interrupt route")
    line = _lines.get(source)
    if line is None:
        line = _Line(source)
    if callback not in line.callbacks:
        line.callbacks += (callback,)
    try:
        riscv.irq(source, line.run_bound)
    except BaseException:
        _remove(line, callback)
        raise
    _lines[source] = line


def disconnect(source, callback):
    """Take a callback out; the source is disabled with the last one. Harmless when it is not in."""
    line = _lines.get(source)
    if line is not None and callback in line.callbacks:
        _remove(line, callback)
        if not line.callbacks:
            del _lines[source]
            riscv.irq(source, None)


def _remove(line, callback):
    line.callbacks = tuple([c for c in line.callbacks if c != callback])


class Message:
    """An interrupt that a device sends by writing .data (32 bits) to the address .addr."""

    def __init__(self, callback):
        self._callback = callback
        self.source, self.addr, self.data = riscv.msi_alloc()
        try:
            connect(self.source, callback)
        except BaseException:
            riscv.msi_free(self.source)
            raise

    def __repr__(self):
        return "<MSI %d: %#x to %#x>" % (self.source, self.data, self.addr)

    def close(self):
        """The device must not send it any more. Harmless when it is closed."""
        if self.source:
            disconnect(self.source, self._callback)
            riscv.msi_free(self.source)
            self.source = 0


def msi(callback):
    """A Message that calls callback(number). OSError: ENODEV without a controller for messages, ENOSPC."""
    if not hasattr(riscv, "msi_alloc"):
        raise OSError(errno.ENODEV, "no interrupt controller for messages")
    return Message(callback)
