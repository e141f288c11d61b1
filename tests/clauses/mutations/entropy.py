"""Ways to break the rules of entropy devices (5.4)."""

MUTATIONS = [
    (
        "RNG-01",
        "virtio/rng.py",
        "queue.add((), (view[start : start + size],))",
        'queue.add((b"x",), (view[start : start + size],))',
        "tests/host/test_rng.py::test_rng_fills_the_buffer",
    ),
    (
        "RNG-02",
        "virtio/rng.py",
        "if used < size:",
        "if False:",
        "tests/host/test_rng.py::test_rng_uses_exactly_what_the_used_length_reports",
    ),
]
