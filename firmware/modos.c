// SPDX-License-Identifier: MIT
// What extmod/modos.c, which includes this file, asks of a port.
#include "py/mphal.h"

#include "entropy.h"

#if MICROPY_VERSION >= MICROPY_MAKE_VERSION(1, 28, 0)
// os.urandom itself is upstream's.
static void mp_hal_get_random(size_t n, uint8_t *buf) {
    entropy_get(buf, n);
}
#else
static mp_obj_t mp_os_urandom(mp_obj_t num) {
    mp_int_t n = mp_obj_get_int(num);
    if (n < 0) {
        mp_raise_ValueError(NULL);
    }
    vstr_t vstr;
    vstr_init_len(&vstr, n);
    entropy_get((uint8_t *)vstr.buf, n);
    return mp_obj_new_bytes_from_vstr(&vstr);
}
static MP_DEFINE_CONST_FUN_OBJ_1(mp_os_urandom_obj, mp_os_urandom);
#endif
