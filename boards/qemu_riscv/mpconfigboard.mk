# Machine options and optional modules of the board.

CROSS_COMPILE ?= riscv64-unknown-elf-
# no _zicsr: Debian's gcc 12 then finds no library variant
BOARD_MARCH = -march=rv64gc -mabi=lp64d -mcmodel=medany
BOARD_LDSCRIPT = $(BOARD_DIR)/link.ld

MICROPY_VFS_FAT = 1
MICROPY_VFS_LFS1 = 1
MICROPY_VFS_LFS2 = 1
