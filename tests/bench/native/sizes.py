"""The size of native code for several architectures, over upstream's own Python files."""

import os
from concurrent.futures import ThreadPoolExecutor

# name -> (is it compiled without the paths for small integers?, emitter, flags of mpy-cross)
CONTENDERS = {
    "bytecode": (False, "bytecode", ()),
    "armv7m": (False, "native", ("-march=armv7m",)),
    "RV32": (False, "native", ("-march=rv32imc",)),
    "RV64": (False, "native", ("-march=rv64imc", "-msmall-int-bits=63")),
    "RV64 without fast paths": (True, "native", ("-march=rv64imc", "-msmall-int-bits=63")),
    "x64": (False, "native", ("-march=x64", "-msmall-int-bits=63")),
}
ARCH_FLAGS = 0x40  # in the header's third byte: another number follows
NO_DATA, STR, BYTES, TUPLE = range(5), 5, 6, 10
BYTECODE, NATIVE, VIPER, ASM = range(4)


class Mpy:
    """A compiled module, read as far as the lengths of its functions."""

    def __init__(self, data):
        self._data = data
        self._at = 4
        if data[2] & ARCH_FLAGS:
            self._number()
        qstrs, objects = self._number(), self._number()
        for _ in range(qstrs):
            n = self._number()
            self._at += 0 if n & 1 else n // 2 + 1
        for _ in range(objects):
            self._object()
        self.code_size = self._function()
        if self._at != len(data):
            raise ValueError("not understood")

    def _number(self):
        value = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    def _object(self):
        kind = self._data[self._at]
        self._at += 1
        if kind == TUPLE:
            for _ in range(self._number()):
                self._object()
        elif kind not in NO_DATA:
            n = self._number()
            self._at += n + (kind in (STR, BYTES))

    def _function(self):
        """Bytes of code and data of a function and of those inside it."""
        head = self._number()
        kind, has_children, size = head & 3, head & 4, head >> 3
        self._at += size
        for _ in range({BYTECODE: 0, NATIVE: 1, VIPER: 1, ASM: 3}[kind]):
            self._number()
        return size + sum(self._function() for _ in range(self._number() if has_children else 0))


def measure(native):
    """(files that all contenders compile, {contender: bytes of code})."""
    crosses = native.cross, native.cross_without_paths
    files = sorted((native.micropython / "tests").rglob("*.py"))

    def sizes(number):
        out = native.folder / f"{number}.mpy"
        found = {}
        for name, (without_paths, emitter, flags) in CONTENDERS.items():
            if native.compile(files[number], out, flags, emitter, crosses[without_paths]):
                found[name] = Mpy(out.read_bytes()).code_size
        out.unlink(missing_ok=True)
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        each = [found for found in pool.map(sizes, range(len(files))) if len(found) == len(CONTENDERS)]
    return len(each), {name: sum(found[name] for found in each) for name in CONTENDERS}
