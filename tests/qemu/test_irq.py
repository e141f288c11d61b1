"""Interrupts with every controller that QEMU's machine has: PLIC, APLIC with wires, IMSIC with messages."""

import disk
import pytest
from session import RemoteError, build_folder

DEMO = build_folder() / "disk" / "demo.img"
CONTROLLERS = {"none": "PLIC", "aplic": "APLIC", "aplic-imsic": "IMSIC"}


@pytest.fixture(scope="module", params=list(CONTROLLERS))
def aia(request):
    return request.param


@pytest.fixture(scope="module")
def machine(aia, tmp_path_factory):
    image = disk.empty(tmp_path_factory.mktemp("disk") / "disk.img", 1 << 20)
    return {
        "disks": [{"file": image, "id": "disk"}],
        "extra": [
            *("-machine", f"aia={aia}", "-device", "virtio-rng-device"),
            *("-netdev", "user,id=user", "-device", "virtio-net-device,id=card,netdev=user"),
            *("-device", "virtio-rng-device,max-bytes=64,period=4"),  # one that takes its time
            # on PCI, with one INTx line for both
            *("-device", "virtio-rng-pci,addr=4,max-bytes=64,period=4", "-device", "virtio-rng-pci,addr=8"),
        ],
    }


# The alarm of the goldfish RTC is a source that needs no driver.
RTC = """
import irq, machine, riscv, time
from fdt import system
node = system().compatible('google,goldfish-rtc')[0]
REGS = node.reg()[0]
SOURCE, *trigger = node.interrupts()[0][1]
hits = []
def alarm(in_ms):
    low = machine.mem32[REGS]
    t = (machine.mem32[REGS + 4] << 32 | low) + in_ms * 1000000
    machine.mem32[REGS + 0xc] = t >> 32
    machine.mem32[REGS + 0x8] = t & 0xffffffff
def clear():
    machine.mem32[REGS + 0x1c] = 1
def on_alarm(source):
    clear()
    hits.append(source)
    return True
def wait(done, ms=5000):
    end = time.ticks_add(time.ticks_ms(), ms)
    while not done() and time.ticks_diff(end, time.ticks_ms()) > 0:
        riscv.wfi(10)
    return done()
clear()
machine.mem32[REGS + 0x10] = 1  # once: a write to it repeats an interrupt that is due
"""


def test_controller_comes_from_the_device_tree_and_serves_the_console(guest, aia):
    assert guest.eval("__import__('riscv').irq_controller()") == CONTROLLERS[aia]
    # external interrupts are on and the timer's are not: it is not by polling that this line came in
    assert guest.eval("__import__('riscv').csr_read('mie') & 0x880") == 0x800
    guest.exec("x = 0\n" + "x += 1\n" * 3000)  # more than any FIFO holds
    assert guest.eval("x") == 3000
    guest.begin("import time\nprint('go')\ntime.sleep(1000)")
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    assert "KeyboardInterrupt" in guest.end()[1]


def test_source_of_the_device_tree_interrupts_once_per_event(guest):
    guest.exec(RTC + "irq.connect(SOURCE, on_alarm, *trigger)")
    for n in range(1, 4):
        assert guest.eval(f"(alarm(1), wait(lambda: len(hits) >= {n}))[1]") is True
    guest.exec("time.sleep_ms(5)")
    assert guest.eval("(hits == [SOURCE] * 3, riscv.irq_state(SOURCE))") == (True, (3, 0))
    guest.exec("irq.disconnect(SOURCE, on_alarm)\nalarm(1)\ntime.sleep_ms(10)")
    assert guest.eval("len(hits)") == 3


def test_line_whose_level_stays_up_interrupts_again(guest, aia):
    """After completion with AIA; QEMU's PLIC does not look again, and the next event does."""
    guest.exec(RTC + "def lazy(source):\n    hits.append(source)\n    if len(hits) == 3: clear()\n")
    guest.exec("irq.connect(SOURCE, lazy)\nalarm(1)\nwait(lambda: len(hits) == 3, 200)")
    assert guest.eval("len(hits)") == (1 if aia == "none" else 3)


def test_callbacks_on_one_source_are_all_called(guest):
    guest.exec(RTC + "also = []\nirq.connect(SOURCE, also.append)\nirq.connect(SOURCE, on_alarm)")
    assert guest.eval("(alarm(1), wait(lambda: also and hits), also == hits == [SOURCE])[2]") is True


def test_refused_sources(guest):
    guest.exec("import irq, riscv")
    for source in (97, 255, 256, -1, 1 << 40, 10):  # 10 is the console's
        with pytest.raises(RemoteError, match="ValueError"):
            guest.exec(f"irq.connect({source}, print)")
    with pytest.raises(RemoteError, match="no interrupt route"):
        guest.exec("irq.connect(0, print)")


def test_virtio_device_interrupts_with_polling_never_done(guest, aia):
    guest.exec(
        RTC + "import virtio\nd = virtio.open('rng0')\nq = d.queues[0]\n"
        "def used():\n    got = q.get()\n    if got: hits.append(got)\n"
        "d.on_interrupt = used\nd.interrupts(True)"
    )
    for n in range(1, 4):
        guest.exec("buf = bytearray(16)\nq.add((), (buf,), 'token')\nq.notify()")
        assert guest.eval(f"wait(lambda: len(hits) >= {n})") is True
    assert guest.eval("hits[-1][0]") == "token"
    assert guest.eval("d.transport.interrupt_text()") == f"{CONTROLLERS[aia]} 7"
    guest.exec("d.close()")
    assert guest.exec("irq.why()") == f"controller: {CONTROLLERS[aia]}\n"


ASYNC = """
import asyncio, virtio
d = virtio.open('rng1')
q = d.queues[0]
async def draw(times):
    for _ in range(times):
        buf = bytearray(64)
        head = q.add((), (buf,))
        assert 0 < await q.wait_async(head) <= 64
ticks = 0
async def clock():
    global ticks
    while True:
        ticks += 1
        await asyncio.sleep_ms(1)
async def main(tasks, times):
    other = asyncio.create_task(clock())
    await asyncio.gather(*[draw(times) for _ in range(tasks)])
    other.cancel()
"""


def test_asyncio_tasks_wait_by_interrupt(guest):
    guest.exec(RTC + ASYNC)
    guest.exec("asyncio.run(main(4, 6))")
    interrupts = guest.eval("riscv.irq_state(d.transport.source)[0]")
    assert 5 < interrupts < 60
    assert guest.eval("(ticks > 20, q.in_flight, q.num_free == q.size)") == (True, 0, True)
    # nobody waits any more: nothing interrupts
    assert guest.eval(f"(d.read(500), riscv.irq_state(d.transport.source)[0] - {interrupts})[1]") <= 1


def test_asyncio_polls_where_no_interrupt_comes(guest):
    guest.exec(RTC + ASYNC + "d.transport._source = 0\nasyncio.run(main(4, 6))")
    assert guest.eval("(ticks > 20, q.in_flight, d.transport.interrupt_text())") == (True, 0, "none")


def test_asyncio_reads_a_disk_beside_other_tasks(guest):
    guest.exec(
        "import asyncio, virtio\nd = virtio.open('blk0')\nd.write(7, b'seven' + bytes(507))\n"
        "async def get(n):\n    buf = bytearray(512)\n    r = d.submit('r', n, buf)\n    await r.wait_async()\n"
        "    return bytes(buf[:5])\n"
        "async def main(): return await asyncio.gather(*[get(n) for n in range(20)])\n"
        "got = asyncio.run(main())"
    )
    assert guest.eval("got") == [bytes(5)] * 7 + [b"seven"] + [bytes(5)] * 12


def test_async_iteration_and_a_wait_that_ends_with_the_device(guest):
    guest.exec(
        RTC + ASYNC + "async def reader():\n    async for token, n in q: hits.append((token, n))\n"
        "async def main():\n    task = asyncio.create_task(reader())\n    for i in range(5):\n"
        "        q.add((), (bytearray(8),), i)\n        q.notify()\n        await asyncio.sleep_ms(2)\n"
        "    while len(hits) < 5: await asyncio.sleep_ms(1)\n    d.close()\n    await task\n"
        "asyncio.run(asyncio.wait_for_ms(main(), 9000))"
    )
    assert guest.eval("hits") == [(i, 8) for i in range(5)]


def test_ctrl_c_and_a_new_loop_leave_no_task_waiting_for_ever(guest):
    guest.exec(
        RTC + ASYNC + "n = virtio.open('net0')\nasync def forever():\n    print('go')\n"
        "    async for frame in n.queues[0]: pass\nasync def nap(): await asyncio.sleep_ms(120)\n"
    )
    guest.begin("asyncio.run(forever())")
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    assert "KeyboardInterrupt" in guest.end()[1]
    guest.exec("asyncio.run(main(4, 6))\nasyncio.new_event_loop()\nasyncio.run(main(4, 6))\nasyncio.run(nap())")
    assert guest.eval("(q.in_flight, virtio.aio._waiting, virtio.aio._ticking)") == (0, [], None)


def test_messages(guest, aia):
    guest.exec(RTC)
    if aia != "aplic-imsic":
        with pytest.raises(RemoteError, match="ENODEV"):
            guest.exec("irq.msi(hits.append)")
        return
    guest.exec("a, b = irq.msi(hits.append), irq.msi(hits.append)")
    guest.exec("machine.mem32[b.addr] = b.data\nwait(lambda: hits)\nmachine.mem32[a.addr] = a.data")
    assert guest.eval("(wait(lambda: len(hits) == 2), hits == [b.source, a.source])") == (True, True)
    guest.exec("b.close()\nmachine.mem32[a.addr] = b_data = 98\ntime.sleep_ms(2)")
    assert guest.eval("len(hits)") == 2
    guest.exec("many = []\ntry:\n    while True: many.append(irq.msi(print))\nexcept OSError as e: print(e)")
    assert guest.eval("(len(many), len({m.data for m in many}), {m.addr for m in many} == {a.addr})") == (
        158,
        158,
        True,
    )
    guest.exec("for m in many: m.close()\nfor i in range(300): irq.msi(print).close()")


PCI = """
import virtio
c, d = virtio.open('rng2'), virtio.open('rng3')
def used(device):
    def on_interrupt():
        got = device.queues[0].get()
        if got: hits.append(got[0])
    return on_interrupt
for device in (c, d):
    device.on_interrupt = used(device)
    device.interrupts(True)
def draw(device, token):
    device.queues[0].add((), (bytearray(8),), token)
    device.queues[0].notify()
"""


def test_pci_devices_interrupt_by_a_shared_line_or_by_messages(guest, aia):
    guest.exec(RTC + PCI)
    for n, which in enumerate("cddcdc", 1):
        assert guest.eval(f"(draw({which}, '{which}'), wait(lambda: len(hits) == {n}), hits[-1])")[1:] == (True, which)
    texts = guest.eval("(c.transport.interrupt_text(), d.transport.interrupt_text())")
    if aia == "aplic-imsic":
        assert texts == ("MSI-X 2 vectors",) * 2
        assert "IMSIC 97: " in guest.exec("irq.why()")
    else:
        assert texts == ("INTA# 32",) * 2
        assert f"  {CONTROLLERS[aia]} 32: 6 interrupts, 2 callbacks\n" in guest.exec("irq.why()")
    guest.exec("c.close()\ndraw(d, 'alone')")
    assert guest.eval("(wait(lambda: len(hits) == 7), hits[-1])") == (True, "alone")
    guest.exec("d.close()")
    assert guest.exec("irq.why()") == f"controller: {CONTROLLERS[aia]}\n"


def test_asyncio_waits_for_pci_devices(guest):
    guest.exec(RTC + ASYNC.replace("rng1", "rng2") + "asyncio.run(main(4, 6))")
    assert guest.eval("(ticks > 20, q.in_flight, q.num_free == q.size)") == (True, 0, True)


def test_flood_of_messages_is_silenced(guest, aia):
    if aia != "aplic-imsic":
        return
    guest.exec(RTC)
    out = guest.exec(
        "def flood(source): machine.mem32[m.addr] = m.data\nm = irq.msi(flood)\nflood(0)\n"
        "print(1 + 1)\nwait(lambda: irq.silenced(m.source), 30000)",
        60,
    )
    assert "2\n" in out and "irq: IMSIC 97, silenced after 4096" in out
    guest.exec("m.close()\nm = irq.msi(hits.append)\nmachine.mem32[m.addr] = m.data")
    assert guest.eval("(wait(lambda: len(hits) == 1), hits == [m.source])") == (True, True)


STORM = """
def storm(source):
    hits.append(None) if not hits else None
    machine.mem32[REGS + 0x8] = 0  # an alarm in the past: interrupts at once, and again
irq.connect(SOURCE, storm)
alarm(0)
"""


def test_storm_is_silenced_and_the_prompt_answers(guest, aia):
    out = guest.exec(RTC + STORM + "print(1 + 1)\nwait(lambda: riscv.irq_state(SOURCE)[1], 30000)\nirq.why()", 60)
    said = f"{CONTROLLERS[aia]} 11, silenced after 4096 interrupts at once that were no work"
    assert "2\n" in out and f"irq: {said}\n" in out
    assert f"  {said}: " in out
    guest.exec("clear()\nirq.disconnect(SOURCE, storm)\nhits.clear()\nirq.connect(SOURCE, on_alarm)\nalarm(1)")
    assert guest.eval("bool(wait(lambda: hits))") is True


def test_driver_that_never_acknowledges_is_silenced_and_polling_goes_on(guest, aia):
    """It leaves InterruptStatus set, so that the line stays up: QEMU's PLIC alone does not look at it again."""
    guest.exec(
        RTC + ASYNC.replace("rng1", "rng0") + "never = lambda source: None\nq.enable_cb()\n"
        "irq.connect(d.transport.source, never)\nbuf = bytearray(8)\nhead = q.add((), (buf,))\nq.notify()"
    )
    if aia != "none":
        out = guest.exec("wait(lambda: irq.silenced(d.transport.source), 30000)\nd.dump()", timeout=60)
        assert f"interrupt {CONTROLLERS[aia]} 7, silenced after 4096" in out
    guest.begin("print('go')\nwhile True: pass")
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    assert "KeyboardInterrupt" in guest.end()[1]
    assert guest.eval("(q.wait(head), d.transport.isr(), len(d.read(100)))") == (8, 1, 100)
    guest.exec("asyncio.run(main(2, 3))")
    guest.exec("irq.disconnect(d.transport.source, never)\nd.recover()\nq = d.queues[0]\nasyncio.run(main(2, 3))")
    assert guest.eval("(irq.silenced(d.transport.source), q.in_flight)") == (False, 0)


def test_ctrl_c_and_the_main_program_get_through_a_storm_that_is_work(guest):
    """Such a storm is never silenced; it has to pause for the others."""
    guest.exec(RTC + STORM.replace("irq.connect", "irq.connect(SOURCE, lambda s: True)\nirq.connect"))
    assert guest.eval("1 + 1") == 2
    guest.begin("print('go')\nn = 0\nwhile True: n += 1")
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    assert "KeyboardInterrupt" in guest.end()[1]
    took = guest.eval("(lambda t: (sum(range(20000)), time.ticks_diff(time.ticks_ms(), t))[1])(time.ticks_ms())")
    assert took < 2000
    assert guest.eval("(wait(lambda: riscv.irq_state(SOURCE)[0] > 5000), riscv.irq_state(SOURCE)[1])") == (True, 0)
    guest.exec("irq.disconnect(SOURCE, storm)")


# -- changes of the configuration -----------------------------------------------------------

# `told` grows by interrupt, or else by polling; wait() gives it a chance.
TOLD = """
import virtio
told = []
def seen(n):
    if not by_interrupt: d.poll_config()
    return len(told) >= n
"""


@pytest.mark.parametrize("by_interrupt", [True, False], ids=["interrupt", "polled"])
@pytest.mark.clauses("GEN-OPER-01", "MMIO-37", "MMIO-39")
def test_disk_that_is_resized_tells(guest, by_interrupt):
    guest.exec(RTC + f"by_interrupt = {by_interrupt}\n" + TOLD + "d = virtio.open('blk0')")
    guest.exec("d.on_config = lambda d: told.append(d.capacity_sectors)\nd.interrupts(by_interrupt)")
    for n, size in enumerate((2 << 20, 4 << 20, 1 << 20), 1):
        guest.qmp("block_resize", device="disk", size=size)
        assert guest.eval(f"(wait(lambda: seen({n})), told[-1])") == (True, size // 512)
    assert guest.eval("(d.poll_config(), d.ioctl(4, 0), d.read(0, bytearray(512)))") == (False, 2048, None)


@pytest.mark.parametrize("by_interrupt", [True, False], ids=["interrupt", "polled"])
@pytest.mark.clauses("GEN-OPER-01")
def test_link_that_goes_down_and_up_tells(guest, by_interrupt):
    guest.exec(RTC + f"by_interrupt = {by_interrupt}\n" + TOLD + "d = virtio.open('net0')")
    guest.exec("d.on_config = lambda d: told.append(d.isconnected())\nd.interrupts(by_interrupt)")
    for n, up in enumerate((False, True), 1):
        guest.qmp("set_link", name="card", up=up)
        assert guest.eval(f"(wait(lambda: seen({n})), told)") == (True, [False, True][:n])


# -- a device that needs a reset ----------------------------------------------------------------

# A chain that leads to itself makes QEMU give the device up.
LOOP = """
import machine
def loop(queue):
    queue.add((), (bytearray(16),))
    at = queue.desc + 16 * (machine.mem16[queue.avail + 4] if not queue.taken else 0)
    for i in range(queue.size):
        if queue._ring.state(queue.st, i) != -2:
            at = queue.desc + 16 * i
            machine.mem16[at + 12] |= 1
            machine.mem16[at + 14] = i
    queue.notify()
"""


@pytest.fixture
def broken(module_guest, guest):
    """The guest, where QEMU may complain about a chain."""
    yield guest
    module_guest.check_logs(forget=True)


@pytest.mark.clauses("GEN-STATUS-04", "GEN-OPER-02", "GEN-STATUS-03")
@pytest.mark.parametrize("by_interrupt", [True, False], ids=["interrupt", "polled"])
@pytest.mark.parametrize("name", ["rng0", "rng3"], ids=["mmio", "pci"])
def test_device_that_needs_a_reset_recovers(broken, by_interrupt, name):
    guest = broken
    guest.exec(RTC + LOOP + f"by_interrupt = {by_interrupt}\n" + TOLD + f"d = virtio.open('{name}')\nq = d.queues[0]")
    guest.exec("d.on_config = lambda d: told.append(d.error)\nd.interrupts(by_interrupt)")
    guest.exec("buf = bytearray(8)\nhead = q.add((), (buf,))\nq.wait(head)")
    guest.exec("loop(q)\nhead = q.add((), (buf,))\nq.notify()")
    if by_interrupt:
        assert guest.eval("(wait(lambda: seen(1)), len(told))") == (True, 1)
    with pytest.raises(RemoteError, match=name + ": the device needs a reset: recover"):
        guest.exec("q.wait(head)")
    with pytest.raises(RemoteError, match=name + ": the device needs a reset: recover"):
        guest.exec("d.read(10)")
    assert guest.eval("repr(d).split()[-1]") == "FAILED>"
    assert guest.eval("(d.recover() is d, len(d.read(100)), d.queues[0].in_flight)") == (True, 100, 0)


def test_disk_and_card_recover(broken):
    guest = broken
    guest.exec(RTC + LOOP + "import virtio\nb = virtio.open('blk0')\nb.write(3, b'three' + bytes(507))")
    guest.exec("r = b.submit('r', 3, bytearray(512))\nr.wait()\nloop(b.vq)\nr = b.submit('r', 3, bytearray(512))")
    with pytest.raises(RemoteError, match="blk0: the device needs a reset"):
        guest.exec("r.wait()")
    guest.exec("b.recover()\nbuf = bytearray(512)\nb.read(3, buf)")
    assert guest.eval("bytes(buf[:5])") == b"three"
    guest.exec("n = virtio.open('net0')\nloop(n.queues[1])")
    with pytest.raises(RemoteError, match="net0: the device needs a reset"):
        guest.exec("while True: n.send(bytes(60))\n")
    assert guest.eval("(n.recover() is n, n.queues[0].in_flight > 8, n.send(bytes(60)), n.flush())")[:3] == (
        True,
        True,
        60,
    )


def test_hundreds_of_lives_leave_no_memory_behind(guest):
    guest.exec(
        "import gc, virtio\nd = virtio.open('rng0')\nd.close()\n"
        "def lives(n):\n    for i in range(n):\n        d.open()\n        d.interrupts(True)\n"
        "        if i & 1: d.recover()\n        d.close()\n"
        "    gc.collect()\n    return gc.mem_alloc()"
    )
    first = guest.eval("lives(20)", timeout=30)
    assert guest.eval("lives(300)", timeout=60) - first < 4096


def test_soft_reset_with_a_callback_that_has_not_completed(guest):
    guest.exec(RTC + "riscv.irq(SOURCE, hits.append)\nalarm(1)\nwait(lambda: hits)")
    guest.soft_reset()
    guest.exec(RTC + "irq.connect(SOURCE, on_alarm)\nwait(lambda: hits, 20)\nhits.clear()\nalarm(1)")
    assert guest.eval("bool(wait(lambda: hits))") is True


def test_device_that_interrupts_other_harts_says_so(new_guest, aia):
    """Of two controllers, one for each half of the harts, devices are wired to one.

    QEMU 7.2's second PLIC raises the supervisor's line of its harts for machine mode, too.
    """
    words = "-object memory-backend-ram,size=128M,id=a -object memory-backend-ram,size=128M,id=b"
    words += f" -numa node,memdev=a -numa node,memdev=b -machine aia={aia} -device virtio-rng-device"
    guest = new_guest(smp=4, extra=words.split())
    guest.wait_prompt()
    guest.exec(RTC + "import virtio\nd = virtio.open('rng0')\nd.on_interrupt = lambda: hits.append(d.queues[0].get())")
    out = guest.exec("try:\n    d.interrupts(True)\nexcept OSError as e:\n    print(e)")
    guest.exec("d.queues[0].add((), (bytearray(8),), 'token')\nd.queues[0].notify()")
    if out:
        assert "no interrupt route" in out and guest.eval("d.transport.interrupt_text()") == "none"
    if out or aia != "none":
        assert guest.eval(f"bool(wait(lambda: hits, {10 if out else 5000}))") is not bool(out)
    assert guest.eval("len(d.read(10))") == 10


def test_linux_takes_the_controller_over(new_guest, aia):
    """QEMU 7.2 repeats interrupts of lines that are down with messages: its own -kernel ends where we do."""
    marker = r"ttyS0\] enabled" if aia == "aplic-imsic" else "initramfs: user space is up"
    # what OpenSBI and Linux do themselves: see test_boot.py
    allow = (r"^sifive_plic_(read|write): Invalid", "^CSR_STVEC: reserved mode")
    guest = new_guest(autoboot=True, allow=allow, disks=[DEMO], extra=["-machine", f"aia={aia}"])
    guest.expect(marker, 90)
