"""What a store costs beside code that was just compiled on the target, in real time.

QEMU makes stores into a page that holds translated code a hundred times slower.
"""

from statistics import median

SCRIPT = """
import gc, machine, micropython
SOURCE = '''
@micropython.viper
def stores(p: ptr8, n: int):
    while n > 0:
        p[0] = n
        n -= 1
'''
N = 4000
def best(function, p):
    least = 1 << 30
    for _ in range(7):
        start = machine.mem32[0x200bff8]
        function(p, N)
        least = min(least, machine.mem32[0x200bff8] - start)
    return least
far = bytearray(65536)
beside = []
for i in range(32):
    names = {'micropython': micropython}
    exec(SOURCE, names)
    beside.append((names['stores'], bytearray(16)))
middle = memoryview(far)[32768:]
for function, p in beside:
    print(best(function, p) / N * 100, best(function, middle) / N * 100)
"""


def measure(native):
    """{board: (nanoseconds for a store beside code, elsewhere)}, medians over 32 functions."""
    found = {}
    for board in native.boards:
        lines = [line.split() for line in board.run(SCRIPT).splitlines()]
        found[board.name] = tuple(median(map(float, column)) for column in zip(*lines, strict=True))
    return found
