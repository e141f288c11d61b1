"""Precompiled code: what a .mpy file is for, what the machine is, and that loading any bytes at all does no harm."""

import os
import random
import re
import subprocess

import pytest
from session import build_folder

MPY_CROSS = build_folder() / "mpy-cross" / "mpy-cross"
ARCH = 12  # rv64imc
ZBA, ZBB = 1, 2
FUZZ = int(os.environ.get("FUZZ", "4000"))  # damaged files of each kind
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


# Loading

# In the guest: /mem is a folder of files that a test gives. With load_only the import ends when its file is closed,
# which is after all was read and relocated and before anything of it runs. A file is closed by an error too, but from
# a deeper stack than a sound file was, and then the error must come through.
LOADER = """
import io, micropython, sys, vfs
files = {}
class Loaded(Exception):
    pass
class File(io.IOBase):
    def __init__(self, data):
        self.data = memoryview(data)
        self.at = 0
    def readinto(self, buf):
        n = min(len(buf), len(self.data) - self.at)
        buf[:n] = self.data[self.at:self.at + n]
        self.at += n
        return n
    def ioctl(self, request, arg):
        global depth
        if request == 4:
            deep = micropython.stack_use() - base
            depth = depth or deep
            if load_only and deep == depth:
                raise Loaded
        return 0
class Folder:
    def mount(self, readonly, mkfs):
        pass
    def umount(self):
        pass
    def stat(self, path):
        if path not in files:
            raise OSError(2)
        return (0x8000, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    def open(self, path, mode):
        return File(files[path])
load_only = False
depth = 0
vfs.mount(Folder(), "/mem")
sys.path.append("/mem")
def load(data):
    global base
    base = micropython.stack_use()
    files["/m.mpy"] = data
    sys.modules.pop("m", None)
    try:
        return __import__("m")
    except Exception as e:
        return type(e).__name__ + ": " + str(e)
"""
FLAG_MACHINES = [("rv64,zbb=false", ZBA), ("rv64,zba=false,zbb=false", 0)]


def with_loader(guest, folder):
    """Give a guest the folder /mem, and load a sound file from it once."""
    guest.exec(LOADER)
    guest.exec(f"m = load({mpy_cross(folder, 'x = 1')!r})")
    assert guest.eval("m.x") == 1
    return guest


@pytest.fixture
def loader(guest, tmp_path):
    return with_loader(guest, tmp_path)


@pytest.mark.parametrize("emit", ["bytecode", "native", "viper"])
def test_code_is_imported(loader, tmp_path, emit):
    source = "C = 1 << 70\ndef f(x):\n return x + 1\ndef g():\n yield f(1)\n yield 'text' * 2\n"
    if emit == "viper":
        source = "@micropython.viper\ndef f(x: int) -> int:\n return x + 1\ndef g():\n return (f(1), 'text' * 2)\n"
    code = mpy_cross(tmp_path, source, *(["-X", "emit=native"] if emit == "native" else []))
    loader.exec(f"m = load({code!r})")
    assert loader.eval("(m.f(41), list(m.g()))") == (42, [2, "texttext"])


ARCHS = "x86 x64 armv6 armv6m armv7m armv7em armv7emsp armv7emdp xtensa xtensawin rv32imc debug".split()


@pytest.mark.parametrize("arch", ARCHS)
def test_code_for_another_architecture_is_refused_by_name(loader, tmp_path, arch):
    # what -march=debug writes is text, on the console
    code = bytearray(mpy_cross(tmp_path, NATIVE, f"-march={arch}" if arch != "debug" else "-march=rv64imc"))
    if arch == "debug":
        code[2] = code[2] & 3 | 13 << 2
    want = f"ValueError: incompatible .mpy arch: for {arch}, this is rv64imc"
    assert loader.eval(f"load({bytes(code)!r})") == want


@pytest.mark.parametrize(
    "change, message",
    [
        ({0: 0x4E}, "file: it does not begin with M"),
        ({1: 5}, "file: of version 5, this is 6"),
        ({1: 255}, "file: of version 255, this is 6"),
        ({2: ARCH << 2 | 2}, "file: native code of version 6.2, this is 6.3"),
        ({2: 14 << 2 | 3}, "arch: for an unknown, this is rv64imc"),
        ({2: 0x80 | ARCH << 2 | 3}, "arch: for an unknown, this is rv64imc"),
        ({3: 64}, "file: small integers of 64 bits, here they have 63"),
        ({3: 255}, "file: small integers of 255 bits, here they have 63"),
    ],
)
def test_header_that_does_not_fit_is_refused_by_name(loader, tmp_path, change, message):
    code = bytearray(mpy_cross(tmp_path, NATIVE))
    for place, value in change.items():
        code[place] = value
    assert loader.eval(f"load({bytes(code)!r})") == f"ValueError: incompatible .mpy {message}"


def test_code_that_needs_what_the_machine_has_is_taken(loader, tmp_path):
    loader.exec(f"m = load({mpy_cross(tmp_path, NATIVE, '-march-flags=zba,zbb')!r})")
    assert loader.eval("m.f(1)") == 2


@pytest.mark.parametrize("cpu, mask", FLAG_MACHINES)
def test_code_that_needs_what_the_machine_lacks_is_refused_by_name(new_guest, tmp_path, cpu, mask):
    guest = new_guest(extra=["-cpu", cpu])
    guest.wait_prompt()
    guest.exec(LOADER)
    for flags in range(8):
        code = bytearray(mpy_cross(tmp_path, NATIVE, f"-march-flags={flags & 3 or 1}"))
        code[4] = flags
        lacks = flags & ~mask
        got = guest.eval(f"str(load({bytes(code)!r}))")
        if lacks:
            name = {1: "zba", 2: "zbb"}.get(lacks & -lacks, "an unknown extension")
            needs = f"needs {name} (flags 0x{flags:x}), this has flags 0x{mask:x}"
            assert got == f"ValueError: incompatible .mpy file: {needs}"
        else:
            assert got == "<module 'm' from '/mem/m.mpy'>"


def test_flags_do_not_matter_to_a_file_without_native_code(loader, tmp_path):
    code = mpy_cross(tmp_path, "x = 5\n")
    code = code[:2] + b"\x40" + code[3:4] + b"\x7f" + code[4:]
    loader.exec(f"m = load({code!r})")
    assert loader.eval("m.x") == 5


MIXED = """
A = (1, 2.5, 'text', b'bytes', 1 << 80, None, ..., (3, ()))
def f(x):
    return [x + i for i in range(3)]
@micropython.native
def g(x):
    def h():
        return x
    return h
@micropython.viper
def v(p: ptr8, n: int) -> int:
    return p[n]
class C:
    @micropython.native
    def gen(self):
        yield 'a name that is long enough'
"""


def sample(folder):
    """A file with every kind of object and code, and one linked from C with relocations of all kinds."""
    return [mpy_cross(folder, MIXED, "-march-flags=zba"), relocated()]


def relocated():
    """A module of viper code by hand: text, rodata and bss, and a relocation of each kind."""
    code = bytes(64)
    parts = [b"M\x06", bytes([ARCH << 2 | 3]), b"\x1f", b"\x02\x00", b"\x08m.py\x00", b"\x02f\x00"]
    parts += [bytes([0x84, 0x02]), code, b"\x70", b"\x10\x08", bytes(16)]
    for number, dest in enumerate([0, 2, 4, 6, 7, 8, 9, 60]):  # text, rodata, bss, tables, functions
        parts.append(bytes([dest << 1 | 1, number % 8 << 1]))
    parts += [b"\x03\x01\x02", b"\x07\x02\x03", b"\xff"]  # several words at once
    return b"".join(parts)


def test_file_that_is_cut_anywhere_is_refused(loader, tmp_path):
    for code in sample(tmp_path):
        loader.exec(f"load_only = True\ncode = {code!r}")
        cut = "[(n, load(code[:n])) for n in range(len(code), -1, -1)]"
        wrong = loader.eval(f"[x for x in {cut} if not x[1].endswith('it ends too early')]", timeout=60)
        assert wrong == [(len(code), "Loaded: ")]


REFUSED = {"Loaded", "ValueError", "MemoryError", "UnicodeError", "SyntaxError", "RuntimeError", "TypeError"}
# What was loaded stays, so that after some thousand files memory is full.
BETWEEN_RESETS = 4000
DAMAGE = """
load_only = True
seen = {}
for i in range(%d):
    bad = bytearray(code)
    for j in range(random.choice((1, 1, 1, 2, 4, 8))):
        at = random.randrange(4 if i %% 2 else 0, len(bad))
        bad[at] = random.choice((bad[at] ^ 1 << random.randrange(8), random.randrange(256), 0, 255))
    name = load(bad).split(':')[0]
    seen[name] = seen.get(name, 0) + 1
load_only = False
"""


@pytest.mark.timeout(300 + FUZZ // 5)
@pytest.mark.parametrize("which", [0, 1], ids=["compiled", "relocated"])
def test_damaged_file_is_loaded_or_refused_and_harms_nothing(guest, tmp_path, which):
    seed = random.randrange(1 << 30)
    code = sample(tmp_path)[which]
    for done in range(0, FUZZ, BETWEEN_RESETS):
        guest.soft_reset()
        with_loader(guest, tmp_path)
        guest.exec(f"code = {code!r}\nimport random\nrandom.seed({seed + done})")
        guest.exec(DAMAGE % min(BETWEEN_RESETS, FUZZ - done), timeout=240)
        seen = guest.eval("seen")
        print(f"seed {seed + done}: {seen}")
        assert set(seen) <= REFUSED and seen["ValueError"] > 100 and seen["Loaded"] > 100
        guest.exec(f"m = load({mpy_cross(tmp_path, NATIVE)!r})")
        assert guest.eval("m.f(1)") == 2
