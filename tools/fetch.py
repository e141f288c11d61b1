#!/usr/bin/env python3
"""Find the files named in supply.lock: local folders first, then the machine's own apt mirror.

Only packages' files are fetched, with the transport, proxy and mirror that apt is set up with,
and each is checked against its pinned sha256.  `fetch.py PART...` prints where each one lies.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path(__file__).with_name("supply.lock")
APT_HELPER = "/usr/lib/apt/apt-helper"
NEWEST = "newest:"


class FetchError(Exception):
    """A part that could not be had; the text says what the user can do."""


class Pin(NamedTuple):
    part: str
    version: str
    path: str
    size: str
    sha256: str

    @property
    def rolling(self):
        return self.path.startswith(NEWEST)

    @property
    def name(self):
        return self.path.rsplit("/", 1)[-1]


def read_lock(text):
    """Return the pins of a lock file in order."""
    lines = (line.split("#", 1)[0].split() for line in text.splitlines())
    return [Pin(*fields) for fields in lines if fields]


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def say(text):
    print(f"  fetch    {text}", file=sys.stderr, flush=True)


def intact(path, pin):
    return path.is_file() and path.stat().st_size == int(pin.size) and sha256(path) == pin.sha256


def bases_from_uris(text, read=lambda path: Path(path).read_text()):
    """Mirror addresses in the output of `apt-get --print-uris update`, without duplicates."""
    bases = []
    for base in re.findall(r"^'(\S+)/dists/[^']*InRelease'", text, re.M):
        if base.startswith("mirror"):
            # mirror+file:/path names a list of mirrors, one a line
            lines = read(base.split(":", 1)[1]).splitlines() if "file:" in base else []
            found = [line.split()[0].rstrip("/") for line in lines if line.split("#")[0].strip()]
        else:
            found = [base]
        bases += [one for one in found if one not in bases]
    return bases


def apt_bases():
    """Mirrors of this machine's apt, best first; empty where there is no apt."""
    if not os.path.exists(APT_HELPER):
        return []
    run = subprocess.run(["apt-get", "--print-uris", "update"], capture_output=True, text=True)
    return bases_from_uris(run.stdout)


def download(pin, cache):
    """Fetch a pinned file from the first mirror that has it, or return None."""
    for base in apt_bases():
        target = cache / pin.name
        partial = cache / f".{pin.name}.{os.getpid()}"
        say(f"{pin.name} ({int(pin.size) / 1e6:.1f} MB)")
        command = [APT_HELPER, "download-file", f"{base}/{pin.path}", partial, f"SHA256:{pin.sha256}"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if intact(partial, pin):
            partial.rename(target)
            return target
        partial.unlink(missing_ok=True)
    return None


def download_newest(pin, cache):
    """Fetch the newest package of the stable suite, checked by its signed index, or return None."""
    for base in apt_bases():
        with tempfile.TemporaryDirectory() as folder:
            file = newest_package(base, pin.path.removeprefix(NEWEST), Path(folder))
            if file:
                say(f"{file.name}: the pinned versions are gone, using the newest of the stable suite")
                return Path(shutil.copy(file, cache))
    return None


def newest_package(base, pattern, folder):
    """Download the last package whose name matches through an apt that knows only `base`."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "sources.list").write_text(f"deb [signed-by={keys}] {base} stable main\n")
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Architecture": "riscv64",
        "APT::Architectures": "riscv64",
        "APT::Sandbox::User": "root",
    }
    flags = [text for key, value in options.items() for text in ("-o", f"{key}={value}")]

    def apt(tool, *words):
        return subprocess.run([tool, *flags, *words], cwd=folder, capture_output=True, text=True).stdout

    apt("apt-get", "update")
    names = [name for name in apt("apt-cache", "pkgnames").split() if re.fullmatch(pattern, name)]
    if names:
        newest = max(names, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
        apt("apt-get", "download", newest)
    return next(iter(folder.glob("*.deb")), None)


def local(pin, folders):
    """An intact copy in one of the folders, or None."""
    for folder in folders:
        if pin.rolling:
            pattern = re.compile(pin.path.removeprefix(NEWEST) + r"_.*\.deb")
            found = [path for path in folder.glob("*.deb") if pattern.fullmatch(path.name)]
        else:
            found = [path for path in [folder / pin.name] if intact(path, pin)]
        if found:
            return found[0]
    return None


def fetch(part, cache, pins=None):
    """Return (pin, path) of a part, given as NAME or NAME=VERSION.  FetchError if it cannot be had."""
    name, _, version = part.partition("=")
    pins = pins if pins is not None else read_lock(LOCK.read_text())
    pins = [pin for pin in pins if pin.part == name and version in ("", pin.version)]
    if not pins:
        raise FetchError(f"supply.lock names no {part}")
    supply = os.environ.get("SUPPLY_DIR")
    folders = [Path(supply)] if supply else []
    folders += [cache, ROOT / "build" / "supply"]
    for pin in pins:
        if path := local(pin, folders):
            return pin, path
    cache.mkdir(parents=True, exist_ok=True)
    for pin in pins:
        if path := (download_newest if pin.rolling else download)(pin, cache):
            return pin, path
    wanted = "\n".join(f"  {pin.sha256}  {pin.name}" for pin in pins if not pin.rolling)
    raise FetchError(
        f"{part}: no mirror that apt knows has it, and it is not in SUPPLY_DIR ({supply or 'not set'}).\n"
        f"Put one of these files (sha256, name) into a folder and set SUPPLY_DIR to it:\n{wanted}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "supply")
    parser.add_argument("part", nargs="+")
    args = parser.parse_args()
    try:
        for part in args.part:
            print(fetch(part, args.cache)[1])
    except FetchError as error:
        sys.exit(f"fetch: {error}")


if __name__ == "__main__":
    main()
