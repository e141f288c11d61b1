// SPDX-License-Identifier: MIT
// External interrupts to Python callbacks, and the table of devices to quiesce.
#ifndef FIRMWARE_IRQ_H
#define FIRMWARE_IRQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "py/obj.h"

#define IRQ_MAX 128 // sources that Python can use; QEMU's PLIC has 95

// Connects `source` to the console UART, for good.
void irq_init(uint32_t uart_source);

// From the trap handler.
void irq_external(void);

// From the trap handler's timer: a KeyboardInterrupt has been waiting for so long that nobody will look.
bool irq_interrupt_overdue(void);

// Anything that could end a wait happened since the last call?
bool irq_take_event(void);

// Python callbacks; mp_const_none disables the source.
bool irq_set_handler(uint32_t source, mp_obj_t callback);
void irq_complete(uint32_t source);

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
