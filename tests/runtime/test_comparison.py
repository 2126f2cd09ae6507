"""Verdicts by their definition; the interval by its laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy_prune.runtime.comparison import estimate_ratio, judge


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


def test_equal_pairs_leave_no_doubt():
    assert estimate_ratio([[2.0] * 3] * 4) == (2.0, 2.0, 2.0)


def test_each_pair_counts_once_by_its_median():
    # medians 1, 1.1, 1.21: logarithms 0, l, 2l with l = ln 1.1; mean l, standard deviation l, t of 2 degrees 4.3027
    step = math.log(1.1)
    ratio, low, high = estimate_ratio([[1.0, 1.0, 9.0], [1.1] * 7, [0.2, 1.21, 5.0]])
    assert ratio == pytest.approx(1.1)
    assert math.log(high) - step == pytest.approx(4.3027 * step / math.sqrt(3), rel=1e-4)
    assert low * high == pytest.approx(1.1**2)  # symmetric for swapped models


def test_more_rounds_in_a_pair_do_not_narrow_the_interval():
    few, many = ([[ratio] * rounds for ratio in (1.0, 1.02)] for rounds in (3, 300))
    assert estimate_ratio(few) == estimate_ratio(many)


@pytest.mark.parametrize("pairs", [2, 6])
def test_nineteen_of_twenty_intervals_hold_the_truth_although_pairs_differ(pairs):
    random = np.random.default_rng(2)

    def draw():
        of_pair = random.normal(np.log(1.5), 0.01, (pairs, 1))
        return np.exp(of_pair + random.normal(0, 0.02, (pairs, 7)))

    intervals = [estimate_ratio(draw())[1:] for _ in range(400)]
    assert 365 <= sum(low <= 1.5 <= high for low, high in intervals) <= 395  # 380 expected, sd 4.4
