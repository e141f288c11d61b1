// SPDX-License-Identifier: MIT
// Inline assembler for RV64: functions decorated with @micropython.asm_rv64. asm_rv64.md tells what one may write.

#include <stdarg.h>
#include <string.h>

#include "py/emit.h"
#include "py/lexer.h"
#include "py/runtime.h"

#if MICROPY_EMIT_INLINE_RV64

#include "py/asmrv64.h"

// Numbers of the parser's rules: first those that are compiled, then constants, then the others.
typedef enum {
#define DEF_RULE(rule, comp, kind, ...) PN_##rule,
#define DEF_RULE_NC(rule, kind, ...)
    #include "py/grammar.h"
#undef DEF_RULE
#undef DEF_RULE_NC
    PN_const_object,
#define DEF_RULE(rule, comp, kind, ...)
#define DEF_RULE_NC(rule, kind, ...) PN_##rule,
    #include "py/grammar.h"
#undef DEF_RULE
#undef DEF_RULE_NC
} pn_kind_t;

struct _emit_inline_asm_t {
    asm_rv64_t as; // must be first
    pass_kind_t pass;
    mp_obj_t *error_slot;
    size_t max_num_labels;
    qstr *label_names;
};

// ---------------------------------------------------------------------------------------------------------------
// Operands.

// Where a value goes is part of its kind. Names with C_ are those of compressed instructions.
typedef enum {
    NONE,
    // registers
    RD, RS1, RS2, C_RD, C_RD_LUI, C_RS2, C_RS2_Z, C_S7, C_S2,
    // integers
    IMM, UPPER, AMOUNT, AMOUNT_W, CSR, ZIMM, INT64,
    C_IMM, C_IMM_NZ, C_AMOUNT, C_SP4, C_SP16, C_LWSP, C_LDSP, C_SWSP, C_SDSP,
    // sets of i, o, r, w
    PRED, SUCC,
    // offset(register)
    LOAD, STORE, C_WORD, C_DOUBLE,
    // labels
    BRANCH, JUMP, ADDRESS, C_BRANCH, C_JUMP,
} operand_kind_t;

typedef enum { TYPE_REGISTER, TYPE_INTEGER, TYPE_SET, TYPE_MEMORY, TYPE_LABEL } operand_type_t;

// Registers that an operand can name.
#define ANY_REGISTER (0xffffffff)
#define NOT_ZERO (ANY_REGISTER & ~1u)
#define NOT_ZERO_OR_SP (NOT_ZERO & ~(1u << RV64_SP))
#define SHORT (0xff00)

typedef struct {
    uint8_t type;
    uint8_t at; // lowest bit of the register, or of an integer that is not scattered
    uint8_t step;
    bool not_zero;
    uint32_t registers;
    int32_t lowest, highest;
} operand_t;

#define REGISTER(at, registers) { TYPE_REGISTER, at, 0, false, registers, 0, 0 }
#define INTEGER(at, lowest, highest) { TYPE_INTEGER, at, 1, false, 0, lowest, highest }
#define MULTIPLE(step, lowest, highest) { TYPE_INTEGER, 0, step, false, 0, lowest, highest }
#define NOT_0(step, lowest, highest) { TYPE_INTEGER, 0, step, true, 0, lowest, highest }
#define SET(at) { TYPE_SET, at, 0, false, 0, 0, 0 }
#define MEMORY(at, registers, step, lowest, highest) { TYPE_MEMORY, at, step, false, registers, lowest, highest }
#define LABEL(reach) { TYPE_LABEL, 0, 2, false, 0, -(reach), (reach) - 2 }

static const operand_t operands[] = {
    [RD] = REGISTER(7, ANY_REGISTER),
    [RS1] = REGISTER(15, ANY_REGISTER),
    [RS2] = REGISTER(20, ANY_REGISTER),
    [C_RD] = REGISTER(7, NOT_ZERO),
    [C_RD_LUI] = REGISTER(7, NOT_ZERO_OR_SP),
    [C_RS2] = REGISTER(2, NOT_ZERO),
    [C_RS2_Z] = REGISTER(2, ANY_REGISTER),
    [C_S7] = REGISTER(7, SHORT),
    [C_S2] = REGISTER(2, SHORT),
    [IMM] = INTEGER(0, -2048, 2047),
    [UPPER] = INTEGER(0, -0x80000, 0xfffff), // a sign may be written or not
    [AMOUNT] = INTEGER(20, 0, 63),
    [AMOUNT_W] = INTEGER(20, 0, 31),
    [CSR] = INTEGER(20, 0, 4095),
    [ZIMM] = INTEGER(15, 0, 31),
    [INT64] = INTEGER(0, 0, 0), // has a check of its own
    [C_IMM] = INTEGER(0, -32, 31),
    [C_IMM_NZ] = NOT_0(1, -32, 31),
    [C_AMOUNT] = INTEGER(0, 1, 63),
    [C_SP4] = MULTIPLE(4, 4, 1020),
    [C_SP16] = NOT_0(16, -512, 496),
    [C_LWSP] = MULTIPLE(4, 0, 252),
    [C_LDSP] = MULTIPLE(8, 0, 504),
    [C_SWSP] = MULTIPLE(4, 0, 252),
    [C_SDSP] = MULTIPLE(8, 0, 504),
    [PRED] = SET(24),
    [SUCC] = SET(20),
    [LOAD] = MEMORY(15, ANY_REGISTER, 1, -2048, 2047),
    [STORE] = MEMORY(15, ANY_REGISTER, 1, -2048, 2047),
    [C_WORD] = MEMORY(7, SHORT, 4, 0, 124),
    [C_DOUBLE] = MEMORY(7, SHORT, 8, 0, 248),
    [BRANCH] = LABEL(1 << 12),
    [JUMP] = LABEL(1 << 20),
    [ADDRESS] = LABEL(1 << 30),
    [C_BRANCH] = LABEL(1 << 8),
    [C_JUMP] = LABEL(1 << 11),
};

// ---------------------------------------------------------------------------------------------------------------
// Instructions, alphabetically within their extension.

// Of an instruction: the extension it needs, and whether its name may end in _aq, _rl or _aqrl.
#define ZBA RV64_EXT_ZBA
#define ZBB RV64_EXT_ZBB
#define ORDERED (0x80)

typedef struct {
    qstr_short_t name;
    uint8_t flags;
    uint8_t operands[3];
    uint32_t opcode; // all bits that are not an operand's
} instruction_t;

// One with several numbers of operands has several lines, one below the other.
static const instruction_t instructions[] = {
    // Base
    { MP_QSTR_add,        0,       {RD, RS1, RS2},        0x00000033 },
    { MP_QSTR_addi,       0,       {RD, RS1, IMM},        0x00000013 },
    { MP_QSTR_addiw,      0,       {RD, RS1, IMM},        0x0000001b },
    { MP_QSTR_addw,       0,       {RD, RS1, RS2},        0x0000003b },
    { MP_QSTR_and_,       0,       {RD, RS1, RS2},        0x00007033 },
    { MP_QSTR_andi,       0,       {RD, RS1, IMM},        0x00007013 },
    { MP_QSTR_auipc,      0,       {RD, UPPER},           0x00000017 },
    { MP_QSTR_beq,        0,       {RS1, RS2, BRANCH},    0x00000063 },
    { MP_QSTR_bge,        0,       {RS1, RS2, BRANCH},    0x00005063 },
    { MP_QSTR_bgeu,       0,       {RS1, RS2, BRANCH},    0x00007063 },
    { MP_QSTR_blt,        0,       {RS1, RS2, BRANCH},    0x00004063 },
    { MP_QSTR_bltu,       0,       {RS1, RS2, BRANCH},    0x00006063 },
    { MP_QSTR_bne,        0,       {RS1, RS2, BRANCH},    0x00001063 },
    { MP_QSTR_ebreak,     0,       {NONE},                0x00100073 },
    { MP_QSTR_ecall,      0,       {NONE},                0x00000073 },
    { MP_QSTR_fence,      0,       {NONE},                0x0ff0000f },
    { MP_QSTR_fence,      0,       {PRED, SUCC},          0x0000000f },
    { MP_QSTR_fence_i,    0,       {NONE},                0x0000100f },
    { MP_QSTR_jal,        0,       {RD, JUMP},            0x0000006f },
    { MP_QSTR_jalr,       0,       {RD, RS1, IMM},        0x00000067 },
    { MP_QSTR_lb,         0,       {RD, LOAD},            0x00000003 },
    { MP_QSTR_lbu,        0,       {RD, LOAD},            0x00004003 },
    { MP_QSTR_ld,         0,       {RD, LOAD},            0x00003003 },
    { MP_QSTR_lh,         0,       {RD, LOAD},            0x00001003 },
    { MP_QSTR_lhu,        0,       {RD, LOAD},            0x00005003 },
    { MP_QSTR_lui,        0,       {RD, UPPER},           0x00000037 },
    { MP_QSTR_lw,         0,       {RD, LOAD},            0x00002003 },
    { MP_QSTR_lwu,        0,       {RD, LOAD},            0x00006003 },
    { MP_QSTR_or_,        0,       {RD, RS1, RS2},        0x00006033 },
    { MP_QSTR_ori,        0,       {RD, RS1, IMM},        0x00006013 },
    { MP_QSTR_sb,         0,       {RS2, STORE},          0x00000023 },
    { MP_QSTR_sd,         0,       {RS2, STORE},          0x00003023 },
    { MP_QSTR_sh,         0,       {RS2, STORE},          0x00001023 },
    { MP_QSTR_sll,        0,       {RD, RS1, RS2},        0x00001033 },
    { MP_QSTR_slli,       0,       {RD, RS1, AMOUNT},     0x00001013 },
    { MP_QSTR_slliw,      0,       {RD, RS1, AMOUNT_W},   0x0000101b },
    { MP_QSTR_sllw,       0,       {RD, RS1, RS2},        0x0000103b },
    { MP_QSTR_slt,        0,       {RD, RS1, RS2},        0x00002033 },
    { MP_QSTR_slti,       0,       {RD, RS1, IMM},        0x00002013 },
    { MP_QSTR_sltiu,      0,       {RD, RS1, IMM},        0x00003013 },
    { MP_QSTR_sltu,       0,       {RD, RS1, RS2},        0x00003033 },
    { MP_QSTR_sra,        0,       {RD, RS1, RS2},        0x40005033 },
    { MP_QSTR_srai,       0,       {RD, RS1, AMOUNT},     0x40005013 },
    { MP_QSTR_sraiw,      0,       {RD, RS1, AMOUNT_W},   0x4000501b },
    { MP_QSTR_sraw,       0,       {RD, RS1, RS2},        0x4000503b },
    { MP_QSTR_srl,        0,       {RD, RS1, RS2},        0x00005033 },
    { MP_QSTR_srli,       0,       {RD, RS1, AMOUNT},     0x00005013 },
    { MP_QSTR_srliw,      0,       {RD, RS1, AMOUNT_W},   0x0000501b },
    { MP_QSTR_srlw,       0,       {RD, RS1, RS2},        0x0000503b },
    { MP_QSTR_sub,        0,       {RD, RS1, RS2},        0x40000033 },
    { MP_QSTR_subw,       0,       {RD, RS1, RS2},        0x4000003b },
    { MP_QSTR_sw,         0,       {RS2, STORE},          0x00002023 },
    { MP_QSTR_wfi,        0,       {NONE},                0x10500073 },
    { MP_QSTR_xor,        0,       {RD, RS1, RS2},        0x00004033 },
    { MP_QSTR_xori,       0,       {RD, RS1, IMM},        0x00004013 },
    // M
    { MP_QSTR_div,        0,       {RD, RS1, RS2},        0x02004033 },
    { MP_QSTR_divu,       0,       {RD, RS1, RS2},        0x02005033 },
    { MP_QSTR_divuw,      0,       {RD, RS1, RS2},        0x0200503b },
    { MP_QSTR_divw,       0,       {RD, RS1, RS2},        0x0200403b },
    { MP_QSTR_mul,        0,       {RD, RS1, RS2},        0x02000033 },
    { MP_QSTR_mulh,       0,       {RD, RS1, RS2},        0x02001033 },
    { MP_QSTR_mulhsu,     0,       {RD, RS1, RS2},        0x02002033 },
    { MP_QSTR_mulhu,      0,       {RD, RS1, RS2},        0x02003033 },
    { MP_QSTR_mulw,       0,       {RD, RS1, RS2},        0x0200003b },
    { MP_QSTR_rem,        0,       {RD, RS1, RS2},        0x02006033 },
    { MP_QSTR_remu,       0,       {RD, RS1, RS2},        0x02007033 },
    { MP_QSTR_remuw,      0,       {RD, RS1, RS2},        0x0200703b },
    { MP_QSTR_remw,       0,       {RD, RS1, RS2},        0x0200603b },
    // A
    { MP_QSTR_amoadd_d,   ORDERED, {RD, RS2, RS1},        0x0000302f },
    { MP_QSTR_amoadd_w,   ORDERED, {RD, RS2, RS1},        0x0000202f },
    { MP_QSTR_amoand_d,   ORDERED, {RD, RS2, RS1},        0x6000302f },
    { MP_QSTR_amoand_w,   ORDERED, {RD, RS2, RS1},        0x6000202f },
    { MP_QSTR_amomax_d,   ORDERED, {RD, RS2, RS1},        0xa000302f },
    { MP_QSTR_amomax_w,   ORDERED, {RD, RS2, RS1},        0xa000202f },
    { MP_QSTR_amomaxu_d,  ORDERED, {RD, RS2, RS1},        0xe000302f },
    { MP_QSTR_amomaxu_w,  ORDERED, {RD, RS2, RS1},        0xe000202f },
    { MP_QSTR_amomin_d,   ORDERED, {RD, RS2, RS1},        0x8000302f },
    { MP_QSTR_amomin_w,   ORDERED, {RD, RS2, RS1},        0x8000202f },
    { MP_QSTR_amominu_d,  ORDERED, {RD, RS2, RS1},        0xc000302f },
    { MP_QSTR_amominu_w,  ORDERED, {RD, RS2, RS1},        0xc000202f },
    { MP_QSTR_amoor_d,    ORDERED, {RD, RS2, RS1},        0x4000302f },
    { MP_QSTR_amoor_w,    ORDERED, {RD, RS2, RS1},        0x4000202f },
    { MP_QSTR_amoswap_d,  ORDERED, {RD, RS2, RS1},        0x0800302f },
    { MP_QSTR_amoswap_w,  ORDERED, {RD, RS2, RS1},        0x0800202f },
    { MP_QSTR_amoxor_d,   ORDERED, {RD, RS2, RS1},        0x2000302f },
    { MP_QSTR_amoxor_w,   ORDERED, {RD, RS2, RS1},        0x2000202f },
    { MP_QSTR_lr_d,       ORDERED, {RD, RS1},             0x1000302f },
    { MP_QSTR_lr_w,       ORDERED, {RD, RS1},             0x1000202f },
    { MP_QSTR_sc_d,       ORDERED, {RD, RS2, RS1},        0x1800302f },
    { MP_QSTR_sc_w,       ORDERED, {RD, RS2, RS1},        0x1800202f },
    // C
    { MP_QSTR_c_add,      0,       {C_RD, C_RS2},         0x9002 },
    { MP_QSTR_c_addi,     0,       {C_RD, C_IMM_NZ},      0x0001 },
    { MP_QSTR_c_addi16sp, 0,       {C_SP16},              0x6101 },
    { MP_QSTR_c_addi4spn, 0,       {C_S2, C_SP4},         0x0000 },
    { MP_QSTR_c_addiw,    0,       {C_RD, C_IMM},         0x2001 },
    { MP_QSTR_c_addw,     0,       {C_S7, C_S2},          0x9c21 },
    { MP_QSTR_c_and,      0,       {C_S7, C_S2},          0x8c61 },
    { MP_QSTR_c_andi,     0,       {C_S7, C_IMM},         0x8801 },
    { MP_QSTR_c_beqz,     0,       {C_S7, C_BRANCH},      0xc001 },
    { MP_QSTR_c_bnez,     0,       {C_S7, C_BRANCH},      0xe001 },
    { MP_QSTR_c_ebreak,   0,       {NONE},                0x9002 },
    { MP_QSTR_c_j,        0,       {C_JUMP},              0xa001 },
    { MP_QSTR_c_jalr,     0,       {C_RD},                0x9002 },
    { MP_QSTR_c_jr,       0,       {C_RD},                0x8002 },
    { MP_QSTR_c_ld,       0,       {C_S2, C_DOUBLE},      0x6000 },
    { MP_QSTR_c_ldsp,     0,       {C_RD, C_LDSP},        0x6002 },
    { MP_QSTR_c_li,       0,       {C_RD, C_IMM},         0x4001 },
    { MP_QSTR_c_lui,      0,       {C_RD_LUI, C_IMM_NZ},  0x6001 },
    { MP_QSTR_c_lw,       0,       {C_S2, C_WORD},        0x4000 },
    { MP_QSTR_c_lwsp,     0,       {C_RD, C_LWSP},        0x4002 },
    { MP_QSTR_c_mv,       0,       {C_RD, C_RS2},         0x8002 },
    { MP_QSTR_c_nop,      0,       {NONE},                0x0001 },
    { MP_QSTR_c_or,       0,       {C_S7, C_S2},          0x8c41 },
    { MP_QSTR_c_sd,       0,       {C_S2, C_DOUBLE},      0xe000 },
    { MP_QSTR_c_sdsp,     0,       {C_RS2_Z, C_SDSP},     0xe002 },
    { MP_QSTR_c_slli,     0,       {C_RD, C_AMOUNT},      0x0002 },
    { MP_QSTR_c_srai,     0,       {C_S7, C_AMOUNT},      0x8401 },
    { MP_QSTR_c_srli,     0,       {C_S7, C_AMOUNT},      0x8001 },
    { MP_QSTR_c_sub,      0,       {C_S7, C_S2},          0x8c01 },
    { MP_QSTR_c_subw,     0,       {C_S7, C_S2},          0x9c01 },
    { MP_QSTR_c_sw,       0,       {C_S2, C_WORD},        0xc000 },
    { MP_QSTR_c_swsp,     0,       {C_RS2_Z, C_SWSP},     0xc002 },
    { MP_QSTR_c_xor,      0,       {C_S7, C_S2},          0x8c21 },
    // Zba
    { MP_QSTR_add_uw,     ZBA,     {RD, RS1, RS2},        0x0800003b },
    { MP_QSTR_sh1add,     ZBA,     {RD, RS1, RS2},        0x20002033 },
    { MP_QSTR_sh1add_uw,  ZBA,     {RD, RS1, RS2},        0x2000203b },
    { MP_QSTR_sh2add,     ZBA,     {RD, RS1, RS2},        0x20004033 },
    { MP_QSTR_sh2add_uw,  ZBA,     {RD, RS1, RS2},        0x2000403b },
    { MP_QSTR_sh3add,     ZBA,     {RD, RS1, RS2},        0x20006033 },
    { MP_QSTR_sh3add_uw,  ZBA,     {RD, RS1, RS2},        0x2000603b },
    { MP_QSTR_slli_uw,    ZBA,     {RD, RS1, AMOUNT},     0x0800101b },
    // Zbb
    { MP_QSTR_andn,       ZBB,     {RD, RS1, RS2},        0x40007033 },
    { MP_QSTR_clz,        ZBB,     {RD, RS1},             0x60001013 },
    { MP_QSTR_clzw,       ZBB,     {RD, RS1},             0x6000101b },
    { MP_QSTR_cpop,       ZBB,     {RD, RS1},             0x60201013 },
    { MP_QSTR_cpopw,      ZBB,     {RD, RS1},             0x6020101b },
    { MP_QSTR_ctz,        ZBB,     {RD, RS1},             0x60101013 },
    { MP_QSTR_ctzw,       ZBB,     {RD, RS1},             0x6010101b },
    { MP_QSTR_max,        ZBB,     {RD, RS1, RS2},        0x0a006033 },
    { MP_QSTR_maxu,       ZBB,     {RD, RS1, RS2},        0x0a007033 },
    { MP_QSTR_min,        ZBB,     {RD, RS1, RS2},        0x0a004033 },
    { MP_QSTR_minu,       ZBB,     {RD, RS1, RS2},        0x0a005033 },
    { MP_QSTR_orc_b,      ZBB,     {RD, RS1},             0x28705013 },
    { MP_QSTR_orn,        ZBB,     {RD, RS1, RS2},        0x40006033 },
    { MP_QSTR_rev8,       ZBB,     {RD, RS1},             0x6b805013 },
    { MP_QSTR_rol,        ZBB,     {RD, RS1, RS2},        0x60001033 },
    { MP_QSTR_rolw,       ZBB,     {RD, RS1, RS2},        0x6000103b },
    { MP_QSTR_ror,        ZBB,     {RD, RS1, RS2},        0x60005033 },
    { MP_QSTR_rori,       ZBB,     {RD, RS1, AMOUNT},     0x60005013 },
    { MP_QSTR_roriw,      ZBB,     {RD, RS1, AMOUNT_W},   0x6000501b },
    { MP_QSTR_rorw,       ZBB,     {RD, RS1, RS2},        0x6000503b },
    { MP_QSTR_sext_b,     ZBB,     {RD, RS1},             0x60401013 },
    { MP_QSTR_sext_h,     ZBB,     {RD, RS1},             0x60501013 },
    { MP_QSTR_xnor,       ZBB,     {RD, RS1, RS2},        0x40004033 },
    { MP_QSTR_zext_h,     ZBB,     {RD, RS1},             0x0800403b },
    // Zicsr
    { MP_QSTR_csrrc,      0,       {RD, RS1, CSR},        0x00003073 },
    { MP_QSTR_csrrci,     0,       {RD, CSR, ZIMM},       0x00007073 },
    { MP_QSTR_csrrs,      0,       {RD, RS1, CSR},        0x00002073 },
    { MP_QSTR_csrrsi,     0,       {RD, CSR, ZIMM},       0x00006073 },
    { MP_QSTR_csrrw,      0,       {RD, RS1, CSR},        0x00001073 },
    { MP_QSTR_csrrwi,     0,       {RD, CSR, ZIMM},       0x00005073 },
    // Other names for some of the above, and sequences
    { MP_QSTR_beqz,       0,       {RS1, BRANCH},         0x00000063 },
    { MP_QSTR_bgez,       0,       {RS1, BRANCH},         0x00005063 },
    { MP_QSTR_bgt,        0,       {RS2, RS1, BRANCH},    0x00004063 },
    { MP_QSTR_bgtu,       0,       {RS2, RS1, BRANCH},    0x00006063 },
    { MP_QSTR_bgtz,       0,       {RS2, BRANCH},         0x00004063 },
    { MP_QSTR_ble,        0,       {RS2, RS1, BRANCH},    0x00005063 },
    { MP_QSTR_bleu,       0,       {RS2, RS1, BRANCH},    0x00007063 },
    { MP_QSTR_blez,       0,       {RS2, BRANCH},         0x00005063 },
    { MP_QSTR_bltz,       0,       {RS1, BRANCH},         0x00004063 },
    { MP_QSTR_bnez,       0,       {RS1, BRANCH},         0x00001063 },
    { MP_QSTR_csrc,       0,       {CSR, RS1},            0x00003073 },
    { MP_QSTR_csrr,       0,       {RD, CSR},             0x00002073 },
    { MP_QSTR_csrs,       0,       {CSR, RS1},            0x00002073 },
    { MP_QSTR_csrw,       0,       {CSR, RS1},            0x00001073 },
    { MP_QSTR_j,          0,       {JUMP},                0x0000006f },
    { MP_QSTR_jr,         0,       {RS1},                 0x00000067 },
    { MP_QSTR_la,         0,       {RD, ADDRESS},         0 },
    { MP_QSTR_li,         0,       {RD, INT64},           0 },
    { MP_QSTR_mv,         0,       {RD, RS1},             0x00000013 },
    { MP_QSTR_neg,        0,       {RD, RS2},             0x40000033 },
    { MP_QSTR_negw,       0,       {RD, RS2},             0x4000003b },
    { MP_QSTR_nop,        0,       {NONE},                0x00000013 },
    { MP_QSTR_not_,       0,       {RD, RS1},             0xfff04013 },
    { MP_QSTR_ret,        0,       {NONE},                0x00008067 },
    { MP_QSTR_seqz,       0,       {RD, RS1},             0x00103013 },
    { MP_QSTR_sext_w,     0,       {RD, RS1},             0x0000001b },
    { MP_QSTR_sgtz,       0,       {RD, RS2},             0x00002033 },
    { MP_QSTR_sltz,       0,       {RD, RS1},             0x00002033 },
    { MP_QSTR_snez,       0,       {RD, RS2},             0x00003033 },
    { MP_QSTR_zext_w,     ZBA,     {RD, RS1},             0x0800003b },
};

static const qstr_short_t register_names[] = {
    MP_QSTR_zero, MP_QSTR_ra, MP_QSTR_sp, MP_QSTR_gp, MP_QSTR_tp, MP_QSTR_t0, MP_QSTR_t1, MP_QSTR_t2,
    MP_QSTR_s0, MP_QSTR_s1, MP_QSTR_a0, MP_QSTR_a1, MP_QSTR_a2, MP_QSTR_a3, MP_QSTR_a4, MP_QSTR_a5,
    MP_QSTR_a6, MP_QSTR_a7, MP_QSTR_s2, MP_QSTR_s3, MP_QSTR_s4, MP_QSTR_s5, MP_QSTR_s6, MP_QSTR_s7,
    MP_QSTR_s8, MP_QSTR_s9, MP_QSTR_s10, MP_QSTR_s11, MP_QSTR_t3, MP_QSTR_t4, MP_QSTR_t5, MP_QSTR_t6,
    MP_QSTR_x0, MP_QSTR_x1, MP_QSTR_x2, MP_QSTR_x3, MP_QSTR_x4, MP_QSTR_x5, MP_QSTR_x6, MP_QSTR_x7,
    MP_QSTR_x8, MP_QSTR_x9, MP_QSTR_x10, MP_QSTR_x11, MP_QSTR_x12, MP_QSTR_x13, MP_QSTR_x14, MP_QSTR_x15,
    MP_QSTR_x16, MP_QSTR_x17, MP_QSTR_x18, MP_QSTR_x19, MP_QSTR_x20, MP_QSTR_x21, MP_QSTR_x22, MP_QSTR_x23,
    MP_QSTR_x24, MP_QSTR_x25, MP_QSTR_x26, MP_QSTR_x27, MP_QSTR_x28, MP_QSTR_x29, MP_QSTR_x30, MP_QSTR_x31,
};

// ---------------------------------------------------------------------------------------------------------------
// Reading operands. What returns bool has set the error when it returns false.

// The operand that is being read, for messages.
typedef struct {
    qstr instruction;
    int number;
    operand_kind_t kind;
} place_t;

static bool fail(emit_inline_asm_t *emit, mp_rom_error_text_t format, ...) {
    va_list args;
    va_start(args, format);
    *emit->error_slot = mp_obj_new_exception_msg_vlist(&mp_type_SyntaxError, format, args);
    va_end(args);
    return false;
}

static bool fail_expecting(emit_inline_asm_t *emit, place_t place, const char *what) {
    return fail(emit, MP_ERROR_TEXT("opcode '%q' argument %d: expecting %s"), place.instruction, place.number, what);
}

static bool fail_range(emit_inline_asm_t *emit, place_t place) {
    const operand_t *operand = &operands[place.kind];
    const char *but = operand->not_zero ? ", not 0" : "";
    if (operand->step > 1) {
        return fail(emit, MP_ERROR_TEXT("opcode '%q' argument %d: expecting a multiple of %d from %d to %d%s"),
            place.instruction, place.number, operand->step, (int)operand->lowest, (int)operand->highest, but);
    }
    return fail(emit, MP_ERROR_TEXT("opcode '%q' argument %d: expecting %d to %d%s"),
        place.instruction, place.number, (int)operand->lowest, (int)operand->highest, but);
}

static bool read_register(emit_inline_asm_t *emit, place_t place, mp_parse_node_t node, unsigned *reg) {
    uint32_t allowed = operands[place.kind].registers;
    if (MP_PARSE_NODE_IS_ID(node)) {
        for (size_t i = 0; i < MP_ARRAY_SIZE(register_names); ++i) {
            if (register_names[i] == MP_PARSE_NODE_LEAF_ARG(node) && (allowed >> (i & 31) & 1)) {
                *reg = i & 31;
                return true;
            }
        }
    }
    return fail_expecting(emit, place, allowed == ANY_REGISTER ? "a register"
        : allowed == NOT_ZERO ? "a register other than zero"
        : allowed == SHORT ? "a register of s0, s1, a0 to a5"
        : "a register other than zero and sp");
}

// The bits of a register that has passed the check.
static uint32_t register_bits(place_t place, unsigned reg) {
    const operand_t *operand = &operands[place.kind];
    return (operand->registers == SHORT ? reg - RV64_S0 : reg) << operand->at;
}

// An integer of up to 64 bits, signed or not, perhaps with a minus before it.
static bool read_integer(emit_inline_asm_t *emit, place_t place, mp_parse_node_t node, bool negative, int64_t *value) {
    mp_obj_t object;
    if (!mp_parse_node_get_int_maybe(node, &object)) {
        return fail_expecting(emit, place, "an integer");
    }
    if (negative) {
        object = mp_unary_op(MP_UNARY_OP_NEGATIVE, object);
    }
    uint64_t word = (uint64_t)mp_obj_int_get_truncated(object);
    if (mp_obj_equal(object, mp_obj_new_int_from_ll((int64_t)word))) {
        *value = (int64_t)word;
    } else if (place.kind == INT64 && mp_obj_equal(object, mp_obj_new_int_from_ull(word))) {
        *value = (int64_t)word;
    } else if (place.kind == INT64) {
        return fail_expecting(emit, place, "an integer of 64 bits");
    } else {
        return fail_range(emit, place);
    }
    return true;
}

static bool check_range(emit_inline_asm_t *emit, place_t place, int64_t value) {
    const operand_t *operand = &operands[place.kind];
    if (value < operand->lowest || value > operand->highest || value % operand->step != 0 || (operand->not_zero && value == 0)) {
        return fail_range(emit, place);
    }
    return true;
}

// The bits of a value that has passed the checks. Formats that a kind stands for add what all their opcodes share.
static uint32_t value_bits(operand_kind_t kind, int64_t value) {
    switch (kind) {
        case IMM:
        case LOAD:
            return rv64_format_i(0, 0, 0, 0, value);
        case STORE:
            return rv64_format_s(0, 0, 0, 0, value);
        case UPPER:
            return rv64_bits(value, 19, 0, 12);
        case BRANCH:
            return rv64_format_b(0, 0, 0, value);
        case JUMP:
            return rv64_format_j(0, value);
        case C_IMM:
        case C_IMM_NZ:
        case C_AMOUNT:
            return rv64_format_ci(0, 0, 0, value);
        case C_SP4:
            return rv64_c_addi4spn(RV64_S0, value);
        case C_SP16:
            return rv64_c_addi16sp(value);
        case C_LWSP:
            return rv64_c_lwsp(RV64_A0, value) & ~rv64_c_lwsp(RV64_A0, 0);
        case C_LDSP:
            return rv64_c_ldsp(RV64_A0, value) & ~rv64_c_ldsp(RV64_A0, 0);
        case C_SWSP:
            return rv64_c_swsp(0, value);
        case C_SDSP:
            return rv64_c_sdsp(0, value);
        case C_WORD:
            return rv64_format_cl_word(0, RV64_S0, RV64_S0, value);
        case C_DOUBLE:
            return rv64_format_cl_double(0, RV64_S0, RV64_S0, value);
        case C_BRANCH:
            return rv64_format_cb(0, RV64_S0, value);
        case C_JUMP:
            return rv64_c_j(value);
        default:
            return (uint32_t)value << operands[kind].at;
    }
}

// A name made of letters from iorw, each at most once.
static bool read_set(emit_inline_asm_t *emit, place_t place, mp_parse_node_t node, unsigned *set) {
    static const char letters[] = "wroi";
    if (MP_PARSE_NODE_IS_ID(node)) {
        *set = 0;
        const char *c = qstr_str(MP_PARSE_NODE_LEAF_ARG(node));
        for (; *c != 0; ++c) {
            const char *found = strchr(letters, *c);
            unsigned bit = found == NULL ? 0 : 1u << (found - letters);
            if (bit == 0 || (*set & bit)) {
                break;
            }
            *set |= bit;
        }
        if (*c == 0) {
            return true;
        }
    }
    return fail_expecting(emit, place, "a set of i, o, r, w");
}

// offset(register), which the parser takes for a call; the minus of a negative offset stands before the call.
static bool read_memory(emit_inline_asm_t *emit, place_t place, mp_parse_node_t node, uint32_t *code) {
    bool negative = false;
    if (MP_PARSE_NODE_IS_STRUCT_KIND(node, PN_factor_2)) {
        mp_parse_node_struct_t *factor = (mp_parse_node_struct_t *)node;
        negative = MP_PARSE_NODE_IS_TOKEN_KIND(factor->nodes[0], MP_TOKEN_OP_MINUS);
        if (negative || MP_PARSE_NODE_IS_TOKEN_KIND(factor->nodes[0], MP_TOKEN_OP_PLUS)) {
            node = factor->nodes[1];
        }
    }
    mp_parse_node_struct_t *call = (mp_parse_node_struct_t *)node;
    if (!MP_PARSE_NODE_IS_STRUCT_KIND(node, PN_atom_expr_normal)
        || !MP_PARSE_NODE_IS_STRUCT_KIND(call->nodes[1], PN_trailer_paren)) {
        return fail_expecting(emit, place, "offset(register)");
    }
    int64_t offset;
    unsigned base;
    mp_parse_node_struct_t *paren = (mp_parse_node_struct_t *)call->nodes[1];
    if (!read_integer(emit, place, call->nodes[0], negative, &offset)
        || !check_range(emit, place, offset)
        || !read_register(emit, place, paren->nodes[0], &base)) {
        return false;
    }
    *code |= value_bits(place.kind, offset) | register_bits(place, base);
    return true;
}

// How far away a label is. Only the last pass knows, so only that one complains.
static bool read_label(emit_inline_asm_t *emit, place_t place, mp_parse_node_t node, int64_t *distance) {
    if (!MP_PARSE_NODE_IS_ID(node)) {
        return fail_expecting(emit, place, "a label");
    }
    *distance = 0;
    if (emit->pass != MP_PASS_EMIT) {
        return true;
    }
    qstr name = MP_PARSE_NODE_LEAF_ARG(node);
    size_t label = 0;
    while (label < emit->max_num_labels && emit->label_names[label] != name) {
        ++label;
    }
    if (label == emit->max_num_labels) {
        return fail(emit, MP_ERROR_TEXT("opcode '%q' argument %d: undefined label '%q'"), place.instruction, place.number, name);
    }
    *distance = (int64_t)emit->as.base.label_offsets[label] - (int64_t)emit->as.base.code_offset;
    const operand_t *operand = &operands[place.kind];
    if (place.kind != ADDRESS && *distance % 2 != 0) {
        return fail(emit, MP_ERROR_TEXT("opcode '%q' argument %d: label '%q' is at an odd address"), place.instruction, place.number, name);
    }
    if (*distance < operand->lowest || *distance > operand->highest) {
        return fail(emit, MP_ERROR_TEXT("opcode '%q' argument %d: label '%q' is %d bytes away, expecting %d to %d"),
            place.instruction, place.number, name, (int)*distance, (int)operand->lowest, (int)operand->highest);
    }
    return true;
}

// Adds an operand's bits to the code. li and la have the number itself instead.
static bool read_operand(emit_inline_asm_t *emit, place_t place, mp_parse_node_t node, uint32_t *code, int64_t *number) {
    unsigned reg = 0, set = 0;
    switch (operands[place.kind].type) {
        case TYPE_REGISTER:
            if (!read_register(emit, place, node, &reg)) {
                return false;
            }
            *code |= register_bits(place, reg);
            return true;
        case TYPE_SET:
            if (!read_set(emit, place, node, &set)) {
                return false;
            }
            *code |= value_bits(place.kind, set);
            return true;
        case TYPE_MEMORY:
            return read_memory(emit, place, node, code);
        case TYPE_LABEL:
            if (!read_label(emit, place, node, number)) {
                return false;
            }
            break;
        default:
            if (!read_integer(emit, place, node, false, number)
                || (place.kind != INT64 && !check_range(emit, place, *number))) {
                return false;
            }
            break;
    }
    if (place.kind != INT64 && place.kind != ADDRESS) {
        *code |= value_bits(place.kind, *number);
    }
    return true;
}

// ---------------------------------------------------------------------------------------------------------------
// Instructions.

static const instruction_t *find_exactly(qstr name) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(instructions); ++i) {
        if (instructions[i].name == name) {
            return &instructions[i];
        }
    }
    return NULL;
}

// Also finds ordered ones, whose aq and rl bits are added to *code.
static const instruction_t *find_instruction(qstr name, uint32_t *code) {
    static const struct { char suffix[6]; uint8_t length, order; } orders[] = {
        { "_rl", 3, 1 }, { "_aq", 3, 2 }, { "_aqrl", 5, 3 },
    };
    const instruction_t *found = find_exactly(name);
    size_t length;
    const char *text = (const char *)qstr_data(name, &length);
    for (size_t i = 0; found == NULL && i < MP_ARRAY_SIZE(orders); ++i) {
        size_t n = orders[i].length;
        if (length > n && memcmp(text + length - n, orders[i].suffix, n) == 0) {
            found = find_exactly(qstr_find_strn(text, length - n));
            if (found != NULL && !(found->flags & ORDERED)) {
                return NULL;
            }
            *code |= (uint32_t)orders[i].order << 25;
        }
    }
    return found;
}

static size_t count_operands(const instruction_t *instruction) {
    size_t n = 0;
    while (n < 3 && instruction->operands[n] != NONE) {
        ++n;
    }
    return n;
}

static void write_code(emit_inline_asm_t *emit, uint32_t code) {
    mp_asm_base_data(&emit->as.base, (code & 3) == 3 ? 4 : 2, code);
}

// auipc rd, upper
// addi  rd, rd, lower
static void write_address(emit_inline_asm_t *emit, unsigned rd, int64_t distance) {
    int64_t upper = (distance + 0x800) >> 12;
    write_code(emit, rv64_auipc(rd, upper));
    write_code(emit, rv64_addi(rd, rd, distance - upper * 4096));
}

static void emit_inline_rv64_op(emit_inline_asm_t *emit, qstr name, mp_uint_t num_args, mp_parse_node_t *args) {
    uint32_t code = 0;
    const instruction_t *instruction = find_instruction(name, &code);
    if (instruction == NULL) {
        fail(emit, MP_ERROR_TEXT("invalid RV64 instruction '%q'"), name);
        return;
    }
    unsigned missing = instruction->flags & (ZBA | ZBB) & ~asm_rv64_allowed_extensions();
    if (missing != 0) {
        fail(emit, MP_ERROR_TEXT("opcode '%q' needs %s"), name, asm_rv64_extension_name(missing));
        return;
    }
    while (count_operands(instruction) != num_args) {
        if (instruction + 1 == instructions + MP_ARRAY_SIZE(instructions) || instruction[1].name != instruction->name) {
            fail(emit, MP_ERROR_TEXT("opcode '%q': expecting %d arguments"), name, (int)count_operands(instruction));
            return;
        }
        ++instruction;
    }
    if (emit->as.base.code_offset & 1) {
        fail(emit, MP_ERROR_TEXT("opcode '%q' at an odd address"), name);
        return;
    }
    code |= instruction->opcode;
    int64_t number = 0;
    for (size_t i = 0; i < num_args; ++i) {
        place_t place = { name, (int)i + 1, instruction->operands[i] };
        if (!read_operand(emit, place, args[i], &code, &number)) {
            return;
        }
    }
    if (instruction->operands[1] == INT64) {
        asm_rv64_li(&emit->as, code >> 7, number);
    } else if (instruction->operands[1] == ADDRESS) {
        write_address(emit, code >> 7, number);
    } else {
        write_code(emit, code);
    }
}

// ---------------------------------------------------------------------------------------------------------------
// What py/compile.c calls.

emit_inline_asm_t *emit_inline_rv64_new(mp_uint_t max_num_labels) {
    emit_inline_asm_t *emit = m_new0(emit_inline_asm_t, 1);
    mp_asm_base_init(&emit->as.base, max_num_labels);
    emit->max_num_labels = max_num_labels;
    emit->label_names = m_new(qstr, max_num_labels);
    return emit;
}

// Code that was being written when an error came is of no use to anybody.
void emit_inline_rv64_free(emit_inline_asm_t *emit) {
    bool failed = emit->pass == MP_PASS_EMIT && *emit->error_slot != MP_OBJ_NULL;
    m_del(qstr, emit->label_names, emit->max_num_labels);
    mp_asm_base_deinit(&emit->as.base, failed);
    m_del_obj(emit_inline_asm_t, emit);
}

static void emit_inline_rv64_start_pass(emit_inline_asm_t *emit, pass_kind_t pass, mp_obj_t *error_slot) {
    emit->pass = pass;
    emit->error_slot = error_slot;
    bool writing = pass == MP_PASS_EMIT;
    mp_asm_base_start_pass(&emit->as.base, writing ? MP_ASM_PASS_EMIT : MP_ASM_PASS_COMPUTE);
    emit->as.round = writing ? 2 : 1; // the assembler's passes that choose and write short forms
    if (writing) {
        // What align() skips can be run through.
        for (size_t i = 0; i + 2 <= emit->as.base.code_size; i += 2) {
            emit->as.base.code_base[i] = (uint8_t)rv64_c_nop();
            emit->as.base.code_base[i + 1] = (uint8_t)(rv64_c_nop() >> 8);
        }
    } else {
        memset(emit->label_names, 0, emit->max_num_labels * sizeof(qstr));
    }
}

static void emit_inline_rv64_end_pass(emit_inline_asm_t *emit, mp_uint_t type_sig) {
    (void)type_sig;
    mp_asm_base_align(&emit->as.base, 2); // behind data of odd length
    write_code(emit, rv64_c_jr(RV64_RA));
}

static mp_uint_t emit_inline_rv64_count_params(emit_inline_asm_t *emit, mp_uint_t num_params, mp_parse_node_t *params) {
    if (num_params > 4) {
        fail(emit, MP_ERROR_TEXT("can only have up to 4 parameters for RV64 assembly"));
        return 0;
    }
    for (size_t i = 0; i < num_params; ++i) {
        if (!MP_PARSE_NODE_IS_ID(params[i]) || MP_PARSE_NODE_LEAF_ARG(params[i]) != register_names[RV64_A0 + i]) {
            fail(emit, MP_ERROR_TEXT("parameters must be registers in sequence a0 to a3"));
            return 0;
        }
    }
    return num_params;
}

// False: there is a label of this name already.
static bool emit_inline_rv64_label(emit_inline_asm_t *emit, mp_uint_t label, qstr name) {
    if (emit->pass == MP_PASS_CODE_SIZE) {
        for (size_t i = 0; i < label; ++i) {
            if (emit->label_names[i] == name) {
                return false;
            }
        }
        emit->label_names[label] = name;
    }
    mp_asm_base_label_assign(&emit->as.base, label);
    return true;
}

const emit_inline_asm_method_table_t emit_inline_rv64_method_table = {
    #if MICROPY_DYNAMIC_COMPILER
    emit_inline_rv64_new,
    emit_inline_rv64_free,
    #endif
    emit_inline_rv64_start_pass,
    emit_inline_rv64_end_pass,
    emit_inline_rv64_count_params,
    emit_inline_rv64_label,
    emit_inline_rv64_op,
};

#endif // MICROPY_EMIT_INLINE_RV64
