"""Upstream's run-tests.py, unchanged, with a few things added on the way to the guest.

- `--emit native` without `--via-mpy`: the text goes to the guest as it is, whose firmware compiles it to native code.
- A test that imports `unittest` finds our module of that name.
- `--guest-files FOLDER ...`: the folders' content lies on a disk in the guest while a test runs.
- `--try-all`: nothing is skipped because run-tests.py knows its name.

All other arguments are run-tests.py's own. Runs in the folder with upstream's tests.
"""

import argparse
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

GUEST = Path(__file__).resolve().parent / "guest"
STARTS_TEST = b"START TEST"  # what run-tests.py lets a test print first; feature checks do not


def load(tests):
    """run-tests.py and the pyboard module it uses."""
    sys.path[:0] = [str(tests), str(tests.parent / "tools")]
    path = str(tests / "run-tests.py")
    spec = importlib.util.spec_from_loader("run_tests", importlib.machinery.SourceFileLoader("run_tests", path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import pyboard

    return module, pyboard


def take_native(module):
    """Let a script through that the guest is to compile to native code."""
    original = module.prepare_script_for_target
    home = sys.modules.get(original.__module__, module)  # later versions keep it in a module of its own

    def prepare(args, *, force_plain=False, **script):
        return original(args, force_plain=force_plain or not args.via_mpy, **script)

    home.prepare_script_for_target = prepare


class Nothing(set):
    """A set that forgets what is put into it."""

    def add(self, _):
        pass

    def update(self, *_):
        pass


def entries(folder):
    """(path, content) of all below a folder, a folder's content being None."""
    for path in sorted(folder.rglob("*")):
        yield "/" + str(path.relative_to(folder)), None if path.is_dir() else path.read_bytes()


def give_files(folders):
    """Code for the guest that makes the disk; it leaves no name behind."""
    files = [entry for folder in folders for entry in entries(Path(folder))]
    source = (GUEST / "files.py").read_text()
    return f"(lambda d: (exec({source!r}, d), d['mount']({files!r})))({{}})\n".encode()


def give_unittest():
    """Code for the guest that makes `import unittest` find a class with our functions in it."""
    source = (GUEST / "unittest.py").read_text()
    names = "{'__name__': 'unittest'}"
    put = "__import__('sys').modules.update({'unittest': type('unittest', (), d)})"
    return f"(lambda d: (exec({source!r}, d), {put}))({names})\n".encode()


def prepare_guest(pyboard, folders):
    """Run what a test needs in the guest, which has just been reset, before the test."""
    original = pyboard.Pyboard.exec_
    files = give_files(folders) if folders else None
    unittest = give_unittest()

    def exec_(self, command, *args, **options):
        if STARTS_TEST in command:
            if files:
                original(self, files, timeout=60)
            if b"unittest" in command:
                original(self, unittest, timeout=60)
        return original(self, command, *args, **options)

    pyboard.Pyboard.exec_ = exec_


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--guest-files", nargs="+", default=())
    parser.add_argument("--try-all", action="store_true")
    ours, theirs = parser.parse_known_args()
    module, pyboard = load(Path.cwd())
    take_native(module)
    prepare_guest(pyboard, ours.guest_files)
    if ours.try_all:
        module.set = Nothing  # what it makes its only set with: the tests to skip by name
    if ours.guest_files and "--via-mpy" in theirs:
        theirs += ["--begin", str(GUEST / "begin.py")]
    sys.argv = ["run-tests.py", *theirs]
    module.main()


if __name__ == "__main__":
    main()
