"""What run-tests.py's output says about each test, the reasons for what did not pass, and the comparison of boards.

Pure: text and dictionaries in, text and dictionaries out.
"""

import fnmatch
import re
from typing import NamedTuple

PASS, FAIL, SKIP = "pass", "fail", "skip"
_WORDS = {"pass": PASS, "FAIL": FAIL, "skip": SKIP, "lrge": SKIP}
_LINE = re.compile(r"^(pass|FAIL|skip|lrge)\s+(\S+\.py)\b", re.MULTILINE)
# What pyboard.py writes into a test's output when it has lost the guest: tests after that one failed with it.
_LOST = re.compile(rb"timeout waiting for|could not enter raw repl|could not exec|unexpected read during raw paste")


def parse(output):
    """{test: verdict} in the order in which run-tests.py printed them."""
    return {name: _WORDS[word] for word, name in _LINE.findall(output)}


def lost(output):
    """Whether a test's output (bytes) ends with the loss of the guest."""
    return bool(_LOST.search(output[-400:]))


def settle(tests, seen, output_of):
    """Split one run's tests into ({test: verdict} that holds, [tests to run again in a fresh guest]).

    seen: parse()d output.  output_of(test): bytes that a failed test printed.  The first test that loses the guest, or
    at which the runner stopped, has failed; those after it have not had their turn.
    """
    verdicts = {}
    for number, test in enumerate(tests):
        verdict = seen.get(test, FAIL)
        verdicts[test] = verdict
        if verdict == FAIL and (test not in seen or lost(output_of(test))):
            return verdicts, list(tests[number + 1 :])
    return verdicts, []


class Reason(NamedTuple):
    """Why tests have a verdict other than pass, in some modes (all when empty)."""

    verdict: str
    modes: tuple
    pattern: str
    text: str

    def covers(self, verdict, mode, test):
        return (
            self.verdict == verdict
            and (not self.modes or mode in self.modes)
            and fnmatch.fnmatchcase(test, self.pattern)
        )


def read_reasons(text):
    """Lines of `verdict modes pattern reason`; modes are separated by commas, * means all. # begins a comment."""
    reasons = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(None, 3)
        if len(words) != 4 or words[0] not in (FAIL, SKIP):
            raise ValueError(f"line {number}: not `fail|skip modes pattern reason`: {line}")
        verdict, modes, pattern, reason = words
        reasons.append(Reason(verdict, () if modes == "*" else tuple(modes.split(",")), pattern, reason))
    return reasons


def explain(results, reasons):
    """([(mode, test, verdict, reason or None)] of what did not pass, [reasons that explain nothing]).

    results: {mode: {test: verdict}}.  The first reason that covers a test is its reason.  A reason for tests that were
    not run, such as those of another version, is not one that explains nothing.
    """
    rest, used, could = [], set(), set()
    for mode, verdicts in results.items():
        for test, verdict in sorted(verdicts.items()):
            could.update(reason for reason in reasons if reason.covers(reason.verdict, mode, test))
            if verdict == PASS:
                continue
            found = next((reason for reason in reasons if reason.covers(verdict, mode, test)), None)
            used.add(found)
            rest.append((mode, test, verdict, found and found.text))
    return rest, [reason for reason in reasons if reason in could and reason not in used]


def behind(ours, theirs):
    """The tests that pass for them and not for us."""
    return [test for test in sorted(theirs) if theirs[test] == PASS and ours.get(test) != PASS]


def count(verdicts):
    """'3 passed, 1 failed, 2 skipped of 6'."""
    number = {verdict: sum(v == verdict for v in verdicts.values()) for verdict in (PASS, FAIL, SKIP)}
    return f"{number[PASS]} passed, {number[FAIL]} failed, {number[SKIP]} skipped of {len(verdicts)}"
