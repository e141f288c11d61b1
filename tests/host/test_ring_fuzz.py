"""Queues of both layouts against random steps of a strict, sometimes hostile device; `make fuzz-virtio` takes more."""

import pytest
import ringfuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLANS = st.builds(
    ringfuzz.Plan,
    packed=st.booleans(),
    event_idx=st.booleans(),
    indirect=st.booleans(),
    in_order=st.booleans(),
    data=st.booleans(),
    reset=st.booleans(),
    size=st.integers(1, 17),
    start=st.sampled_from([0, 5, 65535]),
)
STEPS = st.lists(st.tuples(st.sampled_from(sorted(ringfuzz.STEPS)), st.integers(0, 2**32 - 1)), max_size=60)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
@given(plan=PLANS, steps=STEPS)
def test_any_steps_keep_the_rules(plan, steps):
    ringfuzz.run(plan, steps)


@pytest.mark.parametrize("number", range(40))
def test_long_episodes_keep_the_rules(number):
    """The first sixteen thousand steps of `make fuzz-virtio SEED=1`."""
    steps, stats, text = ringfuzz.episode("1", number)
    assert text is None, text
    assert steps == ringfuzz.EPISODE


def test_what_an_episode_counts():
    """Enough of everything happens in some episodes."""
    total = sum((ringfuzz.episode("2", number)[1] for number in range(30)), ringfuzz.Counter())
    for name in (*ringfuzz.STEPS, "completed", "DeviceError", "ETIMEDOUT", "EAGAIN"):
        assert total[name] > 0, name
