"""Semantic segmentation by torchvision's networks: a class per pixel."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, default_collate

from deploy_prune.datasets.image_masks import VOID, ImageMasks, read_image_masks
from deploy_prune.tasks.dense_data import Augmentation, MaskedImages
from deploy_prune.tasks.dense_metrics import mean_iou
from deploy_prune.tasks.purpose import Predict
from deploy_prune.tasks.segmenter import Segmenter

AUXILIARY = 0.5  # weight of the auxiliary head's loss, as in torchvision's own training of these networks
TEMPERATURE = 2.0  # softens both outputs before they are compared
TEACHER = 0.5  # share of the distance to the teacher in the loss
PER_BATCH = 16  # images judged at once


class Semantic:
    """The purpose of DeepLabV3, FCN and LR-ASPP; methods as in ``tasks.purpose.Purpose``."""

    name = "semantic"
    metric_name = "mIoU"
    families = (
        ("deeplabv3_resnet101", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
        ("fcn_resnet101", "fcn_resnet50", "lraspp_mobilenet_v3_large"),
    )

    def read(self, folder: Path, progress: Progress | None) -> ImageMasks:
        """Look through pictures and masks."""
        return read_image_masks(folder, progress)

    def dataset(self, samples: Sequence[Any], size: int, augmentation: Augmentation | None) -> MaskedImages:
        """Return pictures with their class numbers."""
        return MaskedImages(samples, size, augmentation)

    def collate(self, samples: list[Any]) -> Any:
        """Return images (n, 3, S, S) and class numbers (n, S, S)."""
        return default_collate(samples)

    def build(self, name: str, classes: int) -> nn.Module:
        """Return the network, with an auxiliary head where its kind has one."""
        import torchvision

        auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
        network: nn.Module = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=classes, **auxiliary
        )
        return network

    def wrap(self, network: nn.Module) -> Segmenter:
        """Return the network with normalisation and upsampling."""
        return Segmenter(network)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the cross entropy per pixel; in train mode half of the auxiliary head's is added."""
        images, labels = batch
        return _cross_entropy(model(images), labels)

    def distilled_loss(self, model: nn.Module, teacher: nn.Module, batch: Any) -> Tensor:
        """Return half the cross entropy and half the distance to the teacher's soft labels (Hinton et al. 2015)."""
        images, labels = batch
        output = model(images)
        with torch.no_grad():
            soft = (teacher(images) / TEMPERATURE).log_softmax(dim=1)
        own = (output["out"] if isinstance(output, dict) else output) / TEMPERATURE
        distance = F.kl_div(own.log_softmax(dim=1), soft, reduction="none", log_target=True).sum(dim=1).mean()
        return (1 - TEACHER) * _cross_entropy(output, labels) + TEACHER * TEMPERATURE**2 * distance

    def score(self, predict: Predict, data: Dataset[Any], classes: int) -> float:
        """Return the mean over classes of intersection over union."""

        def pairs() -> Iterator[tuple[Tensor, Tensor]]:
            for images, labels in DataLoader(data, PER_BATCH):
                yield predict(images)[0].argmax(dim=1), labels

        return mean_iou(pairs(), classes, VOID)


def _cross_entropy(output: Tensor | dict[str, Tensor], labels: Tensor) -> Tensor:
    if isinstance(output, Tensor):
        return F.cross_entropy(output, labels, ignore_index=VOID)
    auxiliary = F.cross_entropy(output["aux"], labels, ignore_index=VOID)
    return F.cross_entropy(output["out"], labels, ignore_index=VOID) + AUXILIARY * auxiliary
