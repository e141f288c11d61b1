// SPDX-License-Identifier: MIT
// What the MicroPython core asks of a port, and time.
#ifndef FIRMWARE_MPHALPORT_H
#define FIRMWARE_MPHALPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "csr.h"
#include "py/ringbuf.h"
#include "shared/runtime/interrupt_char.h"

#define MICROPY_BEGIN_ATOMIC_SECTION() csr_irq_save()
#define MICROPY_END_ATOMIC_SECTION(state) csr_irq_restore(state)
#define MICROPY_INTERNAL_WFE(timeout_ms) mphalport_wait((int64_t)(mp_int_t)(timeout_ms) * 1000)

extern ringbuf_t stdin_ringbuf; // input by os.dupterm_notify()

// Takes the timebase in Hz and the address of this hart's compare register (0: none).
void mphalport_init_time(uint64_t timebase, uint64_t mtimecmp);
uint64_t mphalport_timebase(void);

// Takes over the timer to look at the console, where no interrupt reports its input.
void mphalport_poll_console(void);
void mphalport_timer(void); // from the trap handler

// Lets the timer interrupt come while something is watched, from with interrupts off. False: no timer.
bool mphalport_watch(bool on);

// Sleeps until an interrupt or until timeout_us have passed; negative: no limit.
void mphalport_wait(int64_t timeout_us);

static inline uint64_t mphalport_time(void) {
    return csr_read(time);
}

static inline mp_uint_t mp_hal_ticks_cpu(void) {
    return mphalport_time();
}
#define mp_hal_ticks_cpu mp_hal_ticks_cpu

#endif
