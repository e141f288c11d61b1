// SPDX-License-Identifier: MIT
#include <stddef.h>
#include <stdint.h>

extern int64_t total, after_bytes;
extern double weight;
extern uint8_t bytes[5];
extern const double factors[3];
extern const char *const words[];
extern int64_t (*const steps[])(int64_t);

int64_t twice(int64_t x);
int64_t negate(int64_t x);
int64_t wide_word(size_t i);
int choose(int x);
