"""Precompiled code: what .mpy files with native code say that they need, and what the machine says that it has."""

import re
import subprocess

import pytest
from session import build_folder

MPY_CROSS = build_folder() / "mpy-cross" / "mpy-cross"
ARCH = 12  # rv64imc
ZBA, ZBB = 1, 2
NATIVE = "@micropython.native\ndef f(x):\n return x + 1\n"


def mpy_cross(folder, source, *options, name="m"):
    """Compile text for the target; return the bytes of the .mpy."""
    path = folder / f"{name}.py"
    path.write_text(source)
    out = path.with_suffix(".mpy")
    words = [MPY_CROSS, "-march=rv64imc", "-msmall-int-bits=63", *options, "-s", path.name, "-o", out, path]
    subprocess.run(words, check=True, capture_output=True, text=True)
    return out.read_bytes()


# Flags


@pytest.mark.parametrize("flags, number", [("zba", ZBA), ("zbb", ZBB), ("zba,zbb", 3), ("zbb,zba", 3), ("0x3", 3)])
def test_mpy_cross_notes_the_extensions_that_code_may_use(tmp_path, flags, number):
    code = mpy_cross(tmp_path, NATIVE, f"-march-flags={flags}")
    plain = mpy_cross(tmp_path, NATIVE)
    assert code[2] == plain[2] | 0x40
    assert code[2] >> 2 & 15 == ARCH
    assert code == plain[:2] + code[2:3] + plain[3:4] + bytes([number]) + plain[4:]


def test_mpy_cross_notes_no_extensions_without_native_code(tmp_path):
    assert mpy_cross(tmp_path, "x = 1\n", "-march-flags=zba") == mpy_cross(tmp_path, "x = 1\n")


@pytest.mark.parametrize("flags", ["zbc", "zba,", ",", "", "4", "zbazbb", "zb", "-1", "zba zbb"])
def test_mpy_cross_refuses_flags_that_it_does_not_know(tmp_path, flags):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        mpy_cross(tmp_path, NATIVE, f"-march-flags={flags}")
    assert caught.value.stderr == "unrecognised arch flags\n"


EXTENSIONS = "__import__('sys').implementation._mpy >> 16"


@pytest.mark.parametrize(
    "cpu, mask",
    [
        ("rv64", ZBA | ZBB),
        ("rv64,zba=false", ZBB),
        ("rv64,zbb=false", ZBA),
        ("rv64,zba=false,zbb=false", 0),
        ("sifive-u54", 0),
    ],
)
def test_machine_tells_its_extensions(new_guest, cpu, mask):
    guest = new_guest(extra=["-cpu", cpu])
    guest.wait_prompt()
    assert guest.eval(EXTENSIONS) == mask
    guest.soft_reset()
    assert guest.eval(EXTENSIONS) == mask
    assert guest.eval("__import__('sys').implementation._mpy >> 10 & 15") == ARCH


@pytest.mark.parametrize(
    "properties, mask",
    [
        ('riscv,isa = "rv64imafdc_zba"', ZBA),
        ('riscv,isa = "rv64imafdc_zbb_zbc_zba"', ZBA | ZBB),
        ('riscv,isa = "rv64imafdc_xzba_zbas_zbb1"', 0),
        ('riscv,isa = "rv64imafdc"; riscv,isa-extensions = "i", "m", "zbb"', ZBB),
        ('riscv,isa-base = "rv64i"; riscv,isa-extensions = "i", "m", "zba", "zbb", "zbc"', ZBA | ZBB),
        ('riscv,isa-extensions = "xzba", "zbas", "zb"', 0),
        ("clock-frequency = <1>", 0),
    ],
)
def test_extensions_are_read_from_either_property_of_the_device_tree(new_guest, tmp_path, properties, mask):
    guest = new_guest(smp=1, extra=["-dtb", device_tree(tmp_path, properties)])
    guest.wait_prompt()
    assert guest.eval(EXTENSIONS) == mask


def device_tree(folder, properties):
    """The machine's own tree, with other properties for what the hart is."""
    blob, text = folder / "virt.dtb", folder / "virt.dts"
    machine = ["-M", f"virt,dumpdtb={blob}", "-smp", "1", "-m", "256M", "-display", "none"]
    subprocess.run(["qemu-system-riscv64", *machine], check=True, capture_output=True)
    subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dts", "-o", text, blob], check=True)
    tree = re.sub(r"\n\s*riscv,isa[\w-]* = [^\n]*", "", text.read_text())
    tree, count = re.subn(r'(\n\s*device_type = "cpu";)', rf"\1 {properties};", tree)
    assert count == 1
    text.write_text(tree)
    subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", blob, text], check=True)
    return blob
