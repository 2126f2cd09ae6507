"""Least squares from streamed sums: memory depends on the layer's size, not on how much data went by."""

from __future__ import annotations

from dataclasses import dataclass

import torch

RIDGES = (1e-9, 1e-5, 1e-3, 1e-2, 1e-1)
"""Ridge terms as shares of a feature's mean square. The least keeps exact answers exact to 1e-6, the largest holds the
weights of a layer with more features than rows; which one is taken, held-out rows decide."""
CHUNK = 4_000_000
"""Numbers of a piece of rows that is converted to float64 at once: 32 MB."""


@dataclass(frozen=True, eq=False)
class Fit:
    """An affine map per group: ``y = x @ weight + shift``.

    Attributes:
        weight: (groups, features, outputs).
        shift: (groups, outputs).
    """

    weight: torch.Tensor
    shift: torch.Tensor


class Moments:
    """Sums of products of inputs x (rows, groups, features) and targets y (rows, groups, outputs), in float64."""

    def __init__(self) -> None:
        self.rows = 0
        self.x = self.y = self.xx = self.xy = self.yy = torch.zeros((), dtype=torch.float64)

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add rows; in pieces, so that no large copy in float64 is made."""
        piece = max(1, CHUNK // max(x[0].numel(), 1)) if len(x) else 1
        for a, b in zip(x.split(piece), y.split(piece), strict=True):
            a, b = a.double().transpose(0, 1), b.double().transpose(0, 1)  # (groups, rows, features)
            self.rows += a.shape[1]
            self.x = a.sum(1) + self.x.to(a.device)
            self.y = b.sum(1) + self.y.to(a.device)
            self.xx = a.transpose(1, 2) @ a + self.xx.to(a.device)
            self.xy = a.transpose(1, 2) @ b + self.xy.to(a.device)
            self.yy = b.square().sum() + self.yy.to(a.device)

    def error(self, fit: Fit) -> float:
        """Sum of squared errors of a map on these rows, over the sum of squared targets."""
        weight, shift = fit.weight, fit.shift
        linear = (weight * (self.xx @ weight - 2 * self.xy)).sum()
        means = 2 * (self.x[:, None] @ weight)[:, 0] - 2 * self.y + self.rows * shift
        return float((self.yy + linear + (shift * means).sum()).clamp_min(0) / self.yy.clamp_min(1e-300))

    def solve(self, start: Fit, ridge: float, *, shifted: bool) -> Fit | None:
        """The map of least squared error plus ``ridge`` times the squared distance of its weight from ``start``'s.

        Drawn to the weights that pruning left and not to zero, a layer with few rows stays as it is instead of fading.

        Args:
            start: the map before.
            ridge: as a share of the mean square of a feature.
            shifted: whether the shift is fitted too, without a penalty; else it is ``start``'s.

        Returns:
            None where the sums are singular or hold no numbers.
        """
        xx, xy = self.xx, self.xy - self.x[:, :, None] * start.shift[:, None]
        if shifted:
            xx = xx - self.x[:, :, None] * self.x[:, None] / self.rows
            xy = self.xy - self.x[:, :, None] * self.y[:, None] / self.rows
        scale = xx.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)  # (groups,)
        penalty = ridge * scale[:, None, None] * torch.eye(xx.shape[1], dtype=xx.dtype, device=xx.device)
        root, failed = torch.linalg.cholesky_ex(xx + penalty)
        if failed.any():
            return None
        weight = start.weight + torch.cholesky_solve(xy - xx @ start.weight, root)
        shift = (self.y - (self.x[:, None] @ weight)[:, 0]) / self.rows if shifted else start.shift
        return Fit(weight, shift) if weight.isfinite().all() else None


def best_fit(fitting: Moments, held_out: Moments, start: Fit, *, shifted: bool) -> tuple[Fit, float]:
    """Of the maps for all :data:`RIDGES`, and the one before, that of least error on held-out rows, with this error."""
    best, least = start, held_out.error(start)
    for ridge in RIDGES:
        fit = fitting.solve(start, ridge, shifted=shifted)
        error = held_out.error(fit) if fit is not None else least
        if fit is not None and error < least:
            best, least = fit, error
    return best, least
