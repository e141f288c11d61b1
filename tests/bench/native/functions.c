// SPDX-License-Identifier: MIT
// The functions of functions.py in C, for what the machine allows: a bare program that counts their instructions,
// or with TIMED, which is two longer lengths, the clock's ticks, the best of ROUNDS.
//
// Prints "NAME N RESULT COUNT" for two lengths of each, then "done".

#include <stdint.h>

#include "../bare.h"

#ifdef TIMED
#define COUNT ticks
#define ROUNDS 20
#define LENGTHS(first, second) TIMED
#else
#define COUNT instructions
#define ROUNDS 1
#define LENGTHS(first, second) first, second
#endif
#define MOST 50000

// called like a function of another file, and nothing is known of its arguments
#define FUNCTION __attribute__((noipa)) static
// keeps gcc from turning a loop into a formula
#define KEEP(x) __asm volatile ("" : "+r" (x))

#define SUM(name, type) \
    FUNCTION long name(const type *p, long n) { \
        long s = 0; \
        for (long i = 0; i < n; ++i) { \
            s += p[i]; \
        } \
        return s; \
    }

SUM(sum8, uint8_t)
SUM(sum16, uint16_t)
SUM(sum32, uint32_t)
SUM(sum64, uint64_t)

FUNCTION long checksum(const uint16_t *p, long n) {
    long s = 0;
    for (long i = 0; i < n; ++i) {
        s += p[i];
        s = (s & 0xffff) + (s >> 16);
    }
    return s ^ 0xffff;
}

FUNCTION long copy(uint32_t *to, const uint32_t *p, long n) {
    for (long i = 0; i < n; ++i) {
        to[i] = p[i];
    }
    return 0;
}

FUNCTION long fib(long n) {
    long a = 0, b = 1;
    for (; n > 0; --n) {
        long sum = (a + b) & 0x3fffffff;
        a = b;
        b = sum;
    }
    return a;
}

FUNCTION long range_sum(long n) {
    long s = 0;
    for (long i = 0; i < n; ++i) {
        s += i;
        KEEP(s);
    }
    return s;
}

FUNCTION long crc32(const uint8_t *p, const uint32_t *table, unsigned long c, long n) {
    for (long i = 0; i < n; ++i) {
        c = c >> 8 ^ table[(c ^ p[i]) & 0xff];
    }
    return c;
}

FUNCTION long ring_add(uint32_t *desc, uint16_t *avail, uint16_t *next, long addr, long n) {
    long idx = avail[1], head = next[256];
    for (; n > 0; --n) {
        uint32_t *d = desc + 4 * head;
        d[0] = addr;
        d[1] = 0;
        d[2] = 512;
        d[3] = 2;
        avail[2 + (idx & 255)] = head;
        head = next[head];
        ++idx;
        addr += 512;
    }
    next[256] = head;
    avail[1] = idx;
    return 0;
}

FUNCTION long ring_add64(uint64_t *desc, uint16_t *avail, uint16_t *next, long addr, long n) {
    long idx = avail[1], head = next[256];
    for (; n > 0; --n) {
        uint64_t *d = desc + 2 * head;
        d[0] = addr;
        d[1] = 512 | 2L << 32;
        avail[2 + (idx & 255)] = head;
        head = next[head];
        ++idx;
        addr += 512;
    }
    next[256] = head;
    avail[1] = idx;
    return 0;
}

FUNCTION long ring_take(const uint16_t *used, const uint32_t *elements, uint16_t *next, long last) {
    long end = used[1], free = next[256], total = 0;
    while (last != end) {
        const uint32_t *e = elements + 2 * (last & 255);
        total += e[1];
        next[e[0]] = free;
        free = e[0];
        last = (last + 1) & 0xffff;
    }
    next[256] = free;
    return total;
}

static uint8_t bytes[MOST];
static uint16_t halves[MOST], next[257], avail[258], used[2];
static uint32_t words[MOST], more[MOST], table[256];
static uint64_t doubles[MOST];

// The arguments of cases.py.
static void fill(void) {
    for (unsigned i = 0; i < MOST; ++i) {
        bytes[i] = halves[i] = words[i] = more[i] = doubles[i] = i * 37 & 127;
    }
    for (unsigned i = 0; i < 256; ++i) {
        next[i] = (i + 1) & 255;
        table[i] = i;
        for (int bit = 0; bit < 8; ++bit) {
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320 : 0);
        }
    }
    next[256] = avail[1] = 0;
}

static void fill_used(unsigned n) {
    used[1] = n;
    for (unsigned i = 0; i < 256; ++i) {
        words[2 * i] = i;
        words[2 * i + 1] = 512;
    }
}

#define MEASURE(name, lengths, call) \
    for (long each[] = {lengths}, i = 0; i < 2; ++i) { \
        long n = each[i]; \
        fill(); \
        fill_used(n); \
        uint64_t least = UINT64_MAX; \
        long result; \
        for (int round = 0; round < ROUNDS; ++round) { \
            uint64_t start = COUNT(); \
            result = call; \
            uint64_t count = COUNT() - start; \
            least = count < least ? count : least; \
        } \
        print(name); \
        print_number(n); \
        print_number(result); \
        print_number(least); \
        print("\n"); \
    }

void bare_main(void) {
    MEASURE("sum8", LENGTHS(40, 200), sum8(bytes, n))
    MEASURE("sum16", LENGTHS(40, 200), sum16(halves, n))
    MEASURE("sum32", LENGTHS(40, 200), sum32(more, n))
    MEASURE("sum64", LENGTHS(40, 200), sum64(doubles, n))
    MEASURE("checksum", LENGTHS(40, 200), checksum(halves, n))
    MEASURE("copy_for", LENGTHS(40, 200), copy(words, more, n))
    MEASURE("copy_while", LENGTHS(40, 200), copy(words, more, n))
    MEASURE("fib", LENGTHS(8, 40), fib(n))
    MEASURE("range_sum", LENGTHS(40, 200), range_sum(n))
    MEASURE("crc32", LENGTHS(40, 200), crc32(bytes, table, 0xffffffff, n))
    MEASURE("ring_add", LENGTHS(40, 200), ring_add(words, avail, next, 0x40000, n))
    MEASURE("ring_add64", LENGTHS(40, 200), ring_add64(doubles, avail, next, 0x40000, n))
    MEASURE("ring_take", LENGTHS(40, 200), ring_take(used, words, next, 0))
    print("done\n");
}
