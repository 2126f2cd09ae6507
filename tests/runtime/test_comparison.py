"""Verdicts by their definition; the interval by its laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy_prune.runtime.comparison import judge, ratio_interval


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.02, 1.10, "faster"),
        (0.80, 0.98, "slower"),
        (0.995, 1.005, "same"),
        (0.97, 1.03, "ambiguous"),
        (1.005, 1.03, "ambiguous"),  # above 1, yet not clear of the noise
        (0.97, 0.995, "ambiguous"),
    ],
)
def test_verdicts_at_one_percent(low, high, verdict):
    assert judge(low, high, 0.01) == verdict


@given(st.floats(0.2, 5), st.floats(1, 1.5), st.floats(1e-4, 0.2))
def test_swapping_the_models_swaps_the_verdict(low, spread, tolerance):
    high = low * spread
    swapped = {"faster": "slower", "slower": "faster", "same": "same", "ambiguous": "ambiguous"}
    assert judge(1 / high, 1 / low, tolerance) == swapped[judge(low, high, tolerance)]


def test_interval_of_equal_ratios_is_that_ratio():
    assert ratio_interval([2.0] * 8) == (2.0, 2.0)


def test_interval_lies_within_the_ratios_around_the_median_and_repeats():
    ratios = list(np.random.default_rng(1).normal(2.0, 0.05, 40))
    low, high = ratio_interval(ratios)
    assert min(ratios) <= low <= np.median(ratios) <= high <= max(ratios)
    assert high - low < 0.1
    assert ratio_interval(ratios) == (low, high)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    random = np.random.default_rng(2)
    intervals = [ratio_interval(list(random.lognormal(np.log(1.5), 0.03, 25))) for _ in range(200)]
    held = sum(low <= 1.5 <= high for low, high in intervals)
    assert 180 <= held <= 200  # 190 expected, sd 3
