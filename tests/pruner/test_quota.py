"""How many units go: by hand, and the laws of shares."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deploy_prune.pruner.quota import Candidate, fewest, kept_width, share_out


def candidate(name, scores, dense=None, floor=1, round_to=1):
    return Candidate(name, dense or len(scores), torch.tensor(sorted(scores), dtype=torch.float32), floor, round_to)


def test_the_least_important_go_first_whichever_group_they_are_of():
    a, b = candidate("a", [1, 2, 9, 10]), candidate("b", [3, 4, 5, 6])
    assert share_out([a, b], 0.5) == {"a": 2, "b": 2}
    assert share_out([a, b], 0.25) == {"a": 2}
    assert share_out([a], 0.5) == {"a": 2}


def test_groups_stop_at_their_floor():
    a, b = candidate("a", [1, 2, 3, 4], floor=3), candidate("b", [5, 6, 7, 8])
    assert share_out([a, b], 0.5) == {"a": 1, "b": 3}
    assert share_out([a], 0.9) == {"a": 1}


def portions_of(one):
    means, sizes = one.portions()
    return list(zip(means.tolist(), sizes.tolist(), strict=True))


def test_portions_keep_multiples():
    scores = list(range(20))
    assert portions_of(candidate("a", scores, round_to=8)) == [(1.5, 4), (7.5, 8)]
    assert portions_of(candidate("a", scores, floor=9, round_to=8)) == [(1.5, 4)]
    assert portions_of(candidate("a", [1, 2, 3], round_to=4)) == []
    assert portions_of(candidate("a", [1, 1], floor=2)) == []


def test_rounding_meets_the_total_over_groups_not_in_each():
    a, b = candidate("a", range(16), round_to=8), candidate("b", range(100, 116), round_to=8)
    assert share_out([a, b], 0.25) == {"a": 8}
    assert share_out([a], 0.15) == {}  # 13 of 16 shall stay: 16 is nearer than 8
    assert share_out([a], 0.25) == {"a": 8}  # 12: as near to both


@pytest.mark.parametrize(
    ("dense", "ratio", "kept"), [(64, 0.3, 44), (128, 0.6, 51), (10, 0.9, 1), (10, 0.7, 3), (100, 0.29, 71), (7, 0, 7)]
)
def test_kept_widths(dense, ratio, kept):
    assert kept_width(dense, ratio) == kept


def test_fewest():
    assert [fewest(10, r) for r in (1.0, 0.75, 0.5, 0.0)] == [1, 3, 5, 10]


groups = st.lists(
    st.tuples(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), st.floats(0, 1)), min_size=1, max_size=5
)


def scope_of(described, round_to):
    return [
        candidate(str(k), scores, floor=fewest(len(scores), share), round_to=round_to)
        for k, (scores, share) in enumerate(described)
    ]


@given(described=groups, ratio=st.floats(0, 0.99))
def test_without_rounding_the_total_is_met_exactly_or_all_floors_are_reached(described, ratio):
    scope = scope_of(described, 1)
    given_ = share_out(scope, ratio)
    total = sum(c.dense for c in scope)
    assert sum(given_.values()) == min(total - kept_width(total, ratio), sum(c.dense - c.floor for c in scope))
    assert all(c.width - given_.get(c.name, 0) >= c.floor for c in scope)


@given(described=groups, ratio=st.floats(0, 0.99), round_to=st.integers(1, 9))
def test_rounded_widths_are_multiples_and_the_total_is_near(described, ratio, round_to):
    scope = scope_of(described, round_to)
    given_ = share_out(scope, ratio)
    for c in scope:
        assert (c.width - given_[c.name]) % round_to == 0 if c.name in given_ else True
        assert c.width - given_.get(c.name, 0) >= c.floor
    total = sum(c.dense for c in scope)
    wanted, got = total - kept_width(total, ratio), sum(given_.values())
    everything = sum(size for c in scope for _, size in portions_of(c))
    assert got == everything or abs(got - wanted) <= round_to / 2


@given(
    scores=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=60),
    ratios=st.lists(st.floats(0, 0.95), min_size=1, max_size=6),
    round_to=st.integers(1, 9),
    share=st.floats(0.1, 1),
)
def test_any_rising_schedule_ends_where_one_step_ends(scores, ratios, round_to, share):
    ratios, dense = sorted(ratios), len(scores)

    def width_after(steps):
        width = dense
        for ratio in steps:
            now = candidate("a", scores[:width], dense, fewest(dense, share), round_to)
            width -= share_out([now], ratio).get("a", 0)
        return width

    assert width_after(ratios) == width_after(ratios[-1:])
