"""Clauses that no test can show: arguments/<group>.tsv holds a line for each, and this checks what it can of them.

A line is: ids (separated by blanks) TAB argument TAB conditions (may be left out, separated by `; `):

    unless RSS(60)@virtio/net.py    holds while no driver or transport of that file accepts feature bit 60;
                                    a folder stands for all files in it
    lacks set_config@virtio/net.py  holds while that file never uses the name
    group mmio                      holds while every other MUST and MUST NOT of the group is covered

The conformance targets of chapter 7 (CONF-...) are argued by their group without a line.
"""

import ast
import importlib
import re
import sys
from dataclasses import dataclass

from clauselist import HERE, PREFIXES, REQUIRED, ROOT, rows

MODULES = ROOT / "modules"
_UNLESS = re.compile(r"unless ([A-Z0-9_]+)\((\d+)\)@(\S+)")
_LACKS = re.compile(r"lacks (\w+)@(\S+)")
_GROUP = re.compile(r"group (\w+)")
_ACCEPTS = re.compile(r"_?(features|FEATURES)")


@dataclass
class Argument:
    text: str
    conditions: list
    where: str
    groups: tuple = ()


def read(known, tests, folder=HERE / "arguments", modules=MODULES):
    """({clause id: Argument}, errors)."""
    found, errors = {}, []
    for path in sorted(folder.glob("*.tsv")):
        for number, row in rows(path):
            where = f"{path.name}:{number}"
            if len(row) not in (2, 3) or not row[1].strip():
                errors.append(f"{where}: want ids, argument and perhaps conditions, separated by tabs")
                continue
            conditions = [text for text in row[2].split("; ") if text] if len(row) == 3 else []
            problems, groups = check(conditions, modules)
            errors += [f"{where}: {problem}" for problem in problems]
            for clause in row[0].split():
                argument = Argument(row[1], conditions, where, groups)
                errors += [f"{where}: {clause}: {text}" for text in _faults(clause, known, tests, found)]
                found[clause] = argument
    for clause in known.values():
        if clause.id.startswith("CONF-") and clause.group in REQUIRED and clause.id not in found:
            text = "Every other rule of the group is covered."
            found[clause.id] = Argument(text, [f"group {clause.group}"], "clauses.tsv", (clause.group,))
    return found, errors


def _faults(clause, known, tests, found):
    if clause not in known:
        yield "there is no such clause"
    if clause in tests:
        yield f"a test shows it ({tests[clause][0]}): the argument is not needed"
    if clause in found:
        yield f"has an argument in {found[clause].where} already"


def check(conditions, modules=MODULES):
    """(what is wrong with the conditions, the groups that they need)."""
    problems, groups = [], []
    for condition in conditions:
        if match := _UNLESS.fullmatch(condition):
            problems += _unless(match[1], int(match[2]), _files(modules, match[3]))
        elif match := _LACKS.fullmatch(condition):
            problems += _lacks(match[1], _files(modules, match[2]))
        elif (match := _GROUP.fullmatch(condition)) and match[1] in PREFIXES.values():
            groups.append(match[1])
        else:
            problems.append(f"unknown condition {condition!r}")
    return problems, tuple(groups)


def _files(modules, name):
    path = modules / name
    return sorted(path.glob("*.py")) if path.is_dir() else [path]


def _lacks(name, files):
    for path in files:
        if not path.exists():
            yield f"there is no {path.name}"
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if name in (getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None)):
                yield f"{path.name}:{node.lineno} uses {name}"


def _unless(name, bit, files):
    for path in files:
        if not path.exists():
            yield f"there is no {path.name}"
            continue
        module = _load(path)
        for line, bits in _accepted(path, module):
            if bits >> bit & 1:
                yield f"{path.name}:{line} accepts feature bit {bit}"
        for table in _names(module):
            if table.get(bit, name) != name or any(other == name and at != bit for at, other in table.items()):
                yield f"{path.name}: feature bit {bit} is {table.get(bit, 'another one')}, not {name}"


def _load(path):
    """The module, imported as host tests do it."""
    sys.path.insert(0, str(ROOT / "tests" / "host"))
    import shim

    shim.install()
    relative = path.relative_to(MODULES).with_suffix("")
    parts = [part for part in relative.parts if part != "__init__"]
    return importlib.import_module(".".join(parts))


def _accepted(path, module):
    """(line, mask) of everything that is assigned to a name or attribute `features` and has a constant value."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.BitOr | ast.Add):
            targets = [node.target]
        else:
            continue
        if any(_ACCEPTS.fullmatch(getattr(t, "id", getattr(t, "attr", ""))) for t in targets):
            for part in _constants(node.value, module):
                yield node.lineno, part


def _constants(tree, module):
    """Values of an expression, or of those parts of an `or` of bits (or of a choice) that are constant."""
    try:
        value = eval(compile(ast.Expression(tree), "features", "eval"), dict(vars(module)))  # noqa: S307
    except Exception:
        value = None
    if isinstance(value, int):
        yield value
    elif isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        yield from _constants(tree.left, module)
        yield from _constants(tree.right, module)
    elif isinstance(tree, ast.IfExp):
        yield from _constants(tree.body, module)
        yield from _constants(tree.orelse, module)


def _names(module):
    """Tables of feature names: FEATURE_NAMES of drivers, _FEATURES of transport.py."""
    for thing in vars(module).values():
        table = getattr(thing, "FEATURE_NAMES", None)
        if isinstance(table, dict) and getattr(thing, "__module__", None) == module.__name__:
            yield table
    table = vars(module).get("_FEATURES")
    if isinstance(table, dict):
        yield table
