// SPDX-License-Identifier: MIT
// Map of physical memory: everything in use is an entry (start, end, name).
#ifndef FIRMWARE_PHYS_H
#define FIRMWARE_PHYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PHYS_PAGE 4096
#define PHYS_NAME_MAX 15

typedef enum _phys_kind_t {
    PHYS_FIXED, // there from the start: firmware, device tree, initrd
    PHYS_RUNTIME, // ours until soft reset: heap, native code
    PHYS_RESERVED, // riscv.reserve(), until soft reset
} phys_kind_t;

typedef struct _phys_region_t {
    uint64_t start;
    uint64_t end;
    phys_kind_t kind;
    char name[PHYS_NAME_MAX + 1];
} phys_region_t;

// Builds the map from fdt_early.
void phys_init(void);

// Entries in ascending order; NULL from the end on.
const phys_region_t *phys_get(size_t i);

// The entry that overlaps [start, end), or NULL.
const phys_region_t *phys_overlap(uint64_t start, uint64_t end);

// Whether [start, end) lies in one bank of RAM.
bool phys_in_ram(uint64_t start, uint64_t end);

// Adds an entry; false: the table is full.
bool phys_add(uint64_t start, uint64_t end, phys_kind_t kind, const char *name, size_t name_len);

// Removes the entry that starts there; false: none of that kind.
bool phys_remove(uint64_t start, phys_kind_t kind);

// Moves the bounds of the reserved entry that starts there. What else is reserved under its name
// may be swallowed; false, and nothing is changed: none starts there, or something else is in the way.
bool phys_resize(uint64_t start, uint64_t new_start, uint64_t new_end);

// Drops every entry that does not survive a soft reset.
void phys_reset(void);

// Highest place for `size` bytes, page-aligned, entered in the map; 0: none.
uint64_t phys_alloc_top(uint64_t size, const char *name);

// Largest gap.
void phys_largest(uint64_t *start, uint64_t *end);

// Heap areas, for MP_PLAT_ALLOC_HEAP.
void *phys_alloc_heap(size_t size);
void phys_free_heap(void *p);

// Memory for native code, for MP_PLAT_ALLOC_EXEC.
bool phys_alloc_exec(size_t size, void **ptr, size_t *allocated);
void phys_free_exec(void *ptr, size_t allocated);
bool phys_is_exec(uint64_t addr);

#endif
