"""Semantic segmentation as two trees of folders: pictures, and masks whose pixels are class numbers.

    images/train/a.jpg   masks/train/a.png
    images/val/b.jpg     masks/val/b.png
    classes.txt          the name of each class, one a line, from number 0

A mask is a grey or palette PNG of its picture's size. Pixels of value 255 belong to no class and do not count.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from deploy_prune.datasets.pixels import list_pictures, read_whole
from deploy_prune.datasets.sources import SPLITS
from deploy_prune.errors import InputError

VOID = 255


@dataclass(frozen=True)
class MaskedImage:
    """A picture and its mask."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class ImageMasks:
    """A data set: the names of its classes, and the pairs of each split by name."""

    classes: tuple[str, ...]
    splits: dict[str, tuple[MaskedImage, ...]]


def list_image_masks(folder: Path) -> ImageMasks:
    """Find the pairs in ``folder``.

    Raises:
        InputError: a file is missing; it is named.
    """
    classes = _read_classes(folder / "classes.txt")
    return ImageMasks(classes, {split: _pair(folder, split) for split in SPLITS})


def check_image_masks(found: ImageMasks, progress: Progress | None = None) -> None:
    """Decode every file once, so that a damaged one is not found in the last hour of a training.

    Raises:
        InputError: a file is damaged, or does not fit its partner or the classes; the first such is named.
    """
    pairs = [pair for split in SPLITS for pair in found.splits[split]]
    for pair in progress.track(pairs, description="check pictures") if progress else pairs:
        _check_pair(pair, len(found.classes))


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); expected the name of each class, one a line, from number 0"
        ) from error
    if not 2 <= len(names) <= VOID:
        raise InputError(f"{path} names {len(names)} classes; expected 2 to {VOID}, the background among them")
    return names


def _pair(folder: Path, split: str) -> tuple[MaskedImage, ...]:
    images, masks = folder / "images" / split, folder / "masks" / split
    found = list_pictures(images)
    if not found:
        raise InputError(f"no picture lies in {images}; expected files such as a.jpg, with {masks / 'a.png'}")
    pairs = tuple(MaskedImage(path, masks / f"{path.stem}.png") for path in found)
    for before, pair in zip((None, *pairs), pairs, strict=False):
        if not pair.mask.is_file():
            raise InputError(f"{pair.image} has no mask; expected {pair.mask}")
        if before is not None and before.mask == pair.mask:
            raise InputError(f"{before.image} and {pair.image} would share {pair.mask}; rename one of them")
    lonely = set(list_pictures(masks)) - {pair.mask for pair in pairs}
    if lonely:
        raise InputError(f"{min(lonely)} has no picture; expected one of this name in {images}")
    return pairs


def _check_pair(pair: MaskedImage, classes: int) -> None:
    image, mask = read_whole(pair.image), read_whole(pair.mask, indices=True)
    if image.shape[:2] != mask.shape:
        sizes = f"{mask.shape[1]} x {mask.shape[0]} pixels and its picture {image.shape[1]} x {image.shape[0]}"
        raise InputError(f"{pair.mask} has {sizes}; expected the same size")
    largest = int(np.max(mask, initial=0, where=mask != VOID))
    if largest >= classes:
        raise InputError(
            f"{pair.mask} holds the class {largest}, but classes.txt names {classes}; "
            f"expected 0 to {classes - 1}, or {VOID} for pixels that do not count"
        )
