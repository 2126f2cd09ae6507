"""What the scenes are made of: scikit-learn's digits, and photographs in the wheels of it and scikit-image.

The split into train and val is fixed, whatever the seed: no data set of this package trains on a digit or a
piece of photograph that another one validates on.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy_prune.datasets.pixels import read_rgb
from deploy_prune.errors import MissingDependencyError

SPLITS = ("train", "val")
CLASSES = tuple(str(digit) for digit in range(10))

# Photographs that the wheels of scikit-image (0.22 and 0.26 looked at) and scikit-learn hold; no download.
SKIMAGE_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
SKLEARN_PHOTOS = ("china.jpg", "flower.jpg")

TRAIN_SHARE_OF_DIGITS = 0.8
TRAIN_SHARE_OF_PHOTO = 0.65  # of its width; leaves val 158 px of the narrowest photo, chelsea


@dataclass(frozen=True)
class Digit:
    """One handwritten digit: ``index`` among scikit-learn's 1,797, its class, its ink (8, 8) in 0..1."""

    index: int
    label: int
    ink: NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """The part ``image`` (H, W, 3) of a photograph that one split may use; it begins at column ``left``."""

    photo: str
    left: int
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """All that one split may draw from."""

    split: str
    digits: tuple[Digit, ...]
    regions: tuple[Region, ...]

    @cached_property
    def by_class(self) -> tuple[tuple[Digit, ...], ...]:
        """The digits of each class."""
        return tuple(tuple(one for one in self.digits if one.label == label) for label in range(len(CLASSES)))

    @cached_property
    def in_turn(self) -> tuple[Digit, ...]:
        """All digits, the classes taking turns for as long as each has one left."""
        return tuple(digit for turn in zip_longest(*self.by_class) for digit in turn if digit is not None)


@lru_cache(maxsize=1)
def load_sources() -> dict[str, Source]:
    """The source of each split, by name.

    Raises:
        MissingDependencyError: scikit-learn or scikit-image is missing, or lacks its photographs.
    """
    digits, photos = _load_digits(), _load_photos()
    # A cut, no shuffle: neighbours in the file are often one writer's, and stay on one side of it.
    cut = round(TRAIN_SHARE_OF_DIGITS * len(digits))
    regions: dict[str, list[Region]] = {split: [] for split in SPLITS}
    for name, image in photos.items():
        column = round(TRAIN_SHARE_OF_PHOTO * image.shape[1])
        regions["train"].append(Region(name, 0, image[:, :column]))
        regions["val"].append(Region(name, column, image[:, column:]))
    parts = {"train": digits[:cut], "val": digits[cut:]}
    return {split: Source(split, parts[split], tuple(regions[split])) for split in SPLITS}


def _load_digits() -> tuple[Digit, ...]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise _missing("scikit-learn is not installed") from error
    ink, labels = load_digits(return_X_y=True)
    ink = (ink.reshape(-1, 8, 8) / 16).astype(np.float32)
    return tuple(Digit(i, int(label), ink[i]) for i, label in enumerate(labels))


def _load_photos() -> dict[str, NDArray[np.uint8]]:
    try:
        import skimage
        import sklearn
    except ImportError as error:
        raise _missing("scikit-image or scikit-learn is not installed") from error
    # The files, not skimage.data.astronaut(): that function goes to the network when a file is not there.
    skimage_folder = Path(skimage.__file__).parent / "data"
    sklearn_folder = Path(sklearn.__file__).parent / "datasets" / "images"
    paths = [skimage_folder / name for name in SKIMAGE_PHOTOS] + [sklearn_folder / name for name in SKLEARN_PHOTOS]
    for path in paths:
        if not path.is_file():
            raise _missing(f"the photograph {path} is not there")
    return {path.stem: read_rgb(path) for path in paths}


def _missing(what: str) -> MissingDependencyError:
    return MissingDependencyError(f"the embedded digits need them, but {what}: pip install 'deploy_prune[data]'")
