// SPDX-License-Identifier: MIT
// RV64 assembler: one encoder per instruction, and the operations that py/emitnative.c asks of a machine.
#ifndef MICROPY_INCLUDED_PY_ASMRV64_H
#define MICROPY_INCLUDED_PY_ASMRV64_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "py/asmbase.h"

// Integer registers, by their ABI names.
enum {
    RV64_ZERO, RV64_RA, RV64_SP, RV64_GP, RV64_TP, RV64_T0, RV64_T1, RV64_T2,
    RV64_S0, RV64_S1, RV64_A0, RV64_A1, RV64_A2, RV64_A3, RV64_A4, RV64_A5,
    RV64_A6, RV64_A7, RV64_S2, RV64_S3, RV64_S4, RV64_S5, RV64_S6, RV64_S7,
    RV64_S8, RV64_S9, RV64_S10, RV64_S11, RV64_T3, RV64_T4, RV64_T5, RV64_T6,
};

// Whether a value fits a signed or an unsigned field of n bits.
static inline bool rv64_fits(int64_t value, unsigned n) {
    int64_t half = (int64_t)1 << (n - 1);
    return -half <= value && value < half;
}

static inline bool rv64_fits_u(int64_t value, unsigned n) {
    return value >= 0 && value < ((int64_t)1 << n);
}

// Whether a register has a 3-bit name in compressed instructions (x8 to x15).
static inline bool rv64_is_c_reg(unsigned reg) {
    return reg >= RV64_S0 && reg <= RV64_A5;
}

// ---------------------------------------------------------------------------------------------------------------
// Instruction formats. Each asserts that its fields hold what they are given.

// Bits [hi:lo] of value, moved to bit `at`.
static inline uint32_t rv64_bits(int64_t value, unsigned hi, unsigned lo, unsigned at) {
    return (uint32_t)(((uint64_t)value >> lo) & (((uint64_t)1 << (hi - lo + 1)) - 1)) << at;
}

static inline uint32_t rv64_format_r(unsigned funct7, unsigned funct3, unsigned opcode, unsigned rd, unsigned rs1, unsigned rs2) {
    assert(rd < 32 && rs1 < 32 && rs2 < 32);
    return (uint32_t)funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode;
}

static inline uint32_t rv64_format_i(unsigned funct3, unsigned opcode, unsigned rd, unsigned rs1, int64_t imm) {
    assert(rd < 32 && rs1 < 32 && rv64_fits(imm, 12));
    return rv64_bits(imm, 11, 0, 20) | rs1 << 15 | funct3 << 12 | rd << 7 | opcode;
}

static inline uint32_t rv64_format_shift(unsigned funct6, unsigned funct3, unsigned opcode, unsigned rd, unsigned rs1, unsigned amount) {
    assert(rd < 32 && rs1 < 32 && amount < 64);
    return (uint32_t)funct6 << 26 | amount << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode;
}

static inline uint32_t rv64_format_s(unsigned funct3, unsigned opcode, unsigned rs2, unsigned rs1, int64_t imm) {
    assert(rs1 < 32 && rs2 < 32 && rv64_fits(imm, 12));
    return rv64_bits(imm, 11, 5, 25) | rs2 << 20 | rs1 << 15 | funct3 << 12 | rv64_bits(imm, 4, 0, 7) | opcode;
}

static inline uint32_t rv64_format_b(unsigned funct3, unsigned rs1, unsigned rs2, int64_t offset) {
    assert(rs1 < 32 && rs2 < 32 && rv64_fits(offset, 13) && (offset & 1) == 0);
    return rv64_bits(offset, 12, 12, 31) | rv64_bits(offset, 10, 5, 25) | rs2 << 20 | rs1 << 15 | funct3 << 12
           | rv64_bits(offset, 4, 1, 8) | rv64_bits(offset, 11, 11, 7) | 0x63;
}

// imm is the value of the upper 20 bits, sign-extended: what the register gets, divided by 4096.
static inline uint32_t rv64_format_u(unsigned opcode, unsigned rd, int64_t imm) {
    assert(rd < 32 && rv64_fits(imm, 20));
    return rv64_bits(imm, 19, 0, 12) | rd << 7 | opcode;
}

static inline uint32_t rv64_format_j(unsigned rd, int64_t offset) {
    assert(rd < 32 && rv64_fits(offset, 21) && (offset & 1) == 0);
    return rv64_bits(offset, 20, 20, 31) | rv64_bits(offset, 10, 1, 21) | rv64_bits(offset, 11, 11, 20)
           | rv64_bits(offset, 19, 12, 12) | rd << 7 | 0x6f;
}

static inline uint32_t rv64_format_amo(unsigned funct5, unsigned funct3, unsigned rd, unsigned rs2, unsigned rs1, unsigned order) {
    assert(order < 4);
    return rv64_format_r(funct5 << 2 | order, funct3, 0x2f, rd, rs1, rs2);
}

// source is a register or an immediate of 5 bits.
static inline uint32_t rv64_format_csr(unsigned funct3, unsigned rd, unsigned csr, unsigned source) {
    assert(rd < 32 && csr < 4096 && source < 32);
    return (uint32_t)csr << 20 | source << 15 | funct3 << 12 | rd << 7 | 0x73;
}

static inline uint16_t rv64_format_cr(unsigned funct4, unsigned rd, unsigned rs2) {
    assert(rd < 32 && rs2 < 32);
    return (uint16_t)(funct4 << 12 | rd << 7 | rs2 << 2 | 2);
}

static inline uint16_t rv64_format_ci(unsigned funct3, unsigned op, unsigned rd, int64_t imm) {
    assert(rd < 32);
    return (uint16_t)(funct3 << 13 | rv64_bits(imm, 5, 5, 12) | rd << 7 | rv64_bits(imm, 4, 0, 2) | op);
}

// The CB format with a 6-bit immediate: c.srli, c.srai, c.andi.
static inline uint16_t rv64_format_cb_imm(unsigned funct2, unsigned rd, int64_t imm) {
    assert(rv64_is_c_reg(rd));
    return (uint16_t)(4 << 13 | rv64_bits(imm, 5, 5, 12) | funct2 << 10 | (rd - 8) << 7 | rv64_bits(imm, 4, 0, 2) | 1);
}

static inline uint16_t rv64_format_cb(unsigned funct3, unsigned rs1, int64_t offset) {
    assert(rv64_is_c_reg(rs1) && rv64_fits(offset, 9) && (offset & 1) == 0);
    return (uint16_t)(funct3 << 13 | rv64_bits(offset, 8, 8, 12) | rv64_bits(offset, 4, 3, 10) | (rs1 - 8) << 7
        | rv64_bits(offset, 7, 6, 5) | rv64_bits(offset, 2, 1, 3) | rv64_bits(offset, 5, 5, 2) | 1);
}

// bit12 selects the word forms, c.subw and c.addw.
static inline uint16_t rv64_format_ca(unsigned bit12, unsigned funct2, unsigned rd, unsigned rs2) {
    assert(rv64_is_c_reg(rd) && rv64_is_c_reg(rs2));
    return (uint16_t)(4 << 13 | bit12 << 12 | 3 << 10 | (rd - 8) << 7 | funct2 << 5 | (rs2 - 8) << 2 | 1);
}

// c.lw and c.sw: offset is a multiple of 4 below 128.
static inline uint16_t rv64_format_cl_word(unsigned funct3, unsigned reg, unsigned base, int64_t offset) {
    assert(rv64_is_c_reg(reg) && rv64_is_c_reg(base) && rv64_fits_u(offset, 7) && (offset & 3) == 0);
    return (uint16_t)(funct3 << 13 | rv64_bits(offset, 5, 3, 10) | (base - 8) << 7 | rv64_bits(offset, 2, 2, 6)
        | rv64_bits(offset, 6, 6, 5) | (reg - 8) << 2);
}

// c.ld and c.sd: offset is a multiple of 8 below 256.
static inline uint16_t rv64_format_cl_double(unsigned funct3, unsigned reg, unsigned base, int64_t offset) {
    assert(rv64_is_c_reg(reg) && rv64_is_c_reg(base) && rv64_fits_u(offset, 8) && (offset & 7) == 0);
    return (uint16_t)(funct3 << 13 | rv64_bits(offset, 5, 3, 10) | (base - 8) << 7 | rv64_bits(offset, 7, 6, 5) | (reg - 8) << 2);
}

// ---------------------------------------------------------------------------------------------------------------
// Encoders, alphabetically within their extension. A dot in a pattern is a bit of a register or an immediate.

// 0000000 ..... ..... 000 ..... 0110011
static inline uint32_t rv64_add(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 0, 0x33, rd, rs1, rs2); }
// ............ ..... 000 ..... 0010011
static inline uint32_t rv64_addi(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(0, 0x13, rd, rs1, imm); }
// ............ ..... 000 ..... 0011011
static inline uint32_t rv64_addiw(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(0, 0x1b, rd, rs1, imm); }
// 0000000 ..... ..... 000 ..... 0111011
static inline uint32_t rv64_addw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 0, 0x3b, rd, rs1, rs2); }
// 0000000 ..... ..... 111 ..... 0110011
static inline uint32_t rv64_and(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 7, 0x33, rd, rs1, rs2); }
// ............ ..... 111 ..... 0010011
static inline uint32_t rv64_andi(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(7, 0x13, rd, rs1, imm); }
// .................... ..... 0010111
static inline uint32_t rv64_auipc(unsigned rd, int64_t imm) { return rv64_format_u(0x17, rd, imm); }
// ....... ..... ..... 000 ..... 1100011
static inline uint32_t rv64_beq(unsigned rs1, unsigned rs2, int64_t offset) { return rv64_format_b(0, rs1, rs2, offset); }
// ....... ..... ..... 101 ..... 1100011
static inline uint32_t rv64_bge(unsigned rs1, unsigned rs2, int64_t offset) { return rv64_format_b(5, rs1, rs2, offset); }
// ....... ..... ..... 111 ..... 1100011
static inline uint32_t rv64_bgeu(unsigned rs1, unsigned rs2, int64_t offset) { return rv64_format_b(7, rs1, rs2, offset); }
// ....... ..... ..... 100 ..... 1100011
static inline uint32_t rv64_blt(unsigned rs1, unsigned rs2, int64_t offset) { return rv64_format_b(4, rs1, rs2, offset); }
// ....... ..... ..... 110 ..... 1100011
static inline uint32_t rv64_bltu(unsigned rs1, unsigned rs2, int64_t offset) { return rv64_format_b(6, rs1, rs2, offset); }
// ....... ..... ..... 001 ..... 1100011
static inline uint32_t rv64_bne(unsigned rs1, unsigned rs2, int64_t offset) { return rv64_format_b(1, rs1, rs2, offset); }
// 00000000000100000000000001110011
static inline uint32_t rv64_ebreak(void) { return 0x00100073; }
// 00000000000000000000000001110011
static inline uint32_t rv64_ecall(void) { return 0x00000073; }
// 0000 .... .... 00000 000 00000 0001111, where pred and succ are sets of i (8), o (4), r (2), w (1)
static inline uint32_t rv64_fence(unsigned pred, unsigned succ) { assert(pred < 16 && succ < 16); return (uint32_t)pred << 24 | succ << 20 | 0x0f; }
// 000000000000 00000 001 00000 0001111
static inline uint32_t rv64_fence_i(void) { return 0x0000100f; }
// ............ ........ ..... 1101111
static inline uint32_t rv64_jal(unsigned rd, int64_t offset) { return rv64_format_j(rd, offset); }
// ............ ..... 000 ..... 1100111
static inline uint32_t rv64_jalr(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(0, 0x67, rd, rs1, imm); }
// ............ ..... 000 ..... 0000011
static inline uint32_t rv64_lb(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(0, 0x03, rd, rs1, imm); }
// ............ ..... 100 ..... 0000011
static inline uint32_t rv64_lbu(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(4, 0x03, rd, rs1, imm); }
// ............ ..... 011 ..... 0000011
static inline uint32_t rv64_ld(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(3, 0x03, rd, rs1, imm); }
// ............ ..... 001 ..... 0000011
static inline uint32_t rv64_lh(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(1, 0x03, rd, rs1, imm); }
// ............ ..... 101 ..... 0000011
static inline uint32_t rv64_lhu(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(5, 0x03, rd, rs1, imm); }
// .................... ..... 0110111
static inline uint32_t rv64_lui(unsigned rd, int64_t imm) { return rv64_format_u(0x37, rd, imm); }
// ............ ..... 010 ..... 0000011
static inline uint32_t rv64_lw(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(2, 0x03, rd, rs1, imm); }
// ............ ..... 110 ..... 0000011
static inline uint32_t rv64_lwu(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(6, 0x03, rd, rs1, imm); }
// 0000000 ..... ..... 110 ..... 0110011
static inline uint32_t rv64_or(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 6, 0x33, rd, rs1, rs2); }
// ............ ..... 110 ..... 0010011
static inline uint32_t rv64_ori(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(6, 0x13, rd, rs1, imm); }
// ....... ..... ..... 000 ..... 0100011
static inline uint32_t rv64_sb(unsigned rs2, unsigned rs1, int64_t imm) { return rv64_format_s(0, 0x23, rs2, rs1, imm); }
// ....... ..... ..... 011 ..... 0100011
static inline uint32_t rv64_sd(unsigned rs2, unsigned rs1, int64_t imm) { return rv64_format_s(3, 0x23, rs2, rs1, imm); }
// ....... ..... ..... 001 ..... 0100011
static inline uint32_t rv64_sh(unsigned rs2, unsigned rs1, int64_t imm) { return rv64_format_s(1, 0x23, rs2, rs1, imm); }
// 0000000 ..... ..... 001 ..... 0110011
static inline uint32_t rv64_sll(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 1, 0x33, rd, rs1, rs2); }
// 000000 ...... ..... 001 ..... 0010011
static inline uint32_t rv64_slli(unsigned rd, unsigned rs1, unsigned amount) { return rv64_format_shift(0x00, 1, 0x13, rd, rs1, amount); }
// 0000000 ..... ..... 001 ..... 0011011
static inline uint32_t rv64_slliw(unsigned rd, unsigned rs1, unsigned amount) { assert(amount < 32); return rv64_format_shift(0x00, 1, 0x1b, rd, rs1, amount); }
// 0000000 ..... ..... 001 ..... 0111011
static inline uint32_t rv64_sllw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 1, 0x3b, rd, rs1, rs2); }
// 0000000 ..... ..... 010 ..... 0110011
static inline uint32_t rv64_slt(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 2, 0x33, rd, rs1, rs2); }
// ............ ..... 010 ..... 0010011
static inline uint32_t rv64_slti(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(2, 0x13, rd, rs1, imm); }
// ............ ..... 011 ..... 0010011
static inline uint32_t rv64_sltiu(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(3, 0x13, rd, rs1, imm); }
// 0000000 ..... ..... 011 ..... 0110011
static inline uint32_t rv64_sltu(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 3, 0x33, rd, rs1, rs2); }
// 0100000 ..... ..... 101 ..... 0110011
static inline uint32_t rv64_sra(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x20, 5, 0x33, rd, rs1, rs2); }
// 010000 ...... ..... 101 ..... 0010011
static inline uint32_t rv64_srai(unsigned rd, unsigned rs1, unsigned amount) { return rv64_format_shift(0x10, 5, 0x13, rd, rs1, amount); }
// 0100000 ..... ..... 101 ..... 0011011
static inline uint32_t rv64_sraiw(unsigned rd, unsigned rs1, unsigned amount) { assert(amount < 32); return rv64_format_shift(0x10, 5, 0x1b, rd, rs1, amount); }
// 0100000 ..... ..... 101 ..... 0111011
static inline uint32_t rv64_sraw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x20, 5, 0x3b, rd, rs1, rs2); }
// 0000000 ..... ..... 101 ..... 0110011
static inline uint32_t rv64_srl(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 5, 0x33, rd, rs1, rs2); }
// 000000 ...... ..... 101 ..... 0010011
static inline uint32_t rv64_srli(unsigned rd, unsigned rs1, unsigned amount) { return rv64_format_shift(0x00, 5, 0x13, rd, rs1, amount); }
// 0000000 ..... ..... 101 ..... 0011011
static inline uint32_t rv64_srliw(unsigned rd, unsigned rs1, unsigned amount) { assert(amount < 32); return rv64_format_shift(0x00, 5, 0x1b, rd, rs1, amount); }
// 0000000 ..... ..... 101 ..... 0111011
static inline uint32_t rv64_srlw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 5, 0x3b, rd, rs1, rs2); }
// 0100000 ..... ..... 000 ..... 0110011
static inline uint32_t rv64_sub(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x20, 0, 0x33, rd, rs1, rs2); }
// 0100000 ..... ..... 000 ..... 0111011
static inline uint32_t rv64_subw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x20, 0, 0x3b, rd, rs1, rs2); }
// ....... ..... ..... 010 ..... 0100011
static inline uint32_t rv64_sw(unsigned rs2, unsigned rs1, int64_t imm) { return rv64_format_s(2, 0x23, rs2, rs1, imm); }
// 00010000010100000000000001110011
static inline uint32_t rv64_wfi(void) { return 0x10500073; }
// 0000000 ..... ..... 100 ..... 0110011
static inline uint32_t rv64_xor(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x00, 4, 0x33, rd, rs1, rs2); }
// ............ ..... 100 ..... 0010011
static inline uint32_t rv64_xori(unsigned rd, unsigned rs1, int64_t imm) { return rv64_format_i(4, 0x13, rd, rs1, imm); }

// M
// 0000001 ..... ..... 100 ..... 0110011
static inline uint32_t rv64_div(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 4, 0x33, rd, rs1, rs2); }
// 0000001 ..... ..... 101 ..... 0110011
static inline uint32_t rv64_divu(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 5, 0x33, rd, rs1, rs2); }
// 0000001 ..... ..... 101 ..... 0111011
static inline uint32_t rv64_divuw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 5, 0x3b, rd, rs1, rs2); }
// 0000001 ..... ..... 100 ..... 0111011
static inline uint32_t rv64_divw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 4, 0x3b, rd, rs1, rs2); }
// 0000001 ..... ..... 000 ..... 0110011
static inline uint32_t rv64_mul(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 0, 0x33, rd, rs1, rs2); }
// 0000001 ..... ..... 001 ..... 0110011
static inline uint32_t rv64_mulh(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 1, 0x33, rd, rs1, rs2); }
// 0000001 ..... ..... 010 ..... 0110011
static inline uint32_t rv64_mulhsu(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 2, 0x33, rd, rs1, rs2); }
// 0000001 ..... ..... 011 ..... 0110011
static inline uint32_t rv64_mulhu(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 3, 0x33, rd, rs1, rs2); }
// 0000001 ..... ..... 000 ..... 0111011
static inline uint32_t rv64_mulw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 0, 0x3b, rd, rs1, rs2); }
// 0000001 ..... ..... 110 ..... 0110011
static inline uint32_t rv64_rem(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 6, 0x33, rd, rs1, rs2); }
// 0000001 ..... ..... 111 ..... 0110011
static inline uint32_t rv64_remu(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 7, 0x33, rd, rs1, rs2); }
// 0000001 ..... ..... 111 ..... 0111011
static inline uint32_t rv64_remuw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 7, 0x3b, rd, rs1, rs2); }
// 0000001 ..... ..... 110 ..... 0111011
static inline uint32_t rv64_remw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x01, 6, 0x3b, rd, rs1, rs2); }

// A. order is 2 for .aq, 1 for .rl, 3 for .aqrl
// 00000 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_amoadd_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(0, 3, rd, rs2, rs1, order); }
// 00000 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_amoadd_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(0, 2, rd, rs2, rs1, order); }
// 01100 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_amoand_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(12, 3, rd, rs2, rs1, order); }
// 01100 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_amoand_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(12, 2, rd, rs2, rs1, order); }
// 10100 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_amomax_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(20, 3, rd, rs2, rs1, order); }
// 10100 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_amomax_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(20, 2, rd, rs2, rs1, order); }
// 11100 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_amomaxu_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(28, 3, rd, rs2, rs1, order); }
// 11100 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_amomaxu_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(28, 2, rd, rs2, rs1, order); }
// 10000 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_amomin_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(16, 3, rd, rs2, rs1, order); }
// 10000 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_amomin_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(16, 2, rd, rs2, rs1, order); }
// 11000 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_amominu_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(24, 3, rd, rs2, rs1, order); }
// 11000 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_amominu_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(24, 2, rd, rs2, rs1, order); }
// 01000 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_amoor_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(8, 3, rd, rs2, rs1, order); }
// 01000 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_amoor_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(8, 2, rd, rs2, rs1, order); }
// 00001 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_amoswap_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(1, 3, rd, rs2, rs1, order); }
// 00001 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_amoswap_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(1, 2, rd, rs2, rs1, order); }
// 00100 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_amoxor_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(4, 3, rd, rs2, rs1, order); }
// 00100 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_amoxor_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(4, 2, rd, rs2, rs1, order); }
// 00010 .. 00000 ..... 011 ..... 0101111
static inline uint32_t rv64_lr_d(unsigned rd, unsigned rs1, unsigned order) { return rv64_format_amo(2, 3, rd, 0, rs1, order); }
// 00010 .. 00000 ..... 010 ..... 0101111
static inline uint32_t rv64_lr_w(unsigned rd, unsigned rs1, unsigned order) { return rv64_format_amo(2, 2, rd, 0, rs1, order); }
// 00011 .. ..... ..... 011 ..... 0101111
static inline uint32_t rv64_sc_d(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(3, 3, rd, rs2, rs1, order); }
// 00011 .. ..... ..... 010 ..... 0101111
static inline uint32_t rv64_sc_w(unsigned rd, unsigned rs2, unsigned rs1, unsigned order) { return rv64_format_amo(3, 2, rd, rs2, rs1, order); }

// C. Registers that have only a 3-bit name here are given by their full number, 8 to 15.
// 1001 ..... ..... 10, neither register is zero
static inline uint16_t rv64_c_add(unsigned rd, unsigned rs2) { assert(rd != 0 && rs2 != 0); return rv64_format_cr(9, rd, rs2); }
// 000 . ..... ..... 01, rd and imm are not zero
static inline uint16_t rv64_c_addi(unsigned rd, int64_t imm) { assert(rd != 0 && imm != 0 && rv64_fits(imm, 6)); return rv64_format_ci(0, 1, rd, imm); }
// 011 . 00010 ..... 01, imm is a multiple of 16 and not zero
static inline uint16_t rv64_c_addi16sp(int64_t imm) {
    assert(imm != 0 && rv64_fits(imm, 10) && (imm & 15) == 0);
    return (uint16_t)(3 << 13 | rv64_bits(imm, 9, 9, 12) | RV64_SP << 7 | rv64_bits(imm, 4, 4, 6) | rv64_bits(imm, 6, 6, 5)
        | rv64_bits(imm, 8, 7, 3) | rv64_bits(imm, 5, 5, 2) | 1);
}
// 000 ........ ... 00, imm is a multiple of 4 and not zero
static inline uint16_t rv64_c_addi4spn(unsigned rd, int64_t imm) {
    assert(rv64_is_c_reg(rd) && imm != 0 && rv64_fits_u(imm, 10) && (imm & 3) == 0);
    return (uint16_t)(rv64_bits(imm, 5, 4, 11) | rv64_bits(imm, 9, 6, 7) | rv64_bits(imm, 2, 2, 6) | rv64_bits(imm, 3, 3, 5) | (rd - 8) << 2);
}
// 001 . ..... ..... 01, rd is not zero
static inline uint16_t rv64_c_addiw(unsigned rd, int64_t imm) { assert(rd != 0 && rv64_fits(imm, 6)); return rv64_format_ci(1, 1, rd, imm); }
// 100111 ... 01 ... 01
static inline uint16_t rv64_c_addw(unsigned rd, unsigned rs2) { return rv64_format_ca(1, 1, rd, rs2); }
// 100011 ... 11 ... 01
static inline uint16_t rv64_c_and(unsigned rd, unsigned rs2) { return rv64_format_ca(0, 3, rd, rs2); }
// 100 . 10 ... ..... 01
static inline uint16_t rv64_c_andi(unsigned rd, int64_t imm) { assert(rv64_fits(imm, 6)); return rv64_format_cb_imm(2, rd, imm); }
// 110 ... ... ..... 01
static inline uint16_t rv64_c_beqz(unsigned rs1, int64_t offset) { return rv64_format_cb(6, rs1, offset); }
// 111 ... ... ..... 01
static inline uint16_t rv64_c_bnez(unsigned rs1, int64_t offset) { return rv64_format_cb(7, rs1, offset); }
// 1001000000000010
static inline uint16_t rv64_c_ebreak(void) { return 0x9002; }
// 101 ........... 01
static inline uint16_t rv64_c_j(int64_t offset) {
    assert(rv64_fits(offset, 12) && (offset & 1) == 0);
    return (uint16_t)(5 << 13 | rv64_bits(offset, 11, 11, 12) | rv64_bits(offset, 4, 4, 11) | rv64_bits(offset, 9, 8, 9)
        | rv64_bits(offset, 10, 10, 8) | rv64_bits(offset, 6, 6, 7) | rv64_bits(offset, 7, 7, 6)
        | rv64_bits(offset, 3, 1, 3) | rv64_bits(offset, 5, 5, 2) | 1);
}
// 1001 ..... 00000 10, rs1 is not zero
static inline uint16_t rv64_c_jalr(unsigned rs1) { assert(rs1 != 0); return rv64_format_cr(9, rs1, 0); }
// 1000 ..... 00000 10, rs1 is not zero
static inline uint16_t rv64_c_jr(unsigned rs1) { assert(rs1 != 0); return rv64_format_cr(8, rs1, 0); }
// 011 ... ... .. ... 00
static inline uint16_t rv64_c_ld(unsigned rd, unsigned rs1, int64_t offset) { return rv64_format_cl_double(3, rd, rs1, offset); }
// 011 . ..... ..... 10, rd is not zero
static inline uint16_t rv64_c_ldsp(unsigned rd, int64_t offset) {
    assert(rd != 0 && rd < 32 && rv64_fits_u(offset, 9) && (offset & 7) == 0);
    return (uint16_t)(3 << 13 | rv64_bits(offset, 5, 5, 12) | rd << 7 | rv64_bits(offset, 4, 3, 5) | rv64_bits(offset, 8, 6, 2) | 2);
}
// 010 . ..... ..... 01, rd is not zero
static inline uint16_t rv64_c_li(unsigned rd, int64_t imm) { assert(rd != 0 && rv64_fits(imm, 6)); return rv64_format_ci(2, 1, rd, imm); }
// 011 . ..... ..... 01, rd is neither zero nor sp, imm is not zero and counts 4096s
static inline uint16_t rv64_c_lui(unsigned rd, int64_t imm) { assert(rd != 0 && rd != RV64_SP && imm != 0 && rv64_fits(imm, 6)); return rv64_format_ci(3, 1, rd, imm); }
// 010 ... ... .. ... 00
static inline uint16_t rv64_c_lw(unsigned rd, unsigned rs1, int64_t offset) { return rv64_format_cl_word(2, rd, rs1, offset); }
// 010 . ..... ..... 10, rd is not zero
static inline uint16_t rv64_c_lwsp(unsigned rd, int64_t offset) {
    assert(rd != 0 && rd < 32 && rv64_fits_u(offset, 8) && (offset & 3) == 0);
    return (uint16_t)(2 << 13 | rv64_bits(offset, 5, 5, 12) | rd << 7 | rv64_bits(offset, 4, 2, 4) | rv64_bits(offset, 7, 6, 2) | 2);
}
// 1000 ..... ..... 10, neither register is zero
static inline uint16_t rv64_c_mv(unsigned rd, unsigned rs2) { assert(rd != 0 && rs2 != 0); return rv64_format_cr(8, rd, rs2); }
// 0000000000000001
static inline uint16_t rv64_c_nop(void) { return 0x0001; }
// 100011 ... 10 ... 01
static inline uint16_t rv64_c_or(unsigned rd, unsigned rs2) { return rv64_format_ca(0, 2, rd, rs2); }
// 111 ... ... .. ... 00
static inline uint16_t rv64_c_sd(unsigned rs2, unsigned rs1, int64_t offset) { return rv64_format_cl_double(7, rs2, rs1, offset); }
// 111 ...... ..... 10
static inline uint16_t rv64_c_sdsp(unsigned rs2, int64_t offset) {
    assert(rs2 < 32 && rv64_fits_u(offset, 9) && (offset & 7) == 0);
    return (uint16_t)(7 << 13 | rv64_bits(offset, 5, 3, 10) | rv64_bits(offset, 8, 6, 7) | rs2 << 2 | 2);
}
// 000 . ..... ..... 10, rd and amount are not zero
static inline uint16_t rv64_c_slli(unsigned rd, unsigned amount) { assert(rd != 0 && amount != 0 && amount < 64); return rv64_format_ci(0, 2, rd, amount); }
// 100 . 01 ... ..... 01, amount is not zero
static inline uint16_t rv64_c_srai(unsigned rd, unsigned amount) { assert(amount != 0 && amount < 64); return rv64_format_cb_imm(1, rd, amount); }
// 100 . 00 ... ..... 01, amount is not zero
static inline uint16_t rv64_c_srli(unsigned rd, unsigned amount) { assert(amount != 0 && amount < 64); return rv64_format_cb_imm(0, rd, amount); }
// 100011 ... 00 ... 01
static inline uint16_t rv64_c_sub(unsigned rd, unsigned rs2) { return rv64_format_ca(0, 0, rd, rs2); }
// 100111 ... 00 ... 01
static inline uint16_t rv64_c_subw(unsigned rd, unsigned rs2) { return rv64_format_ca(1, 0, rd, rs2); }
// 110 ... ... .. ... 00
static inline uint16_t rv64_c_sw(unsigned rs2, unsigned rs1, int64_t offset) { return rv64_format_cl_word(6, rs2, rs1, offset); }
// 110 ...... ..... 10
static inline uint16_t rv64_c_swsp(unsigned rs2, int64_t offset) {
    assert(rs2 < 32 && rv64_fits_u(offset, 8) && (offset & 3) == 0);
    return (uint16_t)(6 << 13 | rv64_bits(offset, 5, 2, 9) | rv64_bits(offset, 7, 6, 7) | rs2 << 2 | 2);
}
// 100011 ... 01 ... 01
static inline uint16_t rv64_c_xor(unsigned rd, unsigned rs2) { return rv64_format_ca(0, 1, rd, rs2); }

// Zba
// 0000100 ..... ..... 000 ..... 0111011
static inline uint32_t rv64_add_uw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x04, 0, 0x3b, rd, rs1, rs2); }
// 0010000 ..... ..... 010 ..... 0110011
static inline uint32_t rv64_sh1add(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x10, 2, 0x33, rd, rs1, rs2); }
// 0010000 ..... ..... 010 ..... 0111011
static inline uint32_t rv64_sh1add_uw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x10, 2, 0x3b, rd, rs1, rs2); }
// 0010000 ..... ..... 100 ..... 0110011
static inline uint32_t rv64_sh2add(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x10, 4, 0x33, rd, rs1, rs2); }
// 0010000 ..... ..... 100 ..... 0111011
static inline uint32_t rv64_sh2add_uw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x10, 4, 0x3b, rd, rs1, rs2); }
// 0010000 ..... ..... 110 ..... 0110011
static inline uint32_t rv64_sh3add(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x10, 6, 0x33, rd, rs1, rs2); }
// 0010000 ..... ..... 110 ..... 0111011
static inline uint32_t rv64_sh3add_uw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x10, 6, 0x3b, rd, rs1, rs2); }
// 000010 ...... ..... 001 ..... 0011011
static inline uint32_t rv64_slli_uw(unsigned rd, unsigned rs1, unsigned amount) { return rv64_format_shift(0x02, 1, 0x1b, rd, rs1, amount); }

// Zbb
// 0100000 ..... ..... 111 ..... 0110011
static inline uint32_t rv64_andn(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x20, 7, 0x33, rd, rs1, rs2); }
// 011000000000 ..... 001 ..... 0010011
static inline uint32_t rv64_clz(unsigned rd, unsigned rs1) { return rv64_format_i(1, 0x13, rd, rs1, 0x600); }
// 011000000000 ..... 001 ..... 0011011
static inline uint32_t rv64_clzw(unsigned rd, unsigned rs1) { return rv64_format_i(1, 0x1b, rd, rs1, 0x600); }
// 011000000010 ..... 001 ..... 0010011
static inline uint32_t rv64_cpop(unsigned rd, unsigned rs1) { return rv64_format_i(1, 0x13, rd, rs1, 0x602); }
// 011000000010 ..... 001 ..... 0011011
static inline uint32_t rv64_cpopw(unsigned rd, unsigned rs1) { return rv64_format_i(1, 0x1b, rd, rs1, 0x602); }
// 011000000001 ..... 001 ..... 0010011
static inline uint32_t rv64_ctz(unsigned rd, unsigned rs1) { return rv64_format_i(1, 0x13, rd, rs1, 0x601); }
// 011000000001 ..... 001 ..... 0011011
static inline uint32_t rv64_ctzw(unsigned rd, unsigned rs1) { return rv64_format_i(1, 0x1b, rd, rs1, 0x601); }
// 0000101 ..... ..... 110 ..... 0110011
static inline uint32_t rv64_max(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x05, 6, 0x33, rd, rs1, rs2); }
// 0000101 ..... ..... 111 ..... 0110011
static inline uint32_t rv64_maxu(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x05, 7, 0x33, rd, rs1, rs2); }
// 0000101 ..... ..... 100 ..... 0110011
static inline uint32_t rv64_min(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x05, 4, 0x33, rd, rs1, rs2); }
// 0000101 ..... ..... 101 ..... 0110011
static inline uint32_t rv64_minu(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x05, 5, 0x33, rd, rs1, rs2); }
// 001010000111 ..... 101 ..... 0010011
static inline uint32_t rv64_orc_b(unsigned rd, unsigned rs1) { return rv64_format_i(5, 0x13, rd, rs1, 0x287); }
// 0100000 ..... ..... 110 ..... 0110011
static inline uint32_t rv64_orn(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x20, 6, 0x33, rd, rs1, rs2); }
// 011010111000 ..... 101 ..... 0010011
static inline uint32_t rv64_rev8(unsigned rd, unsigned rs1) { return rv64_format_i(5, 0x13, rd, rs1, 0x6b8); }
// 0110000 ..... ..... 001 ..... 0110011
static inline uint32_t rv64_rol(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x30, 1, 0x33, rd, rs1, rs2); }
// 0110000 ..... ..... 001 ..... 0111011
static inline uint32_t rv64_rolw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x30, 1, 0x3b, rd, rs1, rs2); }
// 0110000 ..... ..... 101 ..... 0110011
static inline uint32_t rv64_ror(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x30, 5, 0x33, rd, rs1, rs2); }
// 011000 ...... ..... 101 ..... 0010011
static inline uint32_t rv64_rori(unsigned rd, unsigned rs1, unsigned amount) { return rv64_format_shift(0x18, 5, 0x13, rd, rs1, amount); }
// 0110000 ..... ..... 101 ..... 0011011
static inline uint32_t rv64_roriw(unsigned rd, unsigned rs1, unsigned amount) { assert(amount < 32); return rv64_format_shift(0x18, 5, 0x1b, rd, rs1, amount); }
// 0110000 ..... ..... 101 ..... 0111011
static inline uint32_t rv64_rorw(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x30, 5, 0x3b, rd, rs1, rs2); }
// 011000000100 ..... 001 ..... 0010011
static inline uint32_t rv64_sext_b(unsigned rd, unsigned rs1) { return rv64_format_i(1, 0x13, rd, rs1, 0x604); }
// 011000000101 ..... 001 ..... 0010011
static inline uint32_t rv64_sext_h(unsigned rd, unsigned rs1) { return rv64_format_i(1, 0x13, rd, rs1, 0x605); }
// 0100000 ..... ..... 100 ..... 0110011
static inline uint32_t rv64_xnor(unsigned rd, unsigned rs1, unsigned rs2) { return rv64_format_r(0x20, 4, 0x33, rd, rs1, rs2); }
// 0000100 00000 ..... 100 ..... 0111011
static inline uint32_t rv64_zext_h(unsigned rd, unsigned rs1) { return rv64_format_r(0x04, 4, 0x3b, rd, rs1, 0); }

// Zicsr
// ............ ..... 011 ..... 1110011
static inline uint32_t rv64_csrrc(unsigned rd, unsigned csr, unsigned rs1) { return rv64_format_csr(3, rd, csr, rs1); }
// ............ ..... 111 ..... 1110011
static inline uint32_t rv64_csrrci(unsigned rd, unsigned csr, unsigned imm) { return rv64_format_csr(7, rd, csr, imm); }
// ............ ..... 010 ..... 1110011
static inline uint32_t rv64_csrrs(unsigned rd, unsigned csr, unsigned rs1) { return rv64_format_csr(2, rd, csr, rs1); }
// ............ ..... 110 ..... 1110011
static inline uint32_t rv64_csrrsi(unsigned rd, unsigned csr, unsigned imm) { return rv64_format_csr(6, rd, csr, imm); }
// ............ ..... 001 ..... 1110011
static inline uint32_t rv64_csrrw(unsigned rd, unsigned csr, unsigned rs1) { return rv64_format_csr(1, rd, csr, rs1); }
// ............ ..... 101 ..... 1110011
static inline uint32_t rv64_csrrwi(unsigned rd, unsigned csr, unsigned imm) { return rv64_format_csr(5, rd, csr, imm); }

// ---------------------------------------------------------------------------------------------------------------
// The assembler's state and operations: sequences of one or more instructions, compressed where they can be.

// Three-operand operations. RV64_OP_SLTI-like forms are chosen by asm_rv64_op_imm().
typedef enum {
    RV64_OP_ADD, RV64_OP_SUB, RV64_OP_AND, RV64_OP_OR, RV64_OP_XOR,
    RV64_OP_SLL, RV64_OP_SRL, RV64_OP_SRA, RV64_OP_SLT, RV64_OP_SLTU, RV64_OP_MUL, RV64_OP_MULH,
} rv64_op_t;

// Conditions, in pairs of opposites.
typedef enum {
    RV64_EQ, RV64_NE, RV64_LT, RV64_GE, RV64_LTU, RV64_GEU,
} rv64_cond_t;

// Extensions that code may use besides IMC, as a set: the flags of .mpy files.
#define RV64_EXT_ZBA (1)
#define RV64_EXT_ZBB (2)
#define RV64_EXT_ALL (RV64_EXT_ZBA | RV64_EXT_ZBB)

// What mp_dynamic_compiler.backend_options points to, or NULL.
typedef struct _asm_rv64_backend_options_t {
    unsigned allowed_extensions;
} asm_rv64_backend_options_t;

// Those that may be used here and now: of the machine, or in mpy-cross by its options.
unsigned asm_rv64_allowed_extensions(void);

// The name of the lowest extension in a set, or NULL.
const char *asm_rv64_extension_name(unsigned extensions);

// Reads names separated by commas, or a number. False if there is anything else in it.
bool asm_rv64_parse_extensions(const char *text, unsigned *extensions);

// Sizes of memory accesses: log2 of the bytes. Loads extend with zeros, as viper's pointers want.
enum { RV64_B, RV64_H, RV64_W, RV64_D };

// What produced the last value, so that it can be produced elsewhere instead, or folded into what uses it.
typedef enum {
    RV64_LAST_NONE, RV64_LAST_OP, RV64_LAST_OP_IMM, RV64_LAST_LI, RV64_LAST_MV,
    RV64_LAST_LOAD, RV64_LAST_LOAD_INDEXED, RV64_LAST_SET, RV64_LAST_SHIFT_ADD, RV64_LAST_JUMP,
    RV64_LAST_OBJ_COMPARE, // the emitter's: a comparison of objects whose result is an object
} rv64_last_kind_t;

// An operation that has been emitted: where it begins and ends, and what it was.
typedef struct _rv64_last_t {
    rv64_last_kind_t kind;
    size_t start, end;
    uint8_t op, rd, rs1, rs2, shift;
    int64_t imm;
} rv64_last_t;

// A place beside a base: (index << shift) + offset.
typedef struct _rv64_element_t {
    unsigned index;
    unsigned shift;
    int64_t offset;
} rv64_element_t;

typedef struct _rv64_branch_t {
    uint32_t label;
    uint32_t room;
} rv64_branch_t;

// Labels below this one belong to the start and the end of a function.
#define RV64_NUM_FUNCTION_LABELS (7)

typedef struct _asm_rv64_t {
    mp_asm_base_t base; // must be first

    unsigned extensions; // that this function may use

    // Round 0 sizes everything in its longest form, so that its distances are upper bounds; round 1 sizes what
    // round 2 then emits. An emitter goes through the three once for each function.
    uint8_t round;
    bool rooms_valid; // whether the distances of round 0 still are upper bounds

    uint32_t touched; // registers written so far in this function
    uint32_t based;   // registers that addressed memory
    uint32_t saved;   // registers the prologue of this round saved
    size_t frame_size; // bytes of locals and saved registers, a multiple of 16

    // Jumps and branches in order of appearance: in round 0 where they are, after it how far away their label is.
    size_t branch_num;
    size_t branch_alloc;
    rv64_branch_t *branches;

    // The last operation, and the one right before it.
    rv64_last_t last, before;

    size_t upper_size; // of all code, from round 0

    // For the emitter: calls of the body so far, whether round 0 found none, and what points to the table of functions.
    unsigned num_calls;
    bool leaf;
    bool uses_frame, frameless; // whether a slot in memory was wanted so far, and whether there are none
    uint8_t fun_table;

    // Also for it: locals that have a value here for sure, or have one everywhere, or are deleted somewhere.
    uint64_t bound, bound_always, deleted;
    bool straight;     // no branch, and no label but those of the function's start has been passed yet
    bool checks_bound; // there are jumps to where an unbound local is complained about

    // And stack slots that hold a value across a label, slots whose address was taken, and the saved
    // registers that slots live in instead of in memory.
    uint32_t carried;
    uint32_t addressed;
    uint8_t home[32];
} asm_rv64_t;

void asm_rv64_entry(asm_rv64_t *as, size_t num_locals, bool small);
void asm_rv64_exit(asm_rv64_t *as);
void asm_rv64_end_pass(asm_rv64_t *as);
void asm_rv64_label_assign(asm_rv64_t *as, size_t label);

void asm_rv64_mv(asm_rv64_t *as, unsigned rd, unsigned rs);
void asm_rv64_li(asm_rv64_t *as, unsigned rd, int64_t imm);
void asm_rv64_op(asm_rv64_t *as, rv64_op_t op, unsigned rd, unsigned rs1, unsigned rs2);
void asm_rv64_add(asm_rv64_t *as, unsigned rd, unsigned rs1, bool dead1, unsigned rs2, bool dead2);
void asm_rv64_op_imm(asm_rv64_t *as, rv64_op_t op, unsigned rd, unsigned rs1, int64_t imm);
void asm_rv64_set(asm_rv64_t *as, rv64_cond_t cond, unsigned rd, unsigned rs1, unsigned rs2);
void asm_rv64_load(asm_rv64_t *as, unsigned size, unsigned rd, unsigned base, int64_t offset);
void asm_rv64_store(asm_rv64_t *as, unsigned size, unsigned rs, unsigned base, int64_t offset);
void asm_rv64_load_element(asm_rv64_t *as, unsigned size, unsigned rd, unsigned base, rv64_element_t e);
void asm_rv64_store_element(asm_rv64_t *as, unsigned size, unsigned rs, unsigned base, rv64_element_t e);
// An element by its index. dead: nobody else wants the index register, so what computed it last may become part of
// the access; do this before other code is emitted.
rv64_element_t asm_rv64_element(asm_rv64_t *as, unsigned size, unsigned index, bool dead);
void asm_rv64_load_local(asm_rv64_t *as, unsigned rd, size_t local);
void asm_rv64_store_local(asm_rv64_t *as, unsigned rs, size_t local);
void asm_rv64_local_addr(asm_rv64_t *as, unsigned rd, size_t local);
void asm_rv64_label_addr(asm_rv64_t *as, unsigned rd, size_t label);

void asm_rv64_jump(asm_rv64_t *as, size_t label);
void asm_rv64_jump_reg(asm_rv64_t *as, unsigned rs);
void asm_rv64_branch(asm_rv64_t *as, rv64_cond_t cond, unsigned rs1, unsigned rs2, size_t label);
void asm_rv64_branch_to_end(asm_rv64_t *as, unsigned rs, size_t label);
void asm_rv64_branch_zero(asm_rv64_t *as, bool nonzero, unsigned rs, size_t label);
void asm_rv64_call_table(asm_rv64_t *as, size_t index);
void asm_rv64_fence(asm_rv64_t *as);

// Short branches forward, within one operation: skip() returns what skip_end() wants where it shall land.
size_t asm_rv64_skip(asm_rv64_t *as, rv64_cond_t cond, unsigned rs1, unsigned rs2);
size_t asm_rv64_skip_always(asm_rv64_t *as);
void asm_rv64_skip_end(asm_rv64_t *as, size_t skip);
// And back to a place in the same operation.
void asm_rv64_branch_back(asm_rv64_t *as, rv64_cond_t cond, unsigned rs1, unsigned rs2, size_t pos);

// For an operation of the emitter's own, to be found and taken back by what follows it.
void asm_rv64_set_last(asm_rv64_t *as, rv64_last_kind_t kind, size_t start, unsigned op, unsigned rd, unsigned rs1, unsigned rs2, int64_t imm);
bool asm_rv64_last_is(asm_rv64_t *as, rv64_last_kind_t kind);
rv64_last_t asm_rv64_undo_last(asm_rv64_t *as);

// Makes the last operation leave its result in `to`, when it was in `from`; the caller knows that `from` is dead.
bool asm_rv64_move_result(asm_rv64_t *as, unsigned from, unsigned to);

// ---------------------------------------------------------------------------------------------------------------
// What py/emitnative.c wants to know.

#ifdef GENERIC_ASM_API

#define ASM_WORD_SIZE (8) // of a Python word, not of an instruction

// Arguments and result as the ABI has them. Temporaries and the function table have 3-bit names. The assembler keeps
// t1 and t2 for itself, and calls through a5.
#define REG_RET RV64_A0
#define REG_ARG_1 RV64_A0
#define REG_ARG_2 RV64_A1
#define REG_ARG_3 RV64_A2
#define REG_ARG_4 RV64_A3
#define REG_TEMP0 RV64_A4
#define REG_TEMP1 RV64_A5
#define REG_TEMP2 RV64_T0
#define REG_FUN_TABLE (emit->as->fun_table)
#define REG_LOCAL_1 RV64_S0
#define REG_LOCAL_2 RV64_S2
#define REG_LOCAL_3 RV64_S11
#define REG_ZERO RV64_ZERO

#define ASM_T asm_rv64_t
#define ASM_EXIT(as) asm_rv64_exit(as)
#define ASM_END_PASS(as) asm_rv64_end_pass(as)

#define ASM_CALL_IND(as, index) asm_rv64_call_table(as, index)
#define ASM_JUMP(as, label) asm_rv64_jump(as, label)
#define ASM_JUMP_REG(as, rs) asm_rv64_jump_reg(as, rs)
#define ASM_JUMP_IF_REG_ZERO(as, rs, label, bool_test) asm_rv64_branch_zero(as, false, rs, label)
#define ASM_JUMP_IF_REG_NONZERO(as, rs, label, bool_test) asm_rv64_branch_zero(as, true, rs, label)
#define ASM_JUMP_IF_REG_EQ(as, rs1, rs2, label) asm_rv64_branch(as, RV64_EQ, rs1, rs2, label)

#define ASM_MOV_REG_REG(as, rd, rs) asm_rv64_mv(as, rd, rs)
#define ASM_MOV_REG_IMM(as, rd, imm) asm_rv64_li(as, rd, imm)
#define ASM_MOV_REG_PCREL(as, rd, label) asm_rv64_label_addr(as, rd, label)
#define ASM_MOV_REG_LOCAL(as, rd, local) asm_rv64_load_local(as, rd, local)
#define ASM_MOV_LOCAL_REG(as, local, rs) asm_rv64_store_local(as, rs, local)
#define ASM_MOV_REG_LOCAL_ADDR(as, rd, local) asm_rv64_local_addr(as, rd, local)
#define ASM_CLR_REG(as, rd) // only ever asked for REG_ZERO

#define ASM_ADD_REG_REG(as, rd, rs) asm_rv64_op(as, RV64_OP_ADD, rd, rd, rs)
#define ASM_SUB_REG_REG(as, rd, rs) asm_rv64_op(as, RV64_OP_SUB, rd, rd, rs)
#define ASM_MUL_REG_REG(as, rd, rs) asm_rv64_op(as, RV64_OP_MUL, rd, rd, rs)
#define ASM_AND_REG_REG(as, rd, rs) asm_rv64_op(as, RV64_OP_AND, rd, rd, rs)
#define ASM_OR_REG_REG(as, rd, rs) asm_rv64_op(as, RV64_OP_OR, rd, rd, rs)
#define ASM_XOR_REG_REG(as, rd, rs) asm_rv64_op(as, RV64_OP_XOR, rd, rd, rs)
#define ASM_LSL_REG_REG(as, rd, rs) asm_rv64_op(as, RV64_OP_SLL, rd, rd, rs)
#define ASM_LSR_REG_REG(as, rd, rs) asm_rv64_op(as, RV64_OP_SRL, rd, rd, rs)
#define ASM_ASR_REG_REG(as, rd, rs) asm_rv64_op(as, RV64_OP_SRA, rd, rd, rs)
#define ASM_NEG_REG(as, rd) asm_rv64_op(as, RV64_OP_SUB, rd, RV64_ZERO, rd)
#define ASM_NOT_REG(as, rd) asm_rv64_op_imm(as, RV64_OP_XOR, rd, rd, -1)

#define ASM_LOAD_REG_REG_OFFSET(as, rd, base, words) asm_rv64_load(as, RV64_D, rd, base, (int64_t)(words) * 8)
#define ASM_LOAD8_REG_REG(as, rd, base) asm_rv64_load(as, RV64_B, rd, base, 0)
#define ASM_LOAD16_REG_REG(as, rd, base) asm_rv64_load(as, RV64_H, rd, base, 0)
#define ASM_LOAD32_REG_REG(as, rd, base) asm_rv64_load(as, RV64_W, rd, base, 0)
#define ASM_LOAD8_REG_REG_OFFSET(as, rd, base, index) asm_rv64_load(as, RV64_B, rd, base, index)
#define ASM_LOAD16_REG_REG_OFFSET(as, rd, base, index) asm_rv64_load(as, RV64_H, rd, base, (int64_t)((uint64_t)(index) << 1))
#define ASM_LOAD32_REG_REG_OFFSET(as, rd, base, index) asm_rv64_load(as, RV64_W, rd, base, (int64_t)((uint64_t)(index) << 2))
#define ASM_LOAD8_REG_REG_REG(as, rd, base, index) asm_rv64_load_element(as, RV64_B, rd, base, asm_rv64_element(as, RV64_B, index, false))
#define ASM_LOAD16_REG_REG_REG(as, rd, base, index) asm_rv64_load_element(as, RV64_H, rd, base, asm_rv64_element(as, RV64_H, index, false))
#define ASM_LOAD32_REG_REG_REG(as, rd, base, index) asm_rv64_load_element(as, RV64_W, rd, base, asm_rv64_element(as, RV64_W, index, false))

#define ASM_STORE_REG_REG_OFFSET(as, rs, base, words) asm_rv64_store(as, RV64_D, rs, base, (int64_t)(words) * 8)
#define ASM_STORE8_REG_REG(as, rs, base) asm_rv64_store(as, RV64_B, rs, base, 0)
#define ASM_STORE16_REG_REG(as, rs, base) asm_rv64_store(as, RV64_H, rs, base, 0)
#define ASM_STORE32_REG_REG(as, rs, base) asm_rv64_store(as, RV64_W, rs, base, 0)
#define ASM_STORE8_REG_REG_OFFSET(as, rs, base, index) asm_rv64_store(as, RV64_B, rs, base, index)
#define ASM_STORE16_REG_REG_OFFSET(as, rs, base, index) asm_rv64_store(as, RV64_H, rs, base, (int64_t)((uint64_t)(index) << 1))
#define ASM_STORE32_REG_REG_OFFSET(as, rs, base, index) asm_rv64_store(as, RV64_W, rs, base, (int64_t)((uint64_t)(index) << 2))
#define ASM_STORE8_REG_REG_REG(as, rs, base, index) asm_rv64_store_element(as, RV64_B, rs, base, asm_rv64_element(as, RV64_B, index, false))
#define ASM_STORE16_REG_REG_REG(as, rs, base, index) asm_rv64_store_element(as, RV64_H, rs, base, asm_rv64_element(as, RV64_H, index, false))
#define ASM_STORE32_REG_REG_REG(as, rs, base, index) asm_rv64_store_element(as, RV64_W, rs, base, asm_rv64_element(as, RV64_W, index, false))

#endif // GENERIC_ASM_API

#endif // MICROPY_INCLUDED_PY_ASMRV64_H
