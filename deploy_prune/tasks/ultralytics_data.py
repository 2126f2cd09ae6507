"""A data set in Ultralytics' format: opened, and its training images in batches."""

from pathlib import Path
from typing import Any

import torch

from deploy_prune.errors import InputError
from deploy_prune.tasks import ultralytics_api as api

VAL_FOLDERS = ("val", "validation", "valid")  # the names that Ultralytics knows


def open_data(task: str, path: Path) -> dict[str, Any]:
    """Return a data set as Ultralytics reads it: train, val, names, nc and more.

    Args:
        task: one of ``KINDS``.
        path: its ``.yaml`` file; for classification the folder with ``train/CLASS/`` and ``val/CLASS/``.

    Raises:
        InputError: there is no such file or folder, or it does not describe images that exist.
    """
    if task == "classify":
        _require_folders(path)
    elif not path.is_file():
        raise InputError(f"no such data file: {path}; expected a YAML file with train, val and names")
    data = api.read_data(task, path)
    if task == "pose" and "kpt_shape" not in data:
        raise InputError(f"{path} has no kpt_shape; add how many keypoints of how many values, as kpt_shape: [17, 3]")
    return data


def _require_folders(path: Path) -> None:
    """Look before Ultralytics does: it would download what is missing, or copy one folder into two parts."""
    if not path.is_dir():
        raise InputError(f"no such data folder: {path}; expected one with train/CLASS/ and val/CLASS/ of images")
    for split, names in (("train", ("train",)), ("val", VAL_FOLDERS)):
        folders = [path / name for name in names if (path / name).is_dir()]
        if not any(part.is_dir() for folder in folders for part in folder.iterdir()):
            raise InputError(f"{path} has no {split}/CLASS/; expected a folder there with the images of each class")


def training_batches(task: str, path: Path, image_size: int, n: int, size: int) -> list[dict[str, Any]]:
    """Return ``n`` training images of a data set, spread evenly over it, with labels, as a network's loss takes them.

    Each batch has ``size`` of them, the last one perhaps fewer; ``img`` is RGB in [0, 1].

    Raises:
        InputError: there are no ``n`` images.
    """
    images: Any = api.labelled_images(task, open_data(task, path), image_size)
    if not 1 <= n <= len(images):
        raise InputError(f"asked for {n} training images; {path} has {len(images)}")
    chosen = [images[k * len(images) // n] for k in range(n)]
    collate = getattr(images, "collate_fn", torch.utils.data.default_collate)
    batches = []
    for first in range(0, n, size):
        batch: dict[str, Any] = collate([dict(one) for one in chosen[first : first + size]])
        pixels = batch["img"]  # bytes; those of classification are in [0, 1] already
        batches.append(batch | {"img": pixels if pixels.is_floating_point() else pixels.float() / 255})
    return batches
