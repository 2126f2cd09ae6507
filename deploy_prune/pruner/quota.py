"""How many units each group of a scope gives, so that the scope loses what it shall, in the order of importance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

_ROUNDING = 1e-9  # 10 * (1 - 0.9) is 0.9999999999999998, and means 1


@dataclass(frozen=True, eq=False)
class Candidate:
    """A group that competes in a scope.

    Attributes:
        name: the group.
        dense: its width in the dense model.
        scores: of its bundles, ascending, shape (width now,).
        floor: fewest units that must stay.
        round_to: widths that it may have are multiples of this (or the one that it has).
    """

    name: str
    dense: int
    scores: torch.Tensor
    floor: int
    round_to: int

    @property
    def width(self) -> int:
        """Units that it has now."""
        return len(self.scores)

    def portions(self) -> tuple[np.ndarray, np.ndarray]:
        """What it can give, one portion after the other: mean scores, ascending, and numbers of units.

        The first brings the width to a multiple of ``round_to``, the others are ``round_to`` units each.
        """
        width = self.width
        stays = math.ceil(max(self.floor, 1) / self.round_to) * self.round_to
        widths = np.arange(width // self.round_to * self.round_to, stays - 1, -self.round_to)
        gone = np.concatenate([[0], width - widths[widths < width]])
        if len(gone) == 1:
            return np.empty(0), np.empty(0, np.int64)
        sizes = np.diff(gone)
        means = np.add.reduceat(self.scores[: gone[-1]].double().numpy(), gone[:-1]) / sizes
        # Rounding must not let a later portion go before an earlier one.
        return np.maximum.accumulate(means), sizes


def kept_width(dense: int, ratio: float) -> int:
    """Units that stay of ``dense`` when the share ``ratio`` goes: rounded down, as Torch-Pruning does."""
    return int(dense * (1 - ratio) + _ROUNDING)


def fewest(dense: int, max_ratio: float) -> int:
    """Fewest units that may stay of ``dense``: at most the share ``max_ratio`` goes, and one always stays."""
    return max(1, math.ceil(dense * (1 - max_ratio) - _ROUNDING))


def share_out(scope: Sequence[Candidate], ratio: float) -> dict[str, int]:
    """Units that each group of a scope shall lose now, for the scope to have lost ``ratio`` of its dense width.

    The least important portions go first, whichever group they are of, until the total is met; with ``round_to`` the
    total is met to within half a portion. Groups that lose nothing are left out.
    """
    if not scope:
        return {}
    dense = sum(c.dense for c in scope)
    wanted = sum(c.width for c in scope) - kept_width(dense, ratio)
    portions = [c.portions() for c in scope]
    scores = np.concatenate([means for means, _ in portions])
    order = np.argsort(scores, kind="stable")
    sizes = np.concatenate([sizes for _, sizes in portions])[order]
    owner = np.repeat(np.arange(len(scope)), [len(means) for means, _ in portions])[order]
    left = wanted - (np.cumsum(sizes) - sizes)  # before each portion
    goes = np.logical_and.accumulate((left > 0) & (sizes - left <= left))
    given = np.bincount(owner[goes], sizes[goes], len(scope)).astype(int).tolist()
    return {c.name: count for c, count in zip(scope, given, strict=True) if count}
