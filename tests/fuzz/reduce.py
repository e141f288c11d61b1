"""Makes a function smaller as long as it fails in the same way."""

import ast
import time
from dataclasses import replace

import harness
import oracle

AT_ONCE = 24


def same_failure(one, other):
    """Whether two findings are of the same kind: for a refusal by the compiler, the same exception."""
    return one.split("(")[0].split("'")[0] == other.split("(")[0].split("'")[0]


def candidates(program):
    """Smaller programs, the boldest changes first."""
    for i in range(len(program.calls)):
        if len(program.calls) > 1:
            yield replace(program, calls=[program.calls[i]])
    for text in _smaller_texts(program.text):
        yield replace(program, text=text)
    yield from _fewer_arguments(program)
    if len(program.calls) == 1:
        for call in map(str.strip, _smaller_texts(program.calls[0])):
            if call.startswith("(") and call.endswith(")"):
                yield replace(program, calls=[call])


def _smaller_texts(text):
    """Texts with one thing less."""
    count = sum(1 for _ in _changes(ast.parse(text)))
    for number in range(count):
        tree = ast.parse(text)
        for i, change in enumerate(_changes(tree)):
            if i == number:
                change()
                break
        try:
            smaller = _unparse(tree)
            ast.parse(smaller)
        except (SyntaxError, ValueError):
            continue
        if smaller != text:
            yield smaller


def _unparse(tree):
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _changes(tree):
    """Functions that each change the tree in one way: blocks first, then statements, then expressions."""
    nodes = list(ast.walk(tree))
    for size in (8, 4, 2, 1):
        for node in nodes:
            for field in ("body", "orelse", "finalbody", "handlers"):
                block = getattr(node, field, None)
                if isinstance(block, list):
                    for at in range(0, len(block), size):
                        if size == 1 or len(block) > size:
                            yield lambda n=node, f=field, b=block, at=at, size=size: _cut(n, f, b, at, size)
    for node in nodes:
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                for at, statement in enumerate(block):
                    for inner in ("body", "orelse", "finalbody"):
                        if getattr(statement, inner, None) and not isinstance(
                            statement, (ast.FunctionDef, ast.ClassDef)
                        ):
                            yield lambda b=block, at=at, s=statement, i=inner: b.__setitem__(
                                slice(at, at + 1), getattr(s, i)
                            )
    for node in nodes:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "func", "targets", "target", "ctx"):
                continue
            if isinstance(value, ast.expr):
                for smaller in _smaller_expressions(value):
                    yield lambda n=node, f=field, s=smaller: setattr(n, f, s)
            elif isinstance(value, list):
                for at, element in enumerate(value):
                    if isinstance(element, ast.expr):
                        for smaller in _smaller_expressions(element):
                            yield lambda v=value, at=at, s=smaller: v.__setitem__(at, s)
                        if len(value) > 1 and field in ("values", "elts", "args", "keys"):
                            yield lambda v=value, at=at: v.pop(at)


def _cut(node, field, block, at, size):
    del block[at : at + size]
    if not block and field == "body" and not isinstance(node, ast.Module):
        block.append(ast.Pass())


def _smaller_expressions(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield child
    if isinstance(node, ast.Constant):
        if type(node.value) is int and node.value not in (0, 1):
            yield from (ast.Constant(0), ast.Constant(1), ast.Constant(node.value // 2))
    elif not isinstance(node, ast.Name):
        yield from (ast.Constant(0), ast.Constant(1))


def _fewer_arguments(program):
    """The function without one of its arguments."""
    arguments = ast.parse(program.text).body[-1]
    if not isinstance(arguments, ast.FunctionDef):
        return
    for number in range(len(arguments.args.args)):
        tree = ast.parse(program.text)
        del tree.body[-1].args.args[number]
        calls = [ast.parse(call.strip()) for call in program.calls]
        for call in calls:
            if not isinstance(call.body[0].value, ast.Tuple) or number >= len(call.body[0].value.elts):
                return
            del call.body[0].value.elts[number]
        yield replace(program, text=_unparse(tree), calls=[ast.unparse(call) for call in calls])


def reduced(program, mode, what, target, limit_s=90):
    """The smallest program found in this time that still fails this way in this mode."""
    deadline = time.monotonic() + limit_s
    tried = set()
    while time.monotonic() < deadline:
        fresh = (p for p in candidates(program) if (p.text, *p.calls) not in tried)
        for group in _groups(_valid(fresh), AT_ONCE):
            tried.update((p.text, *p.calls) for p in group)
            found = target.run([target.alone(p, mode, str(i)) for i, p in enumerate(group)])
            good = [int(f.bundle.name) for f in found if same_failure(f.what, what)]
            if good:
                program = min((group[i] for i in good), key=lambda p: len(p.text) + len(str(p.calls)))
                break
            if time.monotonic() > deadline:
                return program
        else:
            return program
    return program


def _valid(programs):
    for program in programs:
        try:
            yield oracle.expect(replace(program))
        except (harness.Reject, Exception):
            continue


def _groups(items, size):
    group = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
