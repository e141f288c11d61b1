// SPDX-License-Identifier: MIT
// What the MicroPython core asks of a port: stdio, ticks, delays, waiting.
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "extmod/misc.h"

#include "fdt_early.h"
#include "irq.h"
#include "mmio.h"
#include "uart16550.h"

#define POLL_US 1000 // without an interrupt the console is looked at this often
#define DUPTERM_POLL_MS 10 // a stream without interrupts on os.dupterm
#define SPIN_US 200 // shorter delays are not worth a sleep

static uint64_t timebase = 1;
static uint64_t mtimecmp_addr;
static bool polling; // the timer interrupt is taken, for the console
static volatile bool watching; // or for irq.c

// os.dupterm_notify() drops what does not fit: room for more than a queue of a console device.
static uint8_t stdin_buf[16384] __attribute__((section(".noinit")));
ringbuf_t stdin_ringbuf = { stdin_buf, sizeof(stdin_buf), 0, 0 };

void mphalport_init_time(uint64_t hz, uint64_t mtimecmp) {
    timebase = hz != 0 ? hz : 1;
    mtimecmp_addr = mtimecmp;
    if (mtimecmp_addr != 0) {
        mmio_write64(mtimecmp_addr, UINT64_MAX);
    }
}

uint64_t mphalport_timebase(void) {
    return timebase;
}

// value / timebase * per_second, without overflow for any uptime
static uint64_t scale(uint64_t ticks, uint64_t per_second) {
    return ticks / timebase * per_second + ticks % timebase * per_second / timebase;
}

mp_uint_t mp_hal_ticks_ms(void) {
    return scale(mphalport_time(), 1000);
}

mp_uint_t mp_hal_ticks_us(void) {
    return scale(mphalport_time(), 1000000);
}

uint64_t mp_hal_time_ns(void) {
    if (fdt_early.rtc != 0) {
        // reading the low half latches the high one
        uint32_t low = mmio_read32(fdt_early.rtc);
        return (uint64_t)mmio_read32(fdt_early.rtc + 4) << 32 | low;
    }
    return scale(mphalport_time(), 1000000000);
}

static void set_timer(uint64_t us) {
    mmio_write64(mtimecmp_addr, mphalport_time() + us / 1000000 * timebase + us % 1000000 * timebase / 1000000);
}

void mphalport_poll_console(void) {
    if (mtimecmp_addr != 0) {
        polling = true;
        set_timer(POLL_US);
        csr_set(mie, CSR_MIE_MTIE);
        csr_set(mstatus, CSR_MSTATUS_MIE);
    }
}

void mphalport_timer(void) {
    if (polling) {
        uart16550_receive();
    }
    set_timer(POLL_US);
}

bool mphalport_watch(bool on) {
    if (mtimecmp_addr == 0 || polling || watching == on) {
        return mtimecmp_addr != 0;
    }
    watching = on;
    if (on) {
        set_timer(POLL_US);
        csr_set(mie, CSR_MIE_MTIE);
    } else {
        csr_clear(mie, CSR_MIE_MTIE);
    }
    return true;
}

// Interrupts are off from the look at the event flag to wfi, which wakes for pending ones all the
// same: none is lost in between. The timer only wakes, it is not taken, unless it comes anyway: then
// it comes soon enough.
void mphalport_wait(int64_t timeout_us) {
    if (timeout_us == 0 || (mtimecmp_addr == 0 && (timeout_us > 0 || !irq_present()))) {
        return; // nothing would end the sleep
    }
    uintptr_t state = csr_irq_save();
    bool timer = timeout_us > 0 && !polling && !watching;
    if (!irq_take_event()) {
        if (timer) {
            set_timer(timeout_us);
            csr_set(mie, CSR_MIE_MTIE);
        }
        csr_wfi();
        if (timer) {
            csr_clear(mie, CSR_MIE_MTIE);
        }
    }
    csr_irq_restore(state); // what woke us is handled here
    irq_take_event();
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t start = mphalport_time();
    for (;;) {
        mp_event_handle_nowait();
        uint64_t gone = scale(mphalport_time() - start, 1000000);
        if (gone >= us) {
            return;
        }
        if (us - gone > SPIN_US) {
            mphalport_wait(us - gone - SPIN_US / 2);
        }
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    mp_hal_delay_us(ms > UINT64_MAX / 2000 ? INT64_MAX : ms * 1000);
}

static bool on_dupterm(void) {
    for (size_t i = 0; i < MICROPY_PY_OS_DUPTERM; i++) {
        if (MP_STATE_VM(dupterm_objs[i]) != MP_OBJ_NULL) {
            return true;
        }
    }
    return false;
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        int c = uart16550_get();
        if (c < 0) {
            c = ringbuf_get(&stdin_ringbuf);
        }
        if (c < 0) {
            irq_defer_begin();
            c = mp_os_dupterm_rx_chr();
            irq_defer_end();
        }
        if (c >= 0) {
            return c;
        }
        mp_event_wait_ms(on_dupterm() ? DUPTERM_POLL_MS : (mp_uint_t)-1);
    }
}

mp_uint_t mp_hal_stdout_tx_strn(const char *str, size_t len) {
    uart16550_write(str, len);
    irq_defer_begin();
    mp_os_dupterm_tx_strn(str, len);
    irq_defer_end();
    return len;
}

uintptr_t mp_hal_stdio_poll(uintptr_t poll_flags) {
    uintptr_t ret = 0;
    if ((poll_flags & MP_STREAM_POLL_RD) && (uart16550_any() || ringbuf_peek(&stdin_ringbuf) >= 0)) {
        ret |= MP_STREAM_POLL_RD;
    }
    if (poll_flags & MP_STREAM_POLL_WR) {
        ret |= MP_STREAM_POLL_WR;
    }
    irq_defer_begin();
    ret |= mp_os_dupterm_poll(poll_flags & ~ret);
    irq_defer_end();
    return ret;
}
