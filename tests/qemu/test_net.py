"""virtio-net in QEMU: raw frames between the guest and this process, and with QEMU's user-mode network."""

import random
import socket

import bus
import pytest

GUEST_MAC = bytes.fromhex("525400000001")
OUR_MAC = bytes.fromhex("5254000000ff")
LOCAL = "0x88b5"  # an EtherType for local experiments


class Wire:
    """The other end of the guest's first network card: one datagram is one frame."""

    def __init__(self, folder):
        self.path = folder / "test"
        self.peer = folder / "qemu"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))

    def options(self, name):
        ends = f"local.type=unix,local.path={self.peer},remote.type=unix,remote.path={self.path}"
        return ["-netdev", f"dgram,id={name},{ends}"]

    def send(self, frame, timeout=20):
        self.socket.settimeout(timeout)
        self.socket.sendto(frame, str(self.peer))

    def recv(self, timeout=20):
        self.socket.settimeout(timeout)
        return self.socket.recv(65536)

    def drain(self):
        self.socket.setblocking(False)
        try:
            while True:
                self.socket.recv(65536)
        except BlockingIOError:
            pass


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    wire = Wire(tmp_path_factory.mktemp("net"))
    yield wire
    wire.socket.close()


@pytest.fixture(scope="module", params=bus.variants("virtio-net", full=False), ids=str)
def machine(request, wire):
    mac = ":".join(f"{byte:02x}" for byte in GUEST_MAC)
    card = {"id": "card", "netdev": "wire", "mac": mac, "speed": 1000, "duplex": "full"}
    device = request.param.device
    return request.param.machine(
        devices=[device("virtio-net", **card) + ",host_mtu=1400", device("virtio-net", netdev="user")],
        extra=[*wire.options("wire"), "-netdev", "user,id=user"],
    )


@pytest.fixture
def card(guest, wire):
    """The guest with its first card open as `d`."""
    guest.exec("import virtio, time\nd = virtio.open('net0')")
    wire.drain()
    return guest


def frame(n, size=60):
    return OUR_MAC + GUEST_MAC + int(LOCAL, 16).to_bytes(2, "big") + random.Random(n).randbytes(size - 14)


def incoming(n, size=60):
    data = frame(n, size)
    return data[6:12] + data[:6] + data[12:]


@pytest.mark.clauses("NET-CFG-03", "NET-CFG-06", "NET-CFG-07")
def test_card_tells_mac_mtu_and_link(card):
    assert card.eval("(d.mac, d.mtu, d.isconnected())") == (GUEST_MAC, 1400, True)
    assert "52:54:00:00:00:01 mtu 1400 up" in card.exec("print(d)")


def test_frames_go_out_unchanged(card, wire):
    for size in (60, 61, 64, 100, 1000, 1414):
        data = frame(size, size)
        assert card.eval(f"d.send({data!r})") == size
        assert wire.recv() == data


def test_frames_come_in_unchanged(card, wire):
    for size in (60, 61, 64, 100, 1000, 1414):
        data = incoming(size, size)
        wire.send(data)
        assert card.eval("d.recv(5000)") == data


def test_many_frames_each_way_arrive_in_order(card, wire):
    card.exec(
        "n = 0\n"
        "def echo(count):\n"
        "    global n\n"
        "    buf = bytearray(2000)\n"
        "    view = memoryview(buf)\n"
        "    while n < count:\n"
        "        size = d.recv_into(buf, 5000)\n"
        "        if size is None:\n"
        "            break\n"
        "        mac = bytes(buf[:6])\n"
        "        buf[:6] = buf[6:12]\n"
        "        buf[6:12] = mac\n"
        "        d.send(view[:size])\n"
        "        n += 1\n"
        "    d.flush()\n"
    )
    card.begin("echo(600)\nprint(n, d.sent, d.received)")
    rng = random.Random(5)
    frames = [incoming(n, rng.randrange(60, 1415)) for n in range(600)]
    for start in range(0, 600, 20):
        for data in frames[start : start + 20]:
            wire.send(data)
        for data in frames[start : start + 20]:
            assert wire.recv() == data[6:12] + data[:6] + data[12:]
    assert card.end() == ("600 600 600\n", "")


def test_frames_wait_while_the_guest_does_not_look(card, wire):
    """More than the posted buffers: the rest waits in QEMU and on the wire."""
    frames = [incoming(n) for n in range(100)]
    card.begin("time.sleep_ms(300)\nr = []\nwhile len(r) < 100:\n    r.append(d.recv(5000))\nprint(r)")
    for data in frames:
        wire.send(data)
    stdout, stderr = card.end()
    assert stderr == "" and stdout == f"{frames!r}\n"


def test_no_frame_is_none_after_the_timeout(card):
    took = card.eval("(lambda t: (d.recv(200), time.ticks_diff(time.ticks_ms(), t)))(time.ticks_ms())")
    assert took[0] is None and 150 <= took[1] < 5000
    assert card.eval("(d.recv(), d.recv_into(bytearray(2000)))") == (None, None)


def test_ctrl_c_stops_waiting_and_the_card_works_on(card, wire):
    card.begin("print('go')\nd.recv(1000000)")
    card.expect_text("go")
    card.ctrl_c()
    assert "KeyboardInterrupt" in card.end()[1]
    wire.send(incoming(1))
    assert card.eval("d.recv(5000)") == incoming(1)


@pytest.mark.clauses("NET-CFG-09")
def test_too_long_or_short_frames_are_refused(card):
    code = "try:\n    d.send(bytes(%d))\nexcept ValueError as e:\n    print(e)"
    for size in (0, 13, 1415):
        assert card.exec(code % size) == f"net0: a frame of {size} bytes, 14 to 1414 fit\n"


def test_link_goes_down_and_up(card):
    for up in (False, True):
        card.qmp("set_link", name="card", up=up)
        assert card.eval("d.isconnected()") is up


# The control queue


def local(n, to=GUEST_MAC, tag=b""):
    """A frame to an address of the test's choice."""
    return to + OUR_MAC + tag + int(LOCAL, 16).to_bytes(2, "big") + bytes([n]) * 46


OTHER = bytes.fromhex("5254000000aa")
GROUP = bytes.fromhex("3333000000bb")
EVERYBODY = b"\xff" * 6


UNTIL9 = """
def until9():
    seen = []
    while True:
        n = d.recv(5000)[14]
        if n == 9:
            return seen
        seen.append(n)
"""


@pytest.mark.clauses("NET-CTRL-08")
def test_filters_say_what_comes_in(card, wire):
    card.exec(UNTIL9)

    def heard(end=GUEST_MAC):
        for n, to in enumerate((GUEST_MAC, OTHER, GROUP, EVERYBODY)):
            wire.send(local(n, to))
        wire.send(local(9, end))
        return card.eval("until9()")

    assert heard() == [0, 1, 2, 3]  # QEMU begins promiscuous
    card.exec("d.ctrl.rx_mode(promisc=False)")
    assert heard() == [0, 3]
    card.exec("d.ctrl.rx_mode(allmulti=True)")
    assert heard() == [0, 2, 3]
    card.exec("d.ctrl.rx_mode(allmulti=False, alluni=True, nobcast=True)")
    assert heard() == [0, 1]
    card.exec("d.ctrl.rx_mode(alluni=False, nobcast=False)")
    card.exec(f"d.ctrl.mac_table([{OTHER!r}], [{GROUP!r}])")
    assert heard() == [0, 1, 2, 3]
    card.exec("d.ctrl.mac_table()")
    assert heard() == [0, 3]
    card.exec(f"d.config(mac={OTHER!r})")
    assert card.eval("d.mac") == OTHER
    assert heard(OTHER) == [1, 3]


def test_vlan_filter(card, wire):
    card.exec(
        "def vlans():\n"
        "    seen = []\n"
        "    f = d.recv(5000)\n"
        "    while f[12] == 0x81:\n"
        "        seen.append(f[15])\n"
        "        f = d.recv(5000)\n"
        "    return seen\n"
    )

    def heard():
        for vlan in (5, 6):
            wire.send(local(9, tag=b"\x81\0\0" + bytes([vlan])))
        wire.send(local(9))
        return card.eval("vlans()")

    card.exec("d.ctrl.rx_mode(promisc=False)\nd.ctrl.vlan_add(5)")
    assert heard() == [5]
    card.exec("d.ctrl.vlan_add(6)\nd.ctrl.vlan_remove(5)")
    assert heard() == [6]


@pytest.mark.clauses("NET-CTRL-10", "NET-CTRL-11")
def test_the_host_asks_for_an_announcement(card, wire):
    """QEMU sends one itself, in our name; what the guest adds is its own."""
    card.exec(f"d.on_announce = lambda c: c.send({local(7, EVERYBODY)!r})")
    card.qmp("announce-self", initial=50, max=50, rounds=1, step=50, interfaces=["card"])
    assert card.eval("d.poll_config()") is True
    while (seen := wire.recv())[12:14] == b"\x80\x35":
        pass
    assert seen == local(7, EVERYBODY)
    assert card.eval("d.config_u16(6)") == 1  # acknowledged
    card.exec("d.on_announce = None\nd.announce()")
    assert wire.recv()[:14] == EVERYBODY + GUEST_MAC + b"\x80\x35"


def test_speed_and_duplex(card):
    legacy = card.eval("d.transport.legacy")
    assert card.eval("(d.speed, d.duplex)") == ((None, None) if legacy else (1000, "full"))


def test_batches(card, wire):
    frames = [incoming(n, 60) for n in range(300)]
    card.begin("r = []\nwhile len(r) < 300: r += d.recv_many(300, 5000)")
    for data in frames:
        wire.send(data)
    assert card.end() == ("", "")
    assert card.eval("r") == frames
    card.begin("print(d.send_many([f[6:12] + f[:6] + f[12:] for f in r]))")
    for data in frames:
        assert wire.recv() == data[6:12] + data[:6] + data[12:]
    assert card.end() == ("300\n", "")


def test_interrupts_and_asyncio(card, wire):
    card.exec(
        "import asyncio\n"
        "flag = asyncio.ThreadSafeFlag()\n"
        "d.on_receive = lambda c: flag.set()\n"
        "d.interrupts(True)\n"
        "async def main():\n"
        "    for _ in range(20):\n"
        "        f = d.recv()\n"
        "        while f is None:\n"
        "            await flag.wait()\n"
        "            f = d.recv()\n"
        "        d.send(f[6:12] + f[:6] + f[12:])\n"
    )
    card.begin("asyncio.run(main())")
    for n in range(20):
        wire.send(incoming(n))
        assert wire.recv() == frame(n)
    assert card.end() == ("", "")


def test_traffic_during_a_soft_reset_harms_nothing(card, wire):
    """The device is reset before the heap goes: frames that come later land nowhere."""
    for n in range(10):
        wire.send(incoming(n))
    card.soft_reset()
    for n in range(10):
        wire.send(incoming(n))
    card.exec("import gc\nx = [bytearray(1000) for _ in range(2000)]\nassert not any(any(b) for b in x)\ngc.collect()")
    card.exec("import virtio\nd = virtio.open('net0')\nwhile d.recv(50): pass")
    wire.send(incoming(77))
    assert card.eval("d.recv(5000)") == incoming(77)


def test_close_and_open_again(card, wire):
    card.exec("d.close()\nd.open()")
    wire.send(incoming(3))
    assert card.eval("d.recv(5000)") == incoming(3)


PING = """
import virtio, struct
d = virtio.open('net1')
us, them = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 2))

def total(data):
    s = sum(struct.unpack('>%dH' % (len(data) // 2), data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return s ^ 0xFFFF

def wait(match):
    for _ in range(50):
        f = d.recv(2000)
        if f and match(f):
            return f
    raise OSError('no answer')

arp = struct.pack('>HHBBH', 1, 0x800, 6, 4, 1) + d.mac + us + bytes(6) + them
d.send(b'\\xff' * 6 + d.mac + b'\\x08\\x06' + arp)
answer = wait(lambda f: f[12:14] == b'\\x08\\x06' and f[20:22] == b'\\0\\2')
gateway = answer[22:28]
print(answer[28:32] == them)

echo = struct.pack('>BBHHH', 8, 0, 0, 0x1234, 1) + b'payload!' * 4
echo = echo[:2] + struct.pack('>H', total(echo)) + echo[4:]
head = struct.pack('>BBHHHBBH', 0x45, 0, 20 + len(echo), 1, 0, 64, 1, 0) + us + them
head = head[:10] + struct.pack('>H', total(head)) + head[12:]
d.send(gateway + d.mac + b'\\x08\\0' + head + echo)
answer = wait(lambda f: f[12:14] == b'\\x08\\0' and f[23] == 1)
print(answer[34], answer[42:74] == b'payload!' * 4, total(answer[34:74]))
"""


def test_arp_and_ping_on_the_user_network(guest):
    assert guest.exec(PING, timeout=30) == "True\n0 True 0\n"
