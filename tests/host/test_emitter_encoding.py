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

EMITTER = Path(__file__).resolve().parents[2] / "firmware" / "emitter"
CROSS = "riscv64-unknown-elf-"
MASK = (1 << 64) - 1
NAMES = ("zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6").split()
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
int main(void) {
    char line[256], name[32];
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

# Fields of an encoder: registers, immediates as (lowest, highest, step, may be zero), and sets with their spelling.
R, NZ, C, NZSP = range(32), range(1, 32), range(8, 16), [1, *range(3, 32)]
I12 = (-2048, 2047, 1, True)
I20 = (-(1 << 19), (1 << 19) - 1, 1, True)
I6, I6NZ = (-32, 31, 1, True), (-32, 31, 1, False)
SHIFT, SHIFTNZ, SHIFTW = (0, 63, 1, True), (0, 63, 1, False), (0, 31, 1, True)
CSR, U5 = (0, 4095, 1, True), (0, 31, 1, True)
BRANCH = (-4096, 4094, 2, True)
CBRANCH = (-256, 254, 2, True)
ORDER = dict(enumerate(["", ".rl", ".aq", ".aqrl"]))
FENCE = {n: "".join(c for c, bit in zip("iorw", (8, 4, 2, 1), strict=True) if n & bit) for n in range(1, 16)}

TABLE = {}
THREE_REGISTERS = """
    add addw and or sll sllw slt sltu sra sraw srl srlw sub subw xor
    div divu divuw divw mul mulh mulhsu mulhu mulw rem remu remuw remw
    add.uw sh1add sh1add.uw sh2add sh2add.uw sh3add sh3add.uw
    andn max maxu min minu orn rol rolw ror rorw xnor
"""
for name in THREE_REGISTERS.split():
    TABLE[name] = ((R, R, R), f"{name} {{0}}, {{1}}, {{2}}")
for name in "addi addiw andi ori slti sltiu xori".split():
    TABLE[name] = ((R, R, I12), f"{name} {{0}}, {{1}}, {{2}}")
for name in "slli srli srai slli.uw rori".split():
    TABLE[name] = ((R, R, SHIFT), f"{name} {{0}}, {{1}}, {{2}}")
for name in "slliw srliw sraiw roriw".split():
    TABLE[name] = ((R, R, SHIFTW), f"{name} {{0}}, {{1}}, {{2}}")
for name in "clz clzw cpop cpopw ctz ctzw orc.b rev8 sext.b sext.h zext.h".split():
    TABLE[name] = ((R, R), f"{name} {{0}}, {{1}}")
for name in "csrrc csrrs csrrw".split():
    TABLE[name] = ((R, CSR, R), f"{name} {{0}}, {{1}}, {{2}}")
    TABLE[name + "i"] = ((R, CSR, U5), f"{name}i {{0}}, {{1}}, {{2}}")
for size in ("w", "d"):
    TABLE[f"lr.{size}"] = ((R, R, ORDER), f"lr.{size}{{2}} {{0}}, ({{1}})")
    for name in "sc amoadd amoand amomax amomaxu amomin amominu amoor amoswap amoxor".split():
        TABLE[f"{name}.{size}"] = ((R, R, R, ORDER), f"{name}.{size}{{3}} {{0}}, {{1}}, ({{2}})")
for name in "lb lbu lh lhu lw lwu ld sb sh sw sd".split():
    TABLE[name] = ((R, R, I12), f"{name} {{0}}, {{2}}({{1}})")
for name in "beq bne blt bge bltu bgeu".split():
    TABLE[name] = ((R, R, BRANCH), f"{name} {{0}}, {{1}}, .+{{2}}")
for name in "lui auipc".split():
    TABLE[name] = ((R, I20), f"{name} {{0}}, {{1}} & 0xfffff")
TABLE |= {
    "jal": ((R, (-(1 << 20), (1 << 20) - 2, 2, True)), "jal {0}, .+{1}"),
    "jalr": ((R, R, I12), "jalr {0}, {2}({1})"),
    "ebreak": ((), "ebreak"),
    "ecall": ((), "ecall"),
    "wfi": ((), "wfi"),
    "fence_i": ((), "fence.i"),
    "fence": ((FENCE, FENCE), "fence {0}, {1}"),
}
for name in "c.add c.mv".split():
    TABLE[name] = ((NZ, NZ), f"{name} {{0}}, {{1}}")
for name in "c.addw c.subw c.and c.or c.xor c.sub".split():
    TABLE[name] = ((C, C), f"{name} {{0}}, {{1}}")
for name in "c.lw c.sw".split():
    TABLE[name] = ((C, C, (0, 124, 4, True)), f"{name} {{0}}, {{2}}({{1}})")
for name in "c.ld c.sd".split():
    TABLE[name] = ((C, C, (0, 248, 8, True)), f"{name} {{0}}, {{2}}({{1}})")
TABLE |= {
    "c.addi": ((NZ, I6NZ), "c.addi {0}, {1}"),
    "c.addiw": ((NZ, I6), "c.addiw {0}, {1}"),
    "c.addi16sp": (((-512, 496, 16, False),), "c.addi16sp sp, {0}"),
    "c.addi4spn": ((C, (4, 1020, 4, False)), "c.addi4spn {0}, sp, {1}"),
    "c.andi": ((C, I6), "c.andi {0}, {1}"),
    "c.beqz": ((C, CBRANCH), "c.beqz {0}, .+{1}"),
    "c.bnez": ((C, CBRANCH), "c.bnez {0}, .+{1}"),
    "c.ebreak": ((), "c.ebreak"),
    "c.j": (((-2048, 2046, 2, True),), "c.j .+{0}"),
    "c.jr": ((NZ,), "c.jr {0}"),
    "c.jalr": ((NZ,), "c.jalr {0}"),
    "c.ldsp": ((NZ, (0, 504, 8, True)), "c.ldsp {0}, {1}(sp)"),
    "c.lwsp": ((NZ, (0, 252, 4, True)), "c.lwsp {0}, {1}(sp)"),
    "c.sdsp": ((R, (0, 504, 8, True)), "c.sdsp {0}, {1}(sp)"),
    "c.swsp": ((R, (0, 252, 4, True)), "c.swsp {0}, {1}(sp)"),
    "c.li": ((NZ, I6), "c.li {0}, {1}"),
    "c.lui": ((NZSP, I6NZ), "c.lui {0}, {1} & 0xfffff"),
    "c.nop": ((), "c.nop"),
    "c.slli": ((NZ, SHIFTNZ), "c.slli {0}, {1}"),
    "c.srli": ((C, SHIFTNZ), "c.srli {0}, {1}"),
    "c.srai": ((C, SHIFTNZ), "c.srai {0}, {1}"),
}


def c_name(name):
    return "rv64_" + name.replace(".", "_")


def values(field):
    """All of a field's registers or sets, or the edges of an immediate: both ends, zero, and each bit alone."""
    if not isinstance(field, tuple):
        return list(field)
    low, high, step, zero = field
    found = {low, low + step, high, high - step, 0, step, -step}
    found |= {sign * (step << bit) for bit in range(21) for sign in (1, -1)}
    return sorted(v for v in found if low <= v <= high and v % step == 0 and (zero or v))


def cases(name):
    """Every value of each field, beside the ends and the middle of the other fields."""
    fields = [values(f) for f in TABLE[name][0]]
    found = set()
    for i, field in enumerate(fields):
        others = [{f[0], f[-1], f[len(f) // 2]} for f in fields]
        others[i] = field
        found |= set(itertools.product(*others))
    return sorted(found) or [()]


def text_of(name, arguments):
    fields, template = TABLE[name]
    spelling = [{} if isinstance(f, tuple) else f if isinstance(f, dict) else dict(enumerate(NAMES)) for f in fields]
    return template.format(*[s.get(a, a) for s, a in zip(spelling, arguments, strict=True)])


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

    def run(lines):
        done = subprocess.run([program], input="\n".join(lines) + "\n", text=True, capture_output=True, check=True)
        return done.stdout.splitlines()

    return run


def gnu_as(folder, lines, compressed):
    """The bytes that GNU as makes of these lines."""
    source, built, raw = folder / "x.s", folder / "x.o", folder / "x.bin"
    option = "rvc" if compressed else "norvc"
    source.write_text(f".option {option}\n.option norelax\n" + "\n".join(lines) + "\n")
    subprocess.run(
        [CROSS + "as", "-march=rv64imac_zicsr_zifencei_zba_zbb", "-mno-relax", "-o", built, source], check=True
    )
    subprocess.run([CROSS + "objcopy", "-O", "binary", "-j", ".text", built, raw], check=True)
    return raw.read_bytes()


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


def disassemble(folder, codes):
    """objdump's view of each of the byte strings: lists of (address in the string, mnemonic, operands)."""
    raw = folder / "x.bin"
    raw.write_bytes(b"".join(codes) + b"\1\0")
    command = [CROSS + "objdump", "-D", "-b", "binary", "-m", "riscv:rv64", "-M", "no-aliases", raw]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^\s*([0-9a-f]+):\t[0-9a-f]+\s+\t(\S+)[ \t]*([^#\n]*)", text, re.M)
    at, lists = 0, []
    instructions = iter(
        [(int(a, 16), m, [o.strip() for o in re.split("[,()]", ops) if o.strip()]) for a, m, ops in found]
    )
    pending = next(instructions, None)
    for code in codes:
        mine = []
        while pending and pending[0] < at + len(code):
            mine.append((pending[0] - at, pending[1], pending[2], at))
            pending = next(instructions, None)
        lists.append(mine)
        at += len(code)
    return lists


def signed(value, bits=64):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Machine:
    """Enough of a hart to run straight code and say where a branch went."""

    def __init__(self):
        self.regs = {n: (0x1111111111111111 * (i + 3)) & MASK for i, n in enumerate(NAMES)}
        self.regs["zero"] = 0
        self.regs["sp"] = 0x80100000
        self.memory = {}
        self.access = None
        self.target = None

    def run(self, code):
        end = code[-1][0] + (2 if code[-1][1].startswith("c.") else 4) if code else 0
        for address, mnemonic, operands, start in code:
            target = self.step(address, mnemonic.removeprefix("c."), list(operands), start)
            if target is not None and target != end:
                self.target = signed(target)
            if target is not None:
                return self
        return self

    def value(self, operand):
        return self.regs[operand] if operand in self.regs else int(operand, 0) & MASK

    def step(self, address, op, operands, start):
        def set_rd(value):
            if operands[0] != "zero":
                self.regs[operands[0]] = value & MASK

        if op in ("mv", "li"):
            set_rd(self.value(operands[1]))
            return None
        if op == "addi16sp" or (
            len(operands) == 2
            and op in ("add", "sub", "and", "or", "xor", "addi", "addiw", "andi", "slli", "srli", "srai")
        ):
            operands = [operands[0], operands[0], operands[1]]
            op = "addi" if op == "addi16sp" else op
        if op == "addi4spn":
            op = "addi"
        if op in ("lui", "auipc"):
            upper = signed(int(operands[1], 0) << 12, 32)
            set_rd(upper + (address if op == "auipc" else 0))
            return None
        if op in ("j", "jal"):
            return int(operands[-1], 16) - start
        if op == "jr":
            self.target = "returned"
            return None
        if op in ("beqz", "bnez", "beq", "bne", "blt", "bge", "bltu", "bgeu"):
            left = self.value(operands[0])
            right = 0 if op.endswith("z") else self.value(operands[1])
            kind = op.removesuffix("z")
            if not kind.endswith("u"):
                left, right = signed(left), signed(right)
            kind = kind.removesuffix("u")
            taken = {"beq": left == right, "bne": left != right, "blt": left < right, "bge": left >= right}[kind]
            return int(operands[-1], 16) - start if taken else None
        if op in ("ldsp", "sdsp", "lbu", "lhu", "lwu", "ld", "sb", "sh", "sw", "sd"):
            op = op.removesuffix("sp")
            where = (self.value(operands[2]) + int(operands[1], 0)) & MASK
            self.access = (op, where)
            if op.startswith("l"):
                set_rd(self.memory.get(where, where ^ 0x5A5A))
            else:
                self.memory[where] = self.value(operands[0])
            return None
        left, right = self.value(operands[1]), self.value(operands[2])
        set_rd(
            {
                "add": lambda: left + right,
                "addi": lambda: left + right,
                "addiw": lambda: signed(left + right, 32),
                "sub": lambda: left - right,
                "and": lambda: left & right,
                "andi": lambda: left & right,
                "or": lambda: left | right,
                "ori": lambda: left | right,
                "xor": lambda: left ^ right,
                "xori": lambda: left ^ right,
                "sll": lambda: left << (right & 63),
                "slli": lambda: left << right,
                "srl": lambda: left >> (right & 63),
                "srli": lambda: left >> right,
                "sra": lambda: signed(left) >> (right & 63),
                "srai": lambda: signed(left) >> right,
                "slt": lambda: signed(left) < signed(right),
                "slti": lambda: signed(left) < signed(right),
                "sltu": lambda: left < right,
                "sltiu": lambda: left < right,
                "mul": lambda: left * right,
            }[op]()
        )
        return None


def sequences(assemble, folder, lines):
    """(label position, code) of each command; None where the assembler raised."""
    lines = list(lines)
    found = [(int(n), bytes.fromhex(h)) for n, h in (line.split(" ") for line in assemble(lines))]
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


def test_operations_with_a_constant(assemble, tmp_path):
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
    made = sequences(assemble, tmp_path, [f"op_imm {o} {d} {x} {i}" for o, d, x, i in wanted])
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


def test_indexed_accesses_leave_base_and_index_alone(assemble, tmp_path):
    wanted = list(itertools.product(range(4), TARGETS, TARGETS, TARGETS))
    for command in ("load_indexed", "store_indexed"):
        made = sequences(assemble, tmp_path, [f"{command} {s} {r} {b} {i}" for s, r, b, i in wanted])
        for (size, reg, base, index), (_, code) in zip(wanted, made, strict=True):
            before = Machine().regs
            machine = Machine().run(code)
            where = (before[NAMES[base]] + (before[NAMES[index]] << size)) & MASK
            assert machine.access[1] == where
            changed = {n for n in NAMES if machine.regs[n] != before[n]} - {"t1", "t2"}
            assert changed <= ({NAMES[reg]} if command == "load_indexed" else set())


def test_index_computations_fold_into_the_access(assemble, tmp_path):
    imms = [-(1 << 20), -2049, -2048, -1, 0, 1, 5, 31, 63, 500, 511, 2047, 2048, 100000]
    wanted = list(
        itertools.product(range(4), (OPS.index("add"), OPS.index("sll"), OPS.index("and")), imms, range(3), (0, 7))
    )
    made = sequences(assemble, tmp_path, [f"folded {s} {o} {i} {k} {more}" for s, o, i, k, more in wanted])
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
