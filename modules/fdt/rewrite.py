"""Replace the properties of one node in one pass: what fdt.edit does, at a tenth of its cost."""

from struct import pack_into, unpack_from

from . import _HEADER_SIZE, _MAGIC
from .edit import encode
from .scan import NOP, PROP


def _props_end(fdt, start):
    # Where the properties that begin at start end.
    off = start
    buf = fdt._buf
    while buf[off + 3] in (PROP, NOP):
        off = off + 4 if buf[off + 3] == NOP else (off + 15 + unpack_from(">I", buf, off + 4)[0]) & -4
    return off


def rewrite(fdt, node, values, drop=(), reserve=(), room=0):
    """A copy of a tree as a bytearray, version 17, with at least room spare bytes.

    node: of fdt.  values: {name: value}, set in it; values as edit.encode() takes them.  drop: names
    of properties to leave out.  reserve: (addr, size) pairs, added to the reservation block.
    """
    buf = fdt._buf
    base = fdt._begin[0]
    first = fdt._first(node._index)
    after = _props_end(fdt, first)
    end = fdt._end[0] + 4
    props = [(name, node[name]) for name in node.props() if name not in values and name not in drop]
    props += [(name, encode(value)) for name, value in values.items()]
    props_size = sum([12 + (len(value) + 3 & -4) for _, value in props])
    names_size = sum([len(name) + 1 for name, _ in props])
    reserved = fdt.memreserve() + list(reserve)
    struct_at = _HEADER_SIZE + 16 * len(reserved) + 16
    struct_size = end - base - (after - first) + props_size + 4
    strings_at = struct_at + struct_size
    strings_size = fdt._names + names_size
    total = strings_at + strings_size + room + 7 & -8
    blob = bytearray(total)
    sizes = (_MAGIC, total, struct_at, strings_at, _HEADER_SIZE, 17, 16, fdt.boot_cpuid, strings_size, struct_size)
    pack_into(">10I", blob, 0, *sizes)
    at = _HEADER_SIZE
    for addr, size in reserved:
        pack_into(">QQ", blob, at, addr, size)
        at += 16
    at = struct_at
    blob[at : at + first - base] = buf[base:first]
    at += first - base
    name_off = fdt._names
    blob[strings_at : strings_at + name_off] = buf[fdt._strings : fdt._strings + name_off]
    for name, value in props:
        pack_into(">III", blob, at, PROP, len(value), name_off)
        blob[at + 12 : at + 12 + len(value)] = value
        at += 12 + (len(value) + 3 & -4)
        text = name.encode()
        blob[strings_at + name_off : strings_at + name_off + len(text)] = text
        name_off += len(text) + 1
    blob[at : at + end - after] = buf[after:end]
    blob[strings_at - 1] = 9  # the end token
    return blob
