"""Faults of a data set, found before hours are spent: Ultralytics leaves out what it cannot read, without a word."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from deploy_prune.datasets.pixels import find_damage
from deploy_prune.errors import InputError
from deploy_prune.tasks import ultralytics_api as api
from deploy_prune.tasks.label_lines import LabelFormat

SPLITS = ("train", "val")
THREADS = 8  # a disk, more so one across a network, answers several questions in the time of one


@dataclass(frozen=True)
class Look:
    """What was seen of an image and its labels: a fault, and whether there are labels and objects in them."""

    fault: str | None
    labelled: bool = True
    objects: bool = True


def check_data(task: str, data: Mapping[str, Any], source: Path, progress: Progress | None = None) -> None:
    """Look at every label file, and at the head and the end of every image of a data set.

    Args:
        task: one of ``KINDS``.
        data: what ``open_data`` returned.
        source: what the user named: the ``.yaml`` file, or the folder.
        progress: where the bar is shown; without it there is none.

    Raises:
        InputError: with the first fault, its file and line, and how many more files have one.
    """
    labels = None if task == "classify" else LabelFormat(task, data["nc"], tuple(data.get("kpt_shape", (0, 0))))
    for split in SPLITS:
        images = api.image_files(data[split]) if labels else _images_by_class(data, split)
        if not images:
            raise InputError(f"{source}: no images found in {data[split]}, the {split} split; expected .jpg, .png ...")
        files = api.label_files(images)
        looks = list(_look_at_all(images, files, labels, f"check {split} images", progress))
        faults = [look.fault for look in looks if look.fault]
        if faults:
            others = f"; {len(faults) - 1} more of {len(looks)} images have faults" if len(faults) > 1 else ""
            raise InputError(f"{faults[0]}{others}")
        if not any(look.labelled for look in looks):
            raise InputError(f"{source}: no {split} image has a label file; that of {images[0]} would be {files[0]}")
        if labels and not any(look.objects for look in looks):
            wanted = f"expected a line per object of {labels.expected} columns"
            raise InputError(f"{source}: all label files of the {split} split are empty, as {files[0]}; {wanted}")


def _look_at_all(
    images: Sequence[str], files: Sequence[str], labels: LabelFormat | None, title: str, progress: Progress | None
) -> Iterator[Look]:
    with ThreadPoolExecutor(THREADS) as pool:
        looks = pool.map(lambda image, file: _look(Path(image), Path(file), labels), images, files)
        yield from progress.track(looks, len(images), description=title) if progress else looks


def _look(image: Path, file: Path, labels: LabelFormat | None) -> Look:
    if damage := find_damage(image):
        return Look(f"{image}: {damage}; replace it or take it out of the data set")
    if labels is None:
        return Look(None)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:  # a picture without objects, where others have some
        return Look(None, labelled=False, objects=False)
    except (OSError, UnicodeDecodeError) as error:
        return Look(f"{file}: cannot be read as text ({error}); write it anew")
    fault = labels.find_fault(text)
    return Look(f"{file}, {fault}" if fault else None, objects=bool(text.strip()))


def _images_by_class(data: Mapping[str, Any], split: str) -> tuple[str, ...]:
    """The images of a split; raise InputError unless its class folders are those of the classes."""
    folder, classes = Path(data[split]), sorted(data["names"].values())
    images: list[str] = []
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        if part.name not in classes:
            raise InputError(f"{part} is no class: {data['train']} has folders for {', '.join(classes[:10])} alone")
        found = api.image_files(part)
        if not found and split == "train":
            raise InputError(f"{part} holds no images; expected those of the class, as .jpg, .png ...")
        images += found
    return tuple(images)
