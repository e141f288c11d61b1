"""How each contender is started and what is read off its console: bare program, QEMU's -kernel, U-Boot, firmware."""

import qemu
from guest import Guest
from inputs import APPEND, PIECES

MEM_MIB = 512
UBOOT_ADDR = "84000000"
REPEATS = 3
# The firmware's own measurements, in the words of bare.c: read NAME BYTES REQUESTS TICKS INSTRUCTIONS
OURS = """
import fs, gc, riscv, virtio
def measure(name, total, piece, function, repeats=%d):
    gc.collect()
    for _ in range(repeats):
        i, t = riscv.csr_read('minstret'), riscv.time()
        function()
        t = riscv.time() - t
        print('read', name, total, total // piece, t, riscv.csr_read('minstret') - i)
def pieces(total, piece):
    return [(at // 512, view[at : at + piece]) for at in range(0, total, piece)]
def one_by_one(work):
    read = disk.read
    for sector, buf in work:
        read(sector, buf)
view = memoryview(bytearray(%d << 20))
disk = virtio.open('blk0')
"""
OURS_READS = """
measure('64M', 64 << 20, 64 << 20, lambda: disk.read(0, view))
for name, piece, total in ('1M', 1 << 20, 64 << 20), ('64K', 1 << 16, 64 << 20), ('4K', 4096, 8 << 20):
    work = pieces(total, piece)
    measure(name, total, piece, lambda: one_by_one(work))
for name, piece in ('64K-many', 1 << 16), ('4K-many', 4096):
    work = pieces(64 << 20, piece)
    measure(name, 64 << 20, piece, lambda: disk.read_many(work, depth=128))
for number, name in (1, 'ext4'), (2, 'fat'):
    d = virtio.open('blk%d' % number)
    measure(name, 64 << 20, 64 << 20, lambda: fs.volume(fs.find(d, number=1)).read_into('/file', view))
"""
OURS_COUNTS = """
for name, count in ('4K', 1024), ('4K-half', 512):
    work = pieces(count * 4096, 4096)
    measure(name, count * 4096, 4096, lambda: one_by_one(work))
    measure(name.replace('4K', '4K-32'), count * 4096, 4096, lambda: disk.read_many(work, depth=32))
"""


class Bench:
    """One command line builder for all contenders, so that they run on the same machine."""

    def __init__(self, inputs, smp):
        self.inputs = inputs
        self.smp = smp

    def command(self, firmware, disks=(), preallocate=False, smp=None, extra=(), **options):
        extra = list(extra)
        if preallocate:
            memory = f"memory-backend-ram,id=ram,size={MEM_MIB}M,prealloc=on"
            extra += ["-object", memory, "-machine", "memory-backend=ram"]
        return qemu.command(
            firmware,
            smp=smp or self.smp,
            mem=f"{MEM_MIB}M",
            disks=[str(disk) for disk in disks],
            extra=extra,
            **options,
        )

    # Each method measures one run and returns {row: seconds}.

    def start_bare(self):
        with Guest(self.command(self.inputs.bare)) as guest:
            return {"first byte": guest.first_byte()}

    def start_direct(self, kernel, marker, row):
        with Guest(self.command("default", kernel=kernel, append=APPEND)) as guest:
            return {row: guest.at(marker)}

    def start_uboot(self, disk, marker, row):
        with Guest(self.command("default", [disk], kernel=self.inputs.uboot)) as guest:
            first = guest.first_byte()
            guest.at(b"autoboot:")
            guest.type(b" ")
            prompt = guest.at(b"\n=> ")
            guest.type(b"boot\n")
            return {"first byte": first, "prompt": prompt, row: guest.at(marker)}

    def start_ours_to_prompt(self):
        disks = [self.inputs.entry_disk]
        with Guest(self.command(self.inputs.firmware, disks, extra=["-boot", "menu=on"])) as guest:
            return {"first byte": guest.first_byte(), "prompt": guest.at(b">>> ")}

    def start_ours(self, disk, marker, row):
        with Guest(self.command(self.inputs.firmware, [disk])) as guest:
            return {row: guest.at(marker)}

    # Reading. The disks are the same for all: raw, ext4, FAT, scattered.

    def _disks(self):
        i = self.inputs
        return [i.raw, i.ext4, i.fat, i.scattered]

    def read_bare(self):
        with Guest(self.command(self.inputs.bare, self._disks(), preallocate=True, smp=1)) as guest:
            return reads(guest.text_until(b"done\n"))

    def read_ours(self):
        command = self.command(self.inputs.firmware, self._disks(), preallocate=True, smp=1, extra=["-boot", "menu=on"])
        with Guest(command) as guest:
            return reads(guest.python(OURS % (REPEATS, 64) + OURS_READS))

    def read_uboot(self):
        todo = [("64M", f"virtio read {UBOOT_ADDR} 0 20000", 1, "131072 blocks read: OK")]
        todo += [
            (name, f"load virtio {n}:1 {UBOOT_ADDR} /file", 1, "67108864 bytes")
            for n, name in ((1, "ext4"), (2, "fat"))
        ]
        return self._uboot_reads([*todo, *self._scattered()])

    def read_uboot_scattered(self):
        return self._uboot_reads(self._scattered())

    @staticmethod
    def _scattered():
        for name, (size, run) in PIECES.items():
            yield name.upper(), f"fatload virtio 3 {UBOOT_ADDR} {name}", size // 4096 // run, f"{size} bytes read"

    def _uboot_reads(self, todo):
        """todo: (row, line to type, requests, what has to be printed)."""
        found = {}
        command = self.command("default", self._disks(), preallocate=True, smp=1, kernel=self.inputs.uboot)
        with Guest(command) as guest:
            guest.at(b"autoboot:")
            guest.type(b" ")
            guest.at(b"=> ")
            for line in ("virtio scan", "blkcache configure 0 0"):
                guest.line(line, b"=> ")
            for row, line, requests, expected in todo:
                for _ in range(REPEATS):
                    seconds, printed = guest.line(line, b"=> ")
                    if expected not in printed:
                        raise RuntimeError(f"U-Boot: {line}: {printed}")
                    found.setdefault(row, []).append(seconds / requests)
        return found

    # Counting instructions: two lengths, whose difference leaves out what comes before and after.

    def count_start(self, contender):
        """Instructions until the kernel is entered, in the time that -icount makes of them: 1 ns for each."""
        i, extra = self.inputs, ["-icount", "shift=0"]
        command = {
            "direct": lambda: self.command("default", kernel=i.entry, append=APPEND, smp=1, extra=extra),
            "u-boot": lambda: self.command("default", [i.entry_disk], kernel=i.uboot, smp=1, extra=extra),
            "ours": lambda: self.command(i.firmware, [i.entry_disk], smp=1, extra=extra),
        }[contender]()
        with Guest(command) as guest:
            if contender == "u-boot":
                guest.at(b"autoboot:")
                guest.type(b" ")
                guest.at(b"\n=> ")
                guest.type(b"boot\n")
            text = guest.text_until(b" ticks: kernel entered")
            return {"instructions to kernel entry": int(text[-16:], 16) * 100}

    def count_bare(self):
        with Guest(self.command(self.inputs.bare, [self.inputs.raw], smp=1, extra=["-icount", "shift=0"])) as guest:
            return counts(guest.text_until(b"done\n"))

    def count_ours(self):
        extra = ["-boot", "menu=on", "-icount", "shift=0"]
        with Guest(self.command(self.inputs.firmware, [self.inputs.raw], smp=1, extra=extra)) as guest:
            return counts(guest.python(OURS % (3 * REPEATS, 4) + OURS_COUNTS))


def _lines(text):
    for line in text.splitlines():
        if line.startswith("read "):
            name, *numbers = line.split()[1:]
            yield name, *map(int, numbers)


def reads(text):
    """{row: [seconds for one request, ...]} from the lines of bare.c or OURS; the tick is 100 ns on this machine."""
    found = {}
    for name, _, requests, ticks, _ in _lines(text):
        if name == "failed":
            raise RuntimeError("a read failed: " + text)
        found.setdefault(name, []).append(ticks * 100e-9 / requests)
    return found


def counts(text):
    """{row: instructions for one request}. Of each length the run with the fewest counts: it polled least."""
    least = {}
    for name, _, requests, _, instructions in _lines(text):
        least[name] = min(least.get(name, (instructions, requests)), (instructions, requests))
    found = {}
    for name in ("4K", "4K-32"):
        (many, n), (few, m) = least[name], least[name + "-half"]
        found["instructions " + name] = (many - few) / (n - m)
    return found
