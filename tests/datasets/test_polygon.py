import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.measure import points_in_poly

from deploy_prune.datasets.polygon import outline
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
