"""virtio-console with several ports in QEMU: names, opening and closing, hot plug, the REPL on two at once."""

import time

import bus
import pytest
from line import Line

AGENT = "org.qemu.guest_agent.0"
VARIANTS = [bus.Variant("mmio"), bus.Variant("mmio-legacy"), bus.Variant("pci-legacy"), bus.Variant("pci", packed=True)]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def layout(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ports")
    lines = {name: Line(folder, name) for name in ("first", "agent", "late", "other")}
    yield request.param, lines
    for line in lines.values():
        line.close()


@pytest.fixture
def lines(layout):
    return layout[1]


@pytest.fixture(scope="module")
def machine(layout):
    """Two devices; the port of the agent is a server, so that nobody is there until somebody connects."""
    variant, lines = layout
    device = variant.device
    machine = variant.machine(devices=[device("virtio-serial", id="one"), device("virtio-serial", id="two")])
    for name in ("first", "late", "other"):
        machine["extra"] += lines[name].options(name)
    machine["extra"] += ["-chardev", "socket,id=agent,path=%s.server,server=on,wait=off" % lines["agent"].path]
    for words in (
        "virtconsole,chardev=first,bus=one.0",
        f"virtserialport,id=agent,chardev=agent,bus=one.0,name={AGENT}",
        "virtconsole,chardev=other,bus=two.0",
    ):
        machine["extra"] += ["-device", words]
    return machine


@pytest.fixture
def ports(guest, lines):
    """The guest with the first device open as `d`, and what happens to its ports in `seen`."""
    guest.exec("import virtio, select\nd = virtio.open('console0')\nseen = []")
    guest.exec("d.on_port = lambda port, what: seen.append((port.number, port.name, what))")
    for name in ("first", "other"):
        lines[name].drain()
    return guest


class Agent:
    """Somebody on the host who connects to the agent's port."""

    def __init__(self, lines):
        import socket

        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(lines["agent"].path) + ".server")

    def read(self, n):
        data = b""
        while len(data) < n:
            data += self.socket.recv(n - len(data))
        return data


def wait(guest, condition):
    guest.exec(f"while not ({condition}): d.poll_control()", timeout=20)


@pytest.mark.clauses("CON-03", "CON-05", "CON-06")
def test_ports_have_numbers_and_names(ports):
    assert ports.eval("[(p.number, p.name, p.console) for p in d.ports]") == [(0, "", True), (1, AGENT, False)]
    assert ports.eval("(d.port is d.ports[0], d.port.guest_open, d.find_port(1).host_open)") == (True, True, False)


def test_opening_and_closing_is_seen_on_both_sides(ports, lines):
    ports.exec(f"p = d.open_port({AGENT!r})")
    assert ports.eval("(p.read(), p.readinto(bytearray(3)))") == (b"", 0)
    code = "try:\n    p.write(b'x')\nexcept OSError as e:\n    print(e)"
    assert "nobody has it open on the host" in ports.exec(code)
    agent = Agent(lines)
    wait(ports, "p.host_open")
    assert ports.eval("p.read()") is None
    assert ports.eval("p.write(b'hello')") == 5 and agent.read(5) == b"hello"
    agent.socket.sendall(b"answer")
    wait(ports, "p.any()")
    agent.socket.close()
    wait(ports, "not p.host_open")
    assert ports.eval("(p.read(), p.read())") == (b"answer", b"")
    assert ports.eval("seen") == [(1, AGENT, "opened"), (1, AGENT, "closed")]
    ports.exec("p.close()")
    deadline = time.monotonic() + 20
    events = []
    while events[-1:] != [False]:  # QEMU tells of one a second
        assert time.monotonic() < deadline, events
        ports.qmp("query-status")
        events = [e["data"]["open"] for e in ports.qmp_events if e["event"] == "VSERPORT_CHANGE"]
        time.sleep(0.02)
    assert events[:1] == [True]


def test_asyncio_reads_a_port_to_its_end(ports, lines):
    ports.exec(
        f"p = d.open_port({AGENT!r})\n"
        "import asyncio\n"
        "async def main():\n"
        "    s = asyncio.StreamReader(p)\n"
        "    lines = []\n"
        "    while True:\n"
        "        line = await s.readline()\n"
        "        if not line:\n"
        "            return lines\n"
        "        lines.append(line)\n"
    )
    agent = Agent(lines)
    wait(ports, "p.host_open")
    ports.begin("print(asyncio.run(main()))")
    agent.socket.sendall(b"one\ntwo\n")
    agent.socket.sendall(b"three\n")
    agent.socket.close()
    assert ports.end() == ("[b'one\\n', b'two\\n', b'three\\n']\n", "")


def test_ports_are_plugged_and_unplugged(ports, lines):
    ports.qmp("device_add", driver="virtserialport", bus="one.0", chardev="late", id="hot", name="hot.port", nr=5)
    wait(ports, "[p for p in d.ports if p.name == 'hot.port']")
    ports.exec("p = d.open_port('hot.port')")
    wait(ports, "p.host_open")
    assert ports.eval("(p.number, p.write(b'there'))") == (5, 5)
    assert lines["late"].read(5) == b"there"
    lines["late"].send(b"data")
    wait(ports, "p.any()")
    ports.qmp("device_del", id="hot")
    wait(ports, "p.removed")
    assert ports.eval("(p.read(), p.read(), [q.number for q in d.ports])") == (b"data", b"", [0, 1])
    assert sorted(ports.eval("[what for n, _, what in seen if n == 5]")) == ["added", "named", "opened", "removed"]
    assert "was removed" in ports.exec("try:\n    p.write(b'x')\nexcept OSError as e:\n    print(e)")


def test_several_devices_at_once(ports, lines):
    ports.exec("e = virtio.open('console1')")
    for n in range(20):
        assert ports.eval(f"(d.write(b'one {n:3}'), e.write(b'two {n:3}'))") == (7, 7)
        assert lines["first"].read(7) == b"one %3d" % n and lines["other"].read(7) == b"two %3d" % n


def test_repl_on_two_ports_at_once(ports, lines):
    agent = Agent(lines)
    wait(ports, "d.find_port(1).host_open")
    ports.exec("d.repl()\nd.find_port(1).repl()")
    ports.leave_raw()
    lines["first"].expect(b">>> $")
    lines["first"].send(b"6 * 7\r")
    lines["first"].expect(b"42\r\n>>> $")
    seen = b""
    while b"42\r\n>>> " not in seen:
        seen += agent.read(1)
    agent.socket.sendall(b"print('g' + 'o'); exec('while True: pass')\r")
    lines["first"].expect(b"\r\ngo\r\n")
    agent.socket.sendall(b"\x03")
    lines["first"].expect(b"KeyboardInterrupt: *\r\n>>> $")
    agent.socket.close()
    lines["first"].send(b"'still ' + 'here'\r")
    lines["first"].expect(b"'still here'\r\n>>> $")
    ports.enter_raw()
    assert ports.eval("(d.find_port(1).on_repl, d.port.on_repl)") == (True, True)
    ports.exec("d.find_port(1).repl(False)\nd.repl(False)")
