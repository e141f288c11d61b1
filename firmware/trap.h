// SPDX-License-Identifier: MIT
// The trap frame, shared by trap.S and trap.c.
#ifndef FIRMWARE_TRAP_H
#define FIRMWARE_TRAP_H

// Byte offsets; trap.c asserts that trap_frame_t agrees.
#define TRAP_FRAME_X 0          // x0..x31, the slot of x0 is unused
#define TRAP_FRAME_F 256        // f0..f31
#define TRAP_FRAME_FCSR 512
#define TRAP_FRAME_MEPC 520
#define TRAP_FRAME_MCAUSE 528
#define TRAP_FRAME_MTVAL 536
#define TRAP_FRAME_MSTATUS 544
#define TRAP_FRAME_SIZE 560     // a multiple of 16: it lies on the stack

#ifndef __ASSEMBLER__
#include <stdint.h>

typedef struct _trap_frame_t {
    uint64_t x[32];
    uint64_t f[32];
    uint64_t fcsr;
    uint64_t mepc;
    uint64_t mcause;
    uint64_t mtval;
    uint64_t mstatus;
    uint64_t pad;
} trap_frame_t;

// The fatal exits of C code: print why, quiesce devices, leave QEMU with a non-zero code.
__attribute__((noreturn)) void trap_panic(const char *why);

// Stop the machine through QEMU's test device.
__attribute__((noreturn)) void trap_poweroff(int code);
__attribute__((noreturn)) void trap_reset(void);
#endif

#endif
