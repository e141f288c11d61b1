// SPDX-License-Identifier: MIT
// The time stamp that FatFs gives to files it writes.
#include "py/mphal.h"
#include "lib/oofatfs/ff.h"
#include "shared/timeutils/timeutils.h"

#define FAT_FIRST_YEAR 1980

DWORD get_fattime(void) {
    timeutils_struct_time_t tm;
    timeutils_seconds_since_epoch_to_struct_time(mp_hal_time_ns() / 1000000000, &tm);
    if (tm.tm_year < FAT_FIRST_YEAR) {
        return 1 << 21 | 1 << 16; // no clock: the first day there is
    }
    return (tm.tm_year - FAT_FIRST_YEAR) << 25 | tm.tm_mon << 21 | tm.tm_mday << 16
           | tm.tm_hour << 11 | tm.tm_min << 5 | tm.tm_sec >> 1;
}
