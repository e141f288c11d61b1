"""Differential fuzzing: random functions must do the same in CPython, as bytecode, native and viper code.

make fuzz N=1000000 SEED=7 JOBS=2
"""

import argparse
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "lib"), str(Path(__file__).resolve().parent)]

import campaign  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=10000, help="how many functions")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--jobs", type=int, default=1, help="how many guests side by side")
    parser.add_argument("--kinds", nargs="*", default=campaign.USUAL, choices=list(campaign.KINDS))
    parser.add_argument("--first", type=int, default=0, help="the first batch, to go on or to repeat one")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the guests are stopped
    started = time.monotonic()
    functions = runs = 0
    findings = []

    def rate():
        seconds = time.monotonic() - started
        return f"{functions} functions, {runs} runs, {len(findings)} mismatches, {functions / seconds:.0f}/s"

    for report in campaign.run(args.n, args.seed, args.jobs, args.kinds, args.first):
        functions += report.functions
        runs += report.runs
        for text in report.findings:
            findings.append(text)
            print(f"\n{text}\n", flush=True)
        print(f"batch {report.number}: {rate()}", flush=True)
    print(f"seed {args.seed}: {rate()}; {', '.join(f'{k} {v}' for k, v in sorted(campaign.usage().items()))}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
