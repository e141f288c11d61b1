// SPDX-License-Identifier: MIT
// External interrupts to Python callbacks, and the table of devices to quiesce.
//
// The trap claims, marks the source and schedules one static node; the source stays claimed, so
// silent, until Python calls irq_complete(). Callbacks run between bytecodes, in source order.
#include "py/mpstate.h"
#include "py/runtime.h"

#include "csr.h"
#include "irq.h"
#include "mmio.h"
#include "mphalport.h"
#include "plic.h"
#include "uart16550.h"

#define QUIESCE_MAX 64
#define QUIESCE_READS 100000
#define OVERDUE_MS 200

typedef struct _quiesce_t {
    uint64_t addr;
    uint32_t width;
} quiesce_t;

static uint32_t uart_source;
static volatile bool event;
static uint64_t pending[IRQ_MAX / 64]; // written with interrupts off
static uint64_t claimed[IRQ_MAX / 64];
static mp_sched_node_t node;
static uint32_t deferring; // KeyboardInterrupt: how many ask for it
static volatile bool interrupted; // meanwhile
static uint64_t overdue_at; // for the KeyboardInterrupt that is pending
static quiesce_t quiesce[QUIESCE_MAX];
static size_t num_quiesce;

static void bit_set(uint64_t *set, uint32_t n) {
    set[n / 64] |= 1ull << (n % 64);
}

static void bit_clear(uint64_t *set, uint32_t n) {
    set[n / 64] &= ~(1ull << (n % 64));
}

static bool bit_test(const uint64_t *set, uint32_t n) {
    return set[n / 64] >> (n % 64) & 1;
}

void irq_init(uint32_t source) {
    if (!plic_present()) {
        mphalport_poll_console();
        return;
    }
    uart_source = source;
    if (source != 0) {
        plic_set_enable(source, true);
        uart16550_irq_enable();
    } else {
        mphalport_poll_console();
    }
    csr_set(mie, CSR_MIE_MEIE);
    csr_set(mstatus, CSR_MSTATUS_MIE);
}

// Native code does not look for pending exceptions: a loop in it is stopped by the trap handler, after
// the time that orderly ways may take.
static void raise_soon(void) {
    mp_sched_keyboard_interrupt();
    overdue_at = mphalport_time() + mphalport_timebase() / 1000 * OVERDUE_MS;
    mphalport_watch(true);
}

bool irq_interrupt_overdue(void) {
    if (MP_STATE_MAIN_THREAD(mp_pending_exception) == MP_OBJ_NULL) {
        mphalport_watch(false);
        return false;
    }
    return mphalport_time() >= overdue_at;
}

// In a callback, or in the stream that the console runs on, the VM would raise it there, where it gets
// lost. A second one does not wait: what was called may never end.
void irq_keyboard_interrupt(void) {
    if (deferring != 0 && !interrupted) {
        interrupted = true;
    } else {
        raise_soon();
    }
}

void irq_defer_begin(void) {
    ++deferring;
}

void irq_defer_end(void) {
    if (--deferring == 0 && interrupted) {
        interrupted = false;
        event = true;
        uintptr_t state = csr_irq_save();
        raise_soon();
        csr_irq_restore(state);
    }
}

static void run_handlers(mp_sched_node_t *self) {
    (void)self;
    irq_defer_begin();
    for (uint32_t source = 1; source < IRQ_MAX; ++source) {
        uintptr_t state = csr_irq_save();
        bool due = bit_test(pending, source);
        bit_clear(pending, source);
        csr_irq_restore(state);
        mp_obj_t callback = MP_STATE_PORT(irq_handlers)[source];
        if (due && callback != MP_OBJ_NULL) {
            mp_call_function_1_protected(callback, MP_OBJ_NEW_SMALL_INT(source));
            event = true; // a wait looks again: the callback may have raised KeyboardInterrupt, or scheduled
        }
    }
    irq_defer_end();
}

void irq_external(void) {
    uint32_t source;
    while ((source = plic_claim()) != 0) {
        event = true;
        if (source == uart_source) {
            uart16550_receive();
            plic_complete(source);
        } else if (source < IRQ_MAX && MP_STATE_PORT(irq_handlers)[source] != MP_OBJ_NULL) {
            bit_set(claimed, source);
            bit_set(pending, source);
            mp_sched_schedule_node(&node, run_handlers);
        } else {
            // nobody wants it: silence it rather than loop
            plic_complete(source);
            plic_set_enable(source, false);
        }
    }
}

bool irq_take_event(void) {
    bool e = event;
    event = false;
    return e;
}

bool irq_set_handler(uint32_t source, mp_obj_t callback) {
    if (!plic_present() || source == 0 || source >= IRQ_MAX || source > plic_num_sources() || source == uart_source) {
        return false;
    }
    uintptr_t state = csr_irq_save();
    if (callback == mp_const_none) {
        irq_complete(source);
        plic_set_enable(source, false);
        bit_clear(pending, source);
        MP_STATE_PORT(irq_handlers)[source] = MP_OBJ_NULL;
    } else {
        MP_STATE_PORT(irq_handlers)[source] = callback;
        plic_set_enable(source, true);
    }
    csr_irq_restore(state);
    return true;
}

void irq_complete(uint32_t source) {
    if (source >= IRQ_MAX) {
        return;
    }
    uintptr_t state = csr_irq_save();
    if (bit_test(claimed, source)) {
        bit_clear(claimed, source);
        plic_complete(source);
    }
    csr_irq_restore(state);
}

bool irq_quiesce_add(uint64_t addr, uint32_t width) {
    irq_quiesce_remove(addr);
    if (num_quiesce == QUIESCE_MAX) {
        return false;
    }
    quiesce[num_quiesce++] = (quiesce_t) { addr, width };
    return true;
}

bool irq_quiesce_remove(uint64_t addr) {
    for (size_t i = 0; i < num_quiesce; ++i) {
        if (quiesce[i].addr == addr) {
            quiesce[i] = quiesce[--num_quiesce];
            return true;
        }
    }
    return false;
}

// Writes 0 and reads back until the device agrees (virtio 2.4).
static bool quiesce_one(const quiesce_t *q) {
    for (uint32_t n = 0; n < QUIESCE_READS; ++n) {
        uint32_t v;
        if (q->width == 1) {
            if (n == 0) {
                mmio_write8(q->addr, 0);
            }
            v = mmio_read8(q->addr);
        } else if (q->width == 2) {
            if (n == 0) {
                mmio_write16(q->addr, 0);
            }
            v = mmio_read16(q->addr);
        } else {
            if (n == 0) {
                mmio_write32(q->addr, 0);
            }
            v = mmio_read32(q->addr);
        }
        if (v == 0) {
            return true;
        }
    }
    return false;
}

bool irq_quiesce(void) {
    bool ok = true;
    mmio_fence();
    while (num_quiesce != 0) {
        ok = quiesce_one(&quiesce[--num_quiesce]) && ok;
    }
    mmio_fence();
    for (uint32_t source = 1; source < IRQ_MAX; ++source) {
        if (MP_STATE_PORT(irq_handlers)[source] != MP_OBJ_NULL) {
            irq_set_handler(source, mp_const_none);
        }
    }
    return ok;
}

MP_REGISTER_ROOT_POINTER(mp_obj_t irq_handlers[128]);
_Static_assert(IRQ_MAX == 128, "root pointers are written as plain numbers");
