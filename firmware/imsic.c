// SPDX-License-Identifier: MIT
// Incoming message controller, as chapter 3 of the RISC-V AIA specification 1.0 lays it out.
#include "csr.h"
#include "imsic.h"

// CSRs by number: assemblers of today do not know all names.
#define MISELECT 0x350
#define MIREG 0x351
#define MTOPEI 0x35c
#define MTOPEI_SHIFT 16

// What miselect can choose; an array of bits has a register per 64 ids, with even numbers.
#define EIDELIVERY 0x70
#define EITHRESHOLD 0x72
#define EIP 0x80
#define EIE 0xc0
#define ID_MAX 2047

// csr.h turns a name into text as it is written: this expands the number first.
#define WRITE(csr, v) csr_write(csr, v)
#define READ(csr) csr_read(csr)
#define SET(csr, v) csr_set(csr, v)
#define CLEAR(csr, v) csr_clear(csr, v)
#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x

static uint64_t page;
static uint32_t ids;

// Interrupts are off: the handler selects, too.
static void select(uint32_t reg) {
    WRITE(MISELECT, reg);
}

static void set_reg(uint32_t reg, uint64_t value) {
    select(reg);
    WRITE(MIREG, value);
}

static void set_all_off(void) {
    for (uint32_t i = 0; i <= ids / 64; ++i) {
        set_reg(EIE + 2 * i, 0);
        set_reg(EIP + 2 * i, 0);
    }
}

void imsic_init(uint64_t addr, uint32_t num_ids) {
    page = addr;
    ids = num_ids <= ID_MAX ? num_ids : ID_MAX;
    if (page != 0) {
        set_all_off();
        set_reg(EITHRESHOLD, 0);
        set_reg(EIDELIVERY, 1);
    }
}

uint64_t imsic_addr(void) {
    return page;
}

uint32_t imsic_num_ids(void) {
    return ids;
}

void imsic_off(void) {
    set_reg(EIDELIVERY, 0);
    set_all_off();
}

void imsic_set_enable(uint32_t id, bool on) {
    uint64_t bit = 1ull << (id % 64);
    select(EIE + 2 * (id / 64));
    if (on) {
        SET(MIREG, bit);
    } else {
        CLEAR(MIREG, bit);
    }
}

void imsic_clear(uint32_t id) {
    select(EIP + 2 * (id / 64));
    CLEAR(MIREG, 1ull << (id % 64));
}

bool imsic_pending(void) {
    return READ(MTOPEI) != 0;
}

uint32_t imsic_claim(void) {
    uintptr_t top;
    __asm volatile ("csrrw %0, " TEXT(MTOPEI) ", zero" : "=r" (top) : : "memory"); // reads and claims at once
    return top >> MTOPEI_SHIFT;
}
