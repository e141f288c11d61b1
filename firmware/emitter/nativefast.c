// SPDX-License-Identifier: MIT
// The usual cases of what native code asks of the runtime: each function does the work itself if what it is given is
// of the usual kind, and leaves everything else to the general function.

#include "py/mpconfig.h"

#if MICROPY_EMIT_RV64 && !MICROPY_DYNAMIC_COMPILER

#include "py/binary.h"
#include "py/cstack.h"
#include "py/objarray.h"
#include "py/objfun.h"
#include "py/objlist.h"
#include "py/objtuple.h"
#include "py/objtype.h"

#include "py/nativefast.h"

// The instance that an object is, or NULL.
static inline mp_obj_instance_t *as_instance(mp_obj_t o) {
    if (mp_obj_is_obj(o)) {
        mp_obj_instance_t *self = MP_OBJ_TO_PTR(o);
        if (mp_obj_is_instance_type(self->base.type)) {
            return self;
        }
    }
    return NULL;
}

// An attribute of an instance: nearly always one of its own members.
mp_obj_t native_fast_load_attr(mp_obj_t base, qstr attr) {
    mp_obj_instance_t *self = as_instance(base);
    if (self != NULL) {
        mp_map_elem_t *elem = mp_map_lookup(&self->members, MP_OBJ_NEW_QSTR(attr), MP_MAP_LOOKUP);
        if (elem != NULL) {
            return elem->value;
        }
    }
    return mp_load_attr(base, attr);
}

void native_fast_store_attr(mp_obj_t base, qstr attr, mp_obj_t value) {
    mp_obj_instance_t *self = as_instance(base);
    if (self != NULL && !(self->base.type->flags & MP_TYPE_FLAG_HAS_SPECIAL_ACCESSORS) && value != MP_OBJ_NULL) {
        mp_map_lookup(&self->members, MP_OBJ_NEW_QSTR(attr), MP_MAP_LOOKUP_ADD_IF_NOT_FOUND)->value = value;
    } else {
        mp_store_attr(base, attr, value);
    }
}

// A method: a function in the dictionary of the object's own type. dest gets the function and self.
void native_fast_load_method(mp_obj_t base, qstr attr, mp_obj_t *dest) {
    if (mp_obj_is_obj(base)) {
        mp_obj_instance_t *self = MP_OBJ_TO_PTR(base);
        const mp_obj_type_t *type = self->base.type;
        bool is_instance = mp_obj_is_instance_type(type);
        if (is_instance || !MP_OBJ_TYPE_HAS_SLOT(type, attr)) {
            mp_map_elem_t *elem = NULL;
            if (is_instance && self->members.used != 0) {
                elem = mp_map_lookup(&self->members, MP_OBJ_NEW_QSTR(attr), MP_MAP_LOOKUP);
            }
            if (elem == NULL && MP_OBJ_TYPE_HAS_SLOT(type, locals_dict)) {
                elem = mp_map_lookup(&MP_OBJ_TYPE_GET_SLOT(type, locals_dict)->map, MP_OBJ_NEW_QSTR(attr), MP_MAP_LOOKUP);
                if (elem != NULL && mp_obj_is_obj(elem->value)) {
                    // Builtin functions do not bind instances of Python classes.
                    uint16_t flags = ((mp_obj_base_t *)MP_OBJ_TO_PTR(elem->value))->type->flags;
                    if ((flags & MP_TYPE_FLAG_BINDS_SELF) && !(is_instance && (flags & MP_TYPE_FLAG_BUILTIN_FUN))) {
                        dest[0] = elem->value;
                        dest[1] = base;
                        return;
                    }
                }
            }
        }
    }
    mp_load_method(base, attr, dest);
}

// The item of a list or tuple that an index means, or NULL.
static inline mp_obj_t *find_item(mp_obj_t *items, size_t len, mp_obj_t index) {
    size_t i = (size_t)MP_OBJ_SMALL_INT_VALUE(index);
    if (i >= len) {
        i += len;
        if (i >= len) {
            return NULL;
        }
    }
    return &items[i];
}

// An item of an array or a bytearray, loaded or stored; NULL if that is not what is asked for.
static inline mp_obj_t array_subscr(mp_obj_t base, mp_obj_t index, mp_obj_t value) {
    mp_obj_array_t *self = MP_OBJ_TO_PTR(base);
    size_t i = (size_t)MP_OBJ_SMALL_INT_VALUE(index);
    i += i >= self->len ? self->len : 0;
    if (i >= self->len || value == MP_OBJ_NULL) {
        return MP_OBJ_NULL;
    }
    if (value == MP_OBJ_SENTINEL) {
        return mp_binary_get_val_array(self->typecode, self->items, i);
    }
    mp_binary_set_val_array(self->typecode, self->items, i, value);
    return mp_const_none;
}

// Items of lists, tuples and arrays by a small integer. value is MP_OBJ_SENTINEL to load, MP_OBJ_NULL to delete.
mp_obj_t native_fast_subscr(mp_obj_t base, mp_obj_t index, mp_obj_t value) {
    if (mp_obj_is_obj(base) && mp_obj_is_small_int(index)) {
        const mp_obj_type_t *type = ((mp_obj_base_t *)MP_OBJ_TO_PTR(base))->type;
        mp_obj_t *item;
        if (type == &mp_type_list) {
            mp_obj_list_t *self = MP_OBJ_TO_PTR(base);
            item = find_item(self->items, self->len, index);
            if (item != NULL && value != MP_OBJ_NULL) {
                if (value == MP_OBJ_SENTINEL) {
                    return *item;
                }
                *item = value;
                return mp_const_none;
            }
        } else if (type == &mp_type_tuple && value == MP_OBJ_SENTINEL) {
            mp_obj_tuple_t *self = MP_OBJ_TO_PTR(base);
            item = find_item(self->items, self->len, index);
            if (item != NULL) {
                return *item;
            }
        } else if (type == &mp_type_bytearray || type == &mp_type_array) {
            mp_obj_t result = array_subscr(base, index, value);
            if (result != MP_OBJ_NULL) {
                return result;
            }
        }
    }
    return mp_obj_subscr(base, index, value);
}

#if MICROPY_PY_BUILTINS_FLOAT
// The value of a float or a small integer; false if it is neither.
static inline bool get_float(mp_obj_t o, mp_float_t *value) {
    if (mp_obj_is_small_int(o)) {
        *value = (mp_float_t)MP_OBJ_SMALL_INT_VALUE(o);
        return true;
    }
    if (mp_obj_is_float(o)) {
        *value = mp_obj_float_get(o);
        return true;
    }
    return false;
}
#endif

// Arithmetic on floats. Native code has done small integers itself, unless they overflow.
mp_obj_t native_fast_binary_op(mp_binary_op_t op, mp_obj_t lhs, mp_obj_t rhs) {
    #if MICROPY_PY_BUILTINS_FLOAT
    mp_float_t l, r;
    if ((mp_obj_is_float(lhs) || mp_obj_is_float(rhs)) && get_float(lhs, &l) && get_float(rhs, &r)) {
        switch (op) {
            case MP_BINARY_OP_ADD:
            case MP_BINARY_OP_INPLACE_ADD:
                return mp_obj_new_float(l + r);
            case MP_BINARY_OP_SUBTRACT:
            case MP_BINARY_OP_INPLACE_SUBTRACT:
                return mp_obj_new_float(l - r);
            case MP_BINARY_OP_MULTIPLY:
            case MP_BINARY_OP_INPLACE_MULTIPLY:
                return mp_obj_new_float(l * r);
            case MP_BINARY_OP_TRUE_DIVIDE:
            case MP_BINARY_OP_INPLACE_TRUE_DIVIDE:
                if (r != 0) {
                    return mp_obj_new_float(l / r);
                }
                break;
            case MP_BINARY_OP_LESS:
                return mp_obj_new_bool(l < r);
            case MP_BINARY_OP_MORE:
                return mp_obj_new_bool(l > r);
            case MP_BINARY_OP_LESS_EQUAL:
                return mp_obj_new_bool(l <= r);
            case MP_BINARY_OP_MORE_EQUAL:
                return mp_obj_new_bool(l >= r);
            default:
                break;
        }
    }
    #endif
    return mp_binary_op(op, lhs, rhs);
}

// Calls of native and viper functions.
mp_obj_t native_fast_call_function(mp_obj_t fun, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    if (mp_obj_is_obj(fun)) {
        mp_obj_fun_bc_t *self = MP_OBJ_TO_PTR(fun);
        mp_call_fun_t start = NULL;
        if (self->base.type == &mp_type_fun_native) {
            start = mp_obj_fun_native_get_function_start(self);
        } else if (self->base.type == &mp_type_fun_viper) {
            start = MICROPY_MAKE_POINTER_CALLABLE((void *)self->bytecode);
        }
        if (start != NULL) {
            mp_cstack_check();
            return start(fun, n_args, n_kw, args);
        }
    }
    return mp_call_function_n_kw(fun, n_args, n_kw, args);
}

// args: the function, self or NULL, then what the function is called with.
mp_obj_t native_fast_call_method(size_t n_args, size_t n_kw, const mp_obj_t *args) {
    size_t self = args[1] != MP_OBJ_NULL;
    return native_fast_call_function(args[0], n_args + self, n_kw, args + 2 - self);
}

// The next item of an iterator, or of what somebody's __iter__() gave for one.
mp_obj_t native_fast_iternext(mp_obj_t iter) {
    if (mp_obj_is_obj(iter)) {
        const mp_obj_type_t *type = ((mp_obj_base_t *)MP_OBJ_TO_PTR(iter))->type;
        if ((type->flags & MP_TYPE_FLAG_ITER_IS_STREAM) == MP_TYPE_FLAG_ITER_IS_ITERNEXT) {
            MP_STATE_THREAD(stop_iteration_arg) = MP_OBJ_NULL;
            return ((mp_fun_1_t)MP_OBJ_TYPE_GET_SLOT(type, iter))(iter);
        }
    }
    return mp_iternext(iter);
}

#endif // MICROPY_EMIT_RV64
