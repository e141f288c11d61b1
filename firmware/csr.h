// SPDX-License-Identifier: MIT
// CSR bit names and accessors (machine mode).
#ifndef FIRMWARE_CSR_H
#define FIRMWARE_CSR_H

#define CSR_MSTATUS_MIE (1 << 3)
#define CSR_MSTATUS_MPIE (1 << 7)
#define CSR_MSTATUS_FS (3 << 13)
#define CSR_MIE_MSIE (1 << 3)
#define CSR_MIE_MTIE (1 << 7)
#define CSR_MIE_MEIE (1 << 11)

#ifndef __ASSEMBLER__
#include <stdint.h>

#define csr_read(name) ({ uintptr_t csr_v; __asm volatile ("csrr %0, " #name : "=r" (csr_v)); csr_v; })
#define csr_write(name, v) __asm volatile ("csrw " #name ", %0" : : "rK" ((uintptr_t)(v)) : "memory")
#define csr_set(name, mask) __asm volatile ("csrs " #name ", %0" : : "rK" ((uintptr_t)(mask)) : "memory")
#define csr_clear(name, mask) __asm volatile ("csrc " #name ", %0" : : "rK" ((uintptr_t)(mask)) : "memory")

// Interrupts off; returns what csr_irq_restore() needs.
static inline uintptr_t csr_irq_save(void) {
    uintptr_t old;
    __asm volatile ("csrrci %0, mstatus, 8" : "=r" (old) : : "memory");
    return old & CSR_MSTATUS_MIE;
}

static inline void csr_irq_restore(uintptr_t state) {
    csr_set(mstatus, state);
}

static inline void csr_wfi(void) {
    __asm volatile ("wfi" : : : "memory");
}
#endif

#endif
