"""PCI in QEMU: functions found, BARs and windows assigned, virtio devices on them at work."""

import struct

import pytest


def numbered(path, sectors):
    """A disk whose 32-bit words all hold the number of their sector."""
    path.write_bytes(b"".join(struct.pack("<I", i) * 128 for i in range(sectors)))
    return path


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pci")
    disks = [numbered(folder / "a.img", 64), numbered(folder / "b.img", 4096)]
    pci = {"file": disks[1], "device": "virtio-blk-pci"}
    return {"disks": [disks[0], pci], "extra": ["-device", "virtio-rng-pci"]}


def test_devices_of_both_buses_are_there_mmio_first(guest):
    assert guest.exec("import virtio\nprint(virtio.devices())") == (
        "[<blk0 mmio@10008000 closed>, <blk1 pci@00:01.0 closed>, <rng0 pci@00:02.0 closed>]\n"
    )


def test_a_disk_on_pci_reads_what_is_on_it(guest):
    guest.exec("import virtio\nd = virtio.open('blk1')")
    assert guest.eval("d.capacity_sectors") == 4096
    guest.exec("b = bytearray(1 << 20)\nd.read(8, b)")
    assert guest.eval("[int.from_bytes(b[i:i + 4], 'little') for i in (0, 512, 4096, (1 << 20) - 4)]") == [
        8,
        9,
        16,
        2055,
    ]


def test_bus_mastering_is_on_only_while_a_device_is_open(guest):
    guest.exec("import virtio, pci\nf = pci.find('00:01.0')\nvirtio.devices()")
    assert guest.eval("f.read(4, 2) & 7") == 3
    guest.exec("d = virtio.open('blk1')")
    assert guest.eval("f.read(4, 2) & 7") == 7
    guest.exec("d.close()")
    assert guest.eval("f.read(4, 2) & 7") == 3
