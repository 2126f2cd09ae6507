"""One writer per format: an item's number -> its files in the data set's folder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator

from deploy_prune.datasets.pixels import resize, save_jpeg, save_png
from deploy_prune.datasets.polygon import outline
from deploy_prune.datasets.scene import (
    EASY,
    HARD,
    LARGE,
    MEDIUM,
    Background,
    Difficulty,
    Scene,
    compose_scene,
    crowd,
    portrait,
)
from deploy_prune.datasets.sources import CLASSES, SPLITS, Source


@dataclass(frozen=True)
class Item:
    """The image to write: number ``index`` of a split, ``size`` pixels square, with its own chance."""

    folder: Path
    source: Source
    index: int
    size: int
    rng: Generator

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


@dataclass(frozen=True)
class Format:
    """How a task's data set is written, and which of its paths a training is given."""

    write: Callable[[Item], Origin]
    entry: str = "."
    smallest_size: int = 32  # below it a scene's digits have no readable pixels left
    fewest: int = 1  # images per split
    once: bool = False  # whether each digit makes one image at most, so that their number ends the data set


def write_detect(item: Item) -> Origin:
    """YOLO detection: a line ``class x y w h`` per digit, as a share of the picture, (x, y) the centre."""
    scene = compose_scene(item.source, item.size, crowd(item.rng), item.rng)
    lines = []
    for instance in scene.instances:
        x0, y0, x1, y1 = (edge / item.size for edge in instance.box)
        lines.append(_line(instance.label, [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]))
    return _save_yolo(item, scene, lines)


def write_segment(item: Item) -> Origin:
    """YOLO segmentation: a line ``class x1 y1 x2 y2 ...`` per digit, as a share of the picture."""
    scene = compose_scene(item.source, item.size, crowd(item.rng), item.rng)
    lines = [_line(one.label, (outline(one.visible) / item.size).ravel().tolist()) for one in scene.instances]
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


FORMATS = {
    "detect": Format(write_detect, entry="data.yaml"),
    "segment": Format(write_segment, entry="data.yaml"),
    "classify": Format(write_classify, fewest=len(CLASSES)),
    "semantic": Format(write_semantic),
    "digits": Format(write_plain, smallest_size=8, fewest=len(CLASSES), once=True),
}
TASKS = tuple(FORMATS)
# The same digits, harder or easier to read.
_DIFFICULTIES = {"large": LARGE, "medium": MEDIUM, "hard": HARD}
FORMATS |= {
    f"classify-{name}": Format(partial(write_classify, difficulty=one), fewest=len(CLASSES))
    for name, one in _DIFFICULTIES.items()
}


def write_data_yaml(path: Path) -> None:
    """Ultralytics' description of a data set. It names no folder, so that the data set can be moved."""
    lines = [f"{split}: images/{split}" for split in SPLITS]
    lines += ["names:", *(f"  {index}: '{name}'" for index, name in enumerate(CLASSES))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


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
