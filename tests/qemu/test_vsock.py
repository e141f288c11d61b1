"""virtio-vsock in QEMU, with the host's end in this process: vhost-user needs nothing of the host's kernel."""

from pathlib import Path

import pytest
import walk
from session import RemoteError
from vhost_vsock import ECHO, VSock

PAGE = Path(__file__).parents[2] / "modules/virtio/docs/vsock.md"


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    backend = VSock(tmp_path_factory.mktemp("vsock") / "vsock.sock", cid=33)
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def machine(backend, tmp_path_factory):
    words = "-machine memory-backend=ram -object memory-backend-memfd,id=ram,size=128M,share=on"
    words += f" -chardev socket,id=vsock,path={backend.path} -device vhost-user-vsock-device,chardev=vsock"
    return {"legacy": False, "mem": "128M", "extra": words.split()}


@pytest.fixture
def vsock(guest):
    guest.exec("import virtio\nd = virtio.open('vsock0')")
    yield guest
    guest.exec("d.close()")


@pytest.mark.clauses("VSOCK-05", "VSOCK-06", "VSOCK-07")
def test_a_stream_to_the_host_and_back(vsock):
    assert vsock.eval("(d.cid, d.features & 7)") == (33, 0)
    code = f"""
s = d.connect(2, {ECHO})
print(s.write(b"hello\\n"), s.readline())
data = bytes(range(256)) * 1024
back = b""
at = 0
while len(back) < len(data):
    at += s.write(data[at:at + 30000]) if at < len(data) else 0
    back += s.read(8192)
print(back == data)
s.close()
"""
    assert vsock.exec(code, timeout=60).splitlines() == ["6 b'hello\\n'", "True"]


def test_nobody_listens_on_the_host(vsock):
    with pytest.raises(RemoteError, match="ECONNREFUSED: vsock0: 2:8: nobody listens there"):
        vsock.exec("d.connect(2, 8)")


@pytest.mark.clauses("VSOCK-05", "VSOCK-07")
def test_the_host_connects_to_the_guest(vsock, backend):
    vsock.exec("l = d.listen(80)")
    connection = backend.connect(80)
    vsock.exec("s = l.accept()")
    connection.wait(lambda: connection.open)
    connection.send(bytes(100_000))
    code = "n = 0\nwhile n < 100000: n += len(s.read())\ns.write(bytes(70000))\nprint(n)"
    assert vsock.exec(code, timeout=60).strip() == "100000"
    connection.wait(lambda: len(connection.received) == 70_000)
    connection.close()
    assert vsock.eval("s.read()") == b""
    connection.wait(lambda: connection.ended)
    with pytest.raises(RemoteError, match="ENOTCONN"):
        vsock.exec("s.write(b'x')")


def test_asyncio_serves_two_connections_at_once(vsock, backend):
    code = """
import asyncio
async def serve(s, name):
    s.timeout_ms = 0
    r = asyncio.StreamReader(s)
    while True:
        line = await r.readline()
        if not line: return
        r.write(name + line)
        await r.drain()
async def main():
    l = d.listen(81)
    print("go")
    tasks = []
    wait = asyncio.StreamReader(l)
    while len(tasks) < 2:
        s = l.accept(0)
        if s is None:
            await asyncio.sleep_ms(1)
            continue
        tasks.append(asyncio.create_task(serve(s, b"%d " % len(tasks))))
    await asyncio.gather(*tasks)
    l.close()
asyncio.run(main())
"""
    vsock.begin(code)
    vsock.expect_text("go\r\n")
    both = [backend.connect(81), backend.connect(81)]
    for connection in both:
        connection.wait(lambda c=connection: c.open)
    for connection in both[::-1]:
        connection.send(b"line\n")
    for i, connection in enumerate(both):
        connection.wait(lambda c=connection, i=i: c.received == b"%d line\n" % i)
        connection.close()
    assert vsock.end(20)[1] == ""


def test_ctrl_c_stops_a_read_and_the_stream_goes_on(vsock):
    vsock.exec(f"s = d.connect(2, {ECHO})\ns.timeout_ms = 60000")
    vsock.begin("print('go')\ns.read(1)")
    vsock.expect_text("go\r\n")
    vsock.ctrl_c()
    assert vsock.end(20)[1].strip().endswith("KeyboardInterrupt:")
    assert vsock.eval("(s.write(b'abc'), s.read(3))") == (3, b"abc")


def test_recovery_after_a_reset(vsock):
    vsock.exec(f"s = d.connect(2, {ECHO})\nd.interrupts(True)\nd.recover()\nt = d.connect(2, {ECHO})")
    assert vsock.eval("(t.write(b'abc'), t.read(3))") == (3, b"abc")
    with pytest.raises(RemoteError, match="ECONNRESET: vsock0: 2:7: the device was reset"):
        vsock.exec("s.read()")


def test_the_page_tells_the_truth(new_guest, tmp_path):
    text = PAGE.read_text().replace("    python3 tests/lib/vhost_vsock.py vsock.sock &\n", "")
    backend = VSock(tmp_path / "vsock.sock")
    backend.start()
    guest = new_guest(**walk.machine(text, tmp_path))
    guest.wait_prompt()
    assert walk.play(guest, text) >= 17
    guest.close()
    backend.stop()
