"""Mutations: changes to a module that break a clause, each with the test that notices.

mutations/<group>.py holds MUTATIONS = [(clause id, file below modules/, old text, new text, node id of a test), ...].
"""

import ast
from dataclasses import dataclass

from clauselist import HERE, ROOT

MODULES = ROOT / "modules"


@dataclass(frozen=True)
class Mutation:
    clause: str
    file: str
    old: str
    new: str
    test: str
    where: str  # file:line of the entry


def entries(folder=HERE / "mutations"):
    """All mutations, in the order of the files."""
    for path in sorted(folder.glob("*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8"), path.name).body:
            if isinstance(statement, ast.Assign) and statement.targets[0].id == "MUTATIONS":
                for entry in statement.value.elts:
                    yield Mutation(*ast.literal_eval(entry), where=f"{path.name}:{entry.lineno}")


def read(known, marked, folder=HERE / "mutations", modules=MODULES):
    """({clause id: [Mutation]}, errors): every mutation fits its module, and its test names its clause."""
    found, errors = {}, []
    for mutation in entries(folder):
        errors += [f"{mutation.where}: {mutation.clause}: {text}" for text in _faults(mutation, known, marked, modules)]
        found.setdefault(mutation.clause, []).append(mutation)
    return found, errors


def occurrences(mutation, modules=MODULES):
    """How often the old text occurs where it should; only once will do."""
    path = modules / mutation.file
    return path.read_text(encoding="utf-8").count(mutation.old) if path.exists() else 0


def _faults(mutation, known, marked, modules):
    if mutation.clause not in known:
        yield "there is no such clause"
    count = occurrences(mutation, modules)
    if count != 1:
        yield f"the old text occurs {count} times in {mutation.file}, not once"
    node = mutation.test.split("[")[0]
    if node not in marked.nodes:
        yield f"there is no test {node}"
    elif mutation.clause not in marked.nodes[node]:
        yield f"{node} does not name the clause"
