"""Every rule of virtio 1.4 that binds a driver, and the tests that show it or the argument why none can.

make clauses                          the table; fails when a MUST or MUST NOT of a required group has neither
make clauses CLAUSES="--open"         only what is still open
make clauses CLAUSES="--report clauses.md"
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent)]

import coverage_table  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--open", action="store_true", help="print only clauses that nothing covers")
    parser.add_argument("--group", nargs="*", help="print only these groups")
    parser.add_argument("--report", help="write the table to this file, .md or .tsv, too")
    args = parser.parse_args()
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


if __name__ == "__main__":
    sys.exit(main())
