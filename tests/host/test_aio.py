"""modules/virtio/aio: tasks that wait for virtqueues, by interrupt and without."""

import asyncio
import time

import pytest
import riscv
from fake_device import FakeDevice
from virtio import aio
from virtio.device import Device
from virtio.transport import DeviceError
from virtio_host import attach, fresh


@pytest.fixture(autouse=True)
def _fresh():
    fresh()
    aio._waiting.clear()


class Thing(FakeDevice):
    DEVICE_ID = 42


class Driver(Device):
    NAME = "thing"

    def probe(self):
        self.vq = self.queue(0)


@pytest.fixture(params=[9, 0], ids=["interrupt", "polled"])
def rig(request):
    """(driver, device) whose chains wait until the test finishes them."""
    device = Thing()
    device.manual = True
    driver, _ = attach(device, Driver, source=request.param)
    device.on_interrupt = lambda: riscv.interrupt(request.param) if request.param else None
    return driver.open(), device


def finish(device, n=1):
    queue = device.queues[0]
    for chain in queue.held[:n]:
        queue.finish(chain, 0)


async def post(driver, token=None):
    head = driver.vq.add([b"x"], [], token)
    driver.vq.notify()
    return head


def test_task_waits_while_others_run(rig):
    driver, device = rig
    order = []

    async def waiter():
        head = await post(driver)
        order.append("waiting")
        order.append(await driver.vq.wait_async(head))

    async def main():
        task = asyncio.create_task(waiter())
        for i in range(3):
            await asyncio.sleep(0.002)
            order.append(i)
        finish(device)
        await task

    asyncio.run(main())
    assert order == ["waiting", 0, 1, 2, 0]
    assert driver.vq.in_flight == 0 and driver.vq.num_free == driver.vq.size


def test_tasks_get_their_own_chains_out_of_order(rig):
    driver, device = rig
    ended = []

    async def waiter(n):
        await driver.vq.wait_async(await post(driver))
        ended.append(n)

    async def main():
        tasks = [asyncio.create_task(waiter(n)) for n in range(8)]
        await asyncio.sleep(0.005)
        queue = device.queues[0]
        for chain in queue.held[::-1]:
            queue.finish(chain, 0)
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert ended == list(range(8))[::-1]


def test_iteration_gives_tokens_until_the_device_is_closed(rig):
    driver, device = rig
    seen = []

    async def reader():
        async for token, used in driver.vq:
            seen.append((token, used))

    async def main():
        task = asyncio.create_task(reader())
        for n in range(5):
            await post(driver, "token%d" % n)
            await asyncio.sleep(0.002)
            finish(device)
        await asyncio.sleep(0.02)
        driver.close()
        await task

    asyncio.run(main())
    assert seen == [("token%d" % n, 0) for n in range(5)]


def test_timeout_leaves_the_buffers_with_the_queue(rig):
    driver, device = rig

    async def main():
        await driver.vq.wait_async(await post(driver), 20)

    with pytest.raises(OSError, match="no answer in 20 ms") as info:
        asyncio.run(main())
    assert info.value.args[0] == 110
    assert driver.vq.in_flight == 1
    finish(device)
    driver.vq.reap()
    assert driver.vq.num_free == driver.vq.size


def test_cancelled_task_leaves_the_buffers_with_the_queue(rig):
    driver, device = rig

    async def main():
        task = asyncio.create_task(driver.vq.wait_async(await post(driver), None))
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert driver.vq.in_flight == 1 and not aio._waiting


def test_device_that_needs_a_reset_ends_the_wait(rig):
    driver, device = rig

    async def main():
        task = asyncio.create_task(driver.vq.wait_async(await post(driver), 5000))
        await asyncio.sleep(0.005)
        device.status |= 64  # without an interrupt
        await task

    start = time.monotonic()
    with pytest.raises(DeviceError, match="needs a reset"):
        asyncio.run(main())
    assert time.monotonic() - start < 4


def test_interrupts_are_on_only_while_somebody_waits():
    device = Thing()
    device.manual = True
    driver, _ = attach(device, Driver, source=9)
    driver.open()

    async def main():
        await driver.vq.wait_async(await post(driver))

    device.on_interrupt = lambda: riscv.interrupt(9)

    async def both():
        task = asyncio.create_task(main())
        await asyncio.sleep(0.005)
        finish(device)
        await task

    asyncio.run(both())
    assert device.interrupts == 1
    for _ in range(4):
        head = driver.vq.add([b"x"], [])
        driver.vq.notify()
        finish(device)
        driver.vq.wait(head)
    assert device.interrupts <= 2


def test_silenced_source_is_polled(monkeypatch):
    device = Thing()
    device.manual = True
    driver, _ = attach(device, Driver, source=9)
    driver.open()
    driver.interrupts(True)
    riscv.silenced.add(9)
    monkeypatch.setattr(aio, "_TICK_MS", 100_000)
    assert "silenced" in driver.transport.interrupt_text()

    async def main():
        task = asyncio.create_task(driver.vq.wait_async(await post(driver)))
        await asyncio.sleep(0.005)
        finish(device)
        await task

    asyncio.run(main())
