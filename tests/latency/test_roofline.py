"""Roofs, bounds and the parts of a network's time, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy_prune.errors import InputError
from deploy_prune.latency.decomposition import PARTS, NodeCost, decompose
from deploy_prune.latency.roofline import Bandwidth, Bounds, Roofs, fit_node_s

# 100 MAC/s, 10 B/s in cache and 1 B/s beyond, a tenth of a second for a node.
ROOFS = Roofs(100.0, (Bandwidth(10, 10.0), Bandwidth(1000, 1.0)), 0.1)


def node(name, time_s, macs=0, moved=1, op="Conv"):
    return NodeCost(name, op, time_s, macs, moved)


@pytest.mark.parametrize(
    ("moved", "rate"),
    [(1, 10.0), (10, 10.0), (100, 5.5), (1000, 1.0), (10**6, 1.0)],  # 100 is half way between on a logarithm
)
def test_bandwidth_is_interpolated_over_the_logarithm_of_the_data(moved, rate):
    assert ROOFS.bytes_per_s(moved) == pytest.approx(rate)


def test_the_bounds_are_work_over_roof():
    assert ROOFS.bounds(300, 5) == Bounds(3.0, 0.5, 0.1)
    # 100 bytes of weights of a model that has 1000, at 1 B/s; 5 bytes of activations at 10 B/s
    assert ROOFS.bounds(300, 105, 100, 1000) == Bounds(3.0, 100.5, 0.1)
    assert ROOFS.memory_bytes_per_s == 1.0


@pytest.mark.parametrize(
    ("bounds", "time_s", "bound"),
    [
        (Bounds(6, 1, 0), 10, "compute"),
        (Bounds(1, 5, 0), 10, "memory"),  # half is most
        (Bounds(4, 4.9, 0), 10, "overhead"),  # none explains half of it
        (Bounds(1, 1, 6), 10, "overhead"),
        (Bounds(12, 1, 0), 10, "compute"),  # a bound above the time: the roof was measured lower than it is
    ],
)
def test_a_node_is_bound_by_what_explains_most_of_its_time(bounds, time_s, bound):
    assert bounds.bound_by(time_s) == bound


def test_overhead_per_node_is_a_slope():
    assert fit_node_s([72, 8], [17.0, 1.0]) == pytest.approx(0.25)
    assert fit_node_s([8, 72], [2.0, 1.0]) == 0.0
    with pytest.raises(InputError, match=r"chains of \[8, 8\] nodes, expected two different lengths"):
        fit_node_s([8, 8], [1.0, 2.0])


def test_bandwidths_that_do_not_rise_are_refused():
    with pytest.raises(InputError, match="expected one or more rising amounts"):
        Roofs(1.0, (Bandwidth(2, 1.0), Bandwidth(1, 1.0)), 0.0)


def test_parts_by_hand():
    """Dense 20 s: 10 of arithmetic, 2 of data, 4 of neither, 3 of glue, 1 between. MACs fell to half."""
    dense = [
        node("a", 10.0, macs=1000),
        node("b", 2.0, macs=10, moved=20),
        node("c", 4.0, macs=190),
        node("relu", 3.0),
    ]
    pruned = [
        node("a", 4.0, macs=500),
        node("b", 1.5, macs=5, moved=20),
        node("c", 4.0, macs=95),  # stays where the dense one is
        node("relu", 1.0),
        node("reorder", 0.5),  # only the pruned model has it
    ]
    found = decompose(dense, pruned, 20.0, 10.5, ROOFS)
    assert [part.name for part in found.parts] == list(PARTS)
    assert [part.nodes for part in found.parts] == [1, 1, 1, 1, 0]
    assert [part.pruned_nodes for part in found.parts] == [1, 1, 1, 2, 0]
    assert [part.dense_s for part in found.parts] == pytest.approx([10, 2, 4, 3, 1])
    assert [part.pruned_s for part in found.parts] == pytest.approx([4, 1.5, 4, 1.5, -0.5])
    assert [part.excess_s(2.0) for part in found.parts] == pytest.approx([-1, 0.5, 2, 0, -1])
    assert (found.part("compute").dense_macs, found.part("compute").pruned_macs) == (1000, 500)


costs = st.builds(
    NodeCost,
    name=st.sampled_from("abcdefgh"),
    op=st.just("Conv"),
    time_s=st.floats(0, 1),
    macs=st.integers(0, 1000),
    moved_bytes=st.integers(1, 2000),
)


@given(st.lists(costs), st.lists(costs), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.5, 5))
def test_the_parts_are_the_whole(dense, pruned, dense_s, pruned_s, mac_reduction):
    found = decompose(dense, pruned, dense_s, pruned_s, ROOFS)
    assert sum(part.dense_s for part in found.parts) == pytest.approx(dense_s)
    assert sum(part.pruned_s for part in found.parts) == pytest.approx(pruned_s)
    assert sum(part.nodes for part in found.parts) == len(dense)
    assert sum(part.pruned_nodes for part in found.parts) == len(pruned)
    excess_s = sum(part.excess_s(mac_reduction) for part in found.parts)
    assert excess_s == pytest.approx(pruned_s - dense_s / mac_reduction, abs=1e-9)
