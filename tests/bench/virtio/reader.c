// SPDX-License-Identifier: MIT
// The peer of the disk figures: Linux reading 4 KiB blocks at random places, past its page cache.
//
// An init without a C library. Loads the modules in /modules in the order of their names, then reads /dev/vda with
// io_submit(2) and O_DIRECT: COUNT blocks, and half as many, at each depth. "ready" announces a run, "read DEPTH
// REQUESTS TICKS" follows it; at both it sleeps a moment, for whoever reads counters. Ends with "done".

#include <stddef.h>
#include <stdint.h>

#define SYS_IO_SETUP 0
#define SYS_IO_SUBMIT 2
#define SYS_IO_GETEVENTS 4
#define SYS_MOUNT 40
#define SYS_OPENAT 56
#define SYS_CLOSE 57
#define SYS_READ 63
#define SYS_WRITE 64
#define SYS_REBOOT 142
#define SYS_NANOSLEEP 101
#define SYS_FINIT_MODULE 273

#define AT_FDCWD -100
#define O_RDWR 2
#define O_DIRECT 040000 // asm-generic's

#define PIECE 4096
#define DEPTH_MAX 32
#define PAUSE_MS 200
#define DISK_PIECES (64u << 20 >> 12)

struct iocb {
    uint64_t data;
    uint32_t key, rw_flags;
    uint16_t opcode;
    int16_t priority;
    uint32_t fd;
    uint64_t buf, nbytes;
    int64_t offset;
    uint64_t reserved;
    uint32_t flags, resfd;
};

struct io_event {
    uint64_t data, obj;
    int64_t res, res2;
};

static uint8_t buffers[DEPTH_MAX][PIECE] __attribute__((aligned(PIECE)));
static struct iocb blocks[DEPTH_MAX];
static struct io_event events[DEPTH_MAX];
static uint64_t context;
static int disk;
static uint32_t dice;

static long call(long number, long a, long b, long c, long d, long e) {
    register long a0 __asm ("a0") = a;
    register long a1 __asm ("a1") = b;
    register long a2 __asm ("a2") = c;
    register long a3 __asm ("a3") = d;
    register long a4 __asm ("a4") = e;
    register long a7 __asm ("a7") = number;
    __asm volatile ("ecall" : "+r" (a0) : "r" (a1), "r" (a2), "r" (a3), "r" (a4), "r" (a7) : "memory");
    return a0;
}

static void print(const char *s) {
    size_t n = 0;
    while (s[n] != '\0') {
        ++n;
    }
    call(SYS_WRITE, 1, (long)s, n, 0, 0);
}

static void print_number(uint64_t n) {
    char digits[22];
    char *p = digits + 21;
    *p = '\0';
    do {
        *--p = '0' + n % 10;
    } while ((n /= 10) != 0);
    *--p = ' ';
    print(p);
}

static void sleep_ms(uint64_t ms) {
    uint64_t time[2] = {ms / 1000, ms % 1000 * 1000000};
    call(SYS_NANOSLEEP, (long)time, 0, 0, 0, 0);
}

static void stop(const char *why, long code) {
    print("failed: ");
    print(why);
    print_number(code < 0 ? -code : code);
    print("\n");
    for (;;) {
        sleep_ms(1000);
    }
}

static long need(const char *what, long result) {
    if (result < 0) {
        stop(what, result);
    }
    return result;
}

static uint64_t ticks(void) {
    uint64_t value;
    __asm volatile ("rdtime %0" : "=r" (value));
    return value;
}

static void aim(int i) {
    dice = dice * 1664525 + 1013904223;
    blocks[i].offset = (uint64_t)((dice >> 8) % DISK_PIECES) * PIECE;
}

static void read_all(uint32_t count, int depth) {
    struct iocb *batch[DEPTH_MAX];
    uint32_t begun = 0, finished = 0;
    int n = 0;
    for (; n < depth && begun < count; ++n, ++begun) {
        aim(n);
        batch[n] = &blocks[n];
    }
    while (finished < count) {
        for (int sent = 0; sent < n;) {
            sent += need("io_submit", call(SYS_IO_SUBMIT, context, n - sent, (long)(batch + sent), 0, 0));
        }
        n = 0;
        long got = need("io_getevents", call(SYS_IO_GETEVENTS, context, 1, DEPTH_MAX, (long)events, 0));
        for (long i = 0; i < got; ++i, ++finished) {
            if (events[i].res != PIECE) {
                stop("a read", events[i].res);
            }
            if (begun < count) {
                aim(events[i].data);
                batch[n++] = &blocks[events[i].data];
                ++begun;
            }
        }
    }
}

static void measure(uint32_t count, int depth) {
    dice = 1;
    print("ready\n");
    sleep_ms(PAUSE_MS);
    uint64_t t = ticks();
    read_all(count, depth);
    t = ticks() - t;
    print("read");
    print_number(depth);
    print_number(count);
    print_number(t);
    print("\n");
    sleep_ms(PAUSE_MS);
}

static void load_modules(void) {
    char path[] = "/modules/0";
    for (; path[9] <= '9'; ++path[9]) {
        long file = call(SYS_OPENAT, AT_FDCWD, (long)path, 0, 0, 0);
        if (file < 0) {
            return;
        }
        need(path, call(SYS_FINIT_MODULE, file, (long)"", 0, 0, 0));
        call(SYS_CLOSE, file, 0, 0, 0, 0);
    }
}

static void prepare(void) {
    need("mount /dev", call(SYS_MOUNT, (long)"none", (long)"/dev", (long)"devtmpfs", 0, 0));
    load_modules();
    for (int tries = 0; (disk = call(SYS_OPENAT, AT_FDCWD, (long)"/dev/vda", O_RDWR | O_DIRECT, 0, 0)) < 0; ++tries) {
        if (tries == 100) {
            stop("open /dev/vda", disk);
        }
        sleep_ms(100);
    }
    need("io_setup", call(SYS_IO_SETUP, DEPTH_MAX, (long)&context, 0, 0, 0));
    for (int i = 0; i < DEPTH_MAX; ++i) {
        blocks[i] = (struct iocb) {.data = i, .fd = disk, .buf = (uintptr_t)buffers[i], .nbytes = PIECE};
    }
}

void _start(void) {
    prepare();
    for (int depth = 1; depth <= DEPTH_MAX; depth = depth == 1 ? 8 : 4 * depth) {
        measure(COUNT, depth);
        measure(COUNT / 2, depth);
    }
    print("done\n");
    for (;;) {
        sleep_ms(1000);
    }
}
