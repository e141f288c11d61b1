// SPDX-License-Identifier: MIT
// External interrupts to Python callbacks, and the table of devices to quiesce.
//
// A number stands for a wired source, as the device tree has it, or above those for a message. The
// trap claims, marks the number and schedules one static node; it stays silent until Python calls
// irq_complete(). Callbacks run between bytecodes, in the order of the numbers.
//
// What comes again at once, time after time, is a storm. It has to pause until the next timer tick
// after some, so that the main program runs on, and after STORM_MAX that nobody said was work it is
// silenced until somebody connects it again.
#include "py/mpstate.h"
#include "py/runtime.h"

#include "aplic.h"
#include "csr.h"
#include "fdt_early.h"
#include "imsic.h"
#include "irq.h"
#include "mmio.h"
#include "mphalport.h"
#include "plic.h"
#include "uart16550.h"

#define QUIESCE_MAX 64
#define QUIESCE_READS 100000
#define OVERDUE_MS 200
#define STORM_US 100 // from completion to the next one: less is at once
#define STORM_BURST 256 // of these without a pause,
#define STORM_USELESS 16 // each that was no work counting as so many
#define STORM_MAX 4096
#define STORM_RELIEF 2 // one that is not at once takes so many back: a host that is busy makes gaps

typedef struct _quiesce_t {
    uint64_t addr;
    uint32_t width;
} quiesce_t;

typedef enum _controller_t {
    NONE,
    PLIC,
    APLIC, // by wire
    IMSIC, // with an APLIC that sends messages for wired sources: its number is the message's, too
} controller_t;

typedef struct _number_t {
    uint64_t completed_at;
    uint32_t count; // interrupts since it was connected
    uint32_t burst;
    uint32_t storm; // useless ones that came at once
    bool at_once;
    bool silenced;
} number_t;

static controller_t controller;
static uint32_t uart_source;
static volatile bool event;
// Sets of numbers, written with interrupts off.
static uint64_t pending[IRQ_MAX / 64];
static uint64_t claimed[IRQ_MAX / 64];
static uint64_t pausing[IRQ_MAX / 64];
static uint64_t messages[IRQ_MAX / 64]; // that are taken
static number_t numbers[IRQ_MAX];
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

static bool any(const uint64_t *set) {
    uint64_t found = 0;
    for (size_t i = 0; i < IRQ_MAX / 64; ++i) {
        found |= set[i];
    }
    return found != 0;
}

// -- controllers ------------------------------------------------------------------------

static uint32_t num_sources(void) {
    return controller == PLIC ? plic_num_sources() : controller == NONE ? 0 : aplic_num_sources();
}

static uint32_t claim(void) {
    return controller == PLIC ? plic_claim() : controller == APLIC ? aplic_claim() : imsic_claim();
}

// After a claim: no more of these until unmask(). The PLIC needs no telling.
static void mask(uint32_t n) {
    if (controller == APLIC) {
        aplic_set_enable(n, false);
    } else if (controller == IMSIC) {
        imsic_set_enable(n, false);
    }
}

static void unmask(uint32_t n) {
    if (controller == PLIC) {
        plic_complete(n);
    } else if (controller == APLIC) {
        aplic_set_enable(n, true);
    } else if (n > num_sources()) {
        imsic_set_enable(n, true);
    } else {
        if (aplic_is_level(n)) {
            imsic_clear(n); // QEMU sends one whenever a device says that its level is up
        }
        imsic_set_enable(n, true);
        aplic_look_again(n);
    }
}

static bool enable(uint32_t n, uint32_t trigger) {
    if (controller == PLIC) {
        plic_set_enable(n, true);
        return true;
    }
    if (n <= num_sources()) {
        if (!aplic_setup(n, trigger)) {
            return false;
        }
        aplic_set_enable(n, true);
    }
    if (controller == IMSIC) {
        imsic_set_enable(n, true);
        if (n <= num_sources()) {
            aplic_look_again(n);
        }
    }
    return true;
}

static void disable(uint32_t n, bool is_claimed) {
    if (controller == PLIC) {
        if (is_claimed) {
            plic_complete(n);
        }
        plic_set_enable(n, false);
        return;
    }
    if (n <= num_sources()) {
        aplic_release(n);
    }
    if (controller == IMSIC) {
        imsic_set_enable(n, false);
        imsic_clear(n);
    }
}

void irq_init(void) {
    const fdt_early_t *f = &fdt_early;
    plic_init(f->plic, f->plic_context, f->plic_sources);
    imsic_init(f->imsic, f->imsic_ids);
    aplic_init(f->aplic, f->aplic_sources, f->aplic_idc, f->imsic);
    if (plic_present()) {
        controller = PLIC;
    } else if (imsic_addr() != 0) {
        controller = IMSIC;
    } else if (aplic_present()) {
        controller = APLIC;
    }
    uart_source = f->uart_irq;
    if (controller == NONE || uart_source == 0 || !enable(uart_source, f->uart_trigger)) {
        uart_source = 0;
        mphalport_poll_console();
    } else {
        uart16550_irq_enable();
    }
    if (controller != NONE) {
        csr_set(mie, CSR_MIE_MEIE);
        csr_set(mstatus, CSR_MSTATUS_MIE);
    }
}

void irq_off(void) {
    plic_init(fdt_early.plic, fdt_early.plic_context, fdt_early.plic_sources); // every source off
    if (aplic_present()) {
        aplic_off();
    }
    if (imsic_addr() != 0) {
        imsic_off();
    }
}

bool irq_present(void) {
    return controller != NONE;
}

const char *irq_controller(void) {
    static const char *const names[] = { "", "PLIC", "APLIC", "IMSIC" };
    return names[controller];
}

// -- Ctrl-C -------------------------------------------------------------------------------

// Native code does not look for pending exceptions: a loop in it is stopped by the trap handler, after
// the time that orderly ways may take.
static void raise_soon(void) {
    mp_sched_keyboard_interrupt();
    overdue_at = mphalport_time() + mphalport_timebase() / 1000 * OVERDUE_MS;
    mphalport_watch(true);
}

bool irq_interrupt_overdue(void) {
    if (MP_STATE_MAIN_THREAD(mp_pending_exception) == MP_OBJ_NULL) {
        mphalport_watch(any(pausing));
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

// -- interrupts to callbacks -------------------------------------------------------------------

static void run_handlers(mp_sched_node_t *self) {
    (void)self;
    irq_defer_begin();
    for (uint32_t i = 0; i < IRQ_MAX / 64; ++i) {
        uintptr_t state = csr_irq_save();
        uint64_t due = pending[i];
        pending[i] = 0;
        csr_irq_restore(state);
        for (; due != 0; due &= due - 1) {
            uint32_t n = 64 * i + __builtin_ctzll(due);
            mp_obj_t callback = MP_STATE_PORT(irq_handlers)[n];
            if (callback != MP_OBJ_NULL) {
                mp_call_function_1_protected(callback, MP_OBJ_NEW_SMALL_INT(n));
                event = true; // a wait looks again: the callback may have raised KeyboardInterrupt, or scheduled
            }
        }
    }
    irq_defer_end();
}

void irq_external(void) {
    uint32_t n;
    while ((n = claim()) != 0) {
        event = true;
        if (n == uart_source) {
            uart16550_receive();
            unmask(n);
        } else if (n < IRQ_MAX && MP_STATE_PORT(irq_handlers)[n] != MP_OBJ_NULL) {
            mask(n);
            ++numbers[n].count;
            numbers[n].at_once = mphalport_time() - numbers[n].completed_at < mphalport_timebase() / 1000000 * STORM_US;
            bit_set(claimed, n);
            bit_set(pending, n);
            mp_sched_schedule_node(&node, run_handlers);
        } else {
            disable(n, true); // nobody wants it: silence it rather than loop
        }
    }
}

// QEMU's IMSIC takes no lock when a hart changes its file: a message that comes meanwhile may be
// pending there without interrupting. Interrupts are off.
static void settle(void) {
    if (controller == IMSIC && imsic_pending()) {
        irq_external();
    }
}

bool irq_take_event(void) {
    bool e = event;
    event = false;
    return e;
}

bool irq_set_handler(uint32_t n, mp_obj_t callback, uint32_t trigger) {
    if (n == 0 || n >= IRQ_MAX || n == uart_source || (n > num_sources() && !bit_test(messages, n))) {
        return false;
    }
    bool ok = true;
    uintptr_t state = csr_irq_save();
    bool on = MP_STATE_PORT(irq_handlers)[n] != MP_OBJ_NULL && !numbers[n].silenced;
    MP_STATE_PORT(irq_handlers)[n] = callback == mp_const_none ? MP_OBJ_NULL : callback;
    if (callback == mp_const_none || !on) {
        disable(n, bit_test(claimed, n));
        bit_clear(claimed, n);
        bit_clear(pending, n);
        bit_clear(pausing, n);
        numbers[n] = (number_t) { 0 };
        if (callback != mp_const_none && !enable(n, trigger)) {
            MP_STATE_PORT(irq_handlers)[n] = MP_OBJ_NULL;
            ok = false;
        }
        settle();
    }
    csr_irq_restore(state);
    return ok;
}

static void let_go(uint32_t n) {
    bit_clear(claimed, n);
    numbers[n].completed_at = mphalport_time();
    unmask(n);
}

// Keeps account of storms; false: it is one and has to stay silent.
static bool count(number_t *p, bool worked) {
    if (!p->at_once) {
        p->burst = 0;
    }
    p->storm = worked ? 0 : p->at_once ? p->storm + 1 : p->storm > STORM_RELIEF ? p->storm - STORM_RELIEF : 0;
    p->burst += worked ? 1 : STORM_USELESS;
    p->silenced = p->storm >= STORM_MAX;
    return !p->silenced;
}

bool irq_complete(uint32_t n, bool worked) {
    if (n >= IRQ_MAX) {
        return true;
    }
    number_t *p = &numbers[n];
    uintptr_t state = csr_irq_save();
    if (bit_test(claimed, n) && !bit_test(pausing, n)) {
        if (!count(p, worked)) {
            disable(n, true);
            bit_clear(claimed, n);
        } else if (p->burst >= STORM_BURST && mphalport_watch(true)) {
            p->burst = 0;
            bit_set(pausing, n);
        } else {
            let_go(n);
        }
        settle();
    }
    csr_irq_restore(state);
    return !p->silenced;
}

void irq_timer(void) {
    for (uint32_t i = 0; i < IRQ_MAX / 64; ++i) {
        for (; pausing[i] != 0; pausing[i] &= pausing[i] - 1) {
            let_go(64 * i + __builtin_ctzll(pausing[i]));
        }
    }
    settle();
}

void irq_state(uint32_t n, uint32_t *interrupts, uint32_t *silenced) {
    *interrupts = n < IRQ_MAX ? numbers[n].count : 0;
    *silenced = n < IRQ_MAX && numbers[n].silenced ? STORM_MAX : 0;
}

uint32_t irq_message_take(uint64_t *addr) {
    uint32_t end = imsic_num_ids() < IRQ_MAX ? imsic_num_ids() + 1 : IRQ_MAX;
    *addr = imsic_addr();
    for (uint32_t n = num_sources() + 1; controller == IMSIC && n < end; ++n) {
        if (!bit_test(messages, n)) {
            bit_set(messages, n);
            return n;
        }
    }
    return 0;
}

bool irq_message_give(uint32_t n) {
    if (n >= IRQ_MAX || !bit_test(messages, n)) {
        return false;
    }
    irq_set_handler(n, mp_const_none, 0);
    bit_clear(messages, n);
    return true;
}

// -- devices to quiesce ------------------------------------------------------------------------

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

// Writes 0 and reads back until the device agrees (virtio 2.4). Ones come from where nothing is any more.
static bool quiesce_one(const quiesce_t *q) {
    uint32_t gone = 0xffffffff >> (32 - 8 * q->width);
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
        if (v == 0 || v == gone) {
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
    for (uint32_t n = 1; n < IRQ_MAX; ++n) {
        if (MP_STATE_PORT(irq_handlers)[n] != MP_OBJ_NULL) {
            irq_set_handler(n, mp_const_none, 0);
        }
        bit_clear(messages, n);
    }
    return ok;
}

MP_REGISTER_ROOT_POINTER(mp_obj_t irq_handlers[256]);
_Static_assert(IRQ_MAX == 256, "root pointers are written as plain numbers");
