"""Walk the structure block of a devicetree blob: the part that meets every byte.

Viper on the target; on CPython the same functions run unspecialised.
"""

import struct
import sys

if sys.implementation.name == "micropython":
    import micropython
    from micropython import const
else:
    ptr8 = int

    def const(value):
        return value

    class micropython:
        """Stands in for the module of that name."""

        @staticmethod
        def viper(function):
            return function


_BEGIN_NODE = const(1)
_END_NODE = const(2)
PROP = const(3)
NOP = const(4)
_END = const(9)
_MAX_DEPTH = const(64)

_SKIP_ERRORS = (
    "the structure block ends too early",
    "a property does not fit",
    "a property without name or out of place",
)


class FDTError(ValueError):
    """The blob breaks the format; the text says what, and where as a byte offset or a path."""


@micropython.viper
def _skip(buf: ptr8, off: int, end: int, names: int) -> int:
    # Offset of the first token at or after off that is neither a property nor a NOP, or
    # -(offset * 4 + index into _SKIP_ERRORS). The caller has bounded end; names is the size of
    # the strings block up to its last zero byte.
    while off + 4 <= end:
        token = buf[off] << 24 | buf[off + 1] << 16 | buf[off + 2] << 8 | buf[off + 3]
        if token == PROP:
            if off + 12 > end:
                return 0 - (off << 2 | 1)
            size = buf[off + 4] << 24 | buf[off + 5] << 16 | buf[off + 6] << 8 | buf[off + 7]
            name = buf[off + 8] << 24 | buf[off + 9] << 16 | buf[off + 10] << 8 | buf[off + 11]
            if size > end - off - 12:
                return 0 - (off << 2 | 1)
            if name >= names:
                return 0 - (off << 2 | 2)
            off = (off + 15 + size) & -4
        elif token == NOP:
            off += 4
        else:
            return off
    return 0 - (end << 2)


@micropython.viper
def name_end(buf: ptr8, off: int, end: int) -> int:
    # Offset of the zero byte that ends the string at off, or end.
    while off < end and buf[off]:
        off += 1
    return off


@micropython.viper
def find_property(buf: ptr8, off: int, strings: int, name: ptr8) -> int:
    # Offset of the length word of the property called name (zero byte included) of the node whose
    # begin token is at off, or 0. The blob has passed index_nodes(), so the walk ends.
    off += 4
    while buf[off]:
        off += 1
    off = (off + 4) & -4
    while True:
        token = int(buf[off + 3])
        if token == PROP:
            size = buf[off + 4] << 24 | buf[off + 5] << 16 | buf[off + 6] << 8 | buf[off + 7]
            at = buf[off + 8] << 24 | buf[off + 9] << 16 | buf[off + 10] << 8 | buf[off + 11]
            at += strings
            i = 0
            while name[i] and name[i] == buf[at + i]:
                i += 1
            if name[i] == buf[at + i]:
                return off + 4
            off = (off + 15 + size) & -4
        elif token == NOP:
            off += 4
        else:
            return 0


@micropython.viper
def _find_from(buf: ptr8, off: int, strings: int, name: ptr8) -> int:
    # As find_property(), from the token at off on through the rest of the block, across nodes.
    while True:
        token = int(buf[off + 3])
        off += 4
        if token == PROP:
            size = buf[off] << 24 | buf[off + 1] << 16 | buf[off + 2] << 8 | buf[off + 3]
            at = buf[off + 4] << 24 | buf[off + 5] << 16 | buf[off + 6] << 8 | buf[off + 7]
            at += strings
            i = 0
            while name[i] and name[i] == buf[at + i]:
                i += 1
            if name[i] == buf[at + i]:
                return off
            off = (off + 11 + size) & -4
        elif token == _BEGIN_NODE:
            while buf[off]:
                off += 1
            off = (off + 4) & -4
        elif token == _END:
            return 0


def find_in_all(buf, begins, strings, name):
    """Where each node has the property called name (zero byte included): a list of (index, offset).

    The offset is that of the length word. A node that has it twice is listed once.
    """
    found = []
    index = 0
    nodes = len(begins)
    off = _find_from(buf, begins[0], strings, name)
    while off:
        while index < nodes and begins[index] < off:
            index += 1
        found.append((index - 1, off))
        off = _find_from(buf, begins[index], strings, name) if index < nodes else 0
    return found


def text(data, what, off):
    """The str in data; FDTError saying that what at byte off is not text."""
    try:
        return str(bytes(data), "utf-8")
    except UnicodeError:
        raise FDTError("%s is not text at byte 0x%x" % (what, off))


def index_nodes(buf, off, end, names):
    """Check the structure block buf[off:end] and return where its nodes are.

    Four lists, one entry per node in tree order: offset of its begin token, its parent, the node
    behind its subtree, offset of its end token. names: as in _skip.
    """
    begins, parents, nexts, ends = [], [], [], []
    cur = -1
    depth = 0
    may_have_props = False
    while True:
        off = _skip(buf, off, end, names if may_have_props else 0)
        if off < 0:
            raise FDTError("%s at byte 0x%x" % (_SKIP_ERRORS[-off & 3], -off >> 2))
        token = struct.unpack_from(">I", buf, off)[0]
        if token == _BEGIN_NODE:
            if depth == _MAX_DEPTH or (not depth and begins):
                what = "nodes are nested too deeply" if depth else "a second root node"
                raise FDTError("%s at byte 0x%x" % (what, off))
            begins.append(off)
            parents.append(cur)
            nexts.append(0)
            ends.append(0)
            cur = len(begins) - 1
            depth += 1
            stop = name_end(buf, off + 4, end)
            if stop == end:
                raise FDTError("the node's name has no end at byte 0x%x" % off)
            off = (stop + 4) & -4
        elif token == _END_NODE and depth:
            nexts[cur] = len(begins)
            ends[cur] = off
            cur = parents[cur]
            depth -= 1
            off += 4
        elif token == _END and not depth and begins:
            return begins, parents, nexts, ends
        else:
            raise FDTError("token %d out of place at byte 0x%x" % (token, off))
        may_have_props = token == _BEGIN_NODE
