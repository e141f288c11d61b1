"""modules/fdt on the target, where its walk is native code: the same answers as on the host, and no faults."""

import base64
import contextlib
import io
import sys
from pathlib import Path

import pytest

MODULES = str(Path(__file__).parents[2] / "modules")
if MODULES not in sys.path:
    sys.path.insert(0, MODULES)

import fdt  # noqa: E402


@pytest.fixture(scope="module", params=["-smp 1", "-smp 8 -m 1G", "-M virt,aia=aplic-imsic -smp 4"])
def machine(request):
    return {"extra": request.param.split(), "smp": 1}


@pytest.fixture
def blob(guest):
    text = guest.exec("import riscv, binascii\nprint(binascii.b2a_base64(riscv.fdt()).decode())")
    return base64.b64decode(text)


def printed(function, *args):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function(*args)
    return out.getvalue()


def test_tree_and_source_are_what_the_host_makes_of_the_blob(guest, blob):
    tree = fdt.FDT(blob)
    assert guest.exec("import fdt\nfdt.tree()") == printed(tree.tree)
    assert guest.exec("fdt.system().dump()") == printed(tree.dump)


def test_registers_and_interrupts_are_what_the_host_makes_of_the_blob(guest, blob):
    code = "[(n.path, n.regs(), [(c.path, i) for c, i in n.interrupts()]) for n in %s.nodes()]"
    host = eval(code % "tree", {"tree": fdt.FDT(blob)})
    guest.exec("import fdt")
    assert guest.eval(code % "fdt.system()") == host


def test_parsing_takes_milliseconds(guest):
    guest.exec("import fdt, riscv, time, gc\ngc.collect()\nt = time.ticks_us()")
    guest.exec("for _ in range(20):\n    fdt.FDT(riscv.fdt()).compatible('virtio,mmio')[0].reg()")
    assert guest.eval("time.ticks_diff(time.ticks_us(), t)") < 20 * 50_000


FUZZ = """
import fdt, riscv, random
from fdt.edit import Editor
whole = bytes(riscv.fdt())
random.seed(%d)

def visit(data):
    tree = fdt.FDT(data)
    for call in (tree.memory, tree.reservations, lambda: tree.compatible('virtio,mmio'),
                 lambda: tree.phandle(1), lambda: tree.node('/chosen'), lambda: tree.find('e')):
        try:
            call()
        except (fdt.FDTError, KeyError):
            pass
    for node in tree.nodes():
        for call in (node.props, node.regs, node.interrupts):
            try:
                call()
            except (fdt.FDTError, KeyError):
                pass

bad = 0
for n in range(%d):
    data = bytearray(whole)
    for _ in range(random.choice((1, 1, 2, 8))):
        data[random.randrange(len(data))] = random.choice((0, 1, 2, 3, 4, 9, 0x7F, 0x80, 0xFF, random.randrange(256)))
    try:
        visit(data)
    except fdt.FDTError:
        bad += 1
print(bad > 0)
"""


def test_flipped_bytes_raise_or_are_readable(guest):
    assert guest.exec(FUZZ % (1, 40), timeout=120) == "True\n"


def test_truncated_blobs_raise(guest):
    guest.exec(
        "import fdt, riscv\n"
        "whole = bytes(riscv.fdt())\n"
        "for length in range(0, len(whole), 7):\n"
        "    try:\n"
        "        fdt.FDT(whole[:length])\n"
        "    except fdt.FDTError:\n"
        "        continue\n"
        "    raise ValueError(length)\n",
        timeout=60,
    )


def test_editor_agrees_with_the_host(guest, blob):
    code = (
        "e.set('/chosen', 'bootargs', 'console=ttyS0')\n"
        "e.set('/chosen', 'linux,initrd-start', 0x84000000)\n"
        "e.add('/reserved-memory/mine@80000000')\n"
        "e.set('/reserved-memory/mine@80000000', 'reg', [0, 0x80000000, 0, 0x80000])\n"
        "e.delete('/chosen', 'rng-seed')\n"
        "e.delete('/soc/rtc')\n"
        "e.reserve(0x90000000, 0x1000)\n"
    )
    from fdt.edit import Editor

    host = Editor(blob)
    exec(code, {"e": host})
    guest.exec("from fdt.edit import Editor\nimport riscv, binascii\ne = Editor(riscv.fdt())\n" + code)
    text = guest.exec("print(binascii.b2a_base64(e.finish(100)).decode())")
    assert base64.b64decode(text) == bytes(host.finish(100))
