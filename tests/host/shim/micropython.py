"""MicroPython's own words under CPython: const, native, viper and its pointer types."""

import functools

from .memory import ONES, PACK, PAGE, UNPACK, memory

_SIGN = 1 << 63


def const(value):
    return value


natives = set()  # code that a callback does not interrupt: the machine looks for them between bytecodes


def native(function):
    natives.add(function.__code__)
    return function


def schedule(function, arg):
    function(arg)


def heap_lock():
    return None


def heap_unlock():
    return None


def alloc_emergency_exception_buf(size):
    return None


def uint(value):
    return int(value) & (2 * _SIGN - 1)


def _address(where):
    """What a cast to a pointer takes: an integer, a pointer, a buffer."""
    return int(where) if isinstance(where, (int, ptr8, ptr16, ptr32, ptr64)) else memory.addr(where)


def _pointer(width):
    """The pointer type to items of that width; what it finds in plain memory takes no detour."""
    unpack, pack, ones = UNPACK[width], PACK[width], ONES[width]

    class Pointer:
        __slots__ = ("addr",)

        def __init__(self, where):
            self.addr = where if where.__class__ is int else _address(where)

        def __getitem__(self, i):
            addr = self.addr + i * width
            page = addr >> PAGE
            if page in memory.reads or page not in memory.pages or addr % width:
                return memory.read(addr, width)
            start, end, view = memory.pages[page]
            if addr < start or addr + width > end:
                return memory.read(addr, width)
            return unpack(view, addr - start)[0]

        def __setitem__(self, i, value):
            addr = self.addr + i * width
            page = addr >> PAGE
            if value.__class__ is not int and not isinstance(value, int):
                raise TypeError("viper can only store integers")
            if page in memory.writes or page not in memory.pages or addr % width:
                memory.write(addr, width, value)
                return
            start, end, view = memory.pages[page]
            if addr < start or addr + width > end:
                memory.write(addr, width, value)
                return
            pack(view, addr - start, value & ones)

        def __int__(self):
            return self.addr

        __index__ = __int__

    Pointer.__name__ = "ptr%d" % (8 * width)
    return Pointer


ptr8, ptr16, ptr32, ptr64 = (_pointer(width) for width in (1, 2, 4, 8))
ptr = ptr8


def _word(result):
    return ((int(result) + _SIGN) & (2 * _SIGN - 1)) - _SIGN


def viper(function):
    """Convert arguments and result as the viper calling convention does."""
    hints = function.__annotations__
    count = function.__code__.co_argcount
    names = function.__code__.co_varnames[:count]
    casts = [hints.get(name) for name in names]
    returns = hints.get("return")

    @functools.wraps(function)
    def call(*args):
        if len(args) != count:
            raise TypeError("%s takes %d arguments" % (function.__name__, count))
        args = [a if c is None or c is object or a.__class__ is c else c(a) for a, c in zip(args, casts)]
        result = function(*args)
        if returns is int:
            return result if result.__class__ is int and -_SIGN <= result < _SIGN else _word(result)
        return uint(result) if returns is uint else result

    return call
