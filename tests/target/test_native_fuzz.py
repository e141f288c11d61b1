"""Some random functions of each kind, and that the fuzzer notices what it is there for. `make fuzz` runs many more."""

import os

import campaign
import oracle
import pytest
import reduce
import target
from batch import MpyCross, Program
from session import build_folder

COUNT = int(os.environ.get("FUZZ", "64"))
SEED = os.environ.get("FUZZ_SEED", "1")


@pytest.fixture
def mpy_cross():
    return MpyCross(build_folder() / "mpy-cross" / "mpy-cross")


@pytest.fixture
def guest_of_functions(mpy_cross):
    with target.Target("target.test_native_fuzz", mpy_cross) as guest:
        yield guest


@pytest.mark.parametrize("kind", campaign.KINDS)
def test_random_functions_agree(kind, guest_of_functions, mpy_cross):
    packed, refused = campaign.make_batch(SEED, 0, COUNT, [kind], mpy_cross)
    findings = refused + guest_of_functions.run(packed)
    assert len(packed) == COUNT // campaign.BUNDLE or refused
    assert not findings, "\n".join(campaign.describe(f, guest_of_functions) for f in campaign.first_of_each(findings))


def wrong_about_shifts(program, right=oracle.expect):
    """An oracle that takes 3 << n for something else."""
    right(program)
    if "3 << " in program.text:
        program.expected ^= 1
    return program


def test_what_differs_is_found_and_reduced(guest_of_functions, monkeypatch):
    text = (
        "@DECO\ndef f_Z(a, b):\n c = a + 1\n for i in range(3):\n  if i:\n   c += b * i\n"
        "  else:\n   c = b - (3 << 2)\n return [a, b, c]\n"
    )
    program = wrong_about_shifts(Program("o", "1", text, ["(1, 2)", "(3, 4)"], ("native",)))
    monkeypatch.setattr(oracle, "expect", wrong_about_shifts)
    finding = only(guest_of_functions.run([guest_of_functions.alone(program, "native")]))
    assert (finding.what, finding.mode) == ("differs", "native")
    small = reduce.reduced(program, "native", "differs", guest_of_functions)
    assert small.text.split() == "@DECO def f_Z(): c = 3 << 0".split()
    assert small.calls == ["()"]


@pytest.mark.parametrize(
    "line, what",
    [
        ("while True: pass", "hang"),
        ("__import__('machine').reset()", "crash"),
        ("return __import__('riscv').no_such_thing", "differs"),
    ],
)
def test_the_function_that_stops_the_guest_is_found(line, what, guest_of_functions, monkeypatch):
    monkeypatch.setattr(target, "BUNDLE_LIMIT_S", 3)
    good = [
        oracle.expect(Program("o", str(i), f"@DECO\ndef f_Z(): return {i}\n", ["()"], ("native",))) for i in range(3)
    ]
    bad = Program("o", "bad", f"@DECO\ndef f_Z():\n {line}\n", ["()"], ("native",))
    bundle = target.Bundle("1", [*good, bad])
    after = target.Bundle("2", good)
    packed = [(b, b.pack(guest_of_functions.mpy_cross)) for b in (bundle, after)]
    finding = only(guest_of_functions.run(packed))
    assert finding.program is not None and finding.program.seed == "bad"
    assert finding.what.startswith(what)


def only(findings):
    assert len(findings) == 1, findings
    return findings[0]
