from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_prune.errors import InputError, UnreachableBudgetError
from deploy_prune.latency.tables import CostTables
from deploy_prune.search.menu import Menu
from deploy_prune.search.solver import Limit, fastest, solve

BUDGETS_ARE_KEPT_TO = 1e-8


def random_instance(seed, groups, widths, layers):
    """Layers in a chain with skips, each about input times output with kinks; losses fall with the width."""
    rng = np.random.default_rng(seed)
    menu = {f"g{k}": tuple(16 * (j + 1) for j in range(widths)) for k in range(groups)}
    share = np.arange(1, widths + 1) / widths
    loss = {}
    for group in menu:
        falling = rng.gamma(1.5) * (1 - share) ** rng.uniform(1.2, 3)
        loss[group] = (*falling[:-1].tolist(), 0.0)
    unary, pair = {}, {}
    for k in range(layers):
        out = k * groups // layers
        source = int(np.clip(out + rng.integers(-3, 4), 0, groups - 1))
        kinks = 1 + 0.05 * rng.standard_normal((widths, widths))
        cost = 1e-4 * rng.lognormal() * np.outer(share, share) * kinks
        if source == out:
            unary[f"g{out}"] = unary.get(f"g{out}", 0.0) + np.diag(cost)
        else:
            pair[f"g{source}", f"g{out}"] = pair.get((f"g{source}", f"g{out}"), 0.0) + cost
    return Menu(menu, loss), CostTables(menu, 2e-4, unary, pair)


def dense(menu):
    return {group: widths[-1] for group, widths in menu.widths.items()}


def brute_force(menu, kept):
    """Least loss over all widths for which ``kept(widths)`` holds; None if there are none."""
    every = (dict(zip(menu.widths, choice, strict=True)) for choice in product(*menu.widths.values()))
    return min((menu.loss_at(w) for w in every if kept(w)), default=None)


def greedy(menu, tables, budget_s):
    """Narrow one group by one step, always the one that saves most time per loss, until the budget is met."""
    chosen = dense(menu)
    while tables.cost_s(chosen) > budget_s:
        best, now = None, tables.cost_s(chosen)
        for group, widths in menu.widths.items():
            at = widths.index(chosen[group])
            if at:
                candidate = {**chosen, group: widths[at - 1]}
                saved = now - tables.cost_s(candidate)
                lost = menu.loss_at(candidate) - menu.loss_at(chosen)
                best = max(best or (-np.inf, {}), (saved / max(lost, 1e-12), candidate), key=lambda pair: pair[0])
        if best is None:
            return None
        chosen = best[1]
    return chosen


def test_hand_worked_instance():
    """The product costs 1, 2, 2 or 4 s; within 2.5 s the cheaper loss is to narrow b."""
    widths = {"a": (8, 16), "b": (8, 16)}
    tables = CostTables(widths, 0.0, {}, {("a", "b"): np.array([[1.0, 2.0], [2.0, 4.0]])})
    menu = Menu(widths, {"a": (0.3, 0.0), "b": (0.2, 0.0)})
    found = solve(menu, tables, 2.5)
    assert found.widths == {"a": 16, "b": 8}
    assert (found.predicted_s, found.loss) == (2.0, 0.2)
    assert found.bound == pytest.approx(0.2)
    assert found.gap == pytest.approx(0, abs=1e-9)


def test_budget_that_dense_keeps_loses_nothing():
    menu, tables = random_instance(0, 4, 3, 6)
    found = solve(menu, tables, tables.cost_s(dense(menu)))
    assert found.widths == dense(menu)
    assert found.loss == found.gap == 0


def test_width_that_costs_more_than_a_wider_one_is_avoided():
    widths = {"a": (8, 16, 24)}
    tables = CostTables(widths, 0.0, {"a": np.array([1.0, 3.0, 2.0])}, {})
    found = solve(Menu(widths, {"a": (2.0, 1.0, 0.0)}), tables, 2.0)
    assert found.widths == {"a": 24}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 4), st.floats(0.3, 1.0))
def test_optimum_equals_brute_force(seed, groups, widths, share):
    menu, tables = random_instance(seed, groups, widths, 2 * groups)
    budget_s = share * tables.cost_s(dense(menu))
    expected = brute_force(menu, lambda w: tables.cost_s(w) <= budget_s)
    if expected is None:
        with pytest.raises(UnreachableBudgetError) as caught:
            solve(menu, tables, budget_s)
        every = (dict(zip(menu.widths, choice, strict=True)) for choice in product(*menu.widths.values()))
        assert caught.value.fastest_s == pytest.approx(min(tables.cost_s(w) for w in every), rel=1e-3)
    else:
        found = solve(menu, tables, budget_s, gap=0)
        relaxed = brute_force(menu, lambda w: tables.cost_s(w) <= budget_s * (1 + BUDGETS_ARE_KEPT_TO))
        assert relaxed - 1e-6 <= found.loss <= expected + 1e-6
        assert found.predicted_s == pytest.approx(tables.cost_s(found.widths))
        assert found.predicted_s <= budget_s * (1 + BUDGETS_ARE_KEPT_TO)
        assert found.bound <= found.loss


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_two_budgets_at_once_equal_brute_force(seed):
    menu, one = random_instance(seed, 4, 3, 8)
    _, two = random_instance(seed + 1, 4, 3, 8)
    one_s, two_s = 0.7 * one.cost_s(dense(menu)), 0.7 * two.cost_s(dense(menu))
    expected = brute_force(menu, lambda w: one.cost_s(w) <= one_s and two.cost_s(w) <= two_s)
    found = solve(menu, one, one_s, also=[Limit("other device", two, two_s)], gap=0)
    assert found.loss == pytest.approx(expected, abs=1e-6)
    assert two.cost_s(found.widths) <= two_s * (1 + BUDGETS_ARE_KEPT_TO)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("speedup", [1.5, 2.5])
def test_never_worse_than_greedy(seed, speedup):
    menu, tables = random_instance(seed, 20, 6, 40)
    budget_s = tables.cost_s(dense(menu)) / speedup
    found = solve(menu, tables, budget_s)
    other = greedy(menu, tables, budget_s)
    assert found.predicted_s <= budget_s * (1 + BUDGETS_ARE_KEPT_TO)
    assert other is None or found.loss <= menu.loss_at(other) * (1 + 1e-3)
    assert found.gap <= 1e-3


def test_fastest_equals_brute_force():
    menu, tables = random_instance(3, 5, 3, 10)
    every = [dict(zip(menu.widths, choice, strict=True)) for choice in product(*menu.widths.values())]
    found = fastest(tables, menu)
    assert found.predicted_s == pytest.approx(min(tables.cost_s(w) for w in every), rel=1e-4)
    assert found.bound_s <= found.predicted_s * (1 + 1e-9)


def test_unreachable_budget_says_what_can_be_reached():
    widths = {"a": (8, 16)}
    tables = CostTables(widths, 0.001, {"a": np.array([0.0021234, 0.004])}, {})
    menu = Menu(widths, {"a": (1.0, 0.0)})
    with pytest.raises(UnreachableBudgetError) as caught:
        solve(menu, tables, 0.003)
    assert caught.value.fastest_s == pytest.approx(0.0031234)
    assert str(caught.value) == (
        "latency budget of 3.000 ms is unreachable: the least on the menu is 3.124 ms; "
        "allow at least that, or offer narrower widths"
    )


def test_other_limit_that_cannot_be_kept_is_named():
    widths = {"a": (8, 16)}
    menu = Menu(widths, {"a": (1.0, 0.0)})
    time = CostTables(widths, 0.0, {"a": np.array([1.0, 2.0])}, {})
    memory = CostTables(widths, 0.0, {"a": np.array([100.0, 200.0])}, {})
    with pytest.raises(
        UnreachableBudgetError, match=r"memory budget of 50\.00 is unreachable: the least on the menu is 100\.0"
    ):
        solve(menu, time, 1.0, also=[Limit("memory", memory, 50.0)])


def test_limits_that_contradict_each_other_are_named():
    widths = {"a": (8, 16)}
    menu = Menu(widths, {"a": (1.0, 0.0)})
    time = CostTables(widths, 0.0, {"a": np.array([1.0, 2.0])}, {})
    odd = CostTables(widths, 0.0, {"a": np.array([2.0, 1.0])}, {})
    with pytest.raises(UnreachableBudgetError) as caught:
        solve(menu, time, 1.5, also=[Limit("odd", odd, 1.5)])
    assert str(caught.value) == (
        "budgets are unreachable together (latency 1500 ms, odd 1.500): relax one (latency could be 2000 ms with the "
        "others kept; odd could be 2.000 with the others kept)"
    )
    assert caught.value.fastest_s == 1.0


def test_tables_of_another_menu_are_refused():
    tables = CostTables({"a": (8, 16)}, 0.0, {}, {})
    menu = Menu({"a": (8, 24)}, {"a": (1.0, 0.0)})
    with pytest.raises(InputError, match=r"differ at group 'a': \(8, 16\) and \(8, 24\); make the tables from"):
        solve(menu, tables, 1.0)


def test_budget_of_zero_is_refused():
    tables = CostTables({"a": (8,)}, 0.0, {}, {})
    with pytest.raises(InputError, match="budget for latency is 0, expected more than zero"):
        solve(Menu({"a": (8,)}, {"a": (0.0,)}), tables, 0)


def test_menu_without_groups_is_refused():
    with pytest.raises(InputError, match="the menu has no groups"):
        solve(Menu({}, {}), CostTables({}, 0.0, {}, {}), 1.0)


def test_network_of_real_size_is_solved_to_the_gap():
    menu, tables = random_instance(1, 40, 8, 90)
    budget_s = tables.cost_s(dense(menu)) / 2
    found = solve(menu, tables, budget_s)
    assert found.gap <= 1e-3
    assert 0.99 * budget_s < found.predicted_s <= budget_s * (1 + BUDGETS_ARE_KEPT_TO)
