"""Clauses beside what covers them: tests, mutations that the tests catch, arguments."""

import arguments
import clauselist
import markers
import mutations_list

_STATES = ("proven", "tested", "argued", "open")


class Table:
    """All clauses with their coverage; `errors` and `missing` are what makes `make clauses` fail."""

    def __init__(self):
        self.clauses = clauselist.load()
        found = markers.read(self.clauses)
        self.tests = found.tests
        self.arguments, errors = arguments.read(self.clauses, found.tests)
        self.mutations, more = mutations_list.read(self.clauses, found)
        self.errors = found.errors + errors + more
        self.missing = [c.id for c in self.clauses.values() if c.needed and self.state(c) == "open"]
        self.errors += self._incomplete()

    def _incomplete(self):
        """Arguments that lean on a whole group hold only when the rest of it is covered."""
        for clause, argument in self.arguments.items():
            open_groups = {self.clauses[i].group for i in self.missing if i != clause}
            left = [group for group in argument.groups if group in open_groups]
            if left:
                yield f"{argument.where}: {clause}: not all of {', '.join(left)} is covered"

    def state(self, clause):
        """'proven' (a mutation that a test catches), 'tested', 'argued' or 'open'."""
        if clause.id in self.mutations:
            return "proven"
        if clause.id in self.tests:
            return "tested"
        return "argued" if clause.id in self.arguments else "open"

    def cover(self, clause):
        """The tests, or the argument, in words."""
        if clause.id in self.tests:
            return ", ".join(self.tests[clause.id])
        argument = self.arguments.get(clause.id)
        if argument is None:
            return ""
        return argument.text + (f" [{'; '.join(argument.conditions)}]" if argument.conditions else "")

    def shown(self, only_open=False, groups=None):
        """The clauses of required groups, and those of others that something covers."""
        for clause in self.clauses.values():
            state = self.state(clause)
            if groups is not None and clause.group not in groups:
                continue
            if only_open and not (clause.needed and state == "open"):
                continue
            if clause.group in clauselist.REQUIRED or state != "open":
                yield clause, state

    def lines(self, only_open=False, groups=None):
        for clause, state in self.shown(only_open, groups):
            yield f"{clause.id:<18} {clause.level:<10} {state:<6} {self.cover(clause) or '- ' + clause.text}"

    def summary(self):
        """A line a group: MUST and MUST NOT by state, and how much of the rest is covered."""
        yield f"{'group':<10} {'MUSTs':>6} " + " ".join(f"{state:>7}" for state in _STATES) + "   other levels"
        for group in dict.fromkeys(clause.group for clause, _ in self.shown()):
            yield self._group(group)
        yield self._group(None)

    def _group(self, group):
        all_of = [c for c, _ in self.shown() if group is None or c.group == group]
        musts = [c for c in all_of if c.level in clauselist.MUSTS]
        counts = [sum(self.state(c) == state for c in musts) for state in _STATES]
        rest = [c for c in all_of if c.level not in clauselist.MUSTS]
        covered = sum(self.state(c) != "open" for c in rest)
        name = "all" if group is None else group
        return f"{name:<10} {len(musts):>6} " + " ".join(f"{n:>7}" for n in counts) + f"   {covered} of {len(rest)}"

    def write(self, path):
        """The table as Markdown, or as TSV when the name ends so."""
        head = ["id", "level", "section", "state", "clause", "shown by"]
        rows = [[c.id, c.level, c.section, state, c.text, self.cover(c)] for c, state in self.shown()]
        if path.suffix == ".tsv":
            text = "\n".join("\t".join(row) for row in [head, *rows])
        else:
            rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
            lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
            text = "\n".join(["```", *self.summary(), "```", "", *lines])
        path.write_text(text + "\n", encoding="utf-8")
