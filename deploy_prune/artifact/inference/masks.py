"""Outlines of objects as windows of pixels: drawn from what a network gives, compared, and written as run lengths."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from deploy_prune.artifact.inference.pictures import Placement, resize_bilinear


class Window(NamedTuple):
    """The pixels (h, w) of an object, the first one at (``left``, ``top``) of the picture; all others are not its."""

    left: int
    top: int
    pixels: Any


def draw_prototypes(values: Any, prototypes: Any, box: Any, placement: Placement, size: int) -> Window:
    """An object's pixels within its box: where its mix of prototypes is above zero.

    Args:
        values: the object's share of each prototype, (c,).
        prototypes: (c, h, w) over the whole input.
        box: (4,) in pixels of the picture.
        placement: where the picture lies in the input.
        size: the input's side in pixels.
    """
    left, top, columns, rows = _pixels_within(box)
    stride = size / prototypes.shape[1]
    mixed = np.tensordot(values, prototypes, 1)  # (h, w)
    across = ((columns + 0.5) * placement.scale_x + placement.left) / stride - 0.5
    down = ((rows + 0.5) * placement.scale_y + placement.top) / stride - 0.5
    return Window(left, top, resize_bilinear(mixed, down, across) > 0)


def draw_within(chances: Any, box: Any) -> Window:
    """An object's pixels, given as chances (h, w) over its box (4,): where they exceed one half."""
    left, top, columns, rows = _pixels_within(box)
    padded = np.pad(chances, 1)  # they fade to nothing around the box
    height, width = chances.shape
    across = (columns + 0.5 - box[0]) / max(box[2] - box[0], 1e-6) * width + 0.5
    down = (rows + 0.5 - box[1]) / max(box[3] - box[1], 1e-6) * height + 0.5
    return Window(left, top, resize_bilinear(padded, down, across) > 0.5)


def mask_overlaps(windows: list[Window], masks: Any) -> tuple[Any, Any]:
    """Intersection over union, and share of the window, of windows (n) and whole masks (m, H, W); both (n, m)."""
    union, share = (np.zeros((len(windows), len(masks))) for _ in range(2))
    areas = masks.sum(axis=(1, 2))
    for i, window in enumerate(windows):
        height, width = window.pixels.shape
        part = masks[:, window.top : window.top + height, window.left : window.left + width]
        shared, own = (part & window.pixels).sum(axis=(1, 2)), window.pixels.sum()
        union[i] = shared / np.maximum(own + areas - shared, 1)
        share[i] = shared / max(own, 1)
    return union, share


def run_lengths(window: Window, placement: Placement) -> list[int]:
    """COCO's counts of pixels outside, inside, outside ..., down the columns of the whole picture."""
    whole = np.zeros((placement.height, placement.width), bool)
    height, width = window.pixels.shape
    whole[window.top : window.top + height, window.left : window.left + width] = window.pixels
    flat = whole.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else list(counts)


def _pixels_within(box: Any) -> tuple[int, int, Any, Any]:
    left, top = int(np.floor(box[0])), int(np.floor(box[1]))
    return left, top, np.arange(left, int(np.ceil(box[2]))), np.arange(top, int(np.ceil(box[3])))
