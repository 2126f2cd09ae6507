import numpy as np
import pytest

from deploy_prune.latency.robust import fit_nonnegative, robust_std


def test_exact_line_is_found_exactly():
    x = np.linspace(0.2, 1, 12)
    fit = fit_nonnegative(np.column_stack([np.ones(12), x]), 2 + 3 * x)
    assert fit.coefficients == pytest.approx([2, 3])


def test_outliers_do_not_move_the_line_and_are_marked():
    x = np.linspace(0.2, 1, 30)
    times = 2 + 3 * x + 0.01 * np.sin(40 * x)
    times[[3, 17]] *= 4
    fit = fit_nonnegative(np.column_stack([np.ones(30), x]), times)
    assert fit.coefficients == pytest.approx([2, 3], rel=0.02)
    assert fit.weights[[3, 17]].max() < 0.01
    assert np.delete(fit.weights, [3, 17]).min() > 0.3


def test_coefficients_are_never_negative():
    x = np.linspace(0.2, 1, 10)
    fit = fit_nonnegative(np.column_stack([np.ones(10), x]), 5 - 2 * x)
    assert fit.coefficients[1] == 0
    assert fit.coefficients[0] > 0


def test_times_of_zero_are_fitted():
    fit = fit_nonnegative(np.ones((4, 1)), np.zeros(4))
    assert fit.coefficients == pytest.approx([0])


def test_std_of_a_normal_sample():
    errors = np.random.default_rng(0).normal(0, 0.05, 4000)
    assert robust_std(errors) == pytest.approx(0.05, rel=0.05)
    assert robust_std(np.array([1.0, -1.0, 1.0, -1.0]), dropped=2) == pytest.approx(1.4826 * np.sqrt(2))
