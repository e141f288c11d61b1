"""Address spaces: where BARs and bridge windows go. Pure.

A Space is the window of a host bridge, or of a bridge. Its items are BARs and the Spaces of the
bridges on its bus; both have .size, .align and .address, None until they are placed.
"""


def up(value, align):
    return (value + align - 1) // align * align


def size_text(size):
    """'16 KiB'"""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024 or size % 1024:
            return "%d %s" % (size, unit)
        size //= 1024
    return "%d GiB" % size


class Space:
    """size bytes of bus addresses from address on, and the items in them."""

    def __init__(self, name, address=None, size=0, grain=1, reserve=0, order=0):
        """Of a bridge: grain is what its registers can express, reserve is kept for hot plug."""
        self.order = order  # among items of equal size
        self.name = name
        self.address = address
        self.size = size
        self.grain = grain
        self.reserve = reserve
        self.items = []

    @property
    def end(self):
        return self.address + self.size

    @property
    def align(self):
        return max([self.grain] + [item.align for item in self.items if item.size])

    def bars(self):
        """All BARs in here, and in the Spaces of bridges in here."""
        found = []
        for item in self.items:
            found += item.bars() if isinstance(item, Space) else [item]
        return found

    def measure(self):
        """Compute the size of a bridge's Space that is to be placed."""
        at = 0
        for item in self.ordered():
            if isinstance(item, Space):
                item.measure()
            if item.size:
                at = up(at, item.align) + item.size
        self.size = up(max(at, self.reserve), self.grain)

    def prepare(self):
        """Compute the sizes of the Spaces in here that are not placed yet."""
        for item in self.items:
            if isinstance(item, Space):
                if item.address is None:
                    item.measure()
                else:
                    item.prepare()

    def ordered(self):
        """The items as they are placed: large alignment first, what is only a reserve last."""
        return sorted(self.items, key=_order)

    def fit(self, size, align):
        """The first free aligned address for so many bytes; None without one."""
        at = up(self.address, align)
        for start, end in sorted([(i.address, i.address + i.size) for i in self.items if i.address is not None]):
            if at + size <= start:
                break
            if end > at:
                at = up(end, align)
        return at if at + size <= self.end else None

    def place(self):
        """Give every item that has none an address, and those in the Spaces of bridges.

        Returns the BARs that do not fit; they are taken out. From a bridge's Space that is too
        large its reserve goes first, then one BAR after the other, the largest first.
        """
        left = []
        for item in self.ordered():
            if item.address is None and item.size:
                left += self._place_space(item) if isinstance(item, Space) else self._place_bar(item)
            elif isinstance(item, Space) and item.size:
                left += item.place()
        return left

    def _place_bar(self, bar):
        bar.address = self.fit(bar.size, bar.align)
        if bar.address is not None:
            return []
        self.items.remove(bar)
        return [bar]

    def _place_space(self, space):
        left = []
        while space.size:
            space.address = self.fit(space.size, space.align)
            if space.address is not None:
                return left + space.place()
            if not space.drop_reserve():
                left.append(space.drop_largest())
            space.measure()
        return left

    def drop_reserve(self):
        """Keep nothing for hot plug, here and in bridges behind; whether there was anything."""
        found = self.reserve != 0
        self.reserve = 0
        for item in self.items:
            if isinstance(item, Space):
                found = item.drop_reserve() or found
        return found

    def drop_largest(self):
        """Take out the largest BAR, wherever it is; returns it."""
        bar = max(self.bars(), key=_size)
        self.remove(bar)
        return bar

    def remove(self, bar):
        """Take a BAR out of here or of a bridge's Space."""
        if bar in self.items:
            self.items.remove(bar)
        else:
            for item in self.items:
                if isinstance(item, Space):
                    item.remove(bar)

    def __repr__(self):
        if not self.size or self.address is None:
            return "%s window: none" % self.name
        return "%s window %#x-%#x (%s)" % (self.name, self.address, self.end - 1, size_text(self.size))


def _order(item):
    reserve = isinstance(item, Space) and not item.bars()
    return reserve, -item.align, -item.size, item.order


def _size(item):
    return item.size
