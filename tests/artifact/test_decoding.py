"""Boxes, suppression and metrics: by hand, and against what Ultralytics and torchmetrics compute."""

import numpy as np
import pytest
import torch

from deploy_prune.artifact.inference.answers import describe, write_class_map
from deploy_prune.artifact.inference.boxes import from_centres, overlaps, select, suppress
from deploy_prune.artifact.inference.decoding import decode
from deploy_prune.artifact.inference.pictures import Placement
from deploy_prune.artifact.inference.refusal import RefusalError
from deploy_prune.artifact.inference.scores import accuracy, compare_boxes, mean_average_precision, mean_iou
from deploy_prune.tasks import dense_metrics
from deploy_prune.tasks.detection import SCORING as TORCHVISION_SCORING
from deploy_prune.tasks.selection import select_detections
from deploy_prune.tasks.ultralytics_usage import ANSWERS, SCORING

WHOLE = Placement(100, 100)
TEN = [str(i) for i in range(10)]


def manifest(kind, selection=ANSWERS, classes=TEN):
    asked = {"kind": kind, "selection": selection.model_dump(), "scoring": SCORING.model_dump()}
    return {"postprocessing": {**asked, "keypoints": None}, "preprocessing": {"size": 100}, "classes": classes}


def test_overlaps_by_hand():
    boxes, others = np.array([[0, 0, 2, 2.0]]), np.array([[0, 0, 2, 2.0], [1, 0, 3, 2], [2, 2, 3, 3]])
    assert overlaps(boxes, others) == pytest.approx(np.array([[1, 1 / 3, 0]]))
    assert from_centres(np.array([[5, 6, 4, 2.0]])).tolist() == [[3, 5, 7, 7]]


def test_selection_by_hand():
    scores = np.array([[0.9, 0.3], [0.2, 0.1], [0.5, 0.95]])
    asked = {"score": 0.25, "candidates": 9, "every_class": False}
    assert [one.tolist() for one in select(scores, asked)] == [[2, 0], [1, 0]]
    assert [one.tolist() for one in select(scores, {**asked, "every_class": True})] == [[2, 0, 2, 0], [1, 0, 0, 1]]
    assert [one.tolist() for one in select(scores, {**asked, "candidates": 1})] == [[2], [1]]


def test_suppression_by_hand():
    """The second box overlaps the first, which is of its class; the third does too, but is of another."""
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 1, 10, 11], [50, 50, 60, 60.0]])
    labels = np.array([0, 0, 1, 0])
    assert suppress(boxes, labels, {"overlap": 0.7, "most": 9}).tolist() == [0, 2, 3]
    assert suppress(boxes, labels, {"overlap": 0.7, "most": 2}).tolist() == [0, 2]
    assert suppress(boxes, labels, {"overlap": 0.9, "most": 9}).tolist() == [0, 1, 2, 3]


@pytest.fixture
def yolo_output():
    """(1, 4 + 10, 500), crowded: boxes of 10 to 40 pixels within 100."""
    rng = np.random.default_rng(0)
    centres, sizes = rng.uniform(0, 100, (500, 2)), rng.uniform(10, 40, (500, 2))
    scores = rng.uniform(0, 1, (500, 10)) ** 8
    return np.concatenate([centres, sizes, scores], axis=1).T[None].astype(np.float32)


@pytest.mark.parametrize("scoring", [True, False])
def test_yolo_boxes_are_those_of_ultralytics(yolo_output, scoring):
    from ultralytics.utils.nms import non_max_suppression

    asked = SCORING if scoring else ANSWERS
    (rows,) = non_max_suppression(
        torch.from_numpy(yolo_output), asked.score, asked.overlap, multi_label=asked.every_class, max_det=asked.most
    )
    rows[:, :4] = rows[:, :4].clip(0, 100)
    found = decode([yolo_output], manifest("yolo_boxes"), WHOLE, scoring=scoring)
    got = np.column_stack([found["boxes"], found["scores"], found["labels"]])
    assert len(got) > 50
    assert got == pytest.approx(rows.numpy(), abs=1e-4)


@pytest.mark.parametrize("per_class", [False, True])
def test_boxes_are_those_of_the_torchvision_tasks(per_class):
    generator = torch.Generator().manual_seed(0)
    shape = (300, 10) if per_class else (300,)
    corners = 80 * torch.rand(*shape, 2, generator=generator)
    boxes = torch.cat([corners, corners + 20 * torch.rand(*shape, 2, generator=generator)], dim=-1)
    scores = torch.rand(300, 10, generator=generator) ** 6
    expected = select_detections(boxes, scores)
    asked = manifest("boxes", TORCHVISION_SCORING)
    found = decode([boxes[None].numpy(), scores[None].numpy()], asked, WHOLE)
    assert len(found["labels"]) == 100
    assert found["labels"].tolist() == expected["labels"].tolist()
    assert found["boxes"] == pytest.approx(expected["boxes"].numpy(), abs=1e-4)


def test_answers_in_words(tmp_path):
    asked = manifest("logits", classes=list("abc"))
    found = decode([np.log([[0.2, 0.5, 0.3]])], asked, WHOLE)
    top = [{"class": "b", "score": 0.5}, {"class": "c", "score": 0.3}, {"class": "a", "score": 0.2}]
    assert describe(found, asked, WHOLE) == {"class": "b", "score": 0.5, "top": top}
    logits = np.zeros((1, 3, 2, 2))
    logits[0, 2, 0] = logits[0, 1, 1, 0] = 1
    found = decode([logits], manifest("class_map", classes=list("abc")), WHOLE)
    assert found["class_map"].tolist() == [[2, 2], [1, 0]]
    assert describe(found, asked, WHOLE) == {"shares": {"a": 0.25, "b": 0.25, "c": 0.5}}
    write_class_map(found, Placement(4, 2), tmp_path / "map.png")
    from PIL import Image

    with Image.open(tmp_path / "map.png") as written:
        assert np.asarray(written).tolist() == [[2, 2, 2, 2], [1, 1, 0, 0]]
    one = {"boxes": np.array([[1, 2, 3.456, 4]]), "scores": np.array([0.5]), "labels": np.array([1])}
    assert describe(one, asked, WHOLE) == {"objects": [{"class": "b", "score": 0.5, "box": [1.0, 2.0, 3.46, 4.0]}]}


def test_an_unknown_kind_is_refused():
    with pytest.raises(RefusalError, match="no decoder for outputs of kind 'cubes'; known: logits, "):
        decode([], manifest("cubes"), WHOLE)


def test_accuracy_by_hand():
    first, second = ({"probabilities": np.array(one)} for one in ([0.9, 0.1], [0.4, 0.6]))
    assert accuracy([(first, {"class": 0}), (second, {"class": 0})], 2) == 0.5


def test_mean_iou_is_that_of_torchmetrics():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 5, (4, 8, 8)).astype(np.uint8)  # class 5 never occurs
    found = np.where(rng.random(true.shape) < 0.7, true, rng.integers(0, 5, true.shape)).astype(np.uint8)
    true[0, 0] = 255
    pairs = [({"class_map": one}, {"class_map": label}) for one, label in zip(found, true, strict=True)]
    tensors = [(torch.from_numpy(found).long(), torch.from_numpy(true).long())]
    assert mean_iou(pairs, 6) == pytest.approx(dense_metrics.mean_iou(tensors, 6, 255), abs=1e-6)


def test_mean_average_precision_is_that_of_torchmetrics():
    """Labels of six pictures, moved a little; some are missed, some invented, some stand for a crowd."""
    rng = np.random.default_rng(2)
    pairs, tensors = [], []
    for _ in range(6):
        corners = rng.uniform(0, 70, (12, 2))
        true = np.concatenate([corners, corners + rng.uniform(10, 30, (12, 2))], axis=1)
        labels, crowd = rng.integers(0, 3, 12), rng.random(12) < 0.2
        boxes = np.concatenate([true + rng.normal(0, 1.5, true.shape), rng.permutation(true)[:4] + 3])[2:]
        found = {"boxes": boxes, "labels": np.append(labels, labels[:4])[2:], "scores": rng.random(len(boxes))}
        label = {"boxes": true, "labels": labels, "crowd": crowd}
        pairs.append((found, label))
        as_tensors = {name: torch.from_numpy(value) for name, value in found.items()}
        known = {
            "boxes": torch.from_numpy(true),
            "labels": torch.from_numpy(labels),
            "iscrowd": torch.from_numpy(crowd),
        }
        tensors.append((as_tensors, known | {"iscrowd": known["iscrowd"].long()}))
    expected = dense_metrics.mean_average_precision(tensors, "bbox")
    assert 0.1 < expected < 0.9
    assert mean_average_precision(pairs, 4, compare_boxes) == pytest.approx(expected, abs=1e-6)
