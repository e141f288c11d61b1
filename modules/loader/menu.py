"""The console side of booting: a countdown that any key stops, and the menu of an extlinux.conf."""

import sys

from micropython import const

_TICK_MS = const(100)


def _key(timeout_ms):
    # A key pressed within timeout_ms (None: wait for ever), or ''.
    import select

    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    if poll.poll(-1 if timeout_ms is None else timeout_ms):
        return sys.stdin.read(1)
    return ""


def countdown(text, tenths):
    """Count down on one line; False as soon as a key is pressed, True at the end."""
    import time

    end = time.ticks_add(time.ticks_ms(), tenths * 100)
    shown = None
    while True:
        left = time.ticks_diff(end, time.ticks_ms())
        if left <= 0:
            print("\r%s now%s" % (text, " " * 30))
            return True
        seconds = (left + 999) // 1000
        if seconds != shown:
            shown = seconds
            print("\r%s in %d s, any key stops " % (text, seconds), end="")
        if _key(min(left, _TICK_MS)):
            print()
            return False


def choose(config):
    """Which label of an extlinux.Config to boot, or None for the prompt. May ask on the console."""
    if not config.labels:
        raise ValueError("%s: names nothing to boot" % config.name)
    default = config.label()
    if not config.prompt:
        if not config.timeout or countdown("%s: booting %s" % (config.name, default.name), config.timeout):
            return default
        return None
    print(config.title or config.name)
    for i, label in enumerate(config.labels):
        print("%s%2d  %s" % ("*" if label is default else " ", i + 1, label.text))
    print("A number or Enter boots; any other key gives the prompt.")
    return _ask(config, default)


def _ask(config, default):
    import time

    end = time.ticks_add(time.ticks_ms(), config.timeout * 100)
    number = ""
    while True:
        left = None
        if config.timeout and not number:
            left = max(0, time.ticks_diff(end, time.ticks_ms()))
            print("\rboot %s in %d s: " % (default.name, (left + 999) // 1000), end="")
        key = _key(left and min(left, 1000))
        if not key:
            if left is not None and time.ticks_diff(end, time.ticks_ms()) <= 0:
                print()
                return default
            continue
        if key in "\r\n":
            print()
            return config.label(number) if number else default
        if not key.isdigit():
            print()
            return None
        number += key
        print(key, end="")
        if int(number) * 10 > len(config.labels):
            print()
            return config.label(number)
