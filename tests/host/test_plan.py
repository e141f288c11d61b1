"""modules/loader/layout: where pieces go, and what is refused."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shim import install  # noqa: E402

install()

from loader.layout import Layout, order_moves, show_size  # noqa: E402

MIB = 1 << 20
RAM = [(0x80000000, 0x88000000)]
LIVE = [(0x80000000, 0x80120000, "firmware"), (0x87800000, 0x87E00000, "heap")]


def test_lowest_free_multiple_is_taken():
    layout = Layout(RAM, LIVE)
    assert layout.put("kernel", 31 * MIB, 2 * MIB) == 0x80200000
    assert layout.put("initrd", 5 * MIB, 2 * MIB, 0x80200000) == 0x82200000
    assert layout.put("fdt", 4096, 4096) == 0x80120000


def test_moved_piece_may_land_on_live_memory():
    layout = Layout(RAM, LIVE)
    assert layout.put("opensbi", MIB // 2, MIB // 2, over_live=True) == 0x80000000
    assert layout.put("opensbi", MIB // 2, MIB // 2) == 0x80180000


def test_moved_piece_keeps_out_of_reserved_memory_and_of_other_pieces():
    layout = Layout(RAM, LIVE, [(0x80000000, 0x80001000, "reserved-memory")])
    layout.fix("x", 0x80080000, 4096, over_live=True)
    assert layout.put("opensbi", MIB // 2, MIB // 2, over_live=True) == 0x80100000


def test_offset_is_kept_above_the_multiple():
    layout = Layout(RAM, LIVE)
    assert layout.put("kernel", MIB, 2 * MIB, 0x80000000, 0x80000) == 0x80280000


def test_second_bank_is_used_when_the_first_is_full():
    layout = Layout([(0x80000000, 0x80400000), (0x100000000, 0x200000000)], LIVE[:1])
    assert layout.put("kernel", 31 * MIB, 2 * MIB) == 0x100000000


def test_no_room_is_an_error_with_the_numbers():
    with pytest.raises(
        OSError, match="kernel: needs 200.0 MiB at a multiple of 2.0 MiB; .* of 128.0 MiB RAM is 118.9 MiB"
    ):
        Layout(RAM, LIVE).put("kernel", 200 * MIB, 2 * MIB)


def test_overlap_is_refused_and_named():
    layout = Layout(RAM, LIVE)
    layout.fix("kernel", 0x80200000, 31 * MIB)
    with pytest.raises(ValueError, match="initrd: 0x82000000-0x82100000 overlaps kernel"):
        layout.fix("initrd", 0x82000000, MIB)
    with pytest.raises(ValueError, match="x: .* overlaps firmware"):
        layout.fix("x", 0x80100000, 4096)
    with pytest.raises(ValueError, match="not in RAM"):
        layout.fix("x", 0x87FFF000, 8192)


def test_random_layouts_never_overlap():
    rng = random.Random(1)
    for _ in range(200):
        layout = Layout(RAM, LIVE, [(0x84000000, 0x84001000, "kept")])
        for n in range(8):
            try:
                layout.put(str(n), rng.randrange(1, 32 * MIB), 1 << rng.randrange(3, 22), over_live=rng.random() < 0.3)
            except OSError:
                pass
        placed = sorted(layout.placed + layout.kept)
        for a, b in zip(placed, placed[1:], strict=False):
            assert a[1] <= b[0]


def simulate(moves, memory):
    for dest, src, size in moves:
        memory[dest : dest + size] = bytes(memory[src : src + size])


def test_moves_are_ordered_so_that_no_source_is_lost():
    rng = random.Random(2)
    ordered = 0
    for _ in range(2000):
        memory = bytearray(rng.randrange(256) for _ in range(256))
        moves = [(rng.randrange(32) * 8, rng.randrange(32) * 8, 8 * rng.randrange(1, 5)) for _ in range(3)]
        moves = [m for m in moves if max(m[0], m[1]) + m[2] <= 256]
        wanted = [(dest, bytes(memory[src : src + size])) for dest, src, size in moves]
        try:
            result = order_moves(moves)
        except ValueError:
            continue
        ordered += 1
        simulate(result, memory)
        for dest, data in wanted:
            assert memory[dest : dest + len(data)] == data
    assert ordered > 500


def test_overlapping_destinations_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        order_moves([(0, 100, 16), (8, 200, 16)])


def test_swap_is_refused():
    with pytest.raises(ValueError, match="sources"):
        order_moves([(0, 100, 16), (100, 0, 16)])


def test_sizes_are_readable():
    assert show_size(512) == "0.5 KiB"
    assert show_size(31 * MIB) == "31.0 MiB"
