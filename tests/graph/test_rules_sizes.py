"""Sizes in the code by hand: which indices two axes of one size lose together."""

import numpy as np

from deploy_prune.graph.attributes import AxisSize
from deploy_prune.graph.boxes import last_free_axis, tie_counts
from deploy_prune.graph.equations import tie_equal_sizes
from deploy_prune.graph.facts import Box, Place, SizeEquation

PLACE = Place("m", "view", "m.py:1")


def ties(own, other, labels):
    """The ties of ``view(own) == other.shape``, as pairs, when so many atoms go together already."""
    equation = SizeEquation(np.array(own), 0, AxisSize(np.array(other), 0), PLACE)
    found = tie_equal_sizes([equation], [], last_free_axis, lambda more: np.array(labels))
    return {(int(a), int(b)) for left, right in found for a, b in zip(left, right, strict=True) if a != b}


def test_axes_of_one_size_go_index_by_index():
    assert ties([0, 1, 2], [3, 4, 5], range(6)) == {(0, 3), (1, 4), (2, 5)}


def test_axes_that_lose_equally_many_anyway_are_not_tied_again():
    # Two heads of two, laid out as (inner, heads) and as (heads, inner): inner index 0 is at other places.
    assert ties([0, 1, 2, 3], [4, 5, 6, 7], [0, 0, 1, 1, 0, 1, 0, 1]) == set()


def test_whole_heads_meet_units_of_another_size_at_the_least_common_multiple():
    # Four heads of 3 against four units of 3, one index in each third: index by index all would be tied.
    heads, units = np.repeat(range(4), 3), 4 + np.tile(range(4), 3)
    found = ties(np.arange(12), np.arange(12, 24), [*heads, *units])
    groups = {leader: {b for a, b in found if a == leader} | {leader} for leader, _ in found}
    assert groups == {3 * k: {3 * k, 3 * k + 1, 3 * k + 2, 12 + k, 16 + k, 20 + k} for k in range(4)}


def test_parts_go_index_by_index_where_that_is_as_fine():
    # Two heads of two against single channels: other matchings are as fine, but rows and columns must agree.
    assert ties([0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 0, 1, 2, 3, 4, 5]) == {(0, 4), (1, 5), (2, 6), (3, 7)}


def test_parts_of_different_sizes_go_index_by_index():
    assert ties([0, 1, 2], [3, 4, 5], [0, 0, 1, 2, 3, 4]) == {(0, 3), (1, 4), (2, 5)}


def counted(rows, labels):
    """The ties between components that keep the rows' counts alike, as sets of what is joined."""
    box = Box(np.array(rows), frozenset({0}), PLACE, counted=True)
    found = tie_counts([box], last_free_axis, lambda more: np.array(labels))
    joined = [{(labels[a], labels[b]) for a, b in zip(*tie, strict=True) if labels[a] != labels[b]} for tie in found]
    return [pairs for pairs in joined if pairs]


def test_components_with_equally_many_in_every_row_are_tied_to_none():
    assert counted([[0, 1], [2, 3]], [0, 1, 1, 0]) == []


def test_components_of_one_surplus_are_tied_one_per_row():
    # Surplus two: 0 in the first row, 3 in the second; surplus one: 2 and 4; 1 has one in each.
    assert counted([[0, 1, 2, 3], [4, 5, 6, 7]], [0, 0, 1, 2, 1, 3, 3, 4]) == [{(2, 4)}, {(0, 3)}]


def test_what_finds_no_counterpart_is_tied_to_one():
    # 0 has three in the first row; in the second 1 has two and 2 has one.
    assert counted([[0, 1, 2], [3, 4, 5]], [0, 0, 0, 1, 1, 2]) == [{(0, 1), (0, 2)}]


def test_three_rows_give_one_each():
    assert counted([[0, 1], [2, 3], [4, 5]], [0, 1, 2, 3, 4, 5]) == [{(0, 2), (1, 3)}, {(0, 4), (1, 5)}]
