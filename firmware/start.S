// SPDX-License-Identifier: MIT
// Reset entry of every hart: elect one, park the others, set up C for the winner.
#include "csr.h"

    .section .text.start, "ax", @progbits
    .globl _start
_start:
    csrw    mie, zero
    csrci   mstatus, CSR_MSTATUS_MIE
    la      t0, start_trap_early        // until main installs trap_entry
    csrw    mtvec, t0
    .option push
    .option norelax
    la      gp, __global_pointer$
    .option pop

    // In .data, not .bss: the winner clears .bss while the others are still arriving.
    la      t0, start_elected
    li      t1, 1
    amoswap.w.aqrl t2, t1, (t0)
    beqz    t2, 1f
    tail    hart_park                   // a0 = hart id, a1 = device tree, mie = 0, mstatus.MIE = 0

1:  mv      s0, a0
    mv      s1, a1
    mv      s2, a2
    la      sp, _stack_top
    li      t0, CSR_MSTATUS_FS
    csrs    mstatus, t0
    csrw    fcsr, zero

    la      t0, _bss_start
    la      t1, _bss_end
2:  bgeu    t0, t1, 3f
    sd      zero, 0(t0)
    addi    t0, t0, 8
    j       2b
3:
    la      t0, _trap_stack_top
    csrw    mscratch, t0
    la      t0, trap_entry
    csrw    mtvec, t0

    mv      a0, s0
    mv      a1, s1
    mv      a2, s2
    call    main
4:  wfi                                 // main does not return
    j       4b

    // A trap before there is a stack. The debugger sees mcause; the hart stays here.
    .align  2
start_trap_early:
    wfi
    j       start_trap_early

    .section .data.start, "aw", @progbits
    .align  2
start_elected:                          // 1 once a hart has won
    .word   0
