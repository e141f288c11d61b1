"""The drivers under CPython against QEMU's own devices: stand-ins as in tests/host, a QEMU without a guest."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "host")]

import shim  # noqa: E402

shim.install()

from qmachine import Machine  # noqa: E402


@pytest.fixture
def machine(tmp_path):
    """machine(*QEMU arguments): a running Machine; stopped after the test, which its complaints fail."""
    made = []

    def start(*args, **options):
        made.append(Machine(tmp_path, *args, **options))
        return made[-1]

    yield start
    for each in made:
        each.stop()
