import hypothesis.strategies as st
import pytest
from hypothesis import given

from deploy_prune.latency.decomposition import remove_timers


def test_timers_take_the_same_from_each_node_by_hand():
    assert remove_timers([5.0, 3.0, 4.0], 9.0) == pytest.approx([4.0, 2.0, 3.0])
    assert remove_timers([0.5, 5.0, 4.0], 7.5) == pytest.approx([0.0, 4.25, 3.25])  # the first has 0.5 to lose
    assert remove_timers([5.0, 3.0], 9.0) == [5.0, 3.0]  # the run takes more than its nodes: nothing to take away


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=30), st.floats(0.01, 1))
def test_what_is_left_adds_up_to_the_run(times_s, share):
    total_s = share * sum(times_s)
    left = remove_timers(times_s, total_s)
    assert sum(left) == pytest.approx(total_s, rel=1e-9, abs=1e-9)
    assert all(0 <= after <= before for after, before in zip(left, times_s, strict=True))
