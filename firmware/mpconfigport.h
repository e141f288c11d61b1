// SPDX-License-Identifier: MIT
// Feature switches and word types; what differs from the highest level has a reason beside it.
#ifndef FIRMWARE_MPCONFIGPORT_H
#define FIRMWARE_MPCONFIGPORT_H

#include <alloca.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mpconfigboard.h"

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EVERYTHING)

// Words: 64-bit objects, 63-bit small integers.
typedef intptr_t mp_int_t;
typedef uintptr_t mp_uint_t;
typedef intptr_t mp_off_t;
#define MP_SSIZE_MAX (0x7fffffffffffffff)
#define UINT_FMT "%lu"
#define INT_FMT "%ld"
#define HEX_FMT "%lx"

// Native code. These mean nothing to a MicroPython without the emitter's patches.
#ifdef MICROPY_PORT_HAS_EMIT_RV64
#define MICROPY_EMIT_RV64 (1)
#define MICROPY_EMIT_INLINE_RV64 (1)
#define MICROPY_RV64_EXTENSIONS (main_rv64_extensions())
#endif
#define MP_PLAT_ALLOC_EXEC(min_size, ptr, size) phys_alloc_exec_raise(min_size, ptr, size)
#define MP_PLAT_FREE_EXEC(ptr, size) phys_free_exec(ptr, size)
// Code is not on the heap, but what hangs on its relocations is: keep tracking it.
#define MICROPY_PERSISTENT_CODE_TRACK_FUN_DATA (1)
#define MICROPY_PERSISTENT_CODE_TRACK_BSS_RODATA (1)
#define MP_HAL_CLEAN_DCACHE(addr, size) __asm volatile ("fence.i" : : : "memory")
#define MICROPY_PERSISTENT_CODE_LOAD (1)

// Speed: the bytecode loop by computed jumps.
#define MICROPY_OPT_COMPUTED_GOTO (1)

// Memory.
#define MICROPY_ENABLE_GC (1)
#define MICROPY_GC_INTERIOR_ROOTS (1) // all that viper holds of a buffer may be an address in its middle
#define MICROPY_GC_SPLIT_HEAP (1)
#define MICROPY_GC_SPLIT_HEAP_AUTO (1) // the heap takes what RAM allows, piece by piece
#define MP_PLAT_ALLOC_HEAP(size) phys_alloc_heap(size)
#define MP_PLAT_FREE_HEAP(ptr) phys_free_heap(ptr)
#define MICROPY_ALLOC_GC_STACK_SIZE (512) // room for deep structures before a rescan
#define MICROPY_MALLOC_USES_ALLOCATED_SIZE (1)
#define MICROPY_MEM_STATS (1)
#define MICROPY_STACK_CHECK_MARGIN (32 * 1024) // native code and libm between two checks, and the report
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF (1)
#define MICROPY_EMERGENCY_EXCEPTION_BUF_SIZE (256)

// Interrupts and waiting.
#define MICROPY_SCHEDULER_STATIC_NODES (1) // irq.c
#define MICROPY_SCHEDULER_DEPTH (16)

// Numbers and text.
#define MICROPY_LONGINT_IMPL (MICROPY_LONGINT_IMPL_MPZ)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_DOUBLE)
#define MICROPY_ERROR_REPORTING (MICROPY_ERROR_REPORTING_DETAILED)
#define MICROPY_WARNINGS (1)
#define MICROPY_USE_INTERNAL_PRINTF (0) // nothing here calls printf
#define MICROPY_USE_INTERNAL_ERRNO (1) // one set of numbers, whatever the C library uses
#define MICROPY_PY_STR_BYTES_CMP_WARN (0)

// REPL.
#define MICROPY_READLINE_HISTORY_SIZE (50)
#define MICROPY_HW_BOARD_NAME MICROPY_BOARD_NAME
#define MICROPY_HW_MCU_NAME MICROPY_BOARD_CPU
#define MICROPY_BANNER_NAME_AND_VERSION "MicroPython " MICROPY_GIT_TAG
#define MICROPY_PY_BUILTINS_HELP_TEXT main_help_text

// File systems.
#define MICROPY_VFS (1)
#define MICROPY_READER_VFS (1)
#define MICROPY_VFS_ROM (1)
#define MICROPY_VFS_ROM_IOCTL (0) // no ROM partitions: a VfsRom is made over any buffer
#define MICROPY_FATFS_ENABLE_LFN (2)
#define MICROPY_FATFS_LFN_CODE_PAGE 437
#define MICROPY_FATFS_USE_LABEL (1)
#define MICROPY_FATFS_RPATH (2)
#define MICROPY_FATFS_MULTI_PARTITION (0)
#define MICROPY_FATFS_MAX_SS (4096)
#define MICROPY_FATFS_EXFAT (1)

// Modules.
#define MICROPY_PY_SYS_PLATFORM "qemu_riscv"
#define MICROPY_PY_SYS_SETTRACE (0) // costs every bytecode
#define MICROPY_PY_SYS_EXC_INFO (1)
#define MICROPY_PY_OS_INCLUDEFILE "firmware/modos.c"
#define MICROPY_PY_OS_UNAME (1)
#define MICROPY_PY_OS_SYNC (1)
#define MICROPY_PY_OS_URANDOM (1)
#define MICROPY_PY_OS_DUPTERM (4) // beside the UART: consoles, keyboards, a screen
#define MICROPY_PY_OS_DUPTERM_NOTIFY (1)
#define MICROPY_PY_TIME_INCLUDEFILE "firmware/modtime.c"
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_TIME_TIME_NS (1)
#define MICROPY_EPOCH_IS_1970 (1) // as the clock and the file systems here count
#define MICROPY_PY_MACHINE (1)
#define MICROPY_PY_MACHINE_INCLUDEFILE "firmware/modmachine.c"
#define MICROPY_PY_MACHINE_RESET (1)
#define MICROPY_PY_MACHINE_BARE_METAL_FUNCS (1)
#define MICROPY_PY_MACHINE_DISABLE_IRQ_ENABLE_IRQ (1)
#define MICROPY_PY_MACHINE_PIN_BASE (1)
#define MICROPY_PY_MACHINE_PULSE (1) // of pins made from PinBase
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC (entropy_seed())
#define MICROPY_PY_WEBSOCKET (1) // over any stream
#define MICROPY_PY_ONEWIRE (0)
#define MICROPY_PY_ERRNO_LIST \
    X(EPERM) X(ENOENT) X(EINTR) X(EIO) X(ENXIO) X(ENOEXEC) X(EBADF) X(EAGAIN) X(ENOMEM) X(EACCES) X(EFAULT) \
    X(EBUSY) X(EEXIST) X(ENODEV) X(ENOTDIR) X(EISDIR) X(EINVAL) X(EFBIG) X(ENOSPC) X(ESPIPE) X(EROFS) X(EPIPE) \
    X(EOPNOTSUPP) X(EADDRINUSE) X(ECONNABORTED) X(ECONNRESET) X(ENOBUFS) X(EISCONN) X(ENOTCONN) X(ETIMEDOUT) \
    X(ECONNREFUSED) X(EHOSTUNREACH) X(EALREADY) X(EINPROGRESS) X(ECANCELED)

#define MP_STATE_PORT MP_STATE_VM
#define MP_NORETURN __attribute__((noreturn)) // 1.25 has another name for it

void *phys_alloc_heap(size_t size);
void phys_free_heap(void *p);
void phys_alloc_exec_raise(size_t size, void **ptr, size_t *allocated);
void phys_free_exec(void *ptr, size_t allocated);
unsigned long entropy_seed(void);
unsigned main_rv64_extensions(void); // of the hart that runs MicroPython
extern const char main_help_text[];

#endif
