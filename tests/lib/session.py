"""A running guest: QEMU, its console, the raw REPL on it and a QMP connection, all with deadlines.

    with Session(smp=2, disks=["disk.img"]) as guest:
        guest.wait_prompt()
        assert guest.eval("1 + 1") == 2

Keyword arguments that Session does not know go to tools/qemu.py's command(), so a test describes the machine in
the words of `make run`. Every session has a folder of its own below build/test-logs and leaves it there: the
command line, the console, QEMU's stderr and its log of guest errors. A line in one of the last two that is not
on the allow list fails the test that ran.
"""

import ast
import contextlib
import functools
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import qemu  # tools/, through pyproject.toml
import regtrace

ROOT = Path(__file__).resolve().parents[2]

# Slow machines set this; every deadline below is multiplied by it.
SCALE = float(os.environ.get("TEST_TIMEOUT_SCALE", "1"))

# Have QEMU trace the register accesses of every guest, and judge them when it stops.
REGTRACE = bool(os.environ.get("REGTRACE"))

# Lines of QEMU's guest error log and stderr that say nothing about the guest.
ALLOWED = (
    r"^\s*$",
    r"^char device redirected to ",
)

PROMPT = b">>> "
# QEMU 7.2's virt machine has fw_cfg, but makes it too late for the option -fw_cfg.
FW_CFG_SINCE = (8, 0)
AUTOBOOT = "opt/org.micropython/autoboot"

_RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
_CTRL_A, _CTRL_B, _CTRL_C, _CTRL_D, _CTRL_E = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"


class Timeout(AssertionError):
    """The guest did not say in time what the test waited for."""


class GuestGone(AssertionError):
    """QEMU ended while the test still wanted something from it."""


class RemoteError(Exception):
    """The guest raised. str() is the whole traceback, `.error` its last line."""

    def __init__(self, traceback, stdout=""):
        super().__init__(traceback)
        self.traceback = traceback
        self.stdout = stdout
        self.error = traceback.strip().splitlines()[-1] if traceback.strip() else ""


@functools.cache
def qemu_version():
    """QEMU's version as a tuple of integers."""
    text = subprocess.run([qemu.QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.search(r"version ([\d.]+)", text)[1].split("."))


def build_folder():
    """The folder the build writes to: BUILD= of the Makefile, or build/."""
    return Path(os.environ.get("BUILD") or ROOT / "build").resolve()


def micropython_version():
    """MicroPython's version as a tuple of integers: that of the sources in the build folder, None before a build."""
    settings = build_folder() / "micropython.env"
    found = re.search(r"TAG=v([\d.]+)", settings.read_text()) if settings.is_file() else None
    return tuple(int(part) for part in found[1].split(".")) if found else None


def default_firmware():
    """The image under test: FIRMWARE= in the environment, or what `make firmware` leaves."""
    return Path(os.environ.get("FIRMWARE") or build_folder() / "firmware.elf")


def unexpected_lines(text, allow=()):
    """Lines of a QEMU log that no allow-list pattern covers."""
    patterns = [re.compile(p) for p in (*ALLOWED, *allow)]
    return [line for line in text.splitlines() if not any(p.search(line) for p in patterns)]


class QMP:
    """QEMU's control socket. QEMU connects to us, so there is nothing to wait or poll for."""

    def __init__(self, connection, deadline_s):
        connection.settimeout(deadline_s)
        self._file = connection.makefile("rwb")
        self._connection = connection
        self.events = []
        self._file.readline()  # the greeting
        self.command("qmp_capabilities")

    def command(self, name, /, **arguments):
        """Run one command and return its result; events met on the way are kept in `.events`."""
        request = {"execute": name}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self._file.write(json.dumps(request).encode() + b"\n")
        self._file.flush()
        while True:
            line = self._file.readline()
            if not line:
                raise GuestGone(f"QEMU closed QMP during {name}")
            answer = json.loads(line)
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"QMP {name}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def close(self):
        with contextlib.suppress(OSError):  # a command that QEMU did not live to read
            self._file.close()
        self._connection.close()


class Console:
    """Everything the guest printed, filled by a thread; expect() walks through it once."""

    def __init__(self, connection):
        self._connection = connection
        self._data = bytearray()
        self._position = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while True:
            try:
                chunk = self._connection.recv(65536)
            except OSError:
                chunk = b""
            with self._changed:
                if chunk:
                    self._data += chunk
                else:
                    self._closed = True
                self._changed.notify_all()
            if not chunk:
                return

    def write(self, data):
        self._connection.sendall(data)

    def take(self, find, timeout_s, what):
        """Wait until find(data, position) gives (result, end); consume up to end and return result."""
        deadline = time.monotonic() + timeout_s * SCALE
        with self._changed:
            while True:
                found = find(self._data, self._position)
                if found is not None:
                    self._position = found[1]
                    return found[0]
                if self._closed:
                    raise GuestGone(f"the console closed while waiting for {what}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Timeout(f"no {what} within {timeout_s:g} s; unread: {self.unread()[-300:]!r}")
                self._changed.wait(left)

    def unread(self):
        """What has come in and was not consumed yet."""
        return bytes(self._data[self._position :])

    def everything(self):
        """All output since QEMU started."""
        return bytes(self._data)

    def close(self):
        self._connection.close()
        self._thread.join(timeout=5)


class Session:
    """One QEMU with our firmware. Use as a context manager; leaving it checks the logs and stops QEMU.

    name: folder name below build/test-logs.  firmware: ELF to start, default the build's.
    console: "socket" (this object talks to the guest), or "pty"/"tcp" (somebody else does: see .port).
    autoboot: False tells the firmware not to boot what it finds on the disks.
    allow: regular expressions of guest-error and stderr lines that this test expects.
    options: keyword arguments of tools/qemu.py's command(): smp, mem, disks, legacy, pci, ports, append, kernel,
    initrd, fw_cfg, extra.
    """

    def __init__(self, name="session", firmware=None, console="socket", autoboot=False, allow=(), **options):
        self.folder = self._new_folder(name)
        self.allow = tuple(allow) + (regtrace.ALLOW if REGTRACE else ())
        self.port = None
        self._firmware = Path(firmware or default_firmware())
        self._console_kind = console
        self._options = dict(options)
        if not autoboot:
            self._options["extra"] = [*self._options.get("extra", ()), "-boot", "menu=on"]
            if qemu_version() >= FW_CFG_SINCE:
                self._options["fw_cfg"] = {AUTOBOOT: b"0", **(self._options.get("fw_cfg") or {})}
        self._process = None
        self._qmp = None
        self._console = None
        self._raw = False
        self._log_seen = 0
        self._runs = 0
        self._sockets = None

    @staticmethod
    def _new_folder(name):
        base = build_folder() / "test-logs" / re.sub(r"[^\w.-]+", "_", name)
        for number in itertools.count(1):
            folder = base if number == 1 else base.with_name(f"{base.name}.{number}")
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                continue

    # The machine

    def command_line(self, **changes):
        """QEMU's command line for this machine; without changes the one to paste, with its console on the terminal."""
        options = {"firmware": str(self._firmware), "serial": "mon:stdio", "qmp": None, **self._options, **changes}
        return qemu.command(**options)

    def paste(self):
        """command_line() as a shell takes it."""
        return shlex.join(self.command_line())

    def start(self):
        """Start QEMU and connect to it. Nothing that the guest prints is lost: QEMU connects to us."""
        if not self._firmware.exists():
            raise FileNotFoundError(f"{self._firmware}: run `make firmware` first, or set FIRMWARE=")
        self._runs += 1
        suffix = "" if self._runs == 1 else f".{self._runs}"
        self._log = self.folder / f"qemu{suffix}.log"
        self._stderr = self.folder / f"stderr{suffix}.log"
        self._console_log = self.folder / f"console{suffix}.log"
        self._log_seen = 0
        self._raw = False
        # A socket's path is limited to 107 bytes, and the log folder's is as long as the user's home makes it.
        self._sockets = Path(tempfile.mkdtemp(prefix="guest-"))
        command = self.command_line(
            serial="chardev:console",
            qmp=f"unix:{self._sockets}/qmp",
            extra=[
                *self._options.get("extra", ()),
                *(regtrace.OPTIONS if REGTRACE else ()),
                *self._console_options(),
                "-d",
                "guest_errors,unimp",
                "-D",
                self._log,
            ],
        )
        with socket.socket(socket.AF_UNIX) as qmp, socket.socket(socket.AF_UNIX) as console:
            for listener, path in ((qmp, "qmp"), (console, "console")):
                listener.bind(f"{self._sockets}/{path}")
                listener.listen(1)
                listener.settimeout(0.2)
            (self.folder / f"command{suffix}.txt").write_text(shlex.join(command) + "\n")
            with open(self._stderr, "wb") as stderr:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True
                )
            try:
                if self._console_kind == "socket":
                    self._console = Console(self._accept(console))
                self._qmp = QMP(self._accept(qmp), 30 * SCALE)
            except OSError as error:
                self.stop()
                raise GuestGone(f"QEMU did not start: {self.stderr()}") from error
            except BaseException:
                self.stop()
                raise
        if self._console_kind == "pty":
            names = {entry["label"]: entry["filename"] for entry in self.qmp("query-chardev")}
            self.port = names["console"].removeprefix("pty:")
        return self

    def _console_options(self):
        kind = self._console_kind
        if kind == "tcp":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                number = free.getsockname()[1]
            self.port = f"socket://127.0.0.1:{number}"
            backend = f"socket,id=console,host=127.0.0.1,port={number},server=on,wait=off"
        elif kind == "pty":
            backend = "pty,id=console"
        else:
            backend = f"socket,id=console,path={self._sockets}/console"
        return ["-chardev", f"{backend},logfile={self._console_log}"]

    def _accept(self, listener):
        deadline = time.monotonic() + 30 * SCALE
        while time.monotonic() < deadline:
            try:
                connection = listener.accept()[0]
                connection.settimeout(None)
                return connection
            except TimeoutError:
                if self._process.poll() is not None:
                    raise GuestGone(f"QEMU ended at once with {self._process.returncode}: {self.stderr()}") from None
        raise Timeout("QEMU did not connect to its console within 30 s")

    @property
    def started(self):
        """Whether QEMU ran at all."""
        return self._process is not None

    @property
    def alive(self):
        """Whether QEMU still runs."""
        return self._process is not None and self._process.poll() is None

    def exit_code(self, timeout=10):
        """Wait until QEMU ends by itself and return its exit code."""
        try:
            return self._process.wait(timeout * SCALE)
        except subprocess.TimeoutExpired:
            raise Timeout(f"QEMU still runs after {timeout:g} s") from None

    def qmp(self, name, /, **arguments):
        """One QMP command; underscores in argument names stand for dashes."""
        return self._qmp.command(name, **arguments)

    @property
    def qmp_events(self):
        return self._qmp.events

    def restart(self):
        """A fresh QEMU with the same command line and a new set of logs."""
        self.stop()
        return self.start()

    def close(self):
        """Stop QEMU, then fail if it complained about the guest."""
        self.stop()
        self.check_logs()

    def stop(self):
        """Stop QEMU, by force if it does not answer. The logs stay."""
        if self._process is not None and self._process.poll() is None:
            try:
                if self._qmp is None:
                    raise OSError("no QMP")
                self.qmp("quit")
                self._process.wait(5)
            except Exception:
                self._process.kill()
                self._process.wait()
        for part in (self._qmp, self._console):
            if part is not None:
                part.close()
        self._qmp = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def __enter__(self):
        return self if self.alive else self.start()

    def __exit__(self, kind, error, traceback):
        if error is not None:
            report = self.report()
            self.stop()
            if hasattr(error, "add_note"):
                error.add_note(report)
            return
        self.close()

    # Logs

    def stderr(self):
        return self._stderr.read_text(errors="replace") if self._stderr.exists() else ""

    def complaints(self):
        """Lines from QEMU's guest error log and stderr that nobody allowed."""
        log = self._log.read_text(errors="replace") if self._log.exists() else ""
        return unexpected_lines(log + self.stderr(), self.allow)

    def check_logs(self, forget=False):
        """Fail if QEMU complained since the last check; forget: only note what is there, for the next check."""
        if not self.started:
            return
        lines = self.complaints()
        fresh, self._log_seen = lines[self._log_seen :], len(lines)
        assert forget or not fresh, "QEMU complained about the guest:\n" + "\n".join(fresh[:20])

    def console_text(self):
        """All that the guest printed, as text."""
        if self._console is not None:
            return self._console.everything().decode(errors="replace")
        return self._console_log.read_text(errors="replace") if self._console_log.exists() else ""

    def report(self):
        """What a failed test shows: the command to paste, the console's tail, QEMU's complaints, where the logs are."""
        tail = "\n".join(self.console_text().replace("\r", "").splitlines()[-30:])
        state = "runs" if self.alive else f"ended with {getattr(self._process, 'returncode', None)}"
        return "\n".join(
            (
                "run by hand:  " + self.paste(),
                f"QEMU {state}; console, last lines:",
                tail,
                "QEMU's stderr and guest errors:",
                "\n".join(self.complaints()[:20]) or "(none)",
                f"logs: {self.folder}",
            )
        )

    def check_registers(self):
        """With REGTRACE=1: fail if an access to a device's register broke a rule."""
        if REGTRACE and self.started:
            broken = regtrace.check(self._log).broken
            assert not broken, f"{len(broken)} rules are broken in {self._log}:\n" + "\n".join(broken[:20])

    # The console

    def write(self, data):
        """Type bytes on the console, as they are."""
        self._console.write(data.encode() if isinstance(data, str) else data)

    def expect(self, pattern, timeout=10):
        """Wait for a regular expression in the output not yet consumed; consume through it, return the match."""
        regex = re.compile(pattern.encode() if isinstance(pattern, str) else pattern, re.S)

        def find(data, position):
            match = regex.search(data, position)
            return match and (match, match.end())

        return self._console.take(find, timeout, repr(pattern))

    def expect_text(self, text, timeout=10):
        """Wait for exactly these bytes and return what came before them."""
        text = text.encode() if isinstance(text, str) else text

        def find(data, position):
            at = data.find(text, position)
            return None if at < 0 else (bytes(data[position:at]), at + len(text))

        return self._console.take(find, timeout, repr(text))

    def read(self, count, timeout=10):
        """Exactly count bytes of output."""

        def find(data, position):
            end = position + count
            return (bytes(data[position:end]), end) if len(data) >= end else None

        return self._console.take(find, timeout, f"{count} bytes")

    def unread(self):
        """Output that nobody waited for yet."""
        return self._console.unread()

    def wait_prompt(self, timeout=30):
        """Wait for the friendly prompt and return the text before it."""
        if self._console is None:
            return self._wait_logged_prompt(timeout)
        text = self.expect_text(PROMPT, timeout).decode(errors="replace")
        self._raw = False
        return text

    def _wait_logged_prompt(self, timeout):
        """The console belongs to somebody else: look into the log that QEMU keeps of it."""
        deadline = time.monotonic() + timeout * SCALE
        while not self.console_text().endswith(PROMPT.decode()):
            if not self.alive:
                raise GuestGone(f"QEMU ended with {self._process.returncode} before the prompt")
            if time.monotonic() > deadline:
                raise Timeout(f"no prompt within {timeout:g} s")
            time.sleep(0.02)
        return self.console_text()

    def ctrl_c(self):
        """Press Ctrl-C."""
        self.write(_CTRL_C)

    # The raw REPL

    def enter_raw(self, timeout=10):
        """Stop what runs and enter the raw REPL."""
        self.write(b"\r" + _CTRL_C + _CTRL_C + b"\r" + _CTRL_A)
        self.expect_text(_RAW_BANNER, timeout)
        self._raw = True

    def leave_raw(self, timeout=10):
        """Back to the friendly prompt, from either REPL."""
        self.write(b"\r" + _CTRL_C + _CTRL_C + _CTRL_B)
        self.expect(rb"Type \"help\(\)\" for more information\.\r\n>>> ", timeout)
        self._raw = False

    def soft_reset(self, timeout=20):
        """Ctrl-D: a fresh interpreter, all devices quiet. Leaves the guest at the raw REPL without running main.py."""
        if not self._raw:
            self.enter_raw(timeout)
        self.write(_CTRL_D)
        self.expect(rb"soft reboot\r?\n", timeout)
        self.expect_text(_RAW_BANNER, timeout)

    def begin(self, code, timeout=10, paste=True):
        """Send code and return once the guest has all of it and runs it; end() fetches what came of it."""
        code = code.encode() if isinstance(code, str) else bytes(code)
        if not self._raw:
            self.enter_raw(timeout)
        if paste:
            self._send_paste(code, timeout)
        else:
            self.write(code + _CTRL_D)
            answer = self.read(2, timeout)
            if answer != b"OK":
                raise AssertionError(f"raw REPL answered {answer!r}")

    def _send_paste(self, code, timeout):
        self.write(_CTRL_E + b"A" + _CTRL_A)
        answer = self.read(2, timeout)
        if answer != b"R\x01":
            raise AssertionError(f"raw-paste refused: {answer!r}")
        window = int.from_bytes(self.read(2, timeout), "little")
        credit = window
        sent = 0
        while sent < len(code):
            # The guest grants one more window with each 0x01 and stops the transfer with 0x04.
            while credit == 0 or self.unread():
                grant = self.read(1, timeout)
                if grant == _CTRL_A:
                    credit += window
                elif grant == _CTRL_D:
                    self.write(_CTRL_D)
                    return
                else:
                    raise AssertionError(f"raw-paste: {grant!r} instead of flow control")
            piece = code[sent : sent + credit]
            self.write(piece)
            sent += len(piece)
            credit -= len(piece)
        self.write(_CTRL_D)
        while (answer := self.read(1, timeout)) == _CTRL_A:
            pass
        if answer != _CTRL_D:
            raise AssertionError(f"raw-paste ended with {answer!r}")

    def end(self, timeout=10):
        """What the code sent by begin() printed, and its traceback ('' if none)."""
        stdout = self.expect_text(_CTRL_D, timeout).decode(errors="replace").replace("\r\n", "\n")
        stderr = self.expect_text(_CTRL_D + b">", timeout).decode(errors="replace").replace("\r\n", "\n")
        return stdout, stderr

    def exec(self, code, timeout=10, paste=True):
        """Run code in the guest and return what it printed. RemoteError: it raised."""
        self.begin(code, timeout, paste)
        stdout, stderr = self.end(timeout)
        if stderr:
            raise RemoteError(stderr, stdout)
        return stdout

    def eval(self, expression, timeout=10):
        """The value of an expression, for types that repr() writes as Python reads them."""
        return ast.literal_eval(self.exec(f"print(repr({expression}))", timeout).strip())
