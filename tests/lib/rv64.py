"""RV64 as GNU binutils and a hart see it: spelling and fields of each instruction, and a small interpreter."""

import itertools
import re
import subprocess

CROSS = "riscv64-unknown-elf-"
MASK = (1 << 64) - 1
NAMES = ("zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6").split()

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


def spell(fields, template, arguments):
    """A line of assembly: registers, sets and immediates put into a template."""
    spelling = [{} if isinstance(f, tuple) else f if isinstance(f, dict) else dict(enumerate(NAMES)) for f in fields]
    return template.format(*[s.get(a, a) for s, a in zip(spelling, arguments, strict=True)])


def text_of(name, arguments):
    return spell(*TABLE[name], arguments)


def gnu_as(folder, lines, compressed):
    """The bytes that GNU as makes of these lines."""
    return _bytes_of(folder, _object_of(folder, lines, compressed))


def _object_of(folder, lines, compressed):
    source, built = folder / "x.s", folder / "x.o"
    option = "rvc" if compressed else "norvc"
    source.write_text(f".option {option}\n.option norelax\n" + "\n".join(lines) + "\n")
    subprocess.run(
        [CROSS + "as", "-march=rv64imac_zicsr_zifencei_zba_zbb", "-mno-relax", "-o", built, source], check=True
    )
    return built


def _bytes_of(folder, built):
    raw = folder / "x.bin"
    subprocess.run([CROSS + "objcopy", "-O", "binary", "-j", ".text", built, raw], check=True)
    return raw.read_bytes()


def _objdump(folder, code):
    """objdump's text for these bytes; it knows the extensions from an object file alone."""
    built, raw = _object_of(folder, ["nop"], True), folder / "x.bin"
    raw.write_bytes(code)
    subprocess.run([CROSS + "objcopy", "--update-section", f".text={raw}", built], check=True)
    command = [CROSS + "objdump", "-d", "-M", "no-aliases", built]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def mnemonics(folder, code):
    """What objdump takes each instruction for."""
    return re.findall(r"^\s*[0-9a-f]+:\t[0-9a-f]+\s+\t(\S+)", _objdump(folder, code), re.M)


def disassemble(folder, codes):
    """objdump's view of each of the byte strings: lists of (address in the string, mnemonic, operands)."""
    text = _objdump(folder, b"".join(codes) + b"\1\0")
    found = re.findall(r"^\s*([0-9a-f]+):\t[0-9a-f]+\s+\t(\S+)[ \t]*([^#<\n]*)", text, re.M)
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
        if op == "zext.h":
            set_rd(self.value(operands[1]) & 0xFFFF)
            return None
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
                "sh1add": lambda: (left << 1) + right,
                "sh2add": lambda: (left << 2) + right,
                "sh3add": lambda: (left << 3) + right,
                "add.uw": lambda: (left & 0xFFFFFFFF) + right,
            }[op]()
        )
        return None
