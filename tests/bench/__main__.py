"""Measure the firmware against U-Boot, QEMU's own -kernel and a bare program, in one interleaved run.

Prints a table of medians, ratios and aims. Needs what `make bench` installs and builds.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(Path(__file__).resolve().parent)]

import qemu  # noqa: E402
import table  # noqa: E402
from contenders import Bench  # noqa: E402
from inputs import Inputs  # noqa: E402

ENTRY = b"kernel entered"
LINUX = b"Linux version"


def steps(bench, inputs):
    """(group, contender, measurement) of one round, contenders of the same thing next to each other."""
    yield "start", "bare", bench.start_bare
    yield "start", "ours", bench.start_ours_to_prompt
    for kernel, disk, marker, row in (
        (inputs.entry, inputs.entry_disk, ENTRY, "kernel entry"),
        (inputs.linux, inputs.linux_disk, LINUX, "Linux version"),
    ):
        yield "start", "direct", lambda k=kernel, m=marker, r=row: bench.start_direct(k, m, r)
        yield "start", "ours", lambda d=disk, m=marker, r=row: bench.start_ours(d, m, r)
        yield "start", "u-boot", lambda d=disk, m=marker, r=row: bench.start_uboot(d, m, r)
    yield "read", "bare", bench.read_bare
    yield "read", "ours", bench.read_ours
    yield "read", "u-boot", bench.read_uboot
    for contender in ("direct", "ours", "u-boot"):
        yield "count", contender, lambda c=contender: bench.count_start(c)
    yield "count", "bare", bench.count_bare
    yield "count", "ours", bench.count_ours


def measure(bench, inputs, rounds, groups, contenders):
    """{contender: {row: [value, ...]}}; rounds are interleaved, a first one that warms the caches is thrown away."""
    figures = {}
    for number in range(rounds + 1):
        print(f"\rround {number} of {rounds}" if number else "warming up", end="", file=sys.stderr, flush=True)
        for group, contender, run in steps(bench, inputs):
            if group not in groups or contender not in contenders or (group == "count" and number == 0):
                continue
            for row, values in run().items():
                if number:
                    kept = figures.setdefault(contender, {}).setdefault(row, [])
                    kept += values if isinstance(values, list) else [values]
    print("\r" + " " * 20 + "\r", end="", file=sys.stderr)
    return figures


def main():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each contender (5)")
    parser.add_argument("--smp", type=int, default=2, help="harts in the start-up measurements (2)")
    parser.add_argument("--only", nargs="+", choices=("start", "read", "count"), default=("start", "read", "count"))
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=("bare", "direct", "u-boot", "ours"),
        default=("bare", "direct", "u-boot", "ours"),
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write every figure to a file")
    args = parser.parse_args()
    inputs = Inputs(Path(os.environ.get("BUILD") or ROOT / "build").resolve())
    figures = measure(Bench(inputs, args.smp), inputs, args.rounds, args.only, args.contenders)
    version = subprocess.run([qemu.QEMU, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    print(f"{version}; U-Boot {inputs.uboot_version()}; medians of {args.rounds} interleaved rounds\n")
    print(table.text(figures))
    if args.json:
        args.json.write_text(json.dumps({"qemu": version, **table.as_json(figures)}, indent=2) + "\n")
    missed = [entry["row"].text for entry in table.results(figures) if entry["met"] is False]
    print("\nmissed: " + (", ".join(missed) or "none"))


if __name__ == "__main__":
    main()
