"""What the guest did to the registers of real devices, by QEMU's own trace: no rule is broken in any of it."""

import disk
import pytest
import regtrace
from session import Session, build_folder

MIB = 1024 * 1024
DEMO = build_folder() / "disk" / "demo.img"
BOOT_S = 90
# What OpenSBI does itself with the devicetree of QEMU 7.2.
BOOT_ALLOW = (r"^sifive_plic_(read|write): Invalid (register|enable) (read|write) 0x2.[08]c$", "^CSR_STVEC: reserved")
NAMES = {"blk": 2, "net": 1, "rng": 4, "console": 3}
MODERN = {"input": 18, "gpu": 16}
# What follows the name of a device; pci-msix is a machine with an IMSIC.
TRANSPORTS = {
    "mmio": "device",
    "mmio-legacy": "device",
    "pci": "pci,disable-legacy=on,packed=on",
    "pci-legacy": "pci,disable-modern=on",
    "pci-msix": "pci",
}


def machine(transport, image):
    """Session keyword arguments of a machine with one device of each kind."""
    suffix = TRANSPORTS[transport]
    net = "-netdev user,id=user -device virtio-net-%s,netdev=user" % suffix
    words = (net + (",romfile=" if "pci" in suffix else "")).split()
    words += ["-device", f"virtio-rng-{suffix}", "-device", f"virtio-serial-{suffix}"]
    words += ["-chardev", "null,id=line", "-device", "virtconsole,chardev=line"]
    if "legacy" not in transport:
        words += [
            "-device",
            f"virtio-keyboard-{suffix}",
            "-device",
            f"virtio-gpu-{suffix},ioeventfd=off" if "pci" in suffix else "virtio-gpu-device",
        ]
    if transport == "pci-msix":
        words += ["-M", "virt,aia=aplic-imsic"]
    name, _, properties = suffix.partition(",")
    drive = {"file": image, "device": f"virtio-blk-{name}", "properties": properties}
    extra = [*words, *regtrace.OPTIONS]
    return dict(disks=[drive], legacy=transport == "mmio-legacy", allow=regtrace.ALLOW, extra=extra)


# A day in the life of each driver. Interrupts are on wherever the driver can take them.
WORK = """
import time, virtio

def soon(done):
    end = time.ticks_add(time.ticks_ms(), 5000)
    while not done():
        if time.ticks_diff(end, time.ticks_ms()) < 0:
            raise OSError('nothing happened')

d = virtio.open('blk0')
buf = bytearray(4096)
d.write(8, buf)
d.read(8, buf)
d.flush()
d.read_many([(i, bytearray(512)) for i in range(40)])
d.interrupts(True)
q = [d.submit('r', i, bytearray(512)) for i in range(20)]
soon(lambda: all(r.done for r in q))
d.interrupts(False)
print(d.topology(), d.writeback)

r = virtio.open('rng0')
r.read(10000)
r.close()
r.open()
r.read(1)

n = virtio.open('net0')
arp = bytes.fromhex('08060001080006040001') + n.mac + bytes.fromhex('0a00020f0000000000000a000202')
for i in range(20):
    n.send(b'\\xff' * 6 + n.mac + arp + bytes(18))
    n.recv(10)
print(n.isconnected())

c = virtio.open('console0')
for i in range(10):
    c.write(b'x' * 1000)
c.port.flush()
"""
WORK_MODERN = """
k = virtio.open('input0')
print(k.label, k.can())
k.leds(capsl=True)
g = virtio.open('gpu0')
f = g.frame()
f.fb.fill(0x1234)
f.show()
"""


@pytest.fixture(scope="module", params=TRANSPORTS)
def traced(request, tmp_path_factory):
    """(transport, Trace of a guest that did all of it and was then reset, how many devices were open at the reset)."""
    transport = request.param
    image = disk.empty(tmp_path_factory.mktemp("regtrace") / "disk.img", 4 * MIB)
    with Session(name=f"regtrace.{transport}", **machine(transport, image)) as guest:
        guest.wait_prompt()
        guest.exec(WORK if "legacy" in transport else WORK + WORK_MODERN, timeout=60)
        guest.qmp("block_resize", device="disk0", size=8 * MIB)
        guest.exec("soon(lambda: d.poll_config() or d.capacity_sectors == 16384)")
        live = guest.eval("[x.is_open for x in virtio.devices()].count(True)")
        guest.soft_reset()
        guest.exec("import virtio\nvirtio.devices()")
    return transport, regtrace.check(guest.folder / "qemu.log", quiet=True), live


def driven(trace):
    """The devices that a driver took, by their type."""
    return {device.device_id: device for device in trace.devices.values() if device.counts["inits"]}


@pytest.mark.clauses(
    "GEN-STATUS-01",
    "GEN-STATUS-02",
    "GEN-FEAT-01",
    "GEN-RESET-01",
    "GEN-CFG-02",
    "GEN-INIT-01",
    "GEN-INIT-02",
    "GEN-INIT-03",
    "GEN-INIT-04",
    "GEN-INIT-05",
    "GEN-INIT-06",
    "GEN-INIT-07",
    "GEN-INIT-08",
    "GEN-INIT-09",
    "GEN-INIT-12",
    "GEN-INIT-15",
    "GEN-LEGINIT-01",
    "GEN-RSVD-01",
    "GEN-LEGRSVD-01",
    "SPLIT-LAYOUT-02",
    "MMIO-04",
    "MMIO-05",
    "MMIO-06",
    "MMIO-07",
    "MMIO-08",
    "MMIO-15",
    "MMIO-16",
    "MMIO-17",
    "MMIO-18",
    "MMIO-22",
    "MMIO-23",
    "MMIO-27",
    "MMIO-28",
    "MMIO-30",
    "MMIO-33",
    "PCI-06",
    "PCI-07",
    "PCI-08",
    "PCI-18",
    "PCI-21",
    "PCI-24",
    "PCI-25",
    "PCI-26",
    "PCI-32",
    "PCI-34",
    "PCI-45",
    "PCI-46",
    "PCI-49",
    "PCI-51",
    "PCI-LEG-01",
    "PCI-LEG-03",
    "SPLIT-LEGLAYOUT-01",
)
def test_no_rule_is_broken(traced):
    _, trace, _ = traced
    assert trace.broken == []


def test_all_of_it_was_seen(traced):
    """Otherwise the test above says nothing."""
    transport, trace, live = traced
    found = driven(trace)
    wanted = NAMES if "legacy" in transport else NAMES | MODERN
    assert set(found) == set(wanted.values()) and live == len(wanted)
    assert found[4].counts["inits"] == 2
    for device in found.values():
        assert device.counts["notifications"] > 0, device.name
        assert device.counts["resets"] > device.counts["inits"], device.name
    seen = found[2].counts["interrupts"]
    assert seen == 0 if transport == "pci-msix" else seen > 0
    if "pci" not in transport:
        assert 0 < found[2].counts["acks"] <= seen


@pytest.mark.clauses("GEN-CLEANUP-02")
def test_soft_reset_leaves_every_device_reset(traced):
    _, trace, _ = traced
    for device in driven(trace).values():
        assert (device.status, device.awaiting) == (0, None), device.name


@pytest.mark.clauses("GEN-CLEANUP-02")
@pytest.mark.parametrize("legacy", [False, True], ids=["mmio", "mmio-legacy"])
def test_linux_finds_every_device_reset(new_guest, legacy):
    """From power-on to the kernel's first words, the disk and the source of random bytes were used."""
    extra = ["-device", "virtio-rng-device", *regtrace.OPTIONS]
    allow = (*BOOT_ALLOW, *regtrace.ALLOW)
    guest = new_guest(autoboot=True, allow=allow, disks=[DEMO], legacy=legacy, extra=extra)
    guest.expect("Linux version", BOOT_S)
    guest.stop()
    trace = regtrace.check(guest.folder / "qemu.log", until="Linux version", quiet=True)
    assert trace.broken == []
    assert set(driven(trace)) == {NAMES["blk"], NAMES["rng"]}
