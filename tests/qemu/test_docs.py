"""Each page about a device, typed into the machine that it describes."""

from pathlib import Path

import pytest
import walk

DOCS = Path(__file__).parents[2] / "modules/virtio/docs"
PAGES = {"9p": 20, "scsi": 25, "balloon": 12, "crypto": 9}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_tells_the_truth(new_guest, tmp_path, name):
    text = (DOCS / f"{name}.md").read_text()
    guest = new_guest(**walk.machine(text, tmp_path))
    guest.wait_prompt()

    def on_host(words):
        if words.startswith("balloon is "):
            assert guest.qmp("query-balloon")["actual"] == int(words.split()[-1])
        else:
            guest.qmp("balloon", value=int(words.split()[-1]))

    assert walk.play(guest, text, on_host) >= PAGES[name]
