"""The slot of a port: power, presence, and what the host asks for (PCI Express 6.7)."""

import time

from micropython import const

_LINK_CAPABILITIES = const(0x0C)  # offsets in the PCI Express capability
_LINK_STATUS = const(0x12)
_CONTROL = const(0x18)
_STATUS = const(0x1A)

_ACTIVE_REPORTED = const(1 << 20)  # of the link capabilities
_ACTIVE = const(1 << 13)  # of the link status

_BUTTON = const(1 << 0)  # of the slot status: attention button, presence, link
_PRESENCE = const(1 << 3)
_COMPLETED = const(1 << 4)
_PRESENT = const(1 << 6)
_LINK = const(1 << 8)
_EVENTS = const(1 << 0 | 1 << 3 | 1 << 4 | 1 << 8)

_INTERRUPTS = const(1 << 0 | 1 << 3 | 1 << 5)  # of the slot control: button, presence, at all
_INDICATOR = const(3 << 8)
_ON = const(1 << 8)
_OFF = const(3 << 8)
_POWER_OFF = const(1 << 10)

_NO_INTX = const(1 << 10)  # of the command register
_LINK_MS = const(1000)


def events(port):
    """Take what happened since the last look, and note a wish to take the device out."""
    at = port.express + _STATUS
    bits = port.read(at, 2) & _EVENTS
    if bits:
        port.write(at, 2, bits)  # writing ones clears
    if bits & _BUTTON and port.occupied and not port.read(port.express + _CONTROL, 2) & _POWER_OFF:
        port.wanted_out = True
    return bits & ~_COMPLETED


def look(port):
    """Power a slot that something was put into; let go of what the host wants and nobody uses."""
    events(port)
    there = port.read(port.express + _STATUS, 2) & _PRESENT
    off = port.read(port.express + _CONTROL, 2) & _POWER_OFF
    if there and off:
        power(port, True)
    elif port.wanted_out:
        release(port)


def release(port):
    """Take the power from a slot whose device the host wants back, unless something in it is in use."""
    if port.wanted_out and not port.in_use:
        port.wanted_out = False
        power(port, False)


def power(port, on):
    """Switch the slot, and wait for the link when it comes on."""
    at = port.express + _CONTROL
    control = port.read(at, 2) & ~(_INDICATOR | _POWER_OFF)
    port.write(at, 2, control | (_ON if on else _OFF | _POWER_OFF))
    if not on:
        port.occupied = False
        return
    if port.read(port.express + _LINK_CAPABILITIES, 4) & _ACTIVE_REPORTED:
        start = time.ticks_ms()
        while not port.read(port.express + _LINK_STATUS, 2) & _ACTIVE:
            if time.ticks_diff(time.ticks_ms(), start) > _LINK_MS:
                return  # what does not answer is not there


class Watch:
    """Calls callback() when something happened in a slot; .close() stops it."""

    def __init__(self, ports, callback):
        """OSError(ENODEV): no port has an interrupt, or nothing can be plugged in."""
        import errno

        import irq

        from . import intx

        self._callback = callback
        self._connected = []
        self._bound = self._interrupt
        trouble = OSError(errno.ENODEV, "no slot to plug anything into")
        for port in ports:
            try:
                source = intx.source(port)[0]
                irq.connect(source, self._bound)
            except OSError as er:
                trouble = er
                continue
            self._connected.append((port, source))
            events(port)
            self._enable(port, True)
        if not self._connected:
            raise trouble

    @staticmethod
    def _enable(port, on):
        at = port.express + _CONTROL
        control = port.read(at, 2)
        port.write(at, 2, control | _INTERRUPTS if on else control & ~_INTERRUPTS)
        port.command(_NO_INTX, not on)

    def _interrupt(self, source):
        happened = False
        for port, its_source in self._connected:
            if its_source == source and events(port):
                happened = True
        if happened:
            self._callback()
        return happened

    def close(self):
        import irq

        for port, source in self._connected:
            self._enable(port, False)
            irq.disconnect(source, self._bound)
        self._connected = []
