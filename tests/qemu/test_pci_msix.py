"""MSI-X of virtio on PCI through IMSIC, and pins through APLIC."""

import pytest

DISKS = {
    "own": ("", 3),
    "legacy": ("disable-modern=on", 3),
    "one": ("vectors=1", 1),
    "shared": ("num-queues=4,vectors=3", 3),
    "none": ("vectors=0", 0),
    "port": ("bus=p1", 3),
}


@pytest.fixture(scope="module", params=["aplic-imsic", "aplic"])
def machine(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("msix")
    disks = []
    for name, (properties, _) in DISKS.items():
        image = folder / f"{name}.img"
        image.write_bytes(name.encode().ljust(512, b".") * 64)
        disks.append({"file": image, "device": "virtio-blk-pci", "properties": f"serial={name}," + properties})
    return {"ports": ["p1"], "disks": disks, "extra": ["-machine", f"aia={request.param}"]}


OPEN = """
import virtio, time
def by_serial(name):
    for d in virtio.devices():
        d.open()
        if d.id() == name:
            return d
        d.close()
d = by_serial(%r)
changes = []
"""


@pytest.fixture(params=DISKS)
def disk(guest, machine, request):
    guest.exec(OPEN % request.param)
    guest.row = DISKS[request.param]
    guest.name = request.param
    guest.messages = "aia=aplic-imsic" in machine["extra"] and guest.row[1]
    return guest


def test_requests_end_by_interrupt(disk):
    text = disk.eval("d.transport.interrupt_text()")
    if disk.messages:
        assert text == f"MSI-X {disk.row[1]} vector{'s' if disk.row[1] > 1 else ''}"
    else:
        assert text.startswith("INTA# ")
    disk.exec("d.interrupts(True)\nb = bytearray(512)\nr = d.submit('r', 5, b)\nt = time.ticks_ms()")
    disk.exec("while not r.done and time.ticks_diff(time.ticks_ms(), t) < 5000: pass")
    assert disk.eval("r.done")
    assert disk.eval("bytes(b[:6])").startswith(disk.name.encode()[:6])
    disk.exec("d.read_many([(i % 64, bytearray(512)) for i in range(500)])")
    disk.exec("d.close()\nd.open()\nd.read(0, b)\nd.close()")


def test_configuration_changes_come_by_interrupt(disk):
    disk.exec("d.interrupts(True)\nt = time.ticks_ms()")
    name = [e["device"] for e in disk.qmp("query-block") if f"{disk.name}.img" in str(e.get("inserted"))][0]
    disk.qmp("block_resize", device=name, size=1 << 20)
    disk.exec("while d.capacity_sectors != 2048 and time.ticks_diff(time.ticks_ms(), t) < 5000: pass")
    assert disk.eval("d.capacity_sectors") == 2048
    disk.exec("d.close()")
    disk.qmp("block_resize", device=name, size=32768)


def test_configuration_changes_are_polled_without_interrupts(disk):
    disk.exec("while d.poll_config() or d.capacity_sectors != 64: pass")  # QEMU tells of the last test's change late
    name = [e["device"] for e in disk.qmp("query-block") if f"{disk.name}.img" in str(e.get("inserted"))][0]
    disk.qmp("block_resize", device=name, size=1 << 20)
    assert disk.eval("(d.poll_config(), d.capacity_sectors)") == (True, 2048)
    assert disk.eval("d.poll_config()") is False
    disk.exec("d.close()")
    disk.qmp("block_resize", device=name, size=32768)
