"""The model of viper that fuzzing compares with: words wrap, types choose, undefined things are rejected."""

import harness
import oracle
import pytest
import vipermodel
from batch import Program


def run(text, *args):
    """What f(...) of the text returns, according to the model."""
    names = harness.scope()
    exec(vipermodel.translate("@DECO\n" + text).replace("@DECO\n", ""), names)
    harness.memory[:] = harness.PATTERN
    return names["f"](*args)


@pytest.mark.parametrize(
    "expression, args, wanted",
    [
        ("a + b", ((1 << 63) - 1, 1), -(1 << 63)),
        ("a * b", (1 << 40, 1 << 40), 0),
        ("-a", (-(1 << 63), 0), -(1 << 63)),
        ("a << b", (1, 63), -(1 << 63)),
        ("a >> b", (-8, 1), -4),
        ("int(uint(a) >> b)", (-8, 1), (1 << 63) - 4),
        ("int(a < b)", (-1, 1), 1),
        ("int(uint(a) < uint(b))", (-1, 1), 0),
        ("a // 3 % 7", (-10, 0), 3),
        ("a and b", (5, 0), 0),
        ("int(0 < a < b)", (3, 4), 1),
        ("a", (1 << 64, 0), 0),
    ],
)
def test_integers(expression, args, wanted):
    assert run(f"def f(a: int, b: int) -> int:\n return {expression}\n", *args) == wanted


def test_results_are_objects_of_their_type():
    assert run("def f(a: int) -> uint:\n return uint(a)\n", -1) == (1 << 64) - 1
    assert run("def f(a: int) -> bool:\n return a > 0\n", 1) is True
    assert run("def f(a: int) -> int:\n pass\n", 1) == 0


def test_pointers():
    text = "def f(p: ptr16, i: int) -> int:\n p[i] = 0x12345\n p[i] += 1\n return ptr8(p)[2 * i + 1]\n"
    assert run(text, harness.BASE + 100, -3) == 0x23
    assert harness.memory[94:96] == b"\x46\x23"


@pytest.mark.parametrize(
    "line",
    [
        *("return a << 64", "return a // 0", "return ptr8(a)[0]", "return a // (a - 5)", "if a == 0: b = 1\n return b"),
        "try: a = a << 64\n except: pass\n return a",
        "for a in range(0x3fffffffffffffff * 2 + a, 0x3fffffffffffffff * 2 + 1, 7): pass\n return a",
    ],
)
def test_what_nobody_promises_is_rejected(line):
    with pytest.raises(harness.Reject):
        oracle.results(Program("v", "1", f"@DECO\ndef f_Z(a: int) -> int:\n {line}\n", ["(5,)"]))


@pytest.mark.parametrize(
    "line", ["return uint(a)", "return a == uint(a)", "return uint(a) // 3", "a = uint(3)", "return a[0]"]
)
def test_what_the_emitter_refuses_is_no_program(line):
    with pytest.raises(TypeError):
        vipermodel.translate(f"@DECO\ndef f(a: int) -> int:\n {line}\n")
