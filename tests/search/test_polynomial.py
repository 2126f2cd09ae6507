"""Sums of products of widths, by hand and against brute force."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from deploy_prune.search.polynomial import Polynomial, Work, dominating

MENU = {"a": (1, 2, 4), "b": (2, 3), "c": (1, 5)}
INSIDE = {"x": (0, 2, 3), "y": (0, 4)}


def width(group):
    return Polynomial({(group,): 1})


def every(menu):
    return [dict(zip(menu, widths, strict=True)) for widths in product(*menu.values())]


def test_a_product_of_sums_by_hand():
    """A convolution over two concatenated groups and three frozen channels, 9 taps: 9 (a + 2 b + 3) c."""
    elements = (width("a") + width("b") + width("b") + Polynomial.constant(3)) * width("c") * Polynomial.constant(9)
    assert elements.at({"a": 4, "b": 3, "c": 5}) == 9 * (4 + 6 + 3) * 5
    tables = Work(elements).tables(MENU)
    assert all(tables.cost_s(w) == elements.at(w) for w in every(MENU))
    assert set(tables.pair) == {("a", "c"), ("b", "c")}


def test_powers_of_one_group_stand_in_its_own_table():
    square = width("a") * width("a") * Polynomial.constant(3)
    tables = Work(square).tables(MENU)
    assert tables.unary["a"].tolist() == [3, 12, 48] and not tables.pair


def test_what_a_branch_has_goes_with_it():
    """Inner channels vanish by themselves at width 0; a bias over outer channels and a constant go with the branch."""
    menu = {**MENU, **INSIDE}
    part = width("a") * width("x") + width("a") + Polynomial.constant(7)
    work = Work(width("a"), {("x", "y"): part})
    tables = work.tables(menu)
    gone, there = {"a": 2, "b": 2, "c": 1, "x": 0, "y": 0}, {"a": 2, "b": 2, "c": 1, "x": 3, "y": 4}
    assert (work.at(gone), work.at(there)) == (2, 2 + 2 * 3 + 2 + 7)
    assert all(tables.cost_s(w) == work.at(w) for w in every(menu) if (w["x"] == 0) == (w["y"] == 0))
    assert work.is_exact()


def test_more_than_two_groups_are_bounded_from_above():
    """The two groups of the widest range keep their widths: a (1 of 4) and c (1 of 5); b counts 3."""
    work = Work(width("a") * width("b") * width("c"))
    tables = work.tables(MENU)
    assert not work.is_exact()
    assert all(tables.cost_s(w) == w["a"] * 3 * w["c"] >= work.at(w) for w in every(MENU))
    gated = Work(Polynomial(), {("x", "y"): width("a") * width("b")})
    assert not gated.is_exact()
    assert all(gated.tables({**MENU, **INSIDE}).cost_s(w) >= gated.at(w) for w in every({**MENU, **INSIDE}))


factors = st.lists(st.sampled_from("abc"), max_size=4).map(lambda groups: tuple(sorted(groups)))
polynomials = st.dictionaries(factors, st.integers(1, 9), max_size=5).map(Polynomial)


@given(polynomials, polynomials)
def test_algebra_agrees_with_numbers(one, two):
    for widths in every(MENU):
        assert (one + two).at(widths) == one.at(widths) + two.at(widths)
        assert (one * two).at(widths) == one.at(widths) * two.at(widths)


@given(polynomials)
def test_tables_never_undercut(polynomial):
    work = Work(polynomial)
    tables = work.tables(MENU, scale=0.5)
    for widths in every(MENU):
        assert tables.cost_s(widths) >= 0.5 * work.at(widths)
        assert not work.is_exact() or tables.cost_s(widths) == 0.5 * work.at(widths)


@given(st.lists(polynomials, min_size=1, max_size=5))
def test_what_dominates_has_the_largest_value_everywhere(parts):
    kept = dominating(parts)
    for widths in every(MENU):
        assert max(p.at(widths) for p in kept) == max(p.at(widths) for p in parts)


def test_a_sum_below_another_is_dropped():
    small, large, other = width("a"), width("a") + width("b"), width("c")
    assert dominating([small, large, other, large]) == [large, other]
