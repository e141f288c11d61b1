"""Break a rule in a copy of the modules, run the test that should notice: make mutations."""

import contextlib
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path

import pytest
from clauselist import ROOT
from mutations_list import MODULES

# A module that does not even run would be noticed by any test, so that proves nothing.
_CRASHES = (SyntaxError, ImportError)
_CRASHES_INSIDE = (NameError, AttributeError, TypeError)  # raised by the module, not by what the test does with it
_SECONDS = 60  # that one mutation may take


@dataclass
class Outcome:
    """What became of a run of tests: exit code of pytest, [(node id, exception, is it a crash, text)]."""

    code: int = -1  # -1: killed after _SECONDS, -2: gone without a result
    failures: list = field(default_factory=list)
    output: str = ""

    def verdict(self):
        """(was the mutation caught, by what)."""
        if self.code == -1:
            return False, f"no end within {_SECONDS} s"
        if self.code == -2:
            return False, "pytest did not end by itself"
        for _node, name, crash, text in self.failures:
            if not crash:
                return True, f"{name}: {text}" if text else name
        if self.failures:
            _node, name, _crash, text = self.failures[0]
            return False, f"the module broke down: {name}: {text}"
        return False, "nothing noticed" if self.code == 0 else f"pytest ended with {self.code}"


class _Watch:
    """A pytest plugin that keeps why tests failed."""

    def __init__(self):
        self.failures = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = (yield).get_result()
        if report.failed and call.excinfo is not None:
            self._keep(item.nodeid, call.excinfo)

    def pytest_exception_interact(self, node, call, report):
        if isinstance(report, pytest.CollectReport) and call.excinfo is not None:
            self._keep(node.nodeid, call.excinfo, crash=True)

    def _keep(self, node, excinfo, crash=False):
        text = str(excinfo.value).split("\n")[0]
        inside = str(excinfo.traceback[-1].path).startswith(os.environ["MODULES_DIR"])
        crash = crash or isinstance(excinfo.value, _CRASHES) or text.startswith("Timeout")
        crash = crash or inside and isinstance(excinfo.value, _CRASHES_INSIDE)
        self.failures.append((node, excinfo.type.__name__, crash, text))


def _preload():
    """Import what every pytest would import again: its plugins, and hypothesis above all."""
    for entry in importlib.metadata.entry_points(group="pytest11"):
        entry.load()
    import hypothesis.strategies  # noqa: F401


def _forget_modules():
    """Import the modules and what the tests have of them afresh: a test of this runner has them already."""
    for name, module in list(sys.modules.items()):
        path = str(getattr(module, "__file__", None) or "")
        if path.startswith((str(MODULES), str(ROOT / "tests" / "host"))):
            del sys.modules[name]
    sys.path[:] = [path for path in sys.path if path != str(MODULES)]


def _child(modules, nodes, folder):
    """Run pytest on nodes with the modules of that folder; the process ends with it."""
    os.setpgid(0, 0)
    _forget_modules()
    os.environ["MODULES_DIR"] = str(modules)
    sys.dont_write_bytecode = True  # a changed file may be as old and as long as the one before
    watch = _Watch()
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--timeout", "40", "--timeout-method", "signal"]
    with open(folder / "output", "w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = pytest.main([*options, *nodes], plugins=[watch])
    (folder / "outcome.tmp").write_text(json.dumps([int(code), watch.failures]))
    (folder / "outcome.tmp").rename(folder / "outcome")
    os._exit(0)


class _Run:
    """A process that runs tests, forked so that pytest need not be imported again."""

    def __init__(self, nodes, mutation=None, modules=None, seconds=_SECONDS):
        self.mutation = mutation
        self.folder = Path(tempfile.mkdtemp(prefix="mutation."))
        modules = modules or self._mutated()
        self.process = multiprocessing.get_context("fork").Process(target=_child, args=(modules, nodes, self.folder))
        self.process.start()
        self.deadline = time.monotonic() + seconds

    def _mutated(self):
        modules = self.folder / "modules"
        shutil.copytree(MODULES, modules, ignore=shutil.ignore_patterns("__pycache__"))
        path = modules / self.mutation.file
        path.write_text(path.read_text(encoding="utf-8").replace(self.mutation.old, self.mutation.new))
        return modules

    def ended(self):
        """The Outcome when the process is over or out of time, else None."""
        if self.process.is_alive() and time.monotonic() < self.deadline:
            return None
        outcome = Outcome(-1 if self.process.is_alive() else -2)
        self.close()
        with contextlib.suppress(FileNotFoundError):
            outcome.output = (self.folder / "output").read_text(errors="replace")
            outcome.code, outcome.failures = json.loads((self.folder / "outcome").read_text())
        shutil.rmtree(self.folder, ignore_errors=True)
        return outcome

    def close(self):
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def baseline(nodes):
    """The Outcome of all tests with the modules as they are."""
    _preload()
    run = _Run(sorted(nodes), modules=MODULES, seconds=600)
    try:
        while (outcome := run.ended()) is None:
            connection.wait([run.process.sentinel], timeout=1)
        return outcome
    finally:
        run.close()


def each(mutations, jobs):
    """Yield (mutation, Outcome) for all, `jobs` at a time."""
    os.chdir(ROOT)
    waiting, running = list(mutations), []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                mutation = waiting.pop(0)
                running.append(_Run([mutation.test], mutation))
            connection.wait([run.process.sentinel for run in running], timeout=1)
            for run in running[:]:
                if (outcome := run.ended()) is not None:
                    running.remove(run)
                    yield run.mutation, outcome
    finally:
        for run in running:
            run.close()
            shutil.rmtree(run.folder, ignore_errors=True)
