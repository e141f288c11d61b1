"""MicroPython's own words under CPython: const, native, viper and its pointer types."""

import functools

from .memory import memory

_SIGN = 1 << 63


def const(value):
    return value


def native(function):
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


class _Pointer:
    WIDTH = 1

    def __init__(self, where):
        if isinstance(where, _Pointer):
            where = where.addr
        self.addr = where if isinstance(where, int) else memory.addr(where)

    def __getitem__(self, i):
        return memory.read(self.addr + i * self.WIDTH, self.WIDTH)

    def __setitem__(self, i, value):
        if not isinstance(value, int):
            raise TypeError("viper can only store integers")
        memory.write(self.addr + i * self.WIDTH, self.WIDTH, value)

    def __int__(self):
        return self.addr

    __index__ = __int__


class ptr8(_Pointer):
    WIDTH = 1


class ptr16(_Pointer):
    WIDTH = 2


class ptr32(_Pointer):
    WIDTH = 4


class ptr64(_Pointer):
    WIDTH = 8


ptr = ptr8


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
        args = [a if c is None or c is object else c(a) for a, c in zip(args, casts)]
        result = function(*args)
        if returns is int:
            return ((int(result) + _SIGN) & (2 * _SIGN - 1)) - _SIGN
        return uint(result) if returns is uint else result

    return call
