"""The optimum under several limits, with branches and equal widths, against all widths and against greedy."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_prune.errors import UnreachableBudgetError
from deploy_prune.latency.tables import CostTables
from deploy_prune.search.menu import Menu
from deploy_prune.search.solver import Limit, solve

ROUNDING = 1 + 1e-8


def instance(seed, groups, limits):
    """A chain of groups with skips; the first two may be one branch, the last two equal; costs are products or sums."""
    rng = np.random.default_rng(seed)
    names = [f"g{k}" for k in range(groups)]
    branch, equal = rng.random() < 0.5, groups > 3 and rng.random() < 0.5
    widths = {g: (0, 8, 16, 24) if branch and k < 2 else (8, 16, 24) for k, g in enumerate(names)}
    loss = {g: (*np.sort(rng.gamma(1.0, size=len(w) - 1))[::-1].tolist(), 0.0) for g, w in widths.items()}
    menu = Menu(widths, loss, (("g0", "g1"),) if branch else (), (tuple(names[-2:]),) if equal else ())
    return menu, [costs(rng, menu) for _ in range(limits)]


def costs(rng, menu):
    """Tables with positive entries: per group, and per pair of neighbours with kinks."""
    names = list(menu.widths)
    at = {g: np.array(w, float) for g, w in menu.widths.items()}
    unary = {g: rng.random() * at[g] + rng.random(len(at[g])) for g in names}
    pairs = [(a, b) for a, b in pairwise(names) if rng.random() < 0.8]
    kinks = {(a, b): 1 + 0.1 * rng.random((len(at[a]), len(at[b]))) for a, b in pairs}
    pair = {(a, b): rng.random() * np.outer(at[a], at[b]) * kink for (a, b), kink in kinks.items()}
    return CostTables(dict(menu.widths), float(rng.random()), unary, pair)


def allowed_widths(menu):
    for choice in product(*menu.widths.values()):
        widths = dict(zip(menu.widths, choice, strict=True))
        together = all(len({widths[g] == 0 for g in groups}) == 1 for groups in menu.branches)
        if together and all(len({widths[g] for g in groups}) == 1 for groups in menu.equal):
            yield widths


def dense(menu):
    return {group: widths[-1] for group, widths in menu.widths.items()}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 5), st.integers(1, 4), st.floats(0.15, 0.9))
def test_optimum_under_several_limits_equals_brute_force(seed, groups, limits, share):
    menu, tables = instance(seed, groups, limits)
    rng = np.random.default_rng(seed + 1)
    budgets = [share * rng.uniform(0.8, 1.2) * t.cost_s(dense(menu)) for t in tables]
    also = [Limit(f"limit {k}", t, b) for k, (t, b) in enumerate(zip(tables[1:], budgets[1:], strict=True))]
    pairs = list(zip(tables, budgets, strict=True))
    fitting = [w for w in allowed_widths(menu) if all(t.cost_s(w) <= b for t, b in pairs)]
    if not fitting:
        with pytest.raises(UnreachableBudgetError):
            solve(menu, tables[0], budgets[0], also=also)
        return
    found = solve(menu, tables[0], budgets[0], also=also, gap=0)
    assert found.widths in list(allowed_widths(menu))
    assert all(t.cost_s(found.widths) <= b * ROUNDING for t, b in pairs)
    nearly = [w for w in allowed_widths(menu) if all(t.cost_s(w) <= b * ROUNDING for t, b in pairs)]
    assert min(map(menu.loss_at, nearly)) - 1e-6 <= found.loss <= min(map(menu.loss_at, fitting)) + 1e-6
    assert found.bound <= found.loss


def greedy(menu, pairs):
    """Narrow one group (equal ones together, branches stay) a step, most saved of what is exceeded per loss first."""
    chosen = dense(menu)
    sets = [*menu.equal, *((g,) for g in menu.widths if not any(g in groups for groups in menu.equal))]

    def excess(widths):
        return sum(max(t.cost_s(widths) / b - 1, 0) for t, b in pairs)

    while excess(chosen) > 0:
        steps = []
        for groups in sets:
            at = menu.widths[groups[0]].index(chosen[groups[0]])
            if at and menu.widths[groups[0]][at - 1]:
                narrower = {**chosen, **dict.fromkeys(groups, menu.widths[groups[0]][at - 1])}
                lost = max(menu.loss_at(narrower) - menu.loss_at(chosen), 1e-12)
                steps.append(((excess(chosen) - excess(narrower)) / lost, narrower))
        if not steps:
            return None
        chosen = max(steps, key=lambda step: step[0])[1]
    return chosen


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(6, 14), st.integers(1, 3), st.floats(0.3, 0.8))
def test_never_worse_than_greedy_under_several_limits(seed, groups, limits, share):
    menu, tables = instance(seed, groups, limits)
    pairs = [(t, share * t.cost_s(dense(menu))) for t in tables]
    other = greedy(menu, pairs)
    if other is None:
        return
    also = [Limit(f"limit {k}", t, b) for k, (t, b) in enumerate(pairs[1:])]
    found = solve(menu, *pairs[0], also=also)
    assert found.loss <= menu.loss_at(other) * (1 + 1e-3) + 1e-9
    assert all(t.cost_s(found.widths) <= b * ROUNDING for t, b in pairs)


def test_equal_groups_take_one_width():
    """By themselves a would be narrowed and b kept; as equals both are narrowed."""
    widths = {"a": (8, 16), "b": (8, 16)}
    tables = CostTables(widths, 0.0, {"a": np.array([1.0, 2.0]), "b": np.array([1.0, 2.0])}, {})
    loss = {"a": (1.0, 0.0), "b": (3.0, 0.0)}
    assert solve(Menu(widths, loss), tables, 3.0).widths == {"a": 8, "b": 16}
    assert solve(Menu(widths, loss, equal=(("a", "b"),)), tables, 3.0).widths == {"a": 8, "b": 8}


def test_of_limits_of_one_name_the_one_that_needs_most_is_told():
    """Peak memory is one limit per node of the graph."""
    widths = {"a": (8, 16)}
    menu = Menu(widths, {"a": (1.0, 0.0)})
    time = CostTables(widths, 0.0, {"a": np.array([1.0, 2.0])}, {})
    steps = [CostTables(widths, 0.0, {"a": np.array([x, 2 * x])}, {}) for x in (3e6, 5e6, 4e6)]
    limits = [Limit("peak memory", t, 2e6, "MiB", 2.0**-20) for t in steps]
    with pytest.raises(UnreachableBudgetError) as caught:
        solve(menu, time, 10.0, also=limits)
    assert str(caught.value) == (
        "peak memory budget of 1.907 MiB is unreachable: the least on the menu is 4.769 MiB; allow at least that, or "
        "offer narrower widths"
    )


@pytest.mark.parametrize(
    ("cost", "unit", "scale", "shown", "least"),
    [
        (0.0031234, "ms", 1e3, "3.123 ms", "3.124 ms"),
        (0.003, "ms", 1e3, "3.000 ms", "3.000 ms"),
        (5e6, "MiB", 2.0**-20, "4.768 MiB", "4.769 MiB"),
        (1234567.0, "", 1.0, "1234567", "1234567"),
    ],
)
def test_costs_are_shown_and_rounded_up_where_they_are_promised(cost, unit, scale, shown, least):
    limit = Limit("x", CostTables({"a": (8,)}, 0.0, {}, {}), 1.0, unit, scale)
    assert (limit.show(cost), limit.show_least(cost)) == (shown, least)
