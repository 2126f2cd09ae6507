"""How good the answers on labelled pictures are, by the task's metric; all are fractions, larger is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy_prune.artifact.inference.boxes import areas, intersections, overlaps

VOID = 255  # in a label's class map: pixels that do not count
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU
RECALLS = np.linspace(0, 1, 101)  # at which COCO reads the precision

if TYPE_CHECKING:
    # per picture what was found (see decoding) and the label: class, class_map, or boxes, labels and crowd
    Pairs = list[tuple[dict[str, Any], dict[str, Any]]]  # no such expression on Python 3.8


def accuracy(pairs: Pairs, classes: int) -> float:
    """The share of pictures whose most probable class is theirs."""
    return sum(int(found["probabilities"].argmax()) == label["class"] for found, label in pairs) / len(pairs)


def mean_iou(pairs: Pairs, classes: int) -> float:
    """The mean of intersection / union over the classes that occur, counted over all pictures' pixels."""
    table = np.zeros((classes, classes), np.int64)  # true class by found class
    for found, label in pairs:
        true = nearest(label["class_map"], found["class_map"].shape)
        counted = true != VOID
        both = true[counted].astype(int) * classes + found["class_map"][counted]
        table += np.bincount(both, minlength=classes**2).reshape(classes, classes)
    union = table.sum(axis=0) + table.sum(axis=1) - np.diag(table)
    return float((np.diag(table)[union > 0] / union[union > 0]).mean())


def mean_average_precision(pairs: Pairs, classes: int) -> float:
    """COCO's mAP50-95 of boxes: the mean over the labels' classes and ten IoU thresholds, 100 objects per picture."""
    per_class = []
    for wanted in range(classes):
        judged, there = [], 0  # type: list[tuple[Any, Any, Any]], int
        for found, label in pairs:
            mine = np.nonzero(found["labels"] == wanted)[0]
            mine = mine[np.argsort(-found["scores"][mine], kind="stable")][:100]
            true = np.nonzero(label["labels"] == wanted)[0]
            crowd = label["crowd"][true]
            there += int((~crowd).sum())
            judged.append((found["scores"][mine], *_match(found["boxes"][mine], label["boxes"][true], crowd)))
        if there:
            per_class.append(_average_precision(judged, there))
    return float(np.mean(per_class)) if per_class else 0.0


def nearest(values: Any, shape: tuple[int, int]) -> Any:
    """A map (H, W) brought to ``shape`` by taking the nearest of its pixels."""
    rows, columns = (np.arange(after) * before // after for before, after in _axes(values.shape, shape))
    return values[rows[:, None], columns]


def _axes(before: tuple[int, int], after: tuple[int, int]) -> list[tuple[int, int]]:
    return [(before[0], after[0]), (before[1], after[1])]


def _match(found: Any, true: Any, crowd: Any) -> tuple[Any, Any]:
    """For each threshold and box, best first: whether it is right, and whether it does not count; both (10, k).

    A true box is taken by the best found one that overlaps it enough; a crowd takes any number, which do not count.
    """
    shared = overlaps(found, true)
    if crowd.any():
        share = intersections(found, true) / np.maximum(areas(found), 1e-9)[:, None]
        shared = np.where(crowd[None], share, shared)
    right, ignored = (np.zeros((len(THRESHOLDS), len(found)), bool) for _ in range(2))
    for row, threshold in enumerate(THRESHOLDS):
        free = np.ones(len(true), bool)
        for i in range(len(found)):
            single = np.where(free & ~crowd, shared[i], 0.0)
            if len(true) and single.max() >= threshold:
                free[single.argmax()], right[row, i] = False, True
            elif len(true) and np.where(crowd, shared[i], 0.0).max() >= threshold:
                ignored[row, i] = True
    return right, ignored


def _average_precision(judged: list[tuple[Any, Any, Any]], there: int) -> float:
    """The mean precision at 101 recalls and ten thresholds; precision is the best at this recall or a higher one."""
    scores = np.concatenate([one[0] for one in judged])
    order = np.argsort(-scores, kind="stable")
    right, ignored = (np.concatenate([one[i] for one in judged], axis=1)[:, order] for i in (1, 2))
    total = 0.0
    for row in range(len(THRESHOLDS)):
        hits = right[row][~ignored[row]]
        recall, precision = np.cumsum(hits) / there, np.cumsum(hits) / np.arange(1, len(hits) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, RECALLS)
        total += float(np.append(best, 0.0)[np.minimum(places, len(best))].sum()) / len(RECALLS)
    return total / len(THRESHOLDS)


METRICS: dict[str, tuple[str, Callable[[Pairs, int], float]]] = {
    "logits": ("top-1 accuracy", accuracy),
    "probabilities": ("top-1 accuracy", accuracy),
    "class_map": ("mIoU", mean_iou),
    "yolo_boxes": ("mAP50-95", mean_average_precision),
    "boxes": ("mAP50-95", mean_average_precision),
}
"""By kind of output: the metric's name, and how it is taken."""
