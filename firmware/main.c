// SPDX-License-Identifier: MIT
// Start-up, the REPL loop, soft reset.
#include "py/builtin.h"
#include "py/compile.h"
#include "py/cstack.h"
#include "py/frozenmod.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#if MICROPY_EMIT_RV64
#include "py/asmrv64.h"
#endif
#include "shared/readline/readline.h"
#include "shared/runtime/gchelper.h"
#include "shared/runtime/pyexec.h"

#include "entropy.h"
#include "fdt_early.h"
#include "irq.h"
#include "main.h"
#include "phys.h"
#include "trap.h"
#include "uart16550.h"

// The first piece of the heap: small, for its tables are cleared at each start. It grows by itself.
#define HEAP_FIRST (4 * 1024 * 1024)
#define HEAP_LEAST (256 * 1024)
// Where QEMU's virt machine has them: only to say that there is no device tree to ask.
#define LAST_RESORT_UART 0x10000000
#define LAST_RESORT_TEST 0x100000

extern char _stack_bottom[], _stack_top[];

main_entry_t main_entry;
main_reset_t main_reset_cause = MAIN_RESET_POWER_ON;

static void init_machine(void) {
    fdt_early_t *f = &fdt_early;
    if (!fdt_early_init((const void *)main_entry.a1)) {
        f->test = LAST_RESORT_TEST;
        uart16550_init(LAST_RESORT_UART, 0);
        trap_panic("no valid device tree in a1");
    }
    fdt_early_select(main_entry.a0);
    phys_init();
    uart16550_init(f->uart, f->uart_shift);
    mphalport_init_time(f->timebase, f->mtimecmp);
    irq_init();
}

#if MICROPY_EMIT_RV64
unsigned main_rv64_extensions(void) {
    return (fdt_early.zba ? RV64_EXT_ZBA : 0) | (fdt_early.zbb ? RV64_EXT_ZBB : 0);
}
#endif

static void init_heap(void) {
    uint64_t start, end;
    phys_largest(&start, &end);
    uint64_t size = HEAP_FIRST;
    while (size > (end - start) / 4 && size > HEAP_LEAST) {
        size /= 2;
    }
    char *heap = phys_alloc_heap(size);
    if (heap == NULL) {
        trap_panic("no memory for the heap");
    }
    gc_init(heap, heap + size);
}

static void run_repl(void) {
    for (;;) {
        int ret = pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl();
        if (ret != 0) {
            return;
        }
    }
}

static void run_boot(void) {
    if (mp_find_frozen_module("_boot.py", NULL, NULL) == MP_IMPORT_STAT_FILE) {
        pyexec_frozen_module("_boot.py", true);
    }
}

MP_NORETURN void main(uint64_t a0, uint64_t a1, uint64_t a2);

MP_NORETURN void main(uint64_t a0, uint64_t a1, uint64_t a2) {
    main_entry = (main_entry_t) { a0, a1, a2 };
    init_machine();
    for (;;) {
        mp_cstack_init_with_top(_stack_top, _stack_top - _stack_bottom);
        init_heap();
        mp_init();
        readline_init0();
        run_boot();
        run_repl();
        mp_hal_stdout_tx_str("MPY: soft reboot\r\n");
        if (!irq_quiesce()) {
            mp_hal_stdout_tx_str("a device did not stop\r\n");
        }
        mp_handle_pending(false); // irq.c's node must not stay queued in a scheduler that is forgotten
        entropy_set_source(mp_const_none, mp_const_none); // what it called goes with the heap
        gc_sweep_all();
        mp_deinit();
        phys_reset();
        main_reset_cause = MAIN_RESET_SOFT;
    }
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
}

void nlr_jump_fail(void *val) {
    (void)val;
    trap_panic("exception without a handler");
}

MP_NORETURN void abort(void) {
    trap_panic("abort");
}

MP_NORETURN void __fatal_error(const char *msg) {
    trap_panic(msg);
}
