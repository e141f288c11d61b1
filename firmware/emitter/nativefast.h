// SPDX-License-Identifier: MIT
// What native code calls most often, with the usual case first.
#ifndef MICROPY_INCLUDED_PY_NATIVEFAST_H
#define MICROPY_INCLUDED_PY_NATIVEFAST_H

#include "py/runtime.h"

mp_obj_t native_fast_load_attr(mp_obj_t base, qstr attr);
void native_fast_store_attr(mp_obj_t base, qstr attr, mp_obj_t value);
void native_fast_load_method(mp_obj_t base, qstr attr, mp_obj_t *dest);
mp_obj_t native_fast_subscr(mp_obj_t base, mp_obj_t index, mp_obj_t value);
mp_obj_t native_fast_binary_op(mp_binary_op_t op, mp_obj_t lhs, mp_obj_t rhs);
mp_obj_t native_fast_call_function(mp_obj_t fun, size_t n_args, size_t n_kw, const mp_obj_t *args);
mp_obj_t native_fast_call_method(size_t n_args, size_t n_kw, const mp_obj_t *args);
mp_obj_t native_fast_iternext(mp_obj_t iter);

// py/nativeglue.c calls these, and puts them into its table of functions, in place of the general ones.
#ifdef NATIVE_FAST_NAMES
#define mp_load_attr native_fast_load_attr
#define mp_store_attr native_fast_store_attr
#define mp_load_method native_fast_load_method
#define mp_obj_subscr native_fast_subscr
#define mp_binary_op native_fast_binary_op
#define mp_call_function_n_kw native_fast_call_function
#define mp_call_method_n_kw native_fast_call_method
#define mp_iternext native_fast_iternext
#endif

#endif // MICROPY_INCLUDED_PY_NATIVEFAST_H
