"""The few words of uctypes that drivers and loaders use."""

from .memory import memory


def addressof(buf):
    return memory.addr(buf)


def bytes_at(addr, size):
    return bytes(memory.view(addr, size)) if size else b""


def bytearray_at(addr, size):
    return memory.view(addr, size)
