// SPDX-License-Identifier: MIT
// Platform-level interrupt controller, as the RISC-V PLIC specification 1.0 lays it out.
#include "mmio.h"
#include "plic.h"

#define PLIC_PRIORITY 0x0
#define PLIC_ENABLE 0x2000
#define PLIC_ENABLE_STRIDE 0x80
#define PLIC_CONTEXT 0x200000
#define PLIC_CONTEXT_STRIDE 0x1000
#define PLIC_CONTEXT_THRESHOLD 0
#define PLIC_CONTEXT_CLAIM 4

static uint64_t priority_base, enable_base, context_base;
static uint32_t sources;

void plic_init(uint64_t base, int context, uint32_t num_sources) {
    if (base == 0 || context < 0) {
        return;
    }
    sources = num_sources;
    priority_base = base + PLIC_PRIORITY;
    enable_base = base + PLIC_ENABLE + PLIC_ENABLE_STRIDE * (uint64_t)context;
    context_base = base + PLIC_CONTEXT + PLIC_CONTEXT_STRIDE * (uint64_t)context;
    // QEMU 7.2 announces 96 sources, but has the words for 0 to 95 only.
    for (uint32_t i = 0; i < (sources + 31) / 32; ++i) {
        mmio_write32(enable_base + 4 * i, 0);
    }
    mmio_write32(context_base + PLIC_CONTEXT_THRESHOLD, 0);
}

bool plic_present(void) {
    return context_base != 0;
}

uint32_t plic_num_sources(void) {
    return sources;
}

void plic_set_enable(uint32_t source, bool on) {
    uint64_t addr = enable_base + 4 * (source / 32);
    uint32_t bit = 1u << (source % 32);
    uint32_t old = mmio_read32(addr);
    mmio_write32(priority_base + 4 * source, on);
    mmio_write32(addr, on ? old | bit : old & ~bit);
}

uint32_t plic_claim(void) {
    return mmio_read32(context_base + PLIC_CONTEXT_CLAIM);
}

void plic_complete(uint32_t source) {
    mmio_write32(context_base + PLIC_CONTEXT_CLAIM, source);
}
