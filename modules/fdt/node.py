"""A devicetree node: its properties by name, its registers and interrupts as the CPU sees them."""

import struct

from .scan import FDTError, NOP, PROP, name_end, text

_MAX_CELLS = 4


class Node:
    """A node of the tree; properties by name: node['reg'], 'reg' in node."""

    def __init__(self, fdt, index):
        self.fdt = fdt
        self._index = index

    @property
    def name(self):
        """The name with its unit address; '/' for the root."""
        fdt = self.fdt
        off = fdt._begin[self._index] + 4
        end = name_end(fdt._buf, off, fdt._end[self._index])
        return text(fdt._buf[off:end], "node name", off) if self._index else "/"

    @property
    def parent(self):
        """The parent Node; None for the root."""
        return Node(self.fdt, self.fdt._parent[self._index]) if self._index else None

    @property
    def path(self):
        """The full path."""
        names = []
        node = self
        while node._index:
            names.append(node.name)
            node = node.parent
        return "/" + "/".join(reversed(names))

    def __eq__(self, other):
        return isinstance(other, Node) and self.fdt is other.fdt and self._index == other._index

    def __hash__(self):
        return self._index

    def children(self):
        """List of the child Nodes."""
        fdt = self.fdt
        found = []
        index = self._index + 1
        end = fdt._next[self._index]
        while index < end:
            found.append(Node(fdt, index))
            index = fdt._next[index]
        return found

    def child(self, name):
        """The child called name; without '@' also the only one of that base name. KeyError."""
        loose = []
        for node in self.children():
            if node.name == name:
                return node
            if node.name.split("@")[0] == name:
                loose.append(node)
        if len(loose) != 1:
            raise KeyError("%s has %s %s" % (self.path, "several" if loose else "no", name))
        return loose[0]

    def props(self):
        """List of the property names."""
        fdt = self.fdt
        buf = fdt._buf
        found = []
        off = fdt._first(self._index)
        while buf[off + 3] in (PROP, NOP):
            if buf[off + 3] == NOP:
                off += 4
                continue
            size, at = struct.unpack_from(">II", buf, off + 4)
            at += fdt._strings
            end = name_end(buf, at, fdt._strings + fdt._names)
            found.append(text(buf[at:end], "property name", at))
            off = (off + 15 + size) & -4
        return found

    def get(self, name, default=None):
        """The value of a property as a memoryview, or default."""
        found = self.fdt._find(self._index, (name + "\0").encode())
        return self.fdt._buf[found[0] : found[0] + found[1]] if found else default

    def __getitem__(self, name):
        value = self.get(name)
        if value is None:
            raise KeyError("%s has no property %s" % (self.path, name))
        return value

    def __contains__(self, name):
        return self.get(name) is not None

    def _bad(self, name, why):
        return FDTError("%s in %s: %s" % (name, self.path, why))

    def u32(self, name, i=0):
        """Cell i of a property. KeyError: no such property. FDTError: too short."""
        value = self[name]
        if i < 0 or 4 * i + 4 > len(value):
            raise self._bad(name, "no cell %d in %d bytes" % (i, len(value)))
        return struct.unpack_from(">I", value, 4 * i)[0]

    def u64(self, name):
        """The value of a property of one or two cells."""
        cells = self.cells(name)
        if len(cells) not in (1, 2):
            raise self._bad(name, "%d cells, not one or two" % len(cells))
        return cells[0] if len(cells) == 1 else cells[0] << 32 | cells[1]

    def cells(self, name):
        """The cells of a property as a tuple of integers."""
        return self._unpack(name, self[name])

    def strings(self, name):
        """List of the strings of a property."""
        value = bytes(self[name])
        if value[-1:] != b"\0":
            raise self._bad(name, "string without end")
        return [text(part, name, 0) for part in value[:-1].split(b"\0")]

    def string(self, name):
        """The first string of a property."""
        return self.strings(name)[0]

    def _count(self, name, default):
        # A cell count, bounded so that a bad one cannot ask for much.
        data = self.get(name)
        if data is None:
            return default
        value = self.u32(name)
        if value > _MAX_CELLS:
            raise self._bad(name, "%d cells" % value)
        return value

    @property
    def enabled(self):
        """Whether status is missing or okay."""
        status = self.get("status")
        return status is None or bytes(status) in (b"okay\0", b"ok\0")

    def _unpack(self, name, value):
        # The cells of a property's value.
        if len(value) % 4:
            raise self._bad(name, "%d bytes are not whole cells" % len(value))
        return struct.unpack(">%dI" % (len(value) // 4), value)

    def _entries(self, name, value, counts):
        # The value cut into entries; each is a tuple of one integer per count of cells.
        cells = self._unpack(name, value)
        width = sum(counts)
        if not width or len(cells) % width:
            raise self._bad(name, "%d cells in entries of %d" % (len(cells), width))
        entries = []
        at = 0
        while at < len(cells):
            entry = []
            for count in counts:
                number = 0
                for cell in cells[at : at + count]:
                    number = number << 32 | cell
                entry.append(number)
                at += count
            entries.append(tuple(entry))
        return entries

    def regs(self, translate=True):
        """List of the reg entries as (addr, size), seen from the CPU.

        translate=False gives bus addresses as written. A bus without sizes (cpus, I2C) is not
        memory, so its numbers are never translated. FDTError: bad cells, or no way to the CPU.
        """
        fdt = self.fdt
        value = self.get("reg")
        if value is None or not self._index:
            return []
        bus = fdt._parent[self._index]
        counts = fdt._cell_counts(bus)
        entries = self._entries("reg", value, counts)
        if translate and counts[1] and not fdt._is_direct(bus):
            bus = Node(fdt, bus)
            return [(bus._to_cpu(addr, size), size) for addr, size in entries]
        return entries

    def reg(self, i=0):
        """Entry i of regs(). KeyError: no such entry."""
        regs = self.regs()
        if i >= len(regs):
            raise KeyError("%s has no reg %d" % (self.path, i))
        return regs[i]

    def ranges(self):
        """List of (child address, parent address, size); [] when equal; None when not mapped."""
        value = self.get("ranges")
        if value is None or not len(value):
            return None if value is None else []
        addr_cells, size_cells = self.fdt._cell_counts(self._index)
        parent = self.fdt._cell_counts(self.parent._index)[0] if self._index else addr_cells
        return self._entries("ranges", value, (addr_cells, parent, size_cells))

    def _to_cpu(self, addr, size):
        # Translate an address on this node's bus up to the root.
        bus = self
        while bus._index:
            ranges = bus.ranges()
            if ranges is None:
                raise bus._bad("ranges", "missing, so 0x%x is no CPU address" % addr)
            for child, parent, length in ranges:
                if child <= addr and addr + size <= child + length:
                    addr = parent + addr - child
                    break
            else:
                if ranges:
                    raise bus._bad("ranges", "0x%x+0x%x is outside" % (addr, size))
            bus = bus.parent
        return addr

    def _interrupt_parent(self):
        # The node whose #interrupt-cells describe this node's interrupts.
        node = self
        for _ in range(len(self.fdt._begin) + 1):
            if node.get("interrupt-parent") is not None:
                node = self._by_phandle("interrupt-parent", node.u32("interrupt-parent"))
            else:
                node = node.parent
            if node is None:
                raise self._bad("interrupts", "no interrupt parent")
            if "#interrupt-cells" in node:
                return node
        raise self._bad("interrupt-parent", "goes round in a circle")

    def _by_phandle(self, name, number):
        try:
            return self.fdt.phandle(number)
        except KeyError:
            raise self._bad(name, "no node has phandle 0x%x" % number)

    def interrupts(self):
        """List of (controller Node, tuple of its cells), from interrupts-extended or interrupts."""
        name = "interrupts-extended"
        value = self.get(name)
        extended = value is not None
        if not extended:
            name = "interrupts"
            value = self.get(name)
            if value is None:
                return []
        cells = self._unpack(name, value)
        controller = None if extended else self._interrupt_parent()
        found = []
        at = 0
        while at < len(cells):
            if extended:
                controller = self._by_phandle(name, cells[at])
                at += 1
            count = controller._count("#interrupt-cells", 0)
            if not count or at + count > len(cells):
                raise self._bad(name, "%d cells for %s" % (len(cells) - at, controller.path))
            found.append((controller, cells[at : at + count]))
            at += count
        return found

    def dump(self):
        """Print this node's properties, readably."""
        from . import show

        show.dump(self, deep=False)

    def __repr__(self):
        text = ""
        if "compatible" in self:
            text = " " + " ".join(self.strings("compatible"))
        return "<%s%s%s>" % (self.path, text, "" if self.enabled else " disabled")
