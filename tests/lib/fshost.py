"""Loads modules/fs under CPython with quick, bounds-checked pointers; disks that are files or bytes."""

import builtins
import importlib
import mmap
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "host"))

from shim import install  # noqa: E402


def _pointer(width):
    code = {1: "B", 2: "H", 4: "I"}[width]

    def cast(buf):
        view = memoryview(buf).cast("B")
        return view[: len(view) - len(view) % width].cast(code)

    return cast


def load():
    """Import fs and its parts; a viper access outside a buffer raises IndexError."""
    install()
    words = {"ptr8": _pointer(1), "ptr16": _pointer(2), "ptr32": _pointer(4)}
    before = {word: getattr(builtins, word) for word in words}
    try:
        for word, cast in words.items():
            setattr(builtins, word, cast)
        for name in (
            "fs",
            "fs.blocks",
            "fs.crc",
            "fs.part",
            "fs.base",
            "fs.ext4",
            "fs.fat",
            "fs.iso",
            "fs.file",
            "fs.journal",
            "fs.cmd",
        ):
            importlib.import_module(name)
    finally:
        for word, value in before.items():
            setattr(builtins, word, value)
    return sys.modules["fs"]


fs = load()


class Disk:
    """A block device over bytes or a file, which is never written; it counts requests and refuses to be written."""

    def __init__(self, content, block_size=512):
        if isinstance(content, (str, Path)):
            with open(content, "rb") as file:
                self.content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        else:
            self.content = memoryview(bytearray(content))
        self.block_size = block_size
        self.requests = []
        self.fail_at = None

    def readblocks(self, block, buf, off=0):
        at = block * self.block_size + off
        assert at + len(buf) <= len(self.content), "the file system read past the end of the disk"
        assert off or len(buf) % self.block_size == 0, "not whole blocks"
        self.requests.append((at, len(buf)))
        if self.fail_at is not None and at <= self.fail_at < at + len(buf):
            raise OSError(5, f"disk: read sector {block}: IOERR")
        memoryview(buf)[:] = self.content[at : at + len(buf)]

    def writeblocks(self, block, buf, off=0):
        raise AssertionError("the file system wrote to the disk")

    def ioctl(self, op, arg):
        return {4: len(self.content) // self.block_size, 5: self.block_size}.get(op, 0)


class ManyDisk(Disk):
    """The same with read_many, which counts in sectors of 512 bytes."""

    def read_many(self, pieces):
        per_block = self.block_size // 512
        for sector, buf in pieces:
            assert sector % per_block == 0, "not at a block's start"
            self.readblocks(sector // per_block, buf)
