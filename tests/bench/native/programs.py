"""Upstream's perf_bench as bytecode and as native code, in guest instructions, on both boards."""

import os
from concurrent.futures import ThreadPoolExecutor

from native.board import ICOUNT

N, M = 1000, 1000  # upstream's sizes for a fast machine
EMITTERS = ("bytecode", "native")
FLASH = 0x22000000  # QEMU's second flash bank, memory that both boards can read
FLASH_SIZE = 32 << 20
# The compiled program is read from flash by a file system of one file.
DRIVER = """
import gc, io, sys, uctypes, vfs
flash = uctypes.bytearray_at(%d, %d)
class File(io.IOBase):
    def __init__(self):
        self.left = flash
    def readinto(self, buf):
        n = min(len(buf), len(self.left))
        buf[:n] = self.left[:n]
        self.left = memoryview(self.left)[n:]
        return n
    def ioctl(self, request, argument):
        return 0
class OneFile:
    def mount(self, readonly, mkfs):
        pass
    def umount(self):
        pass
    def stat(self, path):
        if path != '/program.mpy':
            raise OSError(2)
        return (0x8000,) + (0,) * 9
    def open(self, path, mode):
        return File()
vfs.mount(OneFile(), '/flash')
sys.path[:] = ['/flash']
import program
vfs.umount('/flash')
fitting = [size for size in program.bm_params if 10 * size[0] <= 12 * %d and size[1] <= %d]
run, result = program.bm_setup(program.bm_params[max(fitting)])
gc.collect()
i = count()
run()
i = count() - i
print(i, result())
"""


class NoFigure(Exception):
    """A program that does not run on a board; the text is the last line that it printed."""


def names(native):
    """All programs but those about viper's calls, which the table of elements has."""
    folder = native.micropython / "tests" / "perf_bench"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith(("benchrun", "viper_")))


def run(native, name, board, emitter):
    """(instructions, result as text) of one program on a fresh guest."""
    source = native.micropython / "tests" / "perf_bench" / f"{name}.py"
    flash = native.folder / f"{name}.{board.name}.{emitter}"
    if not native.compile(source, flash, board.cross, emitter):
        raise NoFigure("mpy-cross refuses it")
    size = flash.stat().st_size
    os.truncate(flash, FLASH_SIZE)
    try:
        script = board.count + DRIVER % (FLASH, size, N, M)
        drive = f"if=pflash,unit=1,format=raw,readonly=on,file={flash}"
        printed = board.run(script, *ICOUNT, "-drive", drive)
    except RuntimeError as error:
        raise NoFigure(str(error).strip().splitlines()[-1]) from error
    finally:
        flash.unlink()
    instructions, result = printed.strip().split(" ", 1)
    return int(instructions), result


def measure(native):
    """{program: {(board, emitter): instructions, or the reason why there is none}}."""

    def one(job):
        try:
            return run(native, *job)
        except NoFigure as error:
            return str(error), None

    jobs = [(name, board, emitter) for name in names(native) for board in native.boards for emitter in EMITTERS]
    found, results = {}, {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (name, board, emitter), (figure, result) in zip(jobs, pool.map(one, jobs), strict=True):
            found.setdefault(name, {})[board.name, emitter] = figure
            if result is not None and results.setdefault((name, board.name), result) != result:
                raise ValueError(f"{name} on {board.name}: {emitter} code has the result {result}")
    return found
