// SPDX-License-Identifier: MIT
// Names of the board.
#define MICROPY_BOARD_NAME "QEMU RISC-V virt"
#define MICROPY_BOARD_CPU "rv64gc"
