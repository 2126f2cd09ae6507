"""A group's loss over its width: through the measurements, monotone, and measured where it is least known."""

import numpy as np
import pytest

from deploy_prune.search.curve import Curve

WIDTHS = tuple(range(8, 129, 8))


def measured(curve, loss, points):
    for _ in range(points):
        width = curve.next_width()
        curve = Curve(curve.widths, {**curve.measured, width: loss(width)})
    return curve


def test_it_runs_through_what_was_measured_and_ends_at_zero():
    curve = Curve(WIDTHS, {8: 3.7, 40: 1.3, 72: 0.21})
    said = dict(zip(WIDTHS, curve.losses(), strict=True))
    assert (said[8], said[40], said[72], said[128]) == (3.7, 1.3, 0.21, 0.0)


def test_a_square_is_found_again_and_nothing_rises_with_the_width():
    square = Curve((1, 2, 3, 4, 5), {1: 16.0, 3: 4.0})
    assert square.losses() == pytest.approx((16, 9, 4, 1, 0))
    uneven = Curve(WIDTHS, {8: 5.0, 16: 4.9, 24: 0.01, 120: 0.0})
    assert (np.diff(uneven.losses()) <= 0).all() and min(uneven.losses()) == 0


def test_what_helps_by_chance_counts_as_nothing_and_dents_are_filled():
    assert Curve((1, 2, 3, 4), {1: 0.5, 2: 0.7, 3: -0.1}).losses() == (0.7, 0.7, 0.0, 0.0)


def test_widths_narrower_than_all_measured_ones_count_as_the_narrowest():
    assert Curve((1, 2, 3), {2: 1.0}).losses() == (1.0, 1.0, 0.0)


def test_the_narrowest_width_comes_first_then_the_steepest_part():
    assert Curve(WIDTHS).next_width() == 8
    assert Curve(WIDTHS, {8: 1.0}).next_width() == 64
    assert Curve(WIDTHS, {8: 1.0, 64: 0.9}).next_width() == 96
    assert Curve(WIDTHS, {8: 1.0, 64: 0.01}).next_width() == 32


def test_nothing_is_measured_twice():
    curve = measured(Curve((8, 16, 24)), float, 2)
    assert set(curve.measured) == {8, 16} and curve.next_width() is None
    assert Curve((8,)).next_width() is None and Curve((8,)).losses() == (0.0,)
    flat = measured(Curve(WIDTHS), lambda width: 0.0, 15)
    assert set(flat.measured) == set(WIDTHS[:-1]) and flat.next_width() is None


def test_leaving_out_by_hand():
    """Without the middle, the square root runs straight from 4 to 0: what is 3 should be 2."""
    ((loss, said),) = Curve((0, 1, 2), {0: 16.0, 1: 9.0}).leave_one_out()
    assert (loss, said) == pytest.approx((9, 4))
    assert Curve((0, 1, 2), {0: 16.0}).leave_one_out() == ()
