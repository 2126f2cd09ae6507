"""Detection and instance segmentation by torchvision's networks: boxes, or boxes with masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from deploy_prune.datasets.coco import CocoSet, read_coco
from deploy_prune.errors import InputError
from deploy_prune.tasks.dense_data import Augmentation, CocoImages, collate_targets
from deploy_prune.tasks.dense_metrics import Found, mean_average_precision
from deploy_prune.tasks.detector import Detector, has_background
from deploy_prune.tasks.purpose import Predict
from deploy_prune.tasks.selection import select_detections

PER_BATCH = 8  # images judged at once

_BOXES = (
    ("fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn",
     "fasterrcnn_mobilenet_v3_large_320_fpn"),
    ("retinanet_resnet50_fpn_v2", "retinanet_resnet50_fpn"),
    ("fcos_resnet50_fpn",),
    ("ssd300_vgg16", "ssdlite320_mobilenet_v3_large"),
)  # fmt: skip
_MASKS = (("maskrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn"),)


@dataclass(frozen=True)
class Detection:
    """The purpose of detectors, with ``masks`` of those that draw them; methods as in ``tasks.purpose.Purpose``."""

    masks: bool = False

    @property
    def name(self) -> str:
        """The task in one word, the same as for YOLO networks."""
        return "segment" if self.masks else "detect"

    @property
    def metric_name(self) -> str:
        """COCO's score of masks or boxes; the first is named as Ultralytics' is here."""
        return "mask mAP50-95" if self.masks else "mAP50-95"

    @property
    def families(self) -> tuple[tuple[str, ...], ...]:
        """The detectors."""
        return _MASKS if self.masks else _BOXES

    def read(self, folder: Path, progress: Progress | None) -> CocoSet:
        """Look through pictures and annotations."""
        return read_coco(folder, masks=self.masks, progress=progress)

    def dataset(self, samples: Sequence[Any], size: int, augmentation: Augmentation | None) -> CocoImages:
        """Return pictures with their objects."""
        return CocoImages(samples, size, self.masks, augmentation)

    def collate(self, samples: list[Any]) -> Any:
        """Return images (n, 3, S, S) and each one's objects."""
        return collate_targets(samples)

    def build(self, name: str, classes: int) -> nn.Module:
        """Return the detector; it does not resize its images."""
        import torchvision

        background = 0 if name.startswith(("retinanet", "fcos")) else 1
        network: nn.Module = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=classes + background, _skip_resize=True
        )
        assert has_background(network) == bool(background)
        return network

    def wrap(self, network: nn.Module) -> Detector:
        """Return the detector with outputs of fixed shape."""
        return Detector(network)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the sum of the detector's own losses; crowds are left out, as they are no one object."""
        images, targets = batch
        single = [{name: values[target["iscrowd"] == 0] for name, values in target.items()} for target in targets]
        losses = model(images, single)
        return torch.stack(list(losses.values())).sum()

    def distilled_loss(self, model: nn.Module, teacher: nn.Module, batch: Any) -> Tensor:
        """There is none."""
        raise InputError("torchvision's detectors cannot be distilled here; set finetune.distil to false")

    def score(self, predict: Predict, data: Dataset[Any], classes: int) -> float:
        """Return COCO's mAP50-95."""

        def pairs() -> Iterator[tuple[Found, Found]]:
            for images, targets in DataLoader(data, PER_BATCH, collate_fn=collate_targets):
                output = predict(images)
                for i, target in enumerate(targets):
                    yield self._detections([one[i] for one in output], images.shape[-1]), _as_boolean(target)

        kind: Literal["bbox", "segm"] = "segm" if self.masks else "bbox"
        return mean_average_precision(pairs(), kind)

    def _detections(self, output: list[Tensor], size: int) -> dict[str, Tensor]:
        """One image's detections, their masks drawn in the image."""
        found = select_detections(*output)
        if not self.masks:
            return found
        from torchvision.models.detection.roi_heads import paste_masks_in_image

        drawn = paste_masks_in_image(found["masks"][:, None], found["boxes"], (size, size))
        return found | {"masks": drawn[:, 0] > 0.5}


def _as_boolean(target: dict[str, Tensor]) -> dict[str, Tensor]:
    return target | {"masks": target["masks"].bool()} if "masks" in target else target
