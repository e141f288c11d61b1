"""The sessions in the pages about virtio and fdt, typed into the machine that the first of them describes."""

import pytest
import walkthrough


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """What the README tells to type, with another path of the disk."""
    path = walkthrough.MODULES / "virtio/README.md"
    extra = walkthrough.machine(path, tmp_path_factory.mktemp("disk") / "disk.img")
    allow = [r": Looped descriptor$"]  # interrupts.md breaks a chain on purpose
    return {"legacy": True, "smp": 1, "mem": "128M", "extra": extra, "allow": allow}


def on_host(guest, words):
    if words.startswith("balloon is "):
        assert guest.qmp("query-balloon")["actual"] == int(words.split()[-1])
    else:
        guest.qmp("balloon", value=int(words.split()[-1]))


PAGES = [
    ("virtio/README.md", 50),
    ("fdt/README.md", 20),
    ("virtio/docs/interrupts.md", 25),
    ("virtio/docs/rings.md", 15),
    ("virtio/docs/blk.md", 12),
    ("virtio/docs/net.md", 14),
    ("virtio/docs/console.md", 5),
]


@pytest.mark.parametrize("page, least", PAGES)
def test_the_page_tells_the_truth(guest, page, least):
    assert walkthrough.check(guest, walkthrough.MODULES / page, on_host) > least
