"""Budgets as people type them."""

import pytest

from deploy_prune.errors import InputError
from deploy_prune.pipeline.latency_budget import Budget, mildest_first, parse_budgets, refuse_mixed, refuse_repeated


def test_numbers_are_speed_ups_and_milliseconds_are_latencies():
    budgets = parse_budgets("1.5, 2x,8ms,.5 MS,3×")
    assert budgets == (Budget(None, 1.5), Budget(None, 2.0), Budget(0.008), Budget(0.0005), Budget(None, 3.0))
    assert [budget.name for budget in budgets] == ["1.5x", "2x", "8ms", "0.5ms", "3x"]
    assert [budget.latency_ms for budget in budgets] == [None, None, 8, 0.5, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2,fast", "budget 'fast': expected a speed-up such as 2 or 2x, or a latency such as 8ms"),
        ("2,", "budget '': expected a speed-up"),
        ("2 s", "budget '2 s': expected"),
        ("1", "speedup is 1.0; give a factor above 1, such as 2"),
        ("0ms", "latency_ms is 0.0; give a latency above 0 ms"),
        ("2,3,2.0x", "the budget 2x is given 2 times; give each once"),
    ],
)
def test_what_is_no_budget(text, message):
    with pytest.raises(InputError, match=message):
        parse_budgets(text)


def test_no_budget_at_all():
    with pytest.raises(InputError, match="no budget is given"):
        refuse_repeated([])


def test_several_beside_a_single_one():
    refuse_mixed("2,3", None, None)
    with pytest.raises(InputError, match="got --budgets 2,3 and --latency-ms 4; give one of them"):
        refuse_mixed("2,3", None, 4.0)


def test_the_mildest_comes_first_whatever_its_unit():
    budgets = parse_budgets("4x,6ms,1.5x,3ms")  # of 12 ms: 3, 6, 8 and 3 ms
    assert [budget.name for budget in mildest_first(budgets, 0.012)] == ["1.5x", "6ms", "4x", "3ms"]
