#!/usr/bin/env python3
"""A GPIO controller for QEMU's vhost-user-gpio-device, on the socket that is named: four lines, one of them an input.

Lines 0 to 2 are outputs of the guest; line 3 follows line 0. Prints what the guest does.
"""

import struct
import sys

from vhost_user import Backend

LINES = 4
GET_DIRECTION, SET_DIRECTION, GET_VALUE, SET_VALUE = 2, 3, 4, 5
NONE, OUT, IN = 0, 1, 2
OK, ERROR = 0, 1


class GPIO(Backend):
    """virtio 5.18: queue 0 takes requests of 8 bytes, each answered by a status and a value."""

    QUEUES = 2

    def __init__(self, path, say=lambda text: None):
        super().__init__(path, struct.pack("<HHI", LINES, 0, 0))
        self.direction = [NONE] * LINES
        self.level = [0] * LINES
        self._say = say

    def available(self, queue):
        while queue.index == 0 and (chain := queue.take()):
            queue.give(chain, chain.write(self._answer(chain.data)))

    def _answer(self, request):
        kind, line, value = struct.unpack("<HHI", request)
        if line >= LINES:
            return bytes((ERROR, 0))
        if kind == SET_DIRECTION and value in (NONE, OUT, IN):
            self.direction[line] = value
        elif kind == SET_VALUE and value < 2:
            self.level[line] = value
            self._say(f"line {line} is {value}")
        elif kind == GET_DIRECTION:
            return bytes((OK, self.direction[line]))
        elif kind == GET_VALUE:
            return bytes((OK, self.level[0 if line == 3 else line]))
        else:
            return bytes((ERROR, 0))
        return bytes((OK, 0))


if __name__ == "__main__":
    backend = GPIO(sys.argv[1], lambda text: print(text, flush=True))
    backend.start()
    backend.join()
