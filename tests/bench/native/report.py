"""The native measurements as tables and as JSON, with what was aimed at."""

from math import prod
from typing import NamedTuple

from table import aligned

from native import elements, programs, sizes, stores
from native.cases import CASES

HEAD = """Native code, in guest instructions (-icount shift=0; repeatable).
RV64: this firmware, gcc -O2, computed goto, double floats. RV32: upstream's board of the same source with its own
flags, -Os, no computed goto, single floats, a heap of 1.5 MB. Of viper, twice the figure of gcc is aimed at
everywhere, and less in some rows."""
PARTS = {
    "elements": elements.measure,
    "times": elements.measure_times,
    "programs": programs.measure,
    "sizes": sizes.measure,
    "stores": stores.measure,
}
BOARDS = ("RV64", "RV32")
SPEED_UP = 1.5
LEFT = (0, 9, 10)  # columns of text in the tables
TIMES_GCC = 2


class Aim(NamedTuple):
    text: str
    figure: float
    limit: float
    at_least: bool = False

    @property
    def met(self):
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


def measure(native, say):
    """{part: figures}."""
    found = {}
    for name, measure_part in PARTS.items():
        say(f"native: {name}")
        found[name] = measure_part(native)
    return found


def figure(value):
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def case_aims(case, found):
    viper, gcc = found["RV64 viper"][case.key], found["gcc -O2"].get(case.key)
    name = " ".join(case.text.split()) + (" of a call" if case.text.startswith(" ") else "")
    if case.viper:
        yield Aim(f"{name}: viper", viper, case.viper)
    if case.native:
        yield Aim(f"{name}: native", found["RV64 native"][case.key], case.native)
    if gcc:
        yield Aim(f"{name}: viper by gcc", viper / gcc, TIMES_GCC)


def elements_table(found):
    columns = list(found)
    yield ("instructions", *columns, "viper/gcc", "aims", "")
    for case in CASES:
        if not case.text:
            continue
        aims = list(case_aims(case, found))
        texts = [f"{name} {value:g}" for name, value in (("viper", case.viper), ("native", case.native)) if value]
        gcc = found["gcc -O2"].get(case.key)
        ratio = f"{found['RV64 viper'][case.key] / gcc:.2f}" if gcc else "-"
        verdict = "" if not aims else "met" if all(aim.met for aim in aims) else "MISSED"
        yield (case.text, *(figure(found[c].get(case.key)) for c in columns), ratio, ", ".join(texts), verdict)


def times_table(found):
    yield ("nanoseconds", *found, "viper/gcc")
    for case in CASES:
        if gcc := found["gcc -O2"].get(case.key):
            cells = (f"{found[c][case.key]:.2f}" if case.key in found[c] else "-" for c in found)
            yield (case.text, *cells, f"{found['RV64 viper'][case.key] / gcc:.2f}")


def speed_up(found, program, board):
    bytecode, native = (found[program][board, emitter] for emitter in programs.EMITTERS)
    return None if isinstance(bytecode, str) or isinstance(native, str) else bytecode / native


def mean_speed_up(found, board):
    values = [value for program in found if (value := speed_up(found, program, board))]
    return prod(values) ** (1 / len(values))


def programs_table(found):
    yield ("million instructions", *(f"{b} {what}" for b in BOARDS for what in (*programs.EMITTERS, "speed-up")))
    for program in found:
        cells = []
        for board in BOARDS:
            for emitter in programs.EMITTERS:
                value = found[program][board, emitter]
                cells.append("-" if isinstance(value, str) else f"{value / 1e6:.1f}")
            value = speed_up(found, program, board)
            cells.append("-" if value is None else f"{value:.2f}")
        yield (program, *cells)
    means = [cell for board in BOARDS for cell in ("", "", f"{mean_speed_up(found, board):.2f}")]
    yield ("geometric mean", *means)


def sizes_table(found):
    files, size = found
    yield (f"code of {files} of upstream's files", "KB", "/RV32")
    for name, value in size.items():
        yield (name, f"{value / 1000:.0f}", f"{value / size['RV32']:.3f}")


def stores_table(found):
    yield ("a store, ns", *BOARDS)
    for i, name in enumerate(("beside code just compiled", "elsewhere")):
        yield (name, *(f"{found[board][i]:.2f}" for board in BOARDS))


def aims(found):
    """Everything that is aimed at, with what came out."""
    for case in CASES:
        if case.text:
            yield from case_aims(case, found["elements"])
    yield Aim("perf_bench: native, geometric mean", mean_speed_up(found["programs"], "RV64"), SPEED_UP, True)
    for program in found["programs"]:
        yield Aim(f"{program}: native by bytecode", speed_up(found["programs"], program, "RV64") or 0, 1, True)
    size = found["sizes"][1]
    yield Aim("code size by RV32's", size["RV64"] / size["RV32"], 0.98)
    yield Aim("code size by RV32's, without fast paths", size["RV64 without fast paths"] / size["RV32"], 0.9)
    beside, elsewhere = found["stores"]["RV64"]
    yield Aim("stores beside code by stores elsewhere", beside / elsewhere, 1.1)


def text(found):
    tables = (elements_table, times_table, programs_table, sizes_table, stores_table)
    parts = [aligned(list(table(found[name])), LEFT) for name, table in zip(PARTS, tables, strict=True)]
    failures = [
        f"{program} on {board}, {emitter}: {value}"
        for program, values in found["programs"].items()
        for (board, emitter), value in values.items()
        if isinstance(value, str)
    ]
    return "\n\n".join([HEAD, *parts, *failures])


def missed(found):
    return [f"{aim.text} {aim.figure:.3g} (aim {aim.limit:g})" for aim in aims(found) if not aim.met]


def as_json(found):
    by_program = {
        program: {f"{board} {emitter}": value for (board, emitter), value in values.items()}
        for program, values in found["programs"].items()
    }
    return {**found, "programs": by_program, "aims": [{**aim._asdict(), "met": aim.met} for aim in aims(found)]}
