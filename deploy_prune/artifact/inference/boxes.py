"""Boxes (x0, y0, x1, y1): how much they overlap, and which of them are kept."""

from __future__ import annotations

from typing import Any

import numpy as np


def overlaps(boxes: Any, others: Any) -> Any:
    """Intersection over union of boxes (n, 4) and others (m, 4), (n, m)."""
    shared = intersections(boxes, others)
    union = areas(boxes)[:, None] + areas(others)[None] - shared
    return shared / np.maximum(union, 1e-9)


def intersections(boxes: Any, others: Any) -> Any:
    """Areas that boxes (n, 4) and others (m, 4) share, (n, m)."""
    left_top = np.maximum(boxes[:, None, :2], others[None, :, :2])
    right_bottom = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.clip(right_bottom - left_top, 0, None)
    return sides[..., 0] * sides[..., 1]


def areas(boxes: Any) -> Any:
    """Areas (n,) of boxes (n, 4)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def from_centres(boxes: Any) -> Any:
    """Boxes (n, 4) given as centre and size, by their corners."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def select(scores: Any, selection: dict[str, Any]) -> tuple[Any, Any]:
    """The candidates among scores (N, classes), best first: their places (k,) and classes (k,).

    With ``every_class`` a place counts once for each class that scores enough, else for its best class.
    """
    if selection["every_class"]:
        places, labels = np.nonzero(scores > selection["score"])
    else:
        labels = scores.argmax(axis=1)
        places = np.nonzero(scores[np.arange(len(scores)), labels] > selection["score"])[0]
        labels = labels[places]
    order = np.argsort(-scores[places, labels], kind="stable")[: selection["candidates"]]
    return places[order], labels[order]


def suppress(boxes: Any, labels: Any, selection: dict[str, Any], overlap: Any = overlaps) -> Any:
    """Places of the boxes that are kept, best first: none overlaps a better one of its class too much.

    Args:
        boxes: (k, ...) in descending order of their scores.
        labels: their classes (k,).
        selection: ``overlap``, above which the lower one goes, and ``most``, how many are kept.
        overlap: one box (1, ...) and others (m, ...) to (1, m).
    """
    left, kept = np.arange(len(boxes)), []  # type: Any, list[int]
    while len(left) and len(kept) < selection["most"]:
        best, left = left[0], left[1:]
        kept.append(int(best))
        rivals = (labels[left] == labels[best]).nonzero()[0]
        gone = overlap(boxes[best][None], boxes[left[rivals]])[0] > selection["overlap"]
        left = np.delete(left, rivals[gone])
    return np.array(kept, int)
