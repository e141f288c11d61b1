"""Interrupts for Python: lines that several callbacks share, and messages (MSI).

A source is a number from the device tree, the same with every interrupt controller. Callbacks run
between two bytecodes, in the order in which they were connected; when the last has run, the source
may interrupt again. A callback gets the source and must not block. It returns True if it found
something to do. A source that interrupts again and again without that is silenced: a storm must not
lock the prompt out. why() shows it, and connecting enables it again.
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
            if not riscv.irq_complete(source, worked):
                print("irq: " + text(source))
        if error is not None:
            raise error


def route(found):
    """(source, trigger) of a (controller Node, cells) pair of the device tree; (0, 0): not to this hart."""
    controller, cells = found
    if not riscv.irq_serves(controller.u32("phandle")):
        return 0, 0
    return cells[0], cells[1] if len(cells) > 1 else 4


def connect(source, callback, trigger=4):
    """Let callback(source) run when the source interrupts, beside those that are connected already.

    trigger: the second cell of the device tree's interrupt, where it has one: 1 rising, 2 falling, 4
    high, 8 low; the first to connect decides. A silenced source may interrupt again.

    OSError(ENODEV): no interrupt controller, or source 0: polling works without. ValueError: the
    controller has no such source. Connecting the same callback twice changes nothing.
    """
    if not source:
        raise OSError(errno.ENODEV, "no interrupt route")
    if not riscv.irq_controller():
        raise OSError(errno.ENODEV, "no interrupt controller")
    line = _lines.get(source)
    if line is None:
        line = _Line(source)
    if callback not in line.callbacks:
        line.callbacks += (callback,)
    try:
        riscv.irq(source, line.run_bound, trigger)
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


def silenced(source):
    """Whether it was a storm, so that nothing comes from it any more."""
    return riscv.irq_state(source)[1] != 0


def text(source):
    """'PLIC 8', and whether it was silenced."""
    many = riscv.irq_state(source)[1]
    words = "%s %d" % (riscv.irq_controller() or "interrupt", source)
    if many:
        words += ", silenced after %d interrupts at once that were no work" % many
    return words


def why():
    """Print what is connected, how often it has interrupted, and what was silenced."""
    print("controller: %s" % (riscv.irq_controller() or "none"))
    for source in sorted(_lines):
        callbacks = _lines[source].callbacks
        print("  %s: %d interrupts, %d callbacks" % (text(source), riscv.irq_state(source)[0], len(callbacks)))


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
    """A Message that calls callback(number). OSError: ENODEV, no controller for messages; ENOSPC, all are taken."""
    return Message(callback)
