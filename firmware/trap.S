// SPDX-License-Identifier: MIT
// The one trap entry: save everything, call trap_handle(frame), restore everything.
#include "trap.h"

    .macro each_x op                    // all but x0 and x2 (sp)
    \op     x1, TRAP_FRAME_X + 1 * 8(sp)
    .irp    n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op     x\n, TRAP_FRAME_X + \n * 8(sp)
    .endr
    .endm

    .macro each_f op
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op     f\n, TRAP_FRAME_F + \n * 8(sp)
    .endr
    .endm

    // mscratch holds the top of the trap stack, or 0 while a trap is being handled.
    .section .text.trap_entry, "ax", @progbits
    .globl  trap_entry
    .align  2
trap_entry:
    csrrw   sp, mscratch, sp
    bnez    sp, 1f
    la      sp, _trap_nested_top        // a trap inside the handler: trap_handle() sees it by the address
1:  addi    sp, sp, -TRAP_FRAME_SIZE
    each_x  sd
    csrrw   t0, mscratch, zero
    sd      t0, TRAP_FRAME_X + 2 * 8(sp)
    each_f  fsd
    csrr    t0, fcsr
    sd      t0, TRAP_FRAME_FCSR(sp)
    csrr    t0, mepc
    sd      t0, TRAP_FRAME_MEPC(sp)
    csrr    t0, mcause
    sd      t0, TRAP_FRAME_MCAUSE(sp)
    csrr    t0, mtval
    sd      t0, TRAP_FRAME_MTVAL(sp)
    csrr    t0, mstatus
    sd      t0, TRAP_FRAME_MSTATUS(sp)

    mv      a0, sp
    call    trap_handle

    ld      t0, TRAP_FRAME_MSTATUS(sp)
    csrw    mstatus, t0
    ld      t0, TRAP_FRAME_MEPC(sp)
    csrw    mepc, t0
    ld      t0, TRAP_FRAME_FCSR(sp)
    csrw    fcsr, t0
    each_f  fld
    addi    t0, sp, TRAP_FRAME_SIZE
    csrw    mscratch, t0
    each_x  ld
    ld      sp, TRAP_FRAME_X + 2 * 8(sp)
    mret
