"""The guest's side: reads bundles of functions from the first disk, runs them in all modes, prints what differs.

Comes after harness.py, in the same module. A batch is a sequence of bundles, a bundle a sequence of sections, each with
its length before it: number, wanted digests, calls, then pairs of mode and text (or contents of an .mpy file).
"""

import io
import sys

import micropython
import uctypes
import vfs
import virtio

disk = virtio.open("blk0")


class Mpy:
    """A file system that has one module, the one to be imported."""

    data = b""

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def stat(self, path):
        if path.endswith("/bundle.mpy"):
            return (0x8000, 0, 0, 0, 0, 0, len(self.data), 0, 0, 0)
        raise OSError(2)

    def open(self, path, mode):
        return io.BytesIO(self.data)


mpy = Mpy()
vfs.mount(mpy, "/fuzz")
sys.path[:] = ["/fuzz"]


def sections(data, at, end):
    found = []
    while at < end:
        size = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def load(mode, code):
    if mode.endswith(".mpy"):
        mpy.data = code
        sys.modules.pop("bundle", None)
        names = __import__("bundle").__dict__
        names.update(scope())
        return names
    names = scope()
    names["micropython"] = micropython
    exec(str(code, "utf8"), names)
    return names


def function_of(names, number):
    return names["f_%d" % number]


def addressed(offset):
    return uctypes.addressof(memory) + offset


def viewed(offset):
    return memoryview(memory)[offset:]


def modelled(offset):
    return BASE + offset


def places(mode):
    """What A() and V() in calls are: addresses, for the model that runs as bytecode or native code made-up ones."""
    if mode.startswith("viper"):
        return {"A": addressed, "V": viewed}
    return {"A": modelled, "V": modelled}


def run_bundle(parts):
    number, wanted, calls = str(parts[0], "utf8"), parts[1], compile(str(parts[2], "utf8"), "calls", "eval")
    of_objects = number[0] == "o"
    for i in range(3, len(parts), 2):
        mode = str(parts[i], "utf8")
        try:
            names = load(mode, parts[i + 1])
        except Exception as e:
            print("compile", number, mode, 0, repr(e))
            continue
        given = eval(calls, places(mode))
        for j in range(len(wanted) // 4):
            got = digest(function_of(names, j), given[j], of_objects)
            if got != int.from_bytes(wanted[4 * j : 4 * j + 4], "little"):
                print("differs", number, mode, j)


def run_batch(size):
    data = bytearray((size + 511) & ~511)
    disk.read(0, data)
    view = memoryview(data)
    at = 0
    while at < size:
        end = at + 4 + int.from_bytes(view[at : at + 4], "little")
        parts = sections(view, at + 4, end)
        at = end
        print("bundle", str(parts[0], "utf8"))
        run_bundle(parts)
    print("done")


def run_one(size, mode, j):
    """What each call of one function did, in full."""
    data = bytearray((size + 511) & ~511)
    disk.read(0, data)
    parts = sections(memoryview(data), 4, size)
    of_objects = str(parts[0], "utf8")[0] == "o"
    for i in range(3, len(parts), 2):
        if str(parts[i], "utf8") == mode:
            f = function_of(load(mode, parts[i + 1]), j)
            for args in eval(str(parts[2], "utf8"), places(mode))[j]:
                print(binascii.hexlify(run(f, args, of_objects)).decode())
