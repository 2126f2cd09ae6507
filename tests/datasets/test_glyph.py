import math

import numpy as np
import pytest

from deploy_prune.datasets.glyph import OPAQUE, render_glyph

BAR = np.zeros((8, 8), np.float32)
BAR[1:7, 3:5] = 1  # 6 cells high, 2 wide


def extent(coverage):
    return (coverage >= OPAQUE).any(axis=1).sum(), (coverage >= OPAQUE).any(axis=0).sum()


def test_a_bar_has_the_size_of_its_cells():
    # Ten pixels a cell. Cubic splines round the ends, so a pixel or two per side may be lost or won.
    assert extent(render_glyph(BAR, 80, 0)) == pytest.approx((60, 20), abs=4)


def test_a_quarter_turn_lays_the_bar_down():
    height, width = extent(render_glyph(BAR, 80, 0))
    assert extent(render_glyph(BAR, 80, math.pi / 2)) == pytest.approx((width, height), abs=1)


def test_positive_angles_turn_counter_clockwise():
    # A bar leaning to the left on screen: its upper end is left of its lower end.
    covered = render_glyph(BAR, 80, math.radians(20)) >= OPAQUE
    top, bottom = np.flatnonzero(covered[2]).mean(), np.flatnonzero(covered[-3]).mean()
    assert top < bottom


def test_the_crop_is_tight_with_one_pixel_around():
    covered = render_glyph(BAR, 50, 0.3) >= OPAQUE
    inner = covered[1:-1, 1:-1]
    assert inner.sum() == covered.sum()
    assert all(edge.any() for edge in (inner[0], inner[-1], inner[:, 0], inner[:, -1]))


@pytest.mark.parametrize("height", [20, 40, 120])
def test_the_edge_is_about_a_pixel_wide_at_any_size(height):
    coverage = render_glyph(BAR, height, 0)
    row = coverage[coverage.shape[0] // 2]
    assert np.count_nonzero((row > 0.02) & (row < 0.98)) <= 6  # both edges together
