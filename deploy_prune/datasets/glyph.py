"""A digit of 8 x 8 cells as a smooth, turned, sharply edged shape of any size."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Ink level of the outline, of 1; chosen by eye: lower closes the loops of 8 and 9, higher breaks strokes.
OUTLINE = 0.42
OPAQUE = 0.5  # a pixel belongs to the digit where at least half of it is covered


def render_glyph(ink: NDArray[np.float32], height: float, angle: float) -> NDArray[np.float32]:
    """The coverage (h, w) in 0..1 of a digit drawn ``height`` pixels high, then turned by ``angle`` radians.

    The cells are interpolated with cubic splines and cut at one ink level, so that the edge is about one
    pixel wide at any size. The result is cropped to the pixels of coverage >= ``OPAQUE`` and one around them.

    Args:
        ink: (8, 8) in 0..1.
        height: height in pixels of the eight cells.
        angle: radians, counter-clockwise on screen.
    """
    padded = np.pad(ink, 1)  # an empty cell around, so that strokes at the border are rounded and not cut
    cell = height / ink.shape[0]
    cos, sin = math.cos(angle), math.sin(angle)
    side = math.ceil(cell * padded.shape[0] * (abs(cos) + abs(sin)))
    to_cells = np.array([[cos, sin], [-sin, cos]]) / cell
    centre = np.full(2, (padded.shape[0] - 1) / 2)
    offset = centre - to_cells @ np.full(2, (side - 1) / 2)
    level = ndimage.affine_transform(padded, to_cells, offset, output_shape=(side, side), order=3)
    coverage = np.clip(OPAQUE + (level - OUTLINE) * cell, 0, 1).astype(np.float32)
    return _crop(coverage)


def _crop(coverage: NDArray[np.float32]) -> NDArray[np.float32]:
    coverage = np.pad(coverage, 1)
    top, bottom = np.flatnonzero((coverage >= OPAQUE).any(axis=1))[[0, -1]]
    left, right = np.flatnonzero((coverage >= OPAQUE).any(axis=0))[[0, -1]]
    return coverage[top - 1 : bottom + 2, left - 1 : right + 2]
