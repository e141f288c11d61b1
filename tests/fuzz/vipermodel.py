"""Says what viper code means: turns it into plain Python that computes the same with big integers.

A machine value is a signed word of 64 bits here, whatever its type; the type chooses how it is compared, shifted right
and made an object. Memory is reached through the functions of harness.py. Types are inferred as the emitter does, and
what it would refuse raises TypeError.
"""

import ast

SIZES = {"ptr8": 1, "ptr16": 2, "ptr32": 4, "ptr64": 8}
INTS = ("int", "uint")
CASTS = ("int", "uint", "bool", "ptr", *SIZES)
OBJECT = "object"

_HALF = hex(1 << 63)
_MASK = hex((1 << 64) - 1)
# Operators whose result is a word if their operands are; and those whose result is to be cut.
_CLOSED = {ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.RShift: ">>", ast.FloorDiv: "//", ast.Mod: "%"}
_OPEN = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.LShift: "<<"}
_OPERATORS = {**_CLOSED, **_OPEN}
_UNARY = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~", ast.Not: "not "}
_COMPARISONS = {ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


def translate(text):
    """The plain Python of a module of viper functions, which keep their decorator, and others, left as they are."""
    lines = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            lines += _Function(node).lines()
        else:
            lines.append(ast.unparse(node))
    return "\n".join(lines) + "\n"


def _wrap(text):
    """The word that is left of a big integer."""
    return f"(({text} + {_HALF} & {_MASK}) - {_HALF})"


def _unsigned(text):
    return f"({text} & {_MASK})"


def _as_object(text, kind):
    if kind == "bool":
        return f"(True if {text} else False)"
    if kind == "uint":
        return _unsigned(text)
    if kind.startswith("ptr"):
        raise TypeError("a pointer gets out")
    return text


def _annotation(node):
    return node.id if node is not None else OBJECT


def _indented(lines):
    return [" " + line for line in lines] or [" pass"]


class _Function:
    def __init__(self, node):
        self.node = node
        self.types = {}
        self.temporaries = 0
        self.result = _annotation(node.returns)

    def lines(self):
        node = self.node
        head = []
        for arg in node.args.args:
            name, kind = arg.arg, _annotation(arg.annotation)
            self.types[name] = kind
            if kind in INTS:
                head.append(f"{name} = {_wrap(name)}")
            elif kind == "bool":
                head.append(f"{name} = 1 if {name} else 0")
        args = ", ".join(arg.arg for arg in node.args.args)
        end = ["return " + {"int": "0", "uint": "0", "bool": "False"}.get(self.result, "None")]
        return ["@DECO", f"def {node.name}({args}):", *_indented(head + self.block(node.body) + end)]

    def temporary(self):
        self.temporaries += 1
        return f"t_{self.temporaries}"

    # Statements: lists of lines

    def block(self, body):
        return [line for statement in body for line in self.statement(statement)]

    def statement(self, node):
        return getattr(self, "do_" + type(node).__name__)(node)

    def do_Pass(self, node):
        return ["pass"]

    def do_Break(self, node):
        return ["break"]

    def do_Continue(self, node):
        return ["continue"]

    def do_Expr(self, node):
        return [self.value(node.value)[0]]

    def do_Return(self, node):
        if node.value is None:
            return ["return 0" if self.result in INTS else "return"]
        text, kind = self.value(node.value)
        if kind != self.result:
            raise TypeError(f"return of {kind}")
        return ["return " + _as_object(text, kind)]

    def do_If(self, node):
        lines = [f"if {self.condition(node.test)}:", *_indented(self.block(node.body))]
        return lines + self.otherwise(node)

    def do_While(self, node):
        lines = [f"while {self.condition(node.test)}:", *_indented(self.block(node.body))]
        return lines + self.otherwise(node)

    def otherwise(self, node):
        return ["else:", *_indented(self.block(node.orelse))] if node.orelse else []

    def do_Try(self, node):
        lines = ["try:", *_indented(self.block(node.body))]
        for handler in node.handlers:
            head = f"except {self.object(handler.type) if handler.type else 'Exception'}:"
            lines += [head, *_indented(self.block(handler.body))]
        lines += self.otherwise(node)
        if node.finalbody:
            lines += ["finally:", *_indented(self.block(node.finalbody))]
        return lines

    def do_For(self, node):
        """`for i in range(...)` of machine integers with a constant step."""
        loop, name = node.iter, node.target.id
        if not (isinstance(loop, ast.Call) and isinstance(loop.func, ast.Name) and loop.func.id == "range"):
            raise TypeError("a loop over an object")
        values = [self.value(arg) for arg in loop.args]
        kind = values[0][1] if len(values) > 1 else "int"
        if kind not in INTS or any(other != kind for _, other in values[:2]):
            raise TypeError("range of several types")
        self.set_type(name, kind)
        if len(values) > 2:
            try:
                ast.literal_eval(loop.args[2])
            except ValueError:
                raise TypeError("step is no constant") from None
        bounds = [_unsigned(text) if kind == "uint" else text for text, _ in values[:2]] + [
            text for text, _ in values[2:]
        ]
        first = [f"{name} = {_wrap(name)}"] if kind == "uint" else []
        lines = [f"for {name} in counted({', '.join(bounds)}):", *_indented(first + self.block(node.body))]
        return lines + self.otherwise(node)

    def do_Assign(self, node):
        (target,) = node.targets
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            values = [self.value(element) for element in node.value.elts]
            names = [self.temporary() for _ in values]
            lines = [f"{', '.join(names)} = {', '.join(text for text, _ in values)}"]
            for part, name, (_, kind) in zip(target.elts, names, values):
                lines += self.store(part, name, kind)
            return lines
        return self.store(target, *self.value(node.value))

    def set_type(self, name, kind):
        if self.types.setdefault(name, kind) != kind:
            raise TypeError(f"local {name} is {self.types[name]}, not {kind}")

    def store(self, target, text, kind):
        if isinstance(target, ast.Name):
            self.set_type(target.id, kind)
            return [f"{target.id} = {text}"]
        base, base_kind = self.value(target.value)
        if base_kind not in SIZES:
            raise TypeError("store into an object")
        if kind not in ("bool", *INTS):
            raise TypeError(f"store of {kind}")
        value = self.temporary()
        address = self.address(base, base_kind, target.slice)
        return [f"{value} = {text}", f"put({address}, {SIZES[base_kind]}, {value})"]

    def do_AugAssign(self, node):
        target = node.target
        if isinstance(target, ast.Name):
            return self.store(target, *self.binary(*self.of_Name(target), node.op, *self.value(node.value)))
        base, kind = self.value(target.value)
        if kind not in SIZES:
            raise TypeError("in-place on an item of an object")
        at, value = self.temporary(), self.temporary()
        new, _ = self.binary(f"get({at}, {SIZES[kind]})", "int", node.op, *self.value(node.value))
        address = self.address(base, kind, target.slice)
        return [f"{at} = {address}", f"{value} = {new}", f"put({at}, {SIZES[kind]}, {value})"]

    # Expressions: (text, type)

    def address(self, base, kind, index):
        text, index_kind = self.value(index)
        if index_kind not in INTS:
            raise TypeError("index is no integer")
        return f"{base} + {text} * {SIZES[kind]}"

    def object(self, node):
        return _as_object(*self.value(node))

    def condition(self, node):
        """Jumps are made of `and`, `or` and `not` in a condition, so their operands may be of any type."""
        if isinstance(node, ast.BoolOp):
            op = " and " if isinstance(node.op, ast.And) else " or "
            return f"({op.join(self.condition(value) for value in node.values)})"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return f"(not {self.condition(node.operand)})"
        if isinstance(node, ast.Compare):
            return self.comparison(node)[0]
        text, kind = self.value(node)
        if kind.startswith("ptr"):
            raise TypeError("truth of a pointer")
        return text

    def value(self, node):
        return getattr(self, "of_" + type(node).__name__)(node)

    def of_Name(self, node):
        return node.id, self.types.get(node.id, OBJECT)

    def of_Constant(self, node):
        if isinstance(node.value, bool):
            return str(int(node.value)), "bool"
        if isinstance(node.value, int) and -(1 << 62) <= node.value < 1 << 62:
            return f"({node.value})", "int"
        return repr(node.value), OBJECT

    def of_List(self, node):
        return f"[{', '.join(self.object(element) for element in node.elts)}]", OBJECT

    def of_Tuple(self, node):
        return f"({''.join(self.object(element) + ', ' for element in node.elts)})", OBJECT

    def of_UnaryOp(self, node):
        text, kind = self.value(node.operand)
        if isinstance(node.operand, ast.Constant) and kind == "int":
            return self.of_Constant(ast.Constant(ast.literal_eval(node)))
        if kind != OBJECT and (kind not in INTS or isinstance(node.op, ast.Not)):
            raise TypeError(f"unary operation of {kind}")
        new = f"({_UNARY[type(node.op)]}{text})"
        return (_wrap(new) if kind in INTS and isinstance(node.op, ast.USub) else new), kind

    def of_BinOp(self, node):
        return self.binary(*self.value(node.left), node.op, *self.value(node.right))

    def binary(self, left, kind, op, right, right_kind):
        symbol = _OPERATORS.get(type(op))
        if symbol is None:
            raise TypeError("operation that viper has not")
        if kind == OBJECT and right_kind == OBJECT:
            return f"({left} {symbol} {right})", OBJECT
        if kind not in INTS or right_kind not in INTS:
            raise TypeError(f"operation of {kind} and {right_kind}")
        if isinstance(op, (ast.LShift, ast.RShift)):
            right = f"count({right})"
            if isinstance(op, ast.RShift) and kind == "uint":
                return _wrap(f"({_unsigned(left)} >> {right})"), kind
        elif isinstance(op, (ast.FloorDiv, ast.Mod)):
            if kind != "int":
                raise TypeError("division of uint")
            left, right = f"dividend({left})", f"divisor({right})"
        new = f"({left} {symbol} {right})"
        return (_wrap(new) if type(op) in _OPEN else new), kind

    def comparison(self, node):
        values = [self.value(part) for part in (node.left, *node.comparators)]
        kinds = {kind for _, kind in values}
        if len(kinds) != 1 or not kinds <= {OBJECT, *INTS}:
            raise TypeError(f"comparison of {kinds}")
        kind = kinds.pop()
        texts = [_unsigned(text) if kind == "uint" else text for text, _ in values]
        words = [texts[0]]
        for op, text in zip(node.ops, texts[1:]):
            words += [_COMPARISONS[type(op)], text]
        return f"({' '.join(words)})", kind

    def of_Compare(self, node):
        text, kind = self.comparison(node)
        return (text, OBJECT) if kind == OBJECT else (f"(1 if {text} else 0)", "bool")

    def same(self, nodes):
        values = [self.value(node) for node in nodes]
        kinds = {kind for _, kind in values}
        if len(kinds) != 1:
            raise TypeError(f"one of {kinds}")
        return [text for text, _ in values], kinds.pop()

    def of_BoolOp(self, node):
        texts, kind = self.same(node.values)
        if kind.startswith("ptr"):
            raise TypeError("truth of a pointer")
        return f"({(' and ' if isinstance(node.op, ast.And) else ' or ').join(texts)})", kind

    def of_IfExp(self, node):
        test = self.condition(node.test)
        (body, orelse), kind = self.same((node.body, node.orelse))
        return f"({body} if {test} else {orelse})", kind

    def of_Subscript(self, node):
        base, kind = self.value(node.value)
        if kind in SIZES:
            return f"get({self.address(base, kind, node.slice)}, {SIZES[kind]})", "int"
        if kind != OBJECT:
            raise TypeError(f"item of {kind}")
        return f"{base}[{self.object(node.slice)}]", OBJECT

    def of_Call(self, node):
        if isinstance(node.func, ast.Name) and node.func.id in CASTS:
            return self.cast(node.func.id, node.args[0])
        return f"{self.object(node.func)}({', '.join(self.object(arg) for arg in node.args)})", OBJECT

    def cast(self, to, arg):
        text, kind = self.value(arg)
        if kind != OBJECT:
            return text, to
        if to in INTS:
            return f"word({text})", to
        if to == "bool":
            return f"(1 if {text} else 0)", to
        raise TypeError("pointer to an object")
