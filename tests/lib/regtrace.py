"""Check what a guest did to its virtio devices by QEMU's own trace of register accesses.

    guest = new_guest(extra=regtrace.OPTIONS, allow=regtrace.ALLOW)
    ...
    trace = regtrace.check(guest.folder / "qemu.log")
    assert not trace.broken
    assert trace.devices["mmio@10008000"].counts["notifications"] > 0

A broken rule is a line "CLAUSE-ID line 123: mmio@10008000: what was wrong". What an access means is in regmmio.py
and regpci.py, the order that they have to come in, in regrules.py.
"""

import re
from dataclasses import dataclass

from regmmio import MMIO
from regpci import PCI, Function, PCILegacy

# QEMU writes the trace into the log of -D. Notifications over PCI are only seen when no eventfd takes them.
_WITH_EVENTFD = ("9p", "blk", "crypto", "net", "rng", "scsi", "serial")
OPTIONS = ("-trace", "memory_region_ops_read", "-trace", "memory_region_ops_write")
OPTIONS += tuple(word for name in _WITH_EVENTFD for word in ("-global", f"virtio-{name}-pci.ioeventfd=off"))
ALLOW = ("^memory_region_ops_(read|write) ", r"warning: global virtio-\w+-pci\.ioeventfd=off not used")

_LINE = re.compile(
    r"memory_region_ops_(read|write) cpu \d+ mr (\S+) addr (0x[0-9a-f]+) value (0x[0-9a-f]+) size (\d+) name '(.*)'"
)
_PIO = 0x300_0000  # where QEMU's virt machine shows the I/O ports of PCI
_STRUCTURES = {"common": 1, "notify": 2, "isr": 3, "device": 4}
_TRANSITIONAL = {0x1000: 1, 0x1001: 2, 0x1002: 5, 0x1003: 3, 0x1004: 8, 0x1005: 4, 0x1009: 9}
_PCI_NAME = re.compile(r"virtio-pci-(common|notify|isr|device)\b.*")


@dataclass
class Access:
    """One line of the trace."""

    line: int
    write: bool
    addr: int
    value: int
    size: int
    name: str


def parse(lines):
    """The register accesses of a log, in order. QEMU does not cut what it read to the width of the access."""
    for number, line in enumerate(lines, 1):
        match = _LINE.match(line)
        if match:
            kind, _, addr, value, size, name = match.groups()
            size = int(size)
            value = int(value, 16) & (1 << 8 * size) - 1
            yield Access(number, kind == "write", int(addr, 16), value, size, name)


class Trace:
    """Feeds accesses to the devices that they belong to; `broken` collects what was wrong."""

    def __init__(self):
        self.broken = []
        self.devices = {}  # name -> Rules
        self.functions = {}  # number of the function -> Function
        self.console = ""  # what the UART was told
        self.line = 0

    def say(self, clause, text):
        self.broken.append(f"{clause} line {self.line}: {text}")

    def feed(self, access):
        self.line = access.line
        if access.name == "virtio-mmio":
            self._mmio(access)
        elif access.name == "pcie-mmcfg-mmio":
            self._configuration(access)
        elif match := _PCI_NAME.match(access.name):
            self._pci(access, _STRUCTURES[match[1]])
        elif access.name == "virtio-pci":
            self._ports(access)
        elif access.name == "serial" and access.write and access.addr & 7 == 0:
            self.console += chr(access.value)

    def _mmio(self, access):
        base = access.addr & ~0xFFF
        device = self.devices.get(f"mmio@{base:x}")
        if device is None:
            device = MMIO(base, self.say)
            self.devices[device.name] = device
        call = device.write if access.write else device.read
        call(access.addr - base, access.size, access.value)

    def _configuration(self, access):
        number = access.addr >> 12
        function = self.functions.setdefault(number, Function(number, self.say))
        call = function.write if access.write else function.read
        call(access.addr & 0xFFF, access.size, access.value)

    def _pci(self, access, kind):
        """Find the function whose capability of that kind covers the address."""
        addr = _port(access) if "-pio-" in access.name else access.addr
        for function in self.functions.values():
            if not function.virtio:
                continue
            where = function.structures().get(kind)
            if where and where[0] <= addr < where[0] + where[1]:
                break
        else:
            return self.say("PCI-40", f"{access.name} at {access.addr:#x}: no capability was read that leads there")
        device = self.devices.get(function.name)
        if type(device) is not PCI:  # not seen before, or by its other interface
            device = self.devices[function.name] = PCI(function, _type_of(function), self.say)
        call = device.write if access.write else device.read
        return call(kind, addr - where[0], access.size, access.value)

    def _ports(self, access):
        """Find the function whose BAR0 has that I/O port."""
        port = _port(access)
        for function in self.functions.values():
            where = function.ports()
            if where and where[0] <= port < where[1]:
                break
        else:
            return self.say("PCI-LEG-01", f"port {port:#x}: no BAR0 was put there")
        device = self.devices.get(function.name)
        if type(device) is not PCILegacy:
            device = self.devices[function.name] = PCILegacy(function, _type_of(function), self.say)
        call = device.write if access.write else device.read
        return call(port - where[0], access.size, access.value)

    def finish(self, quiet=False):
        """End of the trace. quiet: every device has to have been reset, and the reset seen (a hand-over)."""
        for device in self.devices.values():
            if quiet and device.device_id and device.was_reset:
                done = device.status == 0 and device.awaiting is None
                device.want(done, "GEN-CLEANUP-02", f"left with status {device.status:#x}")
        return self


def _port(access):
    """The I/O port; accesses by way of PCI_CFG are traced with it, those of the CPU with an address."""
    return access.addr - _PIO if access.addr >= _PIO else access.addr


def _type_of(function):
    """The virtio device id."""
    return _TRANSITIONAL.get(function.device, function.device - 0x1040)


def check(path, until=None, quiet=False):
    """A Trace of a log. until: stop when the console has printed this text."""
    trace = Trace()
    with open(path, encoding="utf-8", errors="replace") as lines:
        for access in parse(lines):
            trace.feed(access)
            if until is not None and trace.console.endswith(until):
                break
        else:
            if until is not None:
                raise AssertionError(f"the guest never printed {until!r}; it printed {trace.console[-200:]!r}")
    return trace.finish(quiet)
