"""Points that every digit has and that can be found by eye: the extreme ones of its ink."""

import numpy as np
from numpy.typing import NDArray

NAMES = ("top", "bottom", "left", "right")
MIRRORED = (0, 1, 3, 2)  # which of them each one becomes in a left-right mirror
HIDDEN, VISIBLE = 1, 2  # as COCO marks a labelled keypoint


def extreme_points(whole: NDArray[np.bool_], visible: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The extreme pixels (4, 3) of ``whole`` (H, W), in the order of ``NAMES``, as (x, y, visibility).

    (x, y) is the pixel's centre in pixel edges. Where several pixels are as far out, it is the middle one of them.

    Args:
        whole: the digit's pixels, those under other digits too; at least one.
        visible: those that are seen.
    """
    pixels = np.argwhere(whole)  # (n, 2) of (row, column), rows ascending
    rows, columns = pixels[:, 0], pixels[:, 1]
    ends = [rows == rows.min(), rows == rows.max(), columns == columns.min(), columns == columns.max()]
    points = []
    for end in ends:
        row, column = pixels[end][np.count_nonzero(end) // 2]
        points.append((column + 0.5, row + 0.5, VISIBLE if visible[row, column] else HIDDEN))
    return np.array(points)
