"""How good the answers on labelled pictures are, by the task's metric; all are fractions, larger is better."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy_prune.artifact.inference.boxes import areas, intersections, overlaps
from deploy_prune.artifact.inference.masks import mask_overlaps
from deploy_prune.artifact.inference.turned import turned_overlaps

VOID = 255  # in a label's class map: pixels that do not count
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU
RECALLS = np.linspace(0, 1, 101)  # at which COCO reads the precision

if TYPE_CHECKING:
    # per picture what was found (see decoding) and the label (see samples.read_label)
    Pairs = list[tuple[dict[str, Any], dict[str, Any]]]  # no such expressions on Python 3.8
    Compare = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


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


def mean_average_precision(pairs: Pairs, classes: int, compare: Compare) -> float:
    """COCO's mAP50-95: the mean over the labels' classes and ten thresholds of overlap, 100 objects per picture."""
    per_class = []
    for wanted in range(classes):
        judged, there = [], 0  # type: list[tuple[Any, Any, Any]], int
        for found, label in pairs:
            mine = np.nonzero(found["labels"] == wanted)[0]
            mine = mine[np.argsort(-found["scores"][mine], kind="stable")][:100]
            true = np.nonzero(label["labels"] == wanted)[0]
            crowd = label["crowd"][true]
            there += int((~crowd).sum())
            shared, share = compare(found, mine, label, true)
            judged.append((found["scores"][mine], *_match(np.where(crowd[None], share, shared), crowd)))
        if there:
            per_class.append(_average_precision(judged, there))
    return float(np.mean(per_class)) if per_class else 0.0


def compare_boxes(found: Any, mine: Any, label: Any, true: Any) -> tuple[Any, Any]:
    """Overlaps of the found boxes ``mine`` (k,) and the labels ``true`` (m,), and the share of each that is shared."""
    boxes, others = found["boxes"][mine], label["boxes"][true]
    share = intersections(boxes, others) / np.maximum(areas(boxes), 1e-9)[:, None]
    return overlaps(boxes, others), share


def compare_masks(found: Any, mine: Any, label: Any, true: Any) -> tuple[Any, Any]:
    """As ``compare_boxes``, of pixels."""
    return mask_overlaps([found["windows"][i] for i in mine], label["masks"][true])


def compare_turned(found: Any, mine: Any, label: Any, true: Any) -> tuple[Any, Any]:
    """As ``compare_boxes``, by ProbIoU; there are no crowds."""
    shared = turned_overlaps(found["corners"][mine], label["corners"][true])
    return shared, shared


def compare_keypoints(found: Any, mine: Any, label: Any, true: Any) -> tuple[Any, Any]:
    """As ``compare_boxes``, by COCO's similarity of keypoints, mean of exp(-d^2 / (8 sigma^2 area)) over those visible.

    The area of an object is taken as 0.53 of its box's, Ultralytics' estimate for people. There are no crowds.
    """
    points, others = found["keypoints"][mine], label["keypoints"][true]
    away = ((points[:, None, :, :2] - others[None, :, :, :2]) ** 2).sum(axis=-1)  # (k, m, points)
    area = np.maximum(0.53 * areas(label["boxes"][true]), 1e-9)
    close = np.exp(-away / (8 * label["sigmas"] ** 2 * area[None, :, None]))
    visible = others[..., 2] > 0
    shared = (close * visible[None]).sum(axis=-1) / np.maximum(visible.sum(axis=-1), 1)[None]
    return shared, shared


def nearest(values: Any, shape: tuple[int, int]) -> Any:
    """A map (H, W) brought to ``shape`` by taking the nearest of its pixels."""
    rows, columns = (np.arange(after) * before // after for before, after in _axes(values.shape, shape))
    return values[rows[:, None], columns]


def _axes(before: tuple[int, int], after: tuple[int, int]) -> list[tuple[int, int]]:
    return [(before[0], after[0]), (before[1], after[1])]


def _match(shared: Any, crowd: Any) -> tuple[Any, Any]:
    """For each threshold and object, best first: whether it is right, and whether it does not count; both (10, k).

    A true object (m,) is taken by the best found one (k,) that overlaps it enough; a crowd takes any number, which do
    not count.
    """
    found, true = shared.shape
    right, ignored = (np.zeros((len(THRESHOLDS), found), bool) for _ in range(2))
    for row, threshold in enumerate(THRESHOLDS):
        free = np.ones(true, bool)
        for i in range(found):
            single = np.where(free & ~crowd, shared[i], 0.0)
            if true and single.max() >= threshold:
                free[single.argmax()], right[row, i] = False, True
            elif true and np.where(crowd, shared[i], 0.0).max() >= threshold:
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
    "yolo_boxes": ("mAP50-95", partial(mean_average_precision, compare=compare_boxes)),
    "yolo_masks": ("mask mAP50-95", partial(mean_average_precision, compare=compare_masks)),
    "yolo_keypoints": ("pose mAP50-95", partial(mean_average_precision, compare=compare_keypoints)),
    "yolo_turned": ("oriented mAP50-95", partial(mean_average_precision, compare=compare_turned)),
    "boxes": ("mAP50-95", partial(mean_average_precision, compare=compare_boxes)),
    "boxes_with_masks": ("mask mAP50-95", partial(mean_average_precision, compare=compare_masks)),
}
"""By kind of output: the metric's name, and how it is taken."""
