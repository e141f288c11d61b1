"""The REPL on streams of devices, beside the UART: one slot of os.dupterm each."""

import errno
import os


def attach(stream):
    """Put the REPL on this stream too. OSError(ENOBUFS): it is on as many as it can be."""
    slot = 0
    while True:
        try:
            other = os.dupterm(stream, slot)
        except ValueError:
            raise OSError(errno.ENOBUFS, "the REPL is on %d streams already" % slot)
        if other is None or other is stream:
            return
        os.dupterm(other, slot)
        slot += 1


def detach(stream):
    """Take the REPL off this stream; nothing happens if it is not there."""
    slot = 0
    while True:
        try:
            other = os.dupterm(None, slot)
        except ValueError:
            return
        if other is stream:
            return
        if other is not None:
            os.dupterm(other, slot)
        slot += 1
