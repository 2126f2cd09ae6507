"""Labelled pictures as networks of segmentation and detection take them, with random changes for training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from deploy_prune.datasets.coco import CocoImage
from deploy_prune.datasets.image_masks import VOID, MaskedImage
from deploy_prune.datasets.pixels import read_rgb, read_whole
from deploy_prune.errors import InputError

SMALLEST_SIDE = 2.0  # pixels that must be left of an object that was moved out of the picture
GREY = 114  # what moves in from outside


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training pictures; names and meanings are those of ``tasks.schedule.Schedule``.

    Attributes:
        scale: pictures are zoomed by a factor in 1 ± ``scale``.
        translate: and moved by up to this fraction of their size.
        fliplr: probability of a left-right mirror; zero where things are not their own mirror image (digits).
        hsv_h: change of hue, a fraction.
        hsv_s: change of saturation, a fraction.
        hsv_v: change of brightness, a fraction.
    """

    scale: float = 0.2
    translate: float = 0.1
    fliplr: float = 0.0
    hsv_h: float = 0.015
    hsv_s: float = 0.4
    hsv_v: float = 0.3

    def __post_init__(self) -> None:
        for name, most in (("scale", 0.99), ("translate", 1.0), ("fliplr", 1.0), ("hsv_h", 0.5), ("hsv_s", 1.0),
                           ("hsv_v", 1.0)):  # fmt: skip
            if not 0 <= getattr(self, name) <= most:
                raise InputError(f"{name} is {getattr(self, name)}; expected 0 to {most:g}")

    def transform(self, outside: int) -> Any:
        """Return torchvision's transform of pictures with their labels; masks get ``outside`` where nothing was."""
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        zoom, move = (1 - self.scale, 1 + self.scale), (self.translate, self.translate)
        fill = {tv_tensors.Image: GREY, tv_tensors.Mask: outside, "others": 0}
        return v2.Compose([
            v2.RandomAffine(0, move, zoom, interpolation=v2.InterpolationMode.BILINEAR, fill=fill),
            v2.RandomHorizontalFlip(self.fliplr),
            v2.ColorJitter(brightness=self.hsv_v, saturation=self.hsv_s, hue=self.hsv_h),
        ])  # fmt: skip


class MaskedImages(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a picture (3, S, S) in [0, 1] and its class numbers (S, S), both resized to the square.

    Args:
        pairs: the files.
        size: side S in pixels.
        augmentation: for training; None shows the pictures as they are.
    """

    def __init__(self, pairs: Sequence[MaskedImage], size: int, augmentation: Augmentation | None = None) -> None:
        self.pairs, self.size = pairs, size
        self.transform = augmentation.transform(VOID) if augmentation else None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        from torchvision import tv_tensors
        from torchvision.transforms.v2 import functional

        pair = self.pairs[index]
        image = tv_tensors.Image(_channels_first(read_rgb(pair.image)))
        mask = tv_tensors.Mask(torch.from_numpy(read_whole(pair.mask, indices=True).copy()))
        image, mask = (functional.resize(one, [self.size, self.size]) for one in (image, mask))
        if self.transform is not None:
            image, mask = self.transform(image, mask)
        return _to_unit(image), mask.as_subclass(Tensor).long()


class CocoImages(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Pairs of a picture (3, S, S) in [0, 1] and its objects, both resized to the square.

    The objects are ``boxes`` (k, 4) as (x0, y0, x1, y1) in pixels of the square, ``labels`` (k,), ``iscrowd`` (k,)
    and, with ``masks``, ``masks`` (k, S, S) of 0 and 1.

    Args:
        images: the files with their objects.
        size: side S in pixels.
        masks: whether masks are drawn.
        augmentation: for training; None shows the pictures as they are.
    """

    def __init__(
        self, images: Sequence[CocoImage], size: int, masks: bool, augmentation: Augmentation | None = None
    ) -> None:
        self.images, self.size, self.masks = images, size, masks
        self.transform = augmentation.transform(0) if augmentation else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        entry = self.images[index]
        objects = entry.objects
        boxes = torch.tensor([one.box for one in objects], dtype=torch.float32).reshape(-1, 4)
        target: dict[str, Any] = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(entry.height, entry.width)),
            "labels": torch.tensor([one.label for one in objects], dtype=torch.int64),
            "iscrowd": torch.tensor([one.crowd for one in objects], dtype=torch.int64),
        }
        if self.masks:
            drawn = [torch.from_numpy(entry.mask(one)) for one in objects]
            empty = torch.zeros(0, entry.height, entry.width, dtype=torch.bool)
            target["masks"] = tv_tensors.Mask((torch.stack(drawn) if drawn else empty).to(torch.uint8))
        image = tv_tensors.Image(_channels_first(read_rgb(entry.path)))
        image, target = v2.Resize([self.size, self.size])(image, target)
        if self.transform is not None:
            image, target = self.transform(image, target)
            image, target = v2.ClampBoundingBoxes()(image, target)
            visible = v2.SanitizeBoundingBoxes(SMALLEST_SIDE, labels_getter=_labels)  # takes their masks with them
            image, target = visible(image, target)
        return _to_unit(image), {name: value.as_subclass(Tensor) for name, value in target.items()}


def collate_targets(samples: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Return the images (n, 3, S, S) and the objects of each, which differ in number."""
    return torch.stack([image for image, _ in samples]), [target for _, target in samples]


def _labels(sample: tuple[Tensor, dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    return sample[1]["labels"], sample[1]["iscrowd"]


def _channels_first(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def _to_unit(image: Tensor) -> Tensor:
    return image.as_subclass(Tensor).float() / 255
