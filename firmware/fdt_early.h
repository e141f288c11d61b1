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
#define FDT_EARLY_CONTROLLERS 8

typedef struct _fdt_early_range_t {
    uint64_t start;
    uint64_t end;
} fdt_early_range_t;

typedef struct _fdt_early_hart_t {
    uint64_t id;
    uint32_t intc; // phandle of the hart's interrupt controller
    bool zba, zbb; // extensions
} fdt_early_hart_t;

// A device with one row in its interrupts-extended for each hart (and mode) that it serves.
typedef struct _fdt_early_controller_t {
    uint64_t addr;
    uint32_t sources;
    uint32_t phandle;
    const uint8_t *rows;
    size_t rows_len;
} fdt_early_controller_t;

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
    uint32_t uart_irq; // 0: none that reaches the selected hart
    uint32_t uart_parent; // phandle of the controller that it goes to
    uint32_t uart_shift;
    uint64_t plic; // of the hart given to fdt_early_select(), as are the next three
    uint32_t plic_sources;
    int plic_context; // that interrupts it in machine mode, or -1
    uint64_t mtimecmp; // its register
    bool zba, zbb; // extensions of that hart
    uint64_t msip; // of hart 0; 4 bytes per hart
    uint64_t test; // QEMU's power-off and reset register
    uint64_t rtc; // goldfish: nanoseconds since 1970
    uint64_t timebase;
    size_t num_harts;
    fdt_early_hart_t harts[FDT_EARLY_HARTS];
    const uint8_t *rng_seed; // random bytes that QEMU passed
    size_t rng_seed_len;
    // one each per NUMA node
    size_t num_plics, num_timers;
    fdt_early_controller_t plics[FDT_EARLY_CONTROLLERS];
    fdt_early_controller_t timers[FDT_EARLY_CONTROLLERS];
} fdt_early_t;

extern fdt_early_t fdt_early;

// Reads the tree. False: no valid tree there; only .blob is set.
bool fdt_early_init(const void *blob);

// Finds the PLIC context, the timer and the extensions of a hart.
void fdt_early_select(uint64_t hart_id);

#endif
