"""The two boards that native code is compared on: this firmware and upstream's RV32, each in QEMU."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import qemu
from guest import Guest

QEMU32 = os.environ.get("QEMU32", qemu.QEMU.replace("riscv64", "riscv32"))
ICOUNT = ("-icount", "shift=0")

# count() is the number of instructions so far
COUNT64 = """
import riscv
def count():
    return riscv.csr_read('minstret')
"""
COUNT32 = """
import micropython
@micropython.asm_rv32
def _low():
    csrrs(a0, zero, 0xb02)
@micropython.asm_rv32
def _high():
    csrrs(a0, zero, 0xb82)
def count():
    while True:
        high = _high()
        low = _low() & 0xffffffff
        if high == _high():
            return high << 32 | low
"""


class Board(NamedTuple):
    """A firmware, how its guest counts instructions, and what mpy-cross must be told to compile for it."""

    name: str
    bits: int
    firmware: Path
    count: str
    cross: tuple

    def command(self, *extra):
        if self.bits == 64:
            return qemu.command(self.firmware, smp=1, extra=("-boot", "menu=on", *extra))
        words = [QEMU32, "-M", "virt", "-bios", str(self.firmware)]
        return [*words, "-display", "none", "-monitor", "none", "-serial", "stdio", *map(str, extra)]

    def run(self, script, *extra):
        """What a script prints on a fresh guest."""
        with Guest(self.command(*extra), limit_s=60) as guest:
            return guest.python(script)


class Native:
    """What all native measurements need: the boards and the cross-compiler."""

    def __init__(self, build):
        firmware = Path(os.environ.get("FIRMWARE") or build / "firmware.elf")
        self.folder = build / "bench" / "native"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.micropython = build / "micropython"
        self.cross = build / "mpy-cross" / "mpy-cross"
        self.cross_without_paths = build / "bench" / "mpy-cross" / "mpy-cross"
        rv64 = Board("RV64", 64, firmware, COUNT64, ("-march=rv64imc", "-msmall-int-bits=63"))
        rv32 = Board("RV32", 32, build / "bench" / "rv32" / "firmware.elf", COUNT32, ("-march=rv32imc",))
        self.boards = (rv64, rv32)

    def compile(self, source, out, flags, emit, cross=None):
        """Compile a file; False when this compiler refuses it."""
        words = [cross or self.cross, *flags, "-X", f"emit={emit}", "-o", out, source]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
