// SPDX-License-Identifier: MIT
// Binds the RV64 assembler to the native code emitter, and does better than the latter where a machine with three
// operands and many registers can.

#include "py/mpconfig.h"

#if MICROPY_EMIT_RV64

#include "py/emit.h"
#include "py/nativeglue.h"
#include "py/smallint.h"

// The generic names of the assembler's operations are wanted.
#define GENERIC_ASM_API (1)
#include "py/asmrv64.h"

// The last of the labels of a function is where a local without a value is complained about.
#define LABEL_UNBOUND (RV64_NUM_FUNCTION_LABELS - 1)

// Labels go through the assembler, which looks at what comes before them. What is on the stack stays there.
static void assign_label(emit_t *emit, size_t label);
#define mp_asm_base_label_assign(base, label) assign_label(emit, label)

// Operations that are taken over below: each hook returns whether it has done everything.
#define EMIT_NATIVE_HOOK(call) \
    do { \
        if (hook_##call) { \
            return; \
        } \
    } while (0)

static bool hook_need_reg_call(emit_t *emit);
static bool hook_jump_helper(emit_t *emit, bool cond, mp_uint_t label, bool pop);
static bool hook_mov_state_reg(emit_t *emit, int local_num, int reg_src);
static bool hook_mov_reg_state(emit_t *emit, int reg_dest, int local_num);
static bool hook_stack_addressed(emit_t *emit, mp_uint_t slot, mp_uint_t num);
static bool hook_load_fast(emit_t *emit, mp_uint_t local_num);
static bool hook_load_deref(emit_t *emit, qstr qst, mp_uint_t local_num);
static bool hook_delete_local(emit_t *emit, qstr qst, mp_uint_t local_num, int kind);
static bool hook_store_fast(emit_t *emit, qstr qst, mp_uint_t local_num);
static bool hook_load_subscr(emit_t *emit);
static bool hook_store_subscr(emit_t *emit);
static bool hook_dup_top(emit_t *emit);
static bool hook_dup_top_two(emit_t *emit);
static bool hook_rot_two(emit_t *emit);
static bool hook_rot_three(emit_t *emit);
static bool hook_unary_op(emit_t *emit, mp_unary_op_t op);
static bool hook_binary_op(emit_t *emit, mp_binary_op_t op);
static bool hook_call_function(emit_t *emit, mp_uint_t n_positional, mp_uint_t n_keyword, mp_uint_t star_flags);
static bool hook_return_value(emit_t *emit);

// Native functions with more locals than this leave all arguments to the runtime.
#define MAX_PLAIN_LOCALS (20)

// Word index of REG_LOCAL_1, s0, in nlr_buf_t.
#define NLR_BUF_IDX_LOCAL_1 (3)

// Ten locals live in saved registers. s11 is REG_LOCAL_3, which is the qstr table's where there is one.
#define REG_LOCAL_TABLE \
    RV64_S0, RV64_S2, RV64_S3, RV64_S4, RV64_S5, RV64_S6, RV64_S7, RV64_S8, RV64_S9, RV64_S10

static void enter_function(emit_t *emit, size_t num_locals);
#define ASM_ENTRY(as, num_locals, ...) enter_function(emit, num_locals) // 1.26 gives a name as well

// After the exit at the end comes what the checks for unbound locals jump to.
static void leave_function(emit_t *emit);
#undef ASM_EXIT
#define ASM_EXIT(as) leave_function(emit)

// A handler, to which an exception may jump from now on.
#undef ASM_MOV_REG_PCREL
#define ASM_MOV_REG_PCREL(as, rd, label) \
    do { \
        if ((label) >= RV64_NUM_FUNCTION_LABELS) { \
            (as)->straight = false; \
        } \
        asm_rv64_label_addr(as, rd, label); \
    } while (0)

static void load_viper_args(emit_t *emit);
#define EMIT_NATIVE_LOAD_VIPER_ARGS(emit) load_viper_args(emit)
static void set_up_code_state(emit_t *emit);
#define EMIT_NATIVE_SETUP_CODE_STATE(emit) set_up_code_state(emit)

// Nobody needs the qstr table if nothing is loaded from it.
#undef ASM_LOAD_REG_REG_OFFSET
#define ASM_LOAD_REG_REG_OFFSET(as, rd, base, words) \
    do { \
        if ((rd) != RV64_S11 || (as)->round == 0 || ((as)->based & 1u << RV64_S11)) { \
            asm_rv64_load(as, RV64_D, rd, base, (int64_t)(words) * 8); \
        } \
    } while (0)

static void call_runtime(emit_t *emit, mp_fun_kind_t fun);
#undef ASM_CALL_IND
#define ASM_CALL_IND(as, fun) call_runtime(emit, fun) // as is always emit->as

#define N_RV64 (1)
#define EXPORT_FUN(name) emit_native_rv64_##name
#include "py/emitnative.c"

// ---------------------------------------------------------------------------------------------------------------
// Registers for locals and for values on the Python stack.

// A viper function that calls nothing, but perhaps to convert arguments and its result, is a leaf. Its first locals
// live in registers that nobody has to save, and so does the address of the table of functions; what is converted by
// a call saves them, and ra, around it.
static const uint8_t leaf_registers[] = {
    RV64_A6, RV64_A7, RV64_T4, RV64_T5, REG_LOCAL_TABLE,
};
#define LEAF_FUN_TABLE RV64_T6

static int num_reg_locals(emit_t *emit) {
    if (!CAN_USE_REGS_FOR_LOCALS(emit)) {
        return 0;
    }
    return emit->as->leaf ? (int)MP_ARRAY_SIZE(leaf_registers) : MAX_REGS_FOR_LOCAL_VARS;
}

static unsigned local_register(emit_t *emit, int local_num) {
    return (emit->as->leaf ? leaf_registers : reg_local_table)[local_num];
}

// Temporaries, the cheapest first. The generic code uses a0, a1, a4 and a5 without looking who is in them. A leaf has
// only the first ones, and round 0 makes do with them too, for its code must not be shorter than what comes later.
static const uint8_t temporaries[] = {
    RV64_A2, RV64_A3, RV64_T0, RV64_T3, RV64_A6, RV64_A7, RV64_T4, RV64_T5, RV64_T6,
};
#define NUM_LEAF_TEMPORARIES (4)

static size_t num_temporaries(emit_t *emit) {
    return emit->as->leaf || emit->as->round == 0 ? NUM_LEAF_TEMPORARIES : MP_ARRAY_SIZE(temporaries);
}

static bool is_temporary(emit_t *emit, unsigned reg) {
    for (size_t i = 0; i < num_temporaries(emit); ++i) {
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

static unsigned home_of_depth(emit_t *emit, int depth);

// A temporary that holds nothing, and is none of those in the mask. If all are taken, one is spilled to memory.
static unsigned free_temporary(emit_t *emit, uint32_t busy) {
    for (size_t i = 0; i < num_temporaries(emit); ++i) {
        if (!(busy & 1u << temporaries[i]) && !is_on_stack(emit, temporaries[i])) {
            return temporaries[i];
        }
    }
    // To memory first; then to the saved register of a slot, if no copy of what is there has been left in it.
    for (int homes = 0; homes < 2; ++homes) {
        for (int depth = emit->stack_size - 1; depth >= 0; --depth) {
            stack_info_t *si = peek_stack(emit, depth);
            unsigned reg = si->data.u_reg, home = home_of_depth(emit, depth);
            if (si->kind == STACK_REG && is_temporary(emit, reg) && !(busy & 1u << reg)
                && (homes ? home != 0 && !is_on_stack(emit, home) : home == 0)) {
                need_reg_single(emit, reg, 0);
                return reg;
            }
        }
    }
    mp_raise_NotImplementedError(MP_ERROR_TEXT("expression too complex"));
}

// The saved register in which a word of the frame lives if it is a stack slot that has one, else 0.
static unsigned home_of(emit_t *emit, int local_num) {
    int slot = local_num - emit->stack_start;
    return slot >= 0 && slot < (int)MP_ARRAY_SIZE(emit->as->home) ? emit->as->home[slot] : 0;
}

static unsigned home_of_depth(emit_t *emit, int depth) {
    return home_of(emit, emit->stack_start + emit->stack_size - 1 - depth);
}

// A register is about to change: values on the Python stack that are in it go elsewhere, but not to one of the mask.
static void rescue(emit_t *emit, unsigned reg, uint32_t busy) {
    unsigned other = 0;
    for (int i = 0; i < emit->stack_size; ++i) {
        stack_info_t *si = &emit->stack_info[i];
        if (si->kind == STACK_REG && si->data.u_reg == (int)reg) {
            if (other == 0) {
                other = free_temporary(emit, busy | 1u << reg);
                asm_rv64_mv(emit->as, other, reg);
            }
            si->data.u_reg = other;
        }
    }
}

// to = from, where `from` is a value that is on the stack no longer.
static void move_popped(emit_t *emit, unsigned to, unsigned from) {
    bool dead = (is_temporary(emit, from) || from == REG_TEMP0 || from == REG_TEMP1) && !is_on_stack(emit, from);
    if (!dead || !asm_rv64_move_result(emit->as, from, to)) {
        asm_rv64_mv(emit->as, to, from);
    }
}

// Pops a value into a register, which must only be read: it may be that of a local variable, or zero.
static unsigned pop_value(emit_t *emit, uint32_t busy) {
    stack_info_t *si = peek_stack(emit, 0);
    unsigned reg;
    if (si->kind == STACK_REG) {
        reg = si->data.u_reg;
    } else if (si->kind == STACK_VALUE && home_of_depth(emit, 0) != 0) {
        reg = home_of_depth(emit, 0);
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

// Values in registers of the mask go to their slots, but for the top `keep`.
static void spill_below(emit_t *emit, uint32_t mask, int keep) {
    for (int i = 0; i < emit->stack_size - keep; ++i) {
        stack_info_t *si = &emit->stack_info[i];
        if (si->kind == STACK_REG && (mask & 1u << si->data.u_reg)) {
            si->kind = STACK_VALUE;
            emit_native_mov_state_reg(emit, emit->stack_start + i, si->data.u_reg);
        }
    }
}

// All values go to their slots, but for the top `keep`. Clobbers a5.
static void settle_below(emit_t *emit, int keep) {
    spill_below(emit, ~0u, keep);
    for (int i = 0; i < emit->stack_size - keep; ++i) {
        stack_info_t *si = &emit->stack_info[i];
        if (si->kind == STACK_IMM) {
            si->kind = STACK_VALUE;
            si->vtype = load_reg_stack_imm(emit, REG_TEMP1, si, false);
            emit_native_mov_state_reg(emit, emit->stack_start + i, REG_TEMP1);
        }
    }
}

// What functions give back as they found it.
#define SAVED_REGISTERS (1u << RV64_S0 | 1u << RV64_S1 | 0x3ffu << RV64_S2)

static void spill_for_call(emit_t *emit, int keep) {
    spill_below(emit, ~SAVED_REGISTERS, keep);
}

static bool hook_need_reg_call(emit_t *emit) {
    spill_for_call(emit, 0);
    return true;
}

// Pops an object into a register, which must only be read.
static unsigned pop_object(emit_t *emit, uint32_t busy) {
    stack_info_t *si = peek_stack(emit, 0);
    if (si->kind != STACK_IMM) {
        return pop_value(emit, busy);
    }
    unsigned reg = free_temporary(emit, busy);
    load_reg_stack_imm(emit, reg, peek_stack(emit, 0), true);
    adjust_stack(emit, -1);
    return reg;
}

// Whether nobody wants the value in the register of a popped operand any more.
static bool is_dead(emit_t *emit, unsigned reg) {
    return is_temporary(emit, reg) && !is_on_stack(emit, reg);
}

// A register for the result of an operation on two popped operands: one of theirs if that is free now.
static unsigned result_register(emit_t *emit, unsigned rs1, unsigned rs2) {
    if (is_dead(emit, rs1)) {
        return rs1;
    }
    if (is_dead(emit, rs2)) {
        return rs2;
    }
    return free_temporary(emit, 0);
}

// ---------------------------------------------------------------------------------------------------------------
// Functions: which registers they use, arguments and results.

static void assign_label(emit_t *emit, size_t label) {
    if (emit->stack_size > 0) {
        emit->as->carried |= emit->stack_size < 32 ? (1u << emit->stack_size) - 1 : ~0u;
    }
    asm_rv64_label_assign(emit->as, label);
    if (label >= RV64_NUM_FUNCTION_LABELS) {
        emit->as->straight = false;
        emit->as->bound = emit->as->bound_always;
    }
}

// Arguments have a value, and so have cells, and all locals of viper code.
static void find_bound(emit_t *emit) {
    scope_t *scope = emit->scope;
    asm_rv64_t *as = emit->as;
    size_t num_args = scope->num_pos_args + scope->num_kwonly_args;
    num_args += (scope->scope_flags & MP_SCOPE_FLAG_VARARGS) != 0;
    num_args += (scope->scope_flags & MP_SCOPE_FLAG_VARKEYWORDS) != 0;
    as->bound = num_args < 64 ? ((uint64_t)1 << num_args) - 1 : ~(uint64_t)0;
    for (size_t i = 0; i < scope->id_info_len; ++i) {
        id_info_t *id = &scope->id_info[i];
        if ((id->kind == ID_INFO_KIND_CELL || id->kind == ID_INFO_KIND_FREE) && id->local_num < 64) {
            as->bound |= (uint64_t)1 << id->local_num;
        }
    }
    as->bound &= ~as->deleted;
    as->bound_always = as->bound;
    as->straight = true;
    as->checks_bound = false;
}

static void set_bound(emit_t *emit, mp_uint_t local_num) {
    if (local_num < 64) {
        uint64_t bit = (uint64_t)1 << local_num;
        emit->as->bound |= bit;
        if (emit->as->straight) {
            emit->as->bound_always |= bit & ~emit->as->deleted;
        }
    }
}

// Complains if a register holds no value.
static void check_value(emit_t *emit, unsigned reg) {
    asm_rv64_branch_to_end(emit->as, reg, LABEL_UNBOUND);
    emit->as->checks_bound = true;
}

// Complains if a local that has just been loaded, or is in a register, has no value, where that is possible.
static void check_bound(emit_t *emit, mp_uint_t local_num, unsigned reg) {
    if (emit->do_viper_types || local_num >= 64) {
        return;
    }
    if (emit->as->round == 0 || !(emit->as->bound >> local_num & 1)) {
        check_value(emit, reg);
        emit->as->bound |= (uint64_t)1 << local_num;
    }
}

static void raise_named(emit_t *emit, qstr exception) {
    emit_native_mov_reg_qstr(emit, REG_ARG_1, exception);
    asm_rv64_call_table(emit->as, MP_F_LOAD_GLOBAL);
    asm_rv64_call_table(emit->as, MP_F_NATIVE_RAISE);
}

static void leave_function(emit_t *emit) {
    asm_rv64_t *as = emit->as;
    asm_rv64_exit(as);
    // A generator has an exit at its beginning as well: the one meant comes after the last label.
    size_t exit = as->base.label_offsets[emit->exit_label];
    if (as->checks_bound && exit != (size_t)-1 && exit <= mp_asm_base_get_code_pos(&as->base)) {
        asm_rv64_label_assign(as, LABEL_UNBOUND);
        raise_named(emit, MP_QSTR_NameError);
    }
}

#define MAX_ARGS_AT_ONCE (10)

// Whether all arguments of a viper function go to registers, and none has to become a truth value.
static bool can_load_args_at_once(emit_t *emit) {
    int num = emit->scope->num_pos_args;
    if (!CAN_USE_REGS_FOR_LOCALS(emit) || num > MAX_ARGS_AT_ONCE) {
        return false;
    }
    for (int i = 0; i < num; ++i) {
        if (emit->local_vtype[i] == VTYPE_BOOL) {
            return false;
        }
    }
    return true;
}

// Stack slots that hold a value across a label, as those of a for-loop do, live in the registers that locals leave
// over; unless their address is taken, or an exception would restore older values.
static void enter_function(emit_t *emit, size_t num_locals) {
    asm_rv64_t *as = emit->as;
    if (!(as->based & 1u << RV64_S11)) {
        as->touched &= ~(1u << RV64_S11);
    }
    if (as->round == 1) {
        as->leaf = emit->do_viper_types && as->num_calls == 0 && can_load_args_at_once(emit);
        as->frameless = as->leaf && !as->uses_frame;
        if (as->leaf) {
            // Round 0 wrote to other registers.
            as->touched &= 1u << RV64_S11;
            for (int i = 0; i < MIN(emit->scope->num_locals, num_reg_locals(emit)); ++i) {
                as->touched |= 1u << local_register(emit, i);
            }
        }
        int local = emit->scope->num_locals;
        for (size_t slot = 0; slot < MP_ARRAY_SIZE(as->home) && local < num_reg_locals(emit); ++slot) {
            if (as->carried & ~as->addressed & 1u << slot) {
                as->home[slot] = local_register(emit, local++);
                as->touched |= 1u << as->home[slot];
            }
        }
    }
    find_bound(emit);
    as->num_calls = 0;
    as->fun_table = as->leaf ? LEAF_FUN_TABLE : RV64_S1;
    asm_rv64_entry(as, as->frameless ? 0 : num_locals, emit->n_state < 128);
}

// A leaf has no frame if round 0 did not want one.
static void need_frame(emit_t *emit) {
    asm_rv64_t *as = emit->as;
    if (as->base.suppress) {
        return; // code that cannot be reached may even call
    }
    if (as->frameless) {
        mp_raise_NotImplementedError(MP_ERROR_TEXT("slot not in memory"));
    }
    as->uses_frame = true;
}

static bool hook_mov_state_reg(emit_t *emit, int local_num, int reg_src) {
    unsigned home = home_of(emit, local_num);
    if (home == 0) {
        need_frame(emit);
        return false;
    }
    if ((int)home != reg_src) {
        // The generic code may have loaded arguments already.
        rescue(emit, home, 1u << reg_src | 1u << REG_ARG_3 | 1u << REG_ARG_4);
        move_popped(emit, home, reg_src);
    }
    return true;
}

static bool hook_mov_reg_state(emit_t *emit, int reg_dest, int local_num) {
    unsigned home = home_of(emit, local_num);
    if (home == 0) {
        need_frame(emit);
        return false;
    }
    asm_rv64_mv(emit->as, reg_dest, home);
    return true;
}

// Slots are handed to a function by address.
static bool hook_stack_addressed(emit_t *emit, mp_uint_t slot, mp_uint_t num) {
    for (; num > 0 && slot < 32; ++slot, --num) {
        emit->as->addressed |= 1u << slot;
        if (emit->as->home[slot] != 0) {
            mp_raise_NotImplementedError(MP_ERROR_TEXT("slot not in memory"));
        }
    }
    return false;
}

// Skips to skip_end() if exactly the positional arguments are given: they come with a1 = how many, a2 = how many
// keywords, a3 = their address.
//     bnez a2, 1f; li a4, num; beq a1, a4, 2f; 1: what is there for other numbers; 2:
static size_t skip_if_num_args(emit_t *emit, int num) {
    asm_rv64_t *as = emit->as;
    size_t keywords = asm_rv64_skip(as, RV64_NE, RV64_A2, RV64_ZERO);
    unsigned wanted = RV64_ZERO;
    if (num != 0) {
        wanted = REG_TEMP0;
        asm_rv64_li(as, wanted, num);
    }
    size_t good = asm_rv64_skip(as, RV64_EQ, RV64_A1, wanted);
    asm_rv64_skip_end(as, keywords);
    return good;
}

// Complains about another number of arguments: arg_check_num_sig(a1, a2, sig)
static void check_num_args(emit_t *emit, int num) {
    asm_rv64_t *as = emit->as;
    size_t good = skip_if_num_args(emit, num);
    asm_rv64_mv(as, REG_ARG_1, RV64_A1);
    asm_rv64_mv(as, REG_ARG_2, RV64_A2);
    asm_rv64_li(as, REG_ARG_3, MP_OBJ_FUN_MAKE_SIG(num, num, false));
    asm_rv64_call_table(as, MP_F_ARG_CHECK_NUM_SIG);
    asm_rv64_skip_end(as, good);
}

// Loads arguments that all have a register. If those to be converted are all small integers, that is a shift each;
// else each is converted by a call, and they wait on the stack for one another.
//     load all; a5 = and of those with a type; andi a5, a5, 1; bnez a5, 1f
//     push a3; convert and push each; pop all; j 2f; 1: shift each; 2:
static void load_args_at_once(emit_t *emit, int num) {
    asm_rv64_t *as = emit->as;
    int typed = 0;
    unsigned all = RV64_ZERO;
    for (int i = 0; i < num; ++i) {
        unsigned rd = local_register(emit, i);
        asm_rv64_load(as, RV64_D, rd, RV64_A3, (int64_t)i * 8);
        if (emit->local_vtype[i] != VTYPE_PYOBJ) {
            if (++typed > 1) {
                asm_rv64_op(as, RV64_OP_AND, REG_TEMP1, all, rd);
            }
            all = typed > 1 ? REG_TEMP1 : rd;
        }
    }
    if (typed == 0) {
        return;
    }
    asm_rv64_op_imm(as, RV64_OP_AND, REG_TEMP1, all, 1);
    size_t small = asm_rv64_skip(as, RV64_NE, REG_TEMP1, RV64_ZERO);
    // From sp upwards: a3, ra, the table, the values.
    int place = as->leaf ? 3 : 1;
    int64_t area = (place + typed + 1) / 2 * 16;
    asm_rv64_op_imm(as, RV64_OP_ADD, RV64_SP, RV64_SP, -area);
    asm_rv64_store_local(as, RV64_A3, 0);
    if (as->leaf) {
        asm_rv64_store_local(as, RV64_RA, 1);
        asm_rv64_store_local(as, LEAF_FUN_TABLE, 2);
    }
    int first = place;
    for (int i = 0; i < num; ++i) {
        if (emit->local_vtype[i] != VTYPE_PYOBJ) {
            if (place > first) {
                asm_rv64_load_local(as, RV64_A3, 0);
                if (as->leaf) {
                    asm_rv64_load_local(as, LEAF_FUN_TABLE, 2);
                }
            }
            asm_rv64_load(as, RV64_D, REG_ARG_1, RV64_A3, (int64_t)i * 8);
            asm_rv64_li(as, REG_ARG_2, emit->local_vtype[i]);
            asm_rv64_call_table(as, MP_F_CONVERT_OBJ_TO_NATIVE);
            asm_rv64_store_local(as, REG_RET, place++);
        }
    }
    if (as->leaf) {
        asm_rv64_load_local(as, RV64_A3, 0);
        asm_rv64_load_local(as, RV64_RA, 1);
        asm_rv64_load_local(as, LEAF_FUN_TABLE, 2);
    }
    place = first;
    for (int i = 0; i < num; ++i) {
        if (emit->local_vtype[i] != VTYPE_PYOBJ) {
            asm_rv64_load_local(as, local_register(emit, i), place++);
        } else if (as->leaf) {
            asm_rv64_load(as, RV64_D, local_register(emit, i), RV64_A3, (int64_t)i * 8);
        }
    }
    asm_rv64_op_imm(as, RV64_OP_ADD, RV64_SP, RV64_SP, area);
    as->touched &= ~(as->leaf ? 1u << RV64_RA : 0); // it is what it was
    size_t done = asm_rv64_skip_always(as);
    asm_rv64_skip_end(as, small);
    for (int i = 0; i < num; ++i) {
        if (emit->local_vtype[i] != VTYPE_PYOBJ) {
            asm_rv64_op_imm(as, RV64_OP_SRA, local_register(emit, i), local_register(emit, i), 1);
        }
    }
    asm_rv64_skip_end(as, done);
}

// Loads arguments of which some go to memory, or are truth values: those of memory first, then those of registers,
// all of which are saved ones. The address is kept in the register of the local that is loaded last.
//     ld a0, i(args); andi a5, a0, 1; srai a4, a0, 1; bnez a5, 1f; a4 = convert(a0, type); 1:
static void load_args_one_by_one(emit_t *emit, int num) {
    asm_rv64_t *as = emit->as;
    int num_regs = MIN(num, num_reg_locals(emit));
    unsigned args = local_register(emit, MAX(num_regs, 1) - 1);
    asm_rv64_mv(as, args, RV64_A3);
    for (int n = 0; n < num; ++n) {
        int i = (n + num_regs) % num;
        vtype_kind_t vtype = emit->local_vtype[i];
        asm_rv64_load(as, RV64_D, REG_TEMP0, args, (int64_t)i * 8);
        if (vtype != VTYPE_PYOBJ) {
            asm_rv64_mv(as, REG_ARG_1, REG_TEMP0);
            asm_rv64_op_imm(as, RV64_OP_AND, REG_TEMP1, REG_ARG_1, 1);
            asm_rv64_op_imm(as, RV64_OP_SRA, REG_TEMP0, REG_ARG_1, 1);
            size_t small = asm_rv64_skip(as, RV64_NE, REG_TEMP1, RV64_ZERO);
            asm_rv64_li(as, REG_ARG_2, vtype);
            asm_rv64_call_table(as, MP_F_CONVERT_OBJ_TO_NATIVE);
            asm_rv64_mv(as, REG_TEMP0, REG_RET);
            asm_rv64_skip_end(as, small);
            if (vtype == VTYPE_BOOL) {
                asm_rv64_set(as, RV64_NE, REG_TEMP0, REG_TEMP0, RV64_ZERO);
            }
        }
        if (i < num_regs) {
            asm_rv64_mv(as, local_register(emit, i), REG_TEMP0);
        } else {
            emit_native_mov_state_reg(emit, LOCAL_IDX_LOCAL_VAR(emit, i), REG_TEMP0);
        }
    }
}

static void load_viper_args(emit_t *emit) {
    int num = emit->scope->num_pos_args;
    if ((emit->scope->scope_flags & (MP_SCOPE_FLAG_VARARGS | MP_SCOPE_FLAG_VARKEYWORDS)) != 0
        || emit->scope->num_kwonly_args != 0) {
        // It compiles, but cannot be called.
        raise_named(emit, MP_QSTR_NotImplementedError);
    }
    check_num_args(emit, num);
    if (can_load_args_at_once(emit)) {
        load_args_at_once(emit, num);
    } else {
        load_args_one_by_one(emit, num);
    }
    emit->as->num_calls = 0;
}

// a4 = the small integer of a viper value; the skip is taken if it is one, and otherwise a call must make an object.
//     slli a4, value, 1; srai a5, a4, 1 (or srli a5, value, 62); addi a4, a4, 1; beq a5, value (or beqz a5)
static size_t skip_if_small(emit_t *emit, vtype_kind_t type, unsigned value) {
    asm_rv64_t *as = emit->as;
    asm_rv64_op_imm(as, RV64_OP_SLL, REG_TEMP0, value, 1);
    if (type == VTYPE_INT) {
        asm_rv64_op_imm(as, RV64_OP_SRA, REG_TEMP1, REG_TEMP0, 1);
    } else {
        asm_rv64_op_imm(as, RV64_OP_SRL, REG_TEMP1, value, 62);
    }
    asm_rv64_op_imm(as, RV64_OP_ADD, REG_TEMP0, REG_TEMP0, 1);
    return asm_rv64_skip(as, RV64_EQ, REG_TEMP1, type == VTYPE_INT ? value : RV64_ZERO);
}

// a0 = object of the viper value in a0, or the other way round. Small integers, truth values and addresses need no call.
// Clobbers a4 and a5, as the call would.
static void convert(emit_t *emit, mp_fun_kind_t fun, vtype_kind_t type) {
    asm_rv64_t *as = emit->as;
    size_t done;
    if (fun == MP_F_CONVERT_OBJ_TO_NATIVE) {
        // srai a4, a0, 1; andi a5, a0, 1; bnez a5, 1f
        asm_rv64_op_imm(as, RV64_OP_SRA, REG_TEMP0, REG_ARG_1, 1);
        asm_rv64_op_imm(as, RV64_OP_AND, REG_TEMP1, REG_ARG_1, 1);
        done = asm_rv64_skip(as, RV64_NE, REG_TEMP1, RV64_ZERO);
    } else {
        done = skip_if_small(emit, type, REG_ARG_1);
    }
    // a4 = the runtime's answer; 1: mv a0, a4
    asm_rv64_li(as, REG_ARG_2, type);
    asm_rv64_call_table(as, fun);
    asm_rv64_mv(as, REG_TEMP0, REG_RET);
    asm_rv64_skip_end(as, done);
    asm_rv64_mv(as, REG_RET, REG_TEMP0);
}

static void load_bool(emit_t *emit, unsigned rd);

// Calls of the generic code. The type that a conversion asks for has just been loaded into a1.
static void call_runtime(emit_t *emit, mp_fun_kind_t fun) {
    asm_rv64_t *as = emit->as;
    if ((fun == MP_F_CONVERT_OBJ_TO_NATIVE || fun == MP_F_CONVERT_NATIVE_TO_OBJ) && as->last.kind == RV64_LAST_LI
        && as->last.rd == REG_ARG_2 && as->last.end == as->base.code_offset) {
        vtype_kind_t type = as->last.imm;
        if (type == VTYPE_BOOL && fun == MP_F_CONVERT_NATIVE_TO_OBJ) {
            // whatever is not 0 is true: snez a5, a0
            asm_rv64_set(as, RV64_NE, REG_TEMP1, REG_ARG_1, RV64_ZERO);
            load_bool(emit, REG_RET);
            return;
        }
        if (type != VTYPE_BOOL && type != VTYPE_PYOBJ) {
            if (asm_rv64_last_is(as, RV64_LAST_LI)) {
                asm_rv64_undo_last(as); // only the call wants it
            }
            convert(emit, fun, type);
            return;
        }
    }
    asm_rv64_call_table(as, fun);
}

// Whether a function takes just the positional arguments that it names, few of them, and makes no cells.
static bool has_plain_args(scope_t *scope) {
    if ((scope->scope_flags & (MP_SCOPE_FLAG_VARARGS | MP_SCOPE_FLAG_VARKEYWORDS | MP_SCOPE_FLAG_DEFKWARGS)) != 0
        || scope->num_kwonly_args != 0 || scope->num_locals > MAX_PLAIN_LOCALS) {
        return false;
    }
    for (size_t i = 0; i < scope->id_info_len; ++i) {
        if (scope->id_info[i].kind == ID_INFO_KIND_CELL) {
            return false;
        }
    }
    return true;
}

// Arguments come as for viper, and locals start without a value. If exactly the positional arguments are given they
// are taken from where they are; else the runtime sorts them out, with the code state that is in the frame.
//     skip to 2 if plain; setup_code_state(frame, a1, a2, a3); load arguments from the frame; j 3f
//     2: load arguments from a3; 3: clear the other locals in registers
static void set_up_code_state(emit_t *emit) {
    asm_rv64_t *as = emit->as;
    scope_t *scope = emit->scope;
    bool plain = has_plain_args(scope);
    int num_args = plain ? scope->num_pos_args : scope->num_locals;
    int num_regs = MIN(scope->num_locals, num_reg_locals(emit));
    size_t good = plain ? skip_if_num_args(emit, num_args) : 0;
    emit_native_mov_state_imm_via(emit, emit->code_state_start + OFFSETOF_CODE_STATE_N_STATE, emit->n_state, REG_ARG_1);
    asm_rv64_local_addr(as, REG_ARG_1, emit->code_state_start);
    asm_rv64_call_table(as, MP_F_SETUP_CODE_STATE);
    for (int i = 0; i < MIN(num_args, num_regs); ++i) {
        asm_rv64_load_local(as, local_register(emit, i), LOCAL_IDX_LOCAL_VAR(emit, i));
    }
    if (!plain) {
        return;
    }
    size_t done = asm_rv64_skip_always(as);
    asm_rv64_skip_end(as, good);
    for (int i = 0; i < num_args; ++i) {
        unsigned rd = i < num_regs ? local_register(emit, i) : REG_TEMP0;
        asm_rv64_load(as, RV64_D, rd, RV64_A3, (int64_t)i * 8);
        if (i >= num_regs) {
            asm_rv64_store_local(as, rd, LOCAL_IDX_LOCAL_VAR(emit, i));
        }
    }
    for (int i = MAX(num_args, num_regs); i < scope->num_locals; ++i) {
        asm_rv64_store_local(as, RV64_ZERO, LOCAL_IDX_LOCAL_VAR(emit, i));
    }
    asm_rv64_skip_end(as, done);
    for (int i = num_args; i < num_regs; ++i) {
        asm_rv64_li(as, local_register(emit, i), 0);
    }
}

// Casts in viper code take one argument, and riscv_fence() none: it is the instruction fence iorw, iorw.
static bool hook_call_function(emit_t *emit, mp_uint_t n_positional, mp_uint_t n_keyword, mp_uint_t star_flags) {
    stack_info_t *fun = peek_stack(emit, n_positional + 2 * n_keyword);
    if (!emit->do_viper_types || fun->vtype != VTYPE_BUILTIN_CAST || star_flags != 0) {
        return false;
    }
    bool is_fence = fun->data.u_imm == MP_NATIVE_TYPE_FENCE;
    mp_uint_t wanted = is_fence ? 0 : 1;
    if (n_positional == wanted && n_keyword == 0) {
        if (!is_fence) {
            return false;
        }
        asm_rv64_fence(emit->as);
    } else {
        EMIT_NATIVE_VIPER_TYPE_ERROR(emit, MP_ERROR_TEXT("function takes %d positional arguments but %d were given"),
            (int)wanted, (int)(n_positional + n_keyword));
        adjust_stack(emit, -(mp_int_t)(n_positional + 2 * n_keyword));
    }
    adjust_stack(emit, -1);
    emit_post_push_imm(emit, VTYPE_PTR_NONE, 0);
    return true;
}

// Converts a viper integer to a small int where it fits, without a call.
static bool hook_return_value(emit_t *emit) {
    asm_rv64_t *as = emit->as;
    vtype_kind_t type = emit->scope->scope_flags >> MP_SCOPE_FLAG_VIPERRET_POS;
    if ((emit->scope->scope_flags & MP_SCOPE_FLAG_GENERATOR) || !emit->do_viper_types
        || (type != VTYPE_INT && type != VTYPE_UINT) || peek_vtype(emit, 0) != type) {
        return false;
    }
    stack_info_t *top = peek_stack(emit, 0);
    if (top->kind == STACK_IMM && MP_SMALL_INT_FITS(top->data.u_imm) && (type == VTYPE_INT || top->data.u_imm >= 0)) {
        mp_int_t imm = top->data.u_imm;
        adjust_stack(emit, -1);
        asm_rv64_li(as, REG_PARENT_RET, (mp_int_t)((mp_uint_t)imm << 1 | 1));
    } else {
        unsigned value = pop_value(emit, 0);
        size_t small = skip_if_small(emit, type, value);
        // mv a0, value; a4 = convert(a0, type); 1: mv a0, a4
        unsigned num_calls = as->num_calls;
        asm_rv64_mv(as, REG_ARG_1, value);
        asm_rv64_li(as, REG_ARG_2, type);
        if (as->leaf) {
            asm_rv64_op_imm(as, RV64_OP_ADD, RV64_SP, RV64_SP, -16);
            asm_rv64_store_local(as, RV64_RA, 0);
        }
        asm_rv64_call_table(as, MP_F_CONVERT_NATIVE_TO_OBJ);
        if (as->leaf) {
            asm_rv64_load_local(as, RV64_RA, 0);
            asm_rv64_op_imm(as, RV64_OP_ADD, RV64_SP, RV64_SP, 16);
            as->touched &= ~(1u << RV64_RA); // it is what it was
        }
        as->num_calls = num_calls; // nothing is wanted afterwards but the result
        asm_rv64_mv(as, REG_TEMP0, REG_RET);
        asm_rv64_skip_end(as, small);
        asm_rv64_mv(as, REG_PARENT_RET, REG_TEMP0);
    }
    if (NEED_GLOBAL_EXC_HANDLER(emit)) {
        ASM_MOV_LOCAL_REG(as, LOCAL_IDX_RET_VAL(emit), REG_PARENT_RET);
    }
    emit_native_unwind_jump(emit, emit->exit_label, emit->exc_stack_size);
    return true;
}

// ---------------------------------------------------------------------------------------------------------------
// Locals and the Python stack.

static bool is_in_register(emit_t *emit, mp_uint_t local_num) {
    return (int)local_num < num_reg_locals(emit);
}

static bool hook_load_fast(emit_t *emit, mp_uint_t local_num) {
    unsigned rd;
    if (is_in_register(emit, local_num)) {
        rd = local_register(emit, local_num);
    } else {
        rd = free_temporary(emit, 0);
        emit_native_mov_reg_state(emit, rd, LOCAL_IDX_LOCAL_VAR(emit, local_num));
    }
    check_bound(emit, local_num, rd);
    emit_post_push_reg(emit, emit->local_vtype[local_num], rd);
    return true;
}

// Anybody may have deleted what a cell held, so it is tested each time.
static bool hook_load_deref(emit_t *emit, qstr qst, mp_uint_t local_num) {
    emit_native_load_fast(emit, qst, local_num);
    unsigned cell = pop_value(emit, 0);
    unsigned rd = free_temporary(emit, 0);
    asm_rv64_load(emit->as, RV64_D, rd, cell, offsetof(mp_obj_cell_t, obj));
    check_value(emit, rd);
    emit_post_push_reg(emit, VTYPE_PYOBJ, rd);
    return true;
}

static bool hook_delete_local(emit_t *emit, qstr qst, mp_uint_t local_num, int kind) {
    if (kind != MP_EMIT_IDOP_LOCAL_FAST) {
        hook_load_deref(emit, qst, local_num);
        adjust_stack(emit, -1);
        emit_native_load_fast(emit, qst, local_num);
        unsigned cell = pop_value(emit, 0);
        asm_rv64_store(emit->as, RV64_D, RV64_ZERO, cell, offsetof(mp_obj_cell_t, obj));
        return true;
    }
    if (emit->do_viper_types || local_num >= 64) {
        return false;
    }
    // It must have had a value; from now on every use is checked, wherever it is.
    asm_rv64_t *as = emit->as;
    uint64_t bit = (uint64_t)1 << local_num;
    hook_load_fast(emit, local_num);
    adjust_stack(emit, -1);
    if (is_in_register(emit, local_num)) {
        rescue(emit, local_register(emit, local_num), 0);
        asm_rv64_li(as, local_register(emit, local_num), 0);
    } else {
        emit_native_mov_state_reg(emit, LOCAL_IDX_LOCAL_VAR(emit, local_num), RV64_ZERO);
    }
    as->deleted |= bit;
    as->bound &= ~bit;
    as->bound_always &= ~bit;
    return true;
}

static bool hook_store_fast(emit_t *emit, qstr qst, mp_uint_t local_num) {
    set_bound(emit, local_num);
    stack_info_t *top = peek_stack(emit, 0);
    if (!emit->do_viper_types && top->kind == STACK_IMM) {
        return false; // to be made an object
    }
    vtype_kind_t vtype = top->vtype;
    if (is_in_register(emit, local_num)) {
        unsigned rd = local_register(emit, local_num);
        if (top->kind == STACK_IMM) {
            mp_int_t imm = top->data.u_imm;
            adjust_stack(emit, -1);
            rescue(emit, rd, 0);
            asm_rv64_li(emit->as, rd, imm);
        } else {
            unsigned value = pop_value(emit, 0);
            if (value != rd) {
                rescue(emit, rd, 1u << value);
                move_popped(emit, rd, value);
            }
        }
    } else {
        unsigned value = pop_value(emit, 0);
        emit_native_mov_state_reg(emit, LOCAL_IDX_LOCAL_VAR(emit, local_num), value);
    }
    if (emit->local_vtype[local_num] == VTYPE_UNBOUND) {
        emit->local_vtype[local_num] = vtype;
    } else if (emit->local_vtype[local_num] != vtype) {
        EMIT_NATIVE_VIPER_TYPE_ERROR(emit,
            MP_ERROR_TEXT("local '%q' has type '%q' but source is '%q'"),
            qst, vtype_to_qstr(emit->local_vtype[local_num]), vtype_to_qstr(vtype));
    }
    return true;
}

// Makes an entry of the stack a register or an immediate: one that can be copied and moved without code.
static void lift(emit_t *emit, int depth) {
    stack_info_t *si = peek_stack(emit, depth);
    if (si->kind == STACK_VALUE) {
        unsigned reg = home_of_depth(emit, depth);
        if (reg == 0) {
            reg = free_temporary(emit, 0);
            emit_native_mov_reg_state(emit, reg, emit->stack_start + emit->stack_size - 1 - depth);
            si = peek_stack(emit, depth);
        }
        si->kind = STACK_REG;
        si->data.u_reg = reg;
    }
}

static void push_copy(emit_t *emit, stack_info_t si) {
    ensure_extra_stack(emit, 1);
    emit->stack_info[emit->stack_size] = si;
    adjust_stack(emit, 1);
}

// A copy of a value, for which the value itself may stay in its slot.
static stack_info_t copy_of(emit_t *emit, int depth) {
    stack_info_t before = *peek_stack(emit, depth);
    lift(emit, depth);
    stack_info_t copy = *peek_stack(emit, depth);
    if (before.kind == STACK_VALUE) {
        *peek_stack(emit, depth) = before;
    }
    return copy;
}

static bool hook_dup_top(emit_t *emit) {
    push_copy(emit, copy_of(emit, 0));
    return true;
}

static bool hook_dup_top_two(emit_t *emit) {
    push_copy(emit, copy_of(emit, 1));
    push_copy(emit, copy_of(emit, 1));
    return true;
}

static bool hook_rot_two(emit_t *emit) {
    lift(emit, 0);
    lift(emit, 1);
    stack_info_t top = *peek_stack(emit, 0);
    *peek_stack(emit, 0) = *peek_stack(emit, 1);
    *peek_stack(emit, 1) = top;
    return true;
}

static bool hook_rot_three(emit_t *emit) {
    lift(emit, 0);
    lift(emit, 1);
    lift(emit, 2);
    stack_info_t top = *peek_stack(emit, 0);
    *peek_stack(emit, 0) = *peek_stack(emit, 1);
    *peek_stack(emit, 1) = *peek_stack(emit, 2);
    *peek_stack(emit, 2) = top;
    return true;
}

// The size of what a viper pointer points to; false if it is none.
static bool pointer_size(vtype_kind_t vtype, unsigned *size) {
    switch (vtype) {
        case VTYPE_PTR8:
            *size = RV64_B;
            return true;
        case VTYPE_PTR16:
            *size = RV64_H;
            return true;
        case VTYPE_PTR32:
            *size = RV64_W;
            return true;
        case VTYPE_PTR64:
            *size = RV64_D;
            return true;
        default:
            return false;
    }
}

// Pops an index. What computed it becomes part of the access if nobody else wants it.
static rv64_element_t pop_element(emit_t *emit, unsigned size) {
    unsigned index = pop_value(emit, 0);
    return asm_rv64_element(emit->as, size, index, is_dead(emit, index));
}

static bool hook_load_subscr(emit_t *emit) {
    unsigned size;
    vtype_kind_t vtype_index = peek_vtype(emit, 0);
    if (!pointer_size(peek_vtype(emit, 1), &size) || (vtype_index != VTYPE_INT && vtype_index != VTYPE_UINT)) {
        return false;
    }
    stack_info_t *top = peek_stack(emit, 0);
    unsigned rd;
    if (top->kind == STACK_IMM) {
        int64_t offset = (int64_t)((uint64_t)top->data.u_imm << size);
        adjust_stack(emit, -1);
        unsigned base = pop_value(emit, 0);
        rd = result_register(emit, base, base);
        asm_rv64_load(emit->as, size, rd, base, offset);
    } else {
        rv64_element_t element = pop_element(emit, size);
        unsigned base = pop_value(emit, 1u << element.index);
        rd = result_register(emit, base, element.index);
        asm_rv64_load_element(emit->as, size, rd, base, element);
    }
    emit_post_push_reg(emit, VTYPE_INT, rd);
    return true;
}

static bool hook_store_subscr(emit_t *emit) {
    unsigned size;
    vtype_kind_t vtype_index = peek_vtype(emit, 0);
    vtype_kind_t vtype_value = peek_vtype(emit, 2);
    if (!pointer_size(peek_vtype(emit, 1), &size) || (vtype_index != VTYPE_INT && vtype_index != VTYPE_UINT)
        || (vtype_value != VTYPE_BOOL && vtype_value != VTYPE_INT && vtype_value != VTYPE_UINT)) {
        return false;
    }
    stack_info_t *top = peek_stack(emit, 0);
    if (top->kind == STACK_IMM) {
        int64_t offset = (int64_t)((uint64_t)top->data.u_imm << size);
        adjust_stack(emit, -1);
        unsigned base = pop_value(emit, 0);
        unsigned value = pop_value(emit, 1u << base);
        asm_rv64_store(emit->as, size, value, base, offset);
    } else {
        rv64_element_t element = pop_element(emit, size);
        unsigned base = pop_value(emit, 1u << element.index);
        unsigned value = pop_value(emit, 1u << element.index | 1u << base);
        asm_rv64_store_element(emit->as, size, value, base, element);
    }
    return true;
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

// The condition of a comparison, and whether it is between the operands the other way round.
static rv64_cond_t find_cond(mp_binary_op_t op, bool is_unsigned, bool *swap) {
    *swap = op == MP_BINARY_OP_MORE || op == MP_BINARY_OP_LESS_EQUAL;
    switch (op) {
        case MP_BINARY_OP_EQUAL:
        case MP_BINARY_OP_IS:
            return RV64_EQ;
        case MP_BINARY_OP_NOT_EQUAL:
        case MP_BINARY_OP_IS_NOT:
            return RV64_NE;
        case MP_BINARY_OP_LESS:
        case MP_BINARY_OP_MORE:
            return is_unsigned ? RV64_LTU : RV64_LT;
        default:
            return is_unsigned ? RV64_GEU : RV64_GE;
    }
}

static void emit_compare(emit_t *emit, mp_binary_op_t op, bool is_unsigned, unsigned rd, unsigned lhs, unsigned rhs) {
    bool swap;
    rv64_cond_t cond = find_cond(op, is_unsigned, &swap);
    asm_rv64_set(emit->as, cond, rd, swap ? rhs : lhs, swap ? lhs : rhs);
}

static void int_compare(emit_t *emit, mp_binary_op_t op, bool is_unsigned) {
    // The result goes where a conditional jump looks for it.
    spill_below(emit, 1u << REG_RET, 2);
    unsigned rhs = pop_value(emit, 0);
    unsigned lhs = pop_value(emit, 1u << rhs);
    emit_compare(emit, op, is_unsigned, REG_RET, lhs, rhs);
    emit_post_push_reg(emit, VTYPE_BOOL, REG_RET);
}

// ---------------------------------------------------------------------------------------------------------------
// Operations on objects, which are done here if both are small integers, and by the runtime if not.
// A small integer n is the word 2 n + 1, and no other object is odd.

// The bench also measures code without these paths, by -DHAVE_SMALL_INT_PATHS=0.
#ifndef HAVE_SMALL_INT_PATHS
#define HAVE_SMALL_INT_PATHS (MICROPY_OBJ_REPR == MICROPY_OBJ_REPR_A)
#endif

static bool is_comparison(mp_binary_op_t op) {
    return MP_BINARY_OP_LESS <= op && op <= MP_BINARY_OP_NOT_EQUAL;
}

// a0 = binary_op(op, lhs, rhs), where rhs may be a constant small integer
static void call_binary_op(emit_t *emit, mp_binary_op_t op, unsigned lhs, unsigned rhs, bool constant, mp_int_t imm) {
    asm_rv64_t *as = emit->as;
    if (constant) {
        asm_rv64_mv(as, REG_ARG_2, lhs);
        asm_rv64_li(as, REG_ARG_3, (mp_int_t)((mp_uint_t)imm << 1 | 1));
    } else if (rhs == REG_ARG_2) {
        asm_rv64_mv(as, REG_TEMP0, rhs);
        asm_rv64_mv(as, REG_ARG_2, lhs);
        asm_rv64_mv(as, REG_ARG_3, REG_TEMP0);
    } else {
        asm_rv64_mv(as, REG_ARG_2, lhs);
        asm_rv64_mv(as, REG_ARG_3, rhs);
    }
    asm_rv64_li(as, REG_ARG_1, op);
    asm_rv64_call_table(as, MP_F_BINARY_OP);
}

// a5 = whether the operands are small integers: not zero if so
static void test_small_ints(emit_t *emit, unsigned lhs, unsigned rhs, bool constant) {
    if (constant || lhs == rhs) {
        asm_rv64_op_imm(emit->as, RV64_OP_AND, REG_TEMP1, lhs, 1);
    } else {
        asm_rv64_op(emit->as, RV64_OP_AND, REG_TEMP1, lhs, rhs);
        asm_rv64_op_imm(emit->as, RV64_OP_AND, REG_TEMP1, REG_TEMP1, 1);
    }
}

// rd = lhs <op> rhs, as objects. rd is neither lhs nor rhs. Clobbers a0 to a5, t1 and t2.
//     test; bnez a5, 2f; 1: rd = binary_op(op, lhs, rhs); j 3f; 2: fast, which goes to 1 on overflow; 3:
static void obj_arithmetic(emit_t *emit, mp_binary_op_t op, rv64_op_t found, unsigned rd, unsigned lhs, unsigned rhs, bool constant, mp_int_t imm) {
    asm_rv64_t *as = emit->as;
    mp_int_t twice = (mp_int_t)((mp_uint_t)imm << 1);
    if (found == RV64_OP_AND) {
        // The result is odd if both operands are.
        if (constant) {
            asm_rv64_op_imm(as, RV64_OP_AND, rd, lhs, twice | 1);
        } else {
            asm_rv64_op(as, RV64_OP_AND, rd, lhs, rhs);
        }
        asm_rv64_op_imm(as, RV64_OP_AND, REG_TEMP1, rd, 1);
    } else {
        test_small_ints(emit, lhs, rhs, constant);
    }
    size_t fast = asm_rv64_skip(as, RV64_NE, REG_TEMP1, RV64_ZERO);
    size_t slow = mp_asm_base_get_code_pos(&as->base);
    call_binary_op(emit, op, lhs, rhs, constant, imm);
    asm_rv64_mv(as, rd, REG_RET);
    if (found == RV64_OP_AND) {
        asm_rv64_skip_end(as, fast);
        return;
    }
    size_t done = asm_rv64_skip_always(as);
    asm_rv64_skip_end(as, fast);
    switch (found) {
        case RV64_OP_ADD:
            if (constant) {
                // An overflow moves the sum the wrong way.
                asm_rv64_op_imm(as, RV64_OP_ADD, rd, lhs, twice);
                asm_rv64_branch_back(as, RV64_LT, twice < 0 ? lhs : rd, twice < 0 ? rd : lhs, slow);
            } else {
                asm_rv64_op_imm(as, RV64_OP_ADD, REG_TEMP0, lhs, -1);
                asm_rv64_op(as, RV64_OP_ADD, rd, REG_TEMP0, rhs);
                asm_rv64_op_imm(as, RV64_OP_SLT, REG_TEMP1, rhs, 0);
                asm_rv64_op(as, RV64_OP_SLT, REG_TEMP0, rd, REG_TEMP0);
                asm_rv64_branch_back(as, RV64_NE, REG_TEMP0, REG_TEMP1, slow);
            }
            break;
        case RV64_OP_SUB:
            if (constant) {
                asm_rv64_op_imm(as, RV64_OP_ADD, rd, lhs, -twice);
                asm_rv64_branch_back(as, RV64_LT, twice < 0 ? rd : lhs, twice < 0 ? lhs : rd, slow);
                break;
            }
            asm_rv64_op(as, RV64_OP_SUB, rd, lhs, rhs);
            asm_rv64_op(as, RV64_OP_SLT, REG_TEMP0, RV64_ZERO, rhs);
            asm_rv64_op(as, RV64_OP_SLT, REG_TEMP1, rd, lhs);
            asm_rv64_branch_back(as, RV64_NE, REG_TEMP0, REG_TEMP1, slow);
            asm_rv64_op_imm(as, RV64_OP_ADD, rd, rd, 1);
            break;
        case RV64_OP_MUL:
            asm_rv64_op_imm(as, RV64_OP_ADD, REG_TEMP0, lhs, -1);
            asm_rv64_op_imm(as, RV64_OP_SRA, REG_TEMP1, rhs, 1);
            asm_rv64_op(as, RV64_OP_MUL, rd, REG_TEMP0, REG_TEMP1);
            asm_rv64_op(as, RV64_OP_MULH, REG_TEMP0, REG_TEMP0, REG_TEMP1);
            asm_rv64_op_imm(as, RV64_OP_SRA, REG_TEMP1, rd, 63);
            asm_rv64_branch_back(as, RV64_NE, REG_TEMP0, REG_TEMP1, slow);
            asm_rv64_op_imm(as, RV64_OP_ADD, rd, rd, 1);
            break;
        case RV64_OP_OR:
            if (constant) {
                asm_rv64_op_imm(as, RV64_OP_OR, rd, lhs, twice);
            } else {
                asm_rv64_op(as, RV64_OP_OR, rd, lhs, rhs);
            }
            break;
        case RV64_OP_XOR:
            if (constant) {
                asm_rv64_op_imm(as, RV64_OP_XOR, rd, lhs, twice);
            } else {
                asm_rv64_op(as, RV64_OP_XOR, rd, lhs, rhs);
                asm_rv64_op_imm(as, RV64_OP_ADD, rd, rd, 1);
            }
            break;
        default: // a right shift by a constant
            asm_rv64_op_imm(as, RV64_OP_SRA, rd, lhs, imm);
            asm_rv64_op_imm(as, RV64_OP_OR, rd, rd, 1);
            break;
    }
    asm_rv64_skip_end(as, done);
}

// rd = False or True of the 0 or 1 in a5
static void load_bool(emit_t *emit, unsigned rd) {
    asm_rv64_op_imm(emit->as, RV64_OP_SLL, REG_TEMP1, REG_TEMP1, 3);
    asm_rv64_op(emit->as, RV64_OP_ADD, REG_TEMP1, REG_TEMP1, REG_FUN_TABLE);
    asm_rv64_load(emit->as, RV64_D, rd, REG_TEMP1, MP_F_CONST_FALSE_OBJ * 8);
}

// rd = lhs <op> rhs as an object, or if `truth`, whether it is true: zero or not.
static void obj_compare(emit_t *emit, mp_binary_op_t op, unsigned rd, unsigned lhs, unsigned rhs, bool truth) {
    asm_rv64_t *as = emit->as;
    if (op == MP_BINARY_OP_IS || op == MP_BINARY_OP_IS_NOT) {
        emit_compare(emit, op, false, truth ? rd : REG_TEMP1, lhs, rhs);
        if (!truth) {
            load_bool(emit, rd);
        }
        return;
    }
    test_small_ints(emit, lhs, rhs, false);
    size_t fast = asm_rv64_skip(as, RV64_NE, REG_TEMP1, RV64_ZERO);
    call_binary_op(emit, op, lhs, rhs, false, 0);
    if (truth) {
        asm_rv64_call_table(as, MP_F_OBJ_IS_TRUE);
    }
    asm_rv64_mv(as, rd, REG_RET);
    size_t done = asm_rv64_skip_always(as);
    asm_rv64_skip_end(as, fast);
    emit_compare(emit, op, false, truth ? rd : REG_TEMP1, lhs, rhs);
    if (!truth) {
        load_bool(emit, rd);
    }
    asm_rv64_skip_end(as, done);
}

static bool obj_binary_op(emit_t *emit, mp_binary_op_t op) {
    mp_binary_op_t plain = op;
    if (MP_BINARY_OP_INPLACE_OR <= op && op <= MP_BINARY_OP_INPLACE_POWER) {
        plain += MP_BINARY_OP_OR - MP_BINARY_OP_INPLACE_OR;
    }
    if (is_comparison(op) || op == MP_BINARY_OP_IS || op == MP_BINARY_OP_IS_NOT) {
        spill_for_call(emit, 2);
        unsigned rhs = pop_object(emit, 0);
        unsigned lhs = pop_object(emit, 1u << rhs);
        unsigned rd = free_temporary(emit, 1u << lhs | 1u << rhs);
        size_t start = mp_asm_base_get_code_pos(&emit->as->base);
        obj_compare(emit, op, rd, lhs, rhs, false);
        asm_rv64_set_last(emit->as, RV64_LAST_OBJ_COMPARE, start, op, rd, lhs, rhs, 0);
        emit_post_push_reg(emit, VTYPE_PYOBJ, rd);
        return true;
    }
    rv64_op_t found;
    stack_info_t *top = peek_stack(emit, 0);
    bool constant = top->kind == STACK_IMM && top->vtype == VTYPE_INT && MP_SMALL_INT_FITS(top->data.u_imm);
    mp_int_t imm = constant ? top->data.u_imm : 0;
    if (!find_op(plain, false, &found) || found == RV64_OP_SLL) {
        return false;
    }
    if (found == RV64_OP_SRA && (!constant || imm < 0 || imm > 62)) {
        return false;
    }
    if (found == RV64_OP_MUL) {
        constant = false;
    } else if (found == RV64_OP_SUB && imm == MP_SMALL_INT_MIN) {
        return false;
    }
    spill_for_call(emit, 2);
    unsigned rhs = RV64_ZERO;
    if (constant) {
        adjust_stack(emit, -1);
    } else {
        rhs = pop_object(emit, 0);
    }
    unsigned lhs = pop_object(emit, 1u << rhs);
    unsigned rd = free_temporary(emit, 1u << lhs | 1u << rhs);
    obj_arithmetic(emit, op, found, rd, lhs, rhs, constant, imm);
    emit_post_push_reg(emit, VTYPE_PYOBJ, rd);
    return true;
}

// a5 = whether an object is true: zero or not
static void obj_truth(emit_t *emit, unsigned value) {
    asm_rv64_t *as = emit->as;
    asm_rv64_op_imm(as, RV64_OP_AND, REG_TEMP1, value, 1);
    size_t fast = asm_rv64_skip(as, RV64_NE, REG_TEMP1, RV64_ZERO);
    asm_rv64_mv(as, REG_ARG_1, value);
    asm_rv64_call_table(as, MP_F_OBJ_IS_TRUE);
    asm_rv64_mv(as, REG_TEMP1, REG_RET);
    size_t done = asm_rv64_skip_always(as);
    asm_rv64_skip_end(as, fast);
    asm_rv64_op_imm(as, RV64_OP_ADD, REG_TEMP1, value, -1);
    asm_rv64_skip_end(as, done);
}

static bool hook_jump_helper(emit_t *emit, bool cond, mp_uint_t label, bool pop) {
    asm_rv64_t *as = emit->as;
    if (!HAVE_SMALL_INT_PATHS || !pop || peek_vtype(emit, 0) != VTYPE_PYOBJ || peek_stack(emit, 0)->kind == STACK_IMM) {
        return false;
    }
    spill_for_call(emit, 1);
    settle_below(emit, 1);
    unsigned value = pop_object(emit, 0);
    if (as->last.rd == value && asm_rv64_last_is(as, RV64_LAST_OBJ_COMPARE)) {
        rv64_last_t compare = asm_rv64_undo_last(as);
        obj_compare(emit, compare.op, REG_TEMP1, compare.rs1, compare.rs2, true);
    } else {
        obj_truth(emit, value);
    }
    asm_rv64_branch_zero(as, cond, REG_TEMP1, label);
    return true;
}

static bool hook_unary_op(emit_t *emit, mp_unary_op_t op) {
    vtype_kind_t vtype = peek_vtype(emit, 0);
    if (!is_int(vtype) || (op != MP_UNARY_OP_NEGATIVE && op != MP_UNARY_OP_INVERT)) {
        return false;
    }
    unsigned rs = pop_value(emit, 0);
    unsigned rd = result_register(emit, rs, rs);
    if (op == MP_UNARY_OP_NEGATIVE) {
        asm_rv64_op(emit->as, RV64_OP_SUB, rd, RV64_ZERO, rs);
    } else {
        asm_rv64_op_imm(emit->as, RV64_OP_XOR, rd, rs, -1);
    }
    emit_post_push_reg(emit, vtype, rd);
    return true;
}

static bool hook_binary_op(emit_t *emit, mp_binary_op_t op) {
    vtype_kind_t vtype_lhs = peek_vtype(emit, 1);
    vtype_kind_t vtype_rhs = peek_vtype(emit, 0);
    if (HAVE_SMALL_INT_PATHS && vtype_lhs == VTYPE_PYOBJ && vtype_rhs == VTYPE_PYOBJ) {
        return obj_binary_op(emit, op);
    }
    if (!is_int(vtype_lhs) || !is_int(vtype_rhs)) {
        return false;
    }
    if (MP_BINARY_OP_INPLACE_OR <= op && op <= MP_BINARY_OP_INPLACE_POWER) {
        op += MP_BINARY_OP_OR - MP_BINARY_OP_INPLACE_OR;
    }
    if (is_comparison(op)) {
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
    bool commutes = found == RV64_OP_ADD || found == RV64_OP_MUL || found == RV64_OP_AND || found == RV64_OP_OR || found == RV64_OP_XOR;
    if (commutes && peek_stack(emit, 1)->kind == STACK_IMM) {
        hook_rot_two(emit);
    }
    stack_info_t *top = peek_stack(emit, 0);
    unsigned rd;
    if (top->kind == STACK_IMM) {
        mp_int_t imm = top->data.u_imm;
        adjust_stack(emit, -1);
        unsigned lhs = pop_value(emit, 0);
        rd = result_register(emit, lhs, lhs);
        asm_rv64_op_imm(emit->as, found, rd, lhs, imm);
    } else {
        unsigned rhs = pop_value(emit, 0);
        unsigned lhs = pop_value(emit, 1u << rhs);
        rd = result_register(emit, lhs, rhs);
        if (found == RV64_OP_ADD) {
            asm_rv64_add(emit->as, rd, lhs, is_dead(emit, lhs), rhs, is_dead(emit, rhs));
        } else {
            asm_rv64_op(emit->as, found, rd, lhs, rhs);
        }
    }
    emit_post_push_reg(emit, vtype_lhs, rd);
    return true;
}

#endif
