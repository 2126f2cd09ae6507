import numpy as np

from deploy_prune.latency.tables import CostTables
from deploy_prune.search.programme import build_programme

WIDTHS = {"a": (8, 16), "b": (8, 16, 24)}
PRODUCT = np.outer([1.0, 2], [1.0, 2, 3])


def tables(pair, unary=None):
    return CostTables(WIDTHS, 7.0, unary or {}, pair)


def test_both_orders_of_a_pair_are_one_table():
    programme = build_programme(WIDTHS, [tables({("a", "b"): PRODUCT, ("b", "a"): PRODUCT.T})])
    assert programme.size == 2 + 3 + 6


def test_pair_that_is_a_sum_becomes_unary():
    additive = np.array([1.0, 5])[:, None] + np.array([10.0, 20, 30])
    programme = build_programme(WIDTHS, [tables({("a", "b"): additive})])
    assert programme.size == 2 + 3
    for row, column in np.ndindex(2, 3):
        x = np.zeros(5)
        x[[row, 2 + column]] = 1
        assert (programme.costs @ x)[0] == additive[row, column]


def test_pairs_that_cancel_leave_no_variables():
    programme = build_programme(WIDTHS, [tables({("a", "b"): PRODUCT, ("b", "a"): -PRODUCT.T})])
    assert programme.size == 2 + 3
    assert (programme.costs == 0).all()


def test_whole_choices_cost_what_the_tables_say():
    both = tables({("a", "b"): PRODUCT}, {"b": np.array([100.0, 200, 300])})
    programme = build_programme(WIDTHS, [both])
    for row, column in np.ndindex(2, 3):
        x = np.zeros(programme.size)
        x[[row, 2 + column, 5 + 3 * row + column]] = 1
        chosen = programme.read_widths(x)
        assert np.array_equal(programme.links @ x, programme.ends)
        assert (programme.costs @ x + programme.constants)[0] == both.cost_s(chosen)
