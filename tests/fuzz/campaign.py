"""Batches of random functions: made in one process, run in a guest by another, reported to the caller."""

import multiprocessing
import resource
import signal
import sys
import zlib
from dataclasses import dataclass, field

import genlimits
import genobjects
import genviper
import harness
import oracle
import reduce
from batch import Bundle, CompileError, MpyCross, Program
from dice import Dice, TerseDice
from session import build_folder
from target import Finding, Target

BATCH = 640
BUNDLE = 32


@dataclass
class Report:
    """What became of a batch."""

    number: int
    functions: int = 0
    runs: int = 0
    findings: list = field(default_factory=list)


@dataclass
class Kind:
    """A generator, how often it is used, and what its programs are run as: in some bundles as `more` as well."""

    make: object
    model: str  # Program.kind
    weight: float
    modes: tuple
    more: tuple = ()
    dice: type = Dice
    each: bool = True  # in all modes, or each bundle in one of them


_VIPER = ("viper", "viper.mpy")
_OBJECTS = ("bytecode.mpy", "native", "native.mpy")
KINDS = {
    "viper": Kind(genviper.program, "v", 10, _VIPER, ("bytecode", *_OBJECTS)),
    "objects": Kind(genobjects.program, "o", 10, _OBJECTS, ("bytecode",)),
    "viper-limits": Kind(genlimits.viper, "v", 0.6, _VIPER, _OBJECTS),
    "object-limits": Kind(genlimits.objects, "o", 0.4, _OBJECTS),
    "terse-viper": Kind(genviper.program, "v", 0, _VIPER, dice=TerseDice, each=False),
    "terse-objects": Kind(genobjects.program, "o", 0, _OBJECTS[1:], dice=TerseDice, each=False),
}
USUAL = [name for name in KINDS if KINDS[name].weight]


def make_program(kind, seed, modes):
    """The first program of a seed that the model does not reject."""
    attempt = 0
    while True:
        text, calls = kind.make(kind.dice(f"{seed}/{attempt}"))
        try:
            return oracle.expect(Program(kind.model, f"{seed}/{attempt}", text, calls, modes))
        except harness.Reject:
            attempt += 1


def make_bundle(seed, number, kinds):
    dice = Dice(f"{seed}/{number}")
    name = dice.weighted({name: KINDS[name].weight or 1 for name in kinds})
    kind = KINDS[name]
    modes = kind.modes + (kind.more if dice.chance(1 / 16) else ()) if kind.each else (dice.choice(kind.modes),)
    return Bundle(str(number), [make_program(kind, f"{seed}/{name}/{number}/{i}", modes) for i in range(BUNDLE)])


def make_batch(seed, number, functions, kinds, mpy_cross):
    """([(bundle, its bytes)], [what mpy-cross refused])"""
    packed, refused = [], []
    bundles = BATCH // BUNDLE
    for i in range(min(bundles, -(-functions // BUNDLE))):
        bundle = make_bundle(seed, number * bundles + i, kinds)
        try:
            packed.append((bundle, bundle.pack(mpy_cross)))
        except CompileError:
            compiler = Compiler(mpy_cross)
            found = compiler.run([compiler.alone(program, "mpy-cross") for program in bundle.programs])
            refused += found
            bad = [finding.program.seed for finding in found]
            bundle.programs = [program for program in bundle.programs if program.seed not in bad]
            if bundle.programs:
                packed.append((bundle, bundle.pack(mpy_cross)))
    return packed, refused


class Compiler:
    """mpy-cross in the place of a Target, for what it refuses."""

    def __init__(self, mpy_cross):
        self.mpy_cross = mpy_cross

    def alone(self, program, mode, name="0"):
        return Bundle(name, [program])

    def run(self, bundles):
        findings = []
        for bundle in bundles:
            try:
                bundle.pack(self.mpy_cross)
            except CompileError as error:
                findings.append(Finding(bundle, "mpy-cross", 0, f"compile {error}"))
        return findings


def produce(seed, numbers, total, kinds, queue):
    oracle.quiet()
    mpy_cross = MpyCross(build_folder() / "mpy-cross" / "mpy-cross")
    try:
        for number in numbers:
            queue.put((number, *make_batch(seed, number, total - number * BATCH, kinds, mpy_cross)))
    finally:
        queue.put(None)


def work(seed, numbers, total, kinds, name, reports):
    """One guest and the process that feeds it."""
    oracle.quiet()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the guest is stopped
    queue = multiprocessing.Queue(2)
    producer = multiprocessing.Process(target=produce, args=(seed, numbers, total, kinds, queue), daemon=True)
    producer.start()
    try:
        with Target(name, MpyCross(build_folder() / "mpy-cross" / "mpy-cross")) as target:
            for number, packed, refused in iter(queue.get, None):
                target.fresh()
                findings = refused + target.run(packed)
                report = Report(number)
                for bundle, _ in packed:
                    report.functions += len(bundle.programs)
                    report.runs += sum(len(p.calls) * len(p.modes) for p in bundle.programs)
                report.findings = [describe(finding, target) for finding in first_of_each(findings)]
                reports.put(report)
        producer.join()
        if producer.exitcode:
            raise RuntimeError("no more functions")
    finally:
        reports.put(None)


def first_of_each(findings):
    """One finding for each program, and few of those that look the same."""
    seen, looks = {}, {}
    for finding in findings:
        look = (finding.mode, finding.what)
        if finding.program.seed not in seen and looks.get(look, 0) < 3:
            seen[finding.program.seed] = finding
            looks[look] = looks.get(look, 0) + 1
    return list(seen.values())


def describe(finding, target):
    """A reduced program, what it should have done and what it did."""
    program = finding.program
    lines = [f"MISMATCH {finding.mode}: {finding.what}", f"seed {program.seed}"]
    if finding.mode == "all":
        return "\n".join([*lines, "only together:", finding.bundle.source(plain=False)])
    judge = Compiler(target.mpy_cross) if finding.mode == "mpy-cross" else target
    again = judge.run([judge.alone(program, finding.mode)])
    if not again:
        return "\n".join([*lines, "only together with the others of its bundle:", finding.bundle.source(plain=False)])
    small = reduce.reduced(program, finding.mode, again[0].what, judge)
    lines += [small.text, *small.calls]
    if judge is not target:
        return "\n".join(lines)
    got, error = target.outputs(small, finding.mode)
    for wanted, had in zip(oracle.results(small), [*got, *[error.encode()] * len(small.calls)]):
        lines.append(f"wanted {brief(wanted)}")
        lines.append(f"got    {brief(had)}")
    return "\n".join(lines)


def brief(result):
    if len(result) < harness.MEMORY:
        return result.decode(errors="replace")
    head, memory = result[: -harness.MEMORY], result[-harness.MEMORY :]
    changed = [f"{i}:{b:02x}" for i, (b, old) in enumerate(zip(memory, harness.PATTERN)) if b != old]
    return f"{head.decode()} memory {' '.join(changed) or 'as it was'} ({zlib.crc32(memory):08x})"


def run(total, seed, jobs, kinds, first):
    """Yields a Report for each batch, as they come."""
    reports = multiprocessing.Queue()
    numbers = range(first, first + -(-total // BATCH))
    total += first * BATCH
    workers = []
    for job in range(min(jobs, len(numbers))):
        args = (seed, numbers[job::jobs], total, kinds, f"fuzz-{job}", reports)
        worker = multiprocessing.Process(target=work, args=args)
        worker.start()
        workers.append(worker)
    left = len(workers)
    try:
        while left:
            report = reports.get()
            if report is None:
                left -= 1
            else:
                yield report
    except BaseException:
        for worker in workers:
            worker.terminate()
        raise
    finally:
        for worker in workers:
            worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a worker failed; what it ran is not all counted")


def usage():
    """Seconds of processor time of what this process started, by part."""
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"processor seconds": round(times.ru_utime + times.ru_stime)}
