// SPDX-License-Identifier: MIT
// Binds the RV64 assembler to the native code emitter, and does better than the latter where a machine with three
// operands and many registers can.

#include "py/mpconfig.h"

#if MICROPY_EMIT_RV64

#include "py/emit.h"

// The generic names of the assembler's operations are wanted.
#define GENERIC_ASM_API (1)
#include "py/asmrv64.h"

// Labels go through the assembler, which looks at what comes before them.
#define mp_asm_base_label_assign(base, label) asm_rv64_label_assign((asm_rv64_t *)(base), label)

// Operations that are taken over below: each hook returns whether it has done everything.
#define EMIT_NATIVE_HOOK(call) \
    do { \
        if (hook_##call) { \
            return; \
        } \
    } while (0)

static bool hook_binary_op(emit_t *emit, mp_binary_op_t op);

// Word index of REG_LOCAL_1, s0, in nlr_buf_t.
#define NLR_BUF_IDX_LOCAL_1 (3)

#define N_RV64 (1)
#define EXPORT_FUN(name) emit_native_rv64_##name
#include "py/emitnative.c"

// ---------------------------------------------------------------------------------------------------------------
// Registers for values on the Python stack.

// Temporaries, the cheapest first. The generic code uses a0, a1, a4 and a5 without looking who is in them.
static const uint8_t temporaries[] = {
    RV64_A2, RV64_A3, RV64_A6, RV64_A7, RV64_T0, RV64_T3, RV64_T4, RV64_T5, RV64_T6,
};

static bool is_temporary(unsigned reg) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(temporaries); ++i) {
        if (temporaries[i] == reg) {
            return true;
        }
    }
    return false;
}

// Whether a value on the Python stack is in this register.
static bool is_on_stack(emit_t *emit, unsigned reg) {
    for (int i = 0; i < emit->stack_size; ++i) {
        stack_info_t *si = &emit->stack_info[i];
        if (si->kind == STACK_REG && si->data.u_reg == (int)reg) {
            return true;
        }
    }
    return false;
}

// A temporary that holds nothing, and is none of those in the mask. Spills one if all are taken.
static unsigned free_temporary(emit_t *emit, uint32_t busy) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(temporaries); ++i) {
        if (!(busy & 1u << temporaries[i]) && !is_on_stack(emit, temporaries[i])) {
            return temporaries[i];
        }
    }
    for (size_t i = 0;; ++i) {
        if (!(busy & 1u << temporaries[i])) {
            need_reg_single(emit, temporaries[i], 0);
            return temporaries[i];
        }
    }
}

// Pops a value into a register, which must only be read: it may be that of a local variable, or zero.
static unsigned pop_value(emit_t *emit, uint32_t busy) {
    stack_info_t *si = peek_stack(emit, 0);
    unsigned reg;
    if (si->kind == STACK_REG) {
        reg = si->data.u_reg;
    } else if (si->kind == STACK_IMM && si->data.u_imm == 0) {
        reg = RV64_ZERO;
    } else {
        reg = free_temporary(emit, busy);
        vtype_kind_t vtype;
        emit_access_stack(emit, 1, &vtype, reg);
    }
    adjust_stack(emit, -1);
    return reg;
}

// A register for the result of an operation on two popped operands: one of theirs if that is free now.
static unsigned result_register(emit_t *emit, unsigned rs1, unsigned rs2) {
    if (is_temporary(rs1) && !is_on_stack(emit, rs1)) {
        return rs1;
    }
    if (is_temporary(rs2) && !is_on_stack(emit, rs2)) {
        return rs2;
    }
    return free_temporary(emit, 0);
}

// ---------------------------------------------------------------------------------------------------------------
// Operations on machine integers.

static bool is_int(vtype_kind_t vtype) {
    return vtype == VTYPE_INT || vtype == VTYPE_UINT;
}

// The instruction of a binary operation; false if there is none.
static bool find_op(mp_binary_op_t op, bool is_unsigned, rv64_op_t *found) {
    switch (op) {
        case MP_BINARY_OP_OR:
            *found = RV64_OP_OR;
            return true;
        case MP_BINARY_OP_XOR:
            *found = RV64_OP_XOR;
            return true;
        case MP_BINARY_OP_AND:
            *found = RV64_OP_AND;
            return true;
        case MP_BINARY_OP_LSHIFT:
            *found = RV64_OP_SLL;
            return true;
        case MP_BINARY_OP_RSHIFT:
            *found = is_unsigned ? RV64_OP_SRL : RV64_OP_SRA;
            return true;
        case MP_BINARY_OP_ADD:
            *found = RV64_OP_ADD;
            return true;
        case MP_BINARY_OP_SUBTRACT:
            *found = RV64_OP_SUB;
            return true;
        case MP_BINARY_OP_MULTIPLY:
            *found = RV64_OP_MUL;
            return true;
        default:
            return false;
    }
}

static void int_compare(emit_t *emit, mp_binary_op_t op, bool is_unsigned) {
    unsigned rhs = pop_value(emit, 0);
    unsigned lhs = pop_value(emit, 1u << rhs);
    rv64_cond_t cond = RV64_EQ;
    switch (op) {
        case MP_BINARY_OP_EQUAL:
            cond = RV64_EQ;
            break;
        case MP_BINARY_OP_NOT_EQUAL:
            cond = RV64_NE;
            break;
        case MP_BINARY_OP_LESS:
        case MP_BINARY_OP_MORE:
            cond = is_unsigned ? RV64_LTU : RV64_LT;
            break;
        default:
            cond = is_unsigned ? RV64_GEU : RV64_GE;
            break;
    }
    if (op == MP_BINARY_OP_MORE || op == MP_BINARY_OP_LESS_EQUAL) {
        unsigned swap = lhs;
        lhs = rhs;
        rhs = swap;
    }
    // The result goes where a conditional jump looks for it.
    need_reg_single(emit, REG_RET, 0);
    asm_rv64_set(emit->as, cond, REG_RET, lhs, rhs);
    emit_post_push_reg(emit, VTYPE_BOOL, REG_RET);
}

static bool hook_binary_op(emit_t *emit, mp_binary_op_t op) {
    vtype_kind_t vtype_lhs = peek_vtype(emit, 1);
    vtype_kind_t vtype_rhs = peek_vtype(emit, 0);
    if (!is_int(vtype_lhs) || !is_int(vtype_rhs)) {
        return false;
    }
    if (MP_BINARY_OP_INPLACE_OR <= op && op <= MP_BINARY_OP_INPLACE_POWER) {
        op += MP_BINARY_OP_OR - MP_BINARY_OP_INPLACE_OR;
    }
    if (MP_BINARY_OP_LESS <= op && op <= MP_BINARY_OP_NOT_EQUAL) {
        if (vtype_lhs != vtype_rhs) {
            EMIT_NATIVE_VIPER_TYPE_ERROR(emit, MP_ERROR_TEXT("comparison of int and uint"));
        }
        int_compare(emit, op, vtype_lhs == VTYPE_UINT);
        return true;
    }
    rv64_op_t found;
    if (!find_op(op, vtype_lhs == VTYPE_UINT, &found)) {
        return false;
    }
    stack_info_t *top = peek_stack(emit, 0);
    unsigned rd;
    if (top->kind == STACK_IMM && found != RV64_OP_MUL) {
        mp_int_t imm = top->data.u_imm;
        adjust_stack(emit, -1);
        unsigned lhs = pop_value(emit, 0);
        rd = result_register(emit, lhs, lhs);
        asm_rv64_op_imm(emit->as, found, rd, lhs, imm);
    } else {
        unsigned rhs = pop_value(emit, 0);
        unsigned lhs = pop_value(emit, 1u << rhs);
        rd = result_register(emit, lhs, rhs);
        asm_rv64_op(emit->as, found, rd, lhs, rhs);
    }
    emit_post_push_reg(emit, vtype_lhs, rd);
    return true;
}

#endif
