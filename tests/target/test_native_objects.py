"""What native code does with objects in its own quicker way must look like the general way of bytecode.

Each program is run twice from the same text, its functions as bytecode and as native code, and must print the same.
"""

import pytest

PROGRAMS = {
    "attributes": """
class A:
    x = 1
    def __init__(self): self.y = 2
    def method(self, *a): return "method", a
    @property
    def p(self): return self.y * 10
    @p.setter
    def p(self, v): self.y = v
    @staticmethod
    def s(*a): return "static", a
    @classmethod
    def c(cls, *a): return "class", cls is A or cls is B, a
    builtin = len
    def __getattr__(self, name): return "got " + name
class B(A):
    def __init__(self): super().__init__(); self.method = lambda *a: ("own", a)
class Plain: pass
class Watched:
    def __setattr__(self, name, value): print("set", name, value)
    def __delattr__(self, name): print("del", name)
class Sub(list):
    def __init__(self): super().__init__(); self.z = 5
def f():
    for o in (A(), B()):
        print(o.x, o.y, o.p, o.missing, o.method(1), o.s(2), o.c(3), o.builtin([1, 2]), o.__class__ is A)
        o.x = 7; o.p = 9; o.new = 3
        print(o.x, o.y, o.new, A.x, sorted(o.__dict__))
        del o.new
        print(o.new)
    o = Plain(); o.a = 1; o.a += 2
    print(o.a, hasattr(o, "b"))
    try: o.b
    except AttributeError as e: print(e)
    w = Watched(); w.q = 4
    del w.q
    s = Sub(); s.append(s.z); s.extend([6]); print(s, s[0], s[-1], len(s))
    try: (5).nothing
    except AttributeError as e: print(e)
    try: (5).nothing = 1
    except AttributeError as e: print(e)
    try: None.x()
    except AttributeError as e: print(e)
    print("a,b".split(","), [3, 1].index(1), {1: 2}.get(1), (1, 2).count(2), b"x".decode(), 5 .to_bytes(2, "big"))
    print(A.method(1, 2), A.s(1), A.c(1), str.upper("x"), list.copy([1]))
    g = (i for i in (1, 2)); print(g.__next__(), next(g))
""",
    "items": """
class L(list):
    def __getitem__(self, i): return "L", i
class T(tuple): pass
class D:
    def __getitem__(self, i): return "D", i
    def __setitem__(self, i, v): print("D", i, v)
    def __delitem__(self, i): print("del D", i)
def f():
    a = [1, 2, 3]; t = (4, 5)
    for i in (0, 2, -1, -3, True, 3, -4, 1 << 61, -(1 << 61), 1 << 70, "x", 1.0, None):
        for o in (a, t, "ab", b"ab", L([7]), T((8, 9)), D(), {0: "zero", True: "one"}):
            try: print(o[i], end=" ")
            except Exception as e: print(type(e).__name__, e, end=" ")
        try:
            a[i] = i
        except Exception as e: print(type(e).__name__, e, end=" ")
        print(a)
    try: t[0] = 1
    except TypeError as e: print(e)
    del a[1]; print(a)
    try: del t[0]
    except TypeError as e: print(e)
    d = D(); d[1] = 2
    del d[3]
    a[0:1] = [1, 2, 3]; print(a, a[::2], t[1:])
    a[0] += 5; print(a[0])
    x, y = t; print(x, y)
""",
    "floats": """
def f():
    values = [0.0, -0.0, 1.5, -2.25, 1e308, float("inf"), -float("inf"), float("nan"), 3, -4, 0, True, (1 << 61) + 1, 1 << 70, 2j]
    ops = (lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y, lambda x, y: x // y,
        lambda x, y: x % y, lambda x, y: x < y, lambda x, y: x > y, lambda x, y: x <= y, lambda x, y: x >= y,
        lambda x, y: x == y, lambda x, y: x != y)
    for x in values:
        for y in values:
            r = []
            for op in ops:
                try: r.append(op(x, y))
                except Exception as e: r.append(type(e).__name__)
            try:
                z = x; z += y; z -= 1; z *= 2; z /= 4
                r.append(z)
            except Exception as e: r.append(type(e).__name__)
            try: r.append("true" if x < y else "false")
            except TypeError: r.append("not ordered")
            print(x, y, r)
    try: 1.0 / 0
    except ZeroDivisionError as e: print(e)
    try: 1.0 + "x"
    except TypeError as e: print(e)
""",
    "calls": """
def f():
    def none(): return "none"
    def two(a, b): return a, b
    def default(a, b=5): return a, b
    def star(a, *b): return a, b
    def named(a, *, k, m=3): return a, k, m
    def everything(a, b=2, *c, d=4, **e): return a, b, c, d, sorted(e.items())
    def many(a, b, c, d, e, f, g, h, i, j, k, l, m): x = 1; return a, b, c, d, e, f, g, h, i, j, k, l, m, x
    def late(a):
        if a: y = a
        return y
    def caught(a, b):
        c = a
        try: return c // b
        except ZeroDivisionError: return "zero", a, b, c
        finally: c = None
    def cell(a, b):
        def inner(): nonlocal b; b += a; return b
        return inner() + inner()
    attempts = ("none()", "none(1)", "none(a=1)", "two(1, 2)", "two(1)", "two(1, 2, 3)", "two(b=1, a=2)", "two(1, a=2)",
        "two(1, c=2)", "default(1)", "default(1, 2)", "default()", "default(b=1)", "default(b=1, a=3)", "star(1)",
        "star(1, 2, 3)", "star()", "named(1, k=2)", "named(1)", "named(1, 2)", "everything(1)",
        "everything(1, 3, 5, d=7, z=9)", "everything(*(1, 2, 3), **{'y': 1})", "many(*range(13))", "many(*range(12))",
        "many(*range(12), m=5)", "late(3)", "late(0)", "caught(7, 2)", "caught(7, 0)", "cell(3, 4)")
    scope = {"none": none, "two": two, "default": default, "star": star, "named": named, "everything": everything,
        "many": many, "late": late, "caught": caught, "cell": cell}
    for text in attempts:
        try: print(text, eval(text, scope))
        except NameError: print(text, "NameError") # native code gives no message
        except Exception as e: print(text, type(e).__name__, e)
    print(none(), two(1, 2), default(1), star(1, 2), named(1, k=4), everything(9, z=1), late(8), caught(6, 0), cell(1, 2))
    try: two(1)
    except TypeError as e: print(e)
    try: two(1, 2, x=3)
    except TypeError as e: print(e)
    try: (5)()
    except TypeError as e: print(e)
    def deep(n): return deep(n + 1)
    try: deep(0)
    except RuntimeError as e: print(e)
    class C:
        def __call__(self, *a): return "called", a
        def m(self, a, b=2): return self is c, a, b
        def again(self): return self.again()
    c = C(); print(c(1), c.m(1), c.m(1, 3), c.m(a=4))
    try: c.m()
    except TypeError as e: print(e)
    try: c.again()
    except RuntimeError as e: print(e)
""",
    "cells": """
def f():
    def early(a):
        def g(): return v
        if a: v = 1
        return g()
    def deleted():
        x = 1
        def g():
            nonlocal x
            r = [x]
            del x
            try: x
            except NameError: r.append("NameError")
            try: del x
            except NameError: r.append("NameError")
            return r
        r = g()
        try: x
        except NameError: r.append("NameError")
        x = 5
        return r, x
    def counter(n):
        def step(by=1): nonlocal n; n += by; return n
        return step
    def shared():
        fs = []
        for i in range(3):
            def h(j=i): return i, j
            fs.append(h)
        return [h() for h in fs]
    def arg(a, *b, c=3, **d): return (lambda: (a, b, c, sorted(d)))()
    print(early(1))
    try: early(0)
    except NameError: print("NameError")
    print(deleted(), shared(), arg(1, 2, c=4, e=5))
    s = counter(5); print(s(), s(3), s(by=-1))
    class C:
        y = 1
        def m(self): return __class__ if False else self.y
    print(C().m(), [(lambda q: q + s())(k) for k in range(3)])
    print("a longer line, since short outputs say little: " * 3)
""",
    "iteration": """
class I:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        self.n -= 1
        if self.n < 0: raise StopIteration
        if self.n == 7: raise ValueError("seven")
        return self.n
def g(n):
    for i in range(n): yield i
    return "done"
def outer(n):
    r = yield from g(n)
    yield r
def f():
    for o in ([1, 2], (3,), "ab", b"c", {1: 2}, {4}, range(3), g(2), outer(2), I(3), enumerate("x"), zip([1], [2]),
            map(str, (1, 2)), filter(None, (0, 1)), reversed([1, 2]), {1: 2}.items()):
        print([x for x in o], end=" ")
        for x in o: print(x, end=" ")
        else: print("else")
    try:
        for x in I(9): print(x)
    except ValueError as e: print(e)
    try:
        for x in 5: pass
    except TypeError as e: print(e)
    class NoIterator:
        def __init__(self, i): self.i = i
        def __iter__(self): return self.i
    for i in (None, 5, True, "s", "a longer string", (1,), [2], 1.5, 1 << 70):
        try: print([x for x in NoIterator(i)])
        except TypeError as e: print(e)
    a = [1, 2, 3]
    for x in a:
        if x < 10: a.append(x + 10)
    print(a)
""",
}
# Functions and classes of the program at module level are compiled like f, which runs it.
GUEST = """
import gc, micropython
def run(text, native):
    head = "@micropython.native\\n" if native else ""
    lines = []
    for line in text.split("\\n"):
        stripped = line.lstrip(" ")
        if stripped.startswith("def ") and native:
            lines.append(line[:len(line) - len(stripped)] + "@micropython.native")
        lines.append(line)
    scope = {"micropython": micropython, "__name__": "program"}
    exec("\\n".join(lines), scope)
    scope["f"]()
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_native_code_prints_what_bytecode_prints(name, guest):
    assert guest.exec(GUEST) == ""
    text = PROGRAMS[name]
    wanted = guest.exec(f"run({text!r}, False)", timeout=60)
    got = guest.exec(f"run({text!r}, True)", timeout=60)
    assert len(wanted) > 200
    assert got == wanted
