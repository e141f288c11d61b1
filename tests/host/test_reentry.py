"""Callbacks between any two bytecodes of the queue's and the disk's Python: nothing is lost or comes twice."""

import sys

import micropython
import pytest
from fake_device import INDIRECT_DESC, FakeDevice, mask
from fake_net import GUEST_CSUM, MAC, MRG_RXBUF, FakeNet
from frames import frame, ip_frame
from virtio.device import Device
from virtio.net import Net
from virtio_host import LAYOUTS, attach, blk, fresh

FILES = ("/virtio/queue.py", "/virtio/blkqueue.py", "/virtio/blkrequest.py", "/virtio/blk.py", "/virtio/nettx.py")
RECEIVE_FILES = ("/virtio/queue.py", "/virtio/net.py", "/virtio/netrx.py")


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


class Callback:
    """Calls a function before the n-th bytecode of the modules, and every `every` bytecodes from there on."""

    def __init__(self, function, n, every, files=FILES):
        self.files = files
        self.function = function
        self.left = n
        self.every = every
        self.fired = 0
        self.inside = False

    def __enter__(self):
        sys.settrace(self.trace)
        return self

    def __exit__(self, *args):
        sys.settrace(None)

    def trace(self, frame, event, arg):
        code = frame.f_code
        if self.inside or code in micropython.natives or not code.co_filename.endswith(self.files):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.step

    def step(self, frame, event, arg):
        if event == "opcode" and not self.inside:
            self.left -= 1
            if self.left == 0:
                self.left = self.every
                self.inside = True
                self.fired += 1
                try:
                    self.function()
                finally:
                    self.inside = False
        return self.step


class Echo(FakeDevice):
    DEVICE_ID = 42

    def process(self, queue, chain):
        chain.write(chain.data()[::-1][: chain.room])
        return chain.room


class Driver(Device):
    NAME = "echo"
    IDS = (42,)

    def probe(self):
        self.vq = self.queue(0, 32)


def everywhere(scenario, most, every):
    """Run scenario(n, every) with the first callback at bytecode n, for n as far as it goes, `most` of them."""
    n, step = 1, 1
    for _ in range(most):
        if not scenario(n, every):
            return
        n += step
        step += 1


@pytest.mark.parametrize("features", [0, 1 << INDIRECT_DESC])
@pytest.mark.parametrize("every", [7, 31, 100000])
def test_queue_of_tasks_and_a_callback(layout, features, every):
    """Waiting calls in the foreground; the callback takes what has a token, and puts as much in."""

    def scenario(n, every):
        fresh()
        device = Echo(ring_features=layout & ~(1 << INDIRECT_DESC) | features, queues=(32,))
        driver, _ = attach(device, Driver)
        vq = driver.open().vq
        given, got = [], []

        def callback():
            for _ in range(2):
                found = vq.get()
                if found:
                    got.append(found)
            if vq.num_free > 12 and len(given) < 60:
                given.append(len(given))
                vq.add([b"xy"] * (1 + len(given) % 6), [bytearray(2)], given[-1])
                vq.notify()

        with Callback(callback, n, every) as calls:
            for i in range(4):
                answers = [bytearray(3) for _ in range(3)]
                heads = [vq.add([b"abc"] * (1 + i), [answer]) for answer in answers]
                assert [vq.wait(head) for head in reversed(heads)] == [3, 3, 3]
                assert answers == [b"cba"] * 3
        while (found := vq.get()) is not None:
            got.append(found)
        assert sorted(got) == [(token, 2) for token in given]
        assert vq.num_free == 32 and vq.in_flight == 0
        return calls.fired

    everywhere(scenario, 24, every)


@pytest.mark.parametrize("every", [11, 53, 100000])
@pytest.mark.parametrize("bad", [False, True])
def test_disk_of_tasks_and_a_callback(layout, every, bad):
    """Blocking reads in the foreground; interrupts finish requests, and start some of their own."""

    def scenario(n, every):
        fresh()
        disk, device = blk(ring_features=layout, queue=16)
        device.per_poll = 2
        if bad:
            device.bad = {5, 21}
        mine = []

        def callback():
            disk.on_interrupt()
            if len(mine) < 6:
                buf = bytearray(512)
                mine.append((5 if len(mine) == 2 else 7, buf, disk.submit("r", 5 if len(mine) == 2 else 7, buf)))

        with Callback(callback, n, every) as calls:
            for count in (1, 5, 30):
                pieces = [(i * 3 % 60, bytearray(512)) for i in range(count)]
                try:
                    disk.read_many(pieces)
                    assert not bad or count < 8
                except OSError as er:
                    assert bad and er.args[0] == 5 and er.args[1].endswith("IOERR")
                for sector, buf in pieces:
                    wanted = bytes(512) if sector in device.bad else device.disk[512 * sector : 512 * sector + 512]
                    assert buf == wanted, sector
        for sector, buf, request in mine:
            try:
                request.wait()
                assert sector not in device.bad and buf == device.disk[512 * sector : 512 * sector + 512]
            except OSError as er:
                assert sector in device.bad and er.args[1].endswith("IOERR")
        assert disk.vq.in_flight == 0 and disk.engine._waiting == []
        assert [r for r in disk.engine.requests.values() if not r.kept] == []
        return calls.fired

    everywhere(scenario, 24, every)


@pytest.mark.parametrize("every", [13, 100000])
def test_frames_of_a_task_and_a_callback(layout, every):
    """Sending when buffers are scarce, while a callback sends as many as there are."""

    def scenario(n, every):
        fresh()
        model = FakeNet(ring_features=layout)
        card, _ = attach(model, Net)
        card.BUFFERS = 2
        card.open()
        mine = []

        def callback():
            sender = card._senders[0]
            sender.reclaim()
            while sender.free and len(mine) < 40:
                mine.append(frame(100 + len(mine)))
                card.send(mine[-1], timeout_ms=0)

        frames = [frame(i) for i in range(12)]
        with Callback(callback, n, every) as calls:
            for one in frames:
                card.send(one)
        card.flush()
        assert [one for one in model.frames if one in frames] == frames
        assert [one for one in model.frames if one not in frames] == mine
        return calls.fired

    everywhere(scenario, 24, every)


def interrupted(call, n):
    """Call with Ctrl-C before the n-th bytecode of the modules; whether it came."""

    def press():
        raise KeyboardInterrupt

    with Callback(press, n, 1 << 60, RECEIVE_FILES) as calls:
        try:
            call()
        except KeyboardInterrupt:
            pass
    return calls.fired


RECEIVING = {
    "recv": lambda card: card.recv(),
    "recv_many": lambda card: card.recv_many(3),
    "recv_into": lambda card: card.recv_into(bytearray(4000)),
    "recv_packet": lambda card: card.recv_packet(),
    "recv_view": lambda card: card.recv_view(),
    "recv_view twice": lambda card: (card.recv_view(), card.recv_view()),
    "too short": lambda card: pytest.raises(ValueError, card.recv_into, bytearray(20)),
    "nothing": lambda card: (card.recv(), card.recv(), card.recv()),
}


@pytest.mark.parametrize("features", [mask(MAC, GUEST_CSUM), mask(MAC, GUEST_CSUM, MRG_RXBUF)])
@pytest.mark.parametrize("name", RECEIVING)
def test_ctrl_c_loses_no_receive_buffer(layout, name, features):
    """Wherever it comes while frames are read, all buffers are the card's again once the next ones were read."""
    n, fired = 0, True
    while fired:
        n += 1
        fresh()
        model = FakeNet(features=features, ring_features=layout)
        card, _ = attach(model, Net)
        card.BUFFERS = 6
        card.open()
        model.deliver(ip_frame(bytes(200), finish=False), flags=1, start=34, offset=16)
        model.deliver(frame(1, 1514) + (frame(2, 1514) if features & mask(MRG_RXBUF) else b""))
        model.deliver(frame(3))
        fired = interrupted(lambda card=card: RECEIVING[name](card), n)
        while card.recv() is not None:
            pass
        for i in range(6):
            model.deliver(frame(i))
        assert card.recv_many() == [frame(i) for i in range(6)], "Ctrl-C at bytecode %d" % n
    assert n > 5
