import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.measure import points_in_poly

from deploy_prune.datasets.glyph import OPAQUE, render_glyph
from deploy_prune.datasets.polygon import outline, turned_box
from deploy_prune.datasets.scene import compose_scene, crowd
from deploy_prune.datasets.sources import load_sources


def filled(polygon, shape):
    """The pixels whose centre lies inside, by the even-odd rule."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    return points_in_poly(centres, polygon).reshape(shape)


def test_a_rectangle_is_eight_points_with_cut_corners():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    corners = {(2, 1.5), (2.5, 1), (6.5, 1), (7, 1.5), (7, 3.5), (6.5, 4), (2.5, 4), (2, 3.5)}
    assert {tuple(point) for point in outline(mask)} == corners


def test_a_hole_is_kept():
    mask = np.ones((9, 9), bool)
    mask[3:6, 3:6] = False
    assert np.array_equal(filled(outline(mask), mask.shape), mask)


def test_pieces_are_joined_by_a_bridge_that_encloses_nothing():
    mask = np.zeros((8, 20), bool)
    mask[2:5, 1:4] = mask[3:7, 9:12] = mask[1:3, 16:19] = True
    assert np.array_equal(filled(outline(mask), mask.shape), mask)


def test_scenes_come_back_exactly_from_their_polygons():
    source = load_sources()["train"]
    for seed in range(8):
        rng = np.random.default_rng(seed)
        for instance in compose_scene(source, 160, crowd(rng), rng).instances:
            polygon = outline(instance.visible)
            assert np.array_equal(filled(polygon, instance.visible.shape), instance.visible)
            assert (*polygon.min(axis=0), *polygon.max(axis=0)) == instance.box


@given(arrays.arrays(bool, (7, 7), elements=st.booleans()).filter(np.any))
@settings(max_examples=200, deadline=None)
def test_any_mask_comes_back_exactly(mask):
    assert np.array_equal(filled(outline(mask), mask.shape), mask)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5)])
def test_a_mask_that_fills_the_picture(shape):
    assert np.array_equal(filled(outline(np.ones(shape, bool)), shape), np.ones(shape, bool))


def test_turned_box_of_a_square_worked_out_by_hand():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 3:7] = True  # pixel edges x 3..7, y 2..6
    assert np.allclose(turned_box(mask, 0.0), [[3, 2], [7, 2], [7, 6], [3, 6]])
    # At 45 degrees the sides lead through the square's corners; their own lie twice as far from (5, 4) as its edges.
    assert np.allclose(turned_box(mask, math.radians(45)), [[1, 4], [5, 0], [9, 4], [5, 8]])


def test_turned_box_of_a_turned_bar_is_the_bar():
    ink = np.zeros((8, 8), np.float32)
    ink[1:7, 3:5] = 1
    for degrees in (-50, -20, 0, 35, 60):
        mask = render_glyph(ink, 80, math.radians(degrees)) >= OPAQUE
        corners = turned_box(mask, math.radians(degrees))
        width, height = (float(np.linalg.norm(corners[k + 1] - corners[k])) for k in (0, 1))
        assert height / width > 2.7  # about six cells by two; a box of the wrong turn is nearer a square
        assert width * height < 1.2 * mask.sum()  # the wrong turn: 1.5 to 2.2
