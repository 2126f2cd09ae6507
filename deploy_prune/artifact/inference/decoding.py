"""From the network's outputs to what is in the picture, as the manifest's ``postprocessing`` says.

A decoder takes the outputs, each with its batch axis of 1, and a Question; it returns arrays by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deploy_prune.artifact.inference.boxes import from_centres, select, suppress
from deploy_prune.artifact.inference.pictures import Placement
from deploy_prune.artifact.inference.refusal import RefusalError

if TYPE_CHECKING:
    Found = dict[str, Any]  # no such expression on Python 3.8


class Question(NamedTuple):
    """What is asked of the outputs: how many classes there are, which objects count, and where the picture lies."""

    classes: int
    selection: dict[str, Any]
    placement: Placement


def decode(outputs: list[Any], manifest: dict[str, Any], placement: Placement, *, scoring: bool = False) -> Found:
    """What the outputs say, in pixels of the picture; ``scoring`` keeps the doubtful objects that a metric counts."""
    asked = manifest["postprocessing"]
    if asked["kind"] not in DECODERS:
        raise RefusalError(f"no decoder for outputs of kind {asked['kind']!r}; known: {', '.join(DECODERS)}")
    selection = asked.get("scoring" if scoring else "selection") or {}
    return DECODERS[asked["kind"]](outputs, Question(len(manifest["classes"]), selection, placement))


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
    rows, kept, labels = _yolo_rows(outputs[0], question)
    return _objects(question, from_centres(rows[kept, :4]), rows[kept, 4 + labels], labels)


def _boxes(outputs: list[Any], question: Question) -> Found:
    """Corners (1, N, 4), or (1, N, classes, 4), in the input's pixels, and scores (1, N, classes)."""
    boxes, scores = outputs[0][0], outputs[1][0]
    places, labels = select(scores, question.selection)
    chosen = boxes[places] if boxes.ndim == 2 else boxes[places, labels]
    kept = suppress(chosen, labels, question.selection)
    return _objects(question, chosen[kept], scores[places[kept], labels[kept]], labels[kept])


def _raw(outputs: list[Any], question: Question) -> Found:
    """Outputs that no decoder is written for."""
    return {"outputs": outputs}


def _yolo_rows(output: Any, question: Question) -> tuple[Any, Any, Any]:
    """All predictions (N, 4 + classes + ...), the places of those that are kept, and their classes."""
    rows = output[0].T
    places, labels = select(rows[:, 4 : 4 + question.classes], question.selection)
    kept = suppress(from_centres(rows[places, :4]), labels, question.selection)
    return rows, places[kept], labels[kept]


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
    "boxes": _boxes,
    "raw": _raw,
}
