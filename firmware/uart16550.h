// SPDX-License-Identifier: MIT
// The console UART (16550A): polled output, received bytes in a ring.
#ifndef FIRMWARE_UART16550_H
#define FIRMWARE_UART16550_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void uart16550_init(uint64_t base, uint32_t reg_shift);
void uart16550_irq_enable(void); // the caller has routed the interrupt to uart16550_receive()
void uart16550_write(const char *s, size_t len); // returns when the last byte is in the FIFO
void uart16550_drain(void); // waits until the transmitter is empty
void uart16550_receive(void); // FIFO -> ring; from the interrupt, or with interrupts off
int uart16550_get(void); // next byte, or -1
bool uart16550_any(void);

#endif
