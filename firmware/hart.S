// SPDX-License-Identifier: MIT
// Parking of secondary harts, and the trampoline through which all harts leave the firmware.
#include "hart.h"

#define MIP_MSIP (1 << 3)
#define MSTATUS_MIE (1 << 3)

// In .data, not .bss: harts come in while the elected one still clears .bss.
    .section .data.hart, "aw", @progbits
    .balign 8
    .globl hart_mailbox
hart_mailbox:
    .fill HART_MAILBOX_PRESENT + HART_MAX / 8, 1, 0

// Only a pending MSIP ends the waits below, so each one that is raised is taken exactly once.
    .section .text.hart, "ax", @progbits
    .balign 4
    .globl hart_park
hart_park:
    csrci mstatus, MSTATUS_MIE
    csrr a0, mhartid
    li t0, HART_MAX
    bgeu a0, t0, 2f
    csrwi mie, MIP_MSIP
    // Announce: bit a0 of the present set.
    lla s0, hart_mailbox
    srli t0, a0, 6
    slli t0, t0, 3
    add t0, t0, s0
    addi t0, t0, HART_MAILBOX_PRESENT
    li t1, 1
    sll t1, t1, a0
    amoor.d.aqrl zero, t1, (t0)
1:
    wfi
    csrr t0, mip
    andi t0, t0, MIP_MSIP
    beqz t0, 1b
    fence iorw, iorw
    ld t0, HART_MAILBOX_MSIP(s0)
    beqz t0, 1b
    slli t1, a0, 2
    add t0, t0, t1
    sw zero, 0(t0)
    lw zero, 0(t0)
    fence iorw, iorw
    ld t1, HART_MAILBOX_ENTRY(s0)
    beqz t1, 1b
    ld a1, HART_MAILBOX_ARG(s0)
    fence.i
    jr t1
2:
    csrw mie, zero
3:
    wfi
    j 3b

// The trampoline: from here to hart_trampoline_end runs from a copy. It uses no stack, and nothing
// outside its page but destinations, sources and MSIP registers.
    .balign 8
    .globl hart_trampoline
hart_trampoline:

// Elected hart, a0 = hart_leave_t: make the moves, call the others, follow them.
    .globl hart_trampoline_boot
hart_trampoline_boot:
    mv s0, a0
    addi s1, s0, HART_LEAVE_MOVES
1:
    ld a0, 0(s1) // dest
    ld a1, 8(s1) // src
    ld a2, 16(s1) // len
    addi s1, s1, 24
    beqz a2, 8f
    beq a0, a1, 1b
    andi a3, a2, -8 // whole words
    add a4, a0, a3
    bltu a1, a0, 4f
    // Upwards.
    add a5, a0, a2
    beq a0, a4, 3f
2:
    ld t0, 0(a1)
    sd t0, 0(a0)
    addi a1, a1, 8
    addi a0, a0, 8
    bltu a0, a4, 2b
3:
    beq a0, a5, 1b
    lbu t0, 0(a1)
    sb t0, 0(a0)
    addi a1, a1, 1
    addi a0, a0, 1
    j 3b
    // Downwards, the odd bytes first.
4:
    mv a5, a0
    add a0, a0, a2
    add a1, a1, a2
5:
    beq a0, a4, 6f
    addi a0, a0, -1
    addi a1, a1, -1
    lbu t0, 0(a1)
    sb t0, 0(a0)
    j 5b
6:
    beq a0, a5, 1b
7:
    addi a0, a0, -8
    addi a1, a1, -8
    ld t0, 0(a1)
    sd t0, 0(a0)
    bltu a5, a0, 7b
    j 1b
8:
    // Everything is in place: raise MSIP for each hart of the present set.
    fence iorw, iorw
    fence.i
    ld s1, HART_LEAVE_MSIP(s0)
    addi s2, s0, HART_LEAVE_PRESENT
    addi s3, s2, HART_MAX / 8
    li t2, 1
9:
    ld t0, 0(s2)
    mv t1, s1
10:
    beqz t0, 12f
    andi t3, t0, 1
    beqz t3, 11f
    sw t2, 0(t1)
11:
    srli t0, t0, 1
    addi t1, t1, 4
    j 10b
12:
    addi s2, s2, 8
    addi s1, s1, 64 * 4
    bltu s2, s3, 9b
    // Wait until the last of them is out of here.
    ld t0, HART_LEAVE_OTHERS(s0)
13:
    ld t1, HART_LEAVE_LEFT(s0)
    bltu t1, t0, 13b
    fence iorw, iorw
    csrr a0, mhartid
    ld t0, HART_LEAVE_ENTRY(s0)
    ld a1, HART_LEAVE_A1(s0)
    ld a2, HART_LEAVE_A2(s0)
    jr t0

// Other harts, a0 = hart id, a1 = hart_leave_t: acknowledge, wait for MSIP, go.
    .balign 4
    .globl hart_trampoline_other
hart_trampoline_other:
    mv s0, a1
    li t0, 1
    addi t1, s0, HART_LEAVE_ARRIVED
    amoadd.d.aqrl zero, t0, (t1)
1:
    wfi
    csrr t0, mip
    andi t0, t0, MIP_MSIP
    beqz t0, 1b
    csrw mie, zero
    fence iorw, iorw
    ld t0, HART_LEAVE_MSIP(s0)
    slli t1, a0, 2
    add t0, t0, t1
    sw zero, 0(t0)
    lw zero, 0(t0)
    fence iorw, iorw
    fence.i
    ld t2, HART_LEAVE_ENTRY(s0)
    ld a1, HART_LEAVE_A1(s0)
    ld a2, HART_LEAVE_A2(s0)
    li t0, 1
    addi t1, s0, HART_LEAVE_LEFT
    amoadd.d.aqrl zero, t0, (t1)
    jr t2

    .balign 8
    .globl hart_trampoline_end
hart_trampoline_end:
