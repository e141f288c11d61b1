// SPDX-License-Identifier: MIT
// The one function of a C library that upstream's features2 wants; there is none for lp64 here.
float roundf(float x) {
    int near = (int)(x < 0 ? x - 0.5f : x + 0.5f);
    return near;
}
