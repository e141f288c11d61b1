"""virtio-console in QEMU: a port as a stream, with asyncio, and as a REPL."""

import random
import time

import bus
import pytest
from line import Line

VARIANTS = [bus.Variant("mmio"), bus.Variant("mmio-legacy"), bus.Variant("pci-transitional", event_idx=False)]
VARIANTS += [bus.Variant("pci", packed=True)]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def layout(request, tmp_path_factory):
    line = Line(tmp_path_factory.mktemp("console"))
    yield request.param, line
    line.close()


@pytest.fixture(scope="module")
def machine(layout):
    variant, line = layout
    machine = variant.machine(devices=["virtio-serial"], extra=line.options("line"))
    machine["extra"] += ["-device", "virtconsole,chardev=line"]
    return machine


@pytest.fixture
def line(layout):
    return layout[1]


@pytest.fixture
def console(guest, line):
    """The guest with its console open as `d`, the port as `p`."""
    guest.exec("import virtio\nd = virtio.open('console0')\np = d.port")
    line.drain()
    return guest


# A stream


@pytest.mark.clauses("CON-01", "CON-02")
def test_bytes_go_both_ways(console, line):
    assert console.eval("p.write(b'hello')") == 5
    assert line.read(5) == b"hello"
    assert console.eval("(p.read(), p.readline(), p.readinto(bytearray(5)))") == (None, None, None)
    line.send(b"one\ntwo")
    console.exec("while not p.any(): pass")
    assert console.eval("(p.read(2), p.readline(), p.read())") == (b"on", b"e\n", b"two")


def test_a_lot_goes_both_ways(console, line):
    console.exec(
        "import hashlib\n"
        "def take(total):\n"
        "    h = hashlib.sha256()\n"
        "    n = 0\n"
        "    while n < total:\n"
        "        data = p.read()\n"
        "        if data:\n"
        "            h.update(data)\n"
        "            n += len(data)\n"
        "            p.write(b'%6d' % n)\n"
        "    return n, h.digest().hex()\n"
    )
    import hashlib

    data = random.Random(3).randbytes(300_000)
    console.begin("print(take(300000))")
    for start in range(0, len(data), 10_000):
        line.send(data[start : start + 10_000])
    seen = 0
    while seen < len(data):
        seen = int(line.read(6))
    stdout, stderr = console.end()
    assert stderr == "" and stdout == f"(300000, '{hashlib.sha256(data).hexdigest()}')\n"


def test_select_sees_input_and_room(console, line):
    console.exec("import select\nq = select.poll()\nq.register(p, select.POLLIN)")
    assert console.eval("q.poll(50)") == []
    line.send(b"x")
    assert console.eval("[e for _, e in q.poll(5000)]") == [1]
    assert console.eval("p.read()") == b"x"
    console.exec("q.modify(p, select.POLLOUT)")
    assert console.eval("[e for _, e in q.poll(50)]") == [4]
    console.exec("d.close()")
    assert console.eval("[e for _, e in q.poll(50)]") == [0x20]


@pytest.mark.parametrize("wait", ["q.poll()", "q.poll(60000)", "asyncio.run(main())"])
def test_a_wait_ends_with_the_first_byte(console, line, wait):
    """Nothing else wakes the guest: the device has to interrupt."""
    console.exec(
        "import select, asyncio\n"
        "q = select.poll()\n"
        "q.register(p, select.POLLIN)\n"
        "async def main():\n"
        "    return await asyncio.StreamReader(p).readline()\n"
    )
    for _ in range(3):
        console.begin(f"print('go')\nprint(bool({wait}))\np.read()")
        console.expect_text("go")
        time.sleep(0.1)  # until it sleeps; shorter or longer, it must wake
        line.send(b"x\n")
        assert console.end() == ("\nTrue\n", "")


def test_asyncio_reads_lines_while_other_tasks_run(console, line):
    console.exec(
        "import asyncio\n"
        "ticks = 0\n"
        "async def tick():\n"
        "    global ticks\n"
        "    while True:\n"
        "        ticks += 1\n"
        "        await asyncio.sleep_ms(10)\n"
        "async def main():\n"
        "    t = asyncio.create_task(tick())\n"
        "    s = asyncio.StreamReader(p)\n"
        "    for _ in range(3):\n"
        "        s.write(b'echo ' + await s.readline())\n"
        "        await s.drain()\n"
        "    t.cancel()\n"
    )
    console.begin("asyncio.run(main())\nprint(ticks > 0)")
    for n in range(3):
        line.send(b"li")
        line.send(b"ne %d\n" % n)
        assert line.expect(b"\n") == b"echo line %d\n" % n
    assert console.end() == ("True\n", "")


def test_it_opens_again_after_close_and_soft_reset(console, line):
    console.exec("d.close()\nd.open()\nd.write(b'again')")
    line.expect(b"again")
    console.soft_reset()
    console.exec("import virtio\nvirtio.open('console0').write(b'and again')")
    line.expect(b"and again")


def test_closed_port_refuses(console):
    code = "d.close()\ntry:\n    p.write(b'x')\nexcept ValueError as e:\n    print(e)"
    assert console.exec(code) == "console0 is closed\n"


def test_features_and_size(console):
    """QEMU 7.2 offers no size; emergency write goes past all queues."""
    assert console.eval("d.size") in (None, (0, 0), (80, 25))
    assert console.eval("d.has(1)") is True


def test_emergency_write(console, line):
    console.exec("d.emergency_write('help!')")
    line.expect(b"help!")


# The REPL on it


@pytest.fixture
def terminal(console, line):
    """The REPL on the console beside the UART; the guest is at the friendly prompt."""
    console.exec("d.repl()")
    console.leave_raw()
    line.expect(b">>> $")
    yield line
    console.enter_raw()
    console.exec("d.repl(False)")


def test_repl_answers_on_the_console(terminal):
    terminal.send(b"6 * 7\r")
    assert terminal.expect(b">>> $").replace(b"\r", b"") == b"6 * 7\n42\n>>> "


def test_repl_still_answers_on_the_uart(terminal, console):
    console.write("1 + 1\r")
    console.expect_text("\r\n2\r\n>>> ")
    terminal.expect(rb"1 \+ 1\r\n2\r\n>>> $")


ENDLESS = """
import time, asyncio
def loop():
    while True: pass
def count():
    for _ in range(1 << 60): pass
@micropython.native
def native():
    while True: turn()
def turn():
    for _ in "ab": pass
async def nap():
    await asyncio.sleep(1000)
def run(f):
    print("go")
    f()
"""


@pytest.mark.parametrize(
    "code",
    ["loop", "count", "native", "input", "lambda: time.sleep(1000)", "lambda: asyncio.run(nap())"],
    ids=["loop", "range", "native", "input", "sleep", "asyncio"],
)
def test_ctrl_c_on_the_console_stops_what_runs(console, line, code):
    console.exec(ENDLESS + "d.repl()")
    console.leave_raw()
    line.expect(b">>> $")
    line.send(b"run(%s)\r" % code.encode())
    line.expect(b"\r\ngo\r\n")
    line.send(b"\x03")
    line.expect(b"KeyboardInterrupt: *\r\n>>> $")
    line.send(b"'still ' + 'here'\r")
    line.expect(b"'still here'\r\n>>> $")


def test_a_long_paste_arrives_whole(terminal):
    text = b"x = '" + b"0123456789" * 150 + b"'; print(len(x))\r"
    terminal.send(text)
    terminal.expect(b"\r\n1500\r\n>>> $")


def test_typed_ahead_while_something_runs_is_kept(terminal):
    terminal.send(b"import time; time.sleep_ms(500)\r")
    terminal.send(b"'typed ' * 2\r")
    terminal.expect(b"'typed typed '\r\n>>> $")


def test_raw_repl_works_on_the_console(terminal, console):
    terminal.send(b"\r\x03\x01")
    terminal.expect(rb"raw REPL; CTRL-B to exit\r\n>")
    terminal.send(b"print('raw')\x04")
    assert terminal.expect(b"\x04\x04>") == b"OKraw\r\n\x04\x04>"
    terminal.send(b"\x02")
    terminal.expect(b">>> $")
    console.expect_text("\x04\x04>")  # all of it is on the UART too
    console.wait_prompt()


def test_repl_comes_off_again(console, line):
    console.exec("d.repl()\nd.repl(False)")
    line.drain()
    console.exec("print('not there')")
    line.send(b"1\r")
    console.exec("while not p.any(): pass")
    assert console.eval("p.read()") == b"1\r"
    line.connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        line.connection.recv(100)


def test_output_that_nobody_reads_does_not_stop_the_guest(terminal, console):
    console.write("for i in range(3000): print('x' * 60)\r\r")
    console.expect_text("x" * 60 + "\r\n>>> ", timeout=60)
    terminal.drain()
