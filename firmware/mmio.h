// SPDX-License-Identifier: MIT
// Sized volatile access to device registers, and the fences that order it.
#ifndef FIRMWARE_MMIO_H
#define FIRMWARE_MMIO_H

#include <stdint.h>

static inline uint8_t mmio_read8(uintptr_t addr) {
    return *(volatile uint8_t *)addr;
}

static inline void mmio_write8(uintptr_t addr, uint8_t v) {
    *(volatile uint8_t *)addr = v;
}

static inline uint16_t mmio_read16(uintptr_t addr) {
    return *(volatile uint16_t *)addr;
}

static inline void mmio_write16(uintptr_t addr, uint16_t v) {
    *(volatile uint16_t *)addr = v;
}

static inline uint32_t mmio_read32(uintptr_t addr) {
    return *(volatile uint32_t *)addr;
}

static inline void mmio_write32(uintptr_t addr, uint32_t v) {
    *(volatile uint32_t *)addr = v;
}

static inline uint64_t mmio_read64(uintptr_t addr) {
    return *(volatile uint64_t *)addr;
}

static inline void mmio_write64(uintptr_t addr, uint64_t v) {
    *(volatile uint64_t *)addr = v;
}

static inline void mmio_fence(void) {
    __asm volatile ("fence iorw, iorw" : : : "memory");
}

static inline void mmio_fence_i(void) {
    __asm volatile ("fence.i" : : : "memory");
}

#endif
