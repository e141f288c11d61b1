// SPDX-License-Identifier: MIT
// The console UART (16550A).
//
// No received byte is ever dropped: with a full ring the FIFO is left alone and the receive
// interrupt masked until there is room, and QEMU stops reading its side of the line.
#include "py/runtime.h"
#include "shared/runtime/interrupt_char.h"

#include "csr.h"
#include "irq.h"
#include "mmio.h"
#include "uart16550.h"

enum {
    REG_DATA = 0, // RBR, THR; divisor low while LCR.DLAB
    REG_IER = 1, // divisor high while LCR.DLAB
    REG_FCR = 2,
    REG_LCR = 3,
    REG_MCR = 4,
    REG_LSR = 5,
};

#define IER_RX 0x01
#define FCR_ENABLE 0x01
#define FCR_CLEAR 0x06
#define FCR_TRIGGER_14 0xc0 // QEMU then takes 14 bytes at a time from its side
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR_RTS_OUT2 0x0b
#define LSR_DR 0x01
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define TX_FIFO 16
// QEMU has no line rate; the divisor only sets the time after which less than a trigger's worth
// of bytes is announced: four characters, 0.1 ms with the smallest divisor.
#define DIVISOR 1

#define RING_SIZE 16384 // a power of two

// Not cleared at start: only what lies between get and put is ever read.
static uint8_t ring[RING_SIZE] __attribute__((section(".noinit")));
static volatile uint32_t ring_put, ring_get; // free-running
static volatile bool masked; // receive interrupt off because the ring is full
static bool irq_driven;
static uint64_t uart_base;
static uint32_t uart_shift;

static uint8_t reg_read(uint32_t reg) {
    return mmio_read8(uart_base + (reg << uart_shift));
}

static void reg_write(uint32_t reg, uint8_t v) {
    mmio_write8(uart_base + (reg << uart_shift), v);
}

void uart16550_init(uint64_t base, uint32_t reg_shift) {
    uart_base = base;
    uart_shift = reg_shift;
    if (base == 0) {
        return;
    }
    reg_write(REG_IER, 0);
    reg_write(REG_LCR, LCR_8N1 | LCR_DLAB);
    reg_write(REG_DATA, DIVISOR);
    reg_write(REG_IER, 0);
    reg_write(REG_LCR, LCR_8N1);
    reg_write(REG_FCR, FCR_ENABLE | FCR_TRIGGER_14); // not cleared: what was typed early counts
    reg_write(REG_MCR, MCR_DTR_RTS_OUT2);
}

void uart16550_irq_enable(void) {
    irq_driven = true;
    if (uart_base != 0) {
        reg_write(REG_IER, IER_RX);
    }
}

void uart16550_write(const char *s, size_t len) {
    if (uart_base == 0) {
        return;
    }
    while (len != 0) {
        while (!(reg_read(REG_LSR) & LSR_THRE)) {
        }
        for (size_t n = 0; n < TX_FIFO && len != 0; ++n, --len) {
            reg_write(REG_DATA, *s++);
        }
    }
}

void uart16550_drain(void) {
    while (uart_base != 0 && !(reg_read(REG_LSR) & LSR_TEMT)) {
    }
}

void uart16550_receive(void) {
    if (uart_base == 0) {
        return;
    }
    while (reg_read(REG_LSR) & LSR_DR) {
        if (ring_put - ring_get == RING_SIZE) {
            masked = true;
            reg_write(REG_IER, 0);
            return;
        }
        uint8_t c = reg_read(REG_DATA);
        if (c == mp_interrupt_char) {
            irq_keyboard_interrupt();
        } else {
            ring[ring_put % RING_SIZE] = c;
            ring_put = ring_put + 1;
        }
    }
    if (masked) {
        masked = false;
        reg_write(REG_IER, irq_driven ? IER_RX : 0);
    }
}

// Outside the interrupt: take what is waiting where no interrupt does it.
static void poll(void) {
    if (!irq_driven || masked) {
        uintptr_t state = csr_irq_save();
        uart16550_receive();
        csr_irq_restore(state);
    }
}

int uart16550_get(void) {
    if (!uart16550_any()) {
        return -1;
    }
    uint8_t c = ring[ring_get % RING_SIZE];
    ring_get = ring_get + 1;
    return c;
}

bool uart16550_any(void) {
    poll();
    return ring_put != ring_get;
}
