"""The inline assembler through mpy-cross: bytes of GNU as, and a message for all that has no bytes."""

import keyword
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rv64 import (
    CROSS,
    MASK,
    NAMES,
    TABLE,
    Machine,
    cases,
    disassemble,
    gnu_as,
    mnemonics,
    signed,
    spell,
    text_of,
    values,
)
from session import build_folder

SOURCE = Path(__file__).resolve().parents[2] / "firmware" / "emitter" / "emitinlinerv64.c"
MPY_CROSS = [build_folder() / "mpy-cross" / "mpy-cross", "-march=rv64imc", "-msmall-int-bits=63", "-X", "heapsize=99m"]
EXTENSIONS = "-march-flags=zba,zbb"

pytestmark = pytest.mark.skipif(not shutil.which(CROSS + "as"), reason="riscv64-unknown-elf-as is not installed")

# Where an instruction's operands are not written as GNU as wants them.
OPERANDS = {
    "jalr": "{0}, {1}, {2}",
    "csrrc": "{0}, {2}, {1}",
    "csrrs": "{0}, {2}, {1}",
    "csrrw": "{0}, {2}, {1}",
    "lui": "{0}, {1}",
    "auipc": "{0}, {1}",
    "c.lui": "{0}, {1}",
    "c.addi16sp": "{0}",
    "c.addi4spn": "{0}, {1}",
    "c.lwsp": "{0}, {1}",
    "c.ldsp": "{0}, {1}",
    "c.swsp": "{0}, {1}",
    "c.sdsp": "{0}, {1}",
}
LABELLED = [name for name, (_, template) in TABLE.items() if ".+" in template]
REACH = {name: TABLE[name][0][-1] for name in LABELLED}

# Other names: what is written, and what GNU as makes the same bytes of.
ALIASES = {f"{name}(a3, t5)": f"{name} a3, t5" for name in "mv neg negw seqz snez sltz sgtz".split()} | {
    "not_(a3, t5)": "not a3, t5",
    "sext_w(a3, t5)": "sext.w a3, t5",
    "zext_w(a3, t5)": "zext.w a3, t5",
    "nop()": "nop",
    "ret()": "ret",
    "jr(t5)": "jr t5",
    "fence()": "fence",
    "j(L)": "j L",
    "csrr(a3, 0x340)": "csrr a3, 0x340",
    "csrw(0x340, a3)": "csrw 0x340, a3",
    "csrs(0x340, a3)": "csrs 0x340, a3",
    "csrc(0x340, a3)": "csrc 0x340, a3",
}
ALIASES |= {f"{name}(a3, L)": f"{name} a3, L" for name in "beqz bnez blez bgez bltz bgtz".split()}
ALIASES |= {f"{name}(a3, t5, L)": f"{name} a3, t5, L" for name in "bgt ble bgtu bleu".split()}
SEQUENCES = {"li", "la"}


def size_of(name):
    return 2 if name.startswith("c.") else 4


def python_of(line):
    """A line for GNU as, in the inline assembler's spelling. The set `or` is a word of Python's, `ro` is not."""
    mnemonic, _, operands = line.partition(" ")
    operands = re.sub(r"\bor\b", "ro", operands)
    return f"{mnemonic.replace('.', '_')}{'_' if keyword.iskeyword(mnemonic) else ''}({operands})"


def with_label(line):
    """A branch to a distance as a branch to the label L."""
    return re.sub(r"\.\+\S+", "L", line)


def written(name, arguments):
    fields, template = TABLE[name]
    if name in OPERANDS:
        template = f"{name} {OPERANDS[name]}"
    return python_of(spell(fields, with_label(template), arguments))


class Refused(Exception):
    """mpy-cross's message."""


BEGIN, END = 0x5AFE_C0DE_0123_4567, 0x5AFE_C0DE_89AB_CDEF


def compiled(folder, lines, head="def f():", decorator="asm_rv64", options=(EXTENSIONS,)):
    """The bytes of these lines, found between two marks in the .mpy file."""
    source, built = folder / "x.py", folder / "x.mpy"
    body = [f"data(8, {BEGIN})", *lines, f"data(8, {END})"]
    source.write_text(f"@micropython.{decorator}\n{head}\n" + "".join(f" {line}\n" for line in body))
    run = subprocess.run([*MPY_CROSS, *options, "-o", built, source], capture_output=True, text=True)
    if run.returncode:
        assert run.returncode == 1, run.stderr
        raise Refused(run.stderr.strip().splitlines()[-1])
    code = built.read_bytes()
    marks = [code.index(mark.to_bytes(8, "little")) for mark in (BEGIN, END)]
    return code[marks[0] + 8 : marks[1]]


def refusal(folder, line, **options):
    with pytest.raises(Refused) as caught:
        compiled(folder, [line], **options)
    return str(caught.value)


def pad(size):
    """Lines that make this many bytes."""
    eights = [f"data(8, {', '.join('0' * min(1000, size // 8 - at))})" for at in range(0, size // 8, 1000)]
    return eights + ["data(1, 0)"] * (size % 8)


def test_every_instruction_is_tested_here():
    names = set(re.findall(r"{ MP_QSTR_(\w+),", SOURCE.read_text()))
    known = {python_of(name.split("{")[0]).split("(")[0] for name in TABLE}
    assert names == known | {line.split("(")[0] for line in ALIASES} | SEQUENCES


@pytest.mark.parametrize("name", TABLE)
def test_bytes_are_those_of_gnu_as(name, tmp_path):
    """All registers, and the edges of each immediate; labels are near here."""
    lines = dict.fromkeys((written(name, case), with_label(text_of(name, case))) for case in cases(name))
    ours = compiled(tmp_path, ["label(L)", *[line for line, _ in lines]])
    assert len(ours) == len(lines) * size_of(name)
    assert ours == gnu_as(tmp_path, ["L:", *[line for _, line in lines]], size_of(name) == 2)
    expected = [line.split()[0] for _, line in lines]
    assert mnemonics(tmp_path, ours) == (["c.addi"] if name == "c.nop" else expected)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_are_reached_up_to_the_edges(name, tmp_path):
    size = size_of(name)
    registers = [f[len(f) // 2] for f in TABLE[name][0][:-1]]
    for distance in values(REACH[name]):
        arguments = (*registers, distance)
        line = written(name, arguments)
        if distance >= size:
            code = compiled(tmp_path, [line, *pad(distance - size), "label(L)"])[:size]
        elif distance <= 0:
            code = compiled(tmp_path, ["label(L)", *pad(-distance), line])[-size:]
        else:
            continue
        assert code == gnu_as(tmp_path, [text_of(name, arguments)], size == 2), distance


@pytest.mark.parametrize("name", LABELLED)
def test_a_label_beyond_the_edges_is_named_with_its_distance(name, tmp_path):
    low, high, _, _ = REACH[name]
    registers = [f[0] for f in TABLE[name][0][:-1]]
    line = written(name, (*registers, 0))
    place = f"SyntaxError: opcode '{line.split('(')[0]}' argument {len(registers) + 1}: label 'L' is "
    forward = "\n ".join([line, *pad(high + 2 - size_of(name)), "label(L)"])
    assert refusal(tmp_path, forward) == place + f"{high + 2} bytes away, expecting {low} to {high}"
    backward = "\n ".join(["label(L)", *pad(2 - low), line])
    assert refusal(tmp_path, backward) == place + f"{low - 2} bytes away, expecting {low} to {high}"


@pytest.mark.parametrize("line", ALIASES)
def test_other_names(line, tmp_path):
    assert compiled(tmp_path, ["label(L)", line]) == gnu_as(tmp_path, ["L:", ALIASES[line]], False)


def test_registers_have_two_names(tmp_path):
    for i, name in enumerate(NAMES):
        assert compiled(tmp_path, [f"add(x{i}, x{i}, x{i})"]) == compiled(tmp_path, [f"add({name}, {name}, {name})"])


def test_li_makes_any_64_bits(tmp_path):
    numbers = [0, 1, -1, 2047, 2048, -2049, 0x7FFFFFFF, 0x80000000, -0x80000000, 0xFFFFFFFF, 0x123456789ABCDEF0]
    numbers += [1 << 63, (1 << 63) - 1, -(1 << 63), MASK]
    for rd, number in [(rd, n) for rd in ("a0", "s11", "t1") for n in numbers]:
        code = compiled(tmp_path, [f"li({rd}, {number})"])
        machine = Machine().run(disassemble(tmp_path, [code])[0])
        assert machine.regs[rd] == number & MASK, (rd, number)
        assert {n for n in NAMES if machine.regs[n] != Machine().regs[n]} <= {rd}
    assert len(compiled(tmp_path, ["li(sp, 16)", "li(sp, 16)"])) == 4


def test_li_refuses_more_than_64_bits(tmp_path):
    for number in (1 << 64, -(1 << 63) - 1, 1 << 100):
        assert refusal(tmp_path, f"li(a0, {number})").endswith(
            "opcode 'li' argument 2: expecting an integer of 64 bits"
        )


def test_la_reaches_both_ways(tmp_path):
    for distance in (8, 10, 2046, 2048, 2050, 4096, 6144, 100000):
        code = compiled(tmp_path, ["la(a0, L)", *pad(distance - 8), "label(L)"])[:8]
        assert Machine().run(disassemble(tmp_path, [code])[0]).regs["a0"] == distance
    for distance in (0, 2, 2048, 2050, 4096, 6144, 100000):
        code = compiled(tmp_path, ["label(L)", *pad(distance), "la(a0, L)"])[-8:]
        assert signed(Machine().run(disassemble(tmp_path, [code])[0]).regs["a0"]) == -distance


def test_constants_and_expressions_are_numbers(tmp_path):
    head = "def g(): pass\n_N = const(24)\n@micropython.asm_rv64\ndef f():"
    lines = ["ld(a0, _N(a1))", "ld(a0, -_N(a1))", "ld(a0, +8(a1))", "addi(a0, a0, _N // 3)", "ld(a0, (_N + 8)(a1))"]
    theirs = ["ld a0, 24(a1)", "ld a0, -24(a1)", "ld a0, 8(a1)", "addi a0, a0, 8", "ld a0, 32(a1)"]
    assert compiled(tmp_path, lines, head=head) == gnu_as(tmp_path, theirs, False)


def test_align_fills_with_instructions_that_do_nothing(tmp_path):
    code = compiled(tmp_path, ["c_nop()", "align(16)", "data(1, 1)", "align(4)", "ebreak()"])
    nop = b"\1\0"
    # 8 bytes of the mark and 2 of c_nop come before the first align
    assert code == nop * 4 + b"\1" + b"\0" + nop + b"\x73\0\x10\0"


def test_data_of_all_sizes(tmp_path):
    lines = ["data(1, 1, -1)", "data(2, 0x1234, -2)", "data(4, 0x12345678)", "data(8, 0x123456789abcdef0, -(1 << 63))"]
    expected = b"\x01\xff" + b"\x34\x12\xfe\xff" + b"\x78\x56\x34\x12"
    expected += bytes.fromhex("f0debc9a78563412") + bytes(7) + b"\x80"
    assert compiled(tmp_path, lines) == expected


def test_a_function_ends_with_a_return_even_behind_odd_data(tmp_path):
    compiled(tmp_path, [])
    assert (tmp_path / "x.mpy").read_bytes().find(END.to_bytes(8, "little") + b"\x82\x80") > 0
    source = tmp_path / "x.py"
    source.write_text(f"@micropython.asm_rv64\ndef f():\n data(8, {END})\n data(1, 7)\n")
    subprocess.run([*MPY_CROSS, "-o", tmp_path / "x.mpy", source], check=True)
    assert (tmp_path / "x.mpy").read_bytes().find(END.to_bytes(8, "little") + b"\x07\x00\x82\x80") > 0


# What is refused.

WRONG_REGISTERS = {
    "range(1, 32)": "a register other than zero",
    "range(8, 16)": "a register of s0, s1, a0 to a5",
    str([1, *range(3, 32)]): "a register other than zero and sp",
}


def argument_number(name, field):
    """Which argument of the inline assembler's spelling holds a field; offset(register) is one."""
    marked = written(name, tuple(f"@{i}" for i in range(len(TABLE[name][0]))))
    if f"@{field}" not in marked:
        return len(TABLE[name][0])  # a label
    return marked[: marked.index(f"@{field}")].count(",") + 1


@pytest.mark.parametrize("name", [n for n in TABLE if TABLE[n][0]])
def test_what_no_field_holds_is_refused(name, tmp_path):
    fields = TABLE[name][0]
    good = [values(f)[len(values(f)) // 2] for f in fields]
    opcode = written(name, good).split("(")[0]
    for i, field in enumerate(fields):
        expected = f"SyntaxError: opcode '{opcode}' argument {argument_number(name, i)}: expecting "
        if isinstance(field, dict):
            continue
        if not isinstance(field, tuple):
            for wrong in sorted(set(range(32)) - set(field)):
                arguments = (*good[:i], wrong, *good[i + 1 :])
                assert refusal(tmp_path, written(name, arguments)) == expected + WRONG_REGISTERS[str(field)], arguments
            continue
        if name in LABELLED:
            continue
        low, high, step, zero = field
        if name in ("lui", "auipc"):
            high = 0xFFFFF
        wrong = [low - step, high + step, 1 << 40, -(1 << 40), 1 << 64, (1 << 64) + good[i], -(1 << 64) + good[i]]
        if step > 1:
            wrong += [low + 1, low + step // 2, high - 1]
        if not zero and low < 0:
            wrong += [0]
        shown = f"a multiple of {step} from {low} to {high}" if step > 1 else f"{low} to {high}"
        if name in ("c.slli", "c.srli", "c.srai"):
            shown = "1 to 63"
        elif not zero and low < 0:
            shown += ", not 0"
        for value in wrong:
            assert refusal(tmp_path, written(name, (*good[:i], value, *good[i + 1 :]))) == expected + shown, value


@pytest.mark.parametrize(
    "line, message",
    {
        "addi(a0, a0)": "opcode 'addi': expecting 3 arguments",
        "fence(rw)": "opcode 'fence': expecting 2 arguments",
        "addi(a0, a1, a2)": "opcode 'addi' argument 3: expecting an integer",
        "addi(a0, a1, 1.5)": "opcode 'addi' argument 3: expecting an integer",
        "addi(a0, a1, imm=1)": "opcode 'addi' argument 3: expecting an integer",
        "add(a0, a1, 1)": "opcode 'add' argument 3: expecting a register",
        "add(a0, a1, b1)": "opcode 'add' argument 3: expecting a register",
        "add(a0, x32, a1)": "opcode 'add' argument 2: expecting a register",
        "lw(a0, a1)": "opcode 'lw' argument 2: expecting offset(register)",
        "lw(a0, 4)": "opcode 'lw' argument 2: expecting offset(register)",
        "lw(a0, 4[a1])": "opcode 'lw' argument 2: expecting offset(register)",
        "lw(a0, 4(a1)(a1))": "opcode 'lw' argument 2: expecting offset(register)",
        "lw(a0, ~4(a1))": "opcode 'lw' argument 2: expecting offset(register)",
        "lw(a0, 4(a1, a1))": "opcode 'lw' argument 2: expecting a register",
        "lw(a0, 4())": "opcode 'lw' argument 2: expecting a register",
        "lw(a0, a1(a2))": "opcode 'lw' argument 2: expecting an integer",
        "fence(rw, x)": "opcode 'fence' argument 2: expecting a set of i, o, r, w",
        "fence(rr, w)": "opcode 'fence' argument 1: expecting a set of i, o, r, w",
        "fence(1, w)": "opcode 'fence' argument 1: expecting a set of i, o, r, w",
        "j(1)": "opcode 'j' argument 1: expecting a label",
        "j(X)": "opcode 'j' argument 1: undefined label 'X'",
        "la(a0, X)": "opcode 'la' argument 2: undefined label 'X'",
        "foo(a0)": "invalid RV64 instruction 'foo'",
        "c_jal(X)": "invalid RV64 instruction 'c_jal'",
        "add_aq(a0, a0, a0)": "invalid RV64 instruction 'add_aq'",
        "amoadd_d_rlaq(a0, a0, a0)": "invalid RV64 instruction 'amoadd_d_rlaq'",
        "_aq()": "invalid RV64 instruction '_aq'",
        "data(1, 1)\n nop()": "opcode 'nop' at an odd address",
        "data(1, 1)\n label(X)\n align(2)\n j(X)": "opcode 'j' argument 1: label 'X' is at an odd address",
        "label(X)\n label(X)": "label redefined",
        "nop": "expecting an assembler instruction",
        "x = 1": "expecting an assembler instruction",
        "align(0)": "'align' requires a power of 2 up to 4096",
        "align(-4)": "'align' requires a power of 2 up to 4096",
        "align(6)": "'align' requires a power of 2 up to 4096",
        "align(8192)": "'align' requires a power of 2 up to 4096",
        "align(1 << 32)": "'align' requires a power of 2 up to 4096",
        "data(0, 1)": "'data' requires a size from 1 to 8",
        "data(-1, 1)": "'data' requires a size from 1 to 8",
        "data(9, 1)": "'data' requires a size from 1 to 8",
    }.items(),
)
def test_mistakes_are_named(line, message, tmp_path):
    assert refusal(tmp_path, line) == "SyntaxError: " + message


@pytest.mark.parametrize(
    "head, message",
    {
        "def f(a0, a1, a2, a3, a4):": "can only have up to 4 parameters for RV64 assembly",
        "def f(a1):": "parameters must be registers in sequence a0 to a3",
        "def f(a0, a2):": "parameters must be registers in sequence a0 to a3",
        "def f(x10):": "parameters must be registers in sequence a0 to a3",
        "def f(a0=1):": "parameters must be registers in sequence a0 to a3",
        "def f(*a0):": "parameters must be registers in sequence a0 to a3",
        "def f() -> ptr:": "unknown type",
        "class C:": "inline assembler must be a function",
    }.items(),
)
def test_heads_that_are_refused(head, message, tmp_path):
    assert refusal(tmp_path, "nop()", head=head) == "SyntaxError: " + message


def test_extensions_are_used_only_when_they_are_allowed(tmp_path):
    for line, extension in (("sh1add(a0, a0, a0)", "zba"), ("rori(a0, a0, 1)", "zbb")):
        other = {"zba": "zbb", "zbb": "zba"}[extension]
        for options in ([], [f"-march-flags={other}"]):
            message = f"SyntaxError: opcode '{line.split('(')[0]}' needs {extension}"
            assert refusal(tmp_path, line, options=options) == message
        assert len(compiled(tmp_path, [line], options=[f"-march-flags={extension}"])) == 4
    compiled(tmp_path, ["amoadd_d(a0, a0, a0)"], options=[])


def test_an_assembler_of_another_architecture_is_refused(tmp_path):
    for decorator in ("asm_rv32", "asm_thumb"):
        assert refusal(tmp_path, "nop()", decorator=decorator) == "SyntaxError: invalid arch"
    source = tmp_path / "y.py"
    source.write_text("@micropython.asm_rv64\ndef f():\n add(a0, a0, a0)\n")
    run = subprocess.run(
        [MPY_CROSS[0], "-march=rv32imc", "-o", tmp_path / "y.mpy", source], capture_output=True, text=True
    )
    assert run.returncode == 1 and run.stderr.strip().endswith("SyntaxError: invalid arch")
