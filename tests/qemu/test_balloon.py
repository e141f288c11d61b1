"""virtio-balloon in QEMU: the host asks for memory, gives it back, asks for figures."""

import bus
import pytest
from session import RemoteError

MIB = 1 << 20
ALL = 128 * MIB


@pytest.fixture(scope="module", params=bus.variants("virtio-balloon", full=False), ids=str)
def machine(request):
    device = request.param.device("virtio-balloon", id="b", deflate_on_oom="on", free_page_reporting="on")
    return request.param.machine(devices=[device], mem="128M")


@pytest.fixture
def balloon(guest):
    guest.qmp("balloon", value=ALL)
    guest.exec("import riscv, time, virtio\nb = virtio.open('balloon0')")
    yield guest
    guest.exec("b.close()")
    assert guest.exec("print([r for r in riscv.regions() if r[2] == 'balloon0'])").strip() == "[]"


def actual(guest):
    return guest.qmp("query-balloon")["actual"]


def test_it_follows_what_the_host_wants(balloon):
    for mib in (100, 60, 61, 128, 127):
        balloon.qmp("balloon", value=mib * MIB)
        assert balloon.eval("(b.poll(), b.adjust())") == (True, (128 - mib) * 256)
        assert actual(balloon) == mib * MIB
    assert balloon.eval("[end - start for start, end, name in riscv.regions() if name == 'balloon0']") == [MIB]


def test_the_heap_and_a_kernel_stay_possible(balloon):
    balloon.qmp("balloon", value=MIB)
    balloon.exec("b.adjust()")
    assert 16 * MIB <= actual(balloon) <= 40 * MIB
    balloon.exec("x = bytearray(10 << 20)\nlow = riscv.largest_free()[0]\nriscv.reserve(low, low + 4096, 'kernel')")
    balloon.exec("riscv.release(low)")


def test_memory_that_came_back_can_be_used(balloon):
    balloon.qmp("balloon", value=40 * MIB)
    balloon.exec("b.adjust()")
    balloon.qmp("balloon", value=ALL)
    balloon.exec("b.adjust()\nx = bytearray(60 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1")
    assert balloon.eval("x[59 << 20]") == 1


def test_reclaiming_and_reporting(balloon):
    balloon.qmp("balloon", value=100 * MIB)
    balloon.exec("b.adjust()")
    assert balloon.eval("(b.reclaim(256), b.lent)") == (256, 27 * 256)
    assert actual(balloon) == 101 * MIB
    assert balloon.eval("b.report()") > 60 * MIB
    balloon.exec("b.keep = 0\nx = bytearray(30 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1")


def test_it_follows_by_interrupts_and_tells_figures(balloon):
    balloon.exec("b.follow()")
    balloon.qmp("qom-set", path="/machine/peripheral/b", property="guest-stats-polling-interval", value=1)
    balloon.qmp("balloon", value=120 * MIB)
    wait = "for i in range(200):\n    if b.lent == 2048: break\n    time.sleep_ms(20)\nprint(b.lent)"
    assert balloon.exec(wait, timeout=20).strip() == "2048"
    for _ in range(100):
        found = balloon.qmp("qom-get", path="/machine/peripheral/b", property="guest-stats")
        if found["last-update"]:
            break
        balloon.exec("time.sleep_ms(50)")
    stats = found["stats"]
    assert (
        stats["stat-total-memory"] == ALL
        and 60 * MIB < stats["stat-free-memory"] <= stats["stat-available-memory"] < ALL
    )
    balloon.qmp("qom-set", path="/machine/peripheral/b", property="guest-stats-polling-interval", value=0)


def test_a_soft_reset_gives_everything_back(balloon):
    balloon.qmp("balloon", value=64 * MIB)
    balloon.exec("b.adjust()")
    balloon.soft_reset()
    balloon.exec("import riscv, virtio\nx = bytearray(100 << 20)\nx = None\nb = virtio.open('balloon0')")
    assert balloon.eval("b.lent") == 0


def test_what_was_not_offered_is_refused(new_guest):
    guest = new_guest(extra=["-device", "virtio-balloon-device"])
    guest.wait_prompt()
    guest.exec("import virtio\nb = virtio.open('balloon0')")
    for code, text in (
        ("b.reclaim(1)", "DEFLATE_ON_OOM is not offered"),
        ("b.report()", "PAGE_REPORTING is not offered"),
    ):
        with pytest.raises(RemoteError, match=text):
            guest.exec(code)
