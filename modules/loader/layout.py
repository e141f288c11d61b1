"""Where everything goes: pieces placed in RAM from their sizes, overlaps refused.

Pure: sizes and ranges in, addresses out. Memory is of three kinds: `live` (in use until the jump:
the firmware, its heap, the devicetree it was given), `kept` (reserved by the devicetree for good) and
free. What is read or written before the jump needs free memory; what the trampoline moves at the
jump may land on live memory, but never on kept memory or another piece.
"""

from errno import ENOMEM

from micropython import const

_MIB = const(0x100000)


def align_up(n, to):
    """n, or the next multiple of to."""
    return n + to - 1 & -to


def show_size(n):
    """A size as people read it."""
    if n >= _MIB:
        return "%.1f MiB" % (n / _MIB)
    return "%.1f KiB" % (n / 1024)


class Layout:
    """Places pieces. Ranges are (start, end)."""

    def __init__(self, ram, live=(), kept=()):
        """ram: banks.  live, kept: ranges, or (start, end, name)."""
        self.ram = sorted(ram)
        self.live = sorted(live)
        self.kept = sorted(kept)
        self.placed = []  # (start, end, name)

    def put(self, name, size, align, low=0, offset=0, over_live=False):
        """Take the lowest place for size bytes, offset above a multiple of align and not below low.

        over_live: the trampoline will put it there, so live memory is no obstacle.
        Returns the address. OSError ENOMEM: there is no such place.
        """
        busy = self._busy(over_live)
        for start, end in self.ram:
            at = align_up(max(start, low) - offset, align) + offset
            while at + size <= end:
                other = _overlap(busy, at, at + size)
                if other is None:
                    self.placed.append((at, at + size, name))
                    return at
                at = align_up(other - offset, align) + offset
        raise OSError(
            ENOMEM,
            "%s: needs %s at a multiple of %s; the largest free piece of %s RAM is %s"
            % (
                name,
                show_size(size),
                show_size(align),
                show_size(sum([end - start for start, end in self.ram])),
                show_size(self.largest(busy)),
            ),
        )

    def fix(self, name, start, size, over_live=False):
        """Take exactly this place. ValueError: outside RAM, or it overlaps something, named."""
        end = start + size
        if not any([bank[0] <= start and end <= bank[1] for bank in self.ram]):
            raise ValueError("%s: 0x%x-0x%x is not in RAM" % (name, start, end))
        for other in self._named(over_live):
            if other[0] < end and start < other[1]:
                raise ValueError(
                    "%s: 0x%x-0x%x overlaps %s 0x%x-0x%x"
                    % (name, start, end, other[2] if len(other) > 2 else "memory in use", other[0], other[1])
                )
        self.placed.append((start, end, name))

    def is_live(self, start, end):
        """Whether the firmware uses any of it until the jump."""
        return _overlap(self.live, start, end) is not None

    def largest(self, busy):
        """Bytes in the largest gap."""
        best = 0
        for start, end in self.ram:
            at = start
            for other in busy:
                if other[1] > at:
                    best = max(best, min(other[0], end) - at)
                    at = other[1]
                if at >= end:
                    break
            best = max(best, end - at)
        return best

    def _named(self, over_live):
        return self.placed + self.kept + ([] if over_live else self.live)

    def _busy(self, over_live):
        return sorted([(other[0], other[1]) for other in self._named(over_live)])


def _overlap(ranges, start, end):
    # The end of a range that overlaps, the lowest first; or None.
    for other in ranges:
        if other[0] < end and start < other[1]:
            return other[1]
    return None


def order_moves(moves):
    """The moves (dest, src, len) in an order in which none destroys the source of a later one.

    ValueError: two destinations overlap, or there is no such order.
    """
    for i, a in enumerate(moves):
        for b in moves[:i]:
            if a[0] < b[0] + b[2] and b[0] < a[0] + a[2]:
                raise ValueError("destinations 0x%x+0x%x and 0x%x+0x%x overlap" % (a[0], a[2], b[0], b[2]))
    rest = list(moves)
    done = []
    while rest:
        for move in rest:
            harmed = [
                other
                for other in rest
                if other is not move and move[0] < other[1] + other[2] and other[1] < move[0] + move[2]
            ]
            if not harmed:
                break
        else:
            raise ValueError("the moves destroy each other's sources")
        done.append(move)
        rest.remove(move)
    return done
