"""From the network's outputs to what is in the picture, as the manifest's ``postprocessing`` says.

A decoder takes the outputs, each with its batch axis of 1, and a Question; it returns arrays by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deploy_prune.artifact.inference.boxes import from_centres, select, suppress
from deploy_prune.artifact.inference.masks import draw_prototypes, draw_within
from deploy_prune.artifact.inference.pictures import Placement
from deploy_prune.artifact.inference.refusal import RefusalError
from deploy_prune.artifact.inference.turned import corners_of, turned_overlaps

if TYPE_CHECKING:
    Found = dict[str, Any]  # no such expression on Python 3.8


class Question(NamedTuple):
    """What is asked of the outputs.

    Attributes:
        classes: how many there are.
        selection: which objects count.
        placement: where the picture lies in the input.
        size: the input's side in pixels.
        values: per keypoint, x and y among them.
    """

    classes: int
    selection: dict[str, Any]
    placement: Placement
    size: int
    values: int


def decode(outputs: list[Any], manifest: dict[str, Any], placement: Placement, *, scoring: bool = False) -> Found:
    """What the outputs say, in pixels of the picture; ``scoring`` keeps the doubtful objects that a metric counts."""
    asked = manifest["postprocessing"]
    if asked["kind"] not in DECODERS:
        raise RefusalError(f"no decoder for outputs of kind {asked['kind']!r}; known: {', '.join(DECODERS)}")
    selection = asked.get("scoring" if scoring else "selection") or {}
    size, values = manifest["preprocessing"]["size"], (asked["keypoints"] or {"values": 0})["values"]
    return DECODERS[asked["kind"]](outputs, Question(len(manifest["classes"]), selection, placement, size, values))


def _logits(outputs: list[Any], question: Question) -> Found:
    """(1, classes) before the softmax."""
    powers = np.exp(outputs[0][0] - outputs[0][0].max())
    return {"probabilities": powers / powers.sum()}


def _probabilities(outputs: list[Any], question: Question) -> Found:
    """(1, classes), which add up to 1."""
    return {"probabilities": outputs[0][0]}


def _class_map(outputs: list[Any], question: Question) -> Found:
    """(1, classes, H, W): the class of each pixel is that of its largest value."""
    return {"class_map": outputs[0][0].argmax(axis=0).astype(np.uint8)}


def _yolo_boxes(outputs: list[Any], question: Question) -> Found:
    """(1, 4 + classes, N): centre and size of each box in the input's pixels, then a score per class."""
    rows, labels = _yolo_rows(outputs[0], question)
    return _yolo_objects(rows, labels, question)


def _yolo_masks(outputs: list[Any], question: Question) -> Found:
    """As ``yolo_boxes``, then each box's share of the prototypes, which are the second output, (1, c, h, w)."""
    rows, labels = _yolo_rows(outputs[0], question)
    found = _yolo_objects(rows, labels, question)
    shares, prototypes = rows[:, 4 + question.classes :], outputs[1][0]
    windows = [
        draw_prototypes(share, prototypes, box, question.placement, question.size)
        for share, box in zip(shares, found["boxes"])  # noqa: B905 - Python 3.8 has no strict
    ]
    return {**found, "windows": windows}


def _yolo_keypoints(outputs: list[Any], question: Question) -> Found:
    """As ``yolo_boxes``, then x, y and, where there are three values, the chance of being visible of each keypoint."""
    rows, labels = _yolo_rows(outputs[0], question)
    values = rows[:, 4 + question.classes :]
    points = values.reshape(len(rows), values.shape[1] // question.values, question.values)
    places = question.placement.to_picture(points[..., :2])
    return {**_yolo_objects(rows, labels, question), "keypoints": np.concatenate([places, points[..., 2:]], axis=-1)}


def _yolo_turned(outputs: list[Any], question: Question) -> Found:
    """As ``yolo_boxes``, then the angle in radians by which the box is turned about its centre."""
    rows = outputs[0][0].T
    places, labels = select(rows[:, 4 : 4 + question.classes], question.selection)
    corners = corners_of(rows[places, :4], rows[places, 4 + question.classes])
    kept = suppress(corners, labels, question.selection, turned_overlaps)
    scores = rows[places[kept], 4 + labels[kept]]
    return {"corners": question.placement.to_picture(corners[kept]), "scores": scores, "labels": labels[kept]}


def _boxes(outputs: list[Any], question: Question) -> Found:
    """Corners (1, N, 4), or (1, N, classes, 4), in the input's pixels, and scores (1, N, classes)."""
    boxes, scores = outputs[0][0], outputs[1][0]
    places, labels = select(scores, question.selection)
    chosen = boxes[places] if boxes.ndim == 2 else boxes[places, labels]
    kept = suppress(chosen, labels, question.selection)
    return _objects(question, chosen[kept], scores[places[kept], labels[kept]], labels[kept])


def _boxes_with_masks(outputs: list[Any], question: Question) -> Found:
    """As ``boxes``, and chances (1, N, h, w) over each box of one class."""
    boxes, scores, chances = (output[0] for output in outputs)
    places, labels = select(scores, question.selection)
    kept = suppress(boxes[places], labels, question.selection)
    places, labels = places[kept], labels[kept]
    found = _objects(question, boxes[places], scores[places, labels], labels)
    windows = [
        draw_within(chances[place], box)
        for place, box in zip(places, found["boxes"])  # noqa: B905 - Python 3.8 has no strict
    ]
    return {**found, "windows": windows}


def _raw(outputs: list[Any], question: Question) -> Found:
    """Outputs that no decoder is written for."""
    return {"outputs": outputs}


def _yolo_rows(output: Any, question: Question) -> tuple[Any, Any]:
    """The predictions (k, 4 + classes + ...) that are kept, best first, and their classes."""
    rows = output[0].T
    places, labels = select(rows[:, 4 : 4 + question.classes], question.selection)
    kept = suppress(from_centres(rows[places, :4]), labels, question.selection)
    return rows[places[kept]], labels[kept]


def _yolo_objects(rows: Any, labels: Any, question: Question) -> Found:
    return _objects(question, from_centres(rows[:, :4]), rows[np.arange(len(rows)), 4 + labels], labels)


def _objects(question: Question, boxes: Any, scores: Any, labels: Any) -> Found:
    """Objects, best first, with boxes (k, 4) in pixels of the picture and within it."""
    placement = question.placement
    corners = placement.to_picture(boxes.reshape(-1, 2, 2))
    corners = np.clip(corners, 0, [placement.width, placement.height])
    return {"boxes": corners.reshape(-1, 4), "scores": scores, "labels": labels}


DECODERS: dict[str, Callable[[list[Any], Question], Found]] = {
    "logits": _logits,
    "probabilities": _probabilities,
    "class_map": _class_map,
    "yolo_boxes": _yolo_boxes,
    "yolo_masks": _yolo_masks,
    "yolo_keypoints": _yolo_keypoints,
    "yolo_turned": _yolo_turned,
    "boxes": _boxes,
    "boxes_with_masks": _boxes_with_masks,
    "raw": _raw,
}
