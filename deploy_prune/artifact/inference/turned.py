"""Turned boxes: their corners, and how much they overlap."""

from __future__ import annotations

from typing import Any

import numpy as np


def corners_of(boxes: Any, angles: Any) -> Any:
    """Corners (n, 4, 2) of boxes (n, 4) as centre, width and height, turned by angles (n,) in radians."""
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1) * boxes[:, 2:3] / 2
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=1) * boxes[:, 3:4] / 2
    centres = boxes[:, :2]
    ends = [centres + along + across, centres + along - across, centres - along - across, centres - along + across]
    return np.stack(ends, axis=1)


def turned_overlaps(boxes: Any, others: Any) -> Any:
    """ProbIoU of boxes (n, 4, 2) and others (m, 4, 2), (n, m): one less the Hellinger distance of two Gaussians.

    Llerena et al. 2021, Gaussian Bounding Boxes and Probabilistic Intersection-over-Union, section 3: a box stands
    for the Gaussian of its centre and of its pixels' covariance.
    """
    (centres, first), (other_centres, second) = _gaussian(boxes), _gaussian(others)
    mean = (first[:, None] + second[None]) / 2  # (n, m, 2, 2)
    apart = centres[:, None] - other_centres[None]
    size = _determinant(mean)
    cross = (
        mean[..., 1, 1] * apart[..., 0] ** 2
        - 2 * mean[..., 0, 1] * apart[..., 0] * apart[..., 1]
        + mean[..., 0, 0] * apart[..., 1] ** 2
    )
    alike = np.sqrt(_determinant(first)[:, None] * _determinant(second)[None])
    distance = cross / size / 8 + np.log(size / alike) / 2  # Bhattacharyya's
    return 1 - np.sqrt(np.clip(1 - np.exp(-distance), 0, 1))


def _gaussian(boxes: Any) -> tuple[Any, Any]:
    """Centres (n, 2) and covariances (n, 2, 2); a side of length l has the variance l^2 / 12."""
    sides = np.stack([boxes[:, 1] - boxes[:, 0], boxes[:, 2] - boxes[:, 1]], axis=1)  # (n, 2 sides, 2)
    return boxes.mean(axis=1), np.einsum("nsi,nsj->nij", sides, sides) / 12


def _determinant(matrices: Any) -> Any:
    found = matrices[..., 0, 0] * matrices[..., 1, 1] - matrices[..., 0, 1] ** 2
    return np.maximum(found, 1e-9)
