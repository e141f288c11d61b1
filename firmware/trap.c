// SPDX-License-Identifier: MIT
// What a trap means: interrupt, Python exception, or the end.
//
// A fault taken by native code, or by the C that touches addresses which Python named (the
// linker puts it between _faultable_start and _faultable_end), becomes an exception in the code
// that faulted. Any other fault is a bug: the frame is printed and QEMU left with a code.
#include <stddef.h>

#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/objexcept.h"
#include "py/runtime.h"

#include "csr.h"
#include "fdt_early.h"
#include "irq.h"
#include "mmio.h"
#include "phys.h"
#include "trap.h"
#include "uart16550.h"

#define CAUSE_INTERRUPT (1ull << 63)
#define CAUSE_IRQ_M_TIMER (CAUSE_INTERRUPT | 7)
#define CAUSE_IRQ_M_EXT (CAUSE_INTERRUPT | 11)
#define CAUSE_FETCH_FAULT 1
#define CAUSE_FETCH_PAGE_FAULT 12
#define EXIT_FAULT 134 // what a shell reports for an abort

// Values of QEMU's test device; the exit code goes above the low half.
#define TEST_FAIL 0x3333
#define TEST_PASS 0x5555
#define TEST_RESET 0x7777

#define CHECK(field, off) _Static_assert(offsetof(trap_frame_t, field) == (off), #field)
CHECK(x, TRAP_FRAME_X);
CHECK(f, TRAP_FRAME_F);
CHECK(fcsr, TRAP_FRAME_FCSR);
CHECK(mepc, TRAP_FRAME_MEPC);
CHECK(mcause, TRAP_FRAME_MCAUSE);
CHECK(mtval, TRAP_FRAME_MTVAL);
CHECK(mstatus, TRAP_FRAME_MSTATUS);
_Static_assert(sizeof(trap_frame_t) == TRAP_FRAME_SIZE && TRAP_FRAME_SIZE % 16 == 0, "frame size");

extern const char _faultable_start[], _faultable_end[];
extern const char _frozen_native_start[], _frozen_native_end[];
extern const char _stack_bottom[];
extern const char _trap_nested_bottom[], _trap_nested_top[];

static const char *cause_name(uint64_t cause) {
    static const char *const names[] = {
        "instruction address misaligned", "instruction access fault", "illegal instruction", "breakpoint",
        "load address misaligned", "load access fault", "store address misaligned", "store access fault",
        "environment call from U-mode", "environment call from S-mode", "reserved", "environment call",
        "instruction page fault", "load page fault", "reserved", "store page fault",
    };
    return cause < MP_ARRAY_SIZE(names) ? names[cause] : "unknown cause";
}

static void console_write(void *env, const char *s, size_t len) {
    (void)env;
    uart16550_write(s, len);
}

static const mp_print_t console = { NULL, console_write };

void trap_poweroff(int code) {
    csr_clear(mstatus, CSR_MSTATUS_MIE);
    uart16550_drain();
    if (fdt_early.test != 0) {
        mmio_write32(fdt_early.test, code == 0 ? TEST_PASS : (uint32_t)code << 16 | TEST_FAIL);
    }
    mp_printf(&console, "no power-off device: halted\r\n");
    for (;;) {
        csr_wfi();
    }
}

void trap_reset(void) {
    csr_clear(mstatus, CSR_MSTATUS_MIE);
    uart16550_drain();
    if (fdt_early.test != 0) {
        mmio_write32(fdt_early.test, TEST_RESET);
    }
    mp_printf(&console, "no reset device: halted\r\n");
    for (;;) {
        csr_wfi();
    }
}

void trap_panic(const char *why) {
    csr_clear(mstatus, CSR_MSTATUS_MIE);
    mp_printf(&console, "\r\nfatal: %s\r\n", why);
    irq_quiesce();
    trap_poweroff(EXIT_FAULT);
}

static void print_frame(const trap_frame_t *f) {
    static const char names[32][5] = {
        "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
        "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
    };
    bool overflow = f->x[2] < (uintptr_t)_stack_bottom; // link.ld: nothing to return to lies there
    mp_printf(&console, "\r\nfatal: %s%s\r\n", overflow ? "stack overflow: " : "", cause_name(f->mcause));
    mp_printf(&console, "mepc    %016lx  mcause %016lx  mtval %016lx\r\n", f->mepc, f->mcause, f->mtval);
    mp_printf(&console, "mstatus %016lx  mhartid %lu  fcsr %lx\r\n", f->mstatus, csr_read(mhartid), f->fcsr);
    for (int i = 1; i < 32; ++i) {
        mp_printf(&console, "%4s %016lx%s", names[i], f->x[i], i % 4 == 3 || i == 31 ? "\r\n" : "  ");
    }
    for (int i = 0; i < 32; ++i) {
        mp_printf(&console, " f%02d %016lx%s", i, f->f[i], i % 4 == 3 ? "\r\n" : "  ");
    }
    mp_printf(&console, "stack at sp:\r\n");
    for (int i = 0; i < 16 && phys_in_ram(f->x[2], f->x[2] + 128) && f->x[2] % 8 == 0; ++i) {
        mp_printf(&console, " %016lx%s", ((uint64_t *)f->x[2])[i], i % 4 == 3 ? "\r\n" : "");
    }
}

static MP_NORETURN void fatal(const trap_frame_t *f) {
    static bool again;
    if (!again) {
        again = true; // a fault while printing ends at once
        print_frame(f);
        irq_quiesce();
    }
    trap_poweroff(EXIT_FAULT);
}

static bool between(uint64_t pc, const char *start, const char *end) {
    return pc >= (uintptr_t)start && pc < (uintptr_t)end;
}

static bool is_native(uint64_t pc) {
    return phys_is_exec(pc) || between(pc, _frozen_native_start, _frozen_native_end);
}

static bool is_python(const trap_frame_t *f) {
    if (between((uintptr_t)f, _trap_nested_bottom, _trap_nested_top) || MP_STATE_THREAD(nlr_top) == NULL) {
        return false;
    }
    if (f->mcause == CAUSE_FETCH_FAULT || f->mcause == CAUSE_FETCH_PAGE_FAULT) {
        return is_native(f->x[1]); // a jump to nowhere: ask who jumped
    }
    return is_native(f->mepc) || between(f->mepc, _faultable_start, _faultable_end);
}

// Runs in the place of the code that faulted, on its stack.
static MP_NORETURN void raise_fault(uint64_t cause, uint64_t pc, uint64_t addr) {
    vstr_t text;
    vstr_init(&text, 64);
    vstr_printf(&text, "%s at pc 0x%lx addr 0x%lx", cause_name(cause), pc, addr);
    mp_obj_t args[2] = { MP_OBJ_NEW_SMALL_INT(MP_EFAULT), mp_obj_new_str_from_vstr(&text) };
    nlr_raise(mp_obj_exception_make_new(&mp_type_OSError, 2, 0, args));
}

// Likewise, in the place of native code that goes on and on.
static MP_NORETURN void raise_interrupt(void) {
    MP_STATE_THREAD(mp_pending_exception) = MP_OBJ_NULL;
    nlr_raise(MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception)));
}

void trap_handle(trap_frame_t *f);

void trap_handle(trap_frame_t *f) {
    if (f->mcause == CAUSE_IRQ_M_EXT) {
        irq_external();
        return;
    }
    if (f->mcause == CAUSE_IRQ_M_TIMER) {
        mphalport_timer();
        irq_timer();
        // not in frozen code, which a driver relies on to finish what it began
        if (irq_interrupt_overdue() && phys_is_exec(f->mepc)) {
            f->x[2] &= ~(uint64_t)15;
            f->mepc = (uintptr_t)raise_interrupt;
        }
        return;
    }
    if ((f->mcause & CAUSE_INTERRUPT) || !is_python(f)) {
        fatal(f);
    }
    f->x[10] = f->mcause;
    f->x[11] = f->mepc;
    f->x[12] = f->mtval;
    f->x[2] &= ~(uint64_t)15;
    f->mepc = (uintptr_t)raise_fault;
}
