"""One polygon for a digit's visible pixels, holes and separate pieces included."""

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
