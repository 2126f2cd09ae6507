"""Which of a detector's many boxes are kept: non-maximum suppression, exact outside and fixed in shape inside."""

import torch
from torch import Tensor

SCORE = 0.01  # below it a box is not counted: mAP hardly sees it, and there are thousands
CANDIDATES = 1000  # boxes of an image that suppression looks at, best first
OVERLAP = 0.5  # IoU above which the lower of two boxes of a class goes
GONE = -1e4  # below every score and logit
DETECTIONS = 100  # kept per image, COCO's limit


def select_detections(boxes: Tensor, scores: Tensor, masks: Tensor | None = None) -> dict[str, Tensor]:
    """Return one image's detections, best first: ``boxes`` (k, 4), ``scores`` (k,), ``labels`` (k,), ``masks``.

    Args:
        boxes: (N, 4) for all classes together, or (N, classes, 4), in pixels.
        scores: (N, classes), 0 to 1.
        masks: (N, h, w) within each box, if any; they are only chosen here.
    """
    from torchvision.ops import batched_nms

    places, labels = torch.nonzero(scores > SCORE, as_tuple=True)
    values = scores[places, labels]
    order = values.argsort(descending=True, stable=True)[:CANDIDATES]
    places, labels, values = places[order], labels[order], values[order]
    found = boxes[places] if boxes.ndim == 2 else boxes[places, labels]
    kept = batched_nms(found, values, labels, OVERLAP)[:DETECTIONS]
    detections = {"boxes": found[kept], "scores": values[kept], "labels": labels[kept]}
    return detections if masks is None else detections | {"masks": masks[places[kept]]}


def suppress(boxes: Tensor, scores: Tensor, overlap: float, tie: float = 0.0) -> Tensor:
    """Return the scores (n, k), those below ``GONE`` whose box a better one overlaps: NMS of fixed shape.

    A box is judged against all better ones, the suppressed ones too ("Fast NMS", Bolya et al. 2019, section 4.2), so
    it removes a little more than the greedy one and is one matrix of IoUs, on any runtime.

    Args:
        boxes: (n, k, 4) in pixels.
        scores: (n, k), sorted downwards along k.
        overlap: IoU above which the lower box goes.
        tie: 0 to below 1; the i-th box that goes gets ``GONE - i - tie``, so that no two are equal: runtimes
            differ in which of equals they take when the places are not filled otherwise.
    """
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    left_top = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    right_bottom = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    sides = (right_bottom - left_top).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    union = areas[:, :, None] + areas[:, None, :] - shared
    better = torch.ones(boxes.shape[1], boxes.shape[1]).tril(-1)  # row i has the boxes better than i
    worst = (shared / union.clamp(min=1e-6) * better).amax(dim=2)
    gone = GONE - tie - torch.arange(boxes.shape[1], dtype=scores.dtype)
    return torch.where(worst > overlap, gone, scores)
