"""modules/fdt: parse, show and edit devicetrees made by dtc and by QEMU; corrupt ones raise FDTError."""

import contextlib
import io
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = str(Path(__file__).parents[2] / "modules")
if MODULES not in sys.path:
    sys.path.insert(0, MODULES)

import fdt  # noqa: E402
from fdt import FDT, FDTError, show  # noqa: E402
from fdt.edit import Editor, encode, u64  # noqa: E402

SOURCE = r"""
/dts-v1/;
/memreserve/ 0x80000000 0x200000;
/memreserve/ 0x90000000 0x1000;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    compatible = "test,board", "riscv-virtio";
    interrupt-parent = <&plic>;
    aliases { serial0 = "/soc/bus@4000/uart@100"; bad = "soc"; };
    chosen { bootargs = "say \"hi\" \\ there"; empty; bytes = [01 02 03]; stdout-path = "serial0"; };
    memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x10000000>, <1 0 0 0x40000000>; };
    memory@200000000 { device_type = "memory"; reg = <2 0 0 0x1000>; status = "disabled"; };
    reserved-memory {
        #address-cells = <2>; #size-cells = <2>; ranges;
        sbi@80040000 { reg = <0 0x80040000 0 0x80000>; no-map; };
        any { size = <0 0x1000>; };
    };
    cpus {
        #address-cells = <1>; #size-cells = <0>;
        cpu0: cpu@0 {
            reg = <0>; compatible = "riscv";
            intc: interrupt-controller { #interrupt-cells = <1>; interrupt-controller; };
        };
        cpu@7 { reg = <7>; compatible = "riscv"; status = "okay"; };
    };
    soc {
        #address-cells = <1>; #size-cells = <1>; ranges = <0x10000000 0 0x20000000 0x1000000>;
        compatible = "simple-bus";
        plic: plic@10000000 {
            compatible = "sifive,plic-1.0.0", "riscv,plic0"; #interrupt-cells = <1>; #address-cells = <0>;
            reg = <0x10000000 0x1000>; interrupts-extended = <&intc 11 &intc 9>; interrupt-controller;
        };
        bus@4000 {
            #address-cells = <2>; #size-cells = <1>; ranges = <0 0 0x10004000 0x1000>, <1 0 0x10005000 0x1000>;
            compatible = "simple-bus";
            uart@100 { compatible = "ns16550a"; reg = <0 0x100 0x100>, <1 0 4>; interrupts = <10>; };
            far@200000 { compatible = "far"; reg = <5 0 4>; };
            two { compatible = "two"; interrupts = <1 2>; interrupts-extended = <&gic 1 2 3 &plic 4>; };
        };
        gic: gic { #interrupt-cells = <3>; };
        island { #address-cells = <1>; #size-cells = <1>; part@0 { reg = <0 0x100>; }; };
        virtio@10001000 { compatible = "virtio,mmio"; reg = <0x10001000 0x200>; interrupts = <1>; };
        virtio@10002000 { compatible = "virtio,mmio"; reg = <0x10002000 0x200>; interrupts = <2>; };
    };
};
"""

QEMU = ["-smp 1", "-smp 4", "-smp 8 -m 4G", "-smp 2 -m 8G", "-M aia=aplic", "-M aia=aplic-imsic -smp 4"]


def dtc(data, source="dts", target="dtb"):
    command = ["dtc", "-q", "-I", source, "-O", target, "-"]
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert not done.returncode, done.stderr.decode()
    return done.stdout


def source_of(blob):
    """What dtc makes of a blob, in its sorted order."""
    command = ["dtc", "-q", "-s", "-I", "dtb", "-O", "dts", "-"]
    done = subprocess.run(command, input=bytes(blob), capture_output=True, timeout=60)
    assert not done.returncode, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def blob():
    return dtc(SOURCE.encode())


@pytest.fixture(scope="module")
def tree(blob):
    return FDT(blob)


@pytest.fixture(scope="module", params=QEMU)
def qemu_blob(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("fdt") / "qemu.dtb"
    command = f"qemu-system-riscv64 -M virt,dumpdtb={path} -display none {request.param}"
    subprocess.run(command.split(), check=True, timeout=60, capture_output=True)
    data = path.read_bytes()
    return data[: struct.unpack_from(">I", data, 4)[0]]


def printed(function, *args):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function(*args)
    return out.getvalue()


def paths(nodes):
    return [node.path for node in nodes]


# Nodes and properties


def test_nodes_by_path_alias_and_base_name(tree):
    assert tree.node("/").path == "/"
    assert tree.node("/soc/bus@4000/uart@100").name == "uart@100"
    assert tree.node("serial0") == tree.node("/soc/bus/uart")
    assert tree.node("serial0").parent == tree.node("/soc/bus@4000")
    assert tree.root.parent is None


@pytest.mark.parametrize("path", ["/nowhere", "/soc/virtio", "nobody", "/soc/bus@4000/uart@100/x"])
def test_unknown_or_ambiguous_path_raises_key_error(tree, path):
    with pytest.raises(KeyError):
        tree.node(path)


def test_alias_that_is_no_path_raises(tree):
    with pytest.raises(FDTError, match="alias bad"):
        tree.node("bad")


def test_children_are_in_tree_order(tree):
    assert [node.name for node in tree.node("/cpus").children()] == ["cpu@0", "cpu@7"]
    assert tree.node("/soc/virtio@10001000").children() == []
    assert len(list(tree.nodes())) == len(set(paths(tree.nodes())))


def test_properties(tree):
    chosen = tree.chosen
    assert chosen.props() == ["bootargs", "empty", "bytes", "stdout-path"]
    assert bytes(chosen["bytes"]) == b"\1\2\3"
    assert chosen.string("bootargs") == 'say "hi" \\ there'
    assert "empty" in chosen and len(chosen["empty"]) == 0
    assert "absent" not in chosen and chosen.get("absent", 5) == 5
    assert tree.root.strings("compatible") == ["test,board", "riscv-virtio"]
    assert tree.root.u32("#address-cells") == 2
    memory = tree.node("/memory@80000000")
    assert memory.cells("reg")[:2] == (0, 0x80000000)
    assert memory.u32("reg", 3) == 0x10000000
    with pytest.raises(KeyError, match="absent"):
        chosen["absent"]


def test_a_property_name_does_not_match_its_prefix_or_tail(tree):
    for name in ("reg-names", "re", "compatible2", "ompatible", ""):
        assert name not in tree.node("/soc/virtio@10001000")


def test_wrongly_sized_properties_raise(tree):
    with pytest.raises(FDTError, match="bytes in /chosen"):
        tree.chosen.cells("bytes")
    with pytest.raises(FDTError):
        tree.chosen.u32("bytes")
    with pytest.raises(FDTError):
        tree.chosen.u32("empty")
    with pytest.raises(FDTError):
        tree.chosen.u64("empty")
    with pytest.raises(FDTError):
        tree.chosen.string("bytes")
    with pytest.raises(FDTError):
        tree.node("/memory@80000000").u64("reg")


def test_u64_takes_one_or_two_cells():
    tree = FDT(dtc(b"/dts-v1/; / { a = <5>; b = <1 2>; };"))
    assert tree.root.u64("a") == 5
    assert tree.root.u64("b") == 0x100000002


def test_compatible_finds_any_of_the_names_in_tree_order(tree):
    assert paths(tree.compatible("virtio,mmio")) == ["/soc/virtio@10001000", "/soc/virtio@10002000"]
    assert paths(tree.compatible("ns16550a", "riscv,plic0")) == ["/soc/plic@10000000", "/soc/bus@4000/uart@100"]
    assert tree.compatible("riscv,plic") == []


def test_find_looks_at_paths_and_compatible_strings(tree):
    assert paths(tree.find("16550")) == ["/soc/bus@4000/uart@100"]
    assert paths(tree.find("cpu@7")) == ["/cpus/cpu@7"]


def test_phandle(tree):
    assert tree.phandle(tree.root.u32("interrupt-parent")).path == "/soc/plic@10000000"
    with pytest.raises(KeyError):
        tree.phandle(0x1234)


def test_memory_reservations_and_status(tree):
    assert tree.memory() == [(0x80000000, 0x10000000), (0x100000000, 0x40000000)]
    assert tree.memreserve() == [(0x80000000, 0x200000), (0x90000000, 0x1000)]
    assert tree.reservations() == tree.memreserve() + [(0x80040000, 0x80000)]
    assert not tree.node("/memory@200000000").enabled
    assert tree.node("/cpus/cpu@7").enabled


# Registers and interrupts


def test_reg_is_translated_through_every_ranges(tree):
    assert tree.node("serial0").regs() == [(0x20004100, 0x100), (0x20005000, 4)]
    assert tree.node("serial0").regs(translate=False) == [(0x100, 0x100), (0x100000000, 4)]
    assert tree.node("serial0").reg(1) == (0x20005000, 4)
    with pytest.raises(KeyError):
        tree.node("serial0").reg(2)


def test_reg_without_sizes_is_a_number(tree):
    assert tree.node("/cpus/cpu@7").regs() == [(7, 0)]
    assert tree.chosen.regs() == []


def test_reg_outside_ranges_or_on_an_unmapped_bus_raises(tree):
    with pytest.raises(FDTError, match="outside"):
        tree.node("/soc/bus@4000/far").regs()
    with pytest.raises(FDTError, match="no CPU address"):
        tree.node("/soc/island/part").regs()
    assert tree.node("/soc/island/part").regs(translate=False) == [(0, 0x100)]


def test_ranges(tree):
    assert tree.node("/soc").ranges() == [(0x10000000, 0x20000000, 0x1000000)]
    assert tree.node("/soc/island").ranges() is None
    assert tree.node("/reserved-memory").ranges() == []


def test_interrupts_use_the_inherited_parent(tree):
    ((controller, cells),) = tree.node("serial0").interrupts()
    assert controller.path == "/soc/plic@10000000" and cells == (10,)
    assert tree.chosen.interrupts() == []


def test_interrupts_extended_wins_and_mixes_controllers(tree):
    found = tree.node("/soc/bus@4000/two").interrupts()
    assert [(node.name, cells) for node, cells in found] == [("gic", (1, 2, 3)), ("plic@10000000", (4,))]
    assert [cells for _, cells in tree.node("/soc/plic").interrupts()] == [(11,), (9,)]


@pytest.mark.parametrize(
    "body, match",
    [
        ("a { interrupts = <1>; };", "no interrupt parent"),
        ("a { interrupts = <1>; interrupt-parent = <9>; };", "no node has phandle"),
        ("a { phandle = <1>; interrupts = <1>; interrupt-parent = <1>; };", "circle"),
        (
            "a { phandle = <1>; interrupt-parent = <2>; interrupts = <1>; };"
            "b { phandle = <2>; interrupt-parent = <1>; };",
            "circle",
        ),
        ("a { #interrupt-cells = <0>; phandle = <1>; interrupts = <1>; interrupt-parent = <1>; };", "1 cells"),
        ("a { #interrupt-cells = <5>; phandle = <1>; interrupts = <1>; interrupt-parent = <1>; };", "5 cells"),
        ("a { #interrupt-cells = <3>; phandle = <1>; interrupts = <1 2>; interrupt-parent = <1>; };", "2 cells"),
        ("a { interrupts-extended = <7 1>; };", "no node has phandle"),
    ],
)
def test_broken_interrupts_raise(body, match):
    tree = FDT(dtc(f"/dts-v1/; / {{ {body} }};".encode()))
    with pytest.raises(FDTError, match=match):
        tree.node("/a").interrupts()


@pytest.mark.parametrize(
    "cells, reg, match",
    [
        ((0, 0), "<1>", "entries of 0"),
        ((2, 2), "<1 2 3>", "3 cells"),
        ((9, 1), "<1>", "9 cells"),
        ((0xFFFFFFFF, 1), "<1>", "cells"),
        ((1, 1), "[01 02 03]", "whole cells"),
        ((1, 1), "<>", None),
    ],
)
def test_broken_cells_raise(cells, reg, match):
    text = f"/ {{ #address-cells = <{cells[0]}>; #size-cells = <{cells[1]}>; a {{ reg = {reg}; }}; }};"
    tree = FDT(dtc(f"/dts-v1/; {text}".encode()))
    if match is None:
        assert tree.node("/a").regs() == []
    else:
        with pytest.raises(FDTError, match=match):
            tree.node("/a").regs()


# Showing


def test_repr(tree):
    assert repr(tree).startswith("<FDT v17 ")
    assert repr(tree.node("serial0")) == "</soc/bus@4000/uart@100 ns16550a>"
    assert repr(tree.node("/memory@200000000")) == "</memory@200000000 disabled>"
    assert repr(tree.root) == "</ test,board riscv-virtio>"


@pytest.mark.parametrize(
    "data, text",
    [
        (b"", ""),
        (b"abc\0", '"abc"'),
        (b"ab\0cd\0", '"ab", "cd"'),
        (b'q"\\\0', r'"q\"\\"'),
        (b"\0\0\0\1", "<0x1>"),
        (b"\0\0\0\1\xff\xff\xff\xff", "<0x1 0xffffffff>"),
        (b"\1\2\3", "[01 02 03]"),
        (b"\0", "[00]"),
        (b"a\0\0", "[61 00 00]"),
        (b"\x1b[2J\0", "[1b 5b 32 4a 00]"),
    ],
)
def test_values_are_shown_readably(data, text):
    assert show.value(data) == text


def test_dump_is_source_that_dtc_reads_back(blob, tree):
    assert source_of(dtc(printed(tree.dump).encode())) == source_of(blob)


def test_dump_of_qemus_tree_is_source_that_dtc_reads_back(qemu_blob):
    assert source_of(dtc(printed(FDT(qemu_blob).dump).encode())) == source_of(qemu_blob)


def test_node_dump_shows_only_its_own_properties(tree):
    text = printed(tree.node("/soc").dump)
    assert "    ranges = <0x10000000 0x0 0x20000000 0x1000000>;\n" in text
    assert "plic" not in text


def test_tree_is_one_line_per_node(tree):
    lines = printed(tree.tree).splitlines()
    assert len(lines) == len(list(tree.nodes()))
    assert '      uart@100  "ns16550a"  0x20004100+0x100  0x20005000+0x4' in lines
    assert "  memory@200000000  0x200000000+0x1000  disabled" in lines


def test_repl_words_use_the_blob_that_the_firmware_was_given(blob, monkeypatch):
    class Riscv:
        fdt = staticmethod(lambda: memoryview(blob))

    monkeypatch.setitem(sys.modules, "riscv", Riscv)
    monkeypatch.setattr(fdt, "_system", None)
    assert fdt.system() is fdt.system()
    assert fdt.node("serial0").name == "uart@100"
    assert paths(fdt.find("cpu@7")) == ["/cpus/cpu@7"]
    assert printed(fdt.tree, "/cpus").startswith("cpus\n  cpu@0")


# QEMU's trees


def test_qemu_tree_has_what_the_firmware_needs(qemu_blob):
    tree = FDT(qemu_blob)
    slots = tree.compatible("virtio,mmio")
    assert sorted(node.reg()[0] for node in slots) == [0x10001000 + 0x1000 * i for i in range(8)]
    for node in slots:
        ((controller, cells),) = node.interrupts()
        assert "interrupt-controller" in controller and 1 <= cells[0] <= 8
    assert tree.compatible("ns16550a")[0].reg()[0] == 0x10000000
    assert tree.memory()[0][0] == 0x80000000
    assert tree.compatible("pci-host-ecam-generic")[0].ranges()[0][1:] == (0x3000000, 0x10000)


# Corrupt blobs


def visit(data):
    """Use everything of a blob that may be corrupt; it may only raise FDTError or KeyError."""
    tree = FDT(data)
    calls = [tree.memory, tree.reservations, lambda: tree.compatible("virtio,mmio"), lambda: tree.find("a")]
    calls += [lambda: tree.node("serial0"), lambda: tree.phandle(1), lambda: printed(tree.dump)]
    calls += [lambda: printed(tree.tree), lambda: Editor(tree).set("/chosen", "a", 1)]
    for node in tree.nodes():
        calls += [node.props, node.regs, node.interrupts, node.ranges, lambda n=node: n.path, lambda n=node: repr(n)]
    for call in calls:
        with contextlib.suppress(FDTError, KeyError):
            call()


def test_every_truncation_raises(blob):
    for length in range(len(blob)):
        with pytest.raises(FDTError):
            FDT(blob[:length])


def test_every_truncation_that_claims_to_be_whole_raises_or_is_readable(blob):
    for length in range(40, len(blob), 3):
        data = bytearray(blob[:length])
        struct.pack_into(">I", data, 4, length)
        with contextlib.suppress(FDTError):
            visit(data)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_raise_or_are_readable(blob, seed):
    rng = random.Random(seed)
    for _ in range(250):
        data = bytearray(blob)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 2, 3, 4, 9, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        with contextlib.suppress(FDTError):
            visit(data)


@pytest.mark.parametrize("field", range(10))
@pytest.mark.parametrize("value", [0, 1, 3, 39, 41, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF])
def test_bad_header_fields_raise_or_are_readable(blob, field, value):
    data = bytearray(blob)
    struct.pack_into(">I", data, 4 * field, value)
    with contextlib.suppress(FDTError):
        visit(data)


def make(*tokens, strings=b"name\0"):
    """A blob whose structure block is made of tokens: integers (a word each) and padded bytes."""
    body = b"".join(struct.pack(">I", t) if isinstance(t, int) else t + b"\0" * (-len(t) & 3) for t in tokens)
    off = 56 + len(body)
    header = (0xD00DFEED, off + len(strings), 56, off, 40, 17, 16, 0, len(strings), len(body))
    return struct.pack(">10I", *header) + bytes(16) + body + strings


NODE = (1, b"\0\0\0\0")


@pytest.mark.parametrize(
    "tokens, strings, match",
    [
        ((9,), b"", "token 9 out of place at byte 0x38"),
        ((), b"", "ends too early"),
        (NODE, b"", "ends too early"),
        ((*NODE, 2), b"", "ends too early"),
        ((*NODE, 9), b"", "token 9 out of place"),
        ((2, 9), b"", "token 2 out of place"),
        ((*NODE, 2, 2, 9), b"", "token 2 out of place"),
        ((*NODE, 2, *NODE, 2, 9), b"", "second root"),
        ((*NODE, 5, 2, 9), b"", "token 5"),
        ((1, b"abcd"), b"", "name has no end"),
        ((*NODE, 3, 0, 0, 2, 9), b"name", "without name"),
        ((*NODE, 3, 0, 5, 2, 9), b"name\0", "without name"),
        ((*NODE, 3, 100, 0, 2, 9), b"name\0", "does not fit at byte 0x40"),
        ((*NODE, 3, 0xFFFFFFFF, 0, 2, 9), b"name\0", "does not fit"),
        ((3, 0, 0, *NODE, 2, 9), b"name\0", "out of place"),
        ((*NODE, 1, b"a\0", 2, 3, 0, 0, 2, 9), b"name\0", "out of place"),
        ((*NODE, 1, b"a\0", 2, 4, 3, 0, 0, 2, 9), b"name\0", "out of place"),
        ((*(1, b"a\0") * 65, *(2,) * 65, 9), b"", "nested too deeply"),
        ((*(1, b"a\0") * 5000,), b"", "nested too deeply"),
    ],
)
def test_bad_structure_raises_and_says_where(tokens, strings, match):
    with pytest.raises(FDTError, match=match):
        FDT(make(*tokens, strings=strings))


def test_nops_are_skipped_everywhere():
    tree = FDT(make(4, *NODE, 4, 3, 4, 0, b"\0\0\0\7", 4, 4, 3, 0, 1, 4, 1, b"a\0", 4, 2, 4, 2, 4, 9))
    assert tree.root.u32("name") == 7
    assert tree.root.props() == ["name", "ame"]
    assert paths(tree.nodes()) == ["/", "/a"]


def test_sixty_four_levels_are_fine():
    tree = FDT(make(*(1, b"a\0") * 64, *(2,) * 64, 9))
    assert len(list(tree.nodes())[-1].path) == 2 * 63
    assert len(printed(tree.tree).splitlines()) == 64


def test_names_that_are_not_text_raise_when_read():
    tree = FDT(make(*NODE, 3, 0, 0, 1, b"\xff\xfe\0", 2, 2, 9, strings=b"\xff\0"))
    with pytest.raises(FDTError, match="not text"):
        tree.root.props()
    with pytest.raises(FDTError, match="not text"):
        tree.root.children()[0].path  # noqa: B018


def test_reservation_block_without_end_raises(blob):
    data = bytearray(blob)
    struct.pack_into(">I", data, 16, len(data) - 16 & ~7)
    with pytest.raises(FDTError, match="reservation block"):
        FDT(data).memreserve()


def test_version_16_header_has_no_structure_size(blob, tree):
    data = bytearray(blob)
    struct.pack_into(">I", data, 20, 16)
    struct.pack_into(">I", data, 36, 0xFFFFFFFF)
    assert paths(FDT(data).nodes()) == paths(tree.nodes())


# Editing


def test_encode():
    assert encode(5) == b"\0\0\0\5"
    assert encode(1 << 32) == u64(1 << 32) == b"\0\0\0\1\0\0\0\0"
    assert encode("a b") == b"a b\0"
    assert encode(["a", "b"]) == b"a\0b\0"
    assert encode((1, 2)) == b"\0\0\0\1\0\0\0\2"
    assert encode(True) == encode(None) == b""
    assert encode(memoryview(b"xy")) == b"xy"
    for bad in (-1, 1 << 64, [1 << 32], "a\0b"):
        with pytest.raises(ValueError):
            encode(bad)


def test_editor_without_changes_keeps_the_tree(qemu_blob, blob):
    assert source_of(Editor(qemu_blob).finish()) == source_of(qemu_blob)
    assert source_of(Editor(blob).finish()) == source_of(blob)


def test_editor_changes_are_what_dtc_would_make_of_the_same_source(blob):
    editor = Editor(blob)
    editor.set("/chosen", "bootargs", "console=ttyS0")
    editor.set("/chosen", "linux,initrd-start", 0x84000000)
    editor.set("/chosen", "empty", b"\1\2\3\4\5")
    editor.delete("/chosen", "bytes")
    editor.delete("/soc/bus@4000")
    editor.add("/firmware/deep/node@1")
    editor.set("/firmware/deep/node@1", "reg", [1, 2])
    editor.set("/soc/virtio@10001000", "status", "disabled")
    editor.reserve(0xA0000000, 0x2000)
    source = SOURCE.replace(r'"say \"hi\" \\ there"', '"console=ttyS0"; linux,initrd-start = <0x84000000>')
    source = source.replace("empty;", "empty = [01 02 03 04 05];").replace("bytes = [01 02 03];", "")
    start = source.index("bus@4000 {")
    source = source[:start] + source[source.index("gic: gic") :]
    source = source.replace("<1>; };\n        virtio@10002000", '<1>; status = "disabled"; };\n        virtio@10002000')
    source = source.replace(
        "/memreserve/ 0x90000000 0x1000;", "/memreserve/ 0x90000000 0x1000; /memreserve/ 0xa0000000 0x2000;"
    )
    source = source.replace("    cpus {", "    firmware { deep { node@1 { reg = <1 2>; }; }; };\n    cpus {")
    # Phandles are numbered by dtc: keep those that the blob has.
    before = FDT(blob)
    for label, path in (("plic", "/soc/plic"), ("intc", "/cpus/cpu@0/interrupt-controller"), ("gic", "/soc/gic")):
        number = before.node(path).u32("phandle")
        source = source.replace(f"{label}: ", "").replace(f"&{label}", f"{number}")
        name = before.node(path).name
        source = source.replace(f"{name} {{", f"{name} {{ phandle = <{number}>;")
    assert source_of(editor.finish()) == source_of(dtc(source.encode()))


def test_editor_leaves_its_source_alone(blob):
    data = bytearray(blob)
    editor = Editor(data)
    editor.set("/chosen", "bootargs", "x")
    editor.delete("/cpus")
    assert data == blob


def test_finish_is_aligned_and_has_room(blob):
    editor = Editor(blob)
    plain = editor.finish()
    roomy = editor.finish(room=4096)
    assert len(plain) % 8 == len(roomy) % 8 == 0
    assert len(roomy) - len(plain) in range(4096 - 8, 4096 + 9)
    assert FDT(roomy).totalsize == len(roomy)
    assert source_of(roomy) == source_of(blob)


def test_add_is_idempotent_and_set_replaces(blob):
    editor = Editor(blob)
    editor.add("/chosen")
    editor.add("/a/b")
    editor.add("/a/b")
    editor.add("/a/c")
    assert paths(editor.fdt.node("/a").children()) == ["/a/b", "/a/c"]
    for value in ("one", "a much longer value", "", None, [1, 2, 3]):
        editor.set("/a/b", "prop", value)
        assert bytes(editor.fdt.node("/a/b")["prop"]) == encode(value)
    assert editor.fdt.node("/a/b").props() == ["prop"]


def test_editor_random_walk_agrees_with_a_dictionary():
    rng = random.Random(1)
    editor = Editor(dtc(b"/dts-v1/; / { };"))
    model = {"/": {}}
    for _ in range(300):
        path = rng.choice(sorted(model))
        action = rng.randrange(5)
        if action == 0:
            path = path.rstrip("/") + "/n%d" % rng.randrange(4)
            if path.count("/") < 6:
                editor.add(path)
                model.setdefault(path, {})
        elif action == 1 and path != "/" and rng.random() < 0.3:
            editor.delete(path)
            model = {p: v for p, v in model.items() if p != path and not p.startswith(path + "/")}
        elif action == 2 and model[path]:
            prop = rng.choice(sorted(model[path]))
            editor.delete(path, prop)
            del model[path][prop]
        else:
            prop, value = "p%d" % rng.randrange(5), rng.randbytes(rng.randrange(9))
            editor.set(path, prop, value)
            model[path][prop] = value
    found = {node.path: {name: bytes(node[name]) for name in node.props()} for node in FDT(editor.finish()).nodes()}
    assert found == model
    source_of(editor.finish())


@pytest.mark.parametrize(
    "change, error",
    [
        (lambda e: e.set("/absent", "a", 1), KeyError),
        (lambda e: e.set("/chosen", "", 1), ValueError),
        (lambda e: e.set("/chosen", "a b", 1), ValueError),
        (lambda e: e.set("/chosen", "a", -1), ValueError),
        (lambda e: e.delete("/chosen", "absent"), KeyError),
        (lambda e: e.delete("/absent"), KeyError),
        (lambda e: e.delete("/"), ValueError),
        (lambda e: e.add("relative"), ValueError),
        (lambda e: e.add("/bad name"), ValueError),
        (lambda e: e.reserve(0, 0), ValueError),
        (lambda e: e.reserve(-1, 5), ValueError),
    ],
)
def test_editor_refuses_and_stays_whole(blob, change, error):
    editor = Editor(blob)
    with pytest.raises(error):
        change(editor)
    assert source_of(editor.finish()) == source_of(blob)


def test_editor_of_a_corrupt_blob_raises():
    with pytest.raises(FDTError):
        Editor(b"\xd0\x0d\xfe\xed" + bytes(60))
