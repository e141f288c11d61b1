"""Instructions and nanoseconds per element of functions.py: in three emitters on two boards, and of gcc -O2."""

import ast
from pathlib import Path

import qemu
from guest import Guest
from inputs import bare_program

from native.board import ICOUNT
from native.cases import CASES, PRELUDE

HERE = Path(__file__).resolve().parent
SOURCE = (HERE / "functions.py").read_text()
EMITTERS = ("bytecode", "native", "viper")
CALLERS = ("loop", "call", "call_int", "call_buffer")
# Elsewhere than in viper these are no casts.
NO_CASTS = "ptr8 = ptr16 = ptr32 = ptr64 = uint = None\n"
COUNTED = """
def measure(name, n, function, arguments):
    gc.collect()
    i = count()
    result = function(*arguments)
    i = count() - i
    print(name, n, result or 0, i, *[sum(a) for a in arguments if type(a) is array])
"""
TICK_NS = 100
TIMED_SHORT, TIMED_LONG = 1000, 50000
TIMED = """
import machine
def measure(name, n, function, arguments):
    least = 1 << 30
    for _ in range(20):
        start = machine.mem32[0x200bff8]
        function(*arguments)
        least = min(least, machine.mem32[0x200bff8] - start)
    print(name, n, least)
"""


def functions():
    """{name: source text} of functions.py."""
    return {
        node.name: ast.get_source_segment(SOURCE, node)
        for node in ast.parse(SOURCE).body
        if isinstance(node, ast.FunctionDef)
    }


def calls(cases, bits):
    """The lines that measure those cases that a machine of this word size has."""
    for case in cases:
        if case.only64 and bits != 64:
            continue
        for n in (case.short, case.long):
            yield f"n = {n}\nmeasure('{case.key}', n, {case.key}, ({case.arguments}))\n"


def script(emitter, board, driver, cases=CASES):
    decorator = "" if emitter == "bytecode" else f"@micropython.{emitter}\n"
    left_out = {case.key for case in CASES if case.only64 and board.bits != 64}
    texts = [decorator + text + "\n" for name, text in functions().items() if name not in left_out]
    texts += [functions()[name].replace("def ", "def plain_", 1) + "\n" for name in CALLERS]
    texts += calls(cases, board.bits)
    return "import gc, micropython\n" + board.count + PRELUDE + driver + "".join(texts)


def on_host():
    """{(key, n): results} as CPython has them, which every contender must agree with."""
    names = {}
    exec(NO_CASTS + PRELUDE + SOURCE, names)
    found = {}
    for case in CASES:
        for n in (case.short, case.long):
            names["n"] = n
            arguments = eval(case.arguments, names)
            result = names[case.key.removeprefix("plain_")](*arguments)
            found[case.key, n] = [result or 0, *(sum(a) for a in arguments if isinstance(a, names["array"]))]
    return found


def checked(text, expected):
    """{(key, n): instructions} from lines of "KEY N RESULT INSTRUCTIONS SUM...", the results compared."""
    found = {}
    for line in text.splitlines():
        if len(words := line.split()) >= 4:
            key, (n, result, count, *sums) = words[0], map(int, words[1:])
            if [result, *sums] != expected[key, n][: 1 + len(sums)]:
                raise ValueError(f"wrong result: {line}; expected {expected[key, n]}")
            found[key, n] = count
    return found


def timed(text):
    """{(key, n): nanoseconds} from lines of "KEY N ... TICKS"."""
    lines = (line.split() for line in text.splitlines())
    return {(words[0], int(words[1])): int(words[-1]) * TICK_NS for words in lines if len(words) >= 3}


def per_element(counts, cases=CASES):
    """{key: what one more element costs}."""
    each = {
        case.key: (counts[case.key, case.long] - counts[case.key, case.short]) / (case.long - case.short)
        for case in cases
        if (case.key, case.long) in counts
    }
    return {case.key: each[case.key] - each.get(case.less, 0) for case in cases if case.text and case.key in each}


def run_c(native, *flags, extra=()):
    """What functions.c prints."""
    bare = bare_program(native.folder, HERE / "functions.c", "-fno-tree-loop-distribute-patterns", *flags)
    with Guest(qemu.command(bare, smp=1, extra=extra)) as guest:
        return guest.text_until(b"done\n")


def measure(native):
    """{contender: {key: instructions per element}}."""
    expected = on_host()
    found = {}
    for board in native.boards:
        for emitter in EMITTERS:
            text = board.run(script(emitter, board, COUNTED), *ICOUNT)
            found[f"{board.name} {emitter}"] = per_element(checked(text, expected))
    found["gcc -O2"] = per_element(checked(run_c(native, extra=ICOUNT), expected))
    return found


def measure_times(native):
    """{contender: {key: nanoseconds per element}} for what is compiled, without calls; longer, to be seen at all."""
    cases = [case._replace(short=TIMED_SHORT, long=TIMED_LONG) for case in CASES if case.text and not case.less]
    found = {}
    for board in native.boards:
        found[f"{board.name} viper"] = per_element(timed(board.run(script("viper", board, TIMED, cases))), cases)
    found["gcc -O2"] = per_element(timed(run_c(native, f"-DTIMED={TIMED_SHORT},{TIMED_LONG}")), cases)
    return found
