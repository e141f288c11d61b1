// SPDX-License-Identifier: MIT
// External interrupts to Python callbacks, and the table of devices to quiesce.
#ifndef FIRMWARE_IRQ_H
#define FIRMWARE_IRQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "py/obj.h"

#define IRQ_MAX 256 // numbers that Python can use; QEMU's PLIC has 95 sources, its IMSIC 255 messages

// Takes the controller that serves this hart, and connects the console UART to it.
void irq_init(void);
bool irq_present(void);
const char *irq_controller(void); // "PLIC", "APLIC", "IMSIC" or ""

// Leaves the controller as after a reset.
void irq_off(void);

// From the trap handler.
void irq_external(void);

// From the trap handler's timer: a KeyboardInterrupt has been waiting for so long that nobody will look.
bool irq_interrupt_overdue(void);

// Anything that could end a wait happened since the last call?
bool irq_take_event(void);

// From the trap handler's timer: pauses are over.
void irq_timer(void);

// Python callbacks; mp_const_none disables the number. trigger: 1 rising, 2 falling, 4 high, 8 low.
bool irq_set_handler(uint32_t n, mp_obj_t callback, uint32_t trigger);

// The callback is done. worked: it found something to do. False: the number was a storm and is silenced.
bool irq_complete(uint32_t n, bool worked);

// Interrupts since it was connected; after how many useless ones in a row it was silenced, or 0.
void irq_state(uint32_t n, uint32_t *interrupts, uint32_t *silenced);

// A number for a message, which is the data to write to *addr; 0: none, and no controller if *addr is 0.
uint32_t irq_message_take(uint64_t *addr);
bool irq_message_give(uint32_t n);

// As mp_sched_keyboard_interrupt(), but between begin and end it waits for the end.
void irq_keyboard_interrupt(void);
void irq_defer_begin(void);
void irq_defer_end(void);

// Devices whose status register is written 0 before memory changes hands.
bool irq_quiesce_add(uint64_t addr, uint32_t width);
bool irq_quiesce_remove(uint64_t addr);

// Stops every device and every Python source. False: a device did not answer.
bool irq_quiesce(void);

#endif
