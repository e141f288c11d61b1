// SPDX-License-Identifier: MIT
// The few facts that C needs from the device tree before Python runs.
#ifndef FIRMWARE_FDT_EARLY_H
#define FIRMWARE_FDT_EARLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FDT_EARLY_BANKS 8
#define FDT_EARLY_RESERVED 16
#define FDT_EARLY_HARTS 64

typedef struct _fdt_early_range_t {
    uint64_t start;
    uint64_t end;
} fdt_early_range_t;

typedef struct _fdt_early_hart_t {
    uint64_t id;
    uint32_t intc; // phandle of the hart's interrupt controller
} fdt_early_hart_t;

// Addresses are 0 when the tree has no such device.
typedef struct _fdt_early_t {
    const uint8_t *blob;
    size_t size;
    size_t num_banks;
    fdt_early_range_t banks[FDT_EARLY_BANKS];
    size_t num_reserved;
    fdt_early_range_t reserved[FDT_EARLY_RESERVED];
    fdt_early_range_t initrd;
    uint64_t uart;
    uint32_t uart_irq;
    uint32_t uart_shift;
    uint64_t plic;
    uint32_t plic_sources;
    uint64_t mtimecmp; // of hart 0; 8 bytes per hart
    uint64_t msip; // of hart 0; 4 bytes per hart
    uint64_t test; // QEMU's power-off and reset register
    uint64_t rtc; // goldfish: nanoseconds since 1970
    uint64_t timebase;
    size_t num_harts;
    fdt_early_hart_t harts[FDT_EARLY_HARTS];
    const uint8_t *rng_seed; // random bytes that QEMU passed
    size_t rng_seed_len;
    const uint8_t *plic_contexts; // interrupts-extended of the PLIC
    size_t plic_contexts_len;
} fdt_early_t;

extern fdt_early_t fdt_early;

// Reads the tree. False: no valid tree there; only .blob is set.
bool fdt_early_init(const void *blob);

// Number of the PLIC context that interrupts `hart_id` in machine mode, or -1.
int fdt_early_plic_context(uint64_t hart_id);

#endif
