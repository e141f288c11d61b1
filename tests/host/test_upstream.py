"""The harness of upstream's suite: what it makes of the runner's output, and the unittest that it gives the guest."""

import contextlib
import io
import re
import runpy
import sys
import types
from pathlib import Path

import pytest
import suite
import verdicts

UPSTREAM = Path(__file__).resolve().parents[1] / "upstream"

OUTPUT = """\
platform=qemu_riscv arch=rv64imc
pass  basics/a.py
pass  extmod/b.py (unittest: 21 ran)
FAIL  basics/c.py
skip  basics/d.py
lrge  basics/e.py
2 tests performed (97 individual testcases)
1 tests failed: basics/c.py
"""


def test_each_line_with_a_verdict_counts_once():
    assert verdicts.parse(OUTPUT) == {
        "basics/a.py": "pass",
        "extmod/b.py": "pass",
        "basics/c.py": "fail",
        "basics/d.py": "skip",
        "basics/e.py": "skip",
    }


def test_a_failed_test_leaves_the_verdicts_after_it_alone():
    seen = {"a": "fail", "b": "pass", "c": "fail"}
    assert verdicts.settle(["a", "b", "c"], seen, lambda test: b"wrong\n") == (seen, [])


@pytest.mark.parametrize(
    "output", [b"timeout waiting for first EOF reception\nCRASH", b"half\ncould not enter raw repl\nCRASH"]
)
def test_what_follows_the_loss_of_the_guest_is_run_again(output):
    seen = {"a": "pass", "b": "fail", "c": "fail", "d": "fail"}
    outputs = {"b": output}
    settled = verdicts.settle(["a", "b", "c", "d"], seen, lambda test: outputs.get(test, b""))
    assert settled == ({"a": "pass", "b": "fail"}, ["c", "d"])


def test_a_runner_that_stops_has_failed_one_test():
    assert verdicts.settle(["a", "b", "c"], {"a": "pass"}, lambda test: b"") == ({"a": "pass", "b": "fail"}, ["c"])


REASONS = """\
# a comment

skip * extmod/tls_* there is no TLS
fail native,mpy-native basics/x.py a traceback has no lines
fail * io/* files
"""


def test_a_reason_covers_its_verdict_its_modes_and_its_pattern():
    results = {
        "bytecode": {
            "extmod/tls_a.py": "skip",
            "extmod/tls_b.py": "fail",
            "basics/x.py": "fail",
            "basics/y.py": "pass",
        },
        "native": {"basics/x.py": "fail", "io/a.py": "pass"},
    }
    rest, stale = verdicts.explain(results, verdicts.read_reasons(REASONS))
    assert rest == [
        ("bytecode", "basics/x.py", "fail", None),
        ("bytecode", "extmod/tls_a.py", "skip", "there is no TLS"),
        ("bytecode", "extmod/tls_b.py", "fail", None),
        ("native", "basics/x.py", "fail", "a traceback has no lines"),
    ]
    assert [reason.pattern for reason in stale] == ["io/*"]


@pytest.mark.parametrize("line", ["skip native a why", "skip * b why"])
def test_a_reason_for_what_did_not_run_is_not_stale(line):
    assert verdicts.explain({"mpy": {"a": "pass"}}, verdicts.read_reasons(line)) == ([], [])


@pytest.mark.parametrize("line", ["skip * pattern", "pass * a reason", "anything"])
def test_a_line_that_is_no_reason_is_refused(line):
    with pytest.raises(ValueError, match="line 1"):
        verdicts.read_reasons(line)


def test_the_reasons_we_have_can_be_read():
    assert verdicts.read_reasons((UPSTREAM / "reasons.txt").read_text())


def test_only_what_passes_there_and_not_here_is_behind():
    ours = {"a": "pass", "b": "fail", "c": "skip", "d": "fail"}
    theirs = {"a": "pass", "b": "pass", "c": "pass", "d": "fail", "e": "pass"}
    assert verdicts.behind(ours, theirs) == ["b", "c", "e"]


def test_all_verdicts_are_counted():
    assert verdicts.count({"a": "pass", "b": "skip", "c": "skip"}) == "1 passed, 0 failed, 2 skipped of 3"


@pytest.fixture
def tests(tmp_path):
    for name in ("basics/a.py", "basics/b.py", "basics/c.py", "basics/c.py.exp", "io/d.py", "io/data/x.py", "new/e.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_tests_are_dealt_out_by_folder_and_number(tests):
    dealt = suite.chunks(tests, {"basics": (), "io": ("io",)}, lambda name: name != "basics/b.py", 1)
    assert [chunk.tests for chunk in dealt] == [("basics/a.py",), ("basics/c.py",), ("io/d.py",)]


def test_a_folder_that_nobody_decided_about_is_found(tests):
    assert suite.unknown_folders(tests) == ["new"]


def run_unittest(body):
    """What our unittest prints about the classes of a program, with CPython in the guest's place."""
    unittest = types.SimpleNamespace(**runpy.run_path(str(UPSTREAM / "guest" / "unittest.py")))
    program = types.ModuleType("program")
    program.__dict__["unittest"] = unittest
    sys.print_exception = lambda e: print(type(e).__name__, e)
    sys.modules["program"] = program
    try:
        exec(body, program.__dict__)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            unittest.main("program")
    finally:
        del sys.modules["program"], sys.print_exception
    return output.getvalue()


GOOD = """
class Test(unittest.TestCase):
    def setUp(self): self.n = 1
    def test_equal(self): self.assertEqual(self.n, 1)
    def test_raises(self):
        with self.assertRaises(ValueError) as context: int("x")
        self.assertIn("x", str(context.exception))
        self.assertRaises(KeyError, {}.__getitem__, 1)
    @unittest.skipIf(True, "not here")
    def test_skipped(self): self.fail()
    @unittest.skipUnless(True, "not here")
    def test_near(self): self.assertAlmostEqual(1.0, 1.00000001)
"""


def test_unittest_ends_with_what_the_runner_looks_for():
    lines = run_unittest(GOOD).splitlines()
    assert lines[-4:] == ["-" * 70, "Ran 4 tests", "", "OK (skipped=1)"]


@pytest.mark.parametrize(
    "body, failures, errors",
    [
        ("self.assertEqual(1, 2)", 1, 0),
        ("self.assertTrue(0)", 1, 0),
        ("self.assertIsInstance(1, str)", 1, 0),
        ("self.assertAlmostEqual(1.0, 1.1)", 1, 0),
        ("self.assertRaises(ValueError, int, '1')", 1, 0),
        ("self.assertRaises(ValueError, int, [])", 0, 1),
        ("1 / 0", 0, 1),
    ],
)
def test_unittest_sees_what_is_wrong(body, failures, errors):
    output = run_unittest(f"class Test(unittest.TestCase):\n def test(self): {body}\n def test_good(self): pass\n")
    assert re.search(rf"^Ran 2 tests\n\nFAILED \(failures={failures}, errors={errors}\)\n\Z", output, re.MULTILINE)
