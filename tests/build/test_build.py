"""The build: the same input gives the same bytes, wherever and whenever, and a second make does nothing."""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD") or ROOT / "build")
OTHER_ARCHITECTURES = ("rv32imc", "armv7m", "x64")
# viper's -x and ~x, which overwrote x (patch 3)
CORRECTED = {"tests/micropython/viper_unop.py"}


def make(*words, **variables):
    """Run make from a clean environment of its own; return its output."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "SOURCE_DATE"))}
    environment |= {"SUPPLY_DIR": str(BUILD / "supply"), **variables}
    run = subprocess.run(["make", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


@pytest.mark.timeout(900)
def test_two_clean_builds_in_different_folders_are_identical(tmp_path):
    one = BUILD / "firmware.elf"
    other = tmp_path / "another-folder-of-another-length"
    make("firmware", f"BUILD={other}", TZ="Pacific/Kiritimati", LANG="C.UTF-8", HOME=str(tmp_path))
    assert (other / "firmware.elf").read_bytes() == one.read_bytes()


@pytest.mark.timeout(300)
def test_second_make_builds_nothing():
    before = (BUILD / "firmware.elf").stat().st_mtime_ns
    out = make("firmware", f"BUILD={BUILD}")
    assert (BUILD / "firmware.elf").stat().st_mtime_ns == before
    assert not [line for line in out.splitlines() if line.startswith(("CC ", "LINK ", "MPY ", "AS "))]


@pytest.mark.timeout(300)
def test_checkout_is_copied_and_patched_and_left_alone(tmp_path):
    checkout = pristine_tree(tmp_path)
    before = contents(checkout)
    out = tmp_path / "out"
    words = [sys.executable, ROOT / "tools" / "unpack.py", "--build", out, "micropython"]
    subprocess.run(words, env={**os.environ, "MICROPYTHON_DIR": str(checkout)}, check=True)
    assert contents(checkout) == before
    ours = contents(BUILD / "micropython")
    assert contents(out / "micropython") == ours != before


@pytest.mark.timeout(900)
def test_patches_leave_other_architectures_output_alone(tmp_path):
    tree = pristine_tree(tmp_path)
    make(f"-j{os.cpu_count()}", "-C", str(tree / "mpy-cross"), f"BUILD={tmp_path}/cross", MICROPY_GIT_TAG="v0")
    crosses = tmp_path / "cross" / "mpy-cross", BUILD / "mpy-cross" / "mpy-cross"
    files = sorted(path.relative_to(tree) for path in (tree / "tests").rglob("*.py"))
    assert len(files) > 1000
    changed = set()
    for arch in OTHER_ARCHITECTURES:
        before, after = (compile_all(cross, arch, tree, files, tmp_path) for cross in crosses)
        assert len(after) >= len(before) > len(files) * 0.9
        changed |= {str(path) for path in before if before[path] != after[path]}
    assert changed <= CORRECTED


def compile_all(cross, arch, tree, files, folder):
    """{file: native code of it} for those that this mpy-cross compiles."""

    def compiled(path):
        with tempfile.NamedTemporaryFile(dir=folder) as out:
            words = [cross, f"-march={arch}", "-X", "emit=native", "-o", out.name, path]
            run = subprocess.run(words, cwd=tree, capture_output=True, check=False)
            return path, Path(out.name).read_bytes() if run.returncode == 0 else None

    with ThreadPoolExecutor(2) as pool:
        return {path: code for path, code in pool.map(compiled, files) if code is not None}


def pristine_tree(folder):
    """Unpack this build's MicroPython without our patches."""
    with tarfile.open(source_archive()) as tar:
        tar.extractall(folder / "pristine", **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))
    return next((folder / "pristine").iterdir())


def contents(tree):
    """{relative path: bytes} of the core's folder, where nearly all patches go."""
    return {
        path.relative_to(tree): path.read_bytes() for path in (tree / "py").rglob("*") if path.suffix in (".c", ".h")
    }


def source_archive():
    """The archive that this build's MicroPython came from."""
    version = re.search(r"TAG=v(\S+)", (BUILD / "micropython.env").read_text())[1]
    folders = [BUILD / "supply", *([Path(os.environ["SUPPLY_DIR"])] if os.environ.get("SUPPLY_DIR") else [])]
    return next(path for folder in folders for path in folder.glob(f"micropython_{version}*.tar.xz"))


def test_firmware_holds_no_path_of_this_machine():
    data = (BUILD / "firmware.elf").read_bytes()
    assert str(ROOT).encode() not in data
    assert str(BUILD).encode() not in data
