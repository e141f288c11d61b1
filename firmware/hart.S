// SPDX-License-Identifier: MIT
// Where the harts that lost the election wait.
#include "csr.h"

    .section .text.hart, "ax", @progbits
    .globl  hart_park
hart_park:
    li      t0, CSR_MIE_MSIE            // a software interrupt ends wfi; it is never taken
    csrw    mie, t0
1:  wfi
    j       1b
