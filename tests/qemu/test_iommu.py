"""virtio-iommu in QEMU with a disk behind it."""

from pathlib import Path

import pytest
import walk
from session import RemoteError, qemu_version

PAGE = Path(__file__).parents[2] / "modules/virtio/docs/iommu.md"
SECTOR = bytes(range(256)) * 2
ALLOW = [r"^Invalid (read|write) at addr .* reason: rejected$", r"virtio_iommu_translate ", r": virtio: bogus desc"]
ALLOW += [r": virtio: zero sized buffers are not allowed$", r": no buffer available in event queue"]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    path = tmp_path_factory.mktemp("iommu") / "disk.img"
    path.write_bytes(SECTOR * 2048)
    blk = "virtio-blk-pci,disable-legacy=on,iommu_platform=on,addr=1,drive=d"
    words = f"-device virtio-iommu-device,primary-bus=pcie.0 -drive if=none,id=d,format=raw,file={path} -device {blk}"
    return {"legacy": False, "mem": "128M", "extra": words.split(), "allow": ALLOW}


@pytest.fixture
def iommu(guest):
    """i is open, d the disk behind it, read() reads its first sector."""
    code = "import virtio\ni = virtio.open('iommu0')\ne = 1 << 3\nb = bytearray(512)\n"
    code += "def read():\n  with virtio.open('blk0') as d: d.read(0, b, timeout_ms=200)\n  return bytes(b)"
    guest.exec(code)
    yield guest
    guest.exec("i.close()")


def denied(guest):
    """A read ends in a clear error; the faults seen: (reason, endpoint)."""
    with pytest.raises(RemoteError, match="ETIMEDOUT: blk0: read sector 0: no answer in 200 ms"):
        guest.exec("read()")
    faults = guest.eval("[tuple(fault) for fault in i.faults()]")
    assert faults and guest.eval("i.faults()") == []
    return {fault[:2] for fault in faults}


def test_a_disk_is_cut_off_and_let_in_again(iommu):
    assert iommu.eval("(i.page, i.bypass, read())") == (4096, True, SECTOR)
    iommu.exec("i.bypass = False")
    assert denied(iommu) == {("UNKNOWN", 8)}
    assert iommu.eval("repr(i.identity(e))") == "<domain 0: 1 mappings, endpoints [8]>"
    assert iommu.eval("(read(), i.faults())") == (SECTOR, [])
    iommu.exec("i.detach(e)")
    # a detached endpoint is unknown again to newer ones
    assert denied(iommu) == {("DOMAIN" if qemu_version() < (8, 0) else "UNKNOWN", 8)}


@pytest.mark.clauses("IOMMU-15", "IOMMU-23", "IOMMU-31")
def test_mappings_come_and_go(iommu):
    iommu.exec("import riscv\nm = i.attach(e)")
    assert denied(iommu) == {("MAPPING", 8)}
    iommu.exec("start, end = riscv.ram()[0]\ni.map(m, start, start, end - start, 1)")
    with pytest.raises(RemoteError, match="blk0: "):  # it may not write
        iommu.exec("read()")
    assert ("MAPPING", 8) in iommu.eval("[tuple(fault)[:2] for fault in i.faults()]")
    iommu.exec("i.unmap(m, start, end - start)\ni.map(m, start, start, end - start)")
    assert iommu.eval("(read(), len(i.properties(e)), i.faults())") == (SECTOR, 0, [])
    iommu.exec("m = i.attach(e, i.domain(bypass=True))")
    assert iommu.eval("(read(), list(i.domains.values()) == [m])") == (SECTOR, True)


def test_an_endpoint_that_is_not_there(iommu):
    with pytest.raises(RemoteError, match="EIO: iommu0: probe endpoint 0xff: NOENT"):
        iommu.exec("i.attach(0xff)")
    assert iommu.eval("i.domains") == {}


def test_the_page_tells_the_truth(new_guest, tmp_path):
    text = PAGE.read_text()
    guest = new_guest(allow=ALLOW, **walk.machine(text, tmp_path))
    guest.wait_prompt()
    assert walk.play(guest, text) >= 10
