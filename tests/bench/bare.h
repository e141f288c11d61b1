// SPDX-License-Identifier: MIT
// What the bench's bare programs share: the console, the clock and the instruction counter of QEMU's virt machine.
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include <stdint.h>

#define UART_THR (*(volatile uint8_t *)0x10000000)

static inline void print(const char *s) {
    while (*s != '\0') {
        UART_THR = *s++;
    }
}

static inline void print_number(uint64_t n) {
    char digits[21];
    char *p = digits + 20;
    *p = '\0';
    do {
        *--p = '0' + n % 10;
    } while ((n /= 10) != 0);
    UART_THR = ' ';
    print(p);
}

static inline uint64_t ticks(void) {
    uint64_t value;
    __asm volatile ("rdtime %0" : "=r" (value));
    return value;
}

static inline uint64_t instructions(void) {
    uint64_t value;
    __asm volatile ("csrr %0, minstret" : "=r" (value));
    return value;
}

#endif
