"""Faster and Mask R-CNN's prediction with shapes that no data decides, so that any runtime can plan for it.

It differs from torchvision's own in two points. Proposals are suppressed by ``selection.suppress``. And each
proposal is pooled from every level of the pyramid and the right one chosen afterwards, instead of sorting the
proposals by level. Proposals stay in the order of their anchors: rounding cannot exchange two rows.
"""

import math
from typing import Any

import torch
from torch import Tensor

from deploy_prune.tasks.selection import DETECTIONS, OVERLAP, suppress


def predict_two_stages(network: Any, images: Tensor) -> dict[str, Tensor]:
    """Return ``boxes``, ``scores`` and, with a mask head, ``masks``, as ``detector.Detector`` says."""
    from torchvision.ops import clip_boxes_to_image

    size = (int(images.shape[-2]), int(images.shape[-1]))
    normalised = network.transform.normalize(images)
    features = network.backbone(normalised)
    features = {"0": features} if isinstance(features, Tensor) else features
    proposals = propose(network.rpn, normalised, list(features.values()))
    heads, (n, k) = network.roi_heads, proposals.shape[:2]
    pooled = pool(heads.box_roi_pool, features, proposals, size)
    logits, offsets = heads.box_predictor(heads.box_head(pooled))
    decoded = heads.box_coder.decode_single(offsets, proposals.reshape(-1, 4))
    boxes = clip_boxes_to_image(decoded.reshape(n, k, -1, 4), size)[:, :, 1:]
    scores = logits.softmax(dim=-1).reshape(n, k, -1)[..., 1:]
    if heads.mask_roi_pool is None:
        return {"boxes": boxes, "scores": scores}
    return _with_masks(heads, features, boxes, scores, size)


def propose(rpn: Any, images: Tensor, features: list[Tensor]) -> Tensor:
    """Return the proposals (n, k, 4) of a region proposal network, k the same for every image of a size."""
    from torchvision.models.detection.image_list import ImageList
    from torchvision.ops import clip_boxes_to_image

    n, size = len(images), (int(images.shape[-2]), int(images.shape[-1]))
    logits, offsets = rpn.head(features)
    anchors = rpn.anchor_generator(ImageList(images, [size]), features)[0]
    chosen_boxes, chosen_scores, chosen_anchors, first = [], [], [], 0
    for i, (level_logits, level_offsets) in enumerate(zip(logits, offsets, strict=True)):
        # (n, A, h, w) and (n, 4 A, h, w), anchors innermost as torchvision's generator lists them
        flat = level_logits.permute(0, 2, 3, 1).reshape(n, -1)
        deltas = level_offsets.permute(0, 2, 3, 1).reshape(n, -1, 4)
        count = flat.shape[1]
        best, places = flat.topk(min(int(rpn._pre_nms_top_n["testing"]), int(count)), dim=1)
        mine = anchors[first : first + count][places]  # (n, k, 4)
        deltas = deltas.gather(1, places[..., None].expand(-1, -1, 4))
        boxes = rpn.box_coder.decode_single(deltas.reshape(-1, 4), mine.reshape(-1, 4)).reshape(n, -1, 4)
        boxes = clip_boxes_to_image(boxes, size)
        chosen_boxes.append(boxes)
        chosen_scores.append(suppress(boxes, best, float(rpn.nms_thresh), i / len(logits)))
        chosen_anchors.append(places + first)
        first += int(count)
    boxes, scores = torch.cat(chosen_boxes, dim=1), torch.cat(chosen_scores, dim=1)
    kept = _best(scores, torch.cat(chosen_anchors, dim=1), int(rpn._post_nms_top_n["testing"]))
    return boxes.gather(1, kept[..., None].expand(-1, -1, 4))


def pool(pooler: Any, features: dict[str, Tensor], boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the features (n k, C, h, w) of boxes (n, k, 4), each from the level that its size belongs to.

    Levels as in Lin et al. 2017 (feature pyramid networks), equation 1: a box of 224 pixels belongs to level 4.
    """
    from torchvision.ops import roi_align

    n, k = boxes.shape[:2]
    flat = boxes.reshape(-1, 4)
    image = torch.arange(n, dtype=flat.dtype).repeat_interleave(k)[:, None]
    regions = torch.cat([image, flat], dim=1)  # (n k, 5), as RoIAlign takes them
    maps = [features[name] for name in pooler.featmap_names if name in features]
    scales = [2.0 ** round(math.log2(int(one.shape[-2]) / size[0])) for one in maps]
    pooled = [roi_align(one, regions, pooler.output_size, scale, pooler.sampling_ratio)
              for one, scale in zip(maps, scales, strict=True)]  # fmt: skip
    lowest, highest = -math.log2(scales[0]), -math.log2(scales[-1])
    sides = ((flat[:, 2] - flat[:, 0]) * (flat[:, 3] - flat[:, 1])).sqrt()
    level = (pooler.canonical_level + (sides / pooler.canonical_scale + 1e-8).log2() + 1e-6).floor()
    level = level.clamp(lowest, highest)[:, None, None, None]
    result = pooled[0]
    for i, one in enumerate(pooled[1:], start=1):
        result = torch.where(level == lowest + i, one, result)
    return result


def _with_masks(
    heads: Any, features: dict[str, Tensor], boxes: Tensor, scores: Tensor, size: tuple[int, int]
) -> dict[str, Tensor]:
    """The best detections, one class to a proposal, with their masks: 100 masks instead of one per proposal."""
    n = len(scores)
    best, label = scores.max(dim=2)
    own = boxes.gather(2, label[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
    order = best.argsort(dim=1, descending=True)
    apart = own + label[..., None] * float(2 * max(size))  # boxes of unlike classes do not overlap
    ranked = suppress(_take(apart, order), best.gather(1, order), OVERLAP)
    kept = order.gather(1, _best(ranked, order, DETECTIONS))
    own, scores, label = _take(own, kept), _take(scores, kept), label.gather(1, kept)
    logits = heads.mask_predictor(heads.mask_head(pool(heads.mask_roi_pool, features, own, size)))
    side = logits.shape[-1]
    # the mask of the class, which the head counts from the background
    picked = (label + 1).reshape(-1, 1, 1, 1).expand(-1, 1, side, side)
    masks = logits.gather(1, picked).sigmoid().reshape(n, -1, side, side)
    return {"boxes": own, "scores": scores, "masks": masks}


def _best(scores: Tensor, keys: Tensor, most: int) -> Tensor:
    """The places (n, k) of the best scores (n, m), k at most ``most``, in the order of their keys (n, m)."""
    places = scores.topk(min(most, int(scores.shape[1])), dim=1).indices
    return places.gather(1, keys.gather(1, places).argsort(dim=1))


def _take(values: Tensor, places: Tensor) -> Tensor:
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))
