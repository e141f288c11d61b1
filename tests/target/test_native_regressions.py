"""Faults of native code that fuzzing found, each as the least function that shows it."""

import pytest
from batch import MpyCross
from session import build_folder

# Each text defines f(), which must give the same as bytecode and as native code: that is written behind it.
OBJECTS = {
    "continue through a finally is over when it is done": (
        """
def f():
    seen = []
    for i in (1, 2, 3):
        try:
            if i == 1:
                continue
            seen.append(i)
        finally:
            seen.append(-i)
        seen.append(10 * i)
    return seen
""",
        [-1, 2, -2, 20, 3, -3, 30],
    ),
    "return after a continue through the same finally": (
        """
def f():
    for i in (1, 2):
        try:
            if i == 1:
                continue
        finally:
            pass
        return i
""",
        2,
    ),
    "break, continue and return through two finally": (
        """
def f():
    seen = []
    for j in range(4):
        try:
            for i in range(3):
                try:
                    seen.append((j, i))
                    if j == 1: break
                    if j == 2: continue
                    if j == 3: return seen
                finally:
                    seen.append("inner")
                seen.append("rest")
        finally:
            seen.append("outer")
""",
        [
            *[x for i in range(3) for x in ((0, i), "inner", "rest")],
            *("outer", (1, 0), "inner", "outer"),
            *[x for i in range(3) for x in ((2, i), "inner")],
            *("outer", (3, 0), "inner", "outer"),
        ],
    ),
    "break in a finally that a return goes through": (
        """
def f():
    seen = []
    while True:
        try:
            return seen
        finally:
            for i in range(3):
                try:
                    break
                finally:
                    seen.append("inner")
            seen.append("outer")
""",
        ["inner", "outer"],
    ),
    "a handler that was left by break handles no more": (
        """
def f():
    for i in (1, 2):
        try:
            try: break
            finally: pass
        except KeyError:
            return "wrong"
    try:
        raise KeyError
    except KeyError:
        return "right"
""",
        "right",
    ),
    "break out of a try in a handler": (
        """
def f():
    try:
        raise ValueError
    except ValueError:
        for i in range(3):
            try: break
            except ValueError: return "inner"
        try:
            raise KeyError
        except KeyError:
            return "right"
""",
        "right",
    ),
    "bare raise after a nested handler": (
        """
def f():
    try:
        try:
            raise ValueError
        except ValueError:
            try: raise KeyError
            except KeyError: pass
            raise
    except Exception as e:
        return repr(e)
""",
        "ValueError()",
    ),
    "finally with a handler in it passes the exception on": (
        """
def f():
    try:
        try:
            raise ValueError
        finally:
            try: raise KeyError
            except KeyError: pass
    except ValueError:
        return "passed on"
""",
        "passed on",
    ),
    "finally with a try in it passes the exception on": (
        """
def f():
    try:
        try:
            raise ValueError
        finally:
            try: pass
            finally: pass
    except ValueError:
        return "passed on"
""",
        "passed on",
    ),
    "a yield in a finally keeps the exception": (
        """
def f():
    def g():
        try: raise ValueError
        finally: yield 1
    seen = []
    try:
        for x in g(): seen.append(x)
    except ValueError:
        return seen
""",
        [1],
    ),
    "a yield in a handler keeps the exception for a bare raise": (
        """
def f():
    def g():
        try:
            raise ValueError
        except ValueError:
            yield 1
            raise
    seen = []
    try:
        for x in g(): seen.append(x)
    except ValueError:
        return seen
""",
        [1],
    ),
    "with that swallows, within a return": (
        """
class Swallow:
    def __enter__(self): return self
    def __exit__(self, kind, error, trace): return kind is ValueError
def f():
    seen = []
    for i in range(3):
        with Swallow():
            if i == 0: continue
            if i == 1: raise ValueError
            seen.append(i)
        seen.append(10 * i)
    with Swallow():
        try:
            return seen
        finally:
            with Swallow(): raise ValueError
""",
        [10, 2, 20],
    ),
    "del of a local in a register": (
        """
def f():
    a = 1
    for i in (1, 2):
        del a
        a = i
    return [a, i]
""",
        [2, 2],
    ),
    "more than 64 KiB of code": (
        "def f(a=1, b=2):\n" + 2100 * " a += b\n" + " return a\n",
        4201,
    ),
    "a cell without a value": (
        """
def f():
    def g(): return v
    if g is None: v = 1
    try:
        return g()
    except NameError:
        return "NameError"
""",
        "NameError",
    ),
}

# Viper functions f(a, b) of integers, with results.
VIPER = {
    "a chained comparison with `or` in it": (
        "def f(a: int, b: int) -> bool:\n return 0 < (a or b) < 9\n",
        {(0, 5): True, (0, 0): False, (10, 3): False},
    ),
    "except after `and`": (
        "def f(a: int, b: int) -> int:\n"
        " try:\n  a = a and b\n  if a: raise ValueError\n"
        " except ValueError:\n  a = -1\n"
        " return a\n",
        {(0, 5): 0, (3, 5): -1},
    ),
    "a call in code that is never reached": (
        "def f(a: int, b: int) -> int:\n"
        " while True:\n  if a >= 3: break\n  a += 1\n"
        " else:\n  b = b + a // b\n"
        " return a + b\n",
        {(0, 5): 8, (4, 0): 4},
    ),
    "many values at once beside one that `or` left": (
        "def f(a: int, b: int) -> int:\n"
        " return (a + 1) - ((b + 1) - ((a * b) - ((a & b) - ((a ^ b) - ((a | b) - (a or b))))))\n",
        {(5, 7): 28, (0, -1): 0},
    ),
}

# A file system with one module, from which f is imported.
IMPORT = """
import io, sys, vfs
class Mpy:
    def mount(self, readonly, mkfs): pass
    def umount(self): pass
    def stat(self, path):
        if path != "/found.mpy": raise OSError(2)
        return (0x8000,) + (0,) * 9
    def open(self, path, mode): return io.BytesIO(%r)
vfs.mount(Mpy(), "/mpy")
sys.path[:] = ["/mpy"]
from found import f
"""


def build(text, kind):
    head = f"@micropython.{kind}\n" if kind else ""
    return "import micropython\n" + text.replace("def f(", f"{head}def f(")


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("kind", ["", "native"], ids=["bytecode", "native"])
def test_objects(name, kind, guest):
    text, wanted = OBJECTS[name]
    guest.exec(build(text, kind))
    assert guest.eval("f()") == wanted


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_by_mpy_cross(name, guest):
    text, wanted = OBJECTS[name]
    code = MpyCross(build_folder() / "mpy-cross" / "mpy-cross")(build(text, "native"))
    guest.exec(IMPORT % code)
    assert guest.eval("f()") == wanted


@pytest.mark.parametrize("name", VIPER)
def test_viper(name, guest):
    text, results = VIPER[name]
    guest.exec(build(text, "viper"))
    for args, wanted in results.items():
        assert guest.eval(f"f{args}") == wanted
