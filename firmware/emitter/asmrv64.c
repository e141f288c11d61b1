// SPDX-License-Identifier: MIT
// RV64 assembler: sequences of instructions. Encoders are in the header.

#include <stdlib.h>
#include <string.h>

#include "py/mpconfig.h"

#if MICROPY_EMIT_RV64 || MICROPY_EMIT_INLINE_RV64

#include "py/misc.h"
#include "py/runtime.h"

#include "py/asmrv64.h"

// Registers that sequences here may clobber; nothing else uses them.
#define SCRATCH RV64_T1
#define SCRATCH2 RV64_T2
#define CALL_SCRATCH RV64_A5

// ra, s0, s1, s2 to s11: what a function must give back as it found it.
#define CALLEE_SAVED (1u << RV64_RA | 1u << RV64_S0 | 1u << RV64_S1 | 0x3ffu << RV64_S2)

// Room of a branch whose label is further away than anything can reach, as far as is known.
#define ROOM_UNKNOWN (UINT32_MAX)

static void raise_inconsistent(void) {
    mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("native code changed while it was written"));
}

// Where the next bytes go, or NULL if they are only counted. Code that turns out longer than it was sized must not run
// over its end, with assertions or without.
static uint8_t *next_bytes(asm_rv64_t *as, size_t num) {
    if (as->round == 2 && !as->base.suppress && as->base.code_offset + num > as->base.code_size) {
        raise_inconsistent();
    }
    return mp_asm_base_get_cur_to_write_bytes(&as->base, num);
}

static void emit32(asm_rv64_t *as, uint32_t word) {
    uint8_t *c = next_bytes(as, 4);
    if (c != NULL) {
        c[0] = (uint8_t)word;
        c[1] = (uint8_t)(word >> 8);
        c[2] = (uint8_t)(word >> 16);
        c[3] = (uint8_t)(word >> 24);
    }
}

static void emit16(asm_rv64_t *as, uint16_t half) {
    uint8_t *c = next_bytes(as, 2);
    if (c != NULL) {
        c[0] = (uint8_t)half;
        c[1] = (uint8_t)(half >> 8);
    }
}

// Round 0 takes no short forms: distances measured in it never grow later.
static bool may_compress(asm_rv64_t *as) {
    return as->round > 0;
}

static void touch(asm_rv64_t *as, unsigned rd) {
    as->touched |= 1u << rd;
}

void asm_rv64_set_last(asm_rv64_t *as, rv64_last_kind_t kind, size_t start, unsigned op, unsigned rd, unsigned rs1, unsigned rs2, int64_t imm) {
    if (as->base.suppress) {
        return;
    }
    as->before = as->last;
    if (as->before.end != start) {
        as->before.kind = RV64_LAST_NONE;
    }
    as->last = (rv64_last_t) {kind, start, as->base.code_offset, op, rd, rs1, rs2, 0, imm};
}

// Whether the last operation is still the last thing in the code, and of this kind.
bool asm_rv64_last_is(asm_rv64_t *as, rv64_last_kind_t kind) {
    return as->last.kind == kind && as->last.end == as->base.code_offset && !as->base.suppress && as->round > 0;
}

// Nothing before this point may be taken out of the code any more.
static void forget_last(asm_rv64_t *as) {
    if (!as->base.suppress) {
        as->last.kind = RV64_LAST_NONE;
        as->before.kind = RV64_LAST_NONE;
    }
}

// Takes the last operation out of the code. The caller has made sure of asm_rv64_last_is().
rv64_last_t asm_rv64_undo_last(asm_rv64_t *as) {
    rv64_last_t undone = as->last;
    as->base.code_offset = undone.start;
    as->last = as->before;
    as->before.kind = RV64_LAST_NONE;
    return undone;
}

// ---------------------------------------------------------------------------------------------------------------
// Single instructions, in their shortest form.

static void emit_addi(asm_rv64_t *as, unsigned rd, unsigned rs1, int64_t imm) {
    touch(as, rd);
    if (may_compress(as)) {
        if (rs1 == RV64_ZERO && rd != RV64_ZERO && rv64_fits(imm, 6)) {
            emit16(as, rv64_c_li(rd, imm));
            return;
        }
        if (imm == 0 && rd != RV64_ZERO && rs1 != RV64_ZERO) {
            emit16(as, rv64_c_mv(rd, rs1));
            return;
        }
        if (rd == RV64_SP && rs1 == RV64_SP && imm != 0 && rv64_fits(imm, 10) && (imm & 15) == 0) {
            emit16(as, rv64_c_addi16sp(imm));
            return;
        }
        if (rd == rs1 && rd != RV64_ZERO && imm != 0 && rv64_fits(imm, 6)) {
            emit16(as, rv64_c_addi(rd, imm));
            return;
        }
        if (rs1 == RV64_SP && rv64_is_c_reg(rd) && imm > 0 && rv64_fits_u(imm, 10) && (imm & 3) == 0) {
            emit16(as, rv64_c_addi4spn(rd, imm));
            return;
        }
    }
    emit32(as, rv64_addi(rd, rs1, imm));
}

static void emit_addiw(asm_rv64_t *as, unsigned rd, unsigned rs1, int64_t imm) {
    touch(as, rd);
    if (may_compress(as) && rd == rs1 && rd != RV64_ZERO && rv64_fits(imm, 6)) {
        emit16(as, rv64_c_addiw(rd, imm));
    } else {
        emit32(as, rv64_addiw(rd, rs1, imm));
    }
}

static void emit_lui(asm_rv64_t *as, unsigned rd, int64_t imm) {
    touch(as, rd);
    if (may_compress(as) && rd != RV64_ZERO && rd != RV64_SP && imm != 0 && rv64_fits(imm, 6)) {
        emit16(as, rv64_c_lui(rd, imm));
    } else {
        emit32(as, rv64_lui(rd, imm));
    }
}

static void emit_shift(asm_rv64_t *as, rv64_op_t op, unsigned rd, unsigned rs1, unsigned amount) {
    touch(as, rd);
    bool in_place = may_compress(as) && rd == rs1 && rd != RV64_ZERO && amount != 0;
    if (op == RV64_OP_SLL) {
        if (in_place) {
            emit16(as, rv64_c_slli(rd, amount));
        } else {
            emit32(as, rv64_slli(rd, rs1, amount));
        }
    } else if (op == RV64_OP_SRL) {
        if (in_place && rv64_is_c_reg(rd)) {
            emit16(as, rv64_c_srli(rd, amount));
        } else {
            emit32(as, rv64_srli(rd, rs1, amount));
        }
    } else {
        if (in_place && rv64_is_c_reg(rd)) {
            emit16(as, rv64_c_srai(rd, amount));
        } else {
            emit32(as, rv64_srai(rd, rs1, amount));
        }
    }
}

static void emit_op(asm_rv64_t *as, rv64_op_t op, unsigned rd, unsigned rs1, unsigned rs2) {
    touch(as, rd);
    if (may_compress(as) && rd != RV64_ZERO) {
        // Bring the destination to the left if that is allowed.
        unsigned left = rs1, right = rs2;
        if (rd == rs2 && (op == RV64_OP_ADD || op == RV64_OP_AND || op == RV64_OP_OR || op == RV64_OP_XOR)) {
            left = rs2;
            right = rs1;
        }
        if (rd == left && op == RV64_OP_ADD && right != RV64_ZERO) {
            emit16(as, rv64_c_add(rd, right));
            return;
        }
        if (rd == left && rv64_is_c_reg(rd) && rv64_is_c_reg(right)) {
            switch (op) {
                case RV64_OP_SUB:
                    emit16(as, rv64_c_sub(rd, right));
                    return;
                case RV64_OP_AND:
                    emit16(as, rv64_c_and(rd, right));
                    return;
                case RV64_OP_OR:
                    emit16(as, rv64_c_or(rd, right));
                    return;
                case RV64_OP_XOR:
                    emit16(as, rv64_c_xor(rd, right));
                    return;
                default:
                    break;
            }
        }
    }
    switch (op) {
        case RV64_OP_ADD:
            emit32(as, rv64_add(rd, rs1, rs2));
            break;
        case RV64_OP_SUB:
            emit32(as, rv64_sub(rd, rs1, rs2));
            break;
        case RV64_OP_AND:
            emit32(as, rv64_and(rd, rs1, rs2));
            break;
        case RV64_OP_OR:
            emit32(as, rv64_or(rd, rs1, rs2));
            break;
        case RV64_OP_XOR:
            emit32(as, rv64_xor(rd, rs1, rs2));
            break;
        case RV64_OP_SLL:
            emit32(as, rv64_sll(rd, rs1, rs2));
            break;
        case RV64_OP_SRL:
            emit32(as, rv64_srl(rd, rs1, rs2));
            break;
        case RV64_OP_SRA:
            emit32(as, rv64_sra(rd, rs1, rs2));
            break;
        case RV64_OP_SLT:
            emit32(as, rv64_slt(rd, rs1, rs2));
            break;
        case RV64_OP_SLTU:
            emit32(as, rv64_sltu(rd, rs1, rs2));
            break;
        case RV64_OP_MUL:
            emit32(as, rv64_mul(rd, rs1, rs2));
            break;
        case RV64_OP_MULH:
            emit32(as, rv64_mulh(rd, rs1, rs2));
            break;
    }
}

static void emit_load(asm_rv64_t *as, unsigned size, unsigned rd, unsigned base, int64_t offset) {
    touch(as, rd);
    as->based |= 1u << base;
    if (may_compress(as) && size == RV64_D && rd != RV64_ZERO && (offset & 7) == 0) {
        if (base == RV64_SP && rv64_fits_u(offset, 9)) {
            emit16(as, rv64_c_ldsp(rd, offset));
            return;
        }
        if (rv64_is_c_reg(base) && rv64_is_c_reg(rd) && rv64_fits_u(offset, 8)) {
            emit16(as, rv64_c_ld(rd, base, offset));
            return;
        }
    }
    switch (size) {
        case RV64_B:
            emit32(as, rv64_lbu(rd, base, offset));
            break;
        case RV64_H:
            emit32(as, rv64_lhu(rd, base, offset));
            break;
        case RV64_W:
            emit32(as, rv64_lwu(rd, base, offset));
            break;
        default:
            emit32(as, rv64_ld(rd, base, offset));
            break;
    }
}

static void emit_store(asm_rv64_t *as, unsigned size, unsigned rs, unsigned base, int64_t offset) {
    as->based |= 1u << base;
    if (may_compress(as)) {
        if (size == RV64_D && base == RV64_SP && rv64_fits_u(offset, 9) && (offset & 7) == 0) {
            emit16(as, rv64_c_sdsp(rs, offset));
            return;
        }
        if (rv64_is_c_reg(base) && rv64_is_c_reg(rs)) {
            if (size == RV64_D && rv64_fits_u(offset, 8) && (offset & 7) == 0) {
                emit16(as, rv64_c_sd(rs, base, offset));
                return;
            }
            if (size == RV64_W && rv64_fits_u(offset, 7) && (offset & 3) == 0) {
                emit16(as, rv64_c_sw(rs, base, offset));
                return;
            }
        }
    }
    switch (size) {
        case RV64_B:
            emit32(as, rv64_sb(rs, base, offset));
            break;
        case RV64_H:
            emit32(as, rv64_sh(rs, base, offset));
            break;
        case RV64_W:
            emit32(as, rv64_sw(rs, base, offset));
            break;
        default:
            emit32(as, rv64_sd(rs, base, offset));
            break;
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Constants.

typedef struct {
    enum { STEP_ADDI, STEP_ADDIW, STEP_LUI, STEP_SLLI, STEP_SRLI } kind;
    int64_t imm;
} step_t;

#define MAX_STEPS (9)

// The low 12 bits, sign-extended.
static int64_t low12(int64_t value) {
    return (int64_t)((uint64_t)value << 52) >> 52;
}

// Steps that make a constant: lui and addiw for 32 bits, else the upper part, a shift and the low 12 bits.
static size_t plan_constant(int64_t value, step_t *steps) {
    if (rv64_fits(value, 12)) {
        steps[0] = (step_t) {STEP_ADDI, value};
        return 1;
    }
    int64_t low = low12(value);
    size_t n;
    if (rv64_fits(value, 32)) {
        // The upper part wraps for values that end in 0x7ffff800 and up; addiw wraps back.
        int64_t upper = (int64_t)((uint64_t)((value - low) >> 12) << 44) >> 44;
        steps[0] = (step_t) {STEP_LUI, upper};
        n = 1;
        if (low != 0) {
            steps[n++] = (step_t) {STEP_ADDIW, low};
        }
        return n;
    }
    int64_t rest = (int64_t)((uint64_t)value - (uint64_t)low);
    unsigned shift = (unsigned)__builtin_ctzll((uint64_t)rest);
    n = plan_constant(rest >> shift, steps);
    steps[n++] = (step_t) {STEP_SLLI, shift};
    if (low != 0) {
        steps[n++] = (step_t) {STEP_ADDI, low};
    }
    return n;
}

// Clobbers nothing but rd.
static void emit_constant(asm_rv64_t *as, unsigned rd, int64_t value) {
    step_t steps[MAX_STEPS];
    size_t n = plan_constant(value, steps);
    if (n > 2 && value > 0) {
        // Zeros on the left may come cheaper from a right shift, of a value with ones or zeros shifted in.
        unsigned zeros = (unsigned)__builtin_clzll((uint64_t)value);
        for (int ones = 1; ones >= 0; --ones) {
            uint64_t fill = ones ? ((uint64_t)1 << zeros) - 1 : 0;
            step_t other[MAX_STEPS];
            size_t m = plan_constant((int64_t)((uint64_t)value << zeros | fill), other);
            if (m + 1 < n) {
                other[m++] = (step_t) {STEP_SRLI, zeros};
                memcpy(steps, other, m * sizeof(step_t));
                n = m;
            }
        }
    }
    for (size_t i = 0; i < n; ++i) {
        switch (steps[i].kind) {
            case STEP_ADDI:
                emit_addi(as, rd, i == 0 ? RV64_ZERO : rd, steps[i].imm);
                break;
            case STEP_ADDIW:
                emit_addiw(as, rd, rd, steps[i].imm);
                break;
            case STEP_LUI:
                emit_lui(as, rd, steps[i].imm);
                break;
            case STEP_SLLI:
                emit_shift(as, RV64_OP_SLL, rd, rd, (unsigned)steps[i].imm);
                break;
            case STEP_SRLI:
                emit_shift(as, RV64_OP_SRL, rd, rd, (unsigned)steps[i].imm);
                break;
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Values: each operation remembers itself, so that asm_rv64_move_result() can do it again.

// rd = rs
void asm_rv64_mv(asm_rv64_t *as, unsigned rd, unsigned rs) {
    if (rd == rs) {
        return;
    }
    size_t start = as->base.code_offset;
    emit_addi(as, rd, rs, 0);
    asm_rv64_set_last(as, RV64_LAST_MV, start, 0, rd, rs, 0, 0);
}

// rd = imm
void asm_rv64_li(asm_rv64_t *as, unsigned rd, int64_t imm) {
    size_t start = as->base.code_offset;
    emit_constant(as, rd, imm);
    asm_rv64_set_last(as, RV64_LAST_LI, start, 0, rd, 0, 0, imm);
}

// rd = rs1 <op> rs2
void asm_rv64_op(asm_rv64_t *as, rv64_op_t op, unsigned rd, unsigned rs1, unsigned rs2) {
    if (op == RV64_OP_XOR && rs1 == rs2) {
        asm_rv64_li(as, rd, 0);
        return;
    }
    size_t start = as->base.code_offset;
    emit_op(as, op, rd, rs1, rs2);
    asm_rv64_set_last(as, RV64_LAST_OP, start, op, rd, rs1, rs2, 0);
}

// rd = rs1 <op> imm, for any imm. Clobbers t1 if imm fits no instruction.
void asm_rv64_op_imm(asm_rv64_t *as, rv64_op_t op, unsigned rd, unsigned rs1, int64_t imm) {
    size_t start = as->base.code_offset;
    if (op == RV64_OP_SUB && imm >= -2047 && imm <= 2048) {
        op = RV64_OP_ADD;
        imm = -imm;
    } else if (op == RV64_OP_MUL && imm > 0 && (imm & (imm - 1)) == 0) {
        op = RV64_OP_SLL;
        imm = __builtin_ctzll((uint64_t)imm);
    }
    bool fits = rv64_fits(imm, 12);
    if (op == RV64_OP_ADD && fits) {
        emit_addi(as, rd, rs1, imm);
    } else if (op == RV64_OP_AND && fits) {
        touch(as, rd);
        if (may_compress(as) && rd == rs1 && rv64_is_c_reg(rd) && rv64_fits(imm, 6)) {
            emit16(as, rv64_c_andi(rd, imm));
        } else {
            emit32(as, rv64_andi(rd, rs1, imm));
        }
    } else if (op == RV64_OP_AND && imm == 0xffff && (as->extensions & RV64_EXT_ZBB)) {
        touch(as, rd);
        emit32(as, rv64_zext_h(rd, rs1));
    } else if (op == RV64_OP_AND && imm == 0xffffffff && (as->extensions & RV64_EXT_ZBA)) {
        touch(as, rd);
        emit32(as, rv64_add_uw(rd, rs1, RV64_ZERO));
    } else if (op == RV64_OP_AND && imm > 0 && ((uint64_t)imm & ((uint64_t)imm + 1)) == 0) {
        // A mask of low bits: shift the others out and zeros in.
        unsigned shift = (unsigned)__builtin_clzll((uint64_t)imm);
        emit_shift(as, RV64_OP_SLL, rd, rs1, shift);
        emit_shift(as, RV64_OP_SRL, rd, rd, shift);
    } else if (op == RV64_OP_OR && fits) {
        touch(as, rd);
        emit32(as, rv64_ori(rd, rs1, imm));
    } else if (op == RV64_OP_XOR && fits) {
        touch(as, rd);
        emit32(as, rv64_xori(rd, rs1, imm));
    } else if (op == RV64_OP_SLT && fits) {
        touch(as, rd);
        emit32(as, rv64_slti(rd, rs1, imm));
    } else if (op == RV64_OP_SLTU && fits) {
        touch(as, rd);
        emit32(as, rv64_sltiu(rd, rs1, imm));
    } else if (op == RV64_OP_SLL || op == RV64_OP_SRL || op == RV64_OP_SRA) {
        // The machine takes the amount modulo 64, and so do we.
        emit_shift(as, op, rd, rs1, (unsigned)(imm & 63));
    } else {
        emit_constant(as, SCRATCH, imm);
        emit_op(as, op, rd, rs1, SCRATCH);
    }
    asm_rv64_set_last(as, RV64_LAST_OP_IMM, start, op, rd, rs1, 0, imm);
}

// rd = rs1 <cond> rs2 ? 1 : 0
void asm_rv64_set(asm_rv64_t *as, rv64_cond_t cond, unsigned rd, unsigned rs1, unsigned rs2) {
    size_t start = as->base.code_offset;
    switch (cond) {
        case RV64_EQ:
        case RV64_NE: {
            unsigned difference = rs1;
            if (rs2 != RV64_ZERO) {
                emit_op(as, RV64_OP_SUB, rd, rs1, rs2);
                difference = rd;
            }
            touch(as, rd);
            if (cond == RV64_EQ) {
                emit32(as, rv64_sltiu(rd, difference, 1));
            } else {
                emit32(as, rv64_sltu(rd, RV64_ZERO, difference));
            }
            break;
        }
        case RV64_LT:
        case RV64_GE:
            emit_op(as, RV64_OP_SLT, rd, rs1, rs2);
            break;
        default:
            emit_op(as, RV64_OP_SLTU, rd, rs1, rs2);
            break;
    }
    if (cond == RV64_GE || cond == RV64_GEU) {
        emit32(as, rv64_xori(rd, rd, 1));
    }
    asm_rv64_set_last(as, RV64_LAST_SET, start, cond, rd, rs1, rs2, 0);
}

// Brings base + offset within reach of a 12-bit offset; may leave a base in t1.
static unsigned reach(asm_rv64_t *as, unsigned base, int64_t *offset) {
    if (rv64_fits(*offset, 12)) {
        return base;
    }
    int64_t low = low12(*offset);
    emit_constant(as, SCRATCH, (int64_t)((uint64_t)*offset - (uint64_t)low));
    emit_op(as, RV64_OP_ADD, SCRATCH, SCRATCH, base);
    *offset = low;
    return SCRATCH;
}

// rd = zero-extended memory at base + offset. Clobbers t1 if the offset is long.
void asm_rv64_load(asm_rv64_t *as, unsigned size, unsigned rd, unsigned base, int64_t offset) {
    size_t start = as->base.code_offset;
    int64_t rest = offset;
    unsigned from = reach(as, base, &rest);
    emit_load(as, size, rd, from, rest);
    asm_rv64_set_last(as, RV64_LAST_LOAD, start, size, rd, base, 0, offset);
}

// Memory at base + offset = rs. Clobbers t1 if the offset is long.
void asm_rv64_store(asm_rv64_t *as, unsigned size, unsigned rs, unsigned base, int64_t offset) {
    unsigned to = reach(as, base, &offset);
    emit_store(as, size, rs, to, offset);
}

// Takes the addition of a constant to an index, and its shift, out of the code if they were the last operations.
rv64_element_t asm_rv64_element(asm_rv64_t *as, unsigned size, unsigned index, bool dead) {
    rv64_element_t e = {index, size, 0};
    while (dead && as->last.rd == e.index && asm_rv64_last_is(as, RV64_LAST_OP_IMM)) {
        int64_t imm = as->last.imm;
        if (as->last.op == RV64_OP_ADD && rv64_fits(imm, 12)) {
            e.offset = (int64_t)((uint64_t)e.offset + ((uint64_t)imm << e.shift));
        } else if (as->last.op == RV64_OP_SLL && imm >= 0 && imm + e.shift < 64) {
            e.shift += (unsigned)imm;
        } else {
            break;
        }
        // What was computed in place goes on being a temporary; else the source is somebody's.
        dead = as->last.rs1 == e.index;
        e.index = asm_rv64_undo_last(as).rs1;
    }
    return e;
}

// Whether a shift and an addition are one instruction.
static bool can_shift_add(asm_rv64_t *as, int64_t shift) {
    return (as->extensions & RV64_EXT_ZBA) && 1 <= shift && shift <= 3;
}

// sh<shift>add rd, rs1, rs2: rd = (rs1 << shift) + rs2
static void emit_shift_add(asm_rv64_t *as, unsigned rd, unsigned rs1, unsigned rs2, unsigned shift) {
    touch(as, rd);
    if (shift == 1) {
        emit32(as, rv64_sh1add(rd, rs1, rs2));
    } else if (shift == 2) {
        emit32(as, rv64_sh2add(rd, rs1, rs2));
    } else {
        emit32(as, rv64_sh3add(rd, rs1, rs2));
    }
}

// rd = rs1 + rs2, where a register that nobody else wants may be a shifted one: dead1, dead2.
void asm_rv64_add(asm_rv64_t *as, unsigned rd, unsigned rs1, bool dead1, unsigned rs2, bool dead2) {
    if (asm_rv64_last_is(as, RV64_LAST_OP_IMM) && as->last.op == RV64_OP_SLL && can_shift_add(as, as->last.imm) && rs1 != rs2) {
        if ((dead1 && as->last.rd == rs1) || (dead2 && as->last.rd == rs2)) {
            unsigned other = as->last.rd == rs1 ? rs2 : rs1;
            rv64_last_t shift = asm_rv64_undo_last(as);
            size_t start = as->base.code_offset;
            emit_shift_add(as, rd, shift.rs1, other, (unsigned)shift.imm);
            asm_rv64_set_last(as, RV64_LAST_SHIFT_ADD, start, 0, rd, shift.rs1, other, shift.imm);
            return;
        }
    }
    asm_rv64_op(as, RV64_OP_ADD, rd, rs1, rs2);
}

// base + (index << shift) in t1, or the base itself if there is no index.
static unsigned element_addr(asm_rv64_t *as, unsigned base, rv64_element_t *e) {
    if (e->index == RV64_ZERO) {
        return reach(as, base, &e->offset);
    }
    if (!rv64_fits(e->offset, 12)) {
        int64_t low = low12(e->offset);
        emit_constant(as, SCRATCH2, (int64_t)((uint64_t)e->offset - (uint64_t)low));
        emit_op(as, RV64_OP_ADD, SCRATCH2, SCRATCH2, base);
        base = SCRATCH2;
        e->offset = low;
    }
    if (e->shift == 0) {
        emit_op(as, RV64_OP_ADD, SCRATCH, base, e->index);
    } else if (can_shift_add(as, e->shift)) {
        emit_shift_add(as, SCRATCH, e->index, base, e->shift);
    } else {
        emit_shift(as, RV64_OP_SLL, SCRATCH, e->index, e->shift);
        emit_op(as, RV64_OP_ADD, SCRATCH, SCRATCH, base);
    }
    return SCRATCH;
}

// rd = zero-extended memory at an element. Clobbers t1 and t2; base and index stay as they are.
void asm_rv64_load_element(asm_rv64_t *as, unsigned size, unsigned rd, unsigned base, rv64_element_t e) {
    rv64_element_t whole = e;
    size_t start = as->base.code_offset;
    unsigned from = element_addr(as, base, &e);
    emit_load(as, size, rd, from, e.offset);
    asm_rv64_set_last(as, RV64_LAST_LOAD_INDEXED, start, size, rd, base, whole.index, whole.offset);
    as->last.shift = whole.shift;
}

// Memory at an element = rs. Clobbers t1 and t2; base and index stay as they are.
void asm_rv64_store_element(asm_rv64_t *as, unsigned size, unsigned rs, unsigned base, rv64_element_t e) {
    unsigned to = element_addr(as, base, &e);
    emit_store(as, size, rs, to, e.offset);
}

void asm_rv64_load_local(asm_rv64_t *as, unsigned rd, size_t local) {
    asm_rv64_load(as, RV64_D, rd, RV64_SP, (int64_t)local * 8);
}

void asm_rv64_store_local(asm_rv64_t *as, unsigned rs, size_t local) {
    asm_rv64_store(as, RV64_D, rs, RV64_SP, (int64_t)local * 8);
}

void asm_rv64_local_addr(asm_rv64_t *as, unsigned rd, size_t local) {
    asm_rv64_op_imm(as, RV64_OP_ADD, rd, RV64_SP, (int64_t)local * 8);
}

bool asm_rv64_move_result(asm_rv64_t *as, unsigned from, unsigned to) {
    if (as->last.rd != from || as->last.kind == RV64_LAST_NONE || as->last.kind >= RV64_LAST_JUMP
        || !asm_rv64_last_is(as, as->last.kind)) {
        return false;
    }
    rv64_last_t was = asm_rv64_undo_last(as);
    switch (was.kind) {
        case RV64_LAST_OP:
            asm_rv64_op(as, was.op, to, was.rs1, was.rs2);
            break;
        case RV64_LAST_OP_IMM:
            asm_rv64_op_imm(as, was.op, to, was.rs1, was.imm);
            break;
        case RV64_LAST_LI:
            asm_rv64_li(as, to, was.imm);
            break;
        case RV64_LAST_MV:
            asm_rv64_mv(as, to, was.rs1);
            break;
        case RV64_LAST_LOAD:
            asm_rv64_load(as, was.op, to, was.rs1, was.imm);
            break;
        case RV64_LAST_LOAD_INDEXED:
            asm_rv64_load_element(as, was.op, to, was.rs1, (rv64_element_t) {was.rs2, was.shift, was.imm});
            break;
        case RV64_LAST_SHIFT_ADD: {
            size_t start = as->base.code_offset;
            emit_shift_add(as, to, was.rs1, was.rs2, (unsigned)was.imm);
            asm_rv64_set_last(as, RV64_LAST_SHIFT_ADD, start, 0, to, was.rs1, was.rs2, was.imm);
            break;
        }
        default:
            asm_rv64_set(as, was.op, to, was.rs1, was.rs2);
            break;
    }
    return true;
}

// ---------------------------------------------------------------------------------------------------------------
// Jumps and branches.
//
// A backward displacement is known at once. A forward one is known in round 2 only, but its form must be chosen in
// round 1: by how far away the label was in round 0, where everything was as long as it can get.

// Sets *displacement, which is only right backwards and in round 2, and returns how far the label can be.
static int64_t find_label(asm_rv64_t *as, size_t label, int64_t *displacement) {
    size_t pos = as->base.code_offset;
    size_t target = as->base.label_offsets[label];
    size_t n = as->branch_num++;
    if (label >= RV64_NUM_FUNCTION_LABELS) {
        as->straight = false;
    }
    if (as->round == 0) {
        if (n >= as->branch_alloc) {
            size_t alloc = as->branch_alloc + 16;
            as->branches = m_renew(rv64_branch_t, as->branches, as->branch_alloc, alloc);
            as->branch_alloc = alloc;
        }
        as->branches[n] = (rv64_branch_t) {(uint32_t)label, (uint32_t)pos};
        *displacement = 0;
        return ROOM_UNKNOWN;
    }
    if (target != (size_t)-1 && target <= pos) {
        *displacement = (int64_t)target - (int64_t)pos;
        return *displacement;
    }
    *displacement = as->round == 2 ? (int64_t)target - (int64_t)pos : 0;
    return as->rooms_valid ? (int64_t)as->branches[n].room : (int64_t)ROOM_UNKNOWN;
}

// Called where code is written: a displacement that its form cannot hold must never get into it.
static void check_displacement(int64_t displacement, unsigned bits) {
    if (!rv64_fits(displacement, bits)) {
        mp_raise_NotImplementedError(MP_ERROR_TEXT("function too long"));
    }
}

// c.j label, or jal zero, label: 1 MiB either way
void asm_rv64_jump(asm_rv64_t *as, size_t label) {
    if (as->base.suppress) {
        return;
    }
    size_t start = as->base.code_offset;
    int64_t displacement;
    int64_t room = find_label(as, label, &displacement);
    if (may_compress(as) && rv64_fits(room, 12)) {
        check_displacement(displacement, 12);
        emit16(as, rv64_c_j(displacement));
    } else {
        check_displacement(displacement, 21);
        emit32(as, rv64_jal(RV64_ZERO, displacement));
    }
    asm_rv64_set_last(as, RV64_LAST_JUMP, start, 0, 0, 0, 0, (int64_t)label);
}

// c.jr rs
void asm_rv64_jump_reg(asm_rv64_t *as, unsigned rs) {
    if (may_compress(as)) {
        emit16(as, rv64_c_jr(rs));
    } else {
        emit32(as, rv64_jalr(RV64_ZERO, rs, 0));
    }
    forget_last(as);
}

static void emit_branch(asm_rv64_t *as, rv64_cond_t cond, unsigned rs1, unsigned rs2, int64_t displacement) {
    switch (cond) {
        case RV64_EQ:
            emit32(as, rv64_beq(rs1, rs2, displacement));
            break;
        case RV64_NE:
            emit32(as, rv64_bne(rs1, rs2, displacement));
            break;
        case RV64_LT:
            emit32(as, rv64_blt(rs1, rs2, displacement));
            break;
        case RV64_GE:
            emit32(as, rv64_bge(rs1, rs2, displacement));
            break;
        case RV64_LTU:
            emit32(as, rv64_bltu(rs1, rs2, displacement));
            break;
        default:
            emit32(as, rv64_bgeu(rs1, rs2, displacement));
            break;
    }
}

// c.beqz/c.bnez rs1, label: 256 bytes either way
// b<cond> rs1, rs2, label: 4 KiB
// b<opposite> rs1, rs2, 8; jal zero, label: 1 MiB
void asm_rv64_branch(asm_rv64_t *as, rv64_cond_t cond, unsigned rs1, unsigned rs2, size_t label) {
    if (as->base.suppress) {
        return;
    }
    int64_t displacement;
    int64_t room = find_label(as, label, &displacement);
    if (rs1 == RV64_ZERO && cond <= RV64_NE) {
        rs1 = rs2;
        rs2 = RV64_ZERO;
    }
    if (may_compress(as) && cond <= RV64_NE && rs2 == RV64_ZERO && rv64_is_c_reg(rs1) && rv64_fits(room, 9)) {
        check_displacement(displacement, 9);
        emit16(as, cond == RV64_EQ ? rv64_c_beqz(rs1, displacement) : rv64_c_bnez(rs1, displacement));
    } else if (rv64_fits(room, 13)) {
        check_displacement(displacement, 13);
        emit_branch(as, cond, rs1, rs2, displacement);
    } else {
        displacement -= 4;
        check_displacement(displacement, 21);
        emit_branch(as, cond ^ 1, rs1, rs2, 8);
        emit32(as, rv64_jal(RV64_ZERO, displacement));
    }
    forget_last(as);
}

// beq rs, zero, label, or bne rs, zero, 8; jal zero, label: to a label at the end of the code. It is not counted as a
// branch, so it may come and go between rounds as long as round 0 has it.
void asm_rv64_branch_to_end(asm_rv64_t *as, unsigned rs, size_t label) {
    int64_t displacement = as->round == 2 ? (int64_t)as->base.label_offsets[label] - (int64_t)as->base.code_offset : 0;
    if (as->round > 0 && as->rooms_valid && as->upper_size < 4096) {
        check_displacement(displacement, 13);
        emit_branch(as, RV64_EQ, rs, RV64_ZERO, displacement);
    } else {
        emit_branch(as, RV64_NE, rs, RV64_ZERO, 8);
        check_displacement(displacement - 4, 21);
        emit32(as, rv64_jal(RV64_ZERO, as->round == 2 ? displacement - 4 : 0));
    }
    forget_last(as);
}

// Branches on a register, which is dead afterwards if it holds the result of the comparison or copy just before.
void asm_rv64_branch_zero(asm_rv64_t *as, bool nonzero, unsigned rs, size_t label) {
    if (as->last.rd == rs && asm_rv64_last_is(as, RV64_LAST_SET)) {
        rv64_last_t set = asm_rv64_undo_last(as);
        asm_rv64_branch(as, nonzero ? set.op : set.op ^ 1, set.rs1, set.rs2, label);
    } else if (as->last.rd == rs && asm_rv64_last_is(as, RV64_LAST_MV)) {
        asm_rv64_branch(as, nonzero ? RV64_NE : RV64_EQ, asm_rv64_undo_last(as).rs1, RV64_ZERO, label);
    } else {
        asm_rv64_branch(as, nonzero ? RV64_NE : RV64_EQ, rs, RV64_ZERO, label);
    }
}

size_t asm_rv64_skip(asm_rv64_t *as, rv64_cond_t cond, unsigned rs1, unsigned rs2) {
    size_t pos = as->base.code_offset;
    if (may_compress(as) && cond <= RV64_NE && rs2 == RV64_ZERO && rv64_is_c_reg(rs1)) {
        emit16(as, cond == RV64_EQ ? rv64_c_beqz(rs1, 0) : rv64_c_bnez(rs1, 0));
    } else {
        emit_branch(as, cond, rs1, rs2, 0);
    }
    forget_last(as);
    return pos;
}

size_t asm_rv64_skip_always(asm_rv64_t *as) {
    size_t pos = as->base.code_offset;
    if (may_compress(as)) {
        emit16(as, rv64_c_j(0));
    } else {
        emit32(as, rv64_jal(RV64_ZERO, 0));
    }
    forget_last(as);
    return pos;
}

// The displacement is added to the instruction, which was written with none.
void asm_rv64_skip_end(asm_rv64_t *as, size_t skip) {
    if (as->round == 2 && !as->base.suppress) {
        int64_t displacement = (int64_t)(as->base.code_offset - skip);
        uint8_t *c = as->base.code_base + skip;
        uint32_t field;
        if ((c[0] & 3) == 3) {
            check_displacement(displacement, 13);
            field = rv64_format_b(0, 0, 0, displacement) & ~(uint32_t)0x7f;
            c[2] |= (uint8_t)(field >> 16);
            c[3] |= (uint8_t)(field >> 24);
        } else if (c[1] >> 5 == 5) {
            check_displacement(displacement, 12);
            field = rv64_c_j(displacement) ^ rv64_c_j(0);
        } else {
            check_displacement(displacement, 9);
            field = rv64_c_beqz(RV64_S0, displacement) ^ rv64_c_beqz(RV64_S0, 0);
        }
        c[0] |= (uint8_t)field;
        c[1] |= (uint8_t)(field >> 8);
    }
    forget_last(as);
}

void asm_rv64_branch_back(asm_rv64_t *as, rv64_cond_t cond, unsigned rs1, unsigned rs2, size_t pos) {
    emit_branch(as, cond, rs1, rs2, as->round == 2 ? (int64_t)pos - (int64_t)as->base.code_offset : 0);
    forget_last(as);
}

void asm_rv64_label_assign(asm_rv64_t *as, size_t label) {
    if (as->last.kind == RV64_LAST_JUMP && as->last.end == as->base.code_offset && as->round > 0
        && (size_t)as->last.imm == label) {
        // A jump to what follows it.
        as->base.code_offset = as->last.start;
    }
    if (as->round == 2 && as->base.label_offsets[label] != as->base.code_offset) {
        raise_inconsistent();
    }
    mp_asm_base_label_assign(&as->base, label);
    forget_last(as);
}

// auipc rd, upper; addi rd, rd, low: the address of a label. Always 8 bytes.
void asm_rv64_label_addr(asm_rv64_t *as, unsigned rd, size_t label) {
    int64_t displacement = 0;
    if (as->round == 2) {
        displacement = (int64_t)as->base.label_offsets[label] - (int64_t)as->base.code_offset;
        check_displacement(displacement, 31);
    }
    int64_t low = low12(displacement);
    touch(as, rd);
    emit32(as, rv64_auipc(rd, (displacement - low) >> 12));
    emit32(as, rv64_addi(rd, rd, low));
    forget_last(as);
}

// c.ld a5, index * 8(fun_table); c.jalr a5: calls a function of mp_fun_table. A leaf saves ra itself.
void asm_rv64_call_table(asm_rv64_t *as, size_t index) {
    as->num_calls += !as->base.suppress;
    emit_load(as, RV64_D, CALL_SCRATCH, as->fun_table, (int64_t)index * 8);
    if (!as->leaf) {
        touch(as, RV64_RA);
    }
    if (may_compress(as)) {
        emit16(as, rv64_c_jalr(CALL_SCRATCH));
    } else {
        emit32(as, rv64_jalr(RV64_RA, CALL_SCRATCH, 0));
    }
    forget_last(as);
}

// fence iorw, iorw
void asm_rv64_fence(asm_rv64_t *as) {
    emit32(as, rv64_fence(15, 15));
    forget_last(as);
}

// ---------------------------------------------------------------------------------------------------------------
// Frames. From sp upwards: locals, then the saved registers, then padding to a multiple of 16.

// Adds to sp. Clobbers t1 if the amount is large.
static void adjust_sp(asm_rv64_t *as, int64_t amount) {
    if (rv64_fits(amount, 12)) {
        if (amount != 0) {
            emit_addi(as, RV64_SP, RV64_SP, amount);
        }
    } else {
        emit_constant(as, SCRATCH, amount);
        emit_op(as, RV64_OP_ADD, RV64_SP, RV64_SP, SCRATCH);
    }
}

// The part of the frame that is taken before registers are saved: all of it, or if stores would not reach so far,
// only what they need.
static size_t save_area(asm_rv64_t *as) {
    if (as->frame_size < 2048 && as->round > 0) {
        return as->frame_size;
    }
    return ((size_t)__builtin_popcount(as->saved) * 8 + 15) & ~(size_t)15;
}

// small: the frame and the Python state are small enough for every access to them to be one instruction.
void asm_rv64_entry(asm_rv64_t *as, size_t num_locals, bool small) {
    forget_last(as);
    as->extensions = asm_rv64_allowed_extensions();
    as->branch_num = 0;
    if (as->round == 0) {
        as->saved = CALLEE_SAVED;
    } else if (as->round == 1) {
        as->saved = as->touched & CALLEE_SAVED;
        as->rooms_valid = small;
    }
    as->frame_size = ((num_locals + (size_t)__builtin_popcount(as->saved)) * 8 + 15) & ~(size_t)15;
    size_t area = save_area(as);
    size_t offset = area;
    adjust_sp(as, -(int64_t)area);
    for (unsigned reg = 1; reg < 32; ++reg) {
        if (as->saved & 1u << reg) {
            offset -= 8;
            emit_store(as, RV64_D, reg, RV64_SP, (int64_t)offset);
        }
    }
    adjust_sp(as, -(int64_t)(as->frame_size - area));
}

void asm_rv64_exit(asm_rv64_t *as) {
    uint32_t touched = as->touched;
    size_t area = save_area(as);
    size_t offset = area;
    adjust_sp(as, (int64_t)(as->frame_size - area));
    for (unsigned reg = 1; reg < 32; ++reg) {
        if (as->saved & 1u << reg) {
            offset -= 8;
            emit_load(as, RV64_D, reg, RV64_SP, (int64_t)offset);
        }
    }
    adjust_sp(as, (int64_t)area);
    asm_rv64_jump_reg(as, RV64_RA);
    as->touched = touched;
}

void asm_rv64_end_pass(asm_rv64_t *as) {
    if (as->round == 0) {
        for (size_t i = 0; i < as->branch_num; ++i) {
            rv64_branch_t *b = &as->branches[i];
            size_t target = as->base.label_offsets[b->label];
            b->room = target == (size_t)-1 || target < b->room ? ROOM_UNKNOWN : (uint32_t)target - b->room;
        }
        as->upper_size = as->base.code_offset;
        as->round = 1;
    } else if ((as->touched & CALLEE_SAVED & ~as->saved) || (as->leaf && as->num_calls > 0)) {
        mp_raise_NotImplementedError(MP_ERROR_TEXT("register not saved"));
    } else if (as->round == 1) {
        as->round = 2;
    } else {
        as->round = 0;
        as->touched = 0;
        as->based = 0;
        as->carried = 0;
        as->deleted = 0;
        as->addressed = 0;
        as->leaf = false;
        as->uses_frame = false;
        as->frameless = false;
        memset(as->home, 0, sizeof(as->home));
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Extensions.

// A port that does not find out at run time gives the set that it has.
#ifndef MICROPY_RV64_EXTENSIONS
#define MICROPY_RV64_EXTENSIONS (0)
#endif

// In the order of their bits.
static const char *const extension_names[] = { "zba", "zbb" };

unsigned asm_rv64_allowed_extensions(void) {
    #if MICROPY_DYNAMIC_COMPILER
    const asm_rv64_backend_options_t *options = mp_dynamic_compiler.backend_options;
    return options == NULL ? 0 : options->allowed_extensions;
    #else
    return MICROPY_RV64_EXTENSIONS;
    #endif
}

const char *asm_rv64_extension_name(unsigned extensions) {
    for (size_t i = 0; i < sizeof(extension_names) / sizeof(extension_names[0]); ++i) {
        if ((extensions & 1u << i) != 0) {
            return extension_names[i];
        }
    }
    return NULL;
}

#if MICROPY_DYNAMIC_COMPILER
static unsigned extension_called(const char *name, size_t len) {
    for (size_t i = 0; i < sizeof(extension_names) / sizeof(extension_names[0]); ++i) {
        if (strlen(extension_names[i]) == len && memcmp(extension_names[i], name, len) == 0) {
            return 1u << i;
        }
    }
    return 0;
}

bool asm_rv64_parse_extensions(const char *text, unsigned *extensions) {
    char *end;
    unsigned long number = strtoul(text, &end, 0);
    if (end != text && *end == 0) {
        *extensions = (unsigned)number;
        return number <= RV64_EXT_ALL;
    }
    *extensions = 0;
    do {
        size_t len = strcspn(text, ",");
        unsigned one = extension_called(text, len);
        if (one == 0) {
            return false;
        }
        *extensions |= one;
        text += len;
    } while (*text++ == ',');
    return true;
}
#endif

#endif // MICROPY_EMIT_RV64 || MICROPY_EMIT_INLINE_RV64
