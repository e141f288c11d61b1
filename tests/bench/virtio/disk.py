"""4 KiB blocks at random places of a disk: how many a second, what each costs the guest, how often it notifies."""

import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import qemu
from guest import Guest

from virtio.linux import APPEND

HERE = Path(__file__).resolve().parent
DEPTHS = (1, 8, 32)
BLOCK = 4096
DISK_BLOCKS = (64 << 20) // BLOCK
TIMED, COUNTED, WORKED = 8192, 2048, 32
TICK = 100e-9
# a device that has nothing to wait for
NOTHING = "driver=null-co,size=64M,read-zeroes=on,if=none,id=disk"

# The dice and the lines are reader.c's. What to read is listed before a run. worked() leaves out what a first run
# alone costs, such as memory for tables, and the waiting: it lets the device finish, uncounted, before it looks for
# used buffers.
OURS = """
import gc, micropython, riscv, virtio
@micropython.asm_rv64
def instructions():
    csrrs(a0, zero, 0xb02)
disk = virtio.open('blk0')
view = memoryview(bytearray(32 * %(block)d))
def work(count):
    dice = 1
    for i in range(count):
        dice = (dice * 1664525 + 1013904223) & 0xffffffff
        at = i %% 32 * %(block)d
        yield (dice >> 8) %% %(blocks)d * %(block)d // 512, view[at : at + %(block)d]
def run(todo, depth):
    if depth > 1:
        return disk.read_many(todo, depth=depth)
    read = disk.read
    for sector, buf in todo:
        read(sector, buf)
def measure(depth, count):
    todo = list(work(count))
    gc.collect()
    print('ready')
    input()
    t = riscv.time()
    run(todo, depth)
    t = riscv.time() - t
    print('read', depth, len(todo), t)
    input()
def worked(depth, count):
    todo = list(work(count))
    run(todo, depth)
    reap = disk.engine.reap
    vq = disk.vq
    look = vq._poll
    lost = 0
    def wait_and_reap(st, spins):
        nonlocal lost
        start = instructions()
        while vq.in_flight and not look(st, 10000):
            pass
        for _ in range(20000):  # no sleep: it would be counted in part
            pass
        lost += instructions() - start
        return reap(st, spins)
    disk.engine.reap = wait_and_reap
    gc.collect()
    start = instructions()
    run(todo, depth)
    print('worked', depth, instructions() - start - lost)
    disk.engine.reap = reap
"""


class Machine(NamedTuple):
    """What QEMU offers to both guests."""

    transport: str
    packed: bool
    event_idx: bool

    def __str__(self):
        return f"{self.transport}, {'packed' if self.packed else 'split'}{', event_idx' if self.event_idx else ''}"

    def options(self):
        bits = f"packed={'on' if self.packed else 'off'},event_idx={'on' if self.event_idx else 'off'}"
        if self.transport == "mmio":
            return ["-device", f"virtio-blk-device,drive=disk,{bits}"]
        return ["-device", f"virtio-blk-pci,drive=disk,disable-legacy=on,{bits}"]


MACHINES = [Machine(t, p, e) for t in ("mmio", "pci") for p in (False, True) for e in (False, True)]


class Run(NamedTuple):
    """One run in a guest."""

    depth: int
    requests: int
    seconds: float
    instructions: int
    notifications: int


class Count(NamedTuple):
    """Of one request."""

    instructions: float
    notifications: float


class Counters:
    """Instructions executed and notifications made so far, by a plugin and a trace of QEMU's."""

    def __init__(self, folder):
        library = folder / "counter.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "counter.c"], check=True)
        self._count = folder / "instructions"
        self._log = folder / "notifications"
        self._count.write_bytes(bytes(8))
        self._log.write_bytes(b"")
        plugin = ("-plugin", f"file={library},count={self._count}")
        self.options = (*plugin, "-trace", "virtio_queue_notify", "-D", self._log)

    def read(self):
        return struct.unpack("<Q", self._count.read_bytes())[0], self._log.read_bytes().count(b"\n")


class Disk:
    """The measurements, of the firmware or of Linux."""

    def __init__(self, firmware, linux, folder, raw):
        self._firmware = firmware
        self._linux = linux
        self._folder = folder
        self._raw = raw

    def _guest(self, ours, count, extra, disks=()):
        options = {"smp": 1, "mem": "512M", "disks": disks}
        if ours:
            command = qemu.command(self._firmware, extra=["-boot", "menu=on", *extra], **options)
        else:
            kernel = {"kernel": self._linux.kernel, "initrd": self._linux.initrd(count), "append": APPEND}
            command = qemu.command("default", extra=list(extra), **kernel, **options)
        return Guest(command, limit_s=180)

    @staticmethod
    def _runs(guest, ours, count, read=lambda: (0, 0)):
        """A Run for `count` and one for half of it at each depth."""
        if ours:
            guest.python(OURS % {"block": BLOCK, "blocks": DISK_BLOCKS})
            lines = (f"measure({depth}, {n})\n" for depth in DEPTHS for n in (count, count // 2))
            guest.begin("".join(lines))
        for _ in range(2 * len(DEPTHS)):
            guest.at(b"ready\r\n")
            before = read()
            if ours:
                guest.type(b"\r")
            guest.at(b"read")
            depth, requests, ticks = map(int, guest.text_until(b"\r\n").split())
            instructions, notifications = (after - first for after, first in zip(read(), before, strict=True))
            if ours:
                guest.type(b"\r")
            yield Run(depth, requests, ticks * TICK, instructions, notifications)

    def speed(self, ours):
        """{depth: seconds for one request, the better of two runs}."""
        found = {}
        with self._guest(ours, TIMED, (), [self._raw]) as guest:
            for run in self._runs(guest, ours, TIMED):
                found.setdefault(run.depth, []).append(run.seconds / run.requests)
        return {depth: min(values) for depth, values in found.items()}

    def counts(self, ours, machine):
        """{depth: Count}: the difference of two lengths divided by theirs. The firmware's polling is counted, too."""
        counters = Counters(self._folder)
        found = {}
        with self._guest(ours, COUNTED, (*counters.options, "-drive", NOTHING, *machine.options())) as guest:
            runs = list(self._runs(guest, ours, COUNTED, counters.read))
        for long, short in zip(runs[::2], runs[1::2], strict=True):
            requests = long.requests - short.requests
            instructions = (long.instructions - short.instructions) / requests
            found[long.depth] = Count(instructions, (long.notifications - short.notifications) / requests)
        return found

    def work(self, machine):
        """{depth: instructions of one request in the firmware without those spent waiting}."""
        found = {}
        extra = ("-icount", "shift=0", "-drive", NOTHING, *machine.options())
        with self._guest(True, COUNTED, extra) as guest:
            guest.python(OURS % {"block": BLOCK, "blocks": DISK_BLOCKS})
            for depth in DEPTHS:
                script = "".join(f"worked({depth}, {n * depth})\n" for n in (WORKED, WORKED // 2))
                long, short = (int(line.split()[-1]) for line in guest.again(script).splitlines())
                found[depth] = (long - short) / (WORKED // 2 * depth)
        return found


def measure(disk, say):
    """{"speed": {contender: ..}, "counts": {machine: {contender: ..}}, "work": {machine: ..}}, see Disk."""
    found = {"speed": {}, "counts": {}, "work": {}}
    for name in ("linux", "ours"):
        say(f"virtio: speed, {name}")
        found["speed"][name] = disk.speed(name == "ours")
    for machine in MACHINES:
        say(f"virtio: {machine}")
        found["counts"][machine] = {name: disk.counts(name == "ours", machine) for name in ("linux", "ours")}
        found["work"][machine] = disk.work(machine)
    return found
