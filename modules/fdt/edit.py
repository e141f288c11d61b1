"""Change a devicetree: set, add and delete on a copy of a blob, written out as version 17."""

import struct

from . import FDT, _HEADER_SIZE, _MAGIC
from .scan import PROP

_NAME_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,._+-?#@"


def u64(value):
    """value as the eight bytes of two cells."""
    return struct.pack(">Q", value)


def encode(value):
    """The bytes of a property's value.

    int: one cell, or two from 2**32 on (u64() makes two of any).  str: with its zero byte.
    list or tuple: of integers (one cell each) or of strings.  True or None: empty.  Else: bytes-like.
    """
    if value is None or value is True:
        return b""
    if isinstance(value, int):
        if not 0 <= value < 1 << 64:
            raise ValueError("%d does not fit in two cells" % value)
        return u64(value) if value >> 32 else struct.pack(">I", value)
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a string with a zero byte in it")
        return value.encode() + b"\0"
    if isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, int) and not 0 <= item < 1 << 32:
                raise ValueError("%d does not fit in a cell" % item)
        return b"".join(encode(item) for item in value)
    return bytes(value)


def _pad4(data):
    return data + b"\0" * (-len(data) & 3)


def _check_name(name):
    for char in name:
        if char not in _NAME_CHARS:
            raise ValueError("bad character in the name %s" % name)
    if not name:
        raise ValueError("an empty name")


class Editor:
    """A devicetree under change. Every change leaves it whole: .fdt is an FDT of what it is now."""

    def __init__(self, fdt):
        """fdt: an FDT or the bytes of a blob; it is copied and stays as it is."""
        if not isinstance(fdt, FDT):
            fdt = FDT(fdt)
        start = fdt._begin[0]
        self._struct = bytearray(fdt._buf[start : fdt._end[0] + 4])
        strings = fdt._strings
        self._strings = bytearray(fdt._buf[strings : strings + fdt._names])
        self._reserved = fdt.memreserve()
        self._boot_cpuid = fdt.boot_cpuid
        self._fdt = None

    @property
    def fdt(self):
        """An FDT of the tree as it is now (a copy)."""
        if self._fdt is None:
            self._fdt = FDT(self.finish())
        return self._fdt

    def _node(self, path):
        # (FDT, index of the node, what to subtract from its offsets to get those in _struct).
        fdt = self.fdt
        return fdt, fdt.node(path)._index, fdt._begin[0]

    def _splice(self, start, stop, data):
        self._struct[start:stop] = data
        self._fdt = None

    def _name_offset(self, name):
        # Where name stands in the strings block; it is put there if it does not yet.
        data = name.encode() + b"\0"
        off = bytes(self._strings).find(data)
        if off < 0:
            off = len(self._strings)
            self._strings.extend(data)
        return off

    def set(self, path, prop, value):
        """Set a property to value, as encode() takes it. KeyError: no such node."""
        _check_name(prop)
        data = encode(value)
        fdt, index, base = self._node(path)
        token = struct.pack(">III", PROP, len(data), self._name_offset(prop)) + _pad4(data)
        found = fdt._find(index, prop.encode() + b"\0")
        if found:
            start = found[0] - 12 - base
            self._splice(start, start + 12 + (found[1] + 3 & -4), token)
        else:
            start = fdt._first(index) - base
            self._splice(start, start, token)

    def delete(self, path, prop=None):
        """Delete a property, or a node and all below it. KeyError: no such node or property."""
        fdt, index, base = self._node(path)
        if prop is None:
            if not index:
                raise ValueError("the root node cannot be deleted")
            self._splice(fdt._begin[index] - base, fdt._end[index] + 4 - base, b"")
            return
        found = fdt._find(index, prop.encode() + b"\0")
        if not found:
            raise KeyError("%s has no property %s" % (path, prop))
        start = found[0] - 12 - base
        self._splice(start, start + 12 + (found[1] + 3 & -4), b"")

    def add(self, path):
        """Make the node at path, and those above it, where they do not exist yet."""
        parts = [part for part in path.split("/") if part]
        if not path.startswith("/"):
            raise ValueError("not a path: %s" % path)
        parent = "/"
        for part in parts:
            node = self.fdt.node(parent)
            if not any(child.name == part for child in node.children()):
                _check_name(part)
                token = b"\0\0\0\1" + _pad4(part.encode() + b"\0") + b"\0\0\0\2"
                at = node.fdt._end[node._index] - node.fdt._begin[0]
                self._splice(at, at, token)
            parent += part + "/"

    def reserve(self, addr, size):
        """Add an entry to the memory reservation block."""
        if size <= 0 or not 0 <= addr < 1 << 64:
            raise ValueError("cannot reserve 0x%x+0x%x" % (addr, size))
        self._reserved.append((addr, size))
        self._fdt = None

    def finish(self, room=0):
        """The blob as a bytearray: version 17, 8-byte aligned size, at least room spare bytes."""
        reserved = b"".join(struct.pack(">QQ", addr, size) for addr, size in self._reserved)
        struct_off = _HEADER_SIZE + len(reserved) + 16
        strings_off = struct_off + len(self._struct) + 4
        total = strings_off + len(self._strings) + room + 7 & -8
        blob = bytearray(total)
        struct.pack_into(
            ">10I",
            blob,
            0,
            _MAGIC,
            total,
            struct_off,
            strings_off,
            _HEADER_SIZE,
            17,
            16,
            self._boot_cpuid,
            len(self._strings),
            len(self._struct) + 4,
        )
        blob[_HEADER_SIZE : _HEADER_SIZE + len(reserved)] = reserved
        blob[struct_off : strings_off - 4] = self._struct
        blob[strings_off - 1] = 9  # the end token
        blob[strings_off : strings_off + len(self._strings)] = self._strings
        return blob

    def __repr__(self):
        return "<Editor of %r>" % self.fdt
