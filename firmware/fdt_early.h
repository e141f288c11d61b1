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
    uint32_t sources; // of an IMSIC: ids
    uint32_t phandle;
    const uint8_t *rows;
    size_t rows_len;
    const uint8_t *regs; // of an IMSIC: its pages, a part for each group of harts
    size_t regs_len;
    uint32_t reg_cells[2];
    uint32_t guest_bits; // of an IMSIC: pages per hart, as a power of two
    uint32_t msi_parent; // of an APLIC: where its messages go, 0: it has wires
    const uint8_t *children; // of an APLIC: phandles of the domains below it
    size_t children_len;
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
    uint32_t uart_trigger; // 1 rising, 2 falling, 4 high, 8 low
    uint32_t uart_parent; // phandle of the controller that it goes to
    uint32_t uart_shift;
    uint64_t plic; // of the hart given to fdt_early_select(), as is what follows up to zbb
    uint32_t plic_sources;
    int plic_context; // that interrupts it in machine mode, or -1
    uint64_t aplic; // the domain that serves it in machine mode
    uint32_t aplic_sources;
    int aplic_idc; // its delivery control, or -1: by messages to the next
    uint64_t imsic; // page of its machine-level interrupt file
    uint32_t imsic_ids;
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
    size_t num_plics, num_timers, num_aplics, num_imsics;
    fdt_early_controller_t plics[FDT_EARLY_CONTROLLERS];
    fdt_early_controller_t aplics[FDT_EARLY_CONTROLLERS * 2]; // machine and supervisor level
    fdt_early_controller_t imsics[FDT_EARLY_CONTROLLERS * 2];
    const fdt_early_controller_t *wired; // PLIC or APLIC of the selected hart
    fdt_early_controller_t timers[FDT_EARLY_CONTROLLERS];
} fdt_early_t;

extern fdt_early_t fdt_early;

// Reads the tree. False: no valid tree there; only .blob is set.
bool fdt_early_init(const void *blob);

// Finds the interrupt controllers, the timer and the extensions of a hart.
void fdt_early_select(uint64_t hart_id);

// Do sources of the controller with that phandle interrupt the selected hart?
bool fdt_early_serves(uint32_t phandle);

#endif
