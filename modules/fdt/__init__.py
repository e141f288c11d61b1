"""Read-only devicetree (FDT) parser over a bytes-like object, and the words a REPL user types.

Runs on CPython too. The structure block is checked once, in one pass that records where each node
starts and ends; everything else is looked up in the blob when it is asked for. Devicetree
specification 0.4: chapter 5 (format), sections 2.3 and 2.4 (reg, ranges, interrupts).
"""

import struct

from .node import Node
from .scan import FDTError, find_in_all, find_property, index_nodes, name_end

_MAGIC = 0xD00DFEED
_HEADER_SIZE = 40


class FDT:
    """A devicetree blob. Validates the whole structure block; looks the rest up when asked."""

    def __init__(self, buf):
        """buf: bytes-like, from the magic on; longer than totalsize is fine. FDTError: bad blob.

        Keeps a reference to buf and does not copy it.
        """
        buf = memoryview(buf)
        if len(buf) < _HEADER_SIZE:
            raise FDTError("only %d bytes, a header has %d" % (len(buf), _HEADER_SIZE))
        header = struct.unpack_from(">10I", buf)
        if header[0] != _MAGIC:
            raise FDTError("magic 0x%08x at byte 0x0 is not 0x%08x" % (header[0], _MAGIC))
        self.totalsize = total = header[1]
        self.version = header[5]
        self.boot_cpuid = header[7]
        if total < _HEADER_SIZE or total > len(buf):
            raise FDTError("totalsize %d at byte 0x4, but %d bytes are there" % (total, len(buf)))
        if self.version < 16 or header[6] > 17:
            raise FDTError("version %d (compatible %d) at byte 0x14" % (self.version, header[6]))
        self._buf = buf[:total]
        # A version 16 header has no size_dt_struct: the end token bounds the block.
        struct_size = header[9] if self.version >= 17 else total - header[2]
        off, end = self._block("structure", header[2], struct_size, 4)
        self._strings = self._block("strings", header[3], header[8], 1)[0]
        self._names = self._names_size(header[8])
        self._rsvmap = self._block("reservation", header[4], 16, 8)[0]
        self._begin, self._parent, self._next, self._end = index_nodes(self._buf, off, end, self._names)
        self._cells = {}
        self._direct = {0: True}
        self._phandles = None
        self._compatibles = None
        self.root = Node(self, 0)

    def _block(self, what, off, size, align):
        if off < _HEADER_SIZE or off > self.totalsize or size > self.totalsize - off:
            raise FDTError("%s block of %d bytes at byte 0x%x does not fit in %d" % (what, size, off, self.totalsize))
        if off % align:
            raise FDTError("%s block at byte 0x%x is not aligned" % (what, off))
        return off, off + size

    def _names_size(self, size):
        # The strings block up to its last zero byte: what a name may start in.
        while size and self._buf[self._strings + size - 1]:
            size -= 1
        return size

    def _first(self, index):
        # Offset behind the name of a node: where its properties begin.
        return (name_end(self._buf, self._begin[index] + 4, self._end[index]) + 4) & -4

    def _find(self, index, name):
        # The value of a node's property as (offset, length), or None. name ends in a zero byte.
        at = find_property(self._buf, self._begin[index], self._strings, name)
        if not at:
            return None
        return at + 8, struct.unpack_from(">I", self._buf, at)[0]

    def _cell_counts(self, index):
        # (#address-cells, #size-cells) that hold for the children of a node.
        counts = self._cells.get(index)
        if counts is None:
            node = Node(self, index)
            counts = node._count("#address-cells", 2), node._count("#size-cells", 1)
            self._cells[index] = counts
        return counts

    def _is_direct(self, index):
        # Whether addresses on a node's bus are CPU addresses: empty ranges all the way up.
        direct = self._direct.get(index)
        if direct is None:
            found = self._find(index, b"ranges\0")
            direct = bool(found) and not found[1] and self._is_direct(self._parent[index])
            self._direct[index] = direct
        return direct

    def nodes(self):
        """Every Node in tree order (a generator)."""
        for index in range(len(self._begin)):
            yield Node(self, index)

    def node(self, path):
        """The Node at a path ('/soc/serial@10000000'), an alias ('serial0') or both ('soc0/x').

        A unit address may be left out where the name is unique. KeyError: no such node.
        """
        parts = path.split("/")
        node = self.root
        if parts[0]:
            target = self._alias(parts[0])
            if target is None:
                raise KeyError("no alias %s in the devicetree" % parts[0])
            parts = target.split("/") + parts[1:]
        for part in parts:
            if part:
                node = node.child(part)
        return node

    def _alias(self, name):
        try:
            target = self.root.child("aliases").string(name)
        except KeyError:
            return None
        if not target.startswith("/"):
            raise FDTError("alias %s is not a path: %s" % (name, target))
        return target

    def phandle(self, number):
        """The Node that a phandle names. KeyError: no such node."""
        if self._phandles is None:
            table = {}
            for name in (b"phandle\0", b"linux,phandle\0"):
                for index, at in find_in_all(self._buf, self._begin, self._strings, name):
                    size = struct.unpack_from(">I", self._buf, at)[0]
                    if size == 4:
                        value = struct.unpack_from(">I", self._buf, at + 8)[0]
                        if value not in table and 0 < value < 0xFFFFFFFF:
                            table[value] = index
            self._phandles = table
        if number not in self._phandles:
            raise KeyError("no phandle 0x%x in the devicetree" % number)
        return Node(self, self._phandles[number])

    def compatible(self, *names):
        """List of the Nodes, in tree order, that are compatible with any of the names."""
        if self._compatibles is None:
            found = []
            for index, at in find_in_all(self._buf, self._begin, self._strings, b"compatible\0"):
                size = struct.unpack_from(">I", self._buf, at)[0]
                found.append((index, b"\0" + self._buf[at + 8 : at + 8 + size]))
            self._compatibles = found  # all of them, or none: Ctrl-C may come any time
        wanted = [b"\0" + name.encode() + b"\0" for name in names]
        found = []
        for index, value in self._compatibles:
            for name in wanted:
                if name in value:
                    found.append(Node(self, index))
                    break
        return found

    def find(self, text):
        """List of the Nodes whose path or compatible strings contain text."""
        data = text.encode()
        return [node for node in self.nodes() if text in node.path or data in bytes(node.get("compatible", b""))]

    @property
    def chosen(self):
        """The /chosen Node, or None."""
        return self._child_or_none("chosen")

    def _child_or_none(self, name):
        try:
            return self.root.child(name)
        except KeyError:
            return None

    def memory(self):
        """List of the RAM banks as (addr, size)."""
        banks = []
        for node in self.root.children():
            kind = node.get("device_type")
            if kind is not None and bytes(kind) == b"memory\0" and node.enabled:
                banks.extend(bank for bank in node.regs() if bank[1])
        return banks

    def memreserve(self):
        """List of the reservation block's entries as (addr, size)."""
        found = []
        off = self._rsvmap
        while True:
            if off + 16 > self.totalsize:
                raise FDTError("reservation block has no end at byte 0x%x" % off)
            addr, size = struct.unpack_from(">QQ", self._buf, off)
            if not addr and not size:
                return found
            found.append((addr, size))
            off += 16

    def reservations(self):
        """List of (addr, size) to keep out of: the reservation block, then /reserved-memory."""
        found = self.memreserve()
        parent = self._child_or_none("reserved-memory")
        if parent:
            for node in parent.children():
                if node.enabled:
                    found.extend(node.regs())
        return found

    def dump(self, path="/"):
        """Print the tree below path as devicetree source."""
        from . import show

        show.dump(self.node(path))

    def tree(self, path="/"):
        """Print one line per node below path."""
        from . import show

        show.tree(self.node(path))

    def __repr__(self):
        return "<FDT v%d %d bytes %d nodes>" % (self.version, self.totalsize, len(self._begin))


_system = None


def system():
    """The FDT that the firmware was started with; parsed once."""
    global _system
    if _system is None:
        import riscv

        _system = FDT(riscv.fdt())
    return _system


def node(path):
    """The Node at a path or alias of the system's devicetree. KeyError: no such node."""
    return system().node(path)


def find(text):
    """List of the system's Nodes whose path or compatible strings contain text."""
    return system().find(text)


def tree(path="/"):
    """Print the system's devicetree below path, one line per node."""
    system().tree(path)
