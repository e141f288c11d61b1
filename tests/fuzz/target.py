"""The guest that runs batches of functions: bundles go in on its disk, what differs comes out on its console."""

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from batch import Bundle
from session import GuestGone, RemoteError, Session, Timeout

IMAGE_SIZE = 64 << 20
FOLDER = Path(__file__).resolve().parent
# Seconds that a batch may take, and one bundle of it in which the guest says nothing.
BUNDLE_LIMIT_S = 40


@dataclass
class Finding:
    """A function that did not do what it ought to. what: differs, compile (with the exception), hang or crash."""

    bundle: Bundle
    mode: str
    index: int
    what: str

    @property
    def program(self):
        return self.bundle.programs[self.index]


class Target:
    def __init__(self, name, mpy_cross):
        self.mpy_cross = mpy_cross
        self._file = tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=".img")
        self._file.truncate(IMAGE_SIZE)
        self._session = Session(name=name, smp=1, disks=[self._file.name])
        self._agent = (FOLDER / "harness.py").read_text() + (FOLDER / "agent.py").read_text()
        self._ready = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session.stop()

    def fresh(self):
        """A soft reset, which also frees the memory of all native code."""
        if not self._session.alive:
            self._session.restart().wait_prompt()
        self._session.soft_reset()
        self._session.exec(self._agent)
        self._ready = True

    def _write(self, data):
        with open(self._file.name, "r+b") as file:
            file.write(data)

    def run(self, packed):
        """Run [(bundle, its bytes)] and return what was found. The guest is restarted where that is needed."""
        findings = []
        while packed:
            packed = self._run_some(packed, findings)
        return findings

    def _run_some(self, packed, findings):
        """Run as far as it goes; return what is left."""
        if not self._ready:
            self.fresh()
        data = b"".join(data for _, data in packed)
        self._write(data)
        bundles = {f"{bundle.kind}{bundle.name}": i for i, (bundle, _) in enumerate(packed)}
        current = 0
        try:
            self._session.begin(f"run_batch({len(data)})")
            while True:
                line = self._session.expect_text("\r\n", BUNDLE_LIMIT_S).decode()
                word, _, rest = line.partition(" ")
                if word == "done":
                    self._session.end()
                    return []
                if word == "bundle":
                    current = bundles[rest]
                elif word in ("differs", "compile"):
                    name, mode, index, *error = rest.split(" ", 3)
                    what = " ".join([word, *error])
                    findings.append(Finding(packed[bundles[name]][0], mode, int(index), what))
                elif "\x04" in line:
                    raise RemoteError(line)
                else:
                    raise GuestGone(line)
        except Timeout:
            what = "hang"
        except (GuestGone, RemoteError, OSError) as error:
            what = f"crash {str(error)[:200]!r}"
        self._session.stop()
        self._ready = False
        bundle = packed[current][0]
        if len(bundle.programs) == 1 and len(bundle.programs[0].modes) == 1:
            findings.append(Finding(bundle, bundle.programs[0].modes[0], 0, what))
        else:
            findings += self.run(self._apart(bundle)) or [Finding(bundle, "all", 0, what)]
        return packed[current + 1 :]

    def _apart(self, bundle):
        """Each function of a bundle alone, in each of its modes."""
        found = []
        for i, program in enumerate(bundle.programs):
            for mode in program.modes:
                found.append(self.alone(program, mode, f"{bundle.name}.{i}.{mode}"))
        return found

    def alone(self, program, mode, name="0"):
        single = Bundle(re.sub(r"\s", "_", name), [_with_mode(program, mode)])
        return single, single.pack(self.mpy_cross)

    def outputs(self, program, mode):
        """What each call of a function does in the guest, as bytes, and what stopped it, if something did."""
        _, data = self.alone(program, mode)
        self.fresh()
        self._write(data)
        try:
            text = self._session.exec(f"run_one({len(data)}, {mode!r}, 0)", timeout=BUNDLE_LIMIT_S)
            return [bytes.fromhex(line) for line in text.split()], ""
        except RemoteError as error:
            return [bytes.fromhex(line) for line in error.stdout.split()], error.error
        except (Timeout, GuestGone) as error:
            self._session.stop()
            self._ready = False
            return [], type(error).__name__


def _with_mode(program, mode):
    return replace(program, modes=(mode,))
