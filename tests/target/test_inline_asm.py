"""Functions of @micropython.asm_rv64 on the target: what instructions do, how functions are called, what goes wrong."""

import re
import subprocess
from pathlib import Path

import pytest
from session import RemoteError, build_folder, qemu_version

MANUAL = Path(__file__).resolve().parents[2] / "firmware" / "emitter" / "asm_rv64.md"
SOURCE = MANUAL.with_name("emitinlinerv64.c")
MASK = (1 << 64) - 1

# In the guest: make a function from its lines.
COMMON = """
import gc, micropython
def asm(body, head="f(a0, a1) -> uint"):
    scope = {"micropython": micropython}
    text = "@micropython.asm_rv64\\ndef " + head + ":\\n " + "\\n ".join(l.strip() for l in body.split(";")) + "\\n"
    exec(text, scope)
    return scope["f"]
"""


@pytest.fixture
def target(guest):
    """A guest that has COMMON."""
    assert guest.exec(COMMON) == ""
    return guest


def run(target, code):
    """What some lines print, as a list of Python values."""
    return [eval(line) for line in target.exec(code, timeout=60).splitlines()]


# What instructions do.


def signed(value, bits=64):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def word(value):
    """A result of 32 bits, which is extended with its sign."""
    return signed(value, 32)


def divide(x, y, lowest):
    """Division as RISC-V has it: towards zero, -1 for division by zero, no trap for the lowest by -1."""
    if y == 0:
        return -1
    return lowest if (x, y) == (lowest, -1) else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def remainder(x, y, lowest):
    if y == 0 or (x, y) == (lowest, -1):
        return x if y == 0 else 0
    return x - divide(x, y, lowest) * y


def rotate(value, amount, bits):
    value &= (1 << bits) - 1
    amount %= bits
    return value << amount | value >> (bits - amount)


def w(x):
    return signed(x, 32)


def u32(x):
    return x & 0xFFFFFFFF


LOW, LOW32 = -(1 << 63), -(1 << 31)
TWO = {
    "add": lambda x, y: x + y,
    "addw": lambda x, y: word(x + y),
    "sub": lambda x, y: x - y,
    "subw": lambda x, y: word(x - y),
    "and_": lambda x, y: x & y,
    "or_": lambda x, y: x | y,
    "xor": lambda x, y: x ^ y,
    "sll": lambda x, y: x << (y & 63),
    "sllw": lambda x, y: word(x << (y & 31)),
    "srl": lambda x, y: x >> (y & 63),
    "srlw": lambda x, y: word(u32(x) >> (y & 31)),
    "sra": lambda x, y: signed(x) >> (y & 63),
    "sraw": lambda x, y: w(x) >> (y & 31),
    "slt": lambda x, y: signed(x) < signed(y),
    "sltu": lambda x, y: x < y,
    "mul": lambda x, y: x * y,
    "mulw": lambda x, y: word(x * y),
    "mulh": lambda x, y: signed(x) * signed(y) >> 64,
    "mulhu": lambda x, y: x * y >> 64,
    "mulhsu": lambda x, y: signed(x) * y >> 64,
    "div": lambda x, y: divide(signed(x), signed(y), LOW),
    "divu": lambda x, y: divide(x, y, None),
    "divw": lambda x, y: divide(w(x), w(y), LOW32),
    "divuw": lambda x, y: word(divide(u32(x), u32(y), None)),
    "rem": lambda x, y: remainder(signed(x), signed(y), LOW),
    "remu": lambda x, y: remainder(x, y, None),
    "remw": lambda x, y: remainder(w(x), w(y), LOW32),
    "remuw": lambda x, y: word(remainder(u32(x), u32(y), None)),
    "add_uw": lambda x, y: u32(x) + y,
    "sh1add": lambda x, y: (x << 1) + y,
    "sh2add": lambda x, y: (x << 2) + y,
    "sh3add": lambda x, y: (x << 3) + y,
    "sh1add_uw": lambda x, y: (u32(x) << 1) + y,
    "sh2add_uw": lambda x, y: (u32(x) << 2) + y,
    "sh3add_uw": lambda x, y: (u32(x) << 3) + y,
    "andn": lambda x, y: x & ~y,
    "orn": lambda x, y: x | ~y,
    "xnor": lambda x, y: ~(x ^ y),
    "max": lambda x, y: max(signed(x), signed(y)),
    "maxu": max,
    "min": lambda x, y: min(signed(x), signed(y)),
    "minu": min,
    "rol": lambda x, y: rotate(x, y, 64),
    "rolw": lambda x, y: word(rotate(x, y, 32)),
    "ror": lambda x, y: rotate(x, -y, 64),
    "rorw": lambda x, y: word(rotate(x, -y, 32)),
}
BYTES = [0xFF << n for n in range(0, 64, 8)]
ONE = {
    "mv": lambda x: x,
    "not_": lambda x: ~x,
    "neg": lambda x: -x,
    "negw": lambda x: word(-x),
    "seqz": lambda x: x == 0,
    "snez": lambda x: x != 0,
    "sltz": lambda x: signed(x) < 0,
    "sgtz": lambda x: signed(x) > 0,
    "sext_w": word,
    "zext_w": u32,
    "sext_b": lambda x: signed(x, 8),
    "sext_h": lambda x: signed(x, 16),
    "zext_h": lambda x: x & 0xFFFF,
    "clz": lambda x: 64 - x.bit_length(),
    "clzw": lambda x: 32 - u32(x).bit_length(),
    "ctz": lambda x: (x & -x).bit_length() - 1 if x else 64,
    "ctzw": lambda x: (u32(x) & -u32(x)).bit_length() - 1 if u32(x) else 32,
    "cpop": lambda x: x.bit_count(),
    "cpopw": lambda x: u32(x).bit_count(),
    "orc_b": lambda x: sum(m for m in BYTES if x & m),
    "rev8": lambda x: int.from_bytes(x.to_bytes(8, "little"), "big"),
}
IMMEDIATE = {
    "addi": (TWO["add"], (0, 1, -1, 2047, -2048)),
    "addiw": (TWO["addw"], (0, 1, -1, 2047, -2048)),
    "andi": (TWO["and_"], (0, 1, -1, 2047, -2048)),
    "ori": (TWO["or_"], (0, 1, -1, 2047, -2048)),
    "xori": (TWO["xor"], (0, 1, -1, 2047, -2048)),
    "slti": (TWO["slt"], (0, 1, -1, 2047, -2048)),
    "sltiu": (TWO["sltu"], (0, 1, -1, 2047, -2048)),
    "slli": (TWO["sll"], (0, 1, 31, 32, 63)),
    "slliw": (TWO["sllw"], (0, 1, 31)),
    "srli": (TWO["srl"], (0, 1, 31, 32, 63)),
    "srliw": (TWO["srlw"], (0, 1, 31)),
    "srai": (TWO["sra"], (0, 1, 31, 32, 63)),
    "sraiw": (TWO["sraw"], (0, 1, 31)),
    "slli_uw": (lambda x, y: u32(x) << y, (0, 1, 31, 32, 63)),
    "rori": (TWO["ror"], (0, 1, 31, 32, 63)),
    "roriw": (TWO["rorw"], (0, 1, 31)),
}
# QEMU 7.2 counts on into the upper half.
CTZW_SINCE = (8, 0)
EDGES = [0, 1, 2, 31, 32, 63, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 0x123456789ABCDEF0, 0x8001FF7F00805A00]
EDGES += [(1 << 63) - 1, 1 << 63, MASK - 1, MASK, MASK ^ 0x7FFFFFFF]
PAIRS = [(x, y) for x in EDGES for y in EDGES]


@pytest.mark.parametrize("name", TWO)
def test_two_registers(name, target):
    got = run(target, f"f = asm('{name}(a0, a0, a1)')\nfor x in {EDGES}: print([f(x, y) for y in {EDGES}])")
    assert sum(got, []) == [TWO[name](x, y) & MASK for x, y in PAIRS]


@pytest.mark.parametrize("name", ONE)
def test_one_register(name, target):
    numbers = EDGES
    if name == "ctzw" and qemu_version() < CTZW_SINCE:
        numbers = [x for x in EDGES if x == 0 or u32(x) != 0]
    (got,) = run(target, f"f = asm('{name}(a0, a0)', 'f(a0) -> uint')\nprint([f(x) for x in {numbers}])")
    assert got == [ONE[name](x) & MASK for x in numbers]


@pytest.mark.parametrize("name", IMMEDIATE)
def test_register_and_immediate(name, target):
    model, immediates = IMMEDIATE[name]
    for imm in immediates:
        (got,) = run(target, f"f = asm('{name}(a0, a0, {imm})', 'f(a0) -> uint')\nprint([f(x) for x in {EDGES}])")
        assert got == [model(x, imm & MASK) & MASK for x in EDGES], imm


COMPRESSED = {
    "c_add(a0, a1)": TWO["add"],
    "c_addw(a0, a1)": TWO["addw"],
    "c_sub(a0, a1)": TWO["sub"],
    "c_subw(a0, a1)": TWO["subw"],
    "c_and(a0, a1)": TWO["and_"],
    "c_or(a0, a1)": TWO["or_"],
    "c_xor(a0, a1)": TWO["xor"],
    "c_mv(a0, a1)": lambda x, y: y,
    "c_addi(a0, -32)": lambda x, y: x - 32,
    "c_addiw(a0, 31)": lambda x, y: word(x + 31),
    "c_andi(a0, -2)": lambda x, y: x & ~1,
    "c_li(a0, -32)": lambda x, y: -32,
    "c_lui(a0, -32)": lambda x, y: -32 << 12,
    "c_slli(a0, 63)": lambda x, y: x << 63,
    "c_srli(a0, 63)": lambda x, y: x >> 63,
    "c_srai(a0, 63)": lambda x, y: signed(x) >> 63,
    "lui(a0, 0x80000)": lambda x, y: LOW32,
    "lui(a0, -0x80000)": lambda x, y: LOW32,
    "lui(a0, 0x7ffff)": lambda x, y: 0x7FFFF000,
    "c_nop(); nop()": lambda x, y: x,
}


@pytest.mark.parametrize("body", COMPRESSED)
def test_short_instructions(body, target):
    got = run(target, f"f = asm({body!r})\nfor x in {EDGES}: print([f(x, y) for y in {EDGES}])")
    assert sum(got, []) == [COMPRESSED[body](x, y) & MASK for x, y in PAIRS]


BRANCHES = {
    "beq(a0, a1, L)": lambda x, y: x == y,
    "bne(a0, a1, L)": lambda x, y: x != y,
    "blt(a0, a1, L)": lambda x, y: signed(x) < signed(y),
    "bge(a0, a1, L)": lambda x, y: signed(x) >= signed(y),
    "bltu(a0, a1, L)": lambda x, y: x < y,
    "bgeu(a0, a1, L)": lambda x, y: x >= y,
    "bgt(a0, a1, L)": lambda x, y: signed(x) > signed(y),
    "ble(a0, a1, L)": lambda x, y: signed(x) <= signed(y),
    "bgtu(a0, a1, L)": lambda x, y: x > y,
    "bleu(a0, a1, L)": lambda x, y: x <= y,
    "beqz(a0, L)": lambda x, y: x == 0,
    "bnez(a0, L)": lambda x, y: x != 0,
    "bltz(a0, L)": lambda x, y: signed(x) < 0,
    "bgez(a0, L)": lambda x, y: signed(x) >= 0,
    "bgtz(a0, L)": lambda x, y: signed(x) > 0,
    "blez(a0, L)": lambda x, y: signed(x) <= 0,
    "c_beqz(a0, L)": lambda x, y: x == 0,
    "c_bnez(a0, L)": lambda x, y: x != 0,
}


@pytest.mark.parametrize("branch", BRANCHES)
def test_branches_forward_and_back(branch, target):
    back = branch.replace("L)", "B)")
    bodies = (
        f"{branch}; li(a0, 0); ret(); label(L); li(a0, 1)",
        f"j(T); label(B); li(a0, 1); ret(); label(T); {back}; li(a0, 0)",
    )
    for body in bodies:
        got = run(target, f"f = asm({body!r})\nfor x in {EDGES}: print([f(x, y) for y in {EDGES}])")
        assert sum(got, []) == [BRANCHES[branch](x, y) for x, y in PAIRS]


JUMPS = {
    "la(a2, L); jr(a2)": 5,
    "la(a2, L); c_jr(a2)": 5,
    "j(L)": 5,
    "c_j(L)": 5,
    "jal(zero, L)": 5,
    "la(a2, M); jalr(zero, a2, 8)": 5,
    "la(a2, M); jalr(zero, a2, 4)": 6,
}


@pytest.mark.parametrize("jump", JUMPS)
def test_jumps(jump, target):
    body = f"li(a0, 5); {jump}; label(M); addi(a0, a0, 2); addi(a0, a0, 1); label(L)"
    assert run(target, f"print(asm({body!r}, 'f()')())") == [JUMPS[jump]]


def test_calls_within_a_function(target):
    """A subroutine that calls itself, with ra and an argument on the stack."""
    body = """
        addi(sp, sp, -16); sd(ra, 8(sp)); jal(ra, FACTORIAL); ld(ra, 8(sp)); addi(sp, sp, 16); ret();
        label(FACTORIAL); bnez(a0, MORE); li(a0, 1); ret();
        label(MORE); c_addi16sp(-16); c_sdsp(ra, 8); c_sdsp(a0, 0); addi(a0, a0, -1); jal(ra, FACTORIAL);
        c_ldsp(a1, 0); c_ldsp(ra, 8); mul(a0, a0, a1); c_addi16sp(16); ret()
    """
    expected = [1, 1, 2, 6, 120, 3628800, 2432902008176640000]
    assert run(target, f"f = asm({body!r}, 'f(a0)')\nprint([f(n) for n in (0, 1, 2, 3, 5, 10, 20)])") == [expected]
    for call in ("c_jalr(a2)", "jalr(ra, a2, 0)"):
        body = f"mv(a3, ra); la(a2, L); {call}; jr(a3); label(L); li(a0, 9); ret()"
        assert run(target, f"print(asm({body!r}, 'f()')())") == [9]


def test_loop_over_a_buffer(target):
    body = """
        li(a2, 0); beqz(a1, END); label(LOOP); lbu(a3, 0(a0)); add(a2, a2, a3); addi(a0, a0, 1); addi(a1, a1, -1);
        bnez(a1, LOOP); label(END); mv(a0, a2)
    """
    code = (
        f"f = asm({body!r})\nb = bytes(range(256)) * 40\nprint(f(b, len(b)), f(b, 0), f(bytearray(b'\\xff\\x01'), 2))"
    )
    assert target.exec(code).split() == [str(40 * sum(range(256))), "0", "256"]


LOADS = {"lb": (1, True), "lbu": (1, False), "lh": (2, True), "lhu": (2, False), "lw": (4, True), "lwu": (4, False)}
LOADS |= {"ld": (8, False), "c_lw": (4, True), "c_ld": (8, False)}
MEMORY = bytes((n * 37 + 129) & 255 for n in range(256))


@pytest.mark.parametrize("name", LOADS)
def test_loads(name, target):
    size, with_sign = LOADS[name]
    offsets = (0, size, 15 * size) if name.startswith("c_") else (0, 1, size, 120, -size, -64)
    for offset in offsets:
        code = f"f = asm('addi(a0, a0, 64); {name}(a0, {offset}(a0))')\nprint(f({MEMORY!r}, 0))"
        at = 64 + offset
        assert run(target, code) == [int.from_bytes(MEMORY[at : at + size], "little", signed=with_sign) & MASK], offset


@pytest.mark.parametrize("name", ["sb", "sh", "sw", "sd", "c_sw", "c_sd"])
def test_stores(name, target):
    size = {"b": 1, "h": 2, "w": 4, "d": 8}[name[-1]]
    for offset in (0, 15 * size) if name.startswith("c_") else (0, 1, 120, -size, -64):
        code = f"""
f = asm('addi(a0, a0, 64); {name}(a1, {offset}(a0))')
b = bytearray({MEMORY!r})
f(b, 0x8877665544332211)
print(bytes(b))"""
        expected = bytearray(MEMORY)
        expected[64 + offset : 64 + offset + size] = bytes.fromhex("1122334455667788")[:size]
        assert run(target, code) == [bytes(expected)], offset


def test_the_stack_is_aligned_and_has_short_forms(target):
    body = """
        andi(a2, sp, 15); c_addi16sp(-64); c_sdsp(a0, 56); c_swsp(a0, 52); c_swsp(zero, 48); c_addi4spn(a3, 48);
        ld(a4, 8(a3)); c_lwsp(a5, 52); xor(a1, a4, a0); c_addi16sp(64); slli(a2, a2, 32); or_(a1, a1, a2);
        mv(a0, a5); beqz(a1, END); li(a0, 99); label(END)
    """
    assert run(target, f"f = asm({body!r}, 'f(a0)')\nprint([f(0x1234), f(1 << 31), f(-1)])") == [[0x1234, LOW32, -1]]


def test_saved_registers_can_be_used_when_they_are_given_back(target):
    names = [f"s{i}" for i in range(12)]
    body = ["c_addi16sp(-96)"] + [f"c_sdsp({r}, {8 * i})" for i, r in enumerate(names)]
    body += [f"addi({r}, a0, {i})" for i, r in enumerate(names)] + ["li(a0, 0)"] + [f"add(a0, a0, {r})" for r in names]
    body += [f"c_ldsp({r}, {8 * i})" for i, r in enumerate(names)] + ["c_addi16sp(96)"]
    code = f"f = asm({'; '.join(body)!r}, 'f(a0)')\nprint([f(n) for n in range(1000)] == [12 * n + 66 for n in range(1000)])"
    assert run(target, code) == [True]


def test_addresses_of_data(target):
    for size, values in (
        (1, [1, 255]),
        (2, [1, 65535]),
        (4, [0x12345678, 0xFFFFFFFE]),
        (8, [1 << 63, 0x123456789ABCDEF0]),
    ):
        load = {1: "lbu", 2: "lhu", 4: "lwu", 8: "ld"}[size]
        body = f"""
            la(a1, TABLE); li(a2, {size}); mul(a0, a0, a2); add(a1, a1, a0); {load}(a0, 0(a1)); j(END);
            align({size}); label(TABLE); data({size}, {values[0]}, {values[1]}); align(2); label(END)
        """
        assert run(target, f"f = asm({body!r}, 'f(a0) -> uint')\nprint([f(0), f(1)])") == [values]


def test_data_aligned_for_its_size(target):
    body = "nop(); la(a0, L); ret(); align(64); label(L); data(8, 0)"
    assert run(target, f"print(asm({body!r}, 'f()')() % 64)") == [0]


def test_align_can_be_run_through(target):
    assert run(target, "print(asm('c_nop(); align(64); c_nop(); align(4096); addi(a0, a0, 1)', 'f(a0)')(4))") == [5]


def test_csr(target):
    """sscratch is nobody's here: the firmware runs in machine mode."""
    body = """
        csrrw(a5, a0, 0x140); csrrs(a2, a1, 0x140); csrrc(a3, a0, 0x140); csrrs(a4, zero, 0x140);
        bne(a2, a0, BAD); or_(a2, a0, a1); bne(a2, a3, BAD); andn(a2, a1, a0); bne(a2, a4, BAD);
        csrrwi(zero, 0x140, 21); csrrsi(a2, 0x140, 10); csrrci(a3, 0x140, 1); csrr(a4, 0x140); csrw(0x140, a5);
        slli(a0, a2, 16); slli(a3, a3, 8); or_(a0, a0, a3); or_(a0, a0, a4); ret();
        label(BAD); li(a0, -1)
    """
    assert run(target, f"print(asm({body!r})(0xA5A5A5A5A5A5A5A5, 0x5A5A00005A5A1111))") == [21 << 16 | 31 << 8 | 30]
    body = "csrw(0x140, a0); csrs(0x140, a1); li(a1, 1); csrc(0x140, a1); csrr(a0, 0x140)"
    assert run(target, f"print(asm({body!r})(3, 12))") == [14]


def test_counters_go_on(target):
    assert run(target, "f = asm('csrr(a0, 0xB00)', 'f()')\na = f()\nprint(f() > a)") == [True]


ATOMIC = {
    "amoswap": lambda old, new: new,
    "amoadd": lambda old, new: old + new,
    "amoand": lambda old, new: old & new,
    "amoor": lambda old, new: old | new,
    "amoxor": lambda old, new: old ^ new,
    "amomin": min,
    "amomax": max,
    "amominu": lambda old, new: min(old & MASK, new & MASK),
    "amomaxu": lambda old, new: max(old & MASK, new & MASK),
}


@pytest.mark.parametrize("name", ATOMIC)
def test_atomics(name, target):
    for size, suffix in ((4, "_w"), (8, "_d")):
        for order in ("", "_aq", "_rl", "_aqrl"):
            for old, new in ((5, -3), (-7, 2)):
                code = f"""
import array
b = array.array('{"i" if size == 4 else "q"}', [{old}, 77])
print((asm('{name}{suffix}{order}(a0, a1, (a0))', 'f(a0, a1)')(b, {new}), list(b)))"""
                expected = signed(ATOMIC[name](old, new), 8 * size)
                assert run(target, code) == [(old, [expected, 77])], (suffix, order)


@pytest.mark.parametrize("size", ["w", "d"])
def test_reservations(size, target):
    loop = f"label(AGAIN); lr_{size}_aq(a2, (a0)); add(a3, a2, a1); sc_{size}_rl(a4, a3, (a0)); bnez(a4, AGAIN); mv(a0, a2)"
    typecode = "iq"[size == "d"]
    code = f"import array\nb = array.array('{typecode}', [40])\nprint((asm({loop!r})(b, 2), list(b)))"
    assert run(target, code) == [(40, [42])]
    lost = f"lr_{size}(a2, a0); sc_{size}(a3, a1, a0); sc_{size}(a0, zero, a0); snez(a0, a0)"
    code = f"import array\nb = array.array('{typecode}', [40])\nprint((asm({lost!r})(b, 2), list(b)))"
    assert run(target, code) == [(1, [2])]


def test_fences(target):
    assert run(target, "print(asm('fence(); fence(rw, w); fence(iorw, ro); fence_i(); li(a0, 3)', 'f()')())") == [3]


# How functions are called.


def test_number_of_arguments(target):
    code = """
fs = [asm("nop()" if n == 0 else "; ".join("add(a0, a0, a%d)" % i for i in range(1, n)) or "nop()",
          "f(%s)" % ", ".join("a%d" % i for i in range(n))) for n in range(5)]
print([fs[1](7), fs[2](7, 80), fs[3](7, 80, 900), fs[4](7, 80, 900, 1000)])
for n in range(5):
    for wrong in (n - 1, n + 1):
        if wrong >= 0:
            try: fs[n](*range(wrong)); print("taken", n, wrong)
            except TypeError: pass
"""
    assert run(target, code) == [[7, 87, 987, 1987]]


def test_what_arguments_become(target):
    code = """
f = asm("nop()", "f(a0) -> uint")
print([f(x) for x in (None, False, True, 5, -1, (1 << 62) - 1, 1 << 63, (1 << 64) + 3, 2.75)])
load = asm("lbu(a0, 0(a0))", "f(a0)")
print([load(x) for x in (b"A", "B", bytearray(b"C"), memoryview(b"xD")[1:])])
"""
    numbers = [0, 0, 1, 5, MASK, (1 << 62) - 1, 1 << 63, 3, 2]
    assert run(target, code) == [numbers, [65, 66, 67, 68]]


def test_what_results_become(target):
    code = """
numbers = (0, 1, -1, 1 << 62, -(1 << 62), (1 << 63) - 1, -(1 << 63))
print([asm("nop()", "f(a0)" + kind)(n) for kind in ("", " -> int", " -> uint") for n in numbers])
print([asm("nop()", "f(a0) -> bool")(n) for n in (0, 1, 2, 1 << 63)])
class C: pass
c = C()
print(asm("nop()", "f(a0) -> object")(c) is c)
"""
    numbers = [0, 1, -1, 1 << 62, -(1 << 62), (1 << 63) - 1, -(1 << 63)]
    expected = numbers * 2 + [n & MASK for n in numbers]
    assert run(target, code) == [expected, [False, True, True, True], True]


def test_functions_are_objects_like_others(target):
    code = """
import gc
fs = [asm("addi(a0, a0, %d)" % i, "f(a0)") for i in range(200)]
gc.collect()
print(sum(f(1) for f in fs), list(map(fs[3], (1, 2))), sorted((3, 1, 2), key=asm("neg(a0, a0)", "f(a0)")))
class C:
    m = asm("mv(a0, a1)", "f(a0, a1)")
print(C().m(8))
"""
    assert target.exec(code) == f"{200 + sum(range(200))} [4, 5] [3, 2, 1]\n8\n"


def test_a_long_function(target):
    """Jumps over 512 KiB, there and back."""
    body = "j(FAR); label(BACK); addi(a0, a0, 1); ret(); {}; label(FAR); addi(a0, a0, 2); j(BACK)"
    body = body.format("; ".join(["align(4096); data(1, 0)"] * 128) + "; align(2)")
    assert run(target, f"print(asm({body!r}, 'f(a0)')(10))") == [13]


def test_functions_of_a_mpy_file(tmp_path, target):
    source, built = tmp_path / "m.py", tmp_path / "m.mpy"
    source.write_text("""
@micropython.asm_rv64
def pick(a0) -> uint:
    la(a1, TABLE)
    sh3add(a1, a0, a1)
    ld(a0, 0(a1))
    ret()
    align(8)
    label(TABLE)
    data(8, 0x1122334455667788, -1)
@micropython.asm_rv64
def same(a0) -> object:
    pass
""")
    cross = build_folder() / "mpy-cross" / "mpy-cross"
    command = [cross, "-march=rv64imc", "-march-flags=zba", "-msmall-int-bits=63", "-o", built, source]
    subprocess.run(command, check=True)
    assert built.read_bytes()[2] & 0x40 and built.read_bytes()[4] == 1  # the file says that it needs Zba
    code = f"""
import io, sys, vfs
class Files:
    def mount(self, readonly, mkfs): pass
    def umount(self): pass
    def stat(self, path):
        if path.lstrip("/") != "m.mpy": raise OSError(2)
        return (0x8000,) + (0,) * 9
    def open(self, path, mode): return io.BytesIO({built.read_bytes()!r})
vfs.mount(Files(), "/m")
sys.path.append("/m")
import m
print([m.pick(0), m.pick(1), m.same(print) is print])
"""
    assert run(target, code) == [[0x1122334455667788, MASK, True]]


# What goes wrong.


def test_a_mistake_is_a_syntax_error_with_its_line(target):
    with pytest.raises(RemoteError) as caught:
        target.exec("import micropython\n@micropython.asm_rv64\ndef f(a0):\n nop()\n addi(a0, a0, 2048)\n ret()\n")
    assert caught.value.error == "SyntaxError: opcode 'addi' argument 3: expecting -2048 to 2047"
    assert ", line 5" in caught.value.traceback


@pytest.mark.parametrize(
    "line, message",
    {
        "foo(a0)": "invalid RV64 instruction 'foo'",
        "add(a0, a1)": "opcode 'add': expecting 3 arguments",
        "add(a0, a1, q)": "opcode 'add' argument 3: expecting a register",
        "c_lw(a0, 4(t0))": "opcode 'c_lw' argument 2: expecting a register of s0, s1, a0 to a5",
        "c_ld(a0, 4(a1))": "opcode 'c_ld' argument 2: expecting a multiple of 8 from 0 to 248",
        "li(a0, 1 << 64)": "opcode 'li' argument 2: expecting an integer of 64 bits",
        "j(X)": "opcode 'j' argument 1: undefined label 'X'",
        "c_beqz(a0, X);align(256);c_nop();label(X)": "opcode 'c_beqz' argument 2: label 'X' is 258 bytes away,"
        " expecting -256 to 254",
        "label(X);label(X)": "label redefined",
        "data(1, 1);nop()": "opcode 'nop' at an odd address",
        "align(0)": "'align' requires a power of 2 up to 4096",
        "data(-1, 1)": "'data' requires a size from 1 to 8",
        "nop": "expecting an assembler instruction",
    }.items(),
)
def test_mistakes_are_named(line, message, target):
    with pytest.raises(RemoteError) as caught:
        target.exec(f"asm({line!r})")
    assert caught.value.error == "SyntaxError: " + message


def test_heads_that_are_refused(target):
    for head, message in {
        "f(a0, a1, a2, a3, a4)": "can only have up to 4 parameters for RV64 assembly",
        "f(a1)": "parameters must be registers in sequence a0 to a3",
        "f() -> ptr": "unknown type",
    }.items():
        with pytest.raises(RemoteError) as caught:
            target.exec(f"asm('nop()', {head!r})")
        assert caught.value.error == "SyntaxError: " + message


def test_extensions_that_the_machine_lacks_are_refused(new_guest):
    guest = new_guest(extra=["-cpu", "rv64,zba=false"])
    guest.wait_prompt()
    guest.soft_reset()
    guest.exec(COMMON)
    assert run(guest, "print(asm('orc_b(a0, a0)')(256, 0))") == [0xFF00]
    with pytest.raises(RemoteError) as caught:
        guest.exec("asm('sh1add(a0, a0, a0)')")
    assert caught.value.error == "SyntaxError: opcode 'sh1add' needs zba"


def test_code_with_a_mistake_takes_no_memory(target):
    code = """
here = lambda: asm("auipc(a0, 0)", "f()")()
before = here()
for n in range(100):
    try: asm("align(4096); nop(); align(4096); j(X)"); print("taken")
    except SyntaxError: pass
print(abs(here() - before) < 4096)
"""
    assert run(target, code) == [True]


@pytest.mark.parametrize("body", ["lw(a0, 0(zero))", "sd(a0, 0(zero))", "csrr(a0, 0x7ff)", "data(4, 0)"])
def test_faults_are_exceptions_and_the_machine_goes_on(body, target):
    target.allow = (*target.allow, "Invalid (read|write) at addr 0x0, ")
    with pytest.raises(RemoteError) as caught:
        target.exec(f"asm('li(s0, 1); li(s11, 2); ' + {body!r})(1, 2)")
    assert caught.value.error.startswith("OSError: [Errno 14] EFAULT")
    assert run(target, "print(asm('add(a0, a0, a1)')(1, 2))") == [3]


# What the manual says.


def test_the_manual_names_every_instruction():
    names = set(re.findall(r"{ MP_QSTR_(\w+),", SOURCE.read_text()))
    table = MANUAL.read_text().partition("## Instructions")[2]
    listed = set(re.findall(r"\b[a-z]\w*\b", " ".join(re.findall(r"`([^`]+)`", table))))
    assert names <= listed, names - listed


def test_examples_of_the_manual(target):
    """Each block can be pasted at the prompt; a comment behind a print is what it prints."""
    blocks = re.findall(r"^((?:    .*\n|\n)+)", MANUAL.read_text(), re.M)
    programs = [re.sub("^    ", "", b, flags=re.M) for b in blocks if "print(" in b]
    assert programs
    for program in programs:
        expected = re.findall(r"print\(.*\) +# (.*)", program)
        assert expected and target.exec(program).splitlines() == expected
