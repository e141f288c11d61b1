"""Writes random viper functions: machine integers, pointers, loops, calls.

The expressions have no value that viper leaves undefined: shift counts are masked, divisors are not zero, indexes stay
in the memory they are given. What slips through is found by the model, which rejects the function.

Not written, because the emitter refuses it or MicroPython promises nothing:
- locals read before they are set, `not` as a value, comparisons of int and uint, division of uint;
- operations on two constants, which the compiler folds to any size;
- `except X as e`, which deletes e in the end, so that it has two types;
- `and`, `or` or a chain inside of a chained comparison, which makes emitnative.c mistake its type (and refuse it);
- a variable as the step of range(), whose counter is an object then.
"""

from dice import Dice

POINTERS = {"ptr8": 1, "ptr16": 2, "ptr32": 4, "ptr64": 8}
ARITHMETIC = ("+", "-", "*", "&", "|", "^")
CONVERSION = {"int": "uint", "uint": "int"}
# An argument pointer is in the middle of the memory, with this much on both sides.
REACH = 128


class Function:
    """One function: `name(args) -> result`, decorated with DECO, using helpers that were written before it."""

    def __init__(self, dice: Dice, name, helpers=()):
        self.dice = dice
        self.name = name
        self.helpers = helpers
        self.lines = []
        self.budget = dice.size(9, 90)
        self.depth = dice.choice((1, 1, 2, 2, 2, 3, 3, 4, 6))
        self.counters = 0
        self.trips = 1
        self.catching = 0
        # Each function uses some features only, so that these meet more often.
        self.with_uint = dice.chance(0.5)
        self.with_objects = dice.chance(0.35)
        self.with_try = self.with_objects and dice.chance(0.3)
        self.with_divisions = dice.chance(0.3)
        self.with_bool = dice.chance(0.4)
        self.choose_names()

    def choose_names(self):
        dice = self.dice
        self.of_type = {"int": [], "uint": [], "bool": [], "object": []}
        self.pointers = []  # (name, type)
        self.arguments = []
        for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3, 4))):
            self.argument(dice.choice(list(POINTERS)))
        for _ in range(dice.choice((1, 1, 2, 2, 3, 4, 5, 8, 13))):
            self.argument(self.some_type())
        dice.shuffle(self.arguments)
        self.locals = []
        for number in range(dice.choice((0, 1, 2, 3, 4, 6, 8, 11, 14, 20))):
            kind = self.some_type()
            self.of_type[kind].append(f"v{number}")
            self.locals.append((f"v{number}", kind))
        if not self.of_type["int"]:
            self.of_type["int"].append("v")
            self.locals.append(("v", "int"))

    def some_type(self):
        table = {"int": 10, "uint": 5 * self.with_uint, "bool": self.with_bool, "object": self.with_objects}
        return self.dice.weighted(table)

    def argument(self, kind):
        name = f"a{len(self.arguments)}"
        self.arguments.append((name, kind))
        if kind in POINTERS:
            self.pointers.append((name, kind))
        else:
            self.of_type[kind].append(name)

    # Values

    def constant(self, kind):
        value = self.dice.edge(signed=kind == "int")
        if self.dice.chance(0.03):
            value = self.dice.choice((1 << 63, (1 << 64) - 1, (1 << 63) - 1, 0xFEDCBA9876543210, 1 << 62))
            return f"{kind}({value})"
        return f"uint({value})" if kind == "uint" else f"({value})" if value < 0 else str(value)

    def variable(self, kind):
        names = self.of_type[kind]
        return self.dice.choice(names) if names else None

    def varying(self, kind, depth):
        """An integer that is no constant, so that the compiler does not fold what is done with it."""
        other = CONVERSION[kind]
        dice = self.dice
        if depth <= 0 or dice.chance(0.25):
            name = self.variable(kind)
            if name:
                return name
            return f"{kind}({self.variable(other)})"
        table = {
            "arithmetic": 10,
            "shift": 4,
            "unary": 2,
            "load": 4 * bool(self.pointers),
            "if": 1,
            "and": 1,
            "cast": 1.5 if self.with_uint else 0.1,
            "compare": 1,
            "divide": 2 * (self.with_divisions and kind == "int"),
            "object": 2 * self.with_objects,
            "helper": 0.7 * bool(self.helpers),
        }
        return getattr(self, "int_" + dice.weighted(table))(kind, depth - 1)

    def integer(self, kind, depth):
        return self.constant(kind) if self.dice.chance(0.25) else self.varying(kind, depth)

    def mixed(self, kind, depth):
        """A right operand: of the other integer type now and then."""
        return self.integer(CONVERSION[kind] if self.with_uint and self.dice.chance(0.1) else kind, depth)

    def int_arithmetic(self, kind, depth):
        op = self.dice.choice(ARITHMETIC)
        if self.dice.chance(0.15):
            return f"({self.constant(kind)} {op} {self.varying(kind, depth)})"
        return f"({self.varying(kind, depth)} {op} {self.mixed(kind, depth)})"

    def int_shift(self, kind, depth):
        value = self.varying(kind, depth)
        count = self.dice.randint(0, 63) if self.dice.chance(0.6) else f"({self.varying('int', depth)} & 63)"
        return f"({value} {self.dice.choice(('<<', '>>'))} {count})"

    def int_unary(self, kind, depth):
        return f"({self.dice.choice('-~-~+')}{self.varying(kind, depth)})"

    def int_if(self, kind, depth):
        return f"({self.integer(kind, depth)} if {self.condition(depth)} else {self.integer(kind, depth)})"

    def int_and(self, kind, depth):
        op = self.dice.choice((" and ", " or "))
        return f"({op.join(self.varying(kind, depth) for _ in range(self.dice.choice((2, 2, 3))))})"

    def int_cast(self, kind, depth):
        other = self.dice.choice((CONVERSION[kind], kind, "bool" if self.with_bool else kind))
        return f"{kind}({self.boolean(depth) if other == 'bool' else self.varying(other, depth)})"

    def int_compare(self, kind, depth):
        return f"{kind}({self.comparison(depth)})"

    def int_divide(self, kind, depth):
        divisor = self.dice.choice(
            (
                str(self.dice.choice((1, 2, 3, 7, 10, 16, 1000, 2048, 65537))),
                f"(-{self.dice.choice((1, 2, 3, 7, 10, 4096))})",
                f"(({self.varying(kind, depth)} & 255) | 1)",
                f"((({self.varying(kind, depth)} & 63) - 32) | 1)",
            )
        )
        return (
            f"(({self.varying(kind, depth)} >> {self.dice.randint(2, 20)}) {self.dice.choice(('//', '%'))} {divisor})"
        )

    def int_object(self, kind, depth):
        return f"{kind}({self.object(depth)})"

    def int_helper(self, kind, depth):
        name, kinds = self.dice.choice(self.helpers)
        args = [self.pointer(depth, k) if k in POINTERS else self.value(k, depth) for k in kinds]
        if None in args:
            return self.varying(kind, depth)
        return f"{kind}({name}({', '.join(args)}))"

    def pointer(self, depth, kind):
        return None  # a pointer that becomes an object is an integer: nothing to compare

    def int_load(self, kind, depth):
        pointer, size = self.place()
        load = f"{pointer}[{self.index(size, depth)}]"
        return f"uint({load})" if kind == "uint" else load

    def place(self):
        """A pointer expression and its size."""
        name, kind = self.dice.choice(self.pointers)
        if self.dice.chance(0.12):
            kind = self.dice.choice(list(POINTERS))
            return f"{kind}({name})", POINTERS[kind]
        if self.dice.chance(0.05):
            kind = self.dice.choice(list(POINTERS))
            move = self.dice.choice((self.dice.randint(-32, 32), f"({self.variable('int')} & 31)"))
            return f"{kind}({self.dice.choice(('int', 'uint'))}({name}) + {move})", POINTERS[kind]
        return name, POINTERS[kind]

    def index(self, size, depth):
        """Within 64 bytes before and 64 behind the pointer."""
        most = 56 // size
        dice = self.dice
        kind = dice.random()
        if kind < 0.4:
            return str(dice.randint(-most if dice.chance(0.3) else 0, most))
        kind = "uint" if self.with_uint and dice.chance(0.2) else "int"
        mask = (1 << most.bit_length() - 1) - 1
        value = self.varying(kind, depth)
        some = dice.random()
        if some < 0.5:
            return f"{value} & {mask}"
        if some < 0.65 and kind == "int":
            return f"({value} & {mask}) - {dice.randint(0, mask)}"
        if some < 0.75:
            return f"({value} & {mask >> 1}) + {dice.randint(0, mask >> 1)}"
        if some < 0.85 and kind == "int":
            return f"-({value} & {mask})"
        if some < 0.95:
            return f"({value} & {mask >> 1}) * 2 + {dice.randint(0, 1)}"
        return f"({value} & {mask >> 2}) << {dice.randint(0, 2)}"

    def comparison(self, depth):
        kind = "uint" if self.with_uint and self.dice.chance(0.4) else "int"
        links = self.dice.choice((1, 1, 1, 1, 2, 3))
        if links > 1:
            depth = 0
        words = [self.varying(kind, depth)]
        for _ in range(links):
            words += [self.dice.choice(("<", ">", "<=", ">=", "==", "!=")), self.integer(kind, depth)]
        return f"({' '.join(words)})"

    def boolean(self, depth):
        """A value of type bool."""
        kind = self.dice.random()
        name = self.variable("bool")
        if name and kind < 0.4:
            return name
        if kind < 0.5:
            return self.dice.choice(("True", "False"))
        if kind < 0.6 and depth > 0:
            return f"({self.comparison(depth - 1)} {self.dice.choice(('and', 'or'))} {self.comparison(depth - 1)})"
        return self.comparison(depth - 1)

    def condition(self, depth):
        """Anything after `if`."""
        kind = self.dice.random()
        if kind < 0.5 or depth <= 0:
            return self.comparison(depth - 1)
        if kind < 0.65:
            return self.varying("uint" if self.with_uint and self.dice.chance(0.4) else "int", depth - 1)
        if kind < 0.75:
            return f"not {self.condition(depth - 1)}"
        if kind < 0.8:
            return self.boolean(depth - 1)
        if kind < 0.85 and self.with_objects:
            return self.object(depth - 1)
        return f"({self.condition(depth - 1)} {self.dice.choice(('and', 'or'))} {self.condition(depth - 1)})"

    def object(self, depth):
        """An object that is an integer."""
        name = self.variable("object")
        kind = self.dice.random()
        if name and (kind < 0.3 or depth <= 0):
            return name
        value = lambda: self.value(self.some_type(), depth - 2)
        if kind < 0.5:
            return f"plus({value()})"
        if kind < 0.65:
            return f"plus({value()}, {value()})"
        if kind < 0.8:
            return f"pick({value()}, {value()}, {value()})"
        if kind < 0.9 and self.catching:
            return f"raiser({value()})"
        if name and kind < 0.95:
            return f"({name} {self.dice.choice(('+', '-', '&', '|', '^'))} plus({value()}))"
        return f"[{value()}, {value()}][{self.dice.choice(('0', '1', '-1', self.varying('int', 0) + ' & 1'))}]"

    def value(self, kind, depth):
        if kind == "object":
            return self.object(depth)
        return self.boolean(depth) if kind == "bool" else self.integer(kind, depth)

    # Statements

    def line(self, indent, text):
        self.lines.append(" " * indent + text)

    def block(self, indent, in_loop):
        for _ in range(self.dice.choice((1, 1, 2, 2, 3, 4))):
            self.statement(indent, in_loop)

    def statement(self, indent, in_loop):
        self.budget -= 1
        flat = self.budget < 0 or indent > 6
        table = {
            "assign": 10,
            "in_place": 5,
            "store": 6 * bool(self.pointers),
            "swap": 2,
            "if": 0 if flat else 5,
            "for": 0 if flat or self.trips > 40 else 4,
            "while": 0 if flat or self.trips > 40 else 2.5,
            "leave": 3 * in_loop,
            "return": 0.4 if indent > 1 else 0,
            "call": 1 * self.with_objects,
            "move": 0.7 * bool(self.pointers),
            "try": 0 if flat or not self.with_try else 3,
        }
        getattr(self, "do_" + self.dice.weighted(table))(indent, in_loop)

    def target(self):
        kind = self.some_type()
        name = self.variable(kind)
        return (name, kind) if name else (self.variable("int"), "int")

    def do_assign(self, indent, in_loop):
        name, kind = self.target()
        self.line(indent, f"{name} = {self.value(kind, self.depth)}")

    def do_in_place(self, indent, in_loop):
        kind = "uint" if self.of_type["uint"] and self.dice.chance(0.4) else "int"
        name = self.variable(kind)
        op = self.dice.choice((*ARITHMETIC, "<<", ">>"))
        count = self.dice.choice((str(self.dice.randint(0, 63)), f"{self.variable('int')} & 63"))
        self.line(indent, f"{name} {op}= {count if op in ('<<', '>>') else self.mixed(kind, self.depth - 1)}")

    def do_store(self, indent, in_loop):
        pointer, size = self.place()
        index = self.index(size, self.depth - 1)
        kind = self.dice.choice(
            ("int", "int", "uint" if self.with_uint else "int", "bool" if self.with_bool else "int")
        )
        op = self.dice.choice(("+", "-", "^", "|", "&", "*"))
        if self.dice.chance(0.25) and kind != "bool":
            self.line(indent, f"{pointer}[{index}] {op}= {self.integer(kind, self.depth - 1)}")
        else:
            self.line(indent, f"{pointer}[{index}] = {self.value(kind, self.depth)}")

    def do_swap(self, indent, in_loop):
        targets = [self.target() for _ in range(self.dice.choice((2, 2, 3)))]
        if len({name for name, _ in targets}) < len(targets):
            return self.do_assign(indent, in_loop)
        # not all constant: a tuple of constants is an object, which viper does not take apart
        values = [
            self.variable(kind) if i == 0 else self.value(kind, self.depth - 1) for i, (_, kind) in enumerate(targets)
        ]
        self.line(indent, f"{', '.join(name for name, _ in targets)} = {', '.join(values)}")

    def do_if(self, indent, in_loop):
        self.line(indent, f"if {self.condition(self.depth)}:")
        self.block(indent + 1, in_loop)
        while self.dice.chance(0.2):
            self.line(indent, f"elif {self.condition(self.depth)}:")
            self.block(indent + 1, in_loop)
        if self.dice.chance(0.4):
            self.line(indent, "else:")
            self.block(indent + 1, in_loop)

    def loop_body(self, indent, trips):
        before, self.trips = self.trips, self.trips * max(trips, 1)
        self.block(indent + 1, True)
        self.trips = before
        if self.dice.chance(0.2):
            self.line(indent, "else:")
            self.block(indent + 1, False)

    def do_for(self, indent, in_loop):
        dice = self.dice
        trips = dice.choice((0, 1, 2, 3, 5, 8))
        if dice.chance(0.5):
            end = f"({self.varying('int', self.depth - 1)} & {(1 << trips.bit_length()) - 1})"
        else:
            end = str(trips)
        kind = "int"
        if dice.chance(0.4):
            bounds = end
        elif self.of_type["uint"] and dice.chance(0.3):
            kind, base = "uint", self.variable("uint")
            bounds = (
                f"{base}, {base} + {end}" if dice.chance(0.5) else f"uint(0), uint({end}), {dice.choice((1, 2, 3))}"
            )
        else:
            step = dice.choice((1, 1, 2, 3, -1, -1, -2, -7, 1000, 2048))
            base = dice.choice((str(dice.randint(-3, 3)), self.variable("int"), self.variable("int")))
            if base[-1].isdigit() and not base[0].isalpha():
                bounds = f"{base}, {end}" if step == 1 else f"{base}, {end}, {min(step, 3)}"
            elif end.isdigit():
                bounds = f"{base}, {base} + {int(end) * step}, {step}"
            else:
                bounds = f"{base}, {base} + {end} * {step}, {step}"
        name = self.variable(kind)
        self.line(indent, f"for {name} in range({bounds}):")
        self.loop_body(indent, trips + 4)

    def do_while(self, indent, in_loop):
        dice = self.dice
        self.counters += 1
        counter = f"w{self.counters}"
        trips = dice.choice((1, 2, 3, 5, 8))
        self.line(indent, f"{counter} = 0")
        test = f"{counter} < {trips}"
        some = dice.random()
        if some < 0.5:
            test = f"{test} and {self.condition(self.depth)}"
        elif some < 0.7:
            test = f"{self.condition(self.depth)} and {test}"
        elif some < 0.8:
            self.line(indent, "while True:")
            self.line(indent + 1, f"if {counter} >= {trips}: break")
            test = None
        if test:
            self.line(indent, f"while {test}:")
        self.line(indent + 1, f"{counter} += 1")
        self.loop_body(indent, trips)

    def do_leave(self, indent, in_loop):
        self.line(indent, f"if {self.condition(self.depth)}: {self.dice.choice(('break', 'continue'))}")

    def do_return(self, indent, in_loop):
        self.line(indent, f"if {self.condition(self.depth)}: return {self.result_value()}")

    def do_call(self, indent, in_loop):
        self.line(indent, self.object(self.depth))

    def do_move(self, indent, in_loop):
        """A pointer of its own, a little beside one of the arguments."""
        name, kind = self.dice.choice(self.pointers)
        if not name.startswith("a"):
            return self.do_store(indent, in_loop)
        to = self.dice.choice(list(POINTERS))
        move = self.dice.choice((self.dice.randint(-32, 32), f"({self.variable('int')} & 31)"))
        text = (
            f"{to}({self.dice.choice(('int', 'uint'))}({name}) + {move})" if self.dice.chance(0.7) else f"{to}({name})"
        )
        new = f"q{sum(not n.startswith('a') for n, _ in self.pointers)}"
        if indent > 1:  # it must exist from now on
            return self.do_store(indent, in_loop)
        self.line(indent, f"{new} = {text}")
        self.pointers.append((new, to))

    def do_try(self, indent, in_loop):
        self.line(indent, "try:")
        self.catching += 1
        self.block(indent + 1, in_loop)
        name, kind = self.variable("int"), "int"
        self.line(indent + 1, f"{name} = {kind}(raiser({self.value('int', 1)}))")
        self.catching -= 1
        some = self.dice.random()
        if some < 0.8:
            self.line(
                indent,
                self.dice.choice(("except ValueError:", "except:", "except (KeyError, OSError):", "except Exception:")),
            )
            self.block(indent + 1, in_loop)
            if self.dice.chance(0.3):
                self.line(indent, "else:")
                self.block(indent + 1, in_loop)
        if some > 0.7:
            self.line(indent, "finally:")
            self.block(indent + 1, False)

    # The whole

    def result_value(self):
        if self.result == "object":
            return self.object(self.depth)
        if self.result == "bool":
            return self.boolean(self.depth)
        return self.integer(self.result, self.depth)

    def everything(self):
        """All locals in one number."""
        number = self.result if self.result in CONVERSION else "int"
        parts = []
        for kind, names in self.of_type.items():
            for name in names:
                text = name if kind == number else f"{number}({name})"
                parts.append(f"{text} * {2 * len(parts) + 1}" if parts else text)
        return " ^ ".join(parts)

    def text(self):
        self.result = self.dice.choice(("int", "int", "uint", "bool" if self.with_bool else "int"))
        head = [name if kind == "object" else f"{name}: {kind}" for name, kind in self.arguments]
        self.line(0, "@DECO")
        self.line(0, f"def {self.name}({', '.join(head)}) -> {self.result}:")
        for name, kind in self.locals:
            first = {"int": self.constant("int"), "uint": self.constant("uint"), "bool": "False", "object": "plus(5)"}
            self.line(1, f"{name} = {first[kind]}")
        while self.budget > 0:
            self.statement(1, False)
        total = self.everything()
        self.line(1, f"return {total}" if self.result in CONVERSION else f"return ({total}) & 1 != 0")
        return "\n".join(self.lines) + "\n"


def argument_value(dice, kind):
    if kind in POINTERS:
        return f"{dice.choice('AV')}({REACH + 128 + dice.choice((0, 0, 0, 8, -8, 16, 1, 3, -40))})"
    if kind == "bool":
        return dice.choice(("True", "False", "0", "1", "5"))
    if kind == "object":
        return str(dice.choice((0, 1, -1, 7, 255, -2048)))
    if dice.chance(0.1):
        return str(dice.choice((1, -1)) * dice.choice((1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)))
    return str(dice.edge())


def program(dice):
    """(text, calls): functions whose names end in _Z, the last one is f_Z; and texts of tuples of arguments for it."""
    helpers, texts = [], []
    if dice.chance(0.15):
        helper = Function(dice, "g_Z")
        helper.budget = min(helper.budget, 6)
        if all(kind not in POINTERS for _, kind in helper.arguments):
            texts.append(helper.text())
            helpers.append(("g_Z", [kind for _, kind in helper.arguments]))
    function = Function(dice, "f_Z", helpers)
    texts.append(function.text())
    calls = []
    for _ in range(dice.choice((2, 3, 4))):
        calls.append(f"({''.join(argument_value(dice, kind) + ', ' for _, kind in function.arguments)})")
    return "".join(texts), calls
