"""Detection and instance segmentation by torchvision's networks: boxes, or boxes with masks."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader

from deploy_prune.artifact.usage import Label, LabelledObject, Postprocessing, Preprocessing, Selection
from deploy_prune.datasets.coco import CocoImage, CocoSet, check_coco_pictures, read_coco
from deploy_prune.tasks.dense import DenseTask
from deploy_prune.tasks.dense_data import CocoImages, collate_targets
from deploy_prune.tasks.dense_metrics import Found, mean_average_precision
from deploy_prune.tasks.detector import Detector
from deploy_prune.tasks.predict import Predict
from deploy_prune.tasks.selection import CANDIDATES, DETECTIONS, OVERLAP, SCORE, select_detections
from deploy_prune.tasks.usage import Usage, UsageSample, spread

PER_BATCH = 8  # pictures judged at once
SCORING = Selection(score=SCORE, overlap=OVERLAP, candidates=CANDIDATES, most=DETECTIONS, every_class=True)
ANSWERS = SCORING.model_copy(update={"score": 0.25})  # what a user wants to see; Ultralytics' default too
MASK_LEVEL = 0.5  # probability from which a pixel belongs to an object


class _DetectorTask(DenseTask):
    """What boxes and masks share; which of them it is, ``drawn`` says."""

    drawn: ClassVar[bool] = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the json's categories, in the order of their ids."""
        return self._found.classes

    def network_named(self, name: str) -> Detector:
        """Return the detector; it does not resize its images."""
        import torchvision

        background = 0 if name.startswith(("retinanet", "fcos")) else 1
        network = torchvision.models.get_model(
            name,
            weights=None,
            weights_backbone=None,
            num_classes=len(self.classes) + background,
            _skip_resize=True,
        )
        return Detector(network, self.classes)

    def samples(self, split: str, augmented: bool) -> CocoImages:
        """Return pictures with their objects."""
        found = self._found.splits[split]
        return CocoImages(found, self.image_size, self.drawn, self.augmentation if augmented else None)

    def collate(self, samples: list[Any]) -> Any:
        """Return images (n, 3, S, S) and each one's objects."""
        return collate_targets(samples)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the sum of the detector's own losses; crowds are left out, as they are no one object."""
        images, targets = batch
        single = [{name: values[target["iscrowd"] == 0] for name, values in target.items()} for target in targets]
        return torch.stack(list(model(images, single).values())).sum()

    def score(self, predict: Predict) -> float:
        """Return COCO's mAP50-95, of masks where there are some."""

        def pairs() -> Iterator[tuple[Found, Found]]:
            data = self.samples("val", False)
            workers = self.training.workers
            for images, targets in DataLoader(data, PER_BATCH, num_workers=workers, collate_fn=collate_targets):
                output = predict(images)
                for i, target in enumerate(targets):
                    found = select_detections(*(tensor[i] for tensor in output))
                    yield self._paste(found), self._as_true(target)

        kind: Literal["bbox", "segm"] = "segm" if self.drawn else "bbox"
        return mean_average_precision(pairs(), kind)

    def usage(self, n: int) -> Usage:
        """Return how pictures become boxes or boxes with masks, and validation pictures with theirs."""
        pictures = self.samples("val", False)
        samples = tuple(self._as_sample(pictures.images[i], pictures[i][0][None]) for i in spread(len(pictures), n))
        kind = "boxes_with_masks" if self.drawn else "boxes"
        found = Postprocessing(kind=kind, selection=ANSWERS, scoring=SCORING)
        return Usage(self.classes, Preprocessing(kind="stretch", size=self.image_size), found, samples)

    def check_data(self, progress: Progress | None) -> None:
        """Decode every picture."""
        check_coco_pictures(self._found, progress)

    def about(self) -> Any:
        """Return what decides the training beside settings and weights."""
        names = [one.path.relative_to(self.data).as_posix() for one in self._found.splits["train"]]
        objects = [[(one.label, one.box) for one in image.objects] for image in self._found.splits["train"]]
        return [names, objects, self.image_size, asdict(self.augmentation)]

    def _paste(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw the masks, which come as 28 x 28 probabilities within each box, in the image."""
        if not self.drawn:
            return found
        from torchvision.models.detection.roi_heads import paste_masks_in_image

        pasted = paste_masks_in_image(found["masks"][:, None], found["boxes"], (self.image_size, self.image_size))
        return found | {"masks": pasted[:, 0] > MASK_LEVEL}

    def _as_true(self, target: dict[str, Tensor]) -> dict[str, Tensor]:
        return target | {"masks": target["masks"].bool()} if self.drawn else target

    def _as_sample(self, image: CocoImage, inputs: Tensor) -> UsageSample:
        objects = tuple(LabelledObject(class_number=one.label, box=one.box, crowd=one.crowd) for one in image.objects)
        masks = None
        if self.drawn:
            drawn = [image.mask(one) for one in image.objects]
            masks = np.array(drawn, bool).reshape(-1, image.height, image.width)
        return UsageSample(inputs, image.path, Label(kind="objects", objects=objects), masks=masks)

    @cached_property
    def _found(self) -> CocoSet:
        return read_coco(self.data, masks=self.drawn)


@dataclass(frozen=True)
class DetectionTask(_DetectorTask):
    """Boxes, on a folder laid out as ``datasets.coco`` says; attributes as in DenseTask."""

    name: str = field(default="detect", init=False)
    metric_name: str = field(default="mAP50-95", init=False)
    families: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "fasterrcnn_resnet50_fpn_v2",
            "fasterrcnn_resnet50_fpn",
            "fasterrcnn_mobilenet_v3_large_fpn",
            "fasterrcnn_mobilenet_v3_large_320_fpn",
        ),
        ("retinanet_resnet50_fpn_v2", "retinanet_resnet50_fpn"),
        ("fcos_resnet50_fpn",),
        ("ssd300_vgg16", "ssdlite320_mobilenet_v3_large"),
    )


@dataclass(frozen=True)
class InstanceTask(_DetectorTask):
    """Boxes with masks, on a folder laid out as ``datasets.coco`` says; attributes as in DenseTask."""

    name: str = field(default="segment", init=False)
    metric_name: str = field(default="mask mAP50-95", init=False)
    families: ClassVar[tuple[tuple[str, ...], ...]] = (("maskrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn"),)
    drawn: ClassVar[bool] = True
