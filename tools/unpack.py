#!/usr/bin/env python3
"""Unpack the parts of supply.lock into the build folder and patch MicroPython, once for each content.

Files that did not change keep their times, so `make` rebuilds only what a new patch touches.
"""

import argparse
import fcntl
import filecmp
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from fetch import ROOT, FetchError, fetch

FIRMWARE = ROOT / "firmware"
DATE = "1757548800"  # 2025-09-11: the day printed in the banner, the same for every build


def say(text):
    print(f"  unpack   {text}", file=sys.stderr, flush=True)


def sync(new, old):
    """Make folder `old` equal to `new`, leaving files with equal content untouched."""
    wanted = set()
    for folder, names, files in os.walk(new):
        relative = Path(folder).relative_to(new)
        (old / relative).mkdir(parents=True, exist_ok=True)
        wanted.add(relative)
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        for name in files + links:
            source, target = Path(folder) / name, old / relative / name
            wanted.add(relative / name)
            if source.is_symlink():
                target.unlink(missing_ok=True)
                target.symlink_to(os.readlink(source))
            elif target.is_symlink() or not target.is_file() or not filecmp.cmp(source, target, False):
                target.unlink(missing_ok=True)
                shutil.copyfile(source, target)
                shutil.copymode(source, target)
    for folder, _, files in os.walk(old, topdown=False):
        relative = Path(folder).relative_to(old)
        for name in files:
            if relative / name not in wanted:
                (old / relative / name).unlink()
        if relative not in wanted:
            shutil.rmtree(folder)


def once(target, key, make):
    """Fill folder `target` by calling make(folder), unless it was made from the same key before."""
    stamp = target.with_name(f".{target.name}.stamp")
    key = hashlib.sha256(f"{key}\n{Path(__file__).read_text()}".encode()).hexdigest()
    if target.is_dir() and stamp.is_file() and stamp.read_text() == key:
        return
    say(target.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        make(Path(folder))
        sync(Path(folder), target)
    stamp.write_text(key)


def unpack_deb(deb, folder, wanted):
    """Extract regular files of a package; wanted(name) returns the new name, or None to leave it out."""
    run = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    with tarfile.open(fileobj=run.stdout, mode="r|") as archive:
        for member in archive:
            name = wanted(member.name.removeprefix("./")) if member.isfile() else None
            if name:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
                target.chmod(member.mode)
    if run.wait():
        sys.exit(f"unpack: cannot read {deb}")


def unpack_package(build, part):
    pin, deb = fetch(part, build / "supply")
    make = lambda folder: unpack_deb(deb, folder, DEB_PARTS[pin.part])
    once(build / "supply" / pin.part, f"{deb.name} {pin.sha256}", make)


def opensbi_name(name):
    if name == "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin":
        return "fw_dynamic.bin"
    return "copyright" if name == "usr/share/doc/opensbi/copyright" else None


def picolibc_name(name):
    """Headers, and two of a hundred variants: rv64gc with doubles in registers, and that of the RV32 board."""
    base = "usr/lib/picolibc/riscv64-unknown-elf/"
    parts = {"include/": "include/", "lib/release/rv64imafdc/lp64d/": "lib/", "lib/release/rv32imac/ilp32/": "lib32/"}
    for theirs, ours in parts.items():
        if name.startswith(base + theirs):
            return ours + name.removeprefix(base + theirs)
    return "copyright" if re.fullmatch(r"usr/share/doc/picolibc[^/]*/copyright", name) else None


def kernel_name(name):
    found = re.fullmatch(r"usr/lib/debian-installer/images/\d+/riscv64/text/.*/(linux|initrd\.gz)", name)
    return found and found[1]


def busybox_name(name):
    if name in ("bin/busybox", "usr/bin/busybox"):
        return "busybox"
    return "copyright" if name.endswith("/copyright") else None


def linux_name(name):
    """A kernel and those of its modules that a disk needs: what the bench compares with."""
    found = re.fullmatch(r"usr/lib/modules/.*/(virtio_mmio\.ko\.xz|virtio_blk\.ko\.xz)", name)
    if found:
        return found[1]
    if name.endswith("/copyright"):
        return "copyright"
    return "linux" if re.fullmatch(r"boot/vmlinu[xz]-.*", name) else None


DEB_PARTS = {
    "opensbi": opensbi_name,
    "picolibc": picolibc_name,
    "kernel": kernel_name,
    "busybox": busybox_name,
    "linux": linux_name,
}


def series(version, folder=FIRMWARE / "patches"):
    """The patches for a version: of NAME.patch and its variants NAME.from-X.Y.patch the newest not above it."""
    chosen = {}
    for patch in folder.glob("*.patch"):
        found = re.fullmatch(r"(.+?)(?:\.from-(\d+)\.(\d+))?\.patch", patch.name)
        since = (int(found[2] or 0), int(found[3] or 0))
        if since <= version:
            chosen[found[1]] = max(chosen.get(found[1], (since, patch)), (since, patch))
    return [patch for _, (_, patch) in sorted(chosen.items())]


def patch_key():
    patches = sorted((FIRMWARE / "patches").glob("*.patch"))
    emitter = sorted(p.name for p in (FIRMWARE / "emitter").glob("*.[ch]"))
    return "\n".join([p.name + p.read_text() for p in patches] + emitter)


def patch_micropython(tree):
    """Apply firmware/patches and put links to the emitter's sources into py/."""
    version = version_of(tree)
    number = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    for patch in series(number):
        if not re.search("^--- ", patch.read_text(), re.MULTILINE):
            continue  # a variant that says that this version needs nothing
        command = ["patch", "-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch", "-s", "-i", patch]
        run = subprocess.run(command, cwd=tree, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"unpack: {patch.name} does not apply to MicroPython {version}:\n{run.stdout}{run.stderr}")
    for source in sorted((FIRMWARE / "emitter").glob("*.[ch]")):
        link = tree / "py" / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source)


def version_of(tree):
    text = (tree / "py" / "mpconfig.h").read_text()
    value = dict(re.findall(r"#define MICROPY_VERSION_(\w+) (\d+)", text))
    suffix = "-preview" if value.get("PRERELEASE", "0") != "0" else ""
    return f"v{value['MAJOR']}.{value['MINOR']}.{value['MICRO']}{suffix}"


def checkout_key(checkout):
    """Names, sizes and times of a checkout's files: cheap, and changes with every edit."""
    lines = []
    for folder, names, files in os.walk(checkout):
        names[:] = sorted(n for n in names if n != ".git" and not n.startswith("build"))
        for name in sorted(files):
            status = os.lstat(os.path.join(folder, name))
            lines.append(f"{folder}/{name} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(lines)


def unpack_micropython(build, part):
    checkout = os.environ.get("MICROPYTHON_DIR")
    target = build / "micropython"
    if checkout:
        key = checkout_key(checkout)
    else:
        pin, archive = fetch(part, build / "supply")
        key = pin.sha256

    def make(folder):
        if checkout:
            ignored = shutil.ignore_patterns(".git", "build*")
            shutil.copytree(checkout, folder, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        else:
            with tarfile.open(archive) as tar:
                # the argument is new in 3.12 and wanted from 3.14 on
                tar.extractall(folder / ".tar", **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))
            for entry in next((folder / ".tar").iterdir()).iterdir():
                entry.rename(folder / entry.name)
            shutil.rmtree(folder / ".tar")
        patch_micropython(folder)

    once(target, key + patch_key(), make)
    settings = f"export MICROPY_GIT_TAG={version_of(target)} MICROPY_GIT_HASH= SOURCE_DATE_EPOCH={DATE}\n"
    (build / "micropython.env").write_text(settings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("part", nargs="+", help="part of supply.lock, or PART=VERSION")
    args = parser.parse_args()
    args.build.mkdir(parents=True, exist_ok=True)
    build = args.build.resolve()
    try:
        with open(build / ".unpack.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for part in args.part:
                if part.startswith("micropython"):
                    unpack_micropython(build, part)
                else:
                    unpack_package(build, part)
    except FetchError as error:
        sys.exit(f"unpack: {error}")


if __name__ == "__main__":
    main()
