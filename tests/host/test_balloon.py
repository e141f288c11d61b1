"""modules/virtio/balloon on a strict device."""

import errno
import gc

import pytest
import riscv
from fake_balloon import DEFLATE_ON_OOM, FREE_PAGE_HINT, MUST_TELL_HOST, PAGE_REPORTING, STATS_VQ, FakeBalloon
from shim.memory import memory
from virtio.balloon import Balloon
from virtio.transport import DeviceError
from virtio_host import TRANSPORTS, attach, fresh

MIB = 1 << 20
RAM = 64 * MIB


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    fresh()

    def mem_free():  # as MicroPython's: with what the heap could grow by
        start, end = riscv.largest_free()
        return 5 * MIB + end - start

    monkeypatch.setattr(gc, "mem_free", mem_free, raising=False)
    yield
    assert all(name != "balloon0" for _, _, name in riscv.regions()), "memory stayed behind"


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture
def make():
    opened = []

    def rig(transport="mmio", **options):
        model = FakeBalloon(legacy=transport == "mmio-legacy", **options)
        driver, _ = attach(model, Balloon, source=9)
        driver.open()
        opened.append(driver)
        return driver, model

    yield rig
    for driver in opened:
        driver.close()


@pytest.mark.clauses("BALLOON-01", "BALLOON-04", "BALLOON-05", "BALLOON-06", "BALLOON-09", "BALLOON-10")
@pytest.mark.clauses("BALLOON-12", "BALLOON-13", "BALLOON-14", "BALLOON-15", "BALLOON-LEG-01", "BALLOON-LEG-03")
def test_it_follows_what_the_host_wants(make, transport):
    driver, model = make(transport)
    assert driver.features >> MUST_TELL_HOST & 1 and driver.adjust() == 0
    for pages in (1000, 3500, 3499, 12, 12, 5000, 0, 1):
        model.want(pages)
        assert driver.adjust() == pages
        assert len(model.pages) == pages == model.actuals[-1] if pages != 12 else True
        held = sum(end - start for start, end, name in riscv.regions() if name == "balloon0")
        assert held == pages * 4096
    assert "1 pages lent" in repr(driver)
    driver.close()
    assert model.actuals[-1] == 0


def test_memory_of_others_is_left_alone_and_some_stays_free(make):
    start = riscv.ram()[0][0]
    riscv.reserve(start + 20 * MIB, start + 21 * MIB, "kernel")
    driver, model = make()
    driver.keep = 8 * MIB
    model.want(RAM // 4096)
    pages = driver.adjust()
    free = RAM - MIB - pages * 4096
    assert 8 * MIB <= free <= 16 * MIB
    assert not {(start + 20 * MIB) >> 12} & model.pages
    low, high = riscv.largest_free()
    assert high - low == 8 * MIB


def test_it_stays_in_few_pieces(make):
    driver, model = make()
    for pages in list(range(1, 60)) + [50, 200, 3, 700]:
        model.want(pages)
        assert driver.adjust() == pages
    assert len([1 for _, _, name in riscv.regions() if name == "balloon0"]) == 1


@pytest.mark.clauses("BALLOON-12", "BALLOON-13")
def test_pages_that_the_host_did_not_answer_for_stay_taken_until_the_reset(make):
    driver, model = make()
    model.want(100)
    model.stuck = {"inflate"}
    with pytest.raises(OSError) as error:
        driver.adjust(timeout_ms=20)
    assert error.value.errno == errno.ETIMEDOUT
    assert driver.lent == 0 and len([1 for r in riscv.regions() if r[2] == "balloon0"]) == 1
    with pytest.raises(OSError) as error:
        driver.adjust(timeout_ms=20)
    assert error.value.errno == errno.EAGAIN
    model.stuck = set()
    assert driver.adjust() == 100
    model.want(30)
    model.stuck = {"deflate"}
    with pytest.raises(OSError):
        driver.adjust(timeout_ms=20)
    assert driver.lent == 100
    model.stuck = set()
    assert driver.adjust() == 30 and model.actuals[-1] == 30


@pytest.mark.clauses("BALLOON-07", "BALLOON-08")
def test_memory_is_taken_back_on_ones_own_only_if_the_host_allows_it(make):
    driver, model = make()
    model.want(500)
    driver.adjust()
    assert driver.reclaim(100) == 100 and len(model.pages) == 400
    assert driver.reclaim(1000) == 400
    driver.close()
    fresh()
    driver, model = make(features=1 << STATS_VQ)
    model.want(500)
    driver.adjust()
    with pytest.raises(OSError) as error:
        driver.reclaim(1)
    assert error.value.errno == errno.EOPNOTSUPP and len(model.pages) == 500
    assert DEFLATE_ON_OOM == 2


def test_follow_adjusts_when_the_host_changes_its_mind(make):
    driver, model = make()
    model.want(10)
    driver.follow()
    assert driver.lent == 10
    model.want(30)
    riscv.irqs[9](9)
    assert driver.lent == 30
    driver.follow(False)
    model.want(5)
    riscv.irqs[9](9)
    assert driver.lent == 30
    driver.follow()
    model.want(4)
    assert driver.poll() is True and driver.lent == 4 and driver.poll() is False


@pytest.mark.clauses("BALLOON-16", "BALLOON-17", "BALLOON-18", "BALLOON-19", "BALLOON-20", "BALLOON-21", "BALLOON-22")
@pytest.mark.clauses("BALLOON-23", "BALLOON-LEG-04")
def test_statistics_are_there_from_the_start_and_new_ones_when_asked_for(make, transport):
    driver, model = make(transport)
    model.ask()
    assert driver.poll() is True
    start = riscv.ram()[0][0]
    riscv.reserve(start, start + 3 * MIB, "kernel")
    for _ in range(3):
        model.ask()
        assert driver.poll() is True and driver.poll() is False
    model.ask()
    assert model.figures[0] == {0: 0, 1: 0, 4: RAM, 5: RAM, 6: RAM + 5 * MIB, 7: 0}
    assert model.figures[-1][4] == RAM - 3 * MIB
    driver.interrupts(True)
    driver.poll()
    riscv.reserve(start + 8 * MIB, start + 9 * MIB, "kernel")
    model.ask()
    riscv.irqs[9](9)
    model.ask()
    assert model.figures[-1][4] == RAM - 4 * MIB
    assert driver.stats()["total"] == RAM


@pytest.mark.clauses("BALLOON-03", "BALLOON-37", "BALLOON-39", "BALLOON-40", "BALLOON-41", "BALLOON-42")
@pytest.mark.parametrize("more", [0, 1 << FREE_PAGE_HINT])
def test_free_memory_is_reported_and_can_be_used_again(make, more):
    memory.place(riscv.ram()[0][0], bytearray(RAM))
    driver, model = make(features=1 << PAGE_REPORTING | 1 << STATS_VQ | more)
    assert driver.report() == RAM - driver.keep == sum(size for _, size in model.reported)
    assert max(size for _, size in model.reported) == 4 * MIB
    assert riscv.largest_free() == riscv.ram()[0]
    driver.keep = RAM
    assert driver.report() == 0


def test_reports_where_they_are_not_offered(make):
    driver, model = make()
    with pytest.raises(OSError) as error:
        driver.report()
    assert error.value.errno == errno.EOPNOTSUPP


@pytest.mark.clauses("BALLOON-02")
def test_poison_and_hints_are_not_accepted(make):
    driver, model = make(features=0x3F)
    assert driver.features & 0x3F == 0x27


@pytest.mark.clauses("BALLOON-LEG-02")
def test_used_lengths_of_a_legacy_device_are_not_believed(make):
    driver, model = make("mmio-legacy")
    model.lie = lambda head, length: (head, 4000)
    model.want(100)
    assert driver.adjust() == 100


def test_a_recovery_starts_with_nothing_lent(make):
    driver, model = make()
    model.want(100)
    driver.follow()
    model.need_reset()
    with pytest.raises(DeviceError):
        driver.check_status()
    model.pages.clear()
    driver.recover()
    assert driver.lent == 100 == len(model.pages)
    driver.follow(False)
    driver.recover()
    model.pages.clear()
    assert driver.lent == 0


def test_a_heap_that_grows_into_the_gap_meanwhile(make):
    driver, model = make()
    real, calls = riscv.largest_free, []

    def largest_free():
        start, end = real()
        if not calls:
            calls.append(1)
            riscv.reserve(end - 4096, end, "heap")
        return start, end

    riscv.largest_free = largest_free
    try:
        model.want(7)
        assert driver.adjust() == 7
    finally:
        riscv.largest_free = real
