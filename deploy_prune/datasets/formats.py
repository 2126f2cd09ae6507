"""One writer per format: an item's number -> its files in the data set's folder."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from deploy_prune.datasets.keypoints import MIRRORED, NAMES, extreme_points
from deploy_prune.datasets.pixels import resize, save_jpeg, save_png
from deploy_prune.datasets.polygon import outline, turned_box
from deploy_prune.datasets.scene import (
    EASY,
    HARD,
    LARGE,
    MEDIUM,
    Background,
    Difficulty,
    Instance,
    Scene,
    compose_scene,
    crowd,
    portrait,
    turned_crowd,
)
from deploy_prune.datasets.sources import CLASSES, SPLITS, Source


@dataclass(frozen=True)
class Item:
    """The image to write: number ``index`` of a split, ``size`` pixels square, with its own chance.

    ``entries`` collects, image by image, what the format writes about all images of a split in one file.
    """

    folder: Path
    source: Source
    index: int
    size: int
    rng: Generator
    entries: list[dict[str, Any]] = field(default_factory=list)

    def path(self, *parts: str, suffix: str) -> Path:
        """The item's file under ``folder``/``parts``; the folders are made."""
        folder = self.folder.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.index:05d}{suffix}"


@dataclass(frozen=True)
class Origin:
    """What an image was made of: digits by their index in scikit-learn's set, and the piece of photograph."""

    image: str
    digits: tuple[int, ...]
    background: Background | None


Entries = Mapping[str, Sequence[dict[str, Any]]]
"""The entries of each split's images, in order."""


@dataclass(frozen=True)
class Format:
    """How a task's data set is written, and which of its paths a training is given.

    ``finish`` writes, from the folder and all entries, the files that are about all images.
    """

    write: Callable[[Item], Origin]
    finish: Callable[[Path, Entries], None] | None = None
    entry: str = "."
    smallest_size: int = 32  # below it a scene's digits have no readable pixels left
    fewest: int = 1  # images per split
    once: bool = False  # whether each digit makes one image at most, so that their number ends the data set


def write_detect(item: Item) -> Origin:
    """YOLO detection: a line ``class x y w h`` per digit, as a share of the picture, (x, y) the centre."""
    scene = compose_scene(item.source, item.size, crowd(item.rng), item.rng)
    lines = [_line(instance.label, _box(instance, item.size)) for instance in scene.instances]
    return _save_yolo(item, scene, lines)


def write_segment(item: Item) -> Origin:
    """YOLO segmentation: a line ``class x1 y1 x2 y2 ...`` per digit, as a share of the picture."""
    scene = compose_scene(item.source, item.size, crowd(item.rng), item.rng)
    lines = [_line(one.label, (outline(one.visible) / item.size).ravel().tolist()) for one in scene.instances]
    return _save_yolo(item, scene, lines)


def write_pose(item: Item) -> Origin:
    """YOLO pose: a line ``class x y w h`` per digit and ``x y visibility`` for each of its extreme points."""
    scene = compose_scene(item.source, item.size, crowd(item.rng), item.rng)
    lines = []
    for instance in scene.instances:
        points = extreme_points(instance.whole, instance.visible) / [item.size, item.size, 1]
        marks = [f" {x:.6f} {y:.6f} {int(seen)}" for x, y, seen in points]
        lines.append(_line(instance.label, _box(instance, item.size)) + "".join(marks))
    return _save_yolo(item, scene, lines)


def write_obb(item: Item) -> Origin:
    """YOLO oriented boxes: a line ``class x1 y1 ... x4 y4`` per digit, the corners of its turned rectangle."""
    scene = compose_scene(item.source, item.size, turned_crowd(item.rng), item.rng)
    lines = []
    for instance in scene.instances:
        corners = turned_box(instance.visible, instance.angle) / item.size
        lines.append(_line(instance.label, corners.clip(0, 1).ravel().tolist()))  # against rounding alone
    return _save_yolo(item, scene, lines)


def write_semantic(item: Item) -> Origin:
    """A picture under images/ and one under masks/ whose pixels are the class + 1, 0 for the background."""
    scene = compose_scene(item.source, item.size, crowd(item.rng), item.rng)
    classes = np.zeros((item.size, item.size), np.uint8)
    for instance in scene.instances:
        classes[instance.visible] = instance.label + 1
    save_png(classes, item.path("masks", item.source.split, suffix=".png"))
    return _save_scene(item, scene, "images", item.source.split)


def write_classify(item: Item, difficulty: Difficulty = EASY) -> Origin:
    """An ImageFolder tree, split/class/picture: one dominant digit per scene, the classes in turn."""
    label = item.index % len(CLASSES)
    scene = compose_scene(item.source, item.size, portrait(label, item.rng, difficulty), item.rng)
    return _save_scene(item, scene, item.source.split, CLASSES[label])


def write_plain(item: Item) -> Origin:
    """An ImageFolder tree, split/class/picture, of the digits as they are, enlarged; each at most once."""
    digit = item.source.in_turn[item.index]
    picture = resize(np.rint(255 * digit.ink).astype(np.uint8), item.size)
    path = item.path(item.source.split, CLASSES[digit.label], suffix=".png")
    save_png(picture, path)
    return Origin(path.relative_to(item.folder).as_posix(), (digit.index,), None)


def write_coco(item: Item) -> Origin:
    """COCO: a picture under images/, its boxes and polygons among the entries, one polygon per digit."""
    scene = compose_scene(item.source, item.size, crowd(item.rng), item.rng)
    origin = _save_scene(item, scene, "images", item.source.split)
    objects = []
    for one in scene.instances:
        x0, y0, x1, y1 = one.box
        polygon = outline(one.visible).round(2).ravel().tolist()
        about = {"category_id": one.label + 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": one.area, "iscrowd": 0}
        objects.append({**about, "segmentation": [polygon]})
    name = Path(origin.image).name
    item.entries.append({"file_name": name, "width": item.size, "height": item.size, "objects": objects})
    return origin


def write_coco_json(folder: Path, entries: Entries) -> None:
    """One annotations/instances_SPLIT.json per split; the categories are numbered from 1, as COCO's are."""
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    (folder / "annotations").mkdir()
    for split, pictures in entries.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, picture in enumerate(pictures, start=1):
            images.append({"id": number, **{key: value for key, value in picture.items() if key != "objects"}})
            for one in picture["objects"]:
                annotations.append({"id": len(annotations) + 1, "image_id": number, **one})
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = folder / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content), encoding="utf-8")


def write_class_names(folder: Path, entries: Entries) -> None:
    """classes.txt: the name of each value that a mask's pixel may have, one a line, from 0."""
    (folder / "classes.txt").write_text("\n".join(("background", *CLASSES)) + "\n", encoding="utf-8")


def write_data_yaml(folder: Path, entries: Entries, about: tuple[str, ...] = ()) -> None:
    """Ultralytics' description of a data set. It names no folder, so that the data set can be moved."""
    lines = [f"{split}: images/{split}" for split in SPLITS]
    lines += ["names:", *(f"  {index}: '{name}'" for index, name in enumerate(CLASSES))]
    (folder / "data.yaml").write_text("\n".join([*lines, *about]) + "\n", encoding="utf-8")


_POSE = (
    f"kpt_shape: [{len(NAMES)}, 3]",
    f"flip_idx: {list(MIRRORED)}",
    # A keypoint that is off by two sigma of the object's size scores 0.6 (COCO: exp(-d^2 / 8 sigma^2 area)). 0.1 is
    # about that of COCO's hips; Ultralytics' default for four points, 0.25, forgives nearly all.
    f"kpt_oks_sigmas: {[0.1] * len(NAMES)}",
    "kpt_names:",
    *(f"  {index}: [{', '.join(NAMES)}]" for index in range(len(CLASSES))),
)

FORMATS = {
    "detect": Format(write_detect, write_data_yaml, entry="data.yaml"),
    "segment": Format(write_segment, write_data_yaml, entry="data.yaml"),
    "pose": Format(write_pose, partial(write_data_yaml, about=_POSE), entry="data.yaml"),
    "obb": Format(write_obb, write_data_yaml, entry="data.yaml"),
    "classify": Format(write_classify, fewest=len(CLASSES)),
    "semantic": Format(write_semantic, write_class_names),
    "coco": Format(write_coco, write_coco_json),
    "digits": Format(write_plain, smallest_size=8, fewest=len(CLASSES), once=True),
}
TASKS = tuple(FORMATS)
# The same digits, harder or easier to read.
_DIFFICULTIES = {"large": LARGE, "medium": MEDIUM, "hard": HARD}
FORMATS |= {
    f"classify-{name}": Format(partial(write_classify, difficulty=one), fewest=len(CLASSES))
    for name, one in _DIFFICULTIES.items()
}


def _box(instance: Instance, size: int) -> list[float]:
    x0, y0, x1, y1 = (edge / size for edge in instance.box)
    return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]


def _line(label: int, shares: list[float]) -> str:
    return " ".join([str(label), *(f"{share:.6f}" for share in shares)])


def _save_yolo(item: Item, scene: Scene, lines: list[str]) -> Origin:
    path = item.path("labels", item.source.split, suffix=".txt")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return _save_scene(item, scene, "images", item.source.split)


def _save_scene(item: Item, scene: Scene, *parts: str) -> Origin:
    path = item.path(*parts, suffix=".jpg")
    save_jpeg(scene.image, path)
    digits = tuple(instance.digit for instance in scene.instances)
    return Origin(path.relative_to(item.folder).as_posix(), digits, scene.background)
