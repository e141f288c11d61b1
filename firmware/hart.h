// SPDX-License-Identifier: MIT
// Secondary harts: where they wait, and how all harts leave for the next program together.
#ifndef HART_H
#define HART_H

// Hart ids that can be parked; a hart with a greater id sleeps for ever and is not counted.
#define HART_MAX (512)

// Offsets into the page that the trampoline is copied to (hart_leave_t lies at HART_PARAMS).
#define HART_PARAMS (0x400)
#define HART_PAGE (0x1000)

// Offsets into hart_leave_t and hart_mailbox, for hart.S; hart.c asserts them.
#define HART_LEAVE_ENTRY (0)
#define HART_LEAVE_A1 (8)
#define HART_LEAVE_A2 (16)
#define HART_LEAVE_MSIP (24)
#define HART_LEAVE_OTHERS (32)
#define HART_LEAVE_ARRIVED (40)
#define HART_LEAVE_LEFT (48)
#define HART_LEAVE_PRESENT (56)
#define HART_LEAVE_MOVES (HART_LEAVE_PRESENT + HART_MAX / 8 + 48)
#define HART_MAILBOX_ENTRY (0)
#define HART_MAILBOX_ARG (8)
#define HART_MAILBOX_MSIP (16)
#define HART_MAILBOX_PRESENT (24)

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct _hart_move_t {
    uint64_t dest; // multiple of 8
    uint64_t src; // multiple of 8
    uint64_t len; // any; 0 ends the list
} hart_move_t;

// What the trampoline works from, in its own page, so that nothing else need stay intact.
typedef struct _hart_leave_t {
    uint64_t entry;
    uint64_t a1;
    uint64_t a2;
    uint64_t msip; // address of hart 0's MSIP register
    uint64_t others; // harts that must leave with this one
    uint64_t arrived; // harts that reached the trampoline
    uint64_t left; // harts that left it
    uint64_t present[HART_MAX / 64];
    uint64_t info[6]; // fw_dynamic_info, where a2 points for OpenSBI
    hart_move_t moves[]; // to the end of the page
} hart_leave_t;

#define HART_MOVES_MAX ((HART_PAGE - HART_PARAMS - HART_LEAVE_MOVES) / sizeof(hart_move_t) - 1)

// Where a hart that is not elected jumps to from start.S: needs no stack, no bss, keeps no register.
void hart_park(void);

// Harts that came in so far, the calling one included.
size_t hart_count(void);

// Copies the trampoline to page (HART_PAGE bytes, 8-aligned) and returns its parameters, zeroed.
hart_leave_t *hart_prepare(void *page);

// Calls every parked hart into the trampoline; the number that arrived before now() reached deadline.
// Once called, parked harts run from the page: it must stay as it is.
size_t hart_gather(hart_leave_t *leave, uint64_t (*now)(void), uint64_t deadline);

// Makes the moves, lets every gathered hart go to leave->entry, then follows.
// Interrupts must be off on this hart. a0 = hart id, a1 and a2 as in leave, on every hart.
__attribute__((noreturn)) void hart_leave(hart_leave_t *leave);

#endif
#endif
