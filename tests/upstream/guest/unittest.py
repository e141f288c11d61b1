"""What upstream's tests use of unittest, for a guest that has no such module. run-tests.py reads the last lines."""

import sys


class SkipTest(Exception):
    """Raised by a test that cannot run here."""


def skip(reason):
    """A decorator: the test (a function or a class) is counted as skipped."""

    def decorate(_):
        def test(self):
            raise SkipTest(reason)

        return test

    return decorate


def skipIf(condition, reason):
    return skip(reason) if condition else lambda test: test


def skipUnless(condition, reason):
    return skipIf(not condition, reason)


class _Raises:
    # The block must end in an exception of that type, which is kept for the test to look at.
    def __init__(self, expected):
        self.expected = expected
        self.exception = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if kind is None:
            raise AssertionError("%r was not raised" % (self.expected,))
        self.exception = value
        return issubclass(kind, self.expected)


class TestCase:
    def setUp(self):
        pass

    def tearDown(self):
        pass

    def fail(self, msg=None):
        raise AssertionError(msg or "failed")

    def skipTest(self, reason):
        raise SkipTest(reason)

    def _check(self, holds, msg, text, *values):
        if not holds:
            self.fail(msg or text % values)

    def assertTrue(self, x, msg=None):
        self._check(x, msg, "%r is not true", x)

    def assertFalse(self, x, msg=None):
        self._check(not x, msg, "%r is not false", x)

    def assertEqual(self, x, y, msg=None):
        self._check(x == y, msg, "%r is not equal to %r", x, y)

    def assertNotEqual(self, x, y, msg=None):
        self._check(x != y, msg, "%r is equal to %r", x, y)

    def assertAlmostEqual(self, x, y, places=7, msg="", delta=None):
        near = abs(x - y) <= delta if delta is not None else round(abs(x - y), places) == 0
        self._check(x == y or near, msg, "%r is not near %r", x, y)

    def assertLess(self, x, y, msg=None):
        self._check(x < y, msg, "%r is not below %r", x, y)

    def assertLessEqual(self, x, y, msg=None):
        self._check(x <= y, msg, "%r is above %r", x, y)

    def assertGreater(self, x, y, msg=None):
        self._check(x > y, msg, "%r is not above %r", x, y)

    def assertGreaterEqual(self, x, y, msg=None):
        self._check(x >= y, msg, "%r is below %r", x, y)

    def assertIs(self, x, y, msg=None):
        self._check(x is y, msg, "%r is not the object %r", x, y)

    def assertIsNot(self, x, y, msg=None):
        self._check(x is not y, msg, "both are the object %r", x)

    def assertIsNone(self, x, msg=None):
        self.assertIs(x, None, msg)

    def assertIsNotNone(self, x, msg=None):
        self.assertIsNot(x, None, msg)

    def assertIn(self, x, container, msg=None):
        self._check(x in container, msg, "%r is not in %r", x, container)

    def assertNotIn(self, x, container, msg=None):
        self._check(x not in container, msg, "%r is in %r", x, container)

    def assertIsInstance(self, x, kind, msg=None):
        self._check(isinstance(x, kind), msg, "%r is no %r", x, kind)

    def assertRaises(self, expected, function=None, *args, **options):
        context = _Raises(expected)
        if function is None:
            return context
        with context:
            function(*args, **options)


class _Result:
    def __init__(self):
        self.ran = self.skipped = self.failures = self.errors = 0

    def run(self, case, name):
        print("%s (%s)" % (name, type(case).__name__), end=" ... ")
        self.ran += 1
        try:
            case.setUp()
            try:
                getattr(case, name)()
            finally:
                case.tearDown()
        except SkipTest as e:
            self.skipped += 1
            print("skipped:", e)
        except AssertionError as e:
            self.failures += 1
            print("FAIL")
            sys.print_exception(e)
        except Exception as e:
            self.errors += 1
            print("ERROR")
            sys.print_exception(e)
        else:
            print("ok")

    def report(self):
        print("-" * 70)
        print("Ran %d tests\n" % self.ran)
        if self.failures or self.errors:
            print("FAILED (failures=%d, errors=%d)" % (self.failures, self.errors))
        else:
            print("OK (skipped=%d)" % self.skipped if self.skipped else "OK")


def _run_class(cls, result):
    case = cls()
    getattr(case, "setUpClass", lambda: None)()
    for name in sorted(dir(case)):
        if name.startswith("test") and callable(getattr(case, name)):
            result.run(case, name)
    getattr(case, "tearDownClass", lambda: None)()


def main(module="__main__"):
    """Run the tests of each class of that module, then say how it went."""
    module = __import__(module)
    result = _Result()
    for name in dir(module):
        cls = getattr(module, name)
        if isinstance(cls, type) and issubclass(cls, TestCase) and cls is not TestCase:
            _run_class(cls, result)
    result.report()
