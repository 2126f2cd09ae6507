import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_prune.latency.correction import fit_correction

STEPS = np.linspace(0.1, 1, 10)


def planted(noise, seed=0, repeats=4):
    rng = np.random.default_rng(seed)
    o = np.repeat(STEPS, repeats)
    i = rng.choice(STEPS, o.size)
    staircase = 0.1 * (np.round(o * 10) % 2)
    return np.column_stack([i, o]), staircase, staircase + noise * rng.standard_normal(o.size)


def test_measured_points_pull_towards_the_measurement():
    points, truth, seen = planted(noise=0.01)
    found = fit_correction(points, seen, np.ones(len(seen)))
    assert np.sqrt(np.mean((found.mean(points) - truth) ** 2)) < 0.01


def test_what_an_output_width_costs_is_learnt_for_inputs_never_seen():
    points, _, seen = planted(noise=0.01)
    found = fit_correction(points, seen, np.ones(len(seen)))
    elsewhere = np.column_stack([np.full(10, 0.55), STEPS])
    odd, even = found.mean(elsewhere)[::2], found.mean(elsewhere)[1::2]
    assert odd.mean() - even.mean() > 0.04


def test_far_from_data_nothing_is_corrected_and_doubt_is_full():
    points, _, seen = planted(noise=0.01)
    found = fit_correction(points, seen, np.ones(len(seen)))
    far = np.array([[50.0, 50.0]])
    assert found.mean(far) == pytest.approx([0], abs=1e-9)
    assert found.variance(far)[0] > 4 * found.variance(points).mean()


def test_pure_noise_is_hardly_followed():
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.random(40), rng.random(40)])
    seen = 0.02 * rng.standard_normal(40)
    assert np.abs(fit_correction(points, seen, np.ones(40)).mean(points)).max() < 0.02


def test_outlier_is_ignored():
    points, truth, seen = planted(noise=0.005)
    seen[5] += 3
    weights = np.ones(len(seen))
    weights[5] = 1e-4
    found = fit_correction(points, seen, weights)
    assert np.abs(found.mean(points) - truth).max() < 0.06


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_left_out_equals_a_fit_without_the_point(seed):
    points, _, seen = planted(noise=0.03, seed=seed, repeats=2)
    found = fit_correction(points, seen, np.ones(len(seen)))
    kept = np.arange(len(seen)) != 3
    cross = found.strength * found._kernel(points)
    covariance = cross + np.eye(len(seen))
    direct = cross[3, kept] @ np.linalg.solve(covariance[np.ix_(kept, kept)], seen[kept])
    assert found.left_out()[3] == pytest.approx(direct, abs=1e-9)


def test_no_axis_corrects_nothing():
    found = fit_correction(np.empty((5, 0)), np.array([0.1, -0.1, 0.1, -0.1, 0.0]), np.ones(5))
    assert found.mean(np.empty((3, 0))) == pytest.approx([0, 0, 0])
    assert found.left_out() == pytest.approx(np.zeros(5))
