"""virtio-sound in QEMU: what is played comes out of its wav backend as it was written."""

import struct

import pytest
from session import qemu_version

pytestmark = pytest.mark.skipif(qemu_version() < (8, 2), reason="QEMU 7.2 has no virtio-sound")

RATE = 44100
# half a second, whose samples tell where they belong
PLAY = f"""
import virtio
from array import array
snd = virtio.open('sound0')
out = snd.streams[0]
out.setup(rate={RATE}, channels=2, form='S16', frames=1024, periods=4)
out.write(bytes(array('h', (v for n in range({RATE // 2}) for v in (n + 1, -n)))))
out.drain()
"""


@pytest.mark.parametrize("device", ["virtio-sound-device", "virtio-sound-pci"])
def test_what_is_played_comes_out(new_guest, tmp_path, device):
    path = tmp_path / "out.wav"
    extra = ["-audiodev", f"wav,id=out,path={path}", "-device", f"{device},audiodev=out"]
    guest = new_guest(extra=extra, allow=[r"virtio_snd: event queue is unimplemented", r"backend for voice"])
    guest.wait_prompt()
    guest.exec(PLAY, timeout=30)
    assert guest.eval("(out.xruns, out.state)") == (0, "stopped")
    guest.exec("out.close()\nsnd.close()")
    guest.close()
    data = path.read_bytes()[44:]
    samples = struct.unpack(f"<{len(data) // 2}h", data)
    start = samples.index(1)
    left, right = samples[start::2], samples[start + 1 :: 2]
    # QEMU may leave out the end when it stops, as much as its backend holds
    count = min(len(left), RATE // 2)
    assert count > RATE // 2 - 2048
    assert left[:count] == tuple(range(1, count + 1))
    assert right[:count] == tuple(-n for n in range(count))
