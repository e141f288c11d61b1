"""A QEMU without a guest: its registers through -qtest, its RAM through a shared file.

The stand-ins of tests/host/shim are switched to it, so machine.mem32, viper's pointers and riscv.addr()
mean its bus and its memory, and drivers run here, in CPython, on QEMU's own devices.
"""

import mmap
import socket
import struct
import subprocess
import sys
import tempfile

import fdt
import irq
import riscv
from qemu import QEMU
from shim.memory import PAGE, memory

RAM = 0x8000_0000
_FREE = RAM + (2 << 20)  # what lies below is QEMU's: the device tree and such
_SECONDS = 20
_BOUNCES = 256


class Bus:
    """Everything that is not RAM: one line to QEMU, one line back. Keeps a log of accesses."""

    def __init__(self, connection):
        self._connection = connection
        self._lines = connection.makefile("rw", newline="\n")
        self.log = []  # ("r" or "w", address, width, value)

    def _ask(self, text):
        self._lines.write(text + "\n")
        self._lines.flush()
        while True:
            line = self._lines.readline().split()
            if not line:
                raise ConnectionError("QEMU is gone")
            if line[0] == "OK":
                return line[1:]
            if line[0] != "IRQ":
                raise ValueError("%s: %s" % (text, " ".join(line)))

    def read(self, addr, width):
        value = int(self._ask("read%s %#x" % (" bw l   q"[width], addr))[0], 16)
        self.log.append(("r", addr, width, value))
        return value

    def write(self, addr, width, value):
        self.log.append(("w", addr, width, value))
        self._ask("write%s %#x %#x" % (" bw l   q"[width], addr, value))


class Machine:
    """QEMU's virt with some devices. alloc() gives memory that both sides see."""

    def __init__(self, folder, *args, legacy=False, mem=32 << 20):
        self.size = mem
        self.errors = folder / "qemu.log"
        file, idle, tree = folder / "ram", folder / "idle.bin", folder / "virt.dtb"
        idle.write_bytes(struct.pack("<II", 0x1050_0073, 0xFFDF_F06F))  # wfi; j -4: all that the hart does
        board = "virt,memory-backend=ram"
        words = [QEMU, "-display", "none", "-nodefaults", "-bios", str(idle), "-m", str(mem >> 20)]
        words += ["-object", "memory-backend-file,id=ram,size=%d,mem-path=%s,share=on" % (mem, file)]
        dump = [*words, "-M", "%s,dumpdtb=%s" % (board, tree)]
        subprocess.run(dump, check=True, capture_output=True, timeout=_SECONDS)
        words += ["-M", board, "-d", "guest_errors,unimp", "-D", str(self.errors)]
        words += ["-global", "virtio-mmio.force-legacy=%s" % ("true" if legacy else "false")]
        self._start([*words, *args])
        with open(file, "r+b") as handle:
            self._map = mmap.mmap(handle.fileno(), mem)
        self.ram = memoryview(self._map)
        self._real = _address(self.ram)
        self._next = _FREE
        self._bounces = []  # [buffer, memoryview over RAM, what both held last]
        self._messages = self.alloc(4 * 256)
        riscv.blob = tree.read_bytes()
        self._install()

    def _start(self, words):
        with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
            path = short + "/qtest"
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(_SECONDS)
            words += ["-qtest", "unix:" + path, "-qtest-log", "/dev/null"]
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
            try:
                self._connection, _ = listener.accept()
            except BaseException:
                self._process.kill()
                raise
        self._connection.settimeout(_SECONDS)
        self.bus = Bus(self._connection)

    # -- memory ------------------------------------------------------------------------

    def _install(self):
        memory.reset()
        riscv.reset()
        riscv.on_fence.append(self.sync)
        irq._lines.clear()
        segment = (RAM, RAM + self.size, self.ram)
        for page in range(RAM >> PAGE, RAM + self.size >> PAGE):
            memory.pages[page] = segment
        memory.map(0, RAM, _Window(self.bus, 0))
        memory.map(RAM + self.size, 1 << 48, _Window(self.bus, RAM + self.size))
        memory.addr = self.addr
        self._old_address = riscv.message_address[0]
        riscv.message_address[0] = lambda number: self.addr(self._messages) + 4 * number
        fdt._system = None
        _forget_devices()
        import virtio.dma

        virtio.dma.bytearray = self.alloc

    def alloc(self, n):
        """n zeroed bytes that lie in the machine's RAM; a memoryview."""
        addr = self._next
        self._next += (n + 31) & ~15
        if self._next > RAM + self.size:
            raise MemoryError("the machine's RAM is used up")
        view = self.ram[addr - RAM : addr - RAM + n]
        view[:] = bytes(n)
        return view

    def addr(self, buf):
        """Physical address; a buffer of CPython's own is copied back and forth at every fence."""
        view = memoryview(buf)
        if view.nbytes == 0:
            return _FREE
        real = _address(view)
        if self._real <= real and real + view.nbytes <= self._real + self.size:
            return RAM + real - self._real
        whole = memoryview(view.obj).cast("B") if view.obj is not None else view.cast("B")
        off = real - _address(whole)
        for known, copy, _ in self._bounces:
            if known.obj is whole.obj:
                self.sync()
                return RAM + _address(copy) - self._real + off
        copy = self.alloc(whole.nbytes)
        copy[:] = whole
        self._bounces = self._bounces[-_BOUNCES:] + [[whole, copy, bytes(whole)]]
        return RAM + _address(copy) - self._real + off

    def sync(self):
        """Copy what the device wrote to our buffers, and what we wrote to the machine's RAM."""
        for bounce in self._bounces:
            own, copy, last = bounce
            now = bytes(copy)
            if now != last:
                own[:] = now
                bounce[2] = now
            elif own != last:
                copy[:] = own
                bounce[2] = bytes(own)

    def peek(self, addr, n):
        """n bytes of a device, read behind the drivers' backs: not in the log."""
        kept = list(self.bus.log)
        data = bytes(self.bus.read(addr + i, 1) for i in range(n))
        self.bus.log[:] = kept
        return data

    def messages(self):
        """Let the callbacks run of the messages (MSI) that have come; their numbers."""
        came = [n for n in riscv.messages if any(self._messages[4 * n : 4 * n + 4])]
        for number in came:
            self._messages[4 * number : 4 * number + 4] = bytes(4)
            riscv.interrupt(number)
        return came

    def stop(self):
        """End QEMU; AssertionError when it has complained about what the drivers did."""
        memory.__dict__.pop("addr", None)
        riscv.message_address[0] = self._old_address
        memory.reset()
        riscv.reset()
        import virtio.dma

        virtio.dma.__dict__.pop("bytearray", None)
        _forget_devices()
        if "virtio.device" in sys.modules:  # a word for the REPL has taken its name in the package
            virtio.device = sys.modules["virtio.device"]
        if self._process.returncode is not None:
            return
        self._connection.close()
        self._process.terminate()
        self._process.wait(_SECONDS)
        complaints = self.errors.read_text() if self.errors.exists() else ""
        assert not complaints, complaints


def _forget_devices():
    for name in ("virtio.discover", "pci"):
        module = sys.modules.get(name)
        if module is not None:
            module._slots = module._hosts = None


class _Window:
    """A handler for shim.memory: offsets to addresses."""

    def __init__(self, bus, start):
        self._bus = bus
        self._start = start

    def read(self, off, width):
        return self._bus.read(self._start + off, width)

    def write(self, off, width, value):
        self._bus.write(self._start + off, width, value)


def _address(view):
    return memory._real_address(view)
