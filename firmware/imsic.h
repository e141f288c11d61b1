// SPDX-License-Identifier: MIT
// Incoming message controller: this hart's machine-level interrupt file.
#ifndef FIRMWARE_IMSIC_H
#define FIRMWARE_IMSIC_H

#include <stdbool.h>
#include <stdint.h>

// Takes the file whose page is at addr; ids 1 to num_ids, all disabled. addr 0: there is none.
void imsic_init(uint64_t addr, uint32_t num_ids);
uint64_t imsic_addr(void); // where a message is written to, its id as 32-bit data; 0: no IMSIC
uint32_t imsic_num_ids(void);
void imsic_off(void);
void imsic_set_enable(uint32_t id, bool on);
void imsic_clear(uint32_t id); // forgets that a message has come
bool imsic_pending(void); // an enabled message is
uint32_t imsic_claim(void); // 0: nothing pending

#endif
