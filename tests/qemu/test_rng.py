"""virtio-rng in QEMU, and where os.urandom gets its bytes from."""

import bus
import pytest


@pytest.fixture(scope="module", params=bus.variants("virtio-rng", full=False), ids=str)
def machine(request):
    return request.param.machine(devices=["virtio-rng"])


# How far the least even byte value of 100000 bytes is from its share, in standard deviations.
UNEVEN = """
def uneven(data):
    counts = [0] * 256
    for byte in data:
        counts[byte] += 1
    mean = len(data) / 256
    return max(abs(count - mean) for count in counts) / mean ** 0.5
"""


@pytest.mark.clauses("RNG-01", "RNG-02")
def test_reads_of_any_length(guest):
    guest.exec(UNEVEN + "import virtio\nd = virtio.open('rng0')")
    for size in (0, 1, 7, 4096, 4097):
        assert guest.eval(f"len(d.read({size}))") == size
    assert guest.eval("uneven(d.read(100000))", timeout=30) < 6
    assert guest.eval("(d.queues[0].in_flight, d.queues[0].num_free == d.queues[0].size)") == (0, True)


def test_two_boots_do_not_repeat(guest):
    first = guest.eval("__import__('virtio').open('rng0').read(32)")
    guest.soft_reset()
    assert guest.eval("__import__('virtio').open('rng0').read(32)") != first


def test_urandom_comes_from_virtio_rng_and_says_so(guest):
    guest.exec(UNEVEN + "import os, riscv, virtio")
    assert guest.eval("riscv.entropy_source()") == "virtio-rng"
    assert guest.eval("uneven(os.urandom(100000))", timeout=30) < 6
    assert guest.eval("virtio.devices()[0].is_open") is False


def test_ctrl_c_stops_a_program_that_only_draws_random_bytes(guest):
    guest.begin("import os\nprint('go')\nwhile True: os.urandom(100)")
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    assert guest.end(20)[1].strip().endswith("KeyboardInterrupt:")
    assert guest.eval("(__import__('riscv').entropy_source(), len(os.urandom(10)))") == ("virtio-rng", 10)


def test_urandom_works_beside_an_open_device(guest):
    guest.exec("import os, riscv, virtio\nd = virtio.open('rng0')")
    assert guest.eval("len(os.urandom(10000))") == 10_000
    assert guest.eval("(riscv.entropy_source(), d.is_open, len(d.read(10)))") == ("virtio-rng", True, 10)


def test_random_is_seeded_differently_each_time(guest):
    first = guest.eval("__import__('random').getrandbits(32)")
    guest.soft_reset()
    assert guest.eval("__import__('random').getrandbits(32)") != first


def test_urandom_without_virtio_rng_uses_the_next_best_and_says_which(new_guest):
    guest = new_guest()
    guest.wait_prompt()
    assert guest.eval("__import__('riscv').entropy_source()") == "rng-seed and jitter"
    guest.exec(UNEVEN + "import os")
    assert guest.eval("uneven(os.urandom(100000))", timeout=60) < 6


def test_urandom_of_zero_and_negative_lengths(guest):
    assert guest.eval("__import__('os').urandom(0)") == b""
    guest.exec("import os\ntry:\n    os.urandom(-1)\nexcept ValueError:\n    pass\nelse:\n    raise OSError")


def test_urandom_uses_zkr_where_the_cpu_has_it(new_guest):
    guest = new_guest(extra=["-cpu", "rv64,zkr=true"])
    guest.wait_prompt()
    assert guest.eval("__import__('riscv').entropy_source()") == "zkr"
