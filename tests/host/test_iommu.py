"""modules/virtio/iommu on a strict device."""

import errno
import struct

import fake_iommu as host
import pytest
import riscv
from fake_iommu import ALL, FakeIOMMU, property_, resv_mem
from virtio.iommu import IOMMU, MMIO, READ, WRITE
from virtio.transport import DeviceError
from virtio_host import LAYOUTS, fresh
from virtio_host import attach as plug

PAGE = 4096


@pytest.fixture
def iommu():
    fresh()
    opened = []

    def make(**options):
        model = FakeIOMMU(**options)
        driver, _ = plug(model, IOMMU, source=8)
        opened.append(driver.open())
        return driver, model

    yield make
    for driver in opened:
        driver.close()


@pytest.mark.clauses("IOMMU-01", "IOMMU-06", "IOMMU-07", "IOMMU-08", "IOMMU-13", "IOMMU-17", "IOMMU-18", "IOMMU-20")
@pytest.mark.clauses("IOMMU-23", "IOMMU-25", "IOMMU-31", "IOMMU-32")
@pytest.mark.parametrize("rings", LAYOUTS)
def test_an_endpoint_reaches_what_is_mapped_and_no_more(iommu, rings):
    driver, model = iommu(ring_features=rings)
    assert driver.page == PAGE and driver.features & 0x7F == ALL
    d = driver.attach(8)
    driver.map(d, 0x10000, 0x80000000, 2 * PAGE)
    driver.map(d, 0x20000, 0x90000000, PAGE, READ)
    assert model.reach(8, 0x11234, 3) == 0x80001234
    assert model.reach(8, 0x20010, READ) == 0x90000010
    assert model.reach(8, 0x20010, WRITE) is None and model.reach(8, 0x12000, READ) is None
    assert driver.faults() == [("MAPPING", 8, "w", 0x20010), ("MAPPING", 8, "r", 0x12000)]
    assert driver.faults() == [] and repr(d) == "<domain 3: 2 mappings, endpoints [8]>"
    driver.unmap(d, 0x10000, 0x11000)
    assert not d.mappings and not model.domains[3][1]
    driver.detach(8)
    assert not driver.domains and not model.domains and model.reach(8, 5, READ) == 5


@pytest.mark.clauses("IOMMU-12", "IOMMU-15", "IOMMU-16", "IOMMU-19", "IOMMU-30")
def test_domains_are_shared_moved_between_and_bypassed(iommu):
    driver, model = iommu()
    a = driver.attach(8)
    driver.attach(16, a)
    b = driver.attach(8, driver.domain(bypass=True))
    driver.attach(16, b)
    assert driver.domains == {b.number: b} and b.endpoints == {8, 16} and model.reach(16, 77, 3) == 77
    for call in (driver.map, driver.unmap):
        with pytest.raises(ValueError, match="bypasses"):
            call(*((b, 0, 0, PAGE) if call == driver.map else (b, 0, PAGE)))
    with pytest.raises(ValueError, match="domain 3 is no more"):
        driver.map(a, 0, 0, PAGE)
    for _ in range(3):
        driver.domain()
    with pytest.raises(OSError, match="all domains up to 6 are in use"):
        driver.attach(8)
    driver.detach(8)
    with pytest.raises(ValueError, match="not attached"):
        driver.detach(8)


@pytest.mark.clauses("IOMMU-11", "IOMMU-24", "IOMMU-26", "IOMMU-27", "IOMMU-28", "IOMMU-29", "IOMMU-21")
def test_what_the_device_must_not_be_asked(iommu):
    driver, model = iommu(inputs=(0x1000, 0xFFFFF))
    d = driver.attach(8)
    driver.map(d, 0x4000, 0, 0x4000)
    for virt, phys, size, text in (
        (0, 0, PAGE, "is outside"),
        (0xFF000, 0, 2 * PAGE, "is outside"),
        (0x1001, 0, PAGE, "no multiples"),
        (0x1000, 0, 100, "no multiples"),
        (0x1000, 0, 0, "no multiples"),
        (0x1000, 5, PAGE, "no multiple of the page"),
        (0x7000, 0, PAGE, "mapped already"),
    ):
        with pytest.raises(ValueError, match=text):
            driver.map(d, virt, phys, size)
    for flags in (0, 8, MMIO):
        with pytest.raises(ValueError, match="flags"):
            driver.map(d, 0x1000, 0, PAGE, flags)
    for virt, size in ((0x5000, 0x3000), (0x4000, 0x3000), (0x3000, 0x2000)):
        with pytest.raises(ValueError, match="cannot be split"):
            driver.unmap(d, virt, size)
    driver.map(d, 0x1000, 0x10000000, PAGE, MMIO | READ)
    assert model.domains[3][1][0x1000] == (0x1FFF, 0x10000000, 5)
    driver.unmap(d, 0x1000, 0x8000)
    assert not d.mappings


@pytest.mark.clauses("IOMMU-06", "IOMMU-24")
def test_what_is_not_offered(iommu):
    driver, _ = iommu(features=0)
    assert driver.bypass is None and driver.properties(8) == []
    for call in (lambda: driver.attach(8), lambda: driver.domain(bypass=True), lambda: setattr(driver, "bypass", 1)):
        with pytest.raises(OSError, match="is not offered") as info:
            call()
        assert info.value.errno == errno.EOPNOTSUPP
    fresh()
    driver, _ = iommu(features=1 << host.MAP_UNMAP)
    d = driver.attach(8)
    assert d.number == 0 and driver.input_range == (0, (1 << 64) - 1)
    with pytest.raises(OSError, match="MMIO is not offered"):
        driver.map(d, 0, 0, PAGE, MMIO | READ)


@pytest.mark.clauses("IOMMU-02", "IOMMU-03", "IOMMU-04", "IOMMU-05")
def test_bypass(iommu):
    driver, model = iommu()
    assert driver.bypass is True
    driver.bypass = False
    assert driver.bypass is False and model.reach(8, 5, READ) is None
    assert driver.faults() == [("DOMAIN", 8, "r", 5)]
    model.config[36] = 0xFE
    assert driver.bypass is False
    driver.bypass = 7
    assert driver.bypass is True and model.config[36] == 1


@pytest.mark.clauses("IOMMU-33", "IOMMU-34", "IOMMU-35", "IOMMU-36", "IOMMU-37", "IOMMU-38", "IOMMU-39")
def test_reserved_regions_are_found_among_noise_and_left_alone(iommu):
    driver, model = iommu()
    msi = resv_mem(1, 0x8000_0000, 0x8000_0FFF, b"\1\2\3")
    model.endpoints[8] = property_(99, b"123") + property_(0x8001, msi[4:]) + msi + resv_mem(7, 0x3000, 0x3FFF)
    model.endpoints[8] += property_(1, b"short") + property_(1, msi[4:] + b"more") + property_(0, b"")
    model.endpoints[8] += resv_mem(0, 0x5000, 0x5FFF)
    seen = driver.properties(8)
    assert [region[:2] for region in seen] == [("MSI", 0x8000_0000), ("RESERVED", 0x3000), ("MSI", 0x8000_0000)]
    model.endpoints[8] = msi + resv_mem(7, 0x3000, 0x3FFF)
    d = driver.attach(8)
    with pytest.raises(ValueError, match="reserved for endpoint 0x8 .RESERVED"):
        driver.map(d, 0x2000, 0, 0x2000)
    assert not d.mappings


@pytest.mark.clauses("IOMMU-37", "IOMMU-22")
def test_identity_maps_ram_around_reserved_regions(iommu):
    driver, model = iommu()
    start, end = riscv.ram()[0]
    model.endpoints[8] = resv_mem(0, start + PAGE, start + 3 * PAGE - 1)
    d = driver.identity(8)
    assert [(virt, phys) for virt, (_, phys, _) in d.mappings.items()] == [(start, start), (start + 3 * PAGE,) * 2]
    driver.bypass = False
    assert model.reach(8, end - 1, 3) == end - 1 and model.reach(8, start + PAGE, READ) is None


@pytest.mark.clauses("IOMMU-09", "IOMMU-10")
def test_answers_and_what_is_wrong_with_them(iommu):
    driver, model = iommu()
    model.noise = 0xFF
    d = driver.attach(8)
    with pytest.raises(OSError, match="probe endpoint 0x63: NOENT"):
        driver.attach(99)
    assert list(driver.domains) == [3]
    for status, text in ((host.NOMEM, "NOMEM"), (host.UNSUPP, "UNSUPP"), (77, "status 77")):
        model.status_of = lambda kind, status=status: status
        with pytest.raises(OSError, match="map 0x[0-9a-f]*.0x1000 in domain 3: " + text):
            driver.map(d, 0x50000, 0, PAGE)
    model.status_of, model.cut = None, True
    with pytest.raises(OSError, match="no status came"):
        driver.attach(16)
    assert list(driver.domains) == [3] and not d.mappings


@pytest.mark.clauses("IOMMU-40", "IOMMU-41", "IOMMU-42", "IOMMU-43")
def test_fault_reports_with_noise(iommu):
    driver, model = iommu()
    model.fault(2, 0x103, 8, 0x1000, reserved=b"\0\1\0")
    model.fault(2, 0xFFFFFEFD, 8, 0x1000, reserved1=7)
    model.fault(200, 0x101, 8, 0x1000)
    assert driver.faults() == [("MAPPING", 8, "r", None), ("UNKNOWN", 8, "r", 0x1000)]
    seen = []
    driver.on_fault = seen.append
    for i in range(100):  # more than there are buffers
        model.fault(1, 0x102, 8, i)
        driver._take_faults()
    assert len(seen) == 100 and driver.lost == 36 and driver.faults()[-1].address == 63
    model.fault(1, 0, 8, 0, size=20)
    with pytest.raises(DeviceError, match="fault report of 20 bytes"):
        driver.faults()


def test_a_device_that_makes_no_sense(iommu):
    driver, model = iommu()
    model.endpoints[8] = struct.pack("<HH", 5, 500)
    with pytest.raises(DeviceError, match="property 5 of 500 bytes"):
        driver.attach(8)
    fresh()
    model = FakeIOMMU()
    model.config[:8] = bytes(8)
    with pytest.raises(DeviceError, match="page_size_mask is 0"):
        plug(model, IOMMU)[0].open()
