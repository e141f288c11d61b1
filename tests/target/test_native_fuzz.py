"""Random functions must do the same as bytecode, native and viper code. `FUZZ=100000 pytest ...` runs as many.

Two kinds: functions of machine integers, kept below 63 bits so that all three agree, and functions of objects, whose
integers grow, for bytecode and native code. The seed of a batch is printed with what it finds.
"""

import os
import random

import pytest
from session import RemoteError

COUNT = int(os.environ.get("FUZZ", "240"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
BATCH = 20

GUEST = """
import micropython, gc
def build(text, kind):
    scope = {"micropython": micropython}
    exec(text if kind == "bytecode" else "@micropython." + kind + "\\n" + text, scope)
    return scope["f"]
def run(f, args, ints):
    buf = bytearray(range(64))
    try:
        got = f(buf, buf, buf, *args) if ints else f(*args)
    except Exception as e:
        got = type(e).__name__
    return got, buf
def check(text, tuples, ints):
    if ints:
        kinds = ("native", "viper")
        plain = text.replace(": ptr8", "").replace(": ptr16", "").replace(": ptr32", "")
        plain = plain.replace("def f(", "def g(") + WRAP
        first = build(plain, "bytecode")
    else:
        kinds = ("native",)
        first = build(text, "bytecode")
    wanted = [run(first, args, ints) for args in tuples]
    for kind in kinds:
        f = build(plain if ints and kind == "native" else text, kind)
        if ints and kind == "native":
            scope = {"micropython": micropython}
            exec("@micropython.native\\n" + plain, scope)
            f = scope["f"]
        for args, want in zip(tuples, wanted):
            got = run(f, args, ints)
            if got != want:
                print(kind, args, "want", want, "got", got)
                print(text)
                return
WRAP = '''
class P:
    def __init__(self, buf, size):
        self.buf = buf
        self.size = size
    def __getitem__(self, i):
        return int.from_bytes(self.buf[i * self.size:(i + 1) * self.size], "little")
    def __setitem__(self, i, v):
        self.buf[i * self.size:(i + 1) * self.size] = (v & ((1 << 8 * self.size) - 1)).to_bytes(self.size, "little")
def f(p, q, r, *args):
    return g(p, P(q, 2), P(r, 4), *args)
'''
"""


class Writer:
    """Writes one random function."""

    def __init__(self, dice, ints):
        self.dice = dice
        self.ints = ints
        self.names = [f"v{i}" for i in range(dice.randint(2, 14))]
        self.num_args = dice.randint(1, min(4, len(self.names)))
        self.lines = []
        self.budget = dice.randint(5, 30)
        self.loops = 0

    def constant(self):
        edges = [0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 127, 255, 256, 1000, 2047, 2048, 4095, 65535, 1 << 20, 0x7FFFFFFF]
        if not self.ints:
            edges += [-1, -2, -2048, -2049, 1 << 31, (1 << 61) - 1, 1 << 61, (1 << 62) - 1, -(1 << 62), 1 << 40]
        return str(self.dice.choice(edges))

    def name(self):
        return self.dice.choice(self.names)

    def atom(self):
        kind = self.dice.random()
        if kind < 0.6:
            return self.name()
        if self.ints and kind < 0.8:
            pointer, mask = self.dice.choice((("p", 63), ("q", 31), ("r", 15)))
            index = self.dice.choice(
                (str(self.dice.randint(0, mask)), f"{self.name()} & {mask}", f"({self.name()} & {mask >> 2}) * 2 + 1")
            )
            return f"({pointer}[{index}] & 0x7fffffff)"
        return self.constant()

    def value(self, depth=0):
        """An expression below 2**31 for machine integers, or of any size for objects."""
        if depth > 2 or self.dice.random() < 0.3:
            return self.atom()
        op = self.dice.choice("+ - * & | ^ << >> neg inv if cmp and".split())
        a, b = self.value(depth + 1), self.value(depth + 1)
        if op == "neg":
            text = f"(-{a})"
        elif op == "inv":
            text = f"(~{a})"
        elif op in ("<<", ">>"):
            text = f"({a} {op} {self.dice.choice((0, 1, 3, 8, 13))})"
        elif op == "*":
            text = f"(({a} & 0xffff) * ({b} & 0x7fff))" if self.ints else f"({a} * {b})"
        elif op == "if":
            return f"({a} if {self.condition(depth + 1)} else {b})"
        elif op == "cmp" and not self.ints:
            return f"({a} {self.comparison()} {b})"
        elif op == "and" and not self.ints:
            return f"({a} {self.dice.choice(('and', 'or'))} {b})"
        elif op in ("cmp", "and"):
            return a
        else:
            text = f"({a} {op} {b})"
        if self.ints or op in ("*", "<<"):
            return f"({text} & {self.dice.choice(('0x7fffffff', '0x7fffffff', '0xff', '0xfff', '0xffff'))})"
        return text

    def comparison(self):
        return self.dice.choice("< > <= >= == !=".split())

    def condition(self, depth=0):
        kind = self.dice.random()
        if kind < 0.15:
            return self.name()
        if kind < 0.3 and depth < 2:
            return f"({self.condition(depth + 1)} {self.dice.choice(('and', 'or'))} {self.condition(depth + 1)})"
        if kind < 0.4:
            return f"{self.name()} {self.comparison()} {self.value(2)} {self.comparison()} {self.name()}"
        return f"{self.value(depth + 1)} {self.comparison()} {self.value(depth + 1)}"

    def block(self, indent, in_loop):
        for _ in range(self.dice.randint(1, 4)):
            self.statement(indent, in_loop)

    def statement(self, indent, in_loop):
        self.budget -= 1
        pad = " " * indent
        kind = self.dice.random()
        if self.budget < 0 or indent > 4:
            kind = min(kind, 0.49)
        if kind < 0.3:
            self.lines.append(f"{pad}{self.name()} = {self.value()}")
        elif kind < 0.4:
            op = self.dice.choice("+ - & | ^".split())
            a = self.name()
            self.lines.append(f"{pad}{a} {op}= {self.value(1)}")
            if self.ints:
                self.lines.append(f"{pad}{a} &= 0x7fffffff")
        elif kind < 0.5:
            if self.ints and self.dice.random() < 0.5:
                pointer, mask = self.dice.choice((("p", 63), ("q", 31), ("r", 15)))
                value = f"{self.value()} & 255" if pointer == "p" else self.value()
                self.lines.append(f"{pad}{pointer}[{self.value(1)} & {mask}] = {value}")
            else:
                count = self.dice.choice((2, 2, 2 if self.ints else 3))
                targets = self.dice.sample(self.names, min(count, len(self.names)))
                # not all constant: a tuple of constants is an object, which viper does not take apart
                values = [
                    f"({self.name()} ^ {self.value(1)})" if i == 0 else self.value(1) for i in range(len(targets))
                ]
                self.lines.append(f"{pad}{', '.join(targets)} = {', '.join(values)}")
        elif kind < 0.65:
            self.lines.append(f"{pad}if {self.condition()}:")
            self.block(indent + 1, in_loop)
            if self.dice.random() < 0.5:
                self.lines.append(f"{pad}else:")
                self.block(indent + 1, in_loop)
        elif kind < 0.78:
            bounds = self.dice.choice(("{n}", "2, {n}", "{n}, 0, -1", "0, {n}, 3"))
            end = self.dice.choice((str(self.dice.randint(0, 6)), f"{self.name()} & 7"))
            self.lines.append(f"{pad}for {self.name()} in range({bounds.format(n=end)}):")
            self.block(indent + 1, True)
        elif kind < 0.86:
            self.loops += 1
            counter = f"w{self.loops}"
            self.lines.append(f"{pad}{counter} = 0")
            self.lines.append(f"{pad}while {counter} < {self.dice.randint(1, 5)} and {self.condition()}:")
            self.lines.append(f"{pad} {counter} += 1")
            self.block(indent + 1, True)
        elif kind < 0.92 and in_loop:
            self.lines.append(f"{pad}if {self.condition()}: {self.dice.choice(('break', 'continue'))}")
        elif kind < 0.95:
            self.lines.append(f"{pad}if {self.condition()}: return {self.result()}")
        elif not self.ints:
            self.lines.append(f"{pad}try:")
            self.block(indent + 1, in_loop)
            self.lines.append(f"{pad} {self.name()} = {self.value()} // ({self.value(2)} & 1)")
            if self.dice.random() < 0.7:
                self.lines.append(f"{pad}except ZeroDivisionError:")
                self.block(indent + 1, in_loop)
            else:
                self.lines.append(f"{pad}finally:")
                self.lines.append(f"{pad} {self.name()} = {self.value()}")
        else:
            self.lines.append(f"{pad}{self.name()} = int(abs({self.value()})) & 0x7fffffff")

    def result(self):
        mixed = " ^ ".join(f"({n} * {2 * i + 1})" for i, n in enumerate(self.names))
        return mixed if self.ints else f"[{', '.join(self.names)}]"

    def function(self):
        arguments = self.names[: self.num_args]
        if self.ints:
            head = ", ".join(["p: ptr8", "q: ptr16", "r: ptr32", *(f"{n}: int" for n in arguments)])
            self.lines.append(f"def f({head}) -> int:")
        else:
            self.lines.append(f"def f({', '.join(arguments)}):")
        for i, name in enumerate(self.names[self.num_args :]):
            self.lines.append(f" {name} = {i * 5}")
        while self.budget > 0:
            self.statement(1, False)
        self.lines.append(f" return {self.result()}")
        return "\n".join(self.lines) + "\n"

    def tuples(self):
        small = [0, 1, 2, 5, 255, 2047, 65535, 0x7FFFFFFF]
        large = [-1, -7, 1 << 31, (1 << 62) - 1, -(1 << 62), (1 << 61), 1 << 70]
        pool = small if self.ints else small + large
        return [tuple(self.dice.choice(pool) for _ in range(self.num_args)) for _ in range(4)]


@pytest.mark.parametrize("ints", [True, False], ids=["machine-integers", "objects"])
def test_random_functions_agree(ints, guest):
    for start in range(0, COUNT // 2, BATCH):
        if start % 1000 == 0:
            guest.soft_reset()  # which frees the memory of all native code
            assert guest.exec(GUEST) == ""
        code = []
        for number in range(start, start + BATCH):
            writer = Writer(random.Random(SEED * 1_000_003 + number), ints)
            text = writer.function()
            code.append(f"check({text!r}, {writer.tuples()!r}, {ints})\n")
        try:
            got = guest.exec("".join(code) + "gc.collect()", timeout=120)
        except RemoteError as error:
            pytest.fail(f"batch of {start}, seed {SEED}: {error}\n{error.stdout}")
        assert got == "", f"batch of {start}, seed {SEED}"
