"""torchvision's semantic segmentation networks, from pictures in [0, 1] to class logits per pixel."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green and blue: what torchvision's weights, and those of its backbones, were trained with."""


class Segmenter(nn.Module):
    """A network of torchvision and what belongs around it: normalisation before, upsampling after.

    Images (n, 3, H, W) give logits (n, classes, H, W). In train mode a network with an auxiliary head gives a dict
    of both heads' logits, ``out`` and ``aux``; in eval mode the auxiliary head does not run and costs nothing.

    Args:
        network: DeepLabV3, FCN or LR-ASPP as torchvision builds them.
        classes: names in the order of the logits.
    """

    def __init__(self, network: nn.Module, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.network: Any = network
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.takes_all_features = "LRASPP" in type(network).__name__

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the logits, see the class."""
        network, size = self.network, images.shape[-2:]
        features = network.backbone((images - self.get_buffer("mean")) / self.get_buffer("std"))
        logits = network.classifier(features if self.takes_all_features else features["out"])
        out = _upsample(logits, size)
        auxiliary = getattr(network, "aux_classifier", None)
        if auxiliary is None or not self.training:
            return out
        return {"out": out, "aux": _upsample(auxiliary(features["aux"]), size)}


def _upsample(logits: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
