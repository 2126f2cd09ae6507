"""Polygons around a digit's visible pixels: its outline, holes and pieces included, and its turned rectangle."""

import math

import numpy as np
from numpy.typing import NDArray


def outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One polygon (n, 2) of (x, y) in pixel edges whose inside, by the even-odd rule, is ``mask`` (H, W).

    YOLO's label format has one polygon per object, without holes or pieces. So the contours are joined into
    one line by bridges that go there and back on the same track and enclose nothing.
    """
    contours = _contours(mask)
    line = contours.pop(0)
    while contours:
        nearest, start, entry = min(
            ((i, *_closest(line, contour)) for i, contour in enumerate(contours)),
            key=lambda bridge: float(np.sum((line[bridge[1]] - contours[bridge[0]][bridge[2]]) ** 2)),
        )
        ring = np.roll(contours.pop(nearest), -entry, axis=0)
        line = np.concatenate([line[: start + 1], ring, ring[:1], line[start:]])
    return line


def turned_box(mask: NDArray[np.bool_], angle: float) -> NDArray[np.float64]:
    """The corners (4, 2) of (x, y) in pixel edges of the least rectangle of this turn around ``mask`` (H, W).

    They begin at the top left of the upright rectangle and go around clockwise on screen.

    Args:
        mask: has at least one pixel.
        angle: radians, counter-clockwise on screen.
    """
    right = np.array([math.cos(angle), -math.sin(angle)])  # y grows downwards
    down = np.array([math.sin(angle), math.cos(angle)])
    centres = np.argwhere(mask)[:, ::-1] + 0.5  # (n, 2) of (x, y)
    reach = (abs(math.cos(angle)) + abs(math.sin(angle))) / 2  # of a pixel's corner beyond its centre
    (x0, x1), (y0, y1) = (
        (float((centres @ axis).min()) - reach, float((centres @ axis).max()) + reach) for axis in (right, down)
    )
    return np.array([x * right + y * down for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))])


def _contours(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The outlines (n, 2) of (x, y), longest first; each lists its corners once."""
    from skimage.measure import find_contours

    # Padding closes the contours at the border; a pixel's centre lies half a pixel from its edges.
    rings = [ring[:-1, ::-1] - 0.5 for ring in find_contours(np.pad(mask, 1).astype(np.uint8), 0.5)]
    return [ring[_is_corner(ring)] for ring in sorted(rings, key=len, reverse=True)]


def _is_corner(ring: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (n,) of a closed line turn it; the others can go without moving it."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ~np.isclose(before[:, 0] * after[:, 1], before[:, 1] * after[:, 0])


def _closest(line: NDArray[np.float64], ring: NDArray[np.float64]) -> tuple[int, int]:
    distances = np.sum((line[:, None] - ring[None]) ** 2, axis=2)
    start, entry = np.unravel_index(int(np.argmin(distances)), distances.shape)
    return int(start), int(entry)
