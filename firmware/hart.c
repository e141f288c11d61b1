// SPDX-License-Identifier: MIT
// Calls the parked harts together and leaves with them; the protocol's C half (hart.S has the other).

#include <string.h>

#include "hart.h"

typedef struct _hart_mailbox_t {
    uint64_t entry; // 0 until a parked hart has somewhere to go
    uint64_t arg;
    uint64_t msip;
    uint64_t present[HART_MAX / 64]; // parked harts
} hart_mailbox_t;

_Static_assert(offsetof(hart_mailbox_t, entry) == HART_MAILBOX_ENTRY, "hart.h");
_Static_assert(offsetof(hart_mailbox_t, arg) == HART_MAILBOX_ARG, "hart.h");
_Static_assert(offsetof(hart_mailbox_t, msip) == HART_MAILBOX_MSIP, "hart.h");
_Static_assert(offsetof(hart_mailbox_t, present) == HART_MAILBOX_PRESENT, "hart.h");
_Static_assert(offsetof(hart_leave_t, entry) == HART_LEAVE_ENTRY, "hart.h");
_Static_assert(offsetof(hart_leave_t, a1) == HART_LEAVE_A1, "hart.h");
_Static_assert(offsetof(hart_leave_t, a2) == HART_LEAVE_A2, "hart.h");
_Static_assert(offsetof(hart_leave_t, msip) == HART_LEAVE_MSIP, "hart.h");
_Static_assert(offsetof(hart_leave_t, others) == HART_LEAVE_OTHERS, "hart.h");
_Static_assert(offsetof(hart_leave_t, arrived) == HART_LEAVE_ARRIVED, "hart.h");
_Static_assert(offsetof(hart_leave_t, left) == HART_LEAVE_LEFT, "hart.h");
_Static_assert(offsetof(hart_leave_t, present) == HART_LEAVE_PRESENT, "hart.h");
_Static_assert(offsetof(hart_leave_t, moves) == HART_LEAVE_MOVES, "hart.h");

extern volatile hart_mailbox_t hart_mailbox;
extern const char hart_trampoline[], hart_trampoline_boot[], hart_trampoline_other[], hart_trampoline_end[];

// Set once parked harts were called away: their new home must not be written again.
static hart_leave_t *hart_home;

static size_t hart_bits(const volatile uint64_t *set) {
    size_t n = 0;
    for (size_t i = 0; i < HART_MAX / 64; ++i) {
        for (uint64_t w = set[i]; w != 0; w &= w - 1) {
            ++n;
        }
    }
    return n;
}

size_t hart_count(void) {
    return 1 + hart_bits(hart_mailbox.present);
}

hart_leave_t *hart_prepare(void *page) {
    if (hart_home != NULL) {
        return NULL;
    }
    memset(page, 0, HART_PAGE);
    memcpy(page, hart_trampoline, hart_trampoline_end - hart_trampoline);
    return (hart_leave_t *)((char *)page + HART_PARAMS);
}

size_t hart_gather(hart_leave_t *leave, uint64_t (*now)(void), uint64_t deadline) {
    volatile uint32_t *msip = (volatile uint32_t *)(uintptr_t)leave->msip;
    volatile uint64_t *arrived = &leave->arrived;
    char *page = (char *)leave - HART_PARAMS;
    for (size_t i = 0; i < HART_MAX / 64; ++i) {
        leave->present[i] = hart_mailbox.present[i];
    }
    leave->others = hart_bits(leave->present);
    if (leave->others != 0) {
        hart_home = leave;
        hart_mailbox.arg = (uintptr_t)leave;
        hart_mailbox.msip = leave->msip;
        hart_mailbox.entry = (uintptr_t)page + (hart_trampoline_other - hart_trampoline);
        __asm__ volatile ("fence iorw, iorw" ::: "memory");
        for (size_t hart = 0; hart < HART_MAX; ++hart) {
            if (leave->present[hart / 64] >> (hart % 64) & 1) {
                msip[hart] = 1;
            }
        }
        while (*arrived < leave->others && now() < deadline) {
        }
    }
    return *arrived;
}

void hart_leave(hart_leave_t *leave) {
    char *page = (char *)leave - HART_PARAMS;
    void (*boot)(hart_leave_t *) = (void (*)(hart_leave_t *))(page + (hart_trampoline_boot - hart_trampoline));
    __asm__ volatile ("fence iorw, iorw\n fence.i" ::: "memory");
    boot(leave);
    __builtin_unreachable();
}
