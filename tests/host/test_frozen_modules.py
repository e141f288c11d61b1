"""What goes into the firmware compiles: viper knows less of Python than the host tests, which run the same files."""

import subprocess
from pathlib import Path

import pytest
from session import build_folder

MODULES = Path(__file__).resolve().parents[2] / "modules"
MPY_CROSS = [build_folder() / "mpy-cross" / "mpy-cross", "-march=rv64imc", "-msmall-int-bits=63", "-O2"]


@pytest.mark.parametrize("name", sorted(path.relative_to(MODULES).as_posix() for path in MODULES.rglob("*.py")))
def test_frozen_module_compiles(name, tmp_path):
    command = [*MPY_CROSS, "-s", name, "-o", tmp_path / "out.mpy", MODULES / name]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
