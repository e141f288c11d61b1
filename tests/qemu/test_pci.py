"""PCI in QEMU: functions found, BARs and windows assigned, virtio devices on them at work."""

import struct

import pytest
from session import RemoteError, qemu_version

SECTORS = 512


def numbered(path, sectors=SECTORS):
    """A disk whose 32-bit words all hold the number of their sector."""
    path.write_bytes(b"".join(struct.pack("<I", i) * 128 for i in range(sectors)))
    return path


# Name -> (bus, properties, interface, what explain() says of it).
DISKS = {
    "transitional": ("", "", "modern", "disable-modern=on leaves the legacy one"),
    "modern": ("", "disable-legacy=on", "modern", "disable-legacy=off adds"),
    "legacy": ("", "disable-modern=on,queue-size=64", "legacy", "no virtio capabilities; QEMU: disable-modern=off"),
    "pages": ("", "page-per-vq=on", "modern", "through BAR4"),
    "pio": ("", "modern-pio-notify=on", "modern", "through BAR2 BAR4"),
    "platform": ("", "iommu_platform=on,disable-legacy=on", "modern", "through BAR4"),
    "packed": ("", "packed=on", "modern", "through BAR4"),
    "no-msix": ("", "vectors=0", "modern", "through BAR4"),
    "behind a port": ("p1", "", "modern", "disable-legacy=off adds"),
    "legacy behind a port": ("p2", "disable-modern=on,disable-legacy=off", "legacy", "no virtio capabilities"),
    "behind a bridge": ("b1", "addr=1", "modern", "disable-modern=on leaves"),
}
PORTS = ["p1", "p2", "p3", "pcie-pci-bridge,id=b1,bus=p3"]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A disk on virtio-mmio, one of each kind on PCI, and what does not fit."""
    folder = tmp_path_factory.mktemp("pci")
    disks = [numbered(folder / "mmio.img", 64)]
    for name, (bus, properties, _, _) in DISKS.items():
        words = [f"bus={bus}" if bus else "", properties, f"serial={name[:20]}"]
        text = ",".join(word for word in words if word)
        disks.append({"file": numbered(folder / f"{name}.img"), "device": "virtio-blk-pci", "properties": text})
    return {"disks": disks, "ports": PORTS, "extra": ["-device", "pci-testdev,membar=32G", "-device", "virtio-rng-pci"]}


OPEN = """
import virtio, pci, time
def by_serial(name):
    for d in virtio.devices():
        if 'blk' in d.name and 'pci' in d.transport.name:
            d.open()
            if d.id() == name:
                return d
            d.close()
d = by_serial(%r)
"""

READ = """
def check(n=512):
    pieces = [((i * 7) %% n, bytearray(512)) for i in range(100)]
    d.read_many(pieces)
    bad = [s for s, b in pieces if int.from_bytes(b[:4], 'little') != s or b[:4] != b[-4:]]
    b = bytearray(n * 512)
    d.read(0, b)
    return bad + [s for s in range(n) if int.from_bytes(b[512 * s:512 * s + 4], 'little') != s]
"""


@pytest.fixture(params=DISKS)
def disk(guest, request):
    """The guest with this disk open as d, and check()."""
    guest.exec(OPEN % request.param[:20] + READ % ())
    guest.row = DISKS[request.param]
    return guest


def raises(guest, code):
    with pytest.raises(RemoteError) as info:
        guest.exec(code)
    return info.value.error


def test_devices_of_both_buses_are_there_mmio_first(guest):
    names = guest.eval("[d.transport.name for d in __import__('virtio').devices()]")
    assert names[0] == "mmio@10008000"
    assert len(names) == len(DISKS) + 2
    assert names[1:] == sorted(names[1:])


def test_windows_and_bars_lie_apart(guest):
    guest.exec(
        """
import pci
spans = [(b.kind, b.address, b.address + b.size) for f in pci.devices() for b in f.bars.values() if b.address]
inner = [(f, s) for f in pci.devices() if f.is_bridge for s in f.spaces() if s.size]
"""
    )
    assert guest.eval("len(spans)") >= 2 * len(DISKS)
    clash = "[(a, b) for a in spans for b in spans if a is not b and a[0] == b[0] and a[1] < b[2] and b[1] < a[2]]"
    assert guest.eval(clash) == []
    assert guest.eval("len(inner)") >= 12
    assert guest.eval("[1 for f, s in inner if s.address % s.grain or s.size % s.grain]") == []


def test_what_does_not_fit_is_enospc_and_named(guest):
    guest.exec("import pci\nf = [f for f in pci.devices() if f.device == 5 and f.vendor == 0x1b36][0]")
    error = raises(guest, "f.bars[2].cpu_address")
    assert "ENOSPC" in error and "BAR2 of 32 GiB has no address: does not fit into the 32-bit window" in error


def test_a_disk_reads_what_is_on_it(disk):
    assert disk.eval("check()", timeout=30) == []
    assert disk.eval("d.transport.legacy") == (disk.row[2] == "legacy")
    assert disk.row[3] in disk.eval("d.explain()")


def test_interrupts_arrive(disk):
    disk.exec("d.interrupts(True)\nr = d.submit('r', 5, bytearray(512))\nt = time.ticks_ms()")
    disk.exec("while not r.done and time.ticks_diff(time.ticks_ms(), t) < 5000: pass")
    assert disk.eval("r.done")
    assert disk.eval("d.transport.interrupt_text()").startswith("INTA# 3")
    assert disk.eval("check()", timeout=30) == []
    disk.exec("d.interrupts(False)\nd.close()")


def test_bus_mastering_is_on_only_while_a_device_is_open(disk):
    disk.exec("f = d.transport.function\ng = f.bridge")
    assert disk.eval("f.read(4, 2) & 7") in (5, 6, 7)
    assert disk.eval("g is None or bool(g.read(4, 2) & 4)")
    disk.exec("d.close()")
    assert disk.eval("f.read(4, 2) & 4") == 0
    assert disk.eval("g is not None and bool(g.read(4, 2) & 4)") is False


def test_a_soft_reset_resets_open_devices(guest):
    guest.exec(OPEN % "behind a port")
    base = guest.eval("d.transport.status_address()")
    assert guest.eval("d.transport.status()") == 15
    guest.soft_reset()
    assert guest.eval(f"__import__('machine').mem8[{base}]") == 0
    guest.exec(OPEN % "behind a port" + READ % ())
    assert guest.eval("check()", timeout=30) == []


@pytest.mark.skipif(qemu_version()[:2] == (10, 0), reason="QEMU 10.0 aborts by an assertion when PCI_CFG is used")
def test_all_of_a_disk_works_through_pci_cfg(guest):
    guest.exec("import virtio\nvirtio.prefer('window')")
    guest.exec(OPEN % "transitional" + READ % ())
    assert "PCI_CFG (on demand)" in guest.eval("d.explain()")
    assert guest.eval("check()", timeout=60) == []
    guest.exec("d.write(9, bytes(512))\nb = bytearray(512)\nd.read(9, b)")
    assert guest.eval("b == bytes(512)")
    guest.exec("d.write(9, (9).to_bytes(4, 'little') * 128)\nd.close()")


def test_prefer_uses_the_legacy_interface_of_a_transitional_disk(guest):
    guest.exec("import virtio\nvirtio.prefer('legacy')")
    guest.exec(OPEN % "transitional" + READ % ())
    assert guest.eval("d.transport.legacy")
    assert guest.eval("check()", timeout=30) == []
    guest.exec("d.close()\nm = [d for d in virtio.devices() if d.transport.name == 'pci@00:05.0'][0]")
    error = raises(guest, "m.open()")
    assert "no legacy interface (QEMU: disable-legacy=off)" in error


def test_explain_names_every_device(guest):
    text = guest.exec("import virtio\nvirtio.explain()")
    assert len(text.splitlines()) == len(DISKS) + 2
    assert "force-legacy" in text and "disable-modern" in text


def test_help_and_dump_print(guest):
    text = guest.exec("import pci\npci.help()\npci.dump()")
    assert "64-bit window" in text and "prefetchable window" in text and "does not fit" in text
