"""Every rule of virtio 1.4 that binds a driver, and the tests that show it or the argument why none can.

make clauses                          the table; fails when a MUST or MUST NOT of a required group has neither
make clauses CLAUSES="--open"         only what is still open
make clauses CLAUSES="--report clauses.md"
make mutations                        break rules on purpose; fails when a test does not notice
make mutations MUTATIONS="--only BLK-12 mmio"
"""

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent)]

import clauselist  # noqa: E402
import coverage_table  # noqa: E402
import markers  # noqa: E402
import mutate  # noqa: E402
import mutations_list  # noqa: E402


def main():
    if sys.argv[1:2] == ["mutations"]:
        return mutations(sys.argv[2:])
    return clauses(sys.argv[1:])


def clauses(words):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--open", action="store_true", help="print only clauses that nothing covers")
    parser.add_argument("--group", nargs="*", help="print only these groups")
    parser.add_argument("--report", help="write the table to this file, .md or .tsv, too")
    args = parser.parse_args(words)
    table = coverage_table.Table()
    for line in table.lines(only_open=args.open, groups=args.group):
        print(line)
    print()
    for line in table.summary():
        print(line)
    if args.report:
        table.write(Path(args.report))
    for error in table.errors:
        print(f"error: {error}", file=sys.stderr)
    if table.missing:
        print(f"{len(table.missing)} MUSTs have neither test nor argument (--open lists them)", file=sys.stderr)
    return 1 if table.errors or table.missing else 0


def mutations(words):
    parser = argparse.ArgumentParser(
        description="Break rules in a copy of the modules; a test has to notice each time."
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many side by side")
    parser.add_argument("--only", nargs="*", help="only these clauses or groups")
    args = parser.parse_args(words)
    known = clauselist.load()
    _, errors = mutations_list.read(known, markers.read(known))
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    chosen = [m for m in mutations_list.entries() if m.clause in known and mutations_list.occurrences(m) == 1]
    if args.only:
        chosen = [m for m in chosen if {m.clause, known[m.clause].group} & set(args.only)]
    missed = run_mutations(chosen, args.jobs)
    return 1 if errors or missed else 0


def run_mutations(chosen, jobs):
    """Print a line for each; how many were not caught (all, when the tests fail without a mutation)."""
    started = time.monotonic()
    outcome = mutate.baseline({m.test for m in chosen})
    if outcome.code != 0:
        print(outcome.output[-4000:], "the tests fail without any mutation", sep="\n", file=sys.stderr)
        return len(chosen)
    missed = 0
    for mutation, outcome in mutate.each(chosen, jobs):
        caught, text = outcome.verdict()
        missed += not caught
        print(f"{'caught' if caught else 'MISSED'} {mutation.clause:<18} {mutation.where:<16} {text}", flush=True)
    clauses = {m.clause for m in chosen}
    seconds = time.monotonic() - started
    print(f"{len(chosen) - missed} of {len(chosen)} mutations caught, {len(clauses)} clauses, {seconds:.0f} s")
    return missed


if __name__ == "__main__":
    sys.exit(main())
