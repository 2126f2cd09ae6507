"""Semantic segmentation by torchvision's networks: a class per pixel."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from deploy_prune.artifact.usage import Label, Postprocessing, Preprocessing
from deploy_prune.datasets.image_masks import VOID, ImageMasks, check_image_masks, list_image_masks
from deploy_prune.tasks.dense import DenseTask
from deploy_prune.tasks.dense_data import MaskedImages
from deploy_prune.tasks.dense_metrics import mean_iou
from deploy_prune.tasks.predict import Predict
from deploy_prune.tasks.segmenter import Segmenter
from deploy_prune.tasks.usage import Usage, UsageSample, spread

AUXILIARY = 0.5  # weight of the auxiliary head's loss, as in torchvision's own training of these networks
PER_BATCH = 16  # pictures judged at once


@dataclass(frozen=True)
class SemanticTask(DenseTask):
    """DeepLabV3, FCN or LR-ASPP on a folder laid out as ``datasets.image_masks`` says; attributes as in DenseTask."""

    name: str = field(default="semantic", init=False)
    metric_name: str = field(default="mIoU", init=False)
    families: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("deeplabv3_resnet101", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
        ("fcn_resnet101", "fcn_resnet50", "lraspp_mobilenet_v3_large"),
    )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names in classes.txt, from 0."""
        return self._found.classes

    def network_named(self, name: str) -> Segmenter:
        """Return the network, with an auxiliary head where its kind has one."""
        import torchvision

        auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
        network = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=len(self.classes), **auxiliary
        )
        return Segmenter(network, self.classes)

    def samples(self, split: str, augmented: bool) -> MaskedImages:
        """Return pictures with their class numbers."""
        found = self._found.splits[split]
        return MaskedImages(found, self.image_size, self.augmentation if augmented else None)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the cross-entropy per pixel; in train mode half of the auxiliary head's is added."""
        images, labels = batch
        return _cross_entropy(model(images), labels)

    def distilled_loss(self, model: nn.Module, teacher: nn.Module, batch: Any) -> Tensor:
        """Return the cross-entropy mixed with the divergence from the teacher, mean over the pixels."""
        images, labels = batch
        output = model(images)
        with torch.no_grad():
            taught = teacher(images)
        own = output["out"] if isinstance(output, dict) else output
        return self.distillation.mixed(_cross_entropy(output, labels), own, taught)

    def score(self, predict: Predict) -> float:
        """Return the mean over classes of intersection over union."""

        def pairs() -> Iterator[tuple[Tensor, Tensor]]:
            data = self.samples("val", False)
            for images, labels in DataLoader(data, PER_BATCH, num_workers=self.training.workers):
                yield predict(images).argmax(dim=1), labels

        return mean_iou(pairs(), len(self.classes), VOID)

    def usage(self, n: int) -> Usage:
        """Return how pictures become logits per pixel, and validation pictures with their masks."""
        pictures = self.samples("val", False)
        chosen = [(pictures.pairs[i], pictures[i][0][None]) for i in spread(len(pictures), n)]
        samples = tuple(UsageSample(inputs, pair.image, Label(kind="class_map"), pair.mask) for pair, inputs in chosen)
        preprocessing = Preprocessing(kind="stretch", size=self.image_size)
        return Usage(self.classes, preprocessing, Postprocessing(kind="class_map"), samples)

    def check_data(self, progress: Progress | None) -> None:
        """Decode every picture and mask."""
        check_image_masks(self._found, progress)

    def about(self) -> Any:
        """Return what decides the training beside settings and weights."""
        names = [pair.image.relative_to(self.data).as_posix() for pair in self._found.splits["train"]]
        return [names, self.image_size, asdict(self.augmentation)]

    @cached_property
    def _found(self) -> ImageMasks:
        return list_image_masks(self.data)


def _cross_entropy(output: Tensor | dict[str, Tensor], labels: Tensor) -> Tensor:
    if isinstance(output, Tensor):
        return F.cross_entropy(output, labels, ignore_index=VOID)
    auxiliary = F.cross_entropy(output["aux"], labels, ignore_index=VOID)
    return F.cross_entropy(output["out"], labels, ignore_index=VOID) + AUXILIARY * auxiliary
