// SPDX-License-Identifier: MIT
// Data of every kind for the module in init.c. First of the object files, so mpy_init is not where code begins.
#include "data.h"

int64_t total;            // bss
double weight;            // bss
uint8_t bytes[5];         // bss of an odd size
int64_t after_bytes;      // so this needs padding

const double factors[3] = {0.5, -1.25, 1e300};
static const int64_t wide[2] = {0x123456789abcdef0, -1};
const char *const words[] = {"zero", "one", "two"}; // pointers: .data.rel.ro
int64_t (*const steps[])(int64_t) = {twice, negate};

int64_t twice(int64_t x) {
    return x * 2;
}

int64_t negate(int64_t x) {
    return -x;
}

int64_t wide_word(size_t i) {
    return wide[i & 1];
}

// A jump table, or a chain of branches: as the compiler likes.
int choose(int x) {
    switch (x) {
        case 0:
            return 7;
        case 1:
            return 77;
        case 2:
            return -3;
        case 3:
            return 1000;
        case 4:
            return 41;
        case 5:
            return 5;
        case 6:
            return 123456;
        default:
            return 0;
    }
}
