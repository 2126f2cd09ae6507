"""Compose one scene: digits over a crop of a photograph, with the exact pixels that each digit shows."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from deploy_prune.datasets.glyph import OPAQUE, render_glyph
from deploy_prune.datasets.pixels import resize
from deploy_prune.datasets.polygon import turned_box
from deploy_prune.datasets.sources import CLASSES, Digit, Source

MAX_TURN = math.radians(25)  # far from the half turn that makes a 9 of a 6
FAR_TURN = math.radians(60)  # of oriented boxes: every direction of an edge occurs, and a 6 is still no 9
OPACITY = (0.8, 1.0)
CROP_SHARE = (0.5, 1.0)  # side of the background crop, of the shorter side of the photo's region
MIN_VISIBLE = 0.6  # a digit of which less than this would be seen is not placed over
ATTEMPTS = 20  # places tried before a digit is left out
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601

Place = tuple[slice, slice]  # rows and columns of a scene


@dataclass(frozen=True)
class Wanted:
    """A digit to place: its class, the range of its height as a share of the scene's side, and its greatest turn.

    With ``framed`` the scene holds its turned rectangle whole, too, whose corners reach further than its pixels.
    """

    label: int
    height: tuple[float, float]
    turn: float = MAX_TURN  # radians, either way
    framed: bool = False


@dataclass(frozen=True)
class Background:
    """The square piece of a photograph behind a scene, in the photograph's own pixels."""

    photo: str
    left: int
    top: int
    side: int


@dataclass(frozen=True)
class Instance:
    """A digit in a scene.

    ``digit`` is its index in the source, ``visible`` (S, S) the pixels it shows, ``whole`` (S, S) those that it had
    before others were laid over it, and ``angle`` its turn in radians, counter-clockwise on screen.
    """

    label: int
    digit: int
    visible: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    angle: float

    @property
    def area(self) -> int:
        """Visible pixels."""
        return int(np.count_nonzero(self.visible))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box (x0, y0, x1, y1) of the visible pixels, in pixel edges: x1 and y1 are exclusive."""
        rows, columns = np.flatnonzero(self.visible.any(axis=1)), np.flatnonzero(self.visible.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True)
class Scene:
    """A picture (S, S, 3), its digits from bottom to top, and where its background comes from."""

    image: NDArray[np.uint8]
    instances: tuple[Instance, ...]
    background: Background


def crowd(rng: Generator) -> tuple[Wanted, ...]:
    """Two to five digits of like size: the scenes of detection and segmentation."""
    labels = rng.integers(len(CLASSES), size=rng.integers(2, 6))
    return tuple(Wanted(int(label), (0.2, 0.5)) for label in labels)


def turned_crowd(rng: Generator) -> tuple[Wanted, ...]:
    """A crowd whose digits are turned far: the scenes of oriented boxes."""
    return tuple(replace(want, turn=FAR_TURN, framed=True) for want in crowd(rng))


@dataclass(frozen=True)
class Difficulty:
    """How hard the dominant digit of a scene is to read.

    Attributes:
        height: range of its height as a share of the scene's side.
        others: the fewest and the most digits of other heights beside it.
        other_height: range of theirs.
    """

    height: tuple[float, float]
    others: tuple[int, int]
    other_height: tuple[float, float]


LARGE = Difficulty((0.75, 0.9), (0, 0), (0.15, 0.22))
EASY = Difficulty((0.5, 0.75), (0, 2), (0.15, 0.22))
MEDIUM = Difficulty((0.3, 0.5), (1, 3), (0.12, 0.2))
HARD = Difficulty((0.24, 0.38), (2, 4), (0.12, 0.18))


def portrait(label: int, rng: Generator, difficulty: Difficulty = EASY) -> tuple[Wanted, ...]:
    """One dominant digit of class ``label`` and smaller ones: the scenes of classification."""
    fewest, most = difficulty.others
    others = rng.integers(len(CLASSES), size=rng.integers(fewest, most + 1))
    return Wanted(label, difficulty.height), *(Wanted(int(other), difficulty.other_height) for other in others)


def compose_scene(source: Source, size: int, wanted: Sequence[Wanted], rng: Generator) -> Scene:
    """Place the wanted digits, in order, on a random background of ``source``.

    A digit that finds no place within ``ATTEMPTS`` is left out. The first one has the empty scene to itself.

    Args:
        source: the split's digits and photographs.
        size: side S of the scene, pixels.
        wanted: the digits, bottom first.
        rng: the only source of chance.
    """
    canvas, background = _draw_background(source, size, rng)
    full_areas: list[int] = []
    instances: list[Instance] = []
    for want in wanted:
        choice = source.by_class[want.label]
        digit = choice[rng.integers(len(choice))]
        for _ in range(ATTEMPTS):
            coverage, place, angle = _draw_glyph(digit, want, size, rng)
            covered = np.zeros((size, size), np.bool_)
            covered[place] = coverage >= OPAQUE
            below = [replace(other, visible=other.visible & ~covered) for other in instances]
            if all(other.area >= MIN_VISIBLE * full for other, full in zip(below, full_areas, strict=True)):
                canvas[place] = _blend(canvas[place], coverage, rng)
                instances = [*below, Instance(digit.label, digit.index, covered, covered, angle)]
                full_areas.append(int(np.count_nonzero(covered)))
                break
    return Scene(np.rint(canvas).astype(np.uint8), tuple(instances), background)


def _draw_background(source: Source, size: int, rng: Generator) -> tuple[NDArray[np.float64], Background]:
    region = source.regions[rng.integers(len(source.regions))]
    height, width = region.image.shape[:2]
    side = int(rng.uniform(*CROP_SHARE) * min(height, width))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    crop = resize(region.image[top : top + side, left : left + side], size)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return crop.astype(np.float64), Background(region.photo, region.left + left, top, side)


def _draw_glyph(digit: Digit, want: Wanted, size: int, rng: Generator) -> tuple[NDArray[np.float32], Place, float]:
    """The digit's coverage at a random height and angle, a place for it wholly inside the scene, and the angle."""
    glyph, angle = _turned_glyph(digit, want, size, rng)
    while max(glyph.shape) > size:  # a wide digit, turned far
        glyph, angle = _turned_glyph(digit, want, size, rng)
    top = int(rng.integers(size - glyph.shape[0] + 1))
    left = int(rng.integers(size - glyph.shape[1] + 1))
    return glyph, (slice(top, top + glyph.shape[0]), slice(left, left + glyph.shape[1])), angle


def _turned_glyph(digit: Digit, want: Wanted, size: int, rng: Generator) -> tuple[NDArray[np.float32], float]:
    height, angle = rng.uniform(*want.height) * size, rng.uniform(-want.turn, want.turn)
    glyph = render_glyph(digit.ink, height, angle)
    if want.framed:
        corners = turned_box(glyph >= OPAQUE, angle)
        before, after = -corners.min(axis=0), corners.max(axis=0) - glyph.shape[::-1]  # (x, y)
        left, top, right, bottom = np.ceil(np.maximum([*before, *after], 0)).astype(int)
        glyph = np.pad(glyph, ((top, bottom), (left, right)))
    return glyph, angle


def _blend(under: NDArray[np.float64], coverage: NDArray[np.float32], rng: Generator) -> NDArray[np.float64]:
    """The pixels ``under`` (h, w, 3) with a digit over them: light where they are dark, else dark."""
    luma = float((under[coverage >= OPAQUE] @ LUMA).mean()) / 255
    lightness = rng.uniform(0.1, 0.3) if luma > 0.5 else rng.uniform(0.75, 0.95)
    colour = 255 * np.array(colorsys.hls_to_rgb(rng.random(), lightness, rng.uniform(0.5, 1.0)))
    alpha = (rng.uniform(*OPACITY) * coverage)[:, :, None]
    return under * (1 - alpha) + colour * alpha
