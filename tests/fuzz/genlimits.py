"""Writes functions at the limits of encodings: far branches, large frames, deep expressions, many arguments.

A branch reaches 256 bytes in its shortest form, 4 KiB in the next, c.j 2 KiB; an offset from sp 256 bytes, 512 bytes,
2 KiB. So the sizes are drawn from around these, for viper functions and for functions of objects.
"""

from dice import Dice

REACHES = {128: 1, 256: 5, 512: 2, 2048: 4, 4096: 2}
FRAMES = {12: 3, 31: 2, 32: 2, 33: 2, 62: 2, 64: 2, 66: 2, 126: 1, 130: 1, 250: 1, 260: 1, 515: 0.3}
ARITHMETIC = ("+", "-", "^", "&", "|")


class Function:
    def __init__(self, dice: Dice, viper):
        self.dice = dice
        self.viper = viper
        self.lines = []
        self.names = [f"v{i}" for i in range(dice.choice((3, 6, 9, 10, 11, 14)))]
        if dice.chance(0.3):
            self.names = [f"v{i}" for i in range(max(3, dice.weighted(FRAMES) + dice.randint(-2, 2)))]
        self.num_args = min(len(self.names), dice.choice((1, 2, 3, 4, 9, 10, 11, 12, 17)))

    def line(self, indent, text):
        self.lines.append(" " * indent + text)

    def name(self):
        return self.dice.choice(self.names)

    def constant(self):
        return f"({self.dice.edge()})"

    def filler(self, indent, size):
        """Statements of about this many bytes of machine code."""
        dice = self.dice
        kinds = dice.choice((1, 2, 5))
        while size > 0:
            kind = dice.randrange(kinds)
            name = self.name()
            if kind == 0:
                self.line(indent, f"{name} {dice.choice('+-^')}= {dice.choice((1, 5, 31))}")
            elif kind == 1:
                self.line(indent, f"{name} {dice.choice('^|&')}= {self.name()}")
            elif kind == 2:
                self.line(indent, f"{name} = {self.name()} {dice.choice(ARITHMETIC)} {self.constant()}")
            elif kind == 3 and self.viper:
                self.line(indent, f"p[{dice.randint(-16, 15)}] = {self.name()}")
            else:
                self.line(indent, f"{name} = {self.name()} {dice.choice(ARITHMETIC)} {self.name()}")
            size -= (3, 4, 8, 5, 5)[kind] if self.viper else 60

    def condition(self):
        dice = self.dice
        test = lambda: f"{self.name()} {dice.choice(('<', '>', '<=', '>=', '==', '!='))} {self.name()}"
        return dice.choice((test(), test(), f"{test()} and {test()}", f"not {test()}", self.name()))

    def block(self, size, depth=0):
        """if, else, loops around as much as is to be jumped over."""
        dice = self.dice
        pad = depth + 1
        size = int(size * dice.uniform(0.75, 1.3))
        kind = dice.random()
        if kind < 0.4:
            self.line(pad, f"if {self.condition()}:")
            self.filler(pad + 1, size)
            if dice.chance(0.5):
                self.line(pad, "else:")
                self.filler(pad + 1, dice.choice((8, size)))
        elif kind < 0.6:
            self.line(pad, f"for {self.name()} in range({dice.randint(1, 4)}):")
            if dice.chance(0.4):
                self.line(pad + 1, f"if {self.condition()}: {dice.choice(('break', 'continue'))}")
            self.filler(pad + 1, size)
        elif kind < 0.8 or depth > 1:
            counter = f"w{len(self.lines)}"
            self.line(pad, f"{counter} = 0")
            self.line(pad, f"while {counter} < {dice.randint(1, 4)}:")
            self.line(pad + 1, f"{counter} += 1")
            if dice.chance(0.4):
                self.line(pad + 1, f"if {self.condition()}: {dice.choice(('break', 'continue'))}")
            self.filler(pad + 1, size)
        else:
            self.line(pad, f"if {self.condition()}:")
            self.filler(pad + 1, size // 4)
            self.block(size // 2, depth + 1)
            self.filler(pad + 1, size // 4)

    def deep(self, depth):
        """An expression that needs a place for each of its levels."""
        dice = self.dice
        if depth == 0:
            return self.name()
        op = dice.choice(ARITHMETIC)
        left = dice.choice((self.name(), f"({self.name()} {dice.choice(ARITHMETIC)} {self.constant()})"))
        if self.viper and dice.chance(0.1):
            left = f"int(plus({self.name()}, {self.name()}))"
        if dice.chance(0.2):
            return f"({self.deep(depth - 1)} {op} {left})"
        return f"({left} {op} {self.deep(depth - 1)})"

    def text(self):
        dice = self.dice
        args = self.names[: self.num_args]
        self.line(0, "@DECO")
        if self.viper:
            typed = [f"p: {dice.choice(('ptr8', 'ptr16', 'ptr32'))}", *(f"{a}: int" for a in args)]
            self.line(0, f"def f_Z({', '.join(typed)}) -> int:")
        else:
            self.line(0, f"def f_Z(p, {', '.join(args)}):")
        for name in self.names[self.num_args :]:
            self.line(1, f"{name} = {self.constant()}")
        for _ in range(dice.choice((1, 1, 2))):
            if dice.chance(0.75):
                self.block(dice.weighted(REACHES))
            else:
                self.line(1, f"{self.name()} = {self.deep(dice.choice((5, 8, 9, 10, 12, 16, 24)))}")
        if dice.chance(0.3):
            count = dice.choice((3, 8, 12, 20))
            call = f"many({', '.join(self.name() for _ in range(count))})"
            self.line(1, f"{self.name()} = {'int(' + call + ')' if self.viper else call}")
        used = self.names if len(self.names) < 40 else dice.sample(self.names, 40)
        if self.viper:
            self.line(1, f"return {' ^ '.join(f'({n} * {2 * i + 1})' for i, n in enumerate(used))}")
        else:
            self.line(1, f"return [{', '.join(used)}]")
        return "\n".join(self.lines) + "\n"


def program(dice, viper):
    """(text, calls) as of genviper."""
    function = Function(dice, viper)
    text = function.text()
    calls = []
    for _ in range(3):
        values = [str(dice.edge()) for _ in range(function.num_args)]
        calls.append(f"({dice.choice('AV')}(256), {', '.join(values)})" if viper else f"(0, {', '.join(values)})")
    return text, calls


def viper(dice):
    return program(dice, True)


def objects(dice):
    return program(dice, False)
