"""What a program ought to do: run by CPython, viper through its model."""

import signal
import sys
import warnings

import harness
import vipermodel

# Seconds of processor time after which a program is not worth it.
LIMIT_S = 1


def quiet():
    """Random code is full of what Python warns of, and leaves generators that do not want to end."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None


def plain(program):
    """The program as Python that means the same on any implementation, DECO in its place."""
    return vipermodel.translate(program.text) if program.kind == "v" else program.text


_late = []


def _too_long(*_):
    _late.append(True)
    raise harness.Reject("too long")


def results(program):
    """What each call did, as bytes. Reject: the program does what nobody promises anything about."""
    _late.clear()
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        names = harness.scope()
        exec(plain(program).replace("@DECO\n", "\n"), names)
        at = {"A": harness.BASE.__add__, "V": harness.BASE.__add__}
        found = [harness.run(names["f_Z"], eval(call, at), program.kind == "o") for call in program.calls]
        if _late:  # and a handler of the program caught it
            raise harness.Reject("too long")
        return found
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise harness.Reject(str(error)) from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def expect(program):
    """Sets the digest that all modes must give."""
    crc = 0
    for result in results(program):
        crc = harness.binascii.crc32(result, crc)
    program.expected = crc
    return program
