// SPDX-License-Identifier: MIT
// Platform-level interrupt controller: claim, complete, enable, threshold of one context.
#ifndef FIRMWARE_PLIC_H
#define FIRMWARE_PLIC_H

#include <stdbool.h>
#include <stdint.h>

// Takes the context's registers; every source of it is disabled. base 0: there is no PLIC.
void plic_init(uint64_t base, int context, uint32_t num_sources);
bool plic_present(void);
uint32_t plic_num_sources(void);
void plic_set_enable(uint32_t source, bool on);
uint32_t plic_claim(void); // 0: nothing pending
void plic_complete(uint32_t source);

#endif
