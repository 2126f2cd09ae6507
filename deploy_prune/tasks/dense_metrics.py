"""Scores of segmentation and detection, computed by torchmetrics (and faster-coco-eval behind it)."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from torch import Tensor

from deploy_prune.errors import MissingDependencyError

Found = Mapping[str, Tensor]
"""One image's objects: ``boxes`` (k, 4) in pixels, ``labels`` (k,) and, where they apply, ``scores``, ``masks``."""


def mean_iou(pairs: Iterable[tuple[Tensor, Tensor]], classes: int, void: int) -> float:
    """The mean over the classes of intersection / union, each counted over all pixels of all images.

    A class that neither the labels nor the predictions hold does not count.

    Args:
        pairs: predicted and true class numbers, both (n, H, W).
        classes: how many there are, the background among them.
        void: the true value of pixels that do not count.
    """
    try:
        from torchmetrics.classification import MulticlassJaccardIndex
    except ImportError as error:
        raise _missing(error) from error
    metric = MulticlassJaccardIndex(classes, average="macro", ignore_index=void, validate_args=False)
    for predicted, true in pairs:
        metric.update(predicted, true)
    return float(metric.compute())


def mean_average_precision(pairs: Iterable[tuple[Found, Found]], kind: Literal["bbox", "segm"]) -> float:
    """COCO's mAP50-95, of boxes or masks: the mean over classes and IoU thresholds 0.5, 0.55, ..., 0.95.

    Args:
        pairs: what was found in an image, and what is there; ``iscrowd`` (k,) marks regions that do not count.
        kind: by what two objects overlap.
    """
    try:
        from torchmetrics.detection import MeanAveragePrecision
    except ImportError as error:
        raise _missing(error) from error
    metric: Any = MeanAveragePrecision(iou_type=kind, backend="faster_coco_eval")
    metric.warn_on_many_detections = False  # COCO's own limit of 100 is kept where detections are selected
    for found, true in pairs:
        metric.update([dict(found)], [dict(true)])
    return max(float(metric.compute()["map"]), 0.0)  # -1 stands for no object at all


def _missing(error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(f"the score needs {error.name}; run: pip install 'deploy_prune[vision]'")
