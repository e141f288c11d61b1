// SPDX-License-Identifier: MIT
// One bounded pass over the flattened device tree; no allocation, no recursion.
#include <string.h>

#include "fdt_early.h"

#define FDT_MAGIC 0xd00dfeed
#define FDT_BEGIN_NODE 1
#define FDT_END_NODE 2
#define FDT_PROP 3
#define FDT_NOP 4
#define FDT_END 9
#define FDT_MAX_DEPTH 12
#define FDT_MAX_SIZE 0x1000000
#define FDT_IRQ_M_TIMER 7
#define FDT_IRQ_M_EXT 11

fdt_early_t fdt_early;

typedef struct _prop_t {
    const uint8_t *data;
    uint32_t len;
} prop_t;

// What is remembered of an open node until its end.
typedef struct _node_t {
    const char *name;
    uint32_t address_cells; // of this node's children
    uint32_t size_cells;
    uint32_t phandle;
    uint32_t parent_phandle; // interrupt-parent
    uint32_t child_intc; // phandle of an interrupt-controller child
    prop_t compatible, reg, interrupts, extended, device_type, reg_shift, ndev, status, isa, isa_list;
    prop_t msi_parent, children, guest_bits;
} node_t;

static uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t cells(const uint8_t *p, uint32_t n) {
    uint64_t v = 0;
    while (n--) {
        v = v << 32 | be32(p);
        p += 4;
    }
    return v;
}

static uint32_t prop_u32(const prop_t *p, uint32_t otherwise) {
    return p->len >= 4 ? be32(p->data) : otherwise;
}

// Is `text` one of the strings in a list property?
static bool prop_has(const prop_t *p, const char *text) {
    uint32_t n = strlen(text) + 1;
    for (uint32_t i = 0; i + n <= p->len;) {
        if (p->data[i] == (uint8_t)*text && memcmp(p->data + i, text, n) == 0) {
            return true;
        }
        while (i < p->len && p->data[i] != 0) {
            ++i;
        }
        ++i;
    }
    return false;
}

// Does a cpu have an extension whose name has several letters? Old trees have "rv64imac_zba_zbb", new ones a list.
static bool cpu_has(const node_t *node, const char *extension) {
    uint32_t n = strlen(extension);
    for (uint32_t i = 1; i + n < node->isa.len; ++i) {
        const uint8_t *p = node->isa.data + i;
        if (p[-1] == '_' && memcmp(p, extension, n) == 0 && (p[n] == '_' || p[n] == 0)) {
            return true;
        }
    }
    return prop_has(&node->isa_list, extension);
}

// First address in "reg", 0 if there is none. QEMU's buses map one to one, so `ranges` is not needed here.
static uint64_t reg_addr(const node_t *node, const node_t *parent) {
    return node->reg.len >= 4 * parent->address_cells ? cells(node->reg.data, parent->address_cells) : 0;
}

static size_t add_ranges(const node_t *node, const node_t *parent, fdt_early_range_t *out, size_t n, size_t max) {
    uint32_t ac = parent->address_cells, sc = parent->size_cells;
    uint32_t step = 4 * (ac + sc);
    for (uint32_t i = 0; step != 0 && i + step <= node->reg.len && n < max; i += step) {
        uint64_t start = cells(node->reg.data + i, ac);
        uint64_t size = cells(node->reg.data + i + 4 * ac, sc);
        if (size != 0 && start + size > start) {
            out[n].start = start;
            out[n++].end = start + size;
        }
    }
    return n;
}

static size_t add_controller(fdt_early_controller_t *list, size_t n, size_t max, uint64_t addr,
    const node_t *node, const node_t *parent) {
    if (n < max) {
        list[n++] = (fdt_early_controller_t) {
            addr, prop_u32(&node->ndev, 0), node->phandle, node->extended.data, node->extended.len,
            node->reg.data, node->reg.len, { parent->address_cells, parent->size_cells },
            prop_u32(&node->guest_bits, 0), prop_u32(&node->msi_parent, 0), node->children.data, node->children.len,
        };
    }
    return n;
}

#define ADD_CONTROLLER(f, list, addr, node, parent) \
    ((f)->num_##list = add_controller((f)->list, (f)->num_##list, sizeof((f)->list) / sizeof((f)->list[0]), \
    addr, node, parent))

// Several nodes, one after the other in memory: hart 0's is the lowest.
static void set_msip(uint64_t addr) {
    if (fdt_early.msip == 0 || addr < fdt_early.msip) {
        fdt_early.msip = addr;
    }
}

static void end_of_device(const node_t *node, const node_t *parent) {
    const prop_t *c = &node->compatible;
    fdt_early_t *f = &fdt_early;
    uint64_t addr = reg_addr(node, parent);
    if (prop_has(c, "ns16550a") && (f->uart == 0 || addr < f->uart)) {
        f->uart = addr;
        f->uart_irq = prop_u32(&node->interrupts, 0);
        f->uart_trigger = node->interrupts.len >= 8 ? be32(node->interrupts.data + 4) : 4;
        f->uart_parent = node->parent_phandle;
        f->uart_shift = prop_u32(&node->reg_shift, 0);
    } else if (prop_has(c, "riscv,plic0") || prop_has(c, "sifive,plic-1.0.0")) {
        ADD_CONTROLLER(f, plics, addr, node, parent);
    } else if (prop_has(c, "riscv,aplic")) {
        ADD_CONTROLLER(f, aplics, addr, node, parent);
    } else if (prop_has(c, "riscv,imsics")) {
        ADD_CONTROLLER(f, imsics, addr, node, parent);
    } else if (prop_has(c, "riscv,clint0") || prop_has(c, "sifive,clint0")) {
        set_msip(addr);
        ADD_CONTROLLER(f, timers, addr + 0x4000, node, parent); // the CLINT's fixed layout
    } else if (prop_has(c, "riscv,aclint-mswi")) {
        set_msip(addr);
    } else if (prop_has(c, "riscv,aclint-mtimer")) {
        // two ranges: mtime, mtimecmp
        uint32_t step = 4 * (parent->address_cells + parent->size_cells);
        addr = node->reg.len >= 2 * step ? cells(node->reg.data + step, parent->address_cells) : addr;
        ADD_CONTROLLER(f, timers, addr, node, parent);
    } else if (prop_has(c, "sifive,test0")) {
        f->test = addr;
    } else if (prop_has(c, "google,goldfish-rtc")) {
        f->rtc = addr;
    }
}

// `path` holds the open nodes, the root at 0 and the one that ends at `depth`.
static void end_of_node(node_t *path, int depth) {
    const node_t *node = &path[depth];
    fdt_early_t *f = &fdt_early;
    if (depth == 0) {
        return;
    }
    node_t *parent = &path[depth - 1];
    if (node->status.len != 0 && !prop_has(&node->status, "okay") && !prop_has(&node->status, "ok")) {
        return;
    }
    if (prop_has(&node->device_type, "memory")) {
        f->num_banks = add_ranges(node, parent, f->banks, f->num_banks, FDT_EARLY_BANKS);
    } else if (prop_has(&node->device_type, "cpu")) {
        if (f->num_harts < FDT_EARLY_HARTS) {
            f->harts[f->num_harts++] = (fdt_early_hart_t) {
                reg_addr(node, parent), node->child_intc, cpu_has(node, "zba"), cpu_has(node, "zbb"),
            };
        }
    } else if (prop_has(&node->compatible, "riscv,cpu-intc")) {
        parent->child_intc = node->phandle;
    } else if (strcmp(parent->name, "reserved-memory") == 0) {
        f->num_reserved = add_ranges(node, parent, f->reserved, f->num_reserved, FDT_EARLY_RESERVED);
    } else if (node->compatible.len != 0) {
        end_of_device(node, parent);
    }
}

static void property(node_t *node, const char *name, prop_t p) {
    fdt_early_t *f = &fdt_early;
    static const struct {
        const char *name;
        size_t off;
    } keep[] = {
        { "compatible", offsetof(node_t, compatible) },
        { "reg", offsetof(node_t, reg) },
        { "interrupts", offsetof(node_t, interrupts) },
        { "interrupts-extended", offsetof(node_t, extended) },
        { "device_type", offsetof(node_t, device_type) },
        { "reg-shift", offsetof(node_t, reg_shift) },
        { "riscv,ndev", offsetof(node_t, ndev) },
        { "riscv,num-sources", offsetof(node_t, ndev) },
        { "riscv,num-ids", offsetof(node_t, ndev) },
        { "riscv,guest-index-bits", offsetof(node_t, guest_bits) },
        { "riscv,children", offsetof(node_t, children) },
        { "msi-parent", offsetof(node_t, msi_parent) },
        { "status", offsetof(node_t, status) },
        { "riscv,isa", offsetof(node_t, isa) },
        { "riscv,isa-extensions", offsetof(node_t, isa_list) },
    };
    for (size_t i = 0; i < sizeof(keep) / sizeof(keep[0]); ++i) {
        if (name[0] == keep[i].name[0] && strcmp(name, keep[i].name) == 0) {
            *(prop_t *)((char *)node + keep[i].off) = p;
            return;
        }
    }
    if (strcmp(name, "rng-seed") == 0) {
        f->rng_seed = p.data;
        f->rng_seed_len = p.len;
    }
    if (p.len < 4) {
        return;
    }
    if (strcmp(name, "#address-cells") == 0) {
        node->address_cells = be32(p.data) & 3;
    } else if (strcmp(name, "#size-cells") == 0) {
        node->size_cells = be32(p.data) & 3;
    } else if (strcmp(name, "phandle") == 0) {
        node->phandle = be32(p.data);
    } else if (strcmp(name, "interrupt-parent") == 0) {
        node->parent_phandle = be32(p.data);
    } else if (strcmp(name, "timebase-frequency") == 0) {
        f->timebase = cells(p.data, p.len >= 8 ? 2 : 1);
    } else if (strcmp(name, "linux,initrd-start") == 0) {
        f->initrd.start = cells(p.data, p.len >= 8 ? 2 : 1);
    } else if (strcmp(name, "linux,initrd-end") == 0) {
        f->initrd.end = cells(p.data, p.len >= 8 ? 2 : 1);
    }
}

static void memory_reservations(const uint8_t *p, const uint8_t *end) {
    fdt_early_t *f = &fdt_early;
    for (; p + 16 <= end && f->num_reserved < FDT_EARLY_RESERVED; p += 16) {
        uint64_t start = cells(p, 2), size = cells(p + 8, 2);
        if (size == 0) {
            return;
        }
        f->reserved[f->num_reserved].start = start;
        f->reserved[f->num_reserved++].end = start + size;
    }
}

bool fdt_early_init(const void *blob) {
    fdt_early_t *f = &fdt_early;
    const uint8_t *b = blob;
    f->blob = b;
    if (b == NULL || ((uintptr_t)b & 3) != 0 || be32(b) != FDT_MAGIC) {
        return false;
    }
    uint32_t size = be32(b + 4), off_struct = be32(b + 8), off_strings = be32(b + 12), off_rsv = be32(b + 16);
    if (size < 40 || size > FDT_MAX_SIZE || off_struct >= size || off_strings >= size || off_rsv >= size) {
        return false;
    }
    f->size = size;
    memory_reservations(b + off_rsv, b + size);

    node_t path[FDT_MAX_DEPTH];
    int depth = -1;
    const uint8_t *p = b + off_struct, *end = b + size;
    while (p + 4 <= end) {
        uint32_t token = be32(p);
        p += 4;
        if (token == FDT_BEGIN_NODE) {
            size_t n = strnlen((const char *)p, end - p);
            if (++depth >= FDT_MAX_DEPTH || p + n >= end) {
                return false;
            }
            path[depth] = (node_t) { .name = (const char *)p, .address_cells = 2, .size_cells = 1 };
            p += (n + 4) & ~(size_t)3;
        } else if (token == FDT_END_NODE) {
            if (depth < 0) {
                return false;
            }
            end_of_node(path, depth--);
        } else if (token == FDT_PROP) {
            if (p + 8 > end || depth < 0) {
                return false;
            }
            uint32_t len = be32(p), name = be32(p + 4);
            p += 8;
            if (len > (size_t)(end - p) || name >= size - off_strings
                || strnlen((const char *)b + off_strings + name, size - off_strings - name) == size - off_strings - name) {
                return false;
            }
            property(&path[depth], (const char *)b + off_strings + name, (prop_t) { p, len });
            p += (len + 3) & ~3u;
        } else if (token == FDT_END) {
            return f->num_banks != 0;
        } else if (token != FDT_NOP) {
            return false;
        }
    }
    return false;
}

// Which row of the controller is about interrupt `irq` of a hart, or -1. `seen`: rows about it before that one.
static int find_row(const fdt_early_controller_t *c, uint32_t intc, uint32_t irq, int *seen) {
    *seen = 0;
    for (size_t i = 0; 8 * i + 8 <= c->rows_len; ++i) {
        if (be32(c->rows + 8 * i + 4) == irq) {
            if (be32(c->rows + 8 * i) == intc) {
                return i;
            }
            ++*seen;
        }
    }
    return -1;
}

// Page number `row` of an IMSIC's parts, each of which begins with a hart.
static uint64_t imsic_page(const fdt_early_controller_t *c, uint64_t row) {
    uint64_t off = row << (12 + (c->guest_bits & 7));
    uint32_t step = 4 * (c->reg_cells[0] + c->reg_cells[1]);
    for (size_t i = 0; step != 0 && i + step <= c->regs_len; i += step) {
        uint64_t size = cells(c->regs + i + 4 * c->reg_cells[0], c->reg_cells[1]);
        if (off < size) {
            return cells(c->regs + i, c->reg_cells[0]) + off;
        }
        off -= size;
    }
    return 0;
}

bool fdt_early_serves(uint32_t phandle) {
    const fdt_early_controller_t *c = fdt_early.wired;
    // devices name the supervisor's domain of an APLIC, below ours
    for (size_t i = 0; c != NULL && i + 4 <= c->children_len; i += 4) {
        if (be32(c->children + i) == phandle) {
            return true;
        }
    }
    return c != NULL && phandle == c->phandle;
}

static void select_plic(fdt_early_t *f, uint32_t intc) {
    int seen;
    f->plic_context = -1;
    for (size_t i = 0; i < f->num_plics && f->plic_context < 0; ++i) {
        const fdt_early_controller_t *c = &f->plics[i];
        f->plic = c->addr;
        f->plic_sources = c->sources;
        f->plic_context = find_row(c, intc, FDT_IRQ_M_EXT, &seen);
        if (f->plic_context >= 0) {
            f->wired = c;
        }
    }
}

static void select_aplic(fdt_early_t *f, uint32_t intc) {
    uint32_t imsic = 0; // phandle
    int seen;
    for (size_t i = 0; i < f->num_imsics && imsic == 0; ++i) {
        const fdt_early_controller_t *c = &f->imsics[i];
        int row = find_row(c, intc, FDT_IRQ_M_EXT, &seen);
        if (row >= 0 && imsic_page(c, row) != 0) {
            imsic = c->phandle;
            f->imsic = imsic_page(c, row);
            f->imsic_ids = c->sources;
        }
    }
    for (size_t i = 0; i < f->num_aplics && f->aplic == 0; ++i) {
        const fdt_early_controller_t *c = &f->aplics[i];
        f->aplic_idc = c->msi_parent != 0 ? -1 : find_row(c, intc, FDT_IRQ_M_EXT, &seen);
        if (f->aplic_idc >= 0 || (imsic != 0 && c->msi_parent == imsic)) {
            f->aplic = c->addr;
            f->aplic_sources = c->sources;
            f->wired = c;
        }
    }
}

void fdt_early_select(uint64_t hart_id) {
    fdt_early_t *f = &fdt_early;
    uint32_t intc = 0;
    int seen;
    for (size_t h = 0; h < f->num_harts; ++h) {
        if (f->harts[h].id == hart_id) {
            intc = f->harts[h].intc;
            f->zba = f->harts[h].zba;
            f->zbb = f->harts[h].zbb;
        }
    }
    select_plic(f, intc);
    select_aplic(f, intc);
    if (f->uart_parent != 0 && f->wired != NULL && !fdt_early_serves(f->uart_parent)) {
        f->uart_irq = 0;
    }
    for (size_t i = 0; i < f->num_timers; ++i) {
        if (find_row(&f->timers[i], intc, FDT_IRQ_M_TIMER, &seen) >= 0) {
            f->mtimecmp = f->timers[i].addr + 8 * seen; // one register per hart, in the order of the rows
        }
    }
}
