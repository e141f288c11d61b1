// SPDX-License-Identifier: MIT
// Advanced PLIC, as chapter 4 of the RISC-V AIA specification 1.0 lays it out.
#include "aplic.h"
#include "mmio.h"

#define DOMAINCFG 0x0000
#define DOMAINCFG_IE (1 << 8)
#define DOMAINCFG_DM (1 << 2) // messages instead of wires
#define SOURCECFG 0x0004 // of source 1; 0: inactive
#define MMSIADDRCFG 0x1bc0
#define MMSIADDRCFGH 0x1bc4
#define SETIPNUM 0x1cdc
#define IN_CLRIP 0x1d00 // reads as the inputs, inverted where low is active
#define SETIENUM 0x1edc
#define CLRIE 0x1f00
#define CLRIENUM 0x1fdc
#define TARGET 0x3004 // of source 1; hart index from bit 18 on, below it priority or message
#define TARGET_HART_SHIFT 18
#define IDC 0x4000
#define IDC_STRIDE 32
#define IDC_IDELIVERY 0x00
#define IDC_ITHRESHOLD 0x08
#define IDC_CLAIMI 0x1c
#define IDC_CLAIMI_SHIFT 16

#define PRIORITY 1 // the highest; all alike
#define SOURCES_MAX 1023

static uint64_t base, idc_base;
static uint32_t sources, target; // target: of source 0, with messages the source is added
static bool messages;
static uint32_t high[(SOURCES_MAX + 1) / 32]; // sources that interrupt while their level is high

void aplic_init(uint64_t address, uint32_t num_sources, int idc, uint64_t msi_addr) {
    if (address == 0 || (idc < 0 && msi_addr == 0)) {
        return;
    }
    base = address;
    sources = num_sources <= SOURCES_MAX ? num_sources : SOURCES_MAX;
    messages = msi_addr != 0;
    mmio_write32(base + DOMAINCFG, 0);
    for (uint32_t i = 0; i <= sources / 32; ++i) {
        mmio_write32(base + CLRIE + 4 * i, 0xffffffff);
    }
    if (messages) {
        // no bits for the hart's index: this page is the only one that we write to
        mmio_write32(base + MMSIADDRCFG, msi_addr >> 12);
        mmio_write32(base + MMSIADDRCFGH, msi_addr >> 44);
        target = 0;
    } else {
        idc_base = base + IDC + IDC_STRIDE * (uint64_t)idc;
        mmio_write32(idc_base + IDC_ITHRESHOLD, 0);
        mmio_write32(idc_base + IDC_IDELIVERY, 1);
        target = (uint32_t)idc << TARGET_HART_SHIFT | PRIORITY;
    }
    mmio_write32(base + DOMAINCFG, DOMAINCFG_IE | (messages ? DOMAINCFG_DM : 0));
}

bool aplic_present(void) {
    return base != 0;
}

uint32_t aplic_num_sources(void) {
    return sources;
}

void aplic_off(void) {
    mmio_write32(base + DOMAINCFG, 0);
    for (uint32_t source = 1; source <= sources; ++source) {
        aplic_release(source);
    }
    if (messages) {
        mmio_write32(base + MMSIADDRCFG, 0);
        mmio_write32(base + MMSIADDRCFGH, 0);
    } else {
        mmio_write32(idc_base + IDC_IDELIVERY, 0);
    }
}

bool aplic_setup(uint32_t source, uint32_t trigger) {
    static const uint8_t modes[] = { [1] = 4, [2] = 5, [4] = 6, [8] = 7 };
    uint32_t mode = trigger < sizeof(modes) ? modes[trigger] : 0;
    uint64_t sourcecfg = base + SOURCECFG + 4 * (uint64_t)(source - 1);
    if (source == 0 || source > sources) {
        return false;
    }
    mmio_write32(sourcecfg, mode);
    if (mode == 0 || mmio_read32(sourcecfg) != mode) {
        return false;
    }
    high[source / 32] &= ~(1u << (source % 32));
    high[source / 32] |= (uint32_t)(trigger == 4) << (source % 32);
    mmio_write32(base + CLRIENUM, source);
    mmio_write32(base + TARGET + 4 * (uint64_t)(source - 1), messages ? source : target);
    return true;
}

void aplic_release(uint32_t source) {
    mmio_write32(base + SOURCECFG + 4 * (uint64_t)(source - 1), 0); // clears enabled and pending, too
}

void aplic_set_enable(uint32_t source, bool on) {
    mmio_write32(base + (on ? SETIENUM : CLRIENUM), source);
}

bool aplic_is_level(uint32_t source) {
    return high[source / 32] >> (source % 32) & 1;
}

static bool is_up(uint32_t source) {
    return mmio_read32(base + IN_CLRIP + 4 * (source / 32)) >> (source % 32) & 1;
}

uint32_t aplic_claim(void) {
    for (;;) {
        uint32_t source = mmio_read32(idc_base + IDC_CLAIMI) >> IDC_CLAIMI_SHIFT;
        // in QEMU 7.2 a source is pending still when its level is down again
        if (!aplic_is_level(source) || is_up(source)) {
            return source;
        }
    }
}

void aplic_look_again(uint32_t source) {
    if (is_up(source)) { // QEMU 7.2 would believe SETIPNUM even if not
        mmio_write32(base + SETIPNUM, source);
    }
}
