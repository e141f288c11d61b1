"""Run chunks of tests, each in a QEMU of its own, several side by side."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import verdicts
from suite import Chunk, is_timed

RUNNER = Path(__file__).resolve().parent / "runner.py"
TEST_TIMEOUT_S = 240  # of one test, by run-tests.py
RETRY_TIMEOUT_S = 60  # of a test that upstream's runner leaves out
SILENCE_S = TEST_TIMEOUT_S + 120  # without a verdict: the runner itself hangs
STARTED = b"platform="  # what run-tests.py says when it has reached the guest


class NotStarted(Exception):
    """run-tests.py did not get as far as to a test."""


class Jobs:
    """How to run one mode on one board. `.notes` tells of tests whose verdict comes from a second run.

    command: words that start QEMU with its console on a pty.  options: for run-tests.py.  folder: for logs and outputs.
    """

    def __init__(self, tests, command, options, folder, mpy_cross, workers):
        self._tests = tests
        self._command = command
        self._options = options
        self._folder = folder
        self._environment = {
            **os.environ,
            "MICROPY_MPYCROSS": str(mpy_cross),
            "MICROPY_CPYTHON3": sys.executable,
            "PYTHONUNBUFFERED": "1",
            "TERM": "dumb",
        }
        self._workers = workers
        self._lock = threading.Lock()
        self._number = 0
        self._done = 0
        self.notes = {}

    def run(self, chunks):
        """{test: verdict} of all chunks. What upstream's runner leaves out by name is tried all the same."""
        total = sum(len(chunk.tests) for chunk in chunks)
        try:
            with ThreadPool(self._workers) as pool:
                parts = pool.imap_unordered(lambda chunk: self._settle(chunk, total), chunks)
                found = {test: verdict for part in parts for test, verdict in part.items()}
        finally:
            for pid in self._folder.glob("*/qemu.pid"):  # of other workers, when one has raised
                _end(pid)
        late = [test for test, verdict in found.items() if verdict == verdicts.FAIL and is_timed(test)]
        if late:
            again = self._until_settled(Chunk(tuple(late), ()))
            self.notes.update({test: "second try, since it measures time and other QEMUs ran" for test in again})
            found.update(again)
        return found

    def _settle(self, chunk, total):
        found = self._until_settled(chunk)
        skipped = Chunk(tuple(test for test in chunk.tests if found[test] == verdicts.SKIP), chunk.files)
        if skipped.tests:
            again = self._until_settled(skipped, ["--try-all"], RETRY_TIMEOUT_S)
            found.update({test: verdict for test, verdict in again.items() if verdict == verdicts.PASS})
        with self._lock:
            self._done += len(chunk.tests)
            print(f"\r  {self._done} of {total} tests", end="", file=sys.stderr, flush=True)
        return found

    def _until_settled(self, chunk, options=(), timeout_s=TEST_TIMEOUT_S):
        found, left = {}, chunk.tests
        while left:
            folder, seen = self._once(Chunk(left, chunk.files), options, timeout_s)
            settled, left = verdicts.settle(left, seen, lambda test, folder=folder: _output(folder, test))
            if found:
                lost = "run in a fresh QEMU, since a test before it had lost the first one"
                self.notes.update(dict.fromkeys(settled, lost))
            found.update(settled)
        return found

    def _once(self, chunk, options, timeout_s):
        with self._lock:
            self._number += 1
            folder = self._folder / f"{self._number:03}"
        folder.mkdir(parents=True)
        pid = folder / "qemu.pid"
        target = "execpty:" + " ".join([*self._command, "-pidfile", str(pid)])
        words = [sys.executable, str(RUNNER), *self._options, *options, "-r", str(folder), "-t", target, *chunk.tests]
        words += ["--guest-files", *chunk.files] if chunk.files else []
        environment = {**self._environment, "MICROPY_TEST_TIMEOUT": str(timeout_s)}
        output = _listen(words, self._tests, environment)
        _end(pid)
        (folder / "run-tests.log").write_bytes(output)
        if STARTED not in output:
            raise NotStarted(f"{folder}/run-tests.log: {output[-2000:].decode(errors='replace')}")
        return folder, verdicts.parse(output.decode(errors="replace"))


def _listen(words, tests, environment):
    """A runner's output. It is stopped when it says nothing for too long."""
    process = subprocess.Popen(
        words, cwd=tests, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = b""
    with process:
        while select.select([process.stdout], [], [], SILENCE_S)[0]:
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                return output
            output += piece
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
    return output + b"\nthe runner said nothing for too long\n"


def _end(pid):
    """End the QEMU that a stopped runner has left behind; it removes its file when it ends by itself."""
    deadline = time.monotonic() + 5
    while pid.exists() and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(pid.read_text()), signal.SIGTERM)
        time.sleep(0.05)


def _output(folder, test):
    path = folder / (test.replace("/", "_") + ".out")
    return path.read_bytes() if path.exists() else b""
