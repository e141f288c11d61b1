// SPDX-License-Identifier: MIT
// The limit for the bench: what a guest without any firmware needs for its first byte and for disk reads.
//
// M-mode, one hart, QEMU's virt machine with a modern virtio-mmio disk as the first -device. Prints
// "read NAME BYTES REQUESTS TICKS INSTRUCTIONS" for each run of each pattern, then "done".

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bare.h"

#define SLOT_FIRST 0x10001000u
#define SLOT_LAST 0x10008000u
#define SLOT_SIZE 0x1000u

#define MAGIC_VALUE 0x000
#define DEVICE_ID 0x008
#define DRIVER_FEATURES 0x020
#define DRIVER_FEATURES_SEL 0x024
#define QUEUE_SEL 0x030
#define QUEUE_SIZE 0x038
#define QUEUE_READY 0x044
#define QUEUE_NOTIFY 0x050
#define STATUS 0x070
#define QUEUE_DESC 0x080
#define QUEUE_DRIVER 0x090
#define QUEUE_DEVICE 0x0a0

#define DESC_NEXT 1
#define DESC_WRITE 2
#define AVAIL_NO_INTERRUPT 1

#define ENTRIES 512
#define DEPTH_MAX 128
#define MIB (1u << 20)
#define TOTAL (64 * MIB)
#define DATA ((uint8_t *)0x84000000)
#ifndef ROUNDS
#define ROUNDS 3
#endif

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

struct request {
    uint32_t type, reserved;
    uint64_t sector;
};

static struct desc descs[ENTRIES] __attribute__((aligned(16)));
static struct {
    uint16_t flags, idx, ring[ENTRIES];
} avail __attribute__((aligned(2)));
static volatile struct {
    uint16_t flags, idx;
    struct {
        uint32_t id, len;
    } ring[ENTRIES];
} used __attribute__((aligned(4)));
static struct request requests[DEPTH_MAX];
static volatile uint8_t statuses[DEPTH_MAX];
static uintptr_t disk;

static void fence(void) {
    __asm volatile ("fence iorw, iorw" ::: "memory");
}

static uint32_t reg_read(uintptr_t base, uint32_t offset) {
    return *(volatile uint32_t *)(base + offset);
}

static void reg_write(uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)(disk + offset) = value;
}

static void reg_write_address(uint32_t offset, const volatile void *p) {
    reg_write(offset, (uint32_t)(uintptr_t)p);
    reg_write(offset + 4, (uint32_t)((uintptr_t)p >> 32));
}

static bool disk_open(void) {
    for (uintptr_t slot = SLOT_LAST; slot >= SLOT_FIRST; slot -= SLOT_SIZE) {
        if (reg_read(slot, MAGIC_VALUE) == 0x74726976 && reg_read(slot, DEVICE_ID) == 2) {
            disk = slot;
            break;
        }
    }
    if (disk == 0) {
        return false;
    }
    reg_write(STATUS, 0);
    reg_write(STATUS, 1 | 2);
    reg_write(DRIVER_FEATURES_SEL, 0);
    reg_write(DRIVER_FEATURES, 0);
    reg_write(DRIVER_FEATURES_SEL, 1);
    reg_write(DRIVER_FEATURES, 1); // VERSION_1
    reg_write(STATUS, 1 | 2 | 8);
    reg_write(QUEUE_SEL, 0);
    reg_write(QUEUE_SIZE, ENTRIES);
    reg_write_address(QUEUE_DESC, descs);
    reg_write_address(QUEUE_DRIVER, &avail);
    reg_write_address(QUEUE_DEVICE, &used);
    reg_write(QUEUE_READY, 1);
    reg_write(STATUS, 1 | 2 | 8 | 4);
    avail.flags = AVAIL_NO_INTERRUPT;
    for (int i = 0; i < DEPTH_MAX; ++i) {
        struct desc *d = descs + 3 * i;
        d[0] = (struct desc) {(uintptr_t)(requests + i), sizeof(struct request), DESC_NEXT, 3 * i + 1};
        d[1] = (struct desc) {0, 0, DESC_NEXT | DESC_WRITE, 3 * i + 2};
        d[2] = (struct desc) {(uintptr_t)(statuses + i), 1, DESC_WRITE, 0};
    }
    return true;
}

static void submit(int i, uint64_t offset, uint32_t len) {
    requests[i].sector = offset / 512;
    statuses[i] = 0xff;
    descs[3 * i + 1].addr = (uintptr_t)DATA + offset;
    descs[3 * i + 1].len = len;
    avail.ring[avail.idx % ENTRIES] = 3 * i;
    fence();
    ++*(volatile uint16_t *)&avail.idx;
}

// Reads total bytes in pieces, keeping depth requests in flight; every completion is answered by a new request.
static bool read_all(uint32_t total, uint32_t piece, int depth) {
    static uint16_t seen;
    uint32_t next = 0, left = total / piece;
    for (int i = 0; i < depth && next < total; ++i, next += piece) {
        submit(i, next, piece);
    }
    fence();
    reg_write(QUEUE_NOTIFY, 0);
    while (left != 0) {
        uint16_t now = used.idx;
        if (now == seen) {
            continue;
        }
        fence();
        for (; seen != now; ++seen, --left) {
            int i = used.ring[seen % ENTRIES].id / 3;
            if (statuses[i] != 0) {
                return false;
            }
            if (next < total) {
                submit(i, next, piece);
                next += piece;
            }
        }
        fence();
        reg_write(QUEUE_NOTIFY, 0);
    }
    return true;
}

static void measure(const char *name, uint32_t total, uint32_t piece, int depth) {
    for (int round = 0; round < ROUNDS; ++round) {
        uint64_t start_instructions = instructions(), start = ticks();
        bool good = read_all(total, piece, depth);
        uint64_t end = ticks(), end_instructions = instructions();
        print("read ");
        print(good ? name : "failed");
        print_number(total);
        print_number(total / piece);
        print_number(end - start);
        print_number(end_instructions - start_instructions);
        print("\n");
    }
}

void bare_main(void) {
    print("bare\n");
    if (disk_open()) {
        measure("64M", TOTAL, TOTAL, 1);
        measure("1M", TOTAL, MIB, 1);
        measure("64K", TOTAL, 64 * 1024, 1);
        measure("64K-many", TOTAL, 64 * 1024, DEPTH_MAX);
        measure("4K", TOTAL / 8, 4096, 1);
        measure("4K-half", TOTAL / 16, 4096, 1);
        measure("4K-many", TOTAL, 4096, DEPTH_MAX);
        measure("4K-32", TOTAL / 4, 4096, 32);
        measure("4K-32-half", TOTAL / 8, 4096, 32);
    }
    print("done\n");
}
