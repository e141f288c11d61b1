// SPDX-License-Identifier: MIT
// Leaving MicroPython for another program: riscv.handoff(), and the OpenSBI image carried for it.
#include "py/mperrno.h"
#include "py/objarray.h"
#include "py/runtime.h"

#include "csr.h"
#include "fdt_early.h"
#include "handoff.h"
#include "hart.h"
#include "irq.h"
#include "mphalport.h"
#include "phys.h"
#include "uart16550.h"

#define INFO_MAGIC (0x4942534f) // fw_dynamic_info, as OpenSBI's fw_dynamic expects it
#define INFO_VERSION (2)
#define INFO_MODE_S (1)
#define INFO_NO_BOOT_PRINTS (1) // its banner costs more than all of our own work
#define HART_SECONDS (5) // a loaded host may start a hart late

#ifdef HANDOFF_OPENSBI
__asm__ (
    ".pushsection .rodata.opensbi, \"a\", @progbits\n"
    ".balign 8\n"
    "handoff_opensbi_start:\n"
    ".incbin \"" HANDOFF_OPENSBI "\"\n"
    "handoff_opensbi_end:\n"
    ".popsection\n"
    );
#else
#error "HANDOFF_OPENSBI must name OpenSBI's fw_dynamic.bin"
#endif

extern const char handoff_opensbi_start[], handoff_opensbi_end[];

static uint64_t number(mp_obj_t o) {
    return mp_obj_get_int_truncated(o);
}

static MP_NORETURN void fail(int number, const char *format, int n, int of) {
    mp_obj_t args[2] = { MP_OBJ_NEW_SMALL_INT(number), MP_OBJ_NULL };
    vstr_t text;
    vstr_init(&text, 64);
    vstr_printf(&text, format, n, of);
    args[1] = mp_obj_new_str_from_vstr(&text);
    nlr_raise(mp_obj_exception_make_new(&mp_type_OSError, 2, 0, args));
}

static void check_ram(uint64_t start, uint64_t size, const char *what) {
    if (start % 8 != 0 || start + size < start || !phys_in_ram(start, start + size)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("handoff: %s 0x%lx+0x%lx: not in RAM or not 8-aligned"),
            what, (unsigned long)start, (unsigned long)size);
    }
}

// Harts still on their way would enter whatever lies at the reset address later.
static void wait_for_harts(void) {
    uint64_t deadline = mphalport_time() + HART_SECONDS * mphalport_timebase();
    while (hart_count() < fdt_early.num_harts) {
        if (mphalport_time() > deadline) {
            fail(MP_ETIMEDOUT, "handoff: %d of %d harts came in", hart_count(), fdt_early.num_harts);
        }
        mp_event_handle_nowait();
    }
}

static void fill_moves(hart_leave_t *leave, mp_obj_t list, uint64_t page) {
    size_t n;
    mp_obj_t *items;
    mp_obj_get_array(list, &n, &items);
    if (n > HART_MOVES_MAX) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("handoff: %d moves, at most %d"), (int)n, (int)HART_MOVES_MAX);
    }
    size_t used = 0;
    for (size_t i = 0; i < n; ++i) {
        mp_obj_t *move;
        mp_obj_get_array_fixed_n(items[i], 3, &move);
        hart_move_t m = { number(move[0]), number(move[1]), number(move[2]) };
        check_ram(m.dest, m.len, "destination");
        check_ram(m.src, m.len, "source");
        if (m.dest < page + HART_PAGE && page < m.dest + m.len) {
            mp_raise_msg(&mp_type_ValueError, MP_ERROR_TEXT("handoff: the trampoline's page is a destination"));
        }
        if (m.len != 0) {
            leave->moves[used++] = m;
        }
    }
}

// No device may interrupt or write memory from here on.
static void quiet(void) {
    irq_quiesce();
    csr_clear(mstatus, CSR_MSTATUS_MIE);
    csr_write(mie, 0);
    irq_off();
    uart16550_drain();
}

// handoff(page, entry, fdt, next=0, moves=(), banner=False): leave for `entry` with every hart; does not return.
//
// page: 4096 bytes outside every destination, for the trampoline; its content must stay until the
// last hart has left it.  fdt: a1.  next: where OpenSBI goes on in S-mode; 0 enters `entry` in
// M-mode with a2 = 0.  moves: (destination, source, length), made in this order as memmove does.
// banner: let OpenSBI print its own.
static mp_obj_t handoff(size_t n_args, const mp_obj_t *args) {
    uint64_t page = number(args[0]);
    uint64_t next = n_args > 3 ? number(args[3]) : 0;
    check_ram(page, HART_PAGE, "page");
    wait_for_harts();
    hart_leave_t *leave = hart_prepare((void *)page);
    if (leave == NULL) {
        fail(MP_EALREADY, "handoff: an earlier one failed; reset the machine", 0, 0);
    }
    leave->entry = number(args[1]);
    leave->a1 = number(args[2]);
    leave->msip = fdt_early.msip;
    check_ram(leave->a1, 40, "fdt");
    if (n_args > 4) {
        fill_moves(leave, args[4], page);
    }
    if (next != 0) {
        leave->a2 = (uintptr_t)leave->info;
        leave->info[0] = INFO_MAGIC;
        leave->info[1] = INFO_VERSION;
        leave->info[2] = next;
        leave->info[3] = INFO_MODE_S;
        leave->info[4] = n_args > 5 && mp_obj_is_true(args[5]) ? 0 : INFO_NO_BOOT_PRINTS;
        leave->info[5] = csr_read(mhartid);
    }
    if (hart_count() > 1 && leave->msip == 0) {
        fail(MP_ENODEV, "handoff: no MSIP registers to call the other harts with", 0, 0);
    }
    uintptr_t mie = csr_read(mie);
    quiet();
    size_t arrived = hart_gather(leave, mphalport_time, mphalport_time() + HART_SECONDS * mphalport_timebase());
    if (arrived != leave->others) {
        csr_write(mie, mie);
        irq_init();
        fail(MP_ETIMEDOUT, "handoff: %d of %d parked harts answered", arrived, leave->others);
    }
    hart_leave(leave);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(handoff_obj, 3, 6, handoff);

// opensbi() -> memoryview of fw_dynamic.bin
static mp_obj_t handoff_opensbi(void) {
    return mp_obj_new_memoryview('B', handoff_opensbi_end - handoff_opensbi_start, (void *)handoff_opensbi_start);
}
MP_DEFINE_CONST_FUN_OBJ_0(handoff_opensbi_obj, handoff_opensbi);
