"""The sessions in the pages about input and graphics, each in the machine that it describes."""

from pathlib import Path

import pytest
import walk

DOCS = Path(__file__).parents[2] / "modules/virtio/docs"


def press(guest, keys):
    """Press the keys, let them go in reverse order."""
    for down in (True, False):
        keys = keys if down else keys[::-1]
        events = [{"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": key}}} for key in keys]
        guest.qmp("input-send-event", events=events)


def point(guest, x, y):
    events = [{"type": "abs", "data": {"axis": axis, "value": int(value)}} for axis, value in (("x", x), ("y", y))]
    guest.qmp("input-send-event", events=events)


def pixel(guest, path, x, y):
    """What a screenshot shows there, as six hexadecimal digits."""
    guest.qmp("screendump", filename=str(path))
    size, pixels = path.read_bytes().split(b"\n", 3)[1::2]
    at = 3 * (int(y) * int(size.split()[0]) + int(x))
    return pixels[at : at + 3].hex()


@pytest.mark.parametrize("page, least", [("input.md", 20), ("gpu.md", 25)])
def test_the_page_tells_the_truth(new_guest, page, least, tmp_path):
    def on_host(words):
        what, *rest = words.split()
        if what == "press":
            press(guest, rest)
        elif what == "point":
            point(guest, *rest)
        else:
            assert what == "pixel" and pixel(guest, tmp_path / "screen.ppm", *rest[:2]) == rest[2], words

    text = (DOCS / page).read_text()
    guest = new_guest(**walk.machine(text, tmp_path), allow=[r"fb 8 8($|, rect )"])
    guest.wait_prompt()
    assert walk.play(guest, text, on_host) > least
