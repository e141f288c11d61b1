// SPDX-License-Identifier: MIT
// Leaving MicroPython for another program: the `riscv` functions that handoff.c brings.
#ifndef FIRMWARE_HANDOFF_H
#define FIRMWARE_HANDOFF_H

#include "py/obj.h"

MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(handoff_obj);
MP_DECLARE_CONST_FUN_OBJ_0(handoff_opensbi_obj);

// Entries for the globals table of the `riscv` module.
#define HANDOFF_GLOBALS \
    { MP_ROM_QSTR(MP_QSTR_handoff), MP_ROM_PTR(&handoff_obj) }, \
    { MP_ROM_QSTR(MP_QSTR_opensbi), MP_ROM_PTR(&handoff_opensbi_obj) },

#endif
