"""Masks, turned boxes and keypoints: by hand, and against what Ultralytics and torchvision compute."""

import numpy as np
import pytest
import torch

from deploy_prune.artifact.inference.answers import describe
from deploy_prune.artifact.inference.decoding import decode
from deploy_prune.artifact.inference.masks import Window, draw_prototypes, draw_within, mask_overlaps, run_lengths
from deploy_prune.artifact.inference.pictures import Placement
from deploy_prune.artifact.inference.scores import compare_keypoints
from deploy_prune.artifact.inference.turned import corners_of, turned_overlaps
from deploy_prune.tasks.ultralytics_usage import ANSWERS

WHOLE = Placement(16, 16)


def manifest(kind, keypoints=None):
    asked = {"kind": kind, "selection": ANSWERS.model_dump(), "keypoints": keypoints}
    return {"postprocessing": asked, "preprocessing": {"size": 16}, "classes": ["a", "b"]}


def pixels(*rows):
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_run_lengths_by_hand():
    """COCO counts down the columns and begins with what is outside."""
    placement = Placement(3, 2)
    assert run_lengths(Window(1, 0, pixels("##", ".#")), placement) == [2, 1, 1, 2]
    assert run_lengths(Window(0, 0, pixels("#", "#")), placement) == [0, 2, 4]
    assert run_lengths(Window(0, 0, pixels(".")), placement) == [6]


def test_mask_overlaps_by_hand():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, 1:3, 1:3] = True
    union, share = mask_overlaps([Window(2, 1, pixels("##", "##"))], masks)
    assert union.tolist() == [[2 / 6, 0]] and share.tolist() == [[0.5, 0]]
    assert [one.shape for one in mask_overlaps([], masks)] == [(0, 2)] * 2
    assert [one.shape for one in mask_overlaps([Window(0, 0, pixels("#"))], masks[:0])] == [(1, 0)] * 2


def test_prototypes_are_mixed_and_cut_to_the_box():
    """Two prototypes of 4 x 4 over 16 pixels: the left half, and all but the upper quarter."""
    prototypes = -np.ones((2, 4, 4))
    prototypes[0, :, :2], prototypes[1, 1:] = 1, 1
    window = draw_prototypes(np.array([1.0, 0.0]), prototypes, np.array([4, 2, 12, 10.0]), WHOLE, 16)
    assert (window.left, window.top, window.pixels.shape) == (4, 2, (8, 8))
    assert window.pixels.tolist() == [[x < 8 for x in range(4, 12)]] * 8
    # the same in a picture of half the size, letterboxed to the right half of the input
    placement = Placement(8, 8, scale_x=1, scale_y=1, left=8, top=0)
    window = draw_prototypes(np.array([0.0, 1.0]), prototypes, np.array([0, 0, 8, 8.0]), placement, 16)
    assert window.pixels.tolist() == [[y >= 4] * 8 for y in range(8)]


def test_masks_within_boxes_are_those_of_torchvision():
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    rng = np.random.default_rng(0)
    across = np.linspace(-1, 1, 28)
    for _ in range(20):
        radius = rng.uniform(0.5, 0.95)
        chances = 1 / (1 + np.exp(8 * (np.hypot(across[:, None], across) - radius)))
        box = np.concatenate([rng.integers(0, 30, 2), rng.integers(50, 100, 2)]).astype(float)
        given = torch.from_numpy(chances)[None, None].float()
        pasted = paste_masks_in_image(given, torch.from_numpy(box)[None].float(), (100, 100))[0, 0].numpy() > 0.5
        union, _ = mask_overlaps([draw_within(chances, box)], pasted[None])
        assert union[0, 0] > 0.92  # it rounds boxes to whole pixels, one wider


def test_corners_by_hand():
    boxes = np.array([[10, 10, 4, 2.0], [10, 10, 4, 2]])
    level, upright = corners_of(boxes, np.array([0, np.pi / 2]))
    assert level.tolist() == [[12, 11], [12, 9], [8, 9], [8, 11]]
    assert upright == pytest.approx(np.array([[9, 12], [11, 12], [11, 8], [9, 8]]))


def test_turned_overlaps_are_those_of_ultralytics():
    from ultralytics.utils.metrics import batch_probiou

    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.uniform(20, 40, (30, 2)), rng.uniform(5, 30, (30, 2)), rng.uniform(0, 3, 30)])
    corners = corners_of(boxes[:, :4], boxes[:, 4])
    expected = batch_probiou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    assert turned_overlaps(corners, corners) == pytest.approx(expected, abs=2e-3)  # it adds 1e-7 under roots


def test_turned_boxes_are_kept_when_they_do_not_cover_a_better_one():
    """Two crossing bars, and the first one again."""
    output = np.array([[8, 8, 12, 2, 0.9, 0.1, 0], [8, 8, 12, 2, 0.8, 0.1, np.pi / 2], [8, 8, 12, 2, 0.7, 0.1, 0.01]])
    found = decode([output.T[None]], manifest("yolo_turned"), WHOLE)
    assert found["scores"].tolist() == [0.9, 0.8]
    (first, _) = describe(found, manifest("yolo_turned"), WHOLE)["objects"]
    assert first == {"class": "a", "score": 0.9, "corners": [[14.0, 9.0], [14.0, 7.0], [2.0, 7.0], [2.0, 9.0]]}


@pytest.mark.parametrize("values", [2, 3])
def test_keypoints_lie_in_the_picture(values):
    output = np.array([[8, 8, 4, 4, 0.1, 0.9, 6, 6, 0.75, 10, 10, 0.25]])
    output = output if values == 3 else np.delete(output, [8, 11], axis=1)
    asked = manifest("yolo_keypoints", {"names": ["head", "tail"], "values": values, "sigmas": [0.1, 0.1]})
    placement = Placement(8, 8, scale_x=2, scale_y=2)
    (only,) = describe(decode([output.T[None]], asked, placement), asked, placement)["objects"]
    assert (only["class"], only["box"]) == ("b", [3.0, 3.0, 5.0, 5.0])
    head, tail = {"x": 3.0, "y": 3.0}, {"x": 5.0, "y": 5.0}
    if values == 3:
        head["score"], tail["score"] = 0.75, 0.25
    assert only["keypoints"] == {"head": head, "tail": tail}


def test_similarity_of_keypoints_is_that_of_ultralytics():
    from ultralytics.utils.metrics import kpt_iou

    rng = np.random.default_rng(0)
    found, true = rng.uniform(0, 100, (5, 4, 3)), rng.uniform(0, 100, (3, 4, 3))
    true[..., 2] = rng.integers(0, 2, (3, 4))
    true[2, :, 2] = 0  # no point is labelled
    boxes = np.array([[0, 0, 100, 50], [0, 0, 60, 80], [0, 0, 9, 9.0]])
    sigmas = np.array([0.3, 0.5, 0.2, 0.4])
    label = {"keypoints": true, "boxes": boxes, "sigmas": sigmas}
    shared, _ = compare_keypoints({"keypoints": found}, np.arange(5), label, np.arange(3))
    area = torch.tensor([5000, 4800, 81]) * 0.53
    expected = kpt_iou(torch.from_numpy(true), torch.from_numpy(found), area.double(), list(sigmas))
    assert pytest.approx(expected.numpy(), abs=1e-6) == shared.T
