"""What there is to run: upstream's folders with tests, the modes, the boards, and how the tests are dealt out."""

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import qemu  # tools/

ROOT = Path(__file__).resolve().parents[2]

# Folders whose tests are run, with those whose files they want to find on a disk (relative to the tests).
FOLDERS = {
    "basics": (),
    "extmod": (),
    "float": (),
    "import": ("import",),
    "io": ("io",),
    "micropython": (),
    "misc": (),
    "ports/qemu": ("../ports/qemu/test-frzmpy",),
    "stress": (),
    "unicode": ("unicode",),
}

# Folders that are not run at all, and why.
LEFT_OUT = {
    "cmdline": "runs the Unix program with options and a terminal; the prompt is tested in tests/qemu/test_repl.py",
    "cpydiff": "shows differences from CPython for the documentation",
    "extmod_hardware": "needs wires between pins, counters, PWM",
    "feature_check": "is what the runner finds out features with",
    "frozen": "is one precompiled file for ports/minimal",
    "inlineasm/rv32": "is another machine's assembler",
    "inlineasm/thumb": "is another machine's assembler",
    "inlineasm/xtensa": "is another machine's assembler",
    "internal_bench": "measures, passes or fails nothing",
    "jni": "needs a Java machine",
    "multi_bluetooth": "needs Bluetooth and two boards",
    "multi_espnow": "needs two ESP boards",
    "multi_extmod": "needs two boards with I2C",
    "multi_net": "needs sockets and two boards",
    "multi_pyb_can": "needs two pyboards",
    "multi_wlan": "needs Wi-Fi and two boards",
    "net_hosted": "needs sockets",
    "net_inet": "needs sockets and the Internet",
    "perf_bench": "measures, passes or fails nothing",
    "ports": "tests one port's own modules",
    "serial_test": "measures a serial line",
    "target_wiring": "names pins for other tests",
    "thread": "needs threads; there is one interpreter on one hart",
}

# Tests that count on how fast the machine is: one that fails beside other QEMUs is tried again without them.
TIMED = ("extmod/asyncio_*.py", "extmod/time_*.py")

MODES = {
    "bytecode": (),
    "native": ("--emit", "native"),
    "mpy": ("--via-mpy",),
    "mpy-native": ("--via-mpy", "--emit", "native"),
}


class Board(NamedTuple):
    """firmware, native: ELFs below the build folder, the second for code that the target compiles to native code.

    command: QEMU's words for an ELF, its console on a pty.  mpy_cross: flags.  folders: as FOLDERS.
    """

    firmware: str
    native: str
    command: Callable
    mpy_cross: str
    folders: dict


def _rv32_command(firmware):
    machine = ("qemu-system-riscv32", "-M", "virt", "-m", "128M", "-semihosting", "-bios", "none")
    return [*machine, "-kernel", str(firmware), "-display", "none", "-monitor", "none", "-serial", "pty"]


BOARDS = {
    "rv64": Board(
        firmware="firmware.elf",
        native="native/firmware.elf",
        command=lambda firmware: qemu.command(firmware=firmware, serial="pty"),
        mpy_cross="-march=rv64imc -msmall-int-bits=63",
        folders=FOLDERS,
    ),
    # upstream's board, to compare with; the folders are those that its own runner takes
    "rv32": Board(
        firmware="rv32/firmware.elf",
        native="rv32-native/firmware.elf",
        command=_rv32_command,
        mpy_cross="-march=rv32imc",
        folders=dict.fromkeys(
            ("basics", "extmod", "float", "inlineasm/rv32", "micropython", "misc", "ports/qemu", "stress"), ()
        ),
    ),
}


def is_timed(test):
    """Whether a test may fail because the machine has other things to do."""
    return any(fnmatch.fnmatchcase(test, pattern) for pattern in TIMED)


def folders_with_tests(tests):
    """Each folder below upstream's tests that holds test programs, as a name relative to them."""
    for folder in sorted(path for path in tests.iterdir() if path.is_dir()):
        inner = (
            sorted(path for path in folder.iterdir() if path.is_dir()) if folder.name in ("inlineasm", "ports") else []
        )
        for found in [folder, *inner]:
            if any(found.glob("*.py")):
                yield str(found.relative_to(tests))


def reason_left_out(folder):
    """Why a folder is not run, or None."""
    return LEFT_OUT.get(folder) or LEFT_OUT.get(folder.split("/")[0])


def unknown_folders(tests):
    """Folders that a new version of MicroPython has brought: neither run nor left out."""
    return [name for name in folders_with_tests(tests) if name not in FOLDERS and not reason_left_out(name)]


class Chunk(NamedTuple):
    """Tests for one QEMU, and the folders whose files it gets."""

    tests: tuple
    files: tuple


def chunks(tests, folders, wanted, size):
    """Deal the tests of the folders out, at most so many to a QEMU; wanted(name) chooses among them."""
    for folder, files in folders.items():
        names = [f"{folder}/{path.name}" for path in sorted((tests / folder).glob("*.py"))]
        names = [name for name in names if wanted(name)]
        for start in range(0, len(names), size):
            yield Chunk(tuple(names[start : start + size]), files)
