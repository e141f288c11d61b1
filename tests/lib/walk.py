"""Pages of documentation that are run: the machine that a page describes, and the sessions typed into it."""

import ast
import doctest
import re
import shlex
import subprocess

from session import RemoteError

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|^<!-- host: (.*?) -->$", re.M | re.S)
_COMMAND = re.compile(r"^    (qemu-system-riscv64 .*?[^\\])\n", re.M | re.S)
_SHELL = re.compile(r"^    (?!qemu-system-riscv64|    )(\S.*)\n", re.M)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def machine(text, folder):
    """Session keyword arguments for what a page tells to type; its files are made in a folder."""
    found = _COMMAND.search(text)
    for line in _SHELL.findall(text[: found.start()]):
        subprocess.run(line, shell=True, check=True, cwd=folder)
    words = shlex.split(found[1].replace("\\\n", ""))
    assert words[0] == "qemu-system-riscv64"
    for option, value in (("-M", "virt"), ("-bios", "build/firmware.elf")):
        at = words.index(option)
        assert words[at + 1] == value
        del words[at : at + 2]
    if "-serial" in words:  # a window may open
        at = words.index("-serial")
        del words[at : at + 2]
    else:
        words.remove("-nographic")
    mem = "128M"
    if "-m" in words:
        at = words.index("-m")
        mem = words[at + 1]
        del words[at : at + 2]
    legacy = "virtio-mmio.force-legacy=off" not in words
    extra = [re.sub(r"\b(path|file)=([^,]+)", rf"\1={folder}/\2", word) for word in words[1:]]
    return {"legacy": legacy, "smp": 1, "mem": mem, "extra": extra}


def play(guest, text, on_host=None):
    """Type a page's sessions into a guest and compare; how many lines. on_host(words): its host comments."""
    examples = 0
    for kind, block, host in _BLOCK.findall(text):
        if host:
            on_host(host)
        elif kind == "python":
            guest.exec(block)
        elif kind == "pycon":
            for example in doctest.DocTestParser().get_examples(block):
                examples += 1
                got = _run(guest, example)
                assert _same(example, got), f">>> {example.source}wanted:\n{example.want}got:\n{got}"
    return examples


def _run(guest, example):
    """What the REPL would print for one example."""
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


def _same(example, got):
    check = doctest.OutputChecker().check_output
    if example.exc_msg is not None:
        return check(example.exc_msg, got.strip().splitlines()[-1] + "\n", _FLAGS)
    return check(example.want, got, _FLAGS)
