"""In which order the units of a group go.

A group with several rows (halves of a chunk, heads, norm groups) may lose different indices in each, equally many.
Every row is then ranked by itself, and what goes together is a **bundle**: the j-th least important index of every
row. Its score is the mean over the rows. Taking the first k bundles is the best choice for every k, since the sum of
what goes is least when each row gives its k least important indices; and the mean keeps bundles on the scale of single
units, so that groups with and without rows compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from deploy_prune.errors import InputError
from deploy_prune.importance import MagnitudeImportance
from deploy_prune.importance.importance import GroupImportance
from deploy_prune.pruner.group import Group

Criterion = Callable[[Any], Any]
"""An ``Importance``, or any function that scores the units of a group."""

_NORM = MagnitudeImportance(normalizer=None)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Bundles of units from least to most important.

    Attributes:
        scores: score of each bundle, ascending, shape (width,).
        order: the unit that each row gives to each bundle, shape (rows, width).
    """

    scores: torch.Tensor
    order: torch.Tensor

    def least(self, count: int) -> np.ndarray:
        """The units of the ``count`` least important bundles, shape (rows, count)."""
        units: np.ndarray = self.order[:, :count].numpy()
        return units


def rank(group: Group, importance: Criterion) -> Ranking | None:
    """Rank the units of a whole group, or None where the criterion has nothing to say about it.

    Raises:
        InputError: see :func:`unit_scores`.
    """
    by_row = _row_scores(group, importance)
    if by_row is None:
        return None
    scores, order = by_row.sort(dim=1, stable=True)
    return Ranking(scores.mean(0), order)


def zeros_first(importance: Criterion) -> Criterion:
    """A criterion by which units whose parameters are all zero go before the others."""

    def score(group: Group) -> torch.Tensor | None:
        scores, norms = unit_scores(group, importance), unit_scores(group, _NORM)
        if scores is None or norms is None:
            return scores
        return torch.where(norms == 0, scores.min() - 1, scores)

    return score


def _row_scores(group: Group, importance: Criterion) -> torch.Tensor | None:
    """Scores of shape (rows, units): all rows at once where the criterion and the group allow it."""
    stacked = group.stacked() if group.rows > 1 and isinstance(importance, GroupImportance) else None
    if stacked is not None:
        scores = importance(stacked)
        if scores is None:
            return None
        if scores.shape == (group.rows, group.width):
            return _on_cpu(scores)
    rows = [unit_scores(view, importance) for view in group.by_row()]
    return None if any(r is None for r in rows) else torch.stack([r for r in rows if r is not None])


def unit_scores(group: Group, importance: Criterion) -> torch.Tensor | None:
    """A criterion's scores of a whole group (or one row of it), shape (units,), on the CPU.

    One number stands for all units. As many numbers as the root layer has indices in the group are averaged per unit.

    Raises:
        InputError: the criterion cannot be called, or returned another number of scores.
    """
    if not callable(importance) or isinstance(importance, type):
        raise InputError(f"importance is {importance!r}; give a criterion, such as importance.MagnitudeImportance()")
    returned = importance(group)
    if returned is None:
        return None
    scores = _on_cpu(torch.as_tensor(returned))
    width = group.width
    if scores.numel() == 1:
        return scores.reshape(1).expand(width)
    if scores.shape == (width,):
        return scores
    channels = len(group[0].idxs)
    if scores.shape == (channels,):
        return scores.reshape(width, -1).mean(1)
    expected = f"{width} units" + (f" ({channels} channels)" if channels != width else "")
    raise InputError(
        f"{type(importance).__name__} returned shape {tuple(scores.shape)} for group {group.name} of {expected}; "
        "return one score per unit"
    )


def _on_cpu(scores: torch.Tensor) -> torch.Tensor:
    return scores.detach().to("cpu", torch.float32)
