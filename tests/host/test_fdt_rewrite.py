"""modules/fdt/rewrite: one node's properties replaced, everything else kept; checked by dtc."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shim import install  # noqa: E402

install()

from fdt import FDT  # noqa: E402
from fdt.edit import u64  # noqa: E402
from fdt.rewrite import rewrite  # noqa: E402

SOURCE = """/dts-v1/;
/memreserve/ 0x80000000 0x1000;
/ {
    #address-cells = <2>; #size-cells = <2>;
    memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x8000000>; };
    chosen { bootargs = "old"; stdout-path = "/soc/serial"; linux,initrd-start = <1>; child { x = <1>; }; };
    soc { serial { compatible = "ns16550a"; }; };
};
"""


def compile_tree(text):
    return subprocess.run(["dtc", "-q", "-O", "dtb"], input=text.encode(), capture_output=True, check=True).stdout


def source(blob):
    return subprocess.run(["dtc", "-q", "-I", "dtb", "-s"], input=bytes(blob), capture_output=True, check=True).stdout


@pytest.fixture
def tree():
    return FDT(compile_tree(SOURCE))


def test_values_are_set_and_dropped_and_all_else_is_kept(tree):
    values = {"bootargs": "new one", "rng-seed": b"12345", "linux,initrd-end": u64(0x123456789)}
    blob = rewrite(tree, tree.chosen, values, ("linux,initrd-start",), [(0x90000000, 0x2000)], 0x400)
    expected = SOURCE.replace('"old"', '"new one"').replace("linux,initrd-start = <1>;", "")
    expected = expected.replace("chosen {", 'chosen { rng-seed = "12345"; linux,initrd-end = <0x1 0x23456789>;')
    expected = expected.replace("0x1000;", "0x1000;\n/memreserve/ 0x90000000 0x2000;")
    expected = expected.replace('"12345"', "[31 32 33 34 35]")
    assert source(blob) == source(compile_tree(expected))


def test_result_has_room_and_parses_again(tree):
    blob = rewrite(tree, tree.chosen, {}, room=0x1000)
    assert len(blob) % 8 == 0
    assert FDT(blob).totalsize == len(blob)
    assert source(rewrite(FDT(blob), FDT(blob).chosen, {"bootargs": "x"})) == source(
        compile_tree(SOURCE.replace('"old"', '"x"'))
    )


def test_root_and_empty_nodes_can_be_rewritten(tree):
    found = FDT(rewrite(tree, tree.root, {"model": "m"}))
    assert found.root.string("model") == "m"
    assert len(found.root.children()) == 3
    found = FDT(rewrite(tree, tree.node("/soc"), {"x": 1}))
    assert found.node("/soc").u32("x") == 1
    assert found.node("/soc/serial").string("compatible") == "ns16550a"
