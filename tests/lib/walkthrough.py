"""Sessions in Markdown pages: blocks of ```pycon, typed at the guest's prompt, and compared as doctest does."""

import ast
import doctest
import re
import shlex
from pathlib import Path

from session import RemoteError

MODULES = Path(__file__).parents[2] / "modules"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|^<!-- host: (.*?) -->$", re.M | re.S)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


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


def check(guest, path, on_host):
    """Type all of a page: on_host(guest, words) for its comments <!-- host: words -->; how many examples."""
    examples = 0
    for kind, text, host in BLOCK.findall(path.read_text()):
        if host:
            on_host(guest, host)
        elif kind == "python":
            guest.exec(text)
        else:
            for example in doctest.DocTestParser().get_examples(text):
                examples += 1
                got = run(guest, example)
                assert same(example, got), f">>> {example.source}wanted:\n{example.want}got:\n{got}"
    return examples


def machine(path, disk=None):
    """QEMU's options that a page tells to type, with another path of the disk."""
    command = re.search(r"^    (qemu-system-riscv64 .*?[^\\])\n", path.read_text(), re.M | re.S)[1]
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:5] == ["qemu-system-riscv64", "-M", "virt", "-bios", "build/firmware.elf"]
    if words[5:7] == ["-serial", "mon:stdio"]:  # a window may open
        return words[7:]
    assert words[5] == "-nographic"
    disk.write_bytes(bytes(4 << 20))
    return [word.replace("disk.img", str(disk)) for word in words[6:]]
