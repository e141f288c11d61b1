"""Enumeration: numbers the buses, finds functions, gives BARs and bridges their addresses."""

from machine import mem8, mem16
from micropython import const

from .bridge import Bridge
from .function import Function
from .space import size_text

_HEADER_TYPE = const(0x0E)
_HOST_BRIDGE = const(0x0600)  # class and subclass


def enumerate(host):
    """Everything from scratch."""
    numbers = list(range(host.last_bus, host.first_bus, -1))
    host.functions = sorted(_scan(host, host.first_bus, None, numbers), key=_address)
    _assign(host, host.functions)
    buses = {f.bus for f in host.functions}
    for function in host.functions:
        if isinstance(function, Bridge):
            function.occupied = function.secondary in buses


def rescan(host):
    """(new functions, lost ones); what is there keeps its addresses."""
    ports = [f for f in host.functions if isinstance(f, Bridge) and f.hot]
    lost = [f for f in host.functions if not f.present]  # before a slot with another device gets power
    if ports:
        from . import hotplug

        for port in ports:
            hotplug.look(port)
        lost += [f for f in host.functions if not f.gone and not f.present]
    for function in lost:
        _forget(host, function)
    host.functions = [f for f in host.functions if not f.gone]
    known = {f.bus for f in host.functions}
    new = []
    for port in ports:
        if port.secondary and port.secondary not in known and not port.gone:
            new += _scan(host, port.secondary, port, port.spare)
    if new:
        host.functions = sorted(host.functions + new, key=_address)
        _assign(host, new)
    buses = {f.bus for f in host.functions}
    for port in ports:
        port.occupied = port.secondary in buses
    return new, lost


def _address(function):
    return function.address


def functions_of(host, number, bridge, slots):
    """The functions on a bus; of a slot whose function 0 is not there no other is read."""
    found = []
    at = host.config_address(number, 0, 0) - 0x8000
    for slot in range(slots):
        at += 0x8000
        if mem16[at] == 0xFFFF:
            continue
        many = mem8[at + _HEADER_TYPE] & 0x80
        for n in range(8 if many else 1):
            if n == 0 or mem16[at + (n << 12)] != 0xFFFF:
                kind = mem8[at + (n << 12) + _HEADER_TYPE] & 0x7F
                found.append((Bridge if kind == 1 else Function)(host, bridge, number, slot, n))
    return found


def _scan(host, number, bridge, numbers):
    """The functions on a bus and behind it; bridges take bus numbers from the end of numbers."""
    found = []
    for function in functions_of(host, number, bridge, bridge.slots if bridge else 32):
        found.append(function)
        if function.class_code >> 8 != _HOST_BRIDGE:
            function.size_bars()
        if isinstance(function, Bridge) and numbers:
            found += _scan_behind(host, function, numbers)
    return found


def _scan_behind(host, bridge, numbers):
    last = numbers[0]
    secondary = numbers.pop()
    bridge.set_buses(secondary, last)
    found = _scan(host, secondary, bridge, numbers)
    if bridge.hot and len(numbers) > 8:
        bridge.spare = [numbers.pop()]
    bridge.set_buses(secondary, numbers[-1] - 1 if numbers else last)
    return found


# -- addresses ---------------------------------------------------------------------------------


def _space(host, bar):
    """The Space that a BAR belongs into, None without one."""
    bridge = bar.function.bridge
    if bar.kind == "io":
        return host.io if bridge is None else bridge.io
    if bridge is None:
        return host.high if bar.wide and host.high is not None else host.mem
    return bridge.pref if bar.wide and bar.prefetch and bridge.pref is not None else bridge.mem


def _outer(host, bridge, space):
    """The Space of the next bus that a bridge's Space lies in."""
    outer = bridge.bridge
    if space is bridge.io:
        return host.io if outer is None else outer.io
    if space is bridge.pref:
        if outer is not None:
            # What has 32 bits cannot lie in a window that may be placed above 4 GiB.
            return outer.pref if outer.pref is not None and outer.pref64 <= bridge.pref64 else outer.mem
        if bridge.pref64 and host.high is not None:
            return host.high
    return host.mem if outer is None else outer.mem


def _assign(host, functions):
    """Place all BARs and windows of these functions, write them, and let them decode."""
    for function in functions:
        if isinstance(function, Bridge):
            for space in function.spaces():
                outer = _outer(host, function, space)
                if outer is not None:
                    outer.items.append(space)
        for bar in function.bars.values():
            _add(bar, _space(host, bar))
    for bar in _place(host.high):
        # It may still fit below 4 GiB.
        bridge = bar.function.bridge
        _add(bar, host.mem if bridge is None else bridge.mem)
    for space in (host.mem, host.io):
        for bar in _place(space):
            bar.why = "does not fit into the %s window of %s" % (space.name, size_text(space.size))
    for function in host.functions:
        if isinstance(function, Bridge):
            function.open_windows()
    for function in functions:
        function.start()


def _add(bar, space):
    if space is None:
        bar.why = "there is no window for %s" % ("I/O" if bar.kind == "io" else "memory")
    else:
        space.items.append(bar)


def _place(space):
    if space is None:
        return []
    space.prepare()
    return space.place()


def _forget(host, function):
    """Give back what a function that is gone had: addresses, bus numbers."""
    items = list(function.bars.values())
    if isinstance(function, Bridge):
        items += function.spaces()
        if function.bridge is not None and function.bridge.hot:
            function.bridge.spare.append(function.secondary)
    for space in (host.io, host.mem, host.high):
        for item in items:
            if space is not None:
                space.remove(item)
