// SPDX-License-Identifier: MIT
// What extmod/modmachine.c, which includes this file, asks of a port.
#include "csr.h"
#include "fdt_early.h"
#include "irq.h"
#include "main.h"
#include "mmio.h"
#include "trap.h"

// 64-bit physical memory; upstream's mem type stops at 32 bits.
static mp_obj_t mem64_subscr(mp_obj_t self, mp_obj_t index, mp_obj_t value) {
    (void)self;
    if (value == MP_OBJ_NULL) {
        return MP_OBJ_NULL; // no del
    }
    uintptr_t addr = mp_obj_get_int_truncated(index);
    if (addr % 8 != 0) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("address %lx is not aligned to 8 bytes"), addr);
    }
    if (value == MP_OBJ_SENTINEL) {
        return mp_obj_new_int_from_ull(mmio_read64(addr));
    }
    mmio_write64(addr, mp_obj_get_int_truncated(value));
    return mp_const_none;
}

static void mem64_print(const mp_print_t *print, mp_obj_t self, mp_print_kind_t kind) {
    (void)self;
    (void)kind;
    mp_print_str(print, "<64-bit memory>");
}

static MP_DEFINE_CONST_OBJ_TYPE(mem64_type, MP_QSTR_mem, MP_TYPE_FLAG_NONE, print, mem64_print, subscr, mem64_subscr);
static const mp_obj_base_t mem64_obj = { &mem64_type };

static void mp_machine_idle(void) {
    mp_event_wait_ms(1);
}

MP_NORETURN static void mp_machine_reset(void) {
    irq_quiesce();
    trap_reset();
}

static mp_int_t mp_machine_reset_cause(void) {
    return main_reset_cause;
}

// QEMU's harts have no rate of their own: the timebase is what ticks_cpu counts.
static mp_obj_t mp_machine_get_freq(void) {
    return mp_obj_new_int_from_ull(mphalport_timebase());
}

static void mp_machine_set_freq(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    (void)args;
    mp_raise_NotImplementedError(MP_ERROR_TEXT("frequency is fixed"));
}

// The machine has no serial number: implementation and hart.
static mp_obj_t mp_machine_unique_id(void) {
    uint64_t id[2] = { csr_read(marchid) ^ csr_read(mvendorid) << 32, csr_read(mhartid) };
    return mp_obj_new_bytes((const byte *)id, sizeof(id));
}

static void mp_machine_lightsleep(size_t n_args, const mp_obj_t *args) {
    mp_event_wait_ms(n_args == 0 ? (mp_uint_t)-1 : (mp_uint_t)mp_obj_get_int(args[0]));
}

MP_NORETURN static void mp_machine_deepsleep(size_t n_args, const mp_obj_t *args) {
    if (n_args != 0) {
        mp_hal_delay_ms(mp_obj_get_int(args[0]));
    }
    mp_machine_reset();
}

// poweroff(code=0): ends QEMU with that exit code.
static mp_obj_t machine_poweroff(size_t n_args, const mp_obj_t *args) {
    mp_int_t code = n_args == 0 ? 0 : mp_obj_get_int(args[0]);
    if (code < 0 || code > 0xffff) {
        mp_raise_ValueError(MP_ERROR_TEXT("code must be 0-65535"));
    }
    irq_quiesce();
    trap_poweroff(code);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(machine_poweroff_obj, 0, 1, machine_poweroff);

#define MICROPY_PY_MACHINE_EXTRA_GLOBALS \
    { MP_ROM_QSTR(MP_QSTR_mem64), MP_ROM_PTR(&mem64_obj) }, \
    { MP_ROM_QSTR(MP_QSTR_poweroff), MP_ROM_PTR(&machine_poweroff_obj) }, \
    { MP_ROM_QSTR(MP_QSTR_PWRON_RESET), MP_ROM_INT(MAIN_RESET_POWER_ON) }, \
    { MP_ROM_QSTR(MP_QSTR_SOFT_RESET), MP_ROM_INT(MAIN_RESET_SOFT) },
