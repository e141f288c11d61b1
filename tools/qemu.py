#!/usr/bin/env python3
"""QEMU's command line for the firmware: one builder for `make run`, the tests and the bench.

qemu.py --disk build/disk/demo.img            run with the console on this terminal
qemu.py --dry-run --smp 4 -- -d guest_errors  print the command line only
"""

import argparse
import os
import selectors
import shlex
import subprocess
import sys
import time
from pathlib import Path

QEMU = os.environ.get("QEMU", "qemu-system-riscv64")
ROOT = Path(__file__).resolve().parent.parent
FIRMWARE = ROOT / "build" / "firmware.elf"
ESCAPE = 0x1D  # Ctrl-]: Ctrl-A, QEMU's own choice, is the raw REPL's


def _text(value):
    """A value inside a comma-separated option."""
    return str(value).replace(",", ",,")


def _disk(index, disk, default):
    """-drive and -device of one disk: a path, or a dict (see command)."""
    disk = {"file": disk} if isinstance(disk, (str, os.PathLike)) else dict(disk)
    identity = disk.pop("id", f"disk{index}")
    device = disk.pop("device", default)
    properties = disk.pop("properties", "")
    drive = {"if": "none", "id": identity, "format": "raw", **disk}
    options = ",".join(f"{key}={_text(value)}" for key, value in drive.items())
    tail = f",{properties}" if properties else ""
    return ["-drive", options, "-device", f"{device},drive={identity}{tail}"]


def _fw_cfg(name, value):
    """bytes are handed over as they are, anything else names a file."""
    if isinstance(value, bytes):
        return ["-fw_cfg", f"name={_text(name)},string={_text(value.decode())}"]
    return ["-fw_cfg", f"name={_text(name)},file={_text(value)}"]


def command(
    firmware=None,
    smp=2,
    mem="256M",
    disks=(),
    legacy=False,
    pci=False,
    ports=(),
    append=None,
    kernel=None,
    initrd=None,
    fw_cfg=None,
    serial="stdio",
    qmp=None,
    extra=(),
):
    """Return QEMU's argument list for a machine that starts the firmware.

    disks: paths of raw images, or dicts of -drive options with "file" (so "readonly": "on", or a
    file of "blkdebug:..."); their keys "id", "device" and "properties" name the drive, its -device
    and what follows there.  The first disk is device 0.  legacy: version 1 register layout of
    virtio-mmio, QEMU's default.  pci: disks that name no device are on PCI.  ports: ids of PCIe root
    ports for "bus=", or other -device texts that must come before the disks.  fw_cfg: name -> file,
    or bytes.  serial, qmp: QEMU's character device options; "mon:stdio" adds the monitor behind
    Ctrl-].  extra: arguments added at the end.
    """
    words = [QEMU, "-M", "virt", "-bios", str(firmware or FIRMWARE), "-smp", str(smp), "-m", str(mem)]
    words += ["-display", "none", "-monitor", "none", "-serial", serial, "-echr", str(ESCAPE)]
    words += ["-global", f"virtio-mmio.force-legacy={'true' if legacy else 'false'}"]
    if qmp:
        words += ["-qmp", qmp]
    for option, value in (("-kernel", kernel), ("-initrd", initrd), ("-append", append)):
        if value is not None:
            words += [option, str(value)]
    for index, port in enumerate(ports):
        text = port if "," in port else f"pcie-root-port,id={port},chassis={index + 1}"
        words += ["-device", text]
    for index, disk in enumerate(disks):
        words += _disk(index, disk, "virtio-blk-pci" if pci else "virtio-blk-device")
    for name, value in (fw_cfg or {}).items():
        words += _fw_cfg(name, value)
    return words + [str(word) for word in extra]


def watch(words, expect, limit_s):
    """Run QEMU, copying its console here.  Return 0 if it ended by itself, well, and said `expect`."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    deadline = time.monotonic() + limit_s
    seen = b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if not selector.select(timeout=1):
                    continue
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
                seen += chunk
        code = process.wait(timeout=max(1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        print(f"\nqemu: stopped after {limit_s} s", file=sys.stderr)
        return 1
    finally:
        process.kill()
        process.wait()
    if code:
        print(f"\nqemu: exit code {code}", file=sys.stderr)
    elif expect.encode() not in seen:
        print(f"\nqemu: the guest never printed {expect!r}", file=sys.stderr)
        return 1
    return code


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--firmware", default=FIRMWARE)
    parser.add_argument("--smp", default=2)
    parser.add_argument("--mem", default="256M")
    parser.add_argument("--disk", action="append", default=[], help="raw image; may be given again")
    parser.add_argument("--legacy", action="store_true", help="virtio-mmio version 1, QEMU's default")
    parser.add_argument("--pci", action="store_true", help="disks on PCI instead of virtio-mmio")
    parser.add_argument("--kernel")
    parser.add_argument("--initrd")
    parser.add_argument("--append")
    parser.add_argument("--fw-cfg", action="append", default=[], metavar="NAME=TEXT or NAME=@FILE")
    parser.add_argument("--interactive", action="store_true", help="monitor behind Ctrl-], Ctrl-] x leaves")
    parser.add_argument("--dry-run", action="store_true", help="print the command line only")
    parser.add_argument("--expect", metavar="TEXT", help="fail unless the guest prints this and powers off")
    parser.add_argument("--time-limit", type=float, default=120, metavar="SECONDS", help="with --expect")
    parser.add_argument("extra", nargs="*", help="after --: arguments for QEMU")
    args = parser.parse_args()
    items = (item.partition("=") for item in args.fw_cfg)
    words = command(
        firmware=args.firmware,
        smp=args.smp,
        mem=args.mem,
        disks=args.disk,
        legacy=args.legacy,
        pci=args.pci,
        append=args.append,
        kernel=args.kernel,
        initrd=args.initrd,
        fw_cfg={name: value[1:] if value.startswith("@") else value.encode() for name, _, value in items},
        serial="mon:stdio" if args.interactive else "stdio",
        extra=args.extra,
    )
    print(shlex.join(words), flush=True)
    if args.dry_run:
        return 0
    if args.expect:
        return watch(words, args.expect, args.time_limit)
    os.execvp(words[0], words)


if __name__ == "__main__":
    sys.exit(main())
