// SPDX-License-Identifier: MIT
// Access to a CSR whose number is only known at run time.
//
// The number is part of the instruction, so the instruction is written where native code lives;
// a fault there becomes an exception like any other fault of native code.
#include <string.h>

#include "py/runtime.h"

#include "csrcall.h"
#include "mmio.h"
#include "phys.h"

// csrrX a0, csr, a1 with the numbers left out, then ret
#define INSN_CSR_A0_A1 0x00058573u
#define INSN_RET 0x00008067u

uint64_t csrcall(csrcall_op_t op, uint32_t csr, uint64_t value) {
    // set and clear of nothing must not count as a write: read-only registers can be read so
    bool read = value == 0 && op != CSRCALL_WRITE;
    uint32_t *code;
    size_t size;
    if (!phys_alloc_exec(2 * sizeof(*code), (void **)&code, &size)) {
        mp_raise_type(&mp_type_MemoryError);
    }
    code[0] = (read ? INSN_CSR_A0_A1 & ~(31u << 15) : INSN_CSR_A0_A1) | (uint32_t)op << 12 | (csr & 0xfff) << 20;
    code[1] = INSN_RET;
    // the place is given back before it is used: only native code compiled later takes it
    phys_free_exec(code, size);
    mmio_fence_i();
    return ((uint64_t (*)(uint64_t, uint64_t))code)(0, value);
}

int csrcall_number(const char *name) {
    static const struct {
        char name[14];
        uint16_t csr;
    } names[] = {
        { "fflags", 0x001 }, { "frm", 0x002 }, { "fcsr", 0x003 }, { "seed", 0x015 },
        { "cycle", 0xc00 }, { "time", 0xc01 }, { "instret", 0xc02 },
        { "sstatus", 0x100 }, { "sie", 0x104 }, { "stvec", 0x105 }, { "scounteren", 0x106 }, { "senvcfg", 0x10a },
        { "sscratch", 0x140 }, { "sepc", 0x141 }, { "scause", 0x142 }, { "stval", 0x143 }, { "sip", 0x144 },
        { "stimecmp", 0x14d }, { "satp", 0x180 },
        { "mstatus", 0x300 }, { "misa", 0x301 }, { "medeleg", 0x302 }, { "mideleg", 0x303 }, { "mie", 0x304 },
        { "mtvec", 0x305 }, { "mcounteren", 0x306 }, { "menvcfg", 0x30a }, { "mcountinhibit", 0x320 },
        { "mscratch", 0x340 }, { "mepc", 0x341 }, { "mcause", 0x342 }, { "mtval", 0x343 }, { "mip", 0x344 },
        { "mtinst", 0x34a }, { "mtval2", 0x34b },
        { "miselect", 0x350 }, { "mireg", 0x351 }, { "mtopei", 0x35c }, { "mtopi", 0xfb0 },
        { "pmpcfg0", 0x3a0 }, { "pmpcfg2", 0x3a2 }, { "pmpaddr0", 0x3b0 }, { "pmpaddr1", 0x3b1 },
        { "pmpaddr2", 0x3b2 }, { "pmpaddr3", 0x3b3 },
        { "tselect", 0x7a0 }, { "tdata1", 0x7a1 }, { "tdata2", 0x7a2 }, { "tdata3", 0x7a3 }, { "tinfo", 0x7a4 },
        { "mcycle", 0xb00 }, { "minstret", 0xb02 },
        { "mvendorid", 0xf11 }, { "marchid", 0xf12 }, { "mimpid", 0xf13 }, { "mhartid", 0xf14 }, { "mconfigptr", 0xf15 },
    };
    for (size_t i = 0; i < MP_ARRAY_SIZE(names); ++i) {
        if (strncmp(name, names[i].name, sizeof(names[i].name)) == 0) {
            return names[i].csr;
        }
    }
    return -1;
}
