"""The RV64 assembler against GNU as: every encoder, then the sequences, run by a small interpreter of objdump's text.

The C side is the assembler itself, built for the host with stand-ins for the few headers of MicroPython it includes.
"""

import itertools
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rv64 import CROSS, MASK, NAMES, TABLE, Machine, cases, disassemble, gnu_as, signed, text_of

EMITTER = Path(__file__).resolve().parents[2] / "firmware" / "emitter"
CALLEE_SAVED = [NAMES.index(n) for n in "ra s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11".split()]

pytestmark = pytest.mark.skipif(not shutil.which(CROSS + "as"), reason="riscv64-unknown-elf-as is not installed")

STUBS = {
    "mpconfig.h": "#define MICROPY_EMIT_RV64 (1)\n",
    "misc.h": "#include <stdlib.h>\n"
    "#define m_renew(type, p, old, n) ((void)(old), (type *)realloc(p, (n) * sizeof(type)))\n",
    "runtime.h": "#include <stdio.h>\n#define MP_ERROR_TEXT(x) x\n"
    "static int mp_type_RuntimeError;\n"
    "static void mp_raise_msg(int *type, const char *m) { (void)type; (void)m; abort(); }\n"
    'static void mp_raise_NotImplementedError(const char *m) { (void)m; puts("raised"); exit(0); }\n',
    "asmbase.h": """
#ifndef ASMBASE
#define ASMBASE
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
typedef struct { uint8_t pass; bool suppress; size_t code_offset, code_size; uint8_t *code_base;
    size_t max_num_labels, *label_offsets; } mp_asm_base_t;
static inline uint8_t *mp_asm_base_get_cur_to_write_bytes(void *p, size_t n) {
    mp_asm_base_t *as = p;
    if (as->suppress) return NULL;
    uint8_t *c = as->pass == 2 ? as->code_base + as->code_offset : NULL;
    as->code_offset += n;
    return c;
}
static inline void mp_asm_base_label_assign(mp_asm_base_t *as, size_t label) {
    as->suppress = false;
    if (as->pass == 2) { if (as->label_offsets[label] != as->code_offset) abort(); }
    else as->label_offsets[label] = as->code_offset;
}
#endif
""",
}

MAIN = """
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "asmrv64.c"
static asm_rv64_t as;
static uint8_t *code;
static size_t labels[4];
static long long a[8];

// A sequence: everything between `from` and `to` is printed, the position of label 0 first.
static size_t from, to;
static void pad(size_t n) { as.base.code_offset += n; as.last.kind = RV64_LAST_NONE; }
static void sequence(const char *name) {
    from = as.base.code_offset;
    if (!strcmp(name, "li")) asm_rv64_li(&as, a[0], a[1]);
    else if (!strcmp(name, "op")) asm_rv64_op(&as, a[0], a[1], a[2], a[3]);
    else if (!strcmp(name, "op_imm")) asm_rv64_op_imm(&as, a[0], a[1], a[2], a[3]);
    else if (!strcmp(name, "set")) asm_rv64_set(&as, a[0], a[1], a[2], a[3]);
    else if (!strcmp(name, "load")) asm_rv64_load(&as, a[0], a[1], a[2], a[3]);
    else if (!strcmp(name, "store")) asm_rv64_store(&as, a[0], a[1], a[2], a[3]);
    else if (!strcmp(name, "load_indexed"))
        asm_rv64_load_element(&as, a[0], a[1], a[2], asm_rv64_element(&as, a[0], a[3], false));
    else if (!strcmp(name, "store_indexed"))
        asm_rv64_store_element(&as, a[0], a[1], a[2], asm_rv64_element(&as, a[0], a[3], false));
    else if (!strcmp(name, "folded")) { // an index computed in a2 from a4, then used to load a3 or store it
        asm_rv64_op_imm(&as, a[1], RV64_A2, RV64_A4, a[2]);
        if (a[4]) asm_rv64_op_imm(&as, RV64_OP_ADD, RV64_A2, RV64_A2, a[4]);
        rv64_element_t e = asm_rv64_element(&as, a[0], RV64_A2, true);
        if (a[3]) asm_rv64_load_element(&as, a[0], RV64_A3, RV64_S0, e);
        else asm_rv64_store_element(&as, a[0], RV64_A3, RV64_S0, e);
        if (a[3] == 2 && !asm_rv64_move_result(&as, RV64_A3, RV64_S5)) asm_rv64_mv(&as, RV64_S5, RV64_A3);
    } else if (!strcmp(name, "skip")) {
        size_t skip = a[0] < 0 ? asm_rv64_skip_always(&as) : asm_rv64_skip(&as, a[0], a[1], a[2]);
        to = as.base.code_offset;
        pad(a[3]);
        asm_rv64_label_assign(&as, 0);
        asm_rv64_skip_end(&as, skip);
    }
    else if (!strcmp(name, "local_addr")) asm_rv64_local_addr(&as, a[0], a[1]);
    else if (!strcmp(name, "label_addr")) {
        asm_rv64_label_addr(&as, a[0], 0);
        to = as.base.code_offset;
        pad(a[1]);
        asm_rv64_label_assign(&as, 0);
    }
    else if (!strcmp(name, "forward")) {
        if (a[0] < 0) asm_rv64_jump(&as, 0); else asm_rv64_branch(&as, a[0], a[1], a[2], 0);
        to = as.base.code_offset;
        pad(a[3]);
        asm_rv64_label_assign(&as, 0);
    } else if (!strcmp(name, "backward")) {
        asm_rv64_label_assign(&as, 0);
        pad(a[3]);
        from = as.base.code_offset;
        if (a[0] < 0) asm_rv64_jump(&as, 0); else asm_rv64_branch(&as, a[0], a[1], a[2], 0);
    } else if (!strcmp(name, "frame")) {
        as.touched |= a[1];
        asm_rv64_entry(&as, a[0], a[0] < 100);
        asm_rv64_local_addr(&as, RV64_A0, 0);
        asm_rv64_local_addr(&as, RV64_A1, a[0]);
        asm_rv64_exit(&as);
    } else if (!strcmp(name, "moved")) { // a two-operand value made in a2, then wanted in a[1]
        asm_rv64_op(&as, a[0], RV64_A2, a[2], a[3]);
        if (!asm_rv64_move_result(&as, RV64_A2, a[1])) asm_rv64_mv(&as, a[1], RV64_A2);
    } else if (!strcmp(name, "sum")) { // a[0] = a shifted register (or one not shifted) in a2 + another one
        asm_rv64_op_imm(&as, a[1], RV64_A2, a[2], a[3]);
        if (a[4]) asm_rv64_add(&as, RV64_A2, RV64_A2, a[6], a[5], false);
        else asm_rv64_add(&as, RV64_A2, a[5], false, RV64_A2, a[6]);
        if (!asm_rv64_move_result(&as, RV64_A2, a[0])) asm_rv64_mv(&as, a[0], RV64_A2);
    } else if (!strcmp(name, "set_branch")) { // a comparison and the branch on it
        asm_rv64_set(&as, a[0], RV64_A0, a[1], a[2]);
        asm_rv64_branch_zero(&as, a[3], RV64_A0, 0);
        to = as.base.code_offset;
        pad(16);
        asm_rv64_label_assign(&as, 0);
    } else if (!strcmp(name, "jump_next")) {
        asm_rv64_jump(&as, 0);
        asm_rv64_label_assign(&as, 0);
    } else abort();
}
int main(int argc, char **argv) {
    char line[256], name[32];
    as.extensions = atoi(argv[1]);
    as.base.label_offsets = labels;
    code = calloc(1, 4 << 20);
    as.base.code_base = code;
    as.base.code_size = 4 << 20;
    while (fgets(line, sizeof line, stdin)) {
        char *p = line;
        int used;
        sscanf(p, "%31s%n", name, &used);
        p += used;
        for (int i = 0; i < 8; i++) a[i] = strtoll(p, &p, 0);
        ENCODERS
        for (int round = 0; round < 3; round++) {
            as.base.pass = round == 2 ? 2 : 1;
            as.base.suppress = false;
            as.base.code_offset = 0;
            if (round < 2) memset(labels, -1, sizeof labels);
            as.branch_num = 0;
            as.rooms_valid = true;
            if (strcmp(name, "frame")) as.saved = ~0u; // as if a prologue had been there
            to = 0;
            sequence(name);
            if (to == 0) to = as.base.code_offset;
            asm_rv64_end_pass(&as);
        }
        printf("%zd ", labels[0] - from);
        for (size_t i = from; i < to; i++) printf("%02x", code[i]);
        puts("");
    }
}
"""


def c_name(name):
    return "rv64_" + name.replace(".", "_")


@pytest.fixture(scope="module")
def assemble(tmp_path_factory):
    """Run lines of commands through the assembler under test; a list of output lines."""
    folder = tmp_path_factory.mktemp("emitter")
    (folder / "py").mkdir()
    for name, text in STUBS.items():
        (folder / "py" / name).write_text(text)
    (folder / "py" / "asmrv64.h").symlink_to(EMITTER / "asmrv64.h")
    calls = []
    for name, (fields, _) in TABLE.items():
        arguments = ", ".join(f"a[{i}]" for i in range(len(fields)))
        width = 4 if name.startswith("c.") else 8
        call = f'printf("%0{width}x\\n", (unsigned){c_name(name)}({arguments}))'
        calls.append(f'if (!strcmp(name, "{name}")) {{ {call}; continue; }}')
    source = folder / "main.c"
    source.write_text(MAIN.replace("ENCODERS", "\n".join(calls)))
    program = folder / "main"
    command = ["cc", "-std=gnu11", "-O1", "-w", f"-I{folder}", f"-I{EMITTER}", "-o", program, source]
    subprocess.run(command, check=True)

    def run(lines, extensions=0):
        done = subprocess.run(
            [program, str(extensions)], input="\n".join(lines) + "\n", text=True, capture_output=True, check=True
        )
        return done.stdout.splitlines()

    return run


def test_every_encoder_is_in_the_table():
    source = (EMITTER / "asmrv64.h").read_text()
    encoders = set(re.findall(r"static inline uint(?:16|32)_t (rv64_\w+)\(", source))
    helpers = {e for e in encoders if e.startswith("rv64_format_")} | {"rv64_bits"}
    assert encoders - helpers == {c_name(name) for name in TABLE}


@pytest.mark.parametrize("name", TABLE)
def test_encoder_gives_the_bytes_of_gnu_as(name, assemble, tmp_path):
    wanted = cases(name)
    ours = assemble([f"{name} {' '.join(map(str, c))}" for c in wanted])
    size = 2 if name.startswith("c.") else 4
    theirs = gnu_as(tmp_path, [text_of(name, c) for c in wanted], size == 2)
    assert len(theirs) == size * len(wanted)
    for i, case in enumerate(wanted):
        word = int.from_bytes(theirs[i * size : (i + 1) * size], "little")
        assert int(ours[i], 16) == word, text_of(name, case)


# Sequences: what the bytes do, not which they are.


# Nothing but IMC, and all that the assembler knows.
EXTENSIONS = [0, 3]


def sequences(assemble, folder, lines, extensions=0):
    """(label position, code) of each command; None where the assembler raised."""
    lines = list(lines)
    found = [(int(n), bytes.fromhex(h)) for n, h in (line.split(" ") for line in assemble(lines, extensions))]
    assert len(found) == len(lines)
    return list(zip([n for n, _ in found], disassemble(folder, [h for _, h in found]), strict=True))


def edge_constants():
    found = {0, -1, 0x123456789ABC, -0x123456789ABC, 0x7FFFF7FF, 0x7FFFF800, 0xFFFFFFFF, 0xFFFFF800, 0xFFFFFFFFFFFFF}
    for bit in range(64):
        for delta in (-2049, -2048, -1, 0, 1, 2047, 2048):
            found |= {(1 << bit) + delta, -(1 << bit) + delta, (MASK >> bit) + delta}
    dice = random.Random(1)
    found |= {dice.getrandbits(64) >> dice.randrange(64) << dice.randrange(64) for _ in range(2000)}
    return sorted({signed(v) for v in found})


def test_constants_are_made_right_and_short(assemble, tmp_path):
    constants = edge_constants()
    for rd in (NAMES.index("a0"), NAMES.index("s11"), NAMES.index("t1")):
        made = sequences(assemble, tmp_path, [f"li {rd} {v}" for v in constants])
        for value, (_, code) in zip(constants, made, strict=True):
            assert Machine().run(code).regs[NAMES[rd]] == value & MASK, hex(value)
            assert len(code) <= 8
            if -2048 <= value < 2048:
                assert len(code) == 1
            elif signed(value, 32) == value or value & (value - 1) == 0 or value & (value + 1) == 0:
                assert len(code) <= 2, hex(value)


OPS = ["add", "sub", "and", "or", "xor", "sll", "srl", "sra", "slt", "sltu", "mul"]
PYTHON = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "and": lambda x, y: x & y,
    "or": lambda x, y: x | y,
    "xor": lambda x, y: x ^ y,
    "sll": lambda x, y: x << (y & 63),
    "srl": lambda x, y: x >> (y & 63),
    "sra": lambda x, y: signed(x) >> (y & 63),
    "slt": lambda x, y: signed(x) < signed(y),
    "sltu": lambda x, y: x < y,
    "mul": lambda x, y: x * y,
}
SOME = [NAMES.index(n) for n in ("zero", "s0", "a2", "a5", "s5", "t6")]
TARGETS = SOME[1:]


def test_operations_do_what_they_say_whatever_registers_they_share(assemble, tmp_path):
    wanted = list(itertools.product(range(len(OPS)), TARGETS, SOME, SOME))
    for command in ("op", "moved"):
        made = sequences(assemble, tmp_path, [f"{command} {o} {d} {x} {y}" for o, d, x, y in wanted])
        for (op, rd, rs1, rs2), (_, code) in zip(wanted, made, strict=True):
            before = Machine().regs
            expected = PYTHON[OPS[op]](before[NAMES[rs1]], before[NAMES[rs2]]) & MASK
            assert Machine().run(code).regs[NAMES[rd]] == expected, (command, OPS[op], rd, rs1, rs2)


@pytest.mark.parametrize("extensions", EXTENSIONS)
def test_operations_with_a_constant(extensions, assemble, tmp_path):
    constants = [
        0,
        1,
        31,
        32,
        63,
        -1,
        -32,
        -33,
        2047,
        2048,
        2049,
        -2047,
        -2048,
        -2049,
        0xFFF,
        0xFFFF,
        0xFFFFFFFF,
        1 << 40,
        -(1 << 63),
    ]
    wanted = list(itertools.product(range(len(OPS)), TARGETS[:3], SOME, constants))
    made = sequences(assemble, tmp_path, [f"op_imm {o} {d} {x} {i}" for o, d, x, i in wanted], extensions)
    for (op, rd, rs1, imm), (_, code) in zip(wanted, made, strict=True):
        expected = PYTHON[OPS[op]](Machine().regs[NAMES[rs1]], imm & MASK) & MASK
        assert Machine().run(code).regs[NAMES[rd]] == expected, (OPS[op], rd, rs1, imm)


CONDITIONS = {
    0: lambda x, y: x == y,
    1: lambda x, y: x != y,
    2: lambda x, y: signed(x) < signed(y),
    3: lambda x, y: signed(x) >= signed(y),
    4: lambda x, y: x < y,
    5: lambda x, y: x >= y,
}


def test_comparisons_make_0_or_1_and_fuse_with_branches(assemble, tmp_path):
    wanted = list(itertools.product(CONDITIONS, TARGETS, SOME, SOME))
    made = sequences(assemble, tmp_path, [f"set {c} {d} {x} {y}" for c, d, x, y in wanted])
    for (cond, rd, rs1, rs2), (_, code) in zip(wanted, made, strict=True):
        regs = Machine().regs
        assert Machine().run(code).regs[NAMES[rd]] == CONDITIONS[cond](regs[NAMES[rs1]], regs[NAMES[rs2]])
    wanted = list(itertools.product(CONDITIONS, SOME, SOME, (0, 1)))
    made = sequences(assemble, tmp_path, [f"set_branch {c} {x} {y} {n}" for c, x, y, n in wanted])
    for (cond, rs1, rs2, nonzero), (label, code) in zip(wanted, made, strict=True):
        regs = Machine().regs
        taken = CONDITIONS[cond](regs[NAMES[rs1]], regs[NAMES[rs2]]) == nonzero
        assert len(code) == 1
        assert Machine().run(code).target == (label if taken else None)


OFFSETS = [
    0,
    8,
    120,
    124,
    128,
    248,
    256,
    504,
    512,
    2040,
    2047,
    2048,
    -1,
    -8,
    -2048,
    -2049,
    4095,
    4096,
    1 << 20,
    (1 << 31) - 2048,
    1 << 31,
    -(1 << 31),
    1 << 40,
    (1 << 62) + 4,
]


def test_accesses_reach_any_offset(assemble, tmp_path):
    registers = [NAMES.index(n) for n in ("sp", "a0", "s1", "s7")]
    wanted = list(itertools.product(range(4), registers[1:], registers, OFFSETS))
    for command, operations in (("load", ["lbu", "lhu", "lwu", "ld"]), ("store", ["sb", "sh", "sw", "sd"])):
        made = sequences(assemble, tmp_path, [f"{command} {s} {r} {b} {o}" for s, r, b, o in wanted])
        for (size, reg, base, offset), (_, code) in zip(wanted, made, strict=True):
            machine = Machine()
            where = (machine.regs[NAMES[base]] + offset) & MASK
            machine.run(code)
            assert machine.access == (operations[size], where), (command, size, reg, base, offset)
            if command == "store":
                assert machine.memory[where] == Machine().regs[NAMES[reg]]
            else:
                assert machine.regs[NAMES[reg]] == where ^ 0x5A5A


@pytest.mark.parametrize("extensions", EXTENSIONS)
def test_indexed_accesses_leave_base_and_index_alone(extensions, assemble, tmp_path):
    wanted = list(itertools.product(range(4), TARGETS, TARGETS, TARGETS))
    for command in ("load_indexed", "store_indexed"):
        made = sequences(assemble, tmp_path, [f"{command} {s} {r} {b} {i}" for s, r, b, i in wanted], extensions)
        for (size, reg, base, index), (_, code) in zip(wanted, made, strict=True):
            before = Machine().regs
            machine = Machine().run(code)
            where = (before[NAMES[base]] + (before[NAMES[index]] << size)) & MASK
            assert machine.access[1] == where
            changed = {n for n in NAMES if machine.regs[n] != before[n]} - {"t1", "t2"}
            assert changed <= ({NAMES[reg]} if command == "load_indexed" else set())


@pytest.mark.parametrize("extensions", EXTENSIONS)
def test_index_computations_fold_into_the_access(extensions, assemble, tmp_path):
    imms = [-(1 << 20), -2049, -2048, -1, 0, 1, 5, 31, 63, 500, 511, 2047, 2048, 100000]
    wanted = list(
        itertools.product(range(4), (OPS.index("add"), OPS.index("sll"), OPS.index("and")), imms, range(3), (0, 7))
    )
    made = sequences(assemble, tmp_path, [f"folded {s} {o} {i} {k} {more}" for s, o, i, k, more in wanted], extensions)
    for (size, op, imm, kind, more), (_, code) in zip(wanted, made, strict=True):
        before = Machine().regs
        machine = Machine().run(code)
        index = PYTHON[OPS[op]](before["a4"], imm & MASK) + more
        where = (before["s0"] + (index << size)) & MASK
        assert machine.access[1] == where, (size, OPS[op], imm, kind, more)
        if kind:
            assert machine.regs["s5" if kind == 2 else "a3"] == where ^ 0x5A5A
        assert machine.regs["a4"] == before["a4"] and machine.regs["s0"] == before["s0"]
        if OPS[op] == "sll" and 0 <= imm and imm + size < 64 or OPS[op] == "add" and -256 < imm < 200:
            assert len(code) <= 3 + bool(more)


@pytest.mark.parametrize("extensions", EXTENSIONS)
def test_a_shift_becomes_part_of_the_sum_if_nobody_else_wants_it(extensions, assemble, tmp_path):
    wanted = list(itertools.product(TARGETS, SOME, range(6), (0, 1), SOME, (0, 1)))
    sll = OPS.index("sll")
    lines = [f"sum {d} {sll} {x} {n} {first} {y} {dead}" for d, x, n, first, y, dead in wanted]
    made = sequences(assemble, tmp_path, lines, extensions)
    for (rd, rs, amount, first, other, dead), (_, code) in zip(wanted, made, strict=True):
        before = Machine().regs
        shifted = (before[NAMES[rs]] << amount) & MASK
        right = shifted if NAMES[other] == "a2" else before[NAMES[other]]
        case = (rd, rs, amount, first, other, dead)
        if not (NAMES[other] == "a2" and dead):  # a dead register is nobody's operand
            assert Machine().run(code).regs[NAMES[rd]] == (shifted + right) & MASK, case
        if extensions and dead and 1 <= amount <= 3 and NAMES[other] != "a2":
            assert len(code) == 1, case


def test_skips_land_where_they_should(assemble, tmp_path):
    a0, s2, zero = (NAMES.index(n) for n in ("a0", "s2", "zero"))
    kinds = [(-1, zero, zero), (0, a0, zero), (1, a0, zero), (1, s2, zero), (2, a0, s2), (5, s2, a0), (0, a0, s2)]
    for (cond, rs1, rs2), distance in itertools.product(kinds, [2, 4, 30, 100, 250]):
        ((label, code),) = sequences(assemble, tmp_path, [f"skip {cond} {rs1} {rs2} {distance}"])
        regs = Machine().regs
        taken = cond < 0 or CONDITIONS[cond](regs[NAMES[rs1]], regs[NAMES[rs2]])
        assert Machine().run(code).target == (label if taken else None)


# Distances around the reach of each form: c.beqz, c.j, b<cond>, jal.
EDGES = [n for reach in (256, 2048, 4096, 1 << 20) for n in range(reach - 16, reach + 10, 2)]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_branches_reach_their_label_or_raise(direction, assemble, tmp_path):
    a0, s2, zero = (NAMES.index(n) for n in ("a0", "s2", "zero"))
    kinds = [(-1, zero, zero), (0, a0, zero), (1, a0, zero), (1, s2, zero), (2, a0, s2), (5, s2, a0)]
    for (cond, rs1, rs2), distance in itertools.product(kinds, [2, 4, *EDGES]):
        line = f"{direction} {cond} {rs1} {rs2} {distance}"
        (answer,) = assemble([line])
        if answer == "raised":
            assert distance > (1 << 20) - 16, line
            continue
        ((label, code),) = sequences(assemble, tmp_path, [line])
        regs = Machine().regs
        taken = cond < 0 or CONDITIONS[cond](regs[NAMES[rs1]], regs[NAMES[rs2]])
        assert Machine().run(code).target == (label if taken else None), line
        assert len(code) == 1 or distance > 4096 - 16, line


def test_a_jump_to_the_next_instruction_is_left_out(assemble, tmp_path):
    ((_, code),) = sequences(assemble, tmp_path, ["jump_next"])
    assert code == []


def test_label_addresses(assemble, tmp_path):
    for distance in (0, 2, 2038, 2040, 2042, 4096, 1 << 20):
        ((label, code),) = sequences(assemble, tmp_path, [f"label_addr 10 {distance}"])
        assert Machine().run(code).regs["a0"] == label == distance + 8


@pytest.mark.parametrize("touched", [[], ["ra"], ["s0", "s1"], ["ra", "s0", "s11"], [NAMES[r] for r in CALLEE_SAVED]])
def test_frames_give_everything_back(touched, assemble, tmp_path):
    mask = sum(1 << NAMES.index(n) for n in touched)
    for size in (
        0,
        1,
        2,
        10,
        50,
        51,
        62,
        63,
        64,
        65,
        240,
        241,
        242,
        243,
        244,
        252,
        253,
        254,
        255,
        256,
        257,
        1000,
        100000,
    ):
        ((_, code),) = sequences(assemble, tmp_path, [f"frame {size} {mask}"])
        entry = Machine()
        sp = entry.regs["sp"]
        middle = Machine().run([c for c in code if c[0] < next(a for a, m, o, _ in code if o[:1] == ["a0"])])
        assert middle.regs["sp"] % 16 == 0 and middle.regs["sp"] <= sp - 8 * (size + len(touched))
        machine = Machine().run(code)
        assert machine.target == "returned"
        assert machine.regs["sp"] == sp
        assert machine.regs["a0"] == middle.regs["sp"]
        top_of_locals = machine.regs["a1"]
        saved = {where: value for where, value in machine.memory.items()}
        assert len(saved) == len(touched)
        assert all(top_of_locals <= where < sp for where in saved)
        assert {machine.regs[n] for n in touched} == {entry.regs[n] for n in touched}
