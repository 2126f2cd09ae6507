"""The user's pictures for classification: ``FOLDER/train/CLASS/picture`` and ``FOLDER/val/CLASS/picture``."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from deploy_prune.datasets.pixels import SUFFIXES, read_whole
from deploy_prune.datasets.sources import SPLITS
from deploy_prune.errors import InputError


@dataclass(frozen=True)
class ImageFolder:
    """Names of the classes in order, and per split the pictures with the number of their class."""

    folder: Path
    classes: tuple[str, ...]
    train: tuple[tuple[Path, int], ...]
    val: tuple[tuple[Path, int], ...]


def list_image_folder(folder: Path) -> ImageFolder:
    """List the pictures of both splits; classes are the folders' names in sorted order.

    Raises:
        InputError: a folder is missing, a split or a class has no pictures, or the splits differ in their classes.
    """
    found = {split: _list_split(folder / split) for split in SPLITS}
    classes = tuple(found["train"])
    for name in sorted({*found["train"], *found["val"]}):
        for split, other in (("train", "val"), ("val", "train")):
            if name not in found[split]:
                raise InputError(
                    f"{folder / other} has a class {name!r} and {folder / split} has none of that name; "
                    "make the same class folders in both"
                )
    if len(classes) < 2:
        raise InputError(f"{folder / 'train'} has one class, {classes[0]!r}; expected two or more folders of pictures")
    train, val = (tuple((path, n) for n, name in enumerate(classes) for path in found[s][name]) for s in SPLITS)
    return ImageFolder(folder, classes, train, val)


def check_pictures(found: ImageFolder, progress: Progress | None = None) -> None:
    """Decode every picture once, so that a damaged one is not found in the last hour of a training.

    Raises:
        InputError: a picture cannot be decoded to its last pixel; the first such is named.
    """
    paths = [path for path, _ in (*found.train, *found.val)]
    row = progress.add_task("check pictures", total=len(paths)) if progress else None
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for fault in pool.map(_fault, paths):
            if fault is not None:
                pool.shutdown(cancel_futures=True)
                raise InputError(fault)
            if progress is not None and row is not None:
                progress.advance(row)
    if progress is not None and row is not None:
        progress.remove_task(row)


def _list_split(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class of one split."""
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; expected {folder}/CLASS/picture.jpg for each class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise InputError(f"{folder} is empty: it has no class folders; expected {folder}/CLASS/picture.jpg")
    found = {path.name: sorted(one for one in path.rglob("*") if _is_picture(one)) for path in classes}
    for name, pictures in found.items():
        if not pictures:
            raise InputError(f"{folder / name} has no pictures; expected files such as .jpg or .png")
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _fault(path: Path) -> str | None:
    """What is wrong with a picture, None if nothing."""
    try:
        read_whole(path)
    except InputError as error:
        return str(error)
    return None
