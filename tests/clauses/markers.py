"""Which test shows which clause: reads @pytest.mark.clauses("ID", ...) from the tests' source."""

import ast
from dataclasses import dataclass, field

from clauselist import ROOT

FOLDERS = ("tests/host", "tests/qemu", "tests/target", "tests/clauses")


@dataclass
class Markers:
    """tests: {clause id: [node id of a test]}; nodes: {node id: [clause ids]}; errors: lines to print."""

    tests: dict = field(default_factory=dict)
    nodes: dict = field(default_factory=dict)
    errors: list = field(default_factory=list)

    def add(self, node, ids):
        self.nodes[node] = list(dict.fromkeys(ids))
        for clause in self.nodes[node]:
            self.tests.setdefault(clause, []).append(node)


def read(known, root=ROOT):
    """Markers of all test files below root; ids that are not in `known` are errors."""
    found = Markers()
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("test_*.py")):
            _File(path.relative_to(root).as_posix(), known, found).read(path.read_text(encoding="utf-8"))
    return found


class _File:
    def __init__(self, name, known, found):
        self.name = name
        self.known = known
        self.found = found

    def read(self, text):
        tree = ast.parse(text, self.name)
        self._body(tree.body, self.name, self._module_marks(tree.body))

    def _module_marks(self, body):
        """Ids of `pytestmark = mark` or `pytestmark = [mark, ...]`, in a module or a class."""
        ids = []
        for statement in body:
            if isinstance(statement, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == "pytestmark" for target in statement.targets
            ):
                ids += self._ids(statement.value)
        return ids

    def _body(self, body, prefix, above):
        for statement in body:
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            own = [clause for mark in statement.decorator_list for clause in self._ids(mark)]
            node = f"{prefix}::{statement.name}"
            if isinstance(statement, ast.ClassDef):
                marks = above + own + self._module_marks(statement.body)
                self._body(statement.body, node, marks if statement.name.startswith("Test") else [])
            elif statement.name.startswith("test"):
                self.found.add(node, above + own)
            elif own:
                self._error(statement, f"{statement.name} names clauses and is no test")

    def _ids(self, tree):
        """Ids in every `pytest.mark.clauses(...)` below a node: a decorator, or marks of a pytest.param."""
        ids = []
        for call in ast.walk(tree):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            mark = call.func.value
            if call.func.attr != "clauses" or not (isinstance(mark, ast.Attribute) and mark.attr == "mark"):
                continue
            for arg in call.args:
                if not (isinstance(arg, ast.Constant) and isinstance(arg.value, str)):
                    self._error(call, "ids have to be strings, written out")
                elif arg.value not in self.known:
                    self._error(call, f"there is no clause {arg.value}")
                else:
                    ids.append(arg.value)
        return ids

    def _error(self, node, text):
        self.found.errors.append(f"{self.name}:{node.lineno}: {text}")
