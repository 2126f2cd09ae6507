"""Streamed sums, against answers by hand and NumPy's least squares."""

import numpy as np
import pytest
import torch
from recovery.parts import noise

from deploy_prune.recovery import moments
from deploy_prune.recovery.moments import Fit, Moments, best_fit


def filled(x, y, pieces=1):
    found = Moments()
    for a, b in zip(x.chunk(pieces), y.chunk(pieces), strict=True):
        found.add(a, b)
    return found


def zero(features, outputs, groups=1):
    return Fit(
        torch.zeros(groups, features, outputs, dtype=torch.float64), torch.zeros(groups, outputs, dtype=torch.float64)
    )


def test_a_line_by_hand():
    """Points (0, 1), (1, 3), (2, 5): y = 2 x + 1."""
    x, y = torch.tensor([0.0, 1, 2]).view(3, 1, 1), torch.tensor([1.0, 3, 5]).view(3, 1, 1)
    sums = filled(x, y)
    fit = sums.solve(zero(1, 1), 1e-12, shifted=True)
    assert fit.weight.item() == pytest.approx(2) and fit.shift.item() == pytest.approx(1)
    assert sums.error(fit) == pytest.approx(0, abs=1e-12)
    # without a shift: the sum of x y is 13, that of x squared 5
    assert sums.solve(zero(1, 1), 1e-12, shifted=False).weight.item() == pytest.approx(13 / 5)
    # all zero: the whole of 1 + 9 + 25 is missed
    assert sums.error(zero(1, 1)) == 1.0
    # x itself: off by 1, 2 and 3 of a squared size of 35
    assert sums.error(Fit(zero(1, 1).weight + 1, zero(1, 1).shift)) == pytest.approx(14 / 35)


def test_the_ridge_draws_to_the_weight_before():
    """Mean square of x is 1: with a ridge of 1 the answer lies half way between 2 and the given 6."""
    x = torch.tensor([1.0, -1.0]).view(2, 1, 1)
    start = Fit(torch.full((1, 1, 1), 6.0, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    fit = filled(x, 2 * x).solve(start, 1.0, shifted=False)
    assert fit.weight.item() == pytest.approx(4)


def test_streaming_equals_one_batch(monkeypatch):
    x, y = noise(60, 2, 5), noise(60, 2, 3, seed=1)
    whole = filled(x, y).solve(zero(5, 3, 2), 1e-9, shifted=True)
    monkeypatch.setattr(moments, "CHUNK", 30)  # three rows at a time
    streamed = filled(x, y, pieces=7).solve(zero(5, 3, 2), 1e-9, shifted=True)
    assert torch.allclose(whole.weight, streamed.weight, atol=1e-10)
    assert torch.allclose(whole.shift, streamed.shift, atol=1e-10)


def test_groups_are_numpys_least_squares_each():
    x, y = noise(60, 2, 5), noise(60, 2, 3, seed=1)
    fit = filled(x, y).solve(zero(5, 3, 2), 1e-12, shifted=True)
    for group in range(2):
        inputs = np.c_[x[:, group].double().numpy(), np.ones(60)]
        expected = np.linalg.lstsq(inputs, y[:, group].double().numpy(), rcond=None)[0]
        assert fit.weight[group].numpy() == pytest.approx(expected[:5], abs=1e-8)
        assert fit.shift[group].numpy() == pytest.approx(expected[5], abs=1e-8)


def test_sums_do_not_grow_with_the_data():
    small, large = filled(noise(4, 1, 5), noise(4, 1, 3)), filled(noise(4000, 1, 5), noise(4000, 1, 3))
    assert [t.shape for t in (small.xx, small.xy, small.x)] == [t.shape for t in (large.xx, large.xy, large.x)]


def test_a_fit_to_noise_is_refused_by_held_out_rows():
    """Six features and six rows: whatever the targets are, they are met exactly, and mean nothing elsewhere."""
    x, weight = noise(2000, 1, 6), noise(6, 1, seed=3)
    y = (x @ weight) + 0.1 * noise(2000, 1, 1, seed=4)
    start = Fit(weight.double()[None], torch.zeros(1, 1, dtype=torch.float64))
    fit, error = best_fit(filled(x[:6], noise(6, 1, 1, seed=5)), filled(x[6:], y[6:]), start, shifted=True)
    assert fit is start and error == filled(x[6:], y[6:]).error(start)


def test_no_numbers_are_no_fit():
    x = torch.full((8, 1, 2), float("nan"))
    assert filled(x, x).solve(zero(2, 2), 1e-3, shifted=True) is None
