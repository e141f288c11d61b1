// SPDX-License-Identifier: MIT
// Random bytes for os.urandom and seeds.
#ifndef FIRMWARE_ENTROPY_H
#define FIRMWARE_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

#include "py/obj.h"

// Fills buf. Never fails: a source that raises is passed over.
void entropy_get(uint8_t *buf, size_t len);

// A Python callable(buf) that fills a bytearray; mp_const_none: back to the built-in sources.
void entropy_set_source(mp_obj_t name, mp_obj_t readinto);

// What the last (or else the next) bytes came from.
mp_obj_t entropy_source(void);

unsigned long entropy_seed(void);

#endif
