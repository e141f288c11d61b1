// SPDX-License-Identifier: MIT
// Map of physical memory, and the memory that MicroPython takes from it.
//
// The heap and native code come from the top of RAM, so that low memory stays free for a kernel
// that is read straight to its final place.
#include <string.h>

#include "py/gc.h"
#include "py/runtime.h"

#include "fdt_early.h"
#include "phys.h"

#define PHYS_MAX 96
#define EXEC_CHUNK (256 * 1024)
#define EXEC_ALIGN 16

extern char _firmware_start[], _firmware_end[];

static phys_region_t table[PHYS_MAX]; // sorted by start
static size_t count;

static uint64_t page_down(uint64_t a) {
    return a & ~(uint64_t)(PHYS_PAGE - 1);
}

static uint64_t page_up(uint64_t a) {
    return page_down(a + PHYS_PAGE - 1);
}

bool phys_add(uint64_t start, uint64_t end, phys_kind_t kind, const char *name, size_t name_len) {
    if (count == PHYS_MAX) {
        return false;
    }
    size_t i = count++;
    for (; i > 0 && table[i - 1].start > start; --i) {
        table[i] = table[i - 1];
    }
    phys_region_t *r = &table[i];
    if (name_len > PHYS_NAME_MAX) {
        name_len = PHYS_NAME_MAX;
    }
    *r = (phys_region_t) { .start = start, .end = end, .kind = kind };
    memcpy(r->name, name, name_len);
    return true;
}

static void add_fixed(uint64_t start, uint64_t end, const char *name) {
    if (start < end) {
        phys_add(start, end, PHYS_FIXED, name, strlen(name));
    }
}

void phys_init(void) {
    const fdt_early_t *f = &fdt_early;
    count = 0;
    add_fixed((uintptr_t)_firmware_start, (uintptr_t)_firmware_end, "firmware");
    add_fixed((uintptr_t)f->blob, (uintptr_t)f->blob + f->size, "fdt");
    add_fixed(f->initrd.start, f->initrd.end, "initrd");
    for (size_t i = 0; i < f->num_reserved; ++i) {
        add_fixed(f->reserved[i].start, f->reserved[i].end, "reserved-memory");
    }
}

const phys_region_t *phys_get(size_t i) {
    return i < count ? &table[i] : NULL;
}

const phys_region_t *phys_overlap(uint64_t start, uint64_t end) {
    for (size_t i = 0; i < count && table[i].start < end; ++i) {
        if (table[i].end > start) {
            return &table[i];
        }
    }
    return NULL;
}

bool phys_in_ram(uint64_t start, uint64_t end) {
    for (size_t i = 0; i < fdt_early.num_banks; ++i) {
        if (start >= fdt_early.banks[i].start && end <= fdt_early.banks[i].end) {
            return true;
        }
    }
    return false;
}

bool phys_remove(uint64_t start, phys_kind_t kind) {
    for (size_t i = 0; i < count; ++i) {
        if (table[i].start == start && table[i].kind == kind) {
            memmove(&table[i], &table[i + 1], (--count - i) * sizeof(table[0]));
            return true;
        }
    }
    return false;
}

bool phys_resize(uint64_t start, uint64_t new_start, uint64_t new_end) {
    phys_region_t old = { .start = 0 };
    for (size_t i = 0; i < count; ++i) {
        if (table[i].start == start && table[i].kind == PHYS_RESERVED) {
            old = table[i];
        }
    }
    if (old.start != start || new_start >= new_end || !phys_in_ram(new_start, new_end)) {
        return false;
    }
    for (size_t i = 0; i < count; ++i) {
        const phys_region_t *r = &table[i];
        bool own = r->kind == PHYS_RESERVED && strcmp(r->name, old.name) == 0;
        bool inside = r->start >= new_start && r->end <= new_end;
        if (r->start < new_end && r->end > new_start && r->start != start && !(own && inside)) {
            return false;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
        if (table[i].start != start && (table[i].start >= new_end || table[i].end <= new_start)) {
            table[kept++] = table[i];
        }
    }
    count = kept;
    return phys_add(new_start, new_end, old.kind, old.name, strlen(old.name));
}

// Calls `found` for each gap, lowest first, page-aligned.
static void each_gap(void (*found)(uint64_t start, uint64_t end, uint64_t *arg), uint64_t *arg) {
    for (size_t b = 0; b < fdt_early.num_banks; ++b) {
        uint64_t at = fdt_early.banks[b].start, bank_end = fdt_early.banks[b].end;
        for (size_t i = 0; i <= count; ++i) {
            uint64_t start = i < count ? table[i].start : bank_end;
            uint64_t end = i < count ? table[i].end : bank_end;
            if (start > bank_end) {
                start = bank_end;
            }
            if (page_up(at) < page_down(start)) {
                found(page_up(at), page_down(start), arg);
            }
            if (end > at) {
                at = end;
            }
        }
    }
}

static void gap_highest(uint64_t start, uint64_t end, uint64_t *arg) {
    if (end - start >= arg[0] && end - arg[0] > arg[1]) {
        arg[1] = end - arg[0];
    }
}

static void gap_largest(uint64_t start, uint64_t end, uint64_t *arg) {
    if (end - start > arg[1] - arg[0]) {
        arg[0] = start;
        arg[1] = end;
    }
}

uint64_t phys_alloc_top(uint64_t size, const char *name) {
    uint64_t arg[2] = { page_up(size), 0 };
    each_gap(gap_highest, arg);
    if (arg[1] == 0 || !phys_add(arg[1], arg[1] + arg[0], PHYS_RUNTIME, name, strlen(name))) {
        return 0;
    }
    return arg[1];
}

void phys_largest(uint64_t *start, uint64_t *end) {
    uint64_t arg[2] = { 0, 0 };
    each_gap(gap_largest, arg);
    *start = arg[0];
    *end = arg[1];
}

// What the heap may still grow by in one piece (MICROPY_GC_SPLIT_HEAP_AUTO).
size_t gc_get_max_new_split(void) {
    uint64_t start, end;
    phys_largest(&start, &end);
    return end - start;
}

void *phys_alloc_heap(size_t size) {
    return (void *)phys_alloc_top(size, "heap");
}

void phys_free_heap(void *p) {
    phys_remove((uintptr_t)p, PHYS_RUNTIME);
}

// Native code lies in pages of its own: a store into a page whose code has run makes QEMU throw
// the page's translations away. Code is never moved; the last piece allocated can be given back.
static uint64_t exec_next, exec_end;

bool phys_alloc_exec(size_t size, void **ptr, size_t *allocated) {
    size = (size + EXEC_ALIGN - 1) & ~(size_t)(EXEC_ALIGN - 1);
    if (exec_end - exec_next < size) {
        uint64_t chunk = size > EXEC_CHUNK ? page_up(size) : EXEC_CHUNK;
        uint64_t start = phys_alloc_top(chunk, "native code");
        if (start == 0) {
            return false;
        }
        exec_next = start;
        exec_end = start + chunk;
    }
    *ptr = (void *)exec_next;
    *allocated = size;
    exec_next += size;
    return true;
}

void phys_alloc_exec_raise(size_t size, void **ptr, size_t *allocated) {
    if (!phys_alloc_exec(size, ptr, allocated)) {
        m_malloc_fail(size);
    }
}

void phys_free_exec(void *ptr, size_t allocated) {
    if ((uintptr_t)ptr + allocated == exec_next) {
        exec_next = (uintptr_t)ptr;
    }
}

bool phys_is_exec(uint64_t addr) {
    for (size_t i = 0; i < count && table[i].start <= addr; ++i) {
        if (addr < table[i].end && table[i].kind == PHYS_RUNTIME && table[i].name[0] == 'n') {
            return true;
        }
    }
    return false;
}

void phys_reset(void) {
    size_t n = 0;
    for (size_t i = 0; i < count; ++i) {
        if (table[i].kind == PHYS_FIXED) {
            table[n++] = table[i];
        }
    }
    count = n;
    exec_next = exec_end = 0;
}
