"""Programs, and how many of them travel to the guest together."""

import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import oracle

# What mpy-cross must know of the target: the same as for frozen modules.
MPY_CROSS_FLAGS = ("-march=rv64imc", "-msmall-int-bits=63", "-X", "heapsize=64M")


@dataclass
class Program:
    """A module of random functions. f_Z is called; DECO stands where a function is to be compiled to machine code."""

    kind: str
    seed: str
    text: str
    calls: list
    modes: tuple = ()
    expected: int = 0


@dataclass
class Bundle:
    """Programs that are compiled as one module, each with its number for Z."""

    name: str
    programs: list = field(default_factory=list)

    @property
    def kind(self):
        return self.programs[0].kind

    def source(self, plain):
        texts = [oracle.plain(p) if plain else p.text for p in self.programs]
        return "".join(re.sub(r"_Z\b", f"_{i}", text) for i, text in enumerate(texts))

    def variants(self, mpy_cross):
        """(mode, text or contents of an .mpy file) for the guest."""
        source = {False: self.source(plain=False)}
        for mode in self.programs[0].modes:
            emit, _, mpy = mode.partition(".")
            plain = self.kind == "v" and emit != "viper"
            if plain not in source:
                source[plain] = self.source(plain)
            text = source[plain]
            decorator = "" if emit == "bytecode" else f"@micropython.{emit}\n"
            text = re.sub(r"^( *)@DECO\n", rf"\1{decorator}" if decorator else "", text, flags=re.M)
            yield mode, mpy_cross(text) if mpy else text.encode()

    def pack(self, mpy_cross):
        wanted = b"".join(p.expected.to_bytes(4, "little") for p in self.programs)
        calls = ",".join(f"[{', '.join(p.calls)}]" for p in self.programs)
        parts = [f"{self.kind}{self.name}".encode(), wanted, f"[{calls}]".encode()]
        for mode, code in self.variants(mpy_cross):
            parts += [mode.encode(), code]
        return _prefixed(b"".join(_prefixed(part) for part in parts))


def _prefixed(data):
    return len(data).to_bytes(4, "little") + data


class MpyCross:
    """mpy-cross of the build under test."""

    def __init__(self, program):
        self.program = Path(program)
        self.folder = tempfile.TemporaryDirectory(prefix="fuzz-")

    def __call__(self, text):
        source = Path(self.folder.name) / "bundle.py"
        source.write_text(text)
        made = source.with_suffix(".mpy")
        command = [self.program, *MPY_CROSS_FLAGS, "-o", made, source]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CompileError(done.stderr.strip().splitlines()[-1])
        return made.read_bytes()


class CompileError(Exception):
    """mpy-cross refused a module."""
