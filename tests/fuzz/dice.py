"""Chances that generators share."""

import random

# Where encodings change their form, and words end.
EDGES = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 100, 127, 128, 248, 255, 256, 504, 511, 1000, 1023, 1024),
    *(2046, 2047, 2048, 2049, 4094, 4095, 4096, 4097, 32767, 32768, 65535, 65536, 0xFFFFF, 1 << 20, 0x12345, 0x7FF800),
    *((1 << 31) - 2049, (1 << 31) - 2048, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, (1 << 32) - 1, 1 << 32, 0x123456789),
    *(0xFF00FF00FF00, 1 << 44, (1 << 61) - 1, 1 << 61, 0x0123456789ABCDEF, (1 << 62) - 1),
)


class Dice(random.Random):
    """random.Random with a few words for it."""

    def chance(self, probability):
        return self.random() < probability

    def edge(self, signed=True):
        """A constant that fits a small integer."""
        kind = self.random()
        if kind < 0.35:
            value = self.choice((0, 1, 2, 3, 5, 7, 8, 10, 15, 31, 63, 100))
        elif kind < 0.8:
            value = self.choice(EDGES)
        else:
            value = self.getrandbits(self.randint(1, 62))
        return -value if signed and self.chance(0.35) else value

    def weighted(self, table):
        """One of the keys of {key: weight}."""
        keys = list(table)
        return self.choices(keys, [table[key] for key in keys])[0]

    def size(self, usual, most):
        """Mostly around `usual`, seldom as much as `most`."""
        return min(most, max(1, int(self.lognormvariate(0, 0.7) * usual)))


class TerseDice(Dice):
    """Dice for functions of a few statements, of which many fit into an hour."""

    def size(self, usual, most):
        return super().size(min(usual, 2), min(most, 8))
