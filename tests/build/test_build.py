"""The build: the same input gives the same bytes, wherever and whenever, and a second make does nothing."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD") or ROOT / "build")


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
    archive = source_archive()
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))
    checkout = next(tmp_path.iterdir())
    before = contents(checkout)
    out = tmp_path / "out"
    words = [sys.executable, ROOT / "tools" / "unpack.py", "--build", out, "micropython"]
    subprocess.run(words, env={**os.environ, "MICROPYTHON_DIR": str(checkout)}, check=True)
    assert contents(checkout) == before
    ours = contents(BUILD / "micropython")
    assert contents(out / "micropython") == ours != before


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
