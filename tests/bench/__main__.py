"""Measure the firmware against U-Boot, QEMU's own -kernel and a bare program, in one interleaved run, its virtio
drivers against Linux, and the native code that it makes against bytecode, upstream's RV32 board and gcc.

Prints tables of figures, ratios and aims. Needs what `make bench` installs and builds.
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
from native import report  # noqa: E402
from native.board import Native  # noqa: E402
from virtio import report as virtio_report  # noqa: E402

GROUPS = ("start", "read", "count")
PARTS = (*GROUPS, "virtio", "native")
ENTRY = b"kernel entered"
LINUX = b"Linux version"


def say(text):
    """Show what is being done, over what was shown before."""
    print(f"\r{text:20}\r", end="", file=sys.stderr, flush=True)


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
        say(f"round {number} of {rounds}" if number else "warming up")
        for group, contender, run in steps(bench, inputs):
            if group not in groups or contender not in contenders or (group == "count" and number == 0):
                continue
            for row, values in run().items():
                if number:
                    kept = figures.setdefault(contender, {}).setdefault(row, [])
                    kept += values if isinstance(values, list) else [values]
    say("")
    return figures


def main():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each contender (5)")
    parser.add_argument("--smp", type=int, default=2, help="harts in the start-up measurements (2)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=("bare", "direct", "u-boot", "ours"),
        default=("bare", "direct", "u-boot", "ours"),
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write every figure to a file")
    args = parser.parse_args()
    build = Path(os.environ.get("BUILD") or ROOT / "build").resolve()
    version = subprocess.run([qemu.QEMU, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    result = {"qemu": version}
    missed = []
    inputs = Inputs(build) if set(args.only) - {"native"} else None
    if set(args.only) & set(GROUPS):
        figures = measure(Bench(inputs, args.smp), inputs, args.rounds, args.only, args.contenders)
        print(f"{version}; U-Boot {inputs.uboot_version()}; medians of {args.rounds} interleaved rounds\n")
        print(table.text(figures) + "\n")
        result |= table.as_json(figures)
        missed += [entry["row"].text for entry in table.results(figures) if entry["met"] is False]
    if "virtio" in args.only:
        figures = virtio_report.measure(build, inputs, inputs.firmware, Bench(inputs, 1).read_uboot_scattered, say)
        say("")
        print(virtio_report.text(figures) + "\n")
        result["virtio"] = virtio_report.as_json(figures)
        missed += virtio_report.missed(figures)
    if "native" in args.only:
        figures = report.measure(Native(build), say)
        say("")
        print(report.text(figures) + "\n")
        result["native"] = report.as_json(figures)
        missed += report.missed(figures)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    print("missed: " + (", ".join(missed) or "none"))


if __name__ == "__main__":
    main()
