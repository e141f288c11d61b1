// SPDX-License-Identifier: MIT
// A native module with 64-bit and floating-point data; what it returns is checked in test_natmod.py.
#include "py/dynruntime.h"

#include "data.h"

static mp_obj_t add(mp_obj_t x) {
    total += mp_obj_get_int(x);
    after_bytes -= 1;
    bytes[4] += 1;
    return mp_obj_new_int(total);
}
static MP_DEFINE_CONST_FUN_OBJ_1(add_obj, add);

static mp_obj_t weigh(mp_obj_t x, mp_obj_t i) {
    weight += mp_obj_get_float_to_d(x) * factors[mp_obj_get_int(i)];
    return mp_obj_new_float_from_d(weight);
}
static MP_DEFINE_CONST_FUN_OBJ_2(weigh_obj, weigh);

static mp_obj_t single(mp_obj_t x) {
    return mp_obj_new_float_from_f(mp_obj_get_float_to_f(x) / 3.0f);
}
static MP_DEFINE_CONST_FUN_OBJ_1(single_obj, single);

static mp_obj_t look(mp_obj_t i_obj) {
    mp_int_t i = mp_obj_get_int(i_obj);
    mp_obj_t items[] = {
        mp_obj_new_str(words[i], 3),
        mp_obj_new_int(steps[i & 1](wide_word(i))),
        mp_obj_new_int(choose(i)),
        mp_obj_new_int(bytes[4]),
        mp_obj_new_int(after_bytes),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_1(look_obj, look);

static mp_obj_t choose_of(mp_obj_t x) {
    return mp_obj_new_int(choose(mp_obj_get_int(x)));
}
static MP_DEFINE_CONST_FUN_OBJ_1(choose_obj, choose_of);

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    mp_store_global(MP_QSTR_add, MP_OBJ_FROM_PTR(&add_obj));
    mp_store_global(MP_QSTR_weigh, MP_OBJ_FROM_PTR(&weigh_obj));
    mp_store_global(MP_QSTR_single, MP_OBJ_FROM_PTR(&single_obj));
    mp_store_global(MP_QSTR_look, MP_OBJ_FROM_PTR(&look_obj));
    mp_store_global(MP_QSTR_choose, MP_OBJ_FROM_PTR(&choose_obj));
    MP_DYNRUNTIME_INIT_EXIT
}
