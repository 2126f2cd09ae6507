"""torchvision's detectors with outputs of fixed shape: what they predict, before the last suppression."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from deploy_prune.tasks.two_stage import predict_two_stages

Targets = Sequence[dict[str, Tensor]]
"""Per image ``boxes`` (k, 4) in pixels, ``labels`` (k,) from 0 and, for masks, ``masks`` (k, H, W) of 0 and 1."""


class Detector(nn.Module):
    """A detector of torchvision whose input has the size that the network sees; no resizing takes place.

    Images (n, 3, H, W) in [0, 1] give ``boxes`` and ``scores`` (n, N, classes), background left out, in a dict:

    * one stage (SSD, RetinaNet, FCOS): boxes (n, N, 4), one per anchor, for all classes;
    * Faster R-CNN: boxes (n, N, classes, 4), one per proposal and class;
    * Mask R-CNN: boxes (n, N, 4) of each detection's best class, and ``masks`` (n, N, 28, 28) within them.

    Boxes are (x0, y0, x1, y1) in pixels within the image; ``select_detections`` chooses among them. torchvision
    itself returns lists of data-dependent length, which few runtimes can plan for. With targets the forward is
    torchvision's own and returns its losses, whatever mode the modules are in.

    Args:
        network: the detector as torchvision builds it.
        classes: names in the order of the scores.
    """

    def __init__(self, network: nn.Module, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.network = network

    def forward(self, images: Tensor, targets: Targets | None = None) -> dict[str, Tensor]:
        """Return the predictions, or with targets the losses by name."""
        if targets is not None:
            return self._losses(images, targets)
        if hasattr(self.network, "roi_heads"):
            return predict_two_stages(self.network, images)
        return _predict_one_stage(self.network, images)

    def _losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        first = 1 if has_background(self.network) else 0
        shifted = [target | {"labels": target["labels"] + first} for target in targets]
        with _asked_for_losses(self.network), nullcontext() if self.training else _same_samples():
            losses: dict[str, Tensor] = self.network(list(images), shifted)
        return losses


def has_background(network: nn.Module) -> bool:
    """Whether class 0 of a detector means that there is nothing."""
    return type(network).__name__ not in ("RetinaNet", "FCOS")


def _predict_one_stage(network: Any, images: Tensor) -> dict[str, Tensor]:
    from torchvision.models.detection.image_list import ImageList
    from torchvision.ops import clip_boxes_to_image

    size = (int(images.shape[-2]), int(images.shape[-1]))
    normalised = network.transform.normalize(images)
    features = feature_maps(network, normalised)
    raw = network.head(list(features.values()))
    anchors = network.anchor_generator(ImageList(normalised, [size]), list(features.values()))[0]  # (N, 4)
    offsets, logits = raw["bbox_regression"], raw["cls_logits"]
    if "bbox_ctrness" in raw:  # FCOS, whose box coder takes all images at once
        boxes = network.box_coder.decode(offsets, anchors.expand_as(offsets))
        scores = (logits.sigmoid() * raw["bbox_ctrness"].sigmoid()).sqrt()
    else:
        flat = network.box_coder.decode_single(offsets.reshape(-1, 4), anchors.repeat(len(images), 1))
        boxes = flat.reshape(offsets.shape)
        scores = logits.softmax(dim=-1)[..., 1:] if has_background(network) else logits.sigmoid()
    return {"boxes": clip_boxes_to_image(boxes, size), "scores": scores}


def feature_maps(network: Any, images: Tensor) -> dict[str, Tensor]:
    """Return the maps of the backbone by name, largest first."""
    features = network.backbone(images)
    return OrderedDict([("0", features)]) if isinstance(features, Tensor) else features


@contextmanager
def _asked_for_losses(network: Any) -> Iterator[None]:
    """Let the parts that decide between losses and detections see train mode; norms and dropout keep their own."""
    parts = [getattr(network, name, None) for name in ("transform", "rpn", "roi_heads")]
    deciding = [network, *(part for part in parts if part is not None)]
    before = [part.training for part in deciding]
    try:
        for part in deciding:
            part.training = True
        yield
    finally:
        for part, mode in zip(deciding, before, strict=True):
            part.training = mode


@contextmanager
def _same_samples() -> Iterator[None]:
    """Draw the same anchors and proposals every time: two widths are compared on equal terms."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
