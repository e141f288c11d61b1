// SPDX-License-Identifier: MIT
// Access to a CSR whose number is only known at run time.
#ifndef FIRMWARE_CSRCALL_H
#define FIRMWARE_CSRCALL_H

#include <stdint.h>

typedef enum _csrcall_op_t { // funct3 of the instruction
    CSRCALL_WRITE = 1,
    CSRCALL_SET = 2,
    CSRCALL_CLEAR = 3,
} csrcall_op_t;

#define CSRCALL_SEED 0x015

// Returns the old value. A register that is not there raises OSError through the trap.
uint64_t csrcall(csrcall_op_t op, uint32_t csr, uint64_t value);

// Number of a register by name, or -1.
int csrcall_number(const char *name);

#endif
