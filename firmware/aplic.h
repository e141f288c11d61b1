// SPDX-License-Identifier: MIT
// Advanced PLIC: one machine-level interrupt domain, wired to a hart or sending messages.
#ifndef FIRMWARE_APLIC_H
#define FIRMWARE_APLIC_H

#include <stdbool.h>
#include <stdint.h>

// Takes the domain's registers. base 0: there is no APLIC. msi_addr: page that messages for this
// hart are written to, or 0: delivery by wire, from the control structure with the number idc.
void aplic_init(uint64_t base, uint32_t num_sources, int idc, uint64_t msi_addr);
bool aplic_present(void);
uint32_t aplic_num_sources(void);

// Nothing is delivered any more; what was configured is as after a reset.
void aplic_off(void);

// Makes a source this domain's own, disabled. trigger: as in a device tree's interrupt cell, 1
// rising, 2 falling, 4 high, 8 low. False: the source does not exist, or not with that trigger.
bool aplic_setup(uint32_t source, uint32_t trigger);
void aplic_release(uint32_t source);
void aplic_set_enable(uint32_t source, bool on);

// By wire: what is pending with the highest priority, 0: nothing. It is not pending any more then,
// unless its level stays up.
uint32_t aplic_claim(void);

// Does it interrupt as long as it is high?
bool aplic_is_level(uint32_t source);

// With messages: send another one if the source's level is still up.
void aplic_look_again(uint32_t source);

#endif
