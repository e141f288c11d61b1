// SPDX-License-Identifier: MIT
// memcpy and its kin, by double words.
//
// Not the C library's: these also run over addresses that Python named, so that they lie with the
// code whose faults are exceptions (link.ld), and 64 MiB must not go byte by byte.
#include <stddef.h>
#include <stdint.h>

typedef uint64_t __attribute__((may_alias)) word_t;

#define WORD sizeof(word_t)
#define MISALIGNED(p) ((uintptr_t)(p) % WORD)

void *memcpy(void *restrict dest, const void *restrict src, size_t n);
void *memmove(void *dest, const void *src, size_t n);
void *memset(void *dest, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

static void copy_up(uint8_t *d, const uint8_t *s, size_t n) {
    if ((MISALIGNED(d) ^ MISALIGNED(s)) == 0) {
        for (; n != 0 && MISALIGNED(d); --n) {
            *d++ = *s++;
        }
        for (; n >= 8 * WORD; n -= 8 * WORD, d += 8 * WORD, s += 8 * WORD) {
            word_t *dw = (word_t *)d;
            const word_t *sw = (const word_t *)s;
            word_t a = sw[0], b = sw[1], c = sw[2], e = sw[3], f = sw[4], g = sw[5], h = sw[6], i = sw[7];
            dw[0] = a;
            dw[1] = b;
            dw[2] = c;
            dw[3] = e;
            dw[4] = f;
            dw[5] = g;
            dw[6] = h;
            dw[7] = i;
        }
        for (; n >= WORD; n -= WORD, d += WORD, s += WORD) {
            *(word_t *)d = *(const word_t *)s;
        }
    }
    while (n-- != 0) {
        *d++ = *s++;
    }
}

void *memcpy(void *restrict dest, const void *restrict src, size_t n) {
    copy_up(dest, src, n);
    return dest;
}

void *memmove(void *dest, const void *src, size_t n) {
    uint8_t *d = dest;
    const uint8_t *s = src;
    if ((uintptr_t)d - (uintptr_t)s >= n) { // also when d is below s
        copy_up(d, s, n);
        return dest;
    }
    d += n;
    s += n;
    if ((MISALIGNED(d) ^ MISALIGNED(s)) == 0) {
        for (; n != 0 && MISALIGNED(d); --n) {
            *--d = *--s;
        }
        for (; n >= WORD; n -= WORD) {
            d -= WORD;
            s -= WORD;
            *(word_t *)d = *(const word_t *)s;
        }
    }
    while (n-- != 0) {
        *--d = *--s;
    }
    return dest;
}

void *memset(void *dest, int c, size_t n) {
    uint8_t *d = dest;
    for (; n != 0 && MISALIGNED(d); --n) {
        *d++ = c;
    }
    word_t w = (uint8_t)c * 0x0101010101010101u;
    for (; n >= 8 * WORD; n -= 8 * WORD, d += 8 * WORD) {
        word_t *dw = (word_t *)d;
        dw[0] = w;
        dw[1] = w;
        dw[2] = w;
        dw[3] = w;
        dw[4] = w;
        dw[5] = w;
        dw[6] = w;
        dw[7] = w;
    }
    for (; n >= WORD; n -= WORD, d += WORD) {
        *(word_t *)d = w;
    }
    while (n-- != 0) {
        *d++ = c;
    }
    return dest;
}

int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *p = a, *q = b;
    if ((MISALIGNED(p) | MISALIGNED(q)) == 0) {
        for (; n >= WORD && *(const word_t *)p == *(const word_t *)q; n -= WORD, p += WORD, q += WORD) {
        }
    }
    for (; n != 0; --n, ++p, ++q) {
        if (*p != *q) {
            return *p - *q;
        }
    }
    return 0;
}
