# SPDX-License-Identifier: MIT
# Entry of the bench's bare programs: BARE runs bare_main in M-mode, otherwise a RISC-V Image that says it was entered.

        .option arch, +zicsr
        .section .text.start, "ax"
        .globl _start

#ifdef BARE

_start: csrr    t0, mhartid
        bnez    t0, park
        la      sp, stack_end
        call    bare_main
park:   wfi
        j       park

        .section .bss
        .balign 16
        .skip   4096
stack_end:

#else

# The header that boot loaders look at; IMAGE_SIZE is what it says the kernel needs in memory.
_start: .option push
        .option norvc
        j       entry
        .option pop
        .word   0
        .dword  0x200000                # text_offset
        .dword  IMAGE_SIZE
        .dword  0                       # flags: little-endian
        .word   2                       # version
        .word   0
        .dword  0
        .ascii  "RISCV\0\0\0"
        .ascii  "RSC\x05"
        .word   0

# S-mode, no stack: print the time and a line on the UART, then wait. Not through the SBI: older ones take
# milliseconds for each byte.
entry:  rdtime  s1
        li      s0, 64
        li      s2, 0x10000000
digit:  addi    s0, s0, -4
        srl     a0, s1, s0
        andi    a0, a0, 15
        sltiu   t0, a0, 10
        xori    t0, t0, 1
        li      t1, 'a' - '0' - 10
        mul     t0, t0, t1
        add     a0, a0, t0
        addi    a0, a0, '0'
        sb      a0, 0(s2)
        bnez    s0, digit
        lla     s0, text
next:   lbu     a0, 0(s0)
        beqz    a0, park
        sb      a0, 0(s2)
        addi    s0, s0, 1
        j       next
park:   wfi
        j       park

text:   .asciz  " ticks: kernel entered\n"

#endif
