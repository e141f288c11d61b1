"""The sessions in modules/pci/README.md, typed into the machine that it describes."""

from pathlib import Path

import pytest
import walk

TEXT = (Path(__file__).parents[2] / "modules/pci/README.md").read_text()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return walk.machine(TEXT, tmp_path_factory.mktemp("files"))


def test_the_readme_tells_the_truth(guest):
    def on_host(words):
        command, *rest = words.split()
        if command == "device_add":
            guest.qmp("device_add", driver=rest[0], id=rest[1], bus=rest[2])
        else:
            guest.qmp(command, id=rest[0])

    assert walk.play(guest, TEXT, on_host) > 20
