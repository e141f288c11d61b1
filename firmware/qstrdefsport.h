// SPDX-License-Identifier: MIT
// qstrs of this port that the build does not find by itself: none.
