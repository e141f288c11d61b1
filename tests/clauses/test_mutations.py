"""What `make mutations` runs: every rule that is broken on purpose is noticed by the test named for it."""

import subprocess
import sys
from pathlib import Path

import mutate
import mutations_list
import pytest

ROOT = Path(__file__).resolve().parents[2]
LEAST = 60
MODULE = "virtio/dma.py"
NODE = "tests/host/test_queue.py::test_queue_of_one_works"


@pytest.mark.timeout(900)
def test_every_mutation_is_noticed():
    command = [sys.executable, str(ROOT / "tests/clauses"), "mutations", "--jobs", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    missed = [line for line in run.stdout.splitlines() if line.startswith("MISSED")]
    assert run.returncode == 0, "\n".join([*missed, run.stderr, run.stdout[-500:]])
    assert len({m.clause for m in mutations_list.entries()}) >= LEAST
    print(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "new, caught, text",
    [
        ('"""Memory."""', False, "nothing noticed"),
        ("raise ValueError('broken')\n", True, "ValueError: broken"),
        ("raise NameError('broken')\n", False, "the module broke down: NameError"),
        ("def broken(:\n", False, "the module broke down: CollectError"),
        ("import os; os._exit(3)\n", False, "pytest did not end by itself"),
    ],
)
def test_runner_tells_what_became_of_a_mutation(new, caught, text):
    """Only a test that fails counts, not a module that nobody can import."""
    source = (ROOT / "modules" / MODULE).read_text()
    if "raise" in new:
        old = "        self.size = size\n"
        assert source.count(old) == 1
        new = old + "        " + new
    else:
        old = source[: source.index("\n") + 1]
    mutation = mutations_list.Mutation("GEN-VQ-01", MODULE, old, new, NODE, "here")
    ((_, outcome),) = mutate.each([mutation], 1)
    assert outcome.verdict()[0] == caught
    assert text in outcome.verdict()[1]
