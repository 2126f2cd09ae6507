import numpy as np
import pytest

from deploy_prune.datasets.scene import (
    EASY,
    HARD,
    LARGE,
    MEDIUM,
    MIN_VISIBLE,
    Instance,
    Wanted,
    compose_scene,
    crowd,
    portrait,
)
from deploy_prune.datasets.sources import load_sources

SIZE = 160


def scenes(split, number, wanted=crowd):
    for seed in range(number):
        rng = np.random.default_rng(seed)
        yield compose_scene(load_sources()[split], SIZE, wanted(rng), rng)


def test_the_box_is_the_extent_of_the_visible_pixels():
    visible = np.zeros((10, 12), bool)
    visible[3, 4] = visible[7, 9] = True
    assert Instance(5, 0, visible, visible, 0.0).box == (4, 3, 10, 8)  # columns 4..9, rows 3..7; ends exclusive
    assert Instance(5, 0, visible, visible, 0.0).area == 2


def test_boxes_are_tight_in_composed_scenes():
    for scene in scenes("train", 30):
        for instance in scene.instances:
            x0, y0, x1, y1 = instance.box
            inside = instance.visible[y0:y1, x0:x1]
            assert inside.sum() == instance.area
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_no_pixel_belongs_to_two_digits():
    for scene in scenes("train", 30):
        assert np.sum([instance.visible for instance in scene.instances], axis=0).max() == 1


def test_the_picture_shows_the_digits_where_the_masks_say():
    # With the same chance and one digit more, only the pixels of that digit and its soft edge may differ.
    source = load_sources()["train"]
    one = compose_scene(source, SIZE, [Wanted(3, (0.3, 0.3))], np.random.default_rng(1))
    two = compose_scene(source, SIZE, [Wanted(3, (0.3, 0.3)), Wanted(7, (0.3, 0.3))], np.random.default_rng(1))
    changed = (one.image != two.image).any(axis=2)
    added = two.instances[1].visible
    x0, y0, x1, y1 = two.instances[1].box
    assert np.count_nonzero(changed & added) > 0.95 * added.sum()
    changed[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = False
    assert not changed.any()


def test_overlap_leaves_each_digit_mostly_visible():
    # Two digits that fill most of the scene must overlap; the lower one keeps its share of pixels.
    source, overlaps = load_sources()["train"], 0
    for seed in range(60):
        wanted = [Wanted(8, (0.7, 0.7)), Wanted(1, (0.7, 0.7))]
        scene = compose_scene(source, SIZE, wanted, np.random.default_rng(seed))
        alone = compose_scene(source, SIZE, wanted[:1], np.random.default_rng(seed))
        full, left = alone.instances[0].area, scene.instances[0].area
        assert left >= MIN_VISIBLE * full
        overlaps += left < full
    assert overlaps > 10


def test_sizes_are_learnable():
    boxes = [instance.box for scene in scenes("train", 60) for instance in scene.instances]
    longest = sorted(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes)
    assert longest[len(longest) // 20] >= 28 and longest[-1] <= 100  # pixels of 160
    counts = [len(scene.instances) for scene in scenes("train", 60)]
    assert set(counts) == {2, 3, 4, 5}


def test_each_difficulty_is_harder_than_the_one_before():
    """The digit to be named covers less of the scene."""
    areas = []
    for difficulty in (LARGE, EASY, MEDIUM, HARD):
        found = list(scenes("train", 20, lambda rng, difficulty=difficulty: portrait(3, rng, difficulty)))
        for scene in found:
            assert scene.instances[0].label == 3
            assert max(scene.instances, key=lambda instance: instance.area) is scene.instances[0]
        areas.append(sum(scene.instances[0].area for scene in found))
    assert areas == sorted(areas, reverse=True) and len(set(areas)) == 4


@pytest.mark.parametrize("label", range(10))
def test_the_dominant_digit_of_a_portrait_is_the_largest(label):
    for scene in scenes("val", 5, lambda rng: portrait(label, rng)):
        assert max(scene.instances, key=lambda instance: instance.area).label == label


def test_background_and_digits_come_from_the_split():
    for split in ("train", "val"):
        source = load_sources()[split]
        regions = {region.photo: region for region in source.regions}
        own = {digit.index: digit.label for digit in source.digits}
        for scene in scenes(split, 40):
            region, crop = regions[scene.background.photo], scene.background
            height, width = region.image.shape[:2]
            assert region.left <= crop.left and crop.left + crop.side <= region.left + width
            assert crop.top >= 0 and crop.top + crop.side <= height
            assert all(own[instance.digit] == instance.label for instance in scene.instances)


def test_the_background_is_that_piece_of_the_photograph():
    scene = next(scenes("val", 1))
    region = next(r for r in load_sources()["val"].regions if r.photo == scene.background.photo)
    crop, left = scene.background, scene.background.left - region.left
    piece = region.image[crop.top : crop.top + crop.side, left : left + crop.side].astype(float)
    free = ~np.any([instance.visible for instance in scene.instances], axis=0)
    # Means are those of the piece up to what the digits cover.
    assert scene.image[free].mean() == pytest.approx(piece.mean(), rel=0.25)
