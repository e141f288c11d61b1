// SPDX-License-Identifier: MIT
// Facts about how this run began.
#ifndef FIRMWARE_MAIN_H
#define FIRMWARE_MAIN_H

#include <stdint.h>

typedef enum _main_reset_t {
    MAIN_RESET_POWER_ON = 1,
    MAIN_RESET_SOFT = 2,
} main_reset_t;

typedef struct _main_entry_t {
    uint64_t a0; // hart id
    uint64_t a1; // device tree
    uint64_t a2; // QEMU's fw_dynamic_info
} main_entry_t;

extern main_entry_t main_entry;
extern main_reset_t main_reset_cause;

#endif
