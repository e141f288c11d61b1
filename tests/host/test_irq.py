"""modules/irq: lines that several callbacks share, and messages."""

import irq
import pytest
import riscv
from fake_device import FakeDevice, FakeMMIO
from virtio import mmio
from virtio.device import Device
from virtio_host import BASE, fresh


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


class Recorder:
    """A callback that notes its calls."""

    def __init__(self, answer=None):
        self.calls = []
        self.answer = answer

    def __call__(self, source):
        self.calls.append(source)
        assert riscv.completed == [], "completed before the last callback"
        return self.answer


def test_all_callbacks_of_a_line_run_before_it_is_completed():
    first, second = Recorder(), Recorder()
    irq.connect(33, first)
    irq.connect(33, second)
    riscv.interrupt(33)
    assert (first.calls, second.calls, riscv.completed) == ([33], [33], [33])


def test_line_is_enabled_until_the_last_callback_goes():
    first, second = Recorder(), Recorder()
    irq.connect(33, first)
    irq.connect(33, second)
    irq.disconnect(33, first)
    riscv.interrupt(33)
    assert (first.calls, second.calls) == ([], [33])
    irq.disconnect(33, second)
    assert riscv.irqs == {}
    irq.disconnect(33, second)


def test_connecting_twice_calls_once():
    callback = Recorder()
    irq.connect(33, callback)
    irq.connect(33, callback)
    riscv.interrupt(33)
    assert callback.calls == [33]


def test_callback_that_raises_does_not_silence_the_line():
    def bad(source):
        raise ValueError("mine")

    good = Recorder()
    irq.connect(33, bad)
    irq.connect(33, good)
    with pytest.raises(ValueError, match="mine"):
        riscv.interrupt(33)
    assert good.calls == [33] and riscv.completed == [33]


def test_callback_may_disconnect_itself_and_connect_others():
    later = Recorder()

    def once(source):
        irq.disconnect(33, once)
        irq.connect(33, later)

    irq.connect(33, once)
    riscv.interrupt(33)
    riscv.completed.clear()
    riscv.interrupt(33)
    assert later.calls == [33]


def test_refused_source_leaves_nothing_connected(monkeypatch):
    def refuse(source, callback, trigger):
        raise ValueError("no such interrupt source")

    monkeypatch.setattr(riscv, "irq", refuse)
    with pytest.raises(ValueError):
        irq.connect(500, print)
    monkeypatch.undo()
    irq.disconnect(500, print)
    assert riscv.irqs == {}


def test_source_zero_is_no_route():
    with pytest.raises(OSError, match="no interrupt route") as info:
        irq.connect(0, print)
    assert info.value.args[0] == 19


def test_without_a_controller_nothing_connects(monkeypatch):
    monkeypatch.setattr(riscv, "irq_controller", lambda: "")
    with pytest.raises(OSError, match="no interrupt controller") as info:
        irq.connect(33, print)
    assert info.value.args[0] == 19 and riscv.irqs == {}


def test_storm_is_silenced_shown_and_enabled_again_by_connecting(capsys):
    calls = []
    irq.connect(33, calls.append)
    for _ in range(5000):
        riscv.interrupt(33)
    text = "PLIC 33, silenced after 4096 interrupts at once that were no work"
    assert len(calls) == 4096 and capsys.readouterr().out == "irq: %s\n" % text
    irq.why()
    assert capsys.readouterr().out == "controller: PLIC\n  %s: 4096 interrupts, 1 callbacks\n" % text
    irq.connect(33, calls.append)
    riscv.interrupt(33)
    assert len(calls) == 4097 and irq.text(33) == "PLIC 33"


def test_work_of_one_callback_keeps_a_shared_line_alive():
    worker = Recorder(True)
    irq.connect(33, lambda source: None)
    irq.connect(33, worker)
    for _ in range(5000):
        riscv.completed.clear()
        riscv.interrupt(33)
    assert len(worker.calls) == 5000 and irq.text(33) == "PLIC 33"


def test_messages_have_places_of_their_own():
    calls = []
    first, second = irq.msi(calls.append), irq.msi(calls.append)
    assert (first.addr, first.data) != (second.addr, second.data)
    riscv.interrupt(second.source)
    assert calls == [second.source]
    gone = second.source
    second.close()
    second.close()
    riscv.interrupt(gone)
    assert len(calls) == 1 and list(riscv.messages) == [first.source]
    first.close()
    assert riscv.irqs == {} and riscv.messages == {}


# -- devices on a line ---------------------------------------------------------------------


class Thing(FakeDevice):
    DEVICE_ID = 42


class Driver(Device):
    NAME = "thing"

    def probe(self):
        self.vq = self.queue(0)
        self.seen = []

    def on_interrupt(self):
        found = self.vq.get()
        while found is not None:
            self.seen.append(found[0])
            found = self.vq.get()


def pair():
    """Two open devices on source 9, as PCI's INTx would have it; [(driver, device)]."""
    made = []
    for i in range(2):
        device = Thing()
        FakeMMIO(device, BASE - 0x1000 * i)
        driver = Driver(mmio.find(BASE - 0x1000 * i, source=9), "thing%d" % i).open()
        driver.interrupts(True)
        made.append((driver, device))
    return made


def test_devices_on_one_line_are_all_asked():
    (one, _), (two, device) = pair()
    two.vq.add([b"x"], [], "token")
    two.vq.notify()
    riscv.interrupt(9)
    assert (one.seen, two.seen, device.isr) == ([], ["token"], 0)
    assert riscv.completed == [9]
    two.close()
    one.vq.add([b"x"], [], "other")
    one.vq.notify()
    riscv.interrupt(9)
    assert one.seen == ["other"]
    one.close()
    assert riscv.irqs == {}


def test_interrupts_without_a_route_are_refused_and_polling_works():
    FakeMMIO(Thing(), BASE)
    driver = Driver(mmio.find(BASE), "thing0").open()
    with pytest.raises(OSError, match="mmio@10008000: no interrupt route") as info:
        driver.interrupts(True)
    assert info.value.args[0] == 19
    driver.vq.add([b"x"], [], "token")
    driver.vq.notify()
    assert driver.vq.get() == ("token", 0)
    assert driver.transport.interrupt_text() == "none"


def test_handler_that_raises_leaves_nothing_asserted():
    """MMIO-39"""
    (one, device), _ = pair()
    one.on_interrupt = lambda: 1 // 0
    one.vq.add([b"x"], [])
    one.vq.notify()
    with pytest.raises(ZeroDivisionError):
        riscv.interrupt(9)
    assert device.isr == 0 and riscv.completed == [9]


@pytest.mark.clauses("SPLIT-UNOTIF-05")
def test_device_that_interrupts_without_end_is_silenced_and_polled(capsys):
    device = Thing()
    FakeMMIO(device, BASE)
    driver = Driver(mmio.find(BASE, source=9), "thing0").open()
    driver.interrupts(True)
    for _ in range(5000):
        device.interrupt(1)
        riscv.interrupt(9)
    assert irq.silenced(9) and len(riscv.completed) == 4096 + 1  # the first time, nothing is known yet
    driver.vq.add([b"x"], [], "token")
    driver.vq.notify()
    riscv.interrupt(9)
    assert driver.seen == [] and driver.vq.get() == ("token", 0)
    capsys.readouterr()
    driver.dump()
    assert "PLIC 9, silenced after 4096 interrupts at once that were no work" in capsys.readouterr().out
    driver.interrupts(True)
    driver.vq.add([b"x"], [], "again")
    driver.vq.notify()
    riscv.interrupt(9)
    assert driver.seen == ["again"] and not irq.silenced(9)


def test_device_that_works_between_its_interrupts_is_no_storm():
    device = Thing()
    FakeMMIO(device, BASE)
    driver = Driver(mmio.find(BASE, source=9), "thing0").open()
    driver.interrupts(True)
    for n in range(5000):
        driver.vq.add([b"x"], [], n)
        driver.vq.notify()
        if n & 1:
            driver.vq.get()  # polled before the interrupt is handled: work all the same
        riscv.interrupt(9)
    assert not irq.silenced(9) and driver.vq.in_flight == 0
