"""The sessions in modules/pci/README.md, typed into the machine that it describes."""

import pytest
import walkthrough

README = walkthrough.MODULES / "pci" / "README.md"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return {"legacy": True, "extra": walkthrough.machine(README, tmp_path_factory.mktemp("disk") / "disk.img")}


def on_host(guest, words):
    command, *rest = words.split()
    if command == "device_add":
        guest.qmp("device_add", driver=rest[0], id=rest[1], bus=rest[2])
    else:
        guest.qmp(command, id=rest[0])


def test_the_readme_tells_the_truth(guest):
    assert walkthrough.check(guest, README, on_host) > 20
