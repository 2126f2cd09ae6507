import numpy as np
import pytest

from deploy_prune.datasets import sources
from deploy_prune.datasets.sources import CLASSES, load_sources
from deploy_prune.errors import MissingDependencyError


def test_every_digit_is_in_exactly_one_split():
    train, val = ([digit.index for digit in load_sources()[split].digits] for split in ("train", "val"))
    assert sorted(train + val) == list(range(1797))
    assert (len(train), len(val)) == (1438, 359)  # 0.8 of 1,797


def test_the_regions_of_a_photograph_meet_and_do_not_overlap():
    train, val = (load_sources()[split].regions for split in ("train", "val"))
    assert [region.photo for region in train] == [region.photo for region in val]
    widths = {"chelsea": 451, "china": 640, "rocket": 640, "astronaut": 512}
    for ours, theirs in zip(train, val, strict=True):
        assert (ours.left, theirs.left) == (0, ours.image.shape[1])
        assert ours.image.dtype == np.uint8
        if ours.photo in widths:
            assert theirs.left + theirs.image.shape[1] == widths[ours.photo]


@pytest.mark.parametrize("split", ["train", "val"])
def test_classes_take_turns_and_no_digit_is_lost(split):
    source = load_sources()[split]
    assert [digit.label for digit in source.in_turn[:20]] == 2 * list(range(10))
    assert sorted(digit.index for digit in source.in_turn) == [digit.index for digit in source.digits]
    assert len(source.by_class) == len(CLASSES)
    assert all(digit.label == label for label, digits in enumerate(source.by_class) for digit in digits)


def test_the_ink_is_that_of_scikit_learn():
    digit = load_sources()["train"].digits[0]
    assert digit.label == 0
    assert digit.ink[0].tolist() == [0, 0, 5 / 16, 13 / 16, 9 / 16, 1 / 16, 0, 0]  # its documented first row


def test_a_missing_photograph_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(sources, "SKIMAGE_PHOTOS", ("lost.png",))
    with pytest.raises(MissingDependencyError, match=r"lost\.png is not there: pip install 'deploy_prune\[data\]'"):
        sources._load_photos()
