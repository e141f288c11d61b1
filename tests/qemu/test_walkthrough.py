"""The sessions in the pages about virtio and fdt, typed into the machine that the first of them describes."""

import ast
import doctest
import re
import shlex
from pathlib import Path

import pytest
from session import RemoteError

MODULES = Path(__file__).parents[2] / "modules"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|^<!-- host: (.*?) -->$", re.M | re.S)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """What the README tells to type, with another path of the disk."""
    text = (MODULES / "virtio/README.md").read_text()
    command = re.search(r"^    (qemu-system-riscv64 .*?[^\\])\n", text, re.M | re.S)[1]
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:6] == ["qemu-system-riscv64", "-M", "virt", "-bios", "build/firmware.elf", "-nographic"]
    disk = tmp_path_factory.mktemp("disk") / "disk.img"
    disk.write_bytes(bytes(4 << 20))
    extra = [word.replace("disk.img", str(disk)) for word in words[6:]]
    allow = [r": Looped descriptor$"]  # interrupts.md breaks a chain on purpose
    return {"legacy": True, "smp": 1, "mem": "128M", "extra": extra, "allow": allow}


def run(guest, example):
    """What the REPL would print for one doctest example."""
    source = example.source
    try:
        ast.parse(source, mode="eval")
        source = f"_ = ({source}\n)\nif _ is not None: print(repr(_))\n"
    except SyntaxError:
        pass
    try:
        return guest.exec(source, timeout=30)
    except RemoteError as error:
        return error.stdout + error.traceback.replace("\r\n", "\n")


def same(example, got):
    if example.exc_msg is not None:
        return doctest.OutputChecker().check_output(example.exc_msg, got.strip().splitlines()[-1] + "\n", FLAGS)
    # U-Boot's commands print tables: a line that only says what must occur.
    return doctest.OutputChecker().check_output(example.want, got, FLAGS)


def on_host(guest, words):
    if words.startswith("balloon is "):
        assert guest.qmp("query-balloon")["actual"] == int(words.split()[-1])
    else:
        guest.qmp("balloon", value=int(words.split()[-1]))


PAGES = [("virtio/README.md", 50), ("fdt/README.md", 20), ("virtio/docs/interrupts.md", 25)]


@pytest.mark.parametrize("page, least", PAGES)
def test_the_page_tells_the_truth(guest, page, least):
    examples = 0
    for kind, text, host in BLOCK.findall((MODULES / page).read_text()):
        if host:
            on_host(guest, host)
        elif kind == "python":
            guest.exec(text)
        else:
            for example in doctest.DocTestParser().get_examples(text):
                examples += 1
                got = run(guest, example)
                assert same(example, got), f">>> {example.source}wanted:\n{example.want}got:\n{got}"
    assert examples > least
