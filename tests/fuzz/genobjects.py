"""Writes random functions of Python objects, for bytecode, native code and CPython alike.

Not written, because MicroPython differs from CPython there, or its native code from its bytecode, by design:
- `&`, `|` and `^` of two bools (an int there): bools are shown as integers, and get no text;
- the order of a dict or a set (shown sorted), `is` on equal numbers, repr() of floats, text of exceptions;
- division of big integers by floats, powers of floats, float('nan') in containers;
- a name of a handler (`except X as e`) after the handler, and `del` of a variable that a closure has;
- a name of an outer function that is read and then set without nonlocal;
- steps of slices of strings, `*x` in displays;
- isinstance(True, int), which is False there;
- locals(), sys.exc_info(), __del__, names of functions;
- a return in a generator out of a try whose finally yields (see firmware/emitter/README.md).
"""

from dice import Dice

COMPARISONS = ("<", ">", "<=", ">=", "==", "!=")
ERRORS = ("ValueError", "KeyError", "IndexError", "ZeroDivisionError", "TypeError", "OSError", "StopIteration")
HANDLERS = (
    "ValueError",
    "KeyError",
    "(IndexError, KeyError)",
    "ZeroDivisionError",
    "Exception",
    "LookupError",
    "TypeError",
)


class Scope:
    """Names of a function, by the kind of what they hold. They keep their kind."""

    def __init__(self, parent=None):
        self.parent = parent
        self.ints, self.lists, self.dicts, self.strings, self.floats, self.functions = [], [], [], [], [], []
        self.fixed = set()  # not to be assigned


class Function:
    def __init__(self, dice: Dice, style, prefix=""):
        self.dice = dice
        self.style = style
        self.prefix = prefix
        self.lines = []
        self.budget = dice.size(style["size"], 80)
        self.scope = Scope()
        self.trips = 1
        self.made = 0
        self.is_generator = False
        self.in_finally = 0
        self.in_try = 0
        self.level = 0

    def new(self, kind):
        self.made += 1
        return f"{self.prefix}{kind}{self.made}"

    def pick(self, names):
        return self.dice.choice(names) if names else None

    # Values

    def constant(self):
        dice = self.dice
        if dice.chance(0.06):
            return str(dice.choice((1, -1)) * (dice.choice((1 << 62, 1 << 63, 1 << 64, 10**20)) + dice.randint(-2, 2)))
        return str(dice.edge())

    def integer(self, depth=2):
        """An expression that gives an int or a bool, below about 2**200, or raises."""
        dice = self.dice
        if depth <= 0 or dice.chance(0.2):
            name = self.pick(self.scope.ints)
            return name if name and dice.chance(0.7) else f"({self.constant()})"
        table = {
            "arithmetic": 9,
            "shift": 2,
            "unary": 1.5,
            "divide": 1.5,
            "compare": 2,
            "logic": 1.5,
            "choice": 1,
            "item": 2.5 * bool(self.scope.lists),
            "lookup": 1.5 * bool(self.scope.dicts),
            "length": 1,
            "builtin": 1.5,
            "call": 2.5 * bool(self.scope.functions),
            "text": 0.8 * bool(self.scope.strings),
            "attribute": 1.5 * bool(self.style["class"]),
            "lambda": 0.5,
            "member": 0.7,
        }
        return getattr(self, "int_" + dice.weighted(table))(depth - 1)

    def int_arithmetic(self, depth):
        op = self.dice.choice("+-*&|^+-")
        text = f"({self.integer(depth)} {op} {self.integer(depth)})"
        return f"({text} % {self.dice.choice((97, 65537, (1 << 61) - 1, 1 << 62, 1 << 64))})" if op == "*" else text

    def int_shift(self, depth):
        if self.dice.chance(0.5):
            return f"({self.integer(depth)} >> {self.dice.choice((0, 1, 3, 31, 61, 62, 63, 64))})"
        return f"(({self.integer(depth)} & 0xffff) << {self.dice.choice((0, 1, 7, 46, 47, 48, 60))})"

    def int_unary(self, depth):
        return f"({self.dice.choice(('-', '~', 'not ', '+', '-'))}{self.integer(depth)})"

    def int_divide(self, depth):
        divisor = str(self.dice.choice((1, 2, 3, 7, -1, -2, -5, 1 << 40)))
        if self.dice.chance(self.style["risk"]):
            divisor = self.dice.choice((self.integer(0), "0"))
        return f"({self.integer(depth)} {self.dice.choice(('//', '%'))} {divisor})"

    def comparison(self, depth):
        words = [self.integer(depth)]
        for _ in range(self.dice.choice((1, 1, 1, 2, 3))):
            words += [self.dice.choice(COMPARISONS), self.integer(depth)]
        return f"({' '.join(words)})"

    def int_compare(self, depth):
        return self.comparison(depth)

    def int_logic(self, depth):
        op = self.dice.choice((" and ", " or "))
        return f"({op.join(self.integer(depth) for _ in range(self.dice.choice((2, 2, 3))))})"

    def int_choice(self, depth):
        return f"({self.integer(depth)} if {self.condition(depth)} else {self.integer(depth)})"

    def int_item(self, depth):
        return f"{self.pick(self.scope.lists)}[{self.index(depth)}]"

    def index(self, depth):
        if self.dice.chance(self.style["risk"]):
            return f"{self.integer(depth)} % {self.dice.choice((5, 9))} - 2"
        return self.dice.choice(
            (str(self.dice.randint(-2, 2)), f"{self.integer(depth)} & 1", f"{self.integer(depth)} % 3")
        )

    def int_lookup(self, depth):
        name = self.pick(self.scope.dicts)
        if self.dice.chance(0.4):
            return f"{name}[{self.key(depth) if self.dice.chance(self.style['risk']) else self.dice.choice((1, 2))}]"
        return f"{name}.get({self.key(depth)}, {self.integer(depth)})"

    def key(self, depth):
        return self.dice.choice(
            (f"{self.integer(depth)} & 3", str(self.dice.randint(0, 4)), f"'{self.dice.choice('abc')}'")
        )

    def int_length(self, depth):
        return f"len({self.dice.choice((self.listing, self.string))(depth)})"

    def int_builtin(self, depth):
        name = self.dice.choice(("abs", "min", "max", "sum", "bool", "int", "divmod", "hash", "sorted", "zip"))
        a, b = self.integer(depth), self.integer(depth)
        return {
            "abs": f"abs({a})",
            "min": f"min({a}, {b})",
            "max": f"max({self.listing(depth)} or [4])",
            "sum": f"sum({self.listing(depth)})",
            "bool": f"bool({a})",
            "int": f"int(str({a} + 0))",
            "divmod": f"divmod({a}, {b})[{self.dice.randint(0, 1)}]",
            "hash": f"(0 if {a} in ({b}, {self.integer(0)}) else 1)",
            "sorted": f"(sorted({self.listing(depth)}) or [3])[0]",
            "zip": f"sum([x * 3 + y for x, y in zip({self.listing(depth)}, {self.listing(depth)})])",
        }[name]

    def int_call(self, depth):
        name, positional, keywords, star = self.pick(self.scope.functions)
        args = [self.integer(depth) for _ in range(positional)]
        dice = self.dice
        if star and dice.chance(0.5):
            args += [self.integer(depth) for _ in range(dice.randint(1, 3))]
        elif star and dice.chance(0.5):
            args.append(f"*{self.listing(depth)}")
        elif args and dice.chance(0.1):
            args = args[: len(args) - self.dice.chance(self.style["risk"])]  # TypeError, unless it has a default
        args += [f"{k}={self.integer(depth)}" for k in keywords if dice.chance(0.5)]
        if keywords and dice.chance(0.1):
            args = [a for a in args if "=" not in a.split("(")[0]] + [f"**{{'{keywords[0]}': {self.integer(0)}}}"]
        return f"{name}({', '.join(args)})"

    def int_text(self, depth):
        name = self.pick(self.scope.strings)
        return self.dice.choice(
            (f"len({name} + {self.string(depth)})", f"{name}.find({self.string(depth)})", f"ord({name}[0])")
        )

    def int_attribute(self, depth):
        return self.dice.choice(
            (
                f"C_Z({self.integer(depth)}).add({self.integer(depth)})",
                f"C_Z({self.integer(depth)}).x",
                f"(C_Z({self.integer(depth)}) + {self.integer(depth)})",
                f"D_Z({self.integer(depth)}).add({self.integer(depth)})",
                f"C_Z.make({self.integer(depth)}).value",
                "C_Z.count",
            )
        )

    def int_lambda(self, depth):
        return f"(lambda z, y={self.integer(0)}: z {self.dice.choice('+-^')} y)({self.integer(depth)})"

    def int_member(self, depth):
        return f"({self.integer(depth)} {self.dice.choice(('in', 'not in'))} {self.listing(depth)})"

    def condition(self, depth=1):
        return self.dice.choice((self.comparison, self.comparison, self.integer, self.truth))(depth)

    def truth(self, depth):
        name = self.pick(self.scope.ints)
        return self.dice.choice(
            (f"not {self.listing(depth)}", self.string(depth), f"{name} is not None", f"{name} is None")
        )

    def listing(self, depth=1):
        """A list or tuple of integers."""
        dice = self.dice
        name = self.pick(self.scope.lists)
        kind = dice.random()
        if name and (kind < 0.4 or depth <= 0):
            return name
        if kind < 0.55:
            return f"[{', '.join(self.integer(depth - 1) for _ in range(dice.randint(1, 4)))}]"
        if kind < 0.65:
            return f"({', '.join(self.integer(depth - 1) for _ in range(dice.randint(2, 4)))})"
        if kind < 0.75 and name:
            bounds = [dice.choice(("", str(dice.randint(-3, 4)), f"{self.integer(0)} & 3")) for _ in range(2)]
            step = dice.choice(("", "", ":2", ":-1")) if bounds == ["", ""] else ""
            return f"{name}[{bounds[0]}:{bounds[1]}{step}]"
        if kind < 0.9 and self.style["closures"]:
            inner = self.listing(depth - 1) if depth > 0 else f"range({dice.randint(0, 5)})"
            test = f" if x {dice.choice(COMPARISONS)} {self.integer(0)}" if dice.chance(0.4) else ""
            value = dice.choice(("x", "-x", f"x + {self.integer(0)}", f"x & {self.integer(0)}"))
            text = f"{value} for x in {inner}{test}"
            return dice.choice((f"[{text}]", f"[{text}]", f"list({text})", f"sorted({{{text}}})"))
        return f"list(range({dice.randint(0, 6)}))"

    def string(self, depth=1):
        dice = self.dice
        name = self.pick(self.scope.strings)
        kind = dice.random()
        if name and kind < 0.4:
            return name
        if kind < 0.6:
            return repr("".join(dice.choice("abcxyz 019") for _ in range(dice.randint(0, 5))))
        if kind < 0.75:
            return f"str(0 + {self.integer(depth - 1)})"
        if kind < 0.85:
            return f"('%d,%s' % ({self.integer(depth - 1)}, {self.integer(depth - 1)}))"
        if name and kind < 0.95:
            return f"{name}[{dice.choice(('1:', ':-1', '-3:', ':2'))}]"
        return f"(str(0 + {self.integer(0)}) * {dice.randint(0, 3)})"

    def floating(self, depth=1):
        dice = self.dice
        name = self.pick(self.scope.floats)
        kind = dice.random()
        if name and (kind < 0.4 or depth <= 0):
            return name
        if kind < 0.6 or depth <= 0:
            return str(dice.choice((0.0, 1.0, -1.5, 0.25, 1e10, -3.75, 1e-3, 123456.5)))
        if kind < 0.75:
            return f"float({self.integer(depth - 1)} & 0xffffffff)"
        op = dice.choice("+-*/")
        return f"({self.floating(depth - 1)} {op} {self.floating(depth - 1)})"

    # Statements

    def line(self, indent, text):
        self.lines.append(" " * indent + text)

    def block(self, indent, in_loop):
        self.level += 1
        for _ in range(self.dice.choice((1, 1, 2, 2, 3, 4))):
            self.statement(indent, in_loop)
        self.level -= 1

    def statement(self, indent, in_loop):
        self.budget -= 1
        deep = self.budget < 0 or self.level > 5
        s = self.style
        table = {
            "assign": 8,
            "in_place": 4,
            "unpack": 2,
            "list": 3 * bool(self.scope.lists),
            "dict": 2 * bool(self.scope.dicts),
            "text": 1 * s["strings"],
            "float": 1.5 * s["floats"],
            "if": 0 if deep else 5,
            "for": 0 if deep or self.trips > 40 else 4,
            "while": 0 if deep or self.trips > 40 else 2,
            "leave": 2.5 * (in_loop > 0),
            "return": 0 if self.level == 0 or (self.is_generator and self.in_try) else 0.7,
            "try": 0 if deep else 5 * s["try"],
            "with": 0 if deep else 3 * s["with"],
            "raise": 1.5 * s["try"] * (self.level > 0),
            "inner": 0 if deep or self.level > 1 else 3 * s["inner"],
            "generator": 0 if deep or self.level > 1 else 3 * s["generator"],
            "yield": 5 * self.is_generator,
            "delete": 0.5,
            "global": 1 * s["global"],
            "assert": 0.3,
            "set": 0.5 * bool(self.scope.dicts),
        }
        getattr(self, "do_" + self.dice.weighted(table))(indent, in_loop)

    def variable(self):
        free = [name for name in self.scope.ints if name not in self.scope.fixed]
        return self.dice.choice(free)

    def do_assign(self, indent, in_loop):
        some = self.dice.random()
        if some < 0.85:
            self.line(indent, f"{self.variable()} = {self.integer(3)}")
        else:
            self.line(indent, f"{self.variable()} = {self.variable()} = {self.integer(2)}")

    def do_in_place(self, indent, in_loop):
        op = self.dice.choice(("+", "-", "^", "|", "&", "+", ">>", "//", "%", "*"))
        value = str(self.dice.randint(1, 9)) if op in (">>", "*", "//", "%") else self.integer(2)
        name = self.variable()
        self.line(indent, f"{name} {op}= {value}")
        if op == "*":
            self.line(indent, f"{name} %= {self.dice.choice((1 << 62, 1 << 64, 1000003))}")

    def do_unpack(self, indent, in_loop):
        names = [self.variable() for _ in range(self.dice.choice((2, 2, 3)))]
        kind = self.dice.random()
        values = ", ".join(self.integer(1) for _ in names)
        if kind < 0.5:
            self.line(indent, f"{', '.join(names)} = {values}")
        elif kind < 0.65:
            self.line(indent, f"{', '.join(names)} = (list({self.listing()}) + [3, 4, 5])[:{len(names)}]")
        elif kind < 0.8 and not self.scope.fixed:
            star = self.pick(self.scope.lists)
            names[self.dice.randrange(len(names))] = "*" + star
            self.line(indent, f"{', '.join(names)} = [{self.integer(0)}, {self.integer(0)}] + list({self.listing()})")
            self.line(indent, f"{star} += [1, 2, 3]")
        elif len(names) > 2:
            self.line(
                indent,
                f"{names[0]}, ({names[1]}, {names[2]}) = {self.integer(1)}, ({self.integer(1)}, {self.integer(1)})",
            )
        else:
            self.line(indent, f"[{', '.join(names)}] = [{values}]")

    def do_list(self, indent, in_loop):
        name = self.pick(self.scope.lists)
        kind = self.dice.random()
        if name in self.scope.fixed and 0.8 <= kind < 0.9:
            kind = 0
        if kind < 0.3:
            self.line(indent, f"if len({name}) < 20: {name}.append({self.integer(2)})")
        elif kind < 0.6:
            self.line(indent, f"{name}[{self.index(1)}] = {self.integer(2)}")
        elif kind < 0.75:
            self.line(indent, f"{name}[{self.index(0)}] {self.dice.choice('+-^|')}= {self.integer(1)}")
        elif kind < 0.8:
            self.line(indent, f"{name}[{self.dice.randint(0, 2)}:{self.dice.randint(1, 3)}] = {self.listing(0)}[:2]")
        elif kind < 0.9:
            rest = "" if self.dice.chance(self.style["risk"]) else " + [7, 8, 9]"
            self.line(indent, f"{name} = list({self.listing(2)}[:8]){rest}")
        else:
            self.line(indent, f"if len({name}) > 3: {self.variable()} = {name}.pop()")

    def do_dict(self, indent, in_loop):
        name = self.pick(self.scope.dicts)
        kind = self.dice.random() * (0.7 if name in self.scope.fixed else 1)
        if kind < 0.4:
            self.line(indent, f"{name}[{self.key(1)}] = {self.integer(2)}")
        elif kind < 0.6:
            self.line(indent, f"{name}[1] {self.dice.choice('+-^')}= {self.integer(1)}")
        elif kind < 0.7:
            key = self.key(0)
            self.line(indent, f"if {key} in {name} and len({name}) > 3: del {name}[{key}]")
        elif kind < 0.85:
            value = self.dice.choice(("x", "x * 2", self.integer(0)))
            self.line(indent, f"{name} = {{x & 7: {value} for x in {self.listing()}}}")
            self.line(indent, f"{name}[1], {name}[2] = {self.integer(0)}, {self.integer(0)}")
        else:
            self.line(
                indent, f"{name} = {{1: {self.integer(1)}, 2: {self.integer(1)}, {self.key(0)}: {self.integer(1)}}}"
            )

    def do_set(self, indent, in_loop):
        self.line(indent, f"{self.variable()} = sum({{{self.integer(1)}, {self.integer(1)}}} | set({self.listing()}))")

    def do_text(self, indent, in_loop):
        name = self.pick(self.scope.strings) or self.new("s")
        if name not in self.scope.strings:
            if self.level:
                return self.do_assign(indent, in_loop)
            self.scope.strings.append(name)
            self.line(indent, f"{name} = {self.dice.choice(('q', 'xyz', '12'))!r}")
        self.line(indent, f"{name} = ({self.string(2)} + {self.string(1)})[:12]")

    def do_float(self, indent, in_loop):
        name = self.pick(self.scope.floats)
        if not name:
            return self.do_assign(indent, in_loop)
        if self.dice.chance(0.6):
            self.line(indent, f"{name} = {self.floating(3)}")
        else:
            self.line(indent, f"if {self.floating(2)} {self.dice.choice(COMPARISONS)} {self.floating(1)}: {name} = 1.0")

    def do_if(self, indent, in_loop):
        self.line(indent, f"if {self.condition(2)}:")
        self.block(indent + 1, in_loop)
        while self.dice.chance(0.2):
            self.line(indent, f"elif {self.condition(1)}:")
            self.block(indent + 1, in_loop)
        if self.dice.chance(0.45):
            self.line(indent, "else:")
            self.block(indent + 1, in_loop)

    def loop_body(self, indent, trips):
        before, self.trips = self.trips, self.trips * trips
        self.block(indent + 1, 1)
        self.trips = before
        if self.dice.chance(0.2):
            self.line(indent, "else:")
            self.block(indent + 1, 0)

    def do_for(self, indent, in_loop):
        dice = self.dice
        kind = dice.random()
        name = self.variable()
        if kind < 0.45:
            end = dice.choice((str(dice.randint(0, 6)), f"{self.integer(1)} & 7"))
            bounds = dice.choice((end, f"1, {end}", f"{end}, 0, -1", f"0, {end}, 2", f"-2, {end}"))
            source = f"range({bounds})"
        elif kind < 0.75:
            source = f"{self.listing(2)}[:6]"
        elif kind < 0.85:
            self.line(indent, f"for {name}, {self.variable()} in enumerate({self.listing()}[:5]):")
            return self.loop_body(indent, 5)
        elif self.scope.dicts and kind < 0.92:
            source = f"sorted({self.pick(self.scope.dicts)}.values())[:5]"
        else:
            source = f"{self.string(2)}[:5]"
            self.line(indent, f"for {self.new('c')} in {source}:")
            return self.loop_body(indent, 5)
        self.line(indent, f"for {name} in {source}:")
        self.loop_body(indent, 6)

    def do_while(self, indent, in_loop):
        counter = self.new("w")
        trips = self.dice.randint(1, 5)
        self.line(indent, f"{counter} = 0")
        test = self.dice.choice((f"{counter} < {trips}", f"{counter} < {trips} and {self.condition(1)}"))
        self.line(indent, f"while {test}:")
        self.line(indent + 1, f"{counter} += 1")
        self.loop_body(indent, trips)

    def do_leave(self, indent, in_loop):
        self.line(indent, f"if {self.condition(1)}: {self.dice.choice(('break', 'continue'))}")

    def do_return(self, indent, in_loop):
        if self.in_finally:
            return self.do_assign(indent, in_loop)
        self.line(indent, f"if {self.condition(1)}: return {self.integer(1)}")

    def do_try(self, indent, in_loop):
        dice = self.dice
        self.line(indent, "try:")
        self.in_try += 1
        self.block(indent + 1, in_loop)
        some = dice.random()
        if some < 0.75:
            for _ in range(dice.choice((1, 1, 2))):
                self.line(indent, f"except {dice.choice(HANDLERS)}{dice.choice(('', '', ' as e'))}:")
                self.handler(indent + 1, in_loop)
            if dice.chance(0.2):
                self.line(indent, "except:")
                self.handler(indent + 1, in_loop)
            if dice.chance(0.25):
                self.line(indent, "else:")
                self.block(indent + 1, in_loop)
        if some > 0.6:
            self.line(indent, "finally:")
            self.in_finally += 1
            self.block(indent + 1, 0)
            self.in_finally -= 1
        self.in_try -= 1

    def handler(self, indent, in_loop):
        self.block(indent, in_loop)
        if self.dice.chance(0.25):
            self.line(indent, f"if {self.condition(1)}: raise")

    def do_with(self, indent, in_loop):
        log = self.pick(self.scope.lists)
        name = self.new("m")
        self.line(indent, f"with W_Z({log}, {self.integer(1)}){self.dice.choice(('', f' as {name}'))}:")
        self.in_try += 1
        self.block(indent + 1, in_loop)
        self.in_try -= 1

    def do_raise(self, indent, in_loop):
        error = self.dice.choice(ERRORS[:-1])
        error = self.dice.choice((error, f"{error}({self.integer(1)})"))
        if self.in_try or self.dice.chance(self.style["risk"]):
            self.line(indent, f"if {self.condition(1)}: raise {error}")
        else:
            self.do_assign(indent, in_loop)

    def do_delete(self, indent, in_loop):
        if not self.style["delete"]:
            return self.do_assign(indent, in_loop)
        name = self.variable()
        self.line(indent, f"del {name}")
        if not self.dice.chance(self.style["risk"]):
            self.line(indent, f"{name} = {self.constant()}")

    def do_global(self, indent, in_loop):
        self.line(indent, self.dice.choice((f"G_Z += {self.integer(0)} & 7", f"{self.variable()} = G_Z", "G_Z = 5")))

    def do_assert(self, indent, in_loop):
        self.line(indent, f"assert {self.condition(1)} or {not self.dice.chance(self.style['risk'])}")

    def inner(self, prefix):
        function = Function(self.dice, self.style, prefix)
        function.budget = min(function.budget, self.dice.randint(2, 8))
        function.scope.lists = list(self.scope.lists)
        function.scope.dicts = list(self.scope.dicts)
        function.scope.ints = list(self.scope.ints)
        # MicroPython takes a name that is read before it is set for the outer one, so these are not set.
        function.scope.fixed = {*self.scope.ints, *self.scope.lists, *self.scope.dicts}
        function.level = self.level + 1
        function.in_finally = 0
        return function

    def do_inner(self, indent, in_loop):
        """A function that has cells of this one, with default, keyword and star arguments."""
        dice = self.dice
        name = self.new("g")
        function = self.inner(name + "_")
        positional, keywords, star = dice.randint(0, 3), [], dice.chance(0.3)
        args = [f"{name}p{i}" for i in range(positional)]
        head = list(args)
        if head and dice.chance(0.3):
            head[-1] += f"={self.integer(1)}"
        if star:
            head.append(f"*{name}r")
            function.scope.lists = [*function.scope.lists]
        elif dice.chance(0.2):
            head.append("*")
        if head and head[-1].startswith("*"):
            keywords = [f"{name}k"]
            head.append(f"{name}k={self.integer(1)}")
            args.append(f"{name}k")
        elif dice.chance(0.2):
            keywords = [f"{name}k"]
            head.append(f"{name}k={self.integer(1)}")
            args.append(f"{name}k")
        function.scope.ints += args
        own = f"{name}v"
        function.scope.ints.append(own)
        self.line(indent, f"def {name}({', '.join(head)}):")
        shared = [n for n in self.scope.ints if n not in self.scope.fixed]
        if shared and dice.chance(0.6):
            nonlocal_names = dice.sample(shared, min(len(shared), 2))
            self.line(indent + 1, f"nonlocal {', '.join(nonlocal_names)}")
            function.scope.fixed -= set(nonlocal_names)
        self.line(indent + 1, f"{own} = {len(args)}" if not star else f"{own} = len({name}r)")
        function.write(indent + 1)
        self.lines += function.lines
        self.line(indent + 1, f"return {function.integer(2)}")
        self.scope.functions.append((name, positional, keywords, star))
        if self.level:  # unknown to what comes after this block
            self.line(indent, f"{self.variable()} = {self.int_call(1)}")
            self.scope.functions.pop()

    def do_generator(self, indent, in_loop):
        """A generator and a loop that takes from it, sends to it, throws into it."""
        dice = self.dice
        name = self.new("h")
        function = self.inner(name + "_")
        function.is_generator = True
        own = f"{name}v"
        function.scope.ints += [f"{name}p", own]
        self.line(indent, f"def {name}({name}p):")
        self.line(indent + 1, f"{own} = 0")
        function.write(indent + 1)
        self.lines += function.lines
        self.line(
            indent + 1, dice.choice((f"yield {own}", f"{own} = yield {name}p", f"yield from {self.listing()}[:4]"))
        )
        if dice.chance(0.4):
            self.line(indent + 1, f"return {own}")
        target, kind = self.variable(), dice.random()
        start = f"kept({name}({self.integer(1)}))"  # CPython would close it when nobody has it
        count = self.new("n")
        if kind < 0.3:
            self.line(indent, f"for {target} in {start}:")
            return self.loop_body(indent, 5)
        if kind < 0.5:
            self.line(indent, f"{target} = sum([7 if x is None else x for x in {start}])")
            return None
        generator = self.new("i")
        self.line(indent, f"{generator} = {start}")
        self.line(indent, f"{count} = 0")
        self.line(indent, "try:")
        self.line(indent + 1, f"{target} = next({generator})")
        self.line(indent + 1, f"while {count} < 6:")
        self.line(indent + 2, f"{count} += 1")
        some = dice.random()
        if some < 0.5:
            self.line(indent + 2, f"{target} = {generator}.send({self.integer(1)})")
        elif some < 0.8:
            self.line(
                indent + 2,
                f"if {count} == {dice.randint(1, 4)}: {target} = {generator}.throw({dice.choice(ERRORS[:-1])})",
            )
            self.line(indent + 2, f"else: {target} = next({generator})")
        else:
            self.line(indent + 2, f"if {count} == 2: {generator}.close()")
            self.line(indent + 2, f"{target} = next({generator})")
        self.line(indent + 2, f"if {target} is None: {target} = -1")
        self.line(indent, "except StopIteration as e:")
        self.line(indent + 1, f"{target} = e.value if e.value is not None else 3")
        return None

    def do_yield(self, indent, in_loop):
        kind = self.dice.random()
        if kind < 0.5:
            self.line(indent, f"yield {self.integer(1)}")
        elif kind < 0.8:
            name = self.variable()
            self.line(indent, f"{name} = yield {self.integer(1)}")
            self.line(indent, f"if {name} is None: {name} = 4")
        else:
            self.line(indent, f"yield from {self.listing()}[:3]")

    # The whole

    def write(self, indent):
        """Statements until the budget is spent. At least one name can be assigned."""
        while self.budget > 0:
            self.statement(indent, 0)

    def function(self, name):
        dice = self.dice
        args = [f"a{i}" for i in range(dice.randint(1, 4))]
        self.scope.ints = list(args)
        self.scope.lists = ["l"]
        self.line(0, "@DECO")
        self.line(0, f"def {name}({', '.join(['l', *args])}):")
        if self.style["global"]:
            self.line(1, "global G_Z")
        for i in range(dice.choice((1, 2, 3, 5, 8, 12))):
            self.scope.ints.append(f"v{i}")
            if not dice.chance(self.style["unbound"]):
                self.line(1, f"v{i} = {self.constant()}")
        if self.style["dicts"]:
            self.scope.dicts.append("d")
            self.line(1, "d = {1: 5, 2: 6, 'a': 7}")
        if self.style["floats"]:
            self.scope.floats += ["x0", "x1"]
            self.line(1, "x0 = 0.5")
            self.line(1, "x1 = -2.0")
        self.write(1)
        everything = self.scope.ints + self.scope.lists + self.scope.dicts + self.scope.strings + self.scope.floats
        self.line(1, f"return [{', '.join(everything)}]")
        return len(args)


CLASSES = """\
class C_Z:
    count = 3
    @DECO
    def __init__(self, x):
        self.x = x
    @DECO
    def add(self, y, z=2):
        self.x += y
        return self.x - z
    @DECO
    def __add__(self, other):
        return self.x + other
    @property
    @DECO
    def value(self):
        return self.x
    @staticmethod
    @DECO
    def make(x):
        return C_Z(x)
class D_Z(C_Z):
    @DECO
    def add(self, y):
        return super().add(y) + 1
"""
MANAGER = """\
class W_Z:
    @DECO
    def __init__(self, log, n):
        self.log = log
        self.n = n
    @DECO
    def __enter__(self):
        if isinstance(self.log, list) and len(self.log) < 30:
            self.log.append(-7)
        return self
    @DECO
    def __exit__(self, kind, error, trace):
        if isinstance(self.log, list) and len(self.log) < 30:
            self.log.append(0 if kind is None else 1)
        return self.n % 3 == 1
"""


def program(dice):
    """(text, calls) as of genviper."""
    chance = dice.chance
    style = {
        "size": dice.choice((3, 5, 9)),
        "try": chance(0.4),
        "with": chance(0.2),
        "inner": chance(0.3),
        "generator": chance(0.25),
        "class": chance(0.2),
        "global": chance(0.15),
        "dicts": chance(0.3),
        "strings": chance(0.3),
        "floats": chance(0.2),
        "delete": chance(0.3),
        "unbound": dice.choice((0, 0, 0, 0, 0, 0, 0.1, 0.3)),
        "risk": dice.choice((0, 0.02, 0.02, 0.2)),
    }
    style["closures"] = not style["unbound"] and not style["delete"]
    if not style["closures"]:
        style["inner"] = style["generator"] = False
    text = "G_Z = 4\n" if style["global"] else ""
    text += CLASSES if style["class"] else ""
    text += MANAGER if style["with"] else ""
    function = Function(dice, style)
    count = function.function("f_Z")
    text += "\n".join(function.lines) + "\n"
    calls = []
    for _ in range(dice.choice((2, 3, 4))):
        length = dice.randint(0, 2) if dice.chance(style["risk"]) else dice.randint(3, 6)
        values = [f"[{', '.join(str(dice.edge()) for _ in range(length))}]"]
        for _ in range(count):
            big = dice.choice((1, -1)) * (dice.choice((1 << 62, 1 << 63, 10**25)) + dice.randint(-2, 2))
            values.append(str(big if dice.chance(0.1) else dice.edge()))
        calls.append(f"({', '.join(values)})")
    return text, calls
