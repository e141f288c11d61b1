// SPDX-License-Identifier: MIT
// Random bytes: a device that Python registered, else the Zkr seed register, else jitter.
//
// Whatever the source, the bytes handed out are SHA-256 of a pool into which the device tree's
// rng-seed, the source and the clocks were mixed, so a weak source only adds.
#include <string.h>

#include "py/mphal.h"
#include "py/runtime.h"
#include "lib/crypto-algorithms/sha256.h"

#include "csrcall.h"
#include "entropy.h"
#include "fdt_early.h"

#define BLOCK SHA256_BLOCK_SIZE
#define JITTER_ROUNDS 256
#define SEED_TRIES 1000
#define SEED_OPST(v) ((v) >> 30 & 3) // 2: 16 bits of entropy below
#define SEED_ES16 2
#define SEED_DEAD 3

static uint8_t pool[BLOCK];
static bool pool_ready;
static bool zkr_absent;
static const char *source_used; // of the built-in ones

static void mix(const void *data, size_t len) {
    CRYAL_SHA256_CTX ctx;
    sha256_init(&ctx);
    sha256_update(&ctx, pool, sizeof(pool));
    sha256_update(&ctx, data, len);
    sha256_final(&ctx, pool);
}

static bool from_python(uint8_t *buf) {
    if (MP_STATE_PORT(entropy_readinto) == MP_OBJ_NULL) {
        return false;
    }
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        // Ctrl-C is for the caller; any other exception means that this source has failed.
        const mp_obj_type_t *type = ((mp_obj_base_t *)nlr.ret_val)->type;
        if (!mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(type), MP_OBJ_FROM_PTR(&mp_type_Exception))) {
            nlr_jump(nlr.ret_val);
        }
        return false;
    }
    mp_obj_t array = mp_obj_new_bytearray(BLOCK, buf);
    mp_call_function_1(MP_STATE_PORT(entropy_readinto), array);
    mp_buffer_info_t info;
    mp_get_buffer_raise(array, &info, MP_BUFFER_READ);
    memcpy(buf, info.buf, MIN(info.len, BLOCK));
    nlr_pop();
    return true;
}

// Without the extension the access traps, which is seen once.
static bool from_zkr(uint8_t *buf) {
    nlr_buf_t nlr;
    if (zkr_absent || nlr_push(&nlr) != 0) {
        zkr_absent = true;
        return false;
    }
    size_t n = 0;
    for (int i = 0; i < SEED_TRIES && n < BLOCK; ++i) {
        uint64_t v = csrcall(CSRCALL_WRITE, CSRCALL_SEED, 0);
        if (SEED_OPST(v) == SEED_ES16) {
            buf[n++] = v;
            buf[n++] = v >> 8;
        } else if (SEED_OPST(v) == SEED_DEAD) {
            break;
        }
    }
    nlr_pop();
    return n == BLOCK;
}

// The host's scheduling, caches and translation show in how long the same work takes.
static void from_jitter(uint8_t *buf) {
    uint64_t t[JITTER_ROUNDS];
    for (size_t i = 0; i < JITTER_ROUNDS; ++i) {
        for (volatile int spin = 0; spin < (int)(16 + (t[i ? i - 1 : 0] & 15)); ++spin) {
        }
        t[i] = csr_read(cycle) ^ mphalport_time() << 32;
    }
    mix(t, sizeof(t));
    memcpy(buf, pool, BLOCK);
}

static void refill(uint8_t *block) {
    if (!pool_ready) {
        pool_ready = true;
        mix(fdt_early.rng_seed, fdt_early.rng_seed_len);
    }
    if (from_python(block)) {
        source_used = NULL;
    } else if (from_zkr(block)) {
        source_used = "zkr";
    } else {
        from_jitter(block);
        source_used = fdt_early.rng_seed_len != 0 ? "rng-seed and jitter" : "jitter";
    }
    uint64_t now[2] = { mphalport_time(), csr_read(cycle) };
    mix(block, BLOCK);
    mix(now, sizeof(now));
    memcpy(block, pool, BLOCK);
    mix("next", 4); // what was handed out does not give the pool away
}

void entropy_get(uint8_t *buf, size_t len) {
    uint8_t block[BLOCK];
    while (len != 0) {
        size_t n = MIN(len, BLOCK);
        refill(block);
        memcpy(buf, block, n);
        buf += n;
        len -= n;
    }
}

void entropy_set_source(mp_obj_t name, mp_obj_t readinto) {
    MP_STATE_PORT(entropy_name) = name;
    MP_STATE_PORT(entropy_readinto) = readinto == mp_const_none ? MP_OBJ_NULL : readinto;
}

mp_obj_t entropy_source(void) {
    uint8_t block[BLOCK];
    refill(block);
    if (source_used == NULL) {
        return MP_STATE_PORT(entropy_name);
    }
    return mp_obj_new_str(source_used, strlen(source_used));
}

unsigned long entropy_seed(void) {
    unsigned long seed;
    entropy_get((uint8_t *)&seed, sizeof(seed));
    return seed;
}

MP_REGISTER_ROOT_POINTER(mp_obj_t entropy_name);
MP_REGISTER_ROOT_POINTER(mp_obj_t entropy_readinto);
