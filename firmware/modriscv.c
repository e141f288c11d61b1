// SPDX-License-Identifier: MIT
// Built-in `riscv`: what Python needs of the machine to drive devices.
#include <string.h>

#include "py/binary.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/objarray.h"
#include "py/runtime.h"
#include "shared/runtime/interrupt_char.h"

#include "csrcall.h"
#include "entropy.h"
#include "fdt_early.h"
#include "handoff.h"
#include "hart.h"
#include "irq.h"
#include "main.h"
#include "mmio.h"
#include "phys.h"

static uint64_t get_u64(mp_obj_t o) {
    return mp_obj_get_int_truncated(o);
}

static mp_obj_t new_u64(uint64_t v) {
    return mp_obj_new_int_from_uint(v); // a small integer where it fits; ..._from_ull() always allocates
}

// CSRs: by number or by name.
static uint32_t csr_arg(mp_obj_t o) {
    mp_int_t n = mp_obj_is_str(o) ? csrcall_number(mp_obj_str_get_str(o)) : mp_obj_get_int(o);
    if (n < 0 || n > 0xfff) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such csr"));
    }
    return n;
}

static mp_obj_t riscv_csr_read(mp_obj_t csr) {
    return new_u64(csrcall(CSRCALL_SET, csr_arg(csr), 0));
}
static MP_DEFINE_CONST_FUN_OBJ_1(riscv_csr_read_obj, riscv_csr_read);

static mp_obj_t riscv_csr_write(mp_obj_t csr, mp_obj_t value) {
    csrcall(CSRCALL_WRITE, csr_arg(csr), get_u64(value));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(riscv_csr_write_obj, riscv_csr_write);

static mp_obj_t riscv_csr_set(mp_obj_t csr, mp_obj_t mask) {
    return new_u64(csrcall(CSRCALL_SET, csr_arg(csr), get_u64(mask)));
}
static MP_DEFINE_CONST_FUN_OBJ_2(riscv_csr_set_obj, riscv_csr_set);

static mp_obj_t riscv_csr_clear(mp_obj_t csr, mp_obj_t mask) {
    return new_u64(csrcall(CSRCALL_CLEAR, csr_arg(csr), get_u64(mask)));
}
static MP_DEFINE_CONST_FUN_OBJ_2(riscv_csr_clear_obj, riscv_csr_clear);

// Order of memory accesses.
static mp_obj_t riscv_fence(void) {
    mmio_fence();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_fence_obj, riscv_fence);

static mp_obj_t riscv_fence_i(void) {
    mmio_fence_i();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_fence_i_obj, riscv_fence_i);

// Time and harts.
static mp_obj_t riscv_time(void) {
    return new_u64(mphalport_time());
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_time_obj, riscv_time);

static mp_obj_t riscv_timebase(void) {
    return new_u64(mphalport_timebase());
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_timebase_obj, riscv_timebase);

static mp_obj_t riscv_hartid(void) {
    return new_u64(csr_read(mhartid));
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_hartid_obj, riscv_hartid);

static mp_obj_t riscv_harts(void) {
    return new_u64(hart_count());
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_harts_obj, riscv_harts);

// wfi(timeout_ms=-1): until an interrupt, the timeout, or Ctrl-C.
static mp_obj_t riscv_wfi(size_t n_args, const mp_obj_t *args) {
    mp_int_t timeout_ms = n_args > 0 ? mp_obj_get_int(args[0]) : -1;
    mp_event_wait_ms(timeout_ms);
    mp_event_handle_nowait();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(riscv_wfi_obj, 0, 1, riscv_wfi);

// What QEMU passed.
static mp_obj_t riscv_fdt(void) {
    if (fdt_early.size == 0) {
        mp_raise_msg_varg(&mp_type_OSError, MP_ERROR_TEXT("no device tree at 0x%lx"), (uintptr_t)fdt_early.blob);
    }
    return mp_obj_new_memoryview('B', fdt_early.size, (void *)fdt_early.blob);
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_fdt_obj, riscv_fdt);

static mp_obj_t riscv_entry(void) {
    mp_obj_t items[3] = { new_u64(main_entry.a0), new_u64(main_entry.a1), new_u64(main_entry.a2) };
    return mp_obj_new_tuple(3, items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_entry_obj, riscv_entry);

static mp_obj_t riscv_reset_cause(void) {
    return MP_OBJ_NEW_SMALL_INT(main_reset_cause);
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_reset_cause_obj, riscv_reset_cause);

// Memory.
// addr(buf, writable=False): a buffer that a device shall write must not be a read-only one.
static mp_obj_t riscv_addr(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(args[0], &info, n_args > 1 && mp_obj_is_true(args[1]) ? MP_BUFFER_WRITE : MP_BUFFER_READ);
    return new_u64((uintptr_t)info.buf);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(riscv_addr_obj, 1, 2, riscv_addr);

// spans(table, pieces, writable): address, number and length of every (number, buffer), 24 bytes each.
static mp_obj_t riscv_spans(mp_obj_t table_in, mp_obj_t pieces_in, mp_obj_t writable) {
    mp_buffer_info_t table, info;
    mp_get_buffer_raise(table_in, &table, MP_BUFFER_WRITE);
    size_t n;
    mp_obj_t *pieces;
    mp_obj_get_array(pieces_in, &n, &pieces);
    if (n > table.len / 24 || ((uintptr_t)table.buf & 7) != 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("table is too small or not aligned"));
    }
    mp_uint_t flags = mp_obj_is_true(writable) ? MP_BUFFER_WRITE : MP_BUFFER_READ;
    uint64_t *at = table.buf;
    for (size_t i = 0; i < n; ++i, at += 3) {
        mp_obj_t *piece;
        mp_obj_get_array_fixed_n(pieces[i], 2, &piece);
        mp_get_buffer_raise(piece[1], &info, flags);
        at[0] = (uintptr_t)info.buf;
        at[1] = mp_obj_get_int(piece[0]);
        at[2] = info.len;
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(riscv_spans_obj, riscv_spans);

static mp_obj_t riscv_ram(void) {
    mp_obj_t banks[FDT_EARLY_BANKS];
    for (size_t i = 0; i < fdt_early.num_banks; ++i) {
        mp_obj_t items[2] = { new_u64(fdt_early.banks[i].start), new_u64(fdt_early.banks[i].end) };
        banks[i] = mp_obj_new_tuple(2, items);
    }
    return mp_obj_new_tuple(fdt_early.num_banks, banks);
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_ram_obj, riscv_ram);

static mp_obj_t riscv_regions(void) {
    mp_obj_t list = mp_obj_new_list(0, NULL);
    phys_region_t copy;
    for (size_t i = 0; phys_get(i) != NULL; ++i) {
        copy = *phys_get(i); // what follows may grow the heap, and so the table
        mp_obj_t items[3] = { new_u64(copy.start), new_u64(copy.end), mp_obj_new_str(copy.name, strlen(copy.name)) };
        mp_obj_list_append(list, mp_obj_new_tuple(3, items));
    }
    size_t n;
    mp_obj_t *items;
    mp_obj_list_get(list, &n, &items);
    return mp_obj_new_tuple(n, items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_regions_obj, riscv_regions);

static mp_obj_t riscv_reserve(mp_obj_t start_in, mp_obj_t end_in, mp_obj_t name_in) {
    uint64_t start = get_u64(start_in), end = get_u64(end_in);
    size_t len;
    const char *name = mp_obj_str_get_data(name_in, &len);
    if (start >= end) {
        mp_raise_ValueError(MP_ERROR_TEXT("empty region"));
    }
    if (!phys_in_ram(start, end)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s 0x%lx-0x%lx: not in RAM"), name, start, end);
    }
    const phys_region_t *r = phys_overlap(start, end);
    if (r != NULL) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("%s 0x%lx-0x%lx: overlaps %s 0x%lx-0x%lx"),
            name, start, end, r->name, r->start, r->end);
    }
    if (!phys_add(start, end, PHYS_RESERVED, name, len)) {
        mp_raise_msg_varg(&mp_type_OSError, MP_ERROR_TEXT("%s: too many regions"), name);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(riscv_reserve_obj, riscv_reserve);

static mp_obj_t riscv_release(mp_obj_t start) {
    if (!phys_remove(get_u64(start), PHYS_RESERVED)) {
        mp_raise_ValueError(MP_ERROR_TEXT("not reserved"));
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(riscv_release_obj, riscv_release);

static mp_obj_t riscv_resize(mp_obj_t start, mp_obj_t new_start, mp_obj_t new_end) {
    if (!phys_resize(get_u64(start), get_u64(new_start), get_u64(new_end))) {
        mp_raise_ValueError(MP_ERROR_TEXT("not reserved, or something is in the way"));
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(riscv_resize_obj, riscv_resize);

static mp_obj_t riscv_largest_free(void) {
    uint64_t start, end;
    phys_largest(&start, &end);
    mp_obj_t items[2] = { new_u64(start), new_u64(end) };
    return mp_obj_new_tuple(2, items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_largest_free_obj, riscv_largest_free);

// Devices to stop before memory changes hands.
static mp_obj_t riscv_quiesce_add(mp_obj_t addr, mp_obj_t width_in) {
    mp_int_t width = mp_obj_get_int(width_in);
    if (width != 1 && width != 2 && width != 4) {
        mp_raise_ValueError(MP_ERROR_TEXT("width must be 1, 2 or 4"));
    }
    if (!irq_quiesce_add(get_u64(addr), width)) {
        mp_raise_OSError(MP_ENOMEM);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(riscv_quiesce_add_obj, riscv_quiesce_add);

static mp_obj_t riscv_quiesce_remove(mp_obj_t addr) {
    return mp_obj_new_bool(irq_quiesce_remove(get_u64(addr)));
}
static MP_DEFINE_CONST_FUN_OBJ_1(riscv_quiesce_remove_obj, riscv_quiesce_remove);

// Interrupts.
// irq(number, callback, trigger=4): 1 rising, 2 falling, 4 high, 8 low; None disables the number.
static mp_obj_t riscv_irq(size_t n_args, const mp_obj_t *args) {
    mp_int_t n = mp_obj_get_int(args[0]);
    mp_int_t trigger = n_args > 2 ? mp_obj_get_int(args[2]) : 4;
    if (args[1] != mp_const_none && !mp_obj_is_callable(args[1])) {
        mp_raise_TypeError(MP_ERROR_TEXT("callback must be callable or None"));
    }
    if (!irq_present()) {
        mp_raise_OSError(MP_ENODEV);
    }
    if (n < 0 || n >= IRQ_MAX || trigger < 0 || trigger > 8 || !irq_set_handler(n, args[1], trigger)) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such interrupt source"));
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(riscv_irq_obj, 2, 3, riscv_irq);

// irq_complete(number, worked=False) -> False when it was a storm and is silenced
static mp_obj_t riscv_irq_complete(size_t n_args, const mp_obj_t *args) {
    return mp_obj_new_bool(irq_complete(mp_obj_get_int(args[0]), n_args > 1 && mp_obj_is_true(args[1])));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(riscv_irq_complete_obj, 1, 2, riscv_irq_complete);

// irq_controller() -> 'PLIC', 'APLIC', 'IMSIC' or ''
static mp_obj_t riscv_irq_controller(void) {
    const char *name = irq_controller();
    return mp_obj_new_str(name, strlen(name));
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_irq_controller_obj, riscv_irq_controller);

// irq_serves(phandle): does what is wired to that controller of the device tree interrupt this hart?
static mp_obj_t riscv_irq_serves(mp_obj_t phandle) {
    return mp_obj_new_bool(fdt_early_serves(get_u64(phandle)));
}
static MP_DEFINE_CONST_FUN_OBJ_1(riscv_irq_serves_obj, riscv_irq_serves);

// irq_state(number) -> (interrupts since it was connected, 0 or after how many useless ones it was silenced)
static mp_obj_t riscv_irq_state(mp_obj_t number) {
    uint32_t interrupts, silenced;
    irq_state(mp_obj_get_int(number), &interrupts, &silenced);
    mp_obj_t items[2] = { MP_OBJ_NEW_SMALL_INT(interrupts), MP_OBJ_NEW_SMALL_INT(silenced) };
    return mp_obj_new_tuple(2, items);
}
static MP_DEFINE_CONST_FUN_OBJ_1(riscv_irq_state_obj, riscv_irq_state);

// msi_alloc() -> (number for irq(), address, data): a message that a device may send
static mp_obj_t riscv_msi_alloc(void) {
    uint64_t addr;
    uint32_t n = irq_message_take(&addr);
    if (n == 0) {
        mp_raise_OSError(addr == 0 ? MP_ENODEV : MP_ENOSPC);
    }
    mp_obj_t items[3] = { MP_OBJ_NEW_SMALL_INT(n), new_u64(addr), MP_OBJ_NEW_SMALL_INT(n) };
    return mp_obj_new_tuple(3, items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(riscv_msi_alloc_obj, riscv_msi_alloc);

static mp_obj_t riscv_msi_free(mp_obj_t number) {
    if (!irq_message_give(mp_obj_get_int(number))) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such message"));
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(riscv_msi_free_obj, riscv_msi_free);

// keyboard_interrupt(char): raise KeyboardInterrupt in the main program if char is what stops it now.
static mp_obj_t riscv_keyboard_interrupt(mp_obj_t c) {
    if (mp_obj_get_int(c) != mp_interrupt_char) {
        return mp_const_false;
    }
    irq_keyboard_interrupt();
    return mp_const_true;
}
static MP_DEFINE_CONST_FUN_OBJ_1(riscv_keyboard_interrupt_obj, riscv_keyboard_interrupt);

// entropy_source() -> name; entropy_source(name, readinto) registers; entropy_source(None) forgets.
static mp_obj_t riscv_entropy_source(size_t n_args, const mp_obj_t *args) {
    if (n_args == 0) {
        return entropy_source();
    }
    entropy_set_source(args[0], n_args == 2 ? args[1] : mp_const_none);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(riscv_entropy_source_obj, 0, 2, riscv_entropy_source);

static const mp_rom_map_elem_t riscv_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_riscv) },
    { MP_ROM_QSTR(MP_QSTR_csr_read), MP_ROM_PTR(&riscv_csr_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_csr_write), MP_ROM_PTR(&riscv_csr_write_obj) },
    { MP_ROM_QSTR(MP_QSTR_csr_set), MP_ROM_PTR(&riscv_csr_set_obj) },
    { MP_ROM_QSTR(MP_QSTR_csr_clear), MP_ROM_PTR(&riscv_csr_clear_obj) },
    { MP_ROM_QSTR(MP_QSTR_fence), MP_ROM_PTR(&riscv_fence_obj) },
    { MP_ROM_QSTR(MP_QSTR_fence_i), MP_ROM_PTR(&riscv_fence_i_obj) },
    { MP_ROM_QSTR(MP_QSTR_time), MP_ROM_PTR(&riscv_time_obj) },
    { MP_ROM_QSTR(MP_QSTR_timebase), MP_ROM_PTR(&riscv_timebase_obj) },
    { MP_ROM_QSTR(MP_QSTR_hartid), MP_ROM_PTR(&riscv_hartid_obj) },
    { MP_ROM_QSTR(MP_QSTR_harts), MP_ROM_PTR(&riscv_harts_obj) },
    { MP_ROM_QSTR(MP_QSTR_wfi), MP_ROM_PTR(&riscv_wfi_obj) },
    { MP_ROM_QSTR(MP_QSTR_fdt), MP_ROM_PTR(&riscv_fdt_obj) },
    { MP_ROM_QSTR(MP_QSTR_entry), MP_ROM_PTR(&riscv_entry_obj) },
    { MP_ROM_QSTR(MP_QSTR_reset_cause), MP_ROM_PTR(&riscv_reset_cause_obj) },
    { MP_ROM_QSTR(MP_QSTR_addr), MP_ROM_PTR(&riscv_addr_obj) },
    { MP_ROM_QSTR(MP_QSTR_spans), MP_ROM_PTR(&riscv_spans_obj) },
    { MP_ROM_QSTR(MP_QSTR_ram), MP_ROM_PTR(&riscv_ram_obj) },
    { MP_ROM_QSTR(MP_QSTR_regions), MP_ROM_PTR(&riscv_regions_obj) },
    { MP_ROM_QSTR(MP_QSTR_reserve), MP_ROM_PTR(&riscv_reserve_obj) },
    { MP_ROM_QSTR(MP_QSTR_release), MP_ROM_PTR(&riscv_release_obj) },
    { MP_ROM_QSTR(MP_QSTR_resize), MP_ROM_PTR(&riscv_resize_obj) },
    { MP_ROM_QSTR(MP_QSTR_largest_free), MP_ROM_PTR(&riscv_largest_free_obj) },
    { MP_ROM_QSTR(MP_QSTR_quiesce_add), MP_ROM_PTR(&riscv_quiesce_add_obj) },
    { MP_ROM_QSTR(MP_QSTR_quiesce_remove), MP_ROM_PTR(&riscv_quiesce_remove_obj) },
    { MP_ROM_QSTR(MP_QSTR_irq), MP_ROM_PTR(&riscv_irq_obj) },
    { MP_ROM_QSTR(MP_QSTR_irq_complete), MP_ROM_PTR(&riscv_irq_complete_obj) },
    { MP_ROM_QSTR(MP_QSTR_irq_controller), MP_ROM_PTR(&riscv_irq_controller_obj) },
    { MP_ROM_QSTR(MP_QSTR_irq_serves), MP_ROM_PTR(&riscv_irq_serves_obj) },
    { MP_ROM_QSTR(MP_QSTR_irq_state), MP_ROM_PTR(&riscv_irq_state_obj) },
    { MP_ROM_QSTR(MP_QSTR_msi_alloc), MP_ROM_PTR(&riscv_msi_alloc_obj) },
    { MP_ROM_QSTR(MP_QSTR_msi_free), MP_ROM_PTR(&riscv_msi_free_obj) },
    { MP_ROM_QSTR(MP_QSTR_keyboard_interrupt), MP_ROM_PTR(&riscv_keyboard_interrupt_obj) },
    { MP_ROM_QSTR(MP_QSTR_entropy_source), MP_ROM_PTR(&riscv_entropy_source_obj) },
    HANDOFF_GLOBALS
};
static MP_DEFINE_CONST_DICT(riscv_globals, riscv_globals_table);

const mp_obj_module_t riscv_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&riscv_globals,
};

MP_REGISTER_MODULE(MP_QSTR_riscv, riscv_module);
