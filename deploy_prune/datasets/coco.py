"""Detection and instance segmentation in COCO's format.

    annotations/instances_train.json   and the pictures in train/ or images/train/
    annotations/instances_val.json     and the pictures in val/ or images/val/

The names may go on after the split, as COCO's own do: instances_train2017.json with train2017/.
Format: https://cocodataset.org/#format-data.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from deploy_prune.datasets.pixels import read_whole
from deploy_prune.datasets.sources import SPLITS
from deploy_prune.errors import InputError, MissingDependencyError

OUTSIDE = 1.0  # pixels that a box may lie outside of its picture, by rounding; it is cut there

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class CocoObject:
    """One annotation: class number from 0, box (x0, y0, x1, y1) in pixels, COCO's polygons or run lengths if any."""

    label: int
    box: Box
    crowd: bool
    segmentation: Any


@dataclass(frozen=True)
class CocoImage:
    """A picture with its objects; sizes in pixels."""

    path: Path
    width: int
    height: int
    objects: tuple[CocoObject, ...]

    def mask(self, one: CocoObject) -> NDArray[np.bool_]:
        """The pixels (H, W) of one of the picture's objects."""
        return _rasterise(one.segmentation, self.height, self.width)


@dataclass(frozen=True)
class CocoSet:
    """A data set: the names of its classes, and the pictures of each split by name."""

    classes: tuple[str, ...]
    splits: dict[str, tuple[CocoImage, ...]]


def read_coco(folder: Path, *, masks: bool = False) -> CocoSet:
    """Read and check the annotations of both splits in ``folder``.

    Args:
        folder: laid out as this module says.
        masks: whether each object needs its outline.

    Raises:
        InputError: the first thing that is wrong, with its file and entry.
    """
    parts = [_read_split(folder, split, masks) for split in SPLITS]
    (classes, _), (others, _) = parts
    if classes != others:
        raise InputError(
            f"the splits in {folder} have unlike categories: train {_summary(classes)}, val {_summary(others)}; "
            "expected the same ids and names in both files"
        )
    return CocoSet(tuple(classes.values()), {name: part[1] for name, part in zip(SPLITS, parts, strict=True)})


def check_coco_pictures(found: CocoSet, progress: Progress | None = None) -> None:
    """Decode every picture once, so that a damaged one is not found in the last hour of a training.

    Raises:
        InputError: a picture is damaged, or has another size than its json says; the first such is named.
    """
    pictures = [picture for split in SPLITS for picture in found.splits[split]]
    for picture in progress.track(pictures, description="check pictures") if progress else pictures:
        _check_picture(picture)


def _read_split(folder: Path, split: str, masks: bool) -> tuple[dict[int, str], tuple[CocoImage, ...]]:
    path, pictures = _find_split(folder, split)
    content = _read_json(path)
    categories = {
        _field(one, "id", int, f"{path}: categories[{i}]"): _field(one, "name", str, f"{path}: categories[{i}]")
        for i, one in enumerate(_field(content, "categories", list, str(path)))
    }
    if not categories:
        raise InputError(f"{path}: categories is empty; expected at least one, such as {{'id': 1, 'name': 'person'}}")
    categories = dict(sorted(categories.items()))
    images, objects = _read_images(content, path, pictures), _field(content, "annotations", list, str(path))
    if not images or not objects:
        missing = "images" if not images else "annotations"
        raise InputError(f"{path}: {missing} is empty; expected at least one, so that there is something to learn")
    labels = {number: label for label, number in enumerate(categories)}
    found: dict[int, list[CocoObject]] = {number: [] for number in images}
    for i, one in enumerate(objects):
        number, read = _read_object(one, f"{path}: annotations[{i}]", images, labels, masks)
        found[number].append(read)
    return categories, tuple(
        CocoImage(one.path, one.width, one.height, tuple(found[number])) for number, one in images.items()
    )


def _find_split(folder: Path, split: str) -> tuple[Path, Path]:
    """The split's json and the folder of its pictures."""
    pattern = f"instances_{split}*.json"
    files = sorted((folder / "annotations").glob(pattern))
    if len(files) != 1:
        got = ", ".join(path.name for path in files) or "none"
        raise InputError(f"{folder / 'annotations'} holds {got} for {pattern}; expected exactly one such file")
    name = files[0].stem.removeprefix("instances_")
    for pictures in (folder / name, folder / "images" / name):
        if pictures.is_dir():
            return files[0], pictures
    raise InputError(
        f"no folder holds the pictures of {files[0]}; expected {folder / name} or {folder / 'images' / name}"
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON, line {error.lineno}: {error.msg}; write it again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; expected COCO's json") from error


def _field(entry: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """An entry's value of a key, which has to be there and of this kind."""
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {type(entry).__name__}; expected an object of COCO's format")
    if key not in entry:
        raise InputError(f"{where} has no key {key!r}; expected COCO's format, with images, annotations and categories")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise InputError(f"{where}: {key} is {value!r:.60}; expected {names}")
    return value


def _read_images(content: Any, path: Path, pictures: Path) -> dict[int, CocoImage]:
    images: dict[int, CocoImage] = {}
    for i, one in enumerate(_field(content, "images", list, str(path))):
        where = f"{path}: images[{i}]"
        number, name = _field(one, "id", int, where), _field(one, "file_name", str, where)
        width, height = _field(one, "width", int, where), _field(one, "height", int, where)
        if number in images:
            raise InputError(f"{where}: the id {number} is used before; expected each once")
        if not (pictures / name).is_file():
            raise InputError(f"{where}: the picture {pictures / name} is not there; add it or take the entry away")
        images[number] = CocoImage(pictures / name, width, height, ())
    return images


def _read_object(
    entry: Any, where: str, images: dict[int, CocoImage], labels: dict[int, int], masks: bool
) -> tuple[int, CocoObject]:
    number, category = _field(entry, "image_id", int, where), _field(entry, "category_id", int, where)
    if number not in images:
        raise InputError(f"{where}: image_id {number} is no image's id; correct it or take the entry away")
    if category not in labels:
        raise InputError(f"{where}: category_id {category} is no category's id; expected one of {_some(list(labels))}")
    image = images[number]
    box = _check_box(_field(entry, "bbox", list, where), image, where)
    crowd = bool(entry.get("iscrowd", 0))
    outline = entry.get("segmentation")
    if masks and not crowd:
        _check_outline(outline, image, where)
    return number, CocoObject(labels[category], box, crowd, outline)


def _check_box(box: Sequence[Any], image: CocoImage, where: str) -> Box:
    """The corners, cut to the picture."""
    if len(box) != 4 or not all(isinstance(one, (int, float)) and math.isfinite(one) for one in box):
        raise InputError(f"{where}: bbox is {box!r:.60}; expected [x, y, width, height] in pixels")
    x, y, width, height = (float(one) for one in box)
    if width <= 0 or height <= 0:
        raise InputError(f"{where}: bbox {box} has no area; correct it or take the entry away")
    if min(x, y) < -OUTSIDE or x + width > image.width + OUTSIDE or y + height > image.height + OUTSIDE:
        size = f"{image.width} x {image.height} pixels"
        raise InputError(f"{where}: bbox {box} lies outside of {image.path.name}, {size}; correct it or take it away")
    return max(x, 0.0), max(y, 0.0), min(x + width, float(image.width)), min(y + height, float(image.height))


def _check_outline(outline: Any, image: CocoImage, where: str) -> None:
    if isinstance(outline, dict):
        if outline.get("size") != [image.height, image.width] or "counts" not in outline:
            raise InputError(f"{where}: the run lengths have size {outline.get('size')}; expected the picture's "
                             f"[height, width], {[image.height, image.width]}, and counts")  # fmt: skip
        return
    polygons = outline if isinstance(outline, list) else []
    if not polygons or not all(isinstance(one, list) and len(one) >= 6 and len(one) % 2 == 0 for one in polygons):
        raise InputError(
            f"{where}: segmentation is {outline!r:.60}; expected polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or run "
            "lengths"
        )


def _rasterise(outline: Any, height: int, width: int) -> NDArray[np.bool_]:
    try:
        from faster_coco_eval.core import mask
    except ImportError as error:
        raise MissingDependencyError(
            "COCO's outlines need faster-coco-eval; run: pip install 'deploy_prune[vision]'"
        ) from error
    if isinstance(outline, list) or isinstance(outline["counts"], list):
        encoded = mask.frPyObjects(outline, height, width)
        encoded = mask.merge(encoded) if isinstance(encoded, list) else encoded
    else:
        encoded = outline
    return np.asarray(mask.decode(encoded), dtype=np.bool_)


def _check_picture(picture: CocoImage) -> None:
    height, width = read_whole(picture.path).shape[:2]
    if (width, height) != (picture.width, picture.height):
        raise InputError(
            f"{picture.path} has {width} x {height} pixels, and its json says {picture.width} x {picture.height}; "
            "correct the one that is wrong"
        )


def _summary(categories: dict[int, str]) -> str:
    return _some([f"{number} {name}" for number, name in categories.items()])


def _some(values: Sequence[object]) -> str:
    """The first few of many values."""
    return ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
