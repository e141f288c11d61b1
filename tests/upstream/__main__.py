"""Upstream's test suite on the firmware, through upstream's own runner. `make test-upstream` comes here."""

import argparse
import fnmatch
import json
import os
import shutil
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "tools")]

import suite  # noqa: E402
import verdicts  # noqa: E402
from jobs import Jobs  # noqa: E402

REASONS = Path(__file__).resolve().parent / "reasons.txt"


def wanted(patterns):
    return lambda name: not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def run_mode(mode, args, build, folder):
    """({test: verdict}, {test: why it had a second run}) of one mode."""
    board, tests = suite.BOARDS[args.board], build / "micropython" / "tests"
    firmware = build / (board.native if mode == "native" else board.firmware)
    if not firmware.exists():
        sys.exit(f"test-upstream: no {firmware}")
    shutil.rmtree(folder / mode, ignore_errors=True)
    options = [*suite.MODES[mode], f"--mpy-cross-flags={board.mpy_cross}"]
    mpy_cross = build / "mpy-cross" / "mpy-cross"
    jobs = Jobs(tests, board.command(firmware), options, folder / mode, mpy_cross, args.workers)
    return jobs.run(list(suite.chunks(tests, board.folders, wanted(args.tests), args.chunk))), jobs.notes


def run(args, build, folder):
    """{mode: {test: verdict}}; each mode's is also written to a file."""
    results = {}
    for mode in args.modes:
        start = time.monotonic()
        found, notes = run_mode(mode, args, build, folder)
        seconds = time.monotonic() - start
        print(f"\r{args.board} {mode}: {verdicts.count(found)}, {seconds:.0f} s")
        for test, note in sorted(notes.items()):
            print(f"  {found[test]} {test}: {note}")
        if not args.tests:
            (folder / f"{mode}.json").write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
        results[mode] = found
    return results


def report(rest, stale):
    """Print what did not pass and why; return whether a reason is missing."""
    for mode, test, verdict, reason in rest:
        print(f"{mode} {verdict} {test}: {reason or 'NO REASON'}")
    for reason in stale:
        line = (reason.verdict, ",".join(reason.modes) or "*", reason.pattern, reason.text)
        print("stale reason:", " ".join(line))
    unknown = sum(reason is None for *_, reason in rest)
    if unknown:
        print(f"{unknown} without a reason in {REASONS.name}")
    return unknown > 0


def compare(results, rest, theirs_folder):
    """Print what passes on upstream's RV32 board and not here, with the reason."""
    reasons = {(mode, test): f"{verdict}: {reason}" for mode, test, verdict, reason in rest}
    for mode, ours in results.items():
        path = theirs_folder / f"{mode}.json"
        if not path.exists():
            print(f"{mode}: not compared with rv32; `make test-upstream BOARD=rv32` runs it")
            continue
        theirs = json.loads(path.read_text())
        behind = verdicts.behind(ours, theirs)
        print(f"{mode} on rv32: {verdicts.count(theirs)}; {len(behind)} pass there and not here")
        for test in behind:
            why = reasons.get((mode, test)) or f"not run: {suite.reason_left_out(test.rpartition('/')[0])}"
            print(f"  {test}: {why}")


def left_out(tests):
    """Print the folders that are not run and why; return whether a reason is missing."""
    for name in suite.folders_with_tests(tests):
        if name not in suite.FOLDERS:
            number = len(list((tests / name).glob("*.py")))
            print(f"left out {name} ({number}): {suite.reason_left_out(name) or 'NO REASON'}")
    return bool(suite.unknown_folders(tests))


def main():
    parser = argparse.ArgumentParser(prog="test-upstream", description=__doc__.splitlines()[0])
    parser.add_argument("--board", choices=suite.BOARDS, default="rv64")
    parser.add_argument("--modes", nargs="+", choices=suite.MODES, default=list(suite.MODES))
    parser.add_argument(
        "--tests", nargs="+", metavar="PATTERN", help="only these, such as 'basics/try*'; no files written"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="QEMUs side by side (one for each processor)"
    )
    parser.add_argument("--chunk", type=int, default=60, help="tests to a QEMU (60)")
    args = parser.parse_args()
    build = Path(os.environ.get("BUILD") or suite.ROOT / "build").resolve()
    folder = build / "test-upstream" / args.board
    results = run(args, build, folder)
    if args.board != "rv64":
        return 0
    rest, stale = verdicts.explain(results, verdicts.read_reasons(REASONS.read_text()))
    failed = report(rest, stale)
    if not args.tests:
        failed |= left_out(build / "micropython" / "tests")
        compare(results, rest, build / "test-upstream" / "rv32")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
