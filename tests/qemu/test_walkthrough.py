"""The sessions in the pages about virtio and fdt, typed into the machine that the first of them describes."""

from pathlib import Path

import pytest
import walk
from vhost_gpio import GPIO

MODULES = Path(__file__).parents[2] / "modules"
PAGES = [
    ("virtio/README.md", 40),
    ("fdt/README.md", 20),
    ("virtio/docs/interrupts.md", 25),
    ("virtio/docs/rings.md", 15),
    ("virtio/docs/blk.md", 12),
    ("virtio/docs/net.md", 14),
    ("virtio/docs/console.md", 5),
]


def text_of(page):
    return (MODULES / page).read_text()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """What the README tells to type."""
    allow = [r": Looped descriptor$"]  # interrupts.md breaks a chain on purpose
    return walk.machine(text_of("virtio/README.md"), tmp_path_factory.mktemp("files")) | {"allow": allow}


@pytest.mark.parametrize("page, least", PAGES)
def test_the_page_tells_the_truth(guest, page, least):
    assert walk.play(guest, text_of(page)) > least


def test_a_driver_is_written_at_the_prompt(new_guest, tmp_path):
    backend = GPIO(tmp_path / "gpio.sock")
    backend.start()
    text = text_of("virtio/docs/writing-a-driver.md").replace("    python3 tests/lib/vhost_gpio.py gpio.sock &\n", "")
    guest = new_guest(**walk.machine(text, tmp_path))
    guest.wait_prompt()
    assert walk.play(guest, text) > 15
    assert backend.level == [1, 0, 0, 0]
    assert backend.direction == [1, 0, 0, 2]
    guest.close()
    backend.stop()
