"""Weight magnitude over all layers of a group (Li et al., ICLR 2017; over groups: Fang et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from deploy_prune.importance.importance import GroupImportance
from deploy_prune.importance.reduction import Normalizer
from deploy_prune.importance.weights import unit_sums


class GroupMagnitudeImportance(GroupImportance):
    """Sum of ``|w|**p`` over a unit's slice of each weight, reduced over the weights that the unit runs through.

    ``MagnitudeImportance(p=1, group_reduction="first", normalizer=None)`` is the L1 norm of the producing filters.

    Args:
        p: exponent; 1 and 2 are the usual ones. No root is taken.
        group_reduction: see :class:`GroupImportance`.
        normalizer: see :class:`GroupImportance`.
        bias: see :class:`GroupImportance`.
        target_types: see :class:`GroupImportance`.
    """

    def __init__(
        self,
        p: float = 2,
        group_reduction: str | None = "mean",
        normalizer: Normalizer = "mean",
        bias: bool = False,
        target_types: Sequence[type] | None = None,
    ) -> None:
        super().__init__(group_reduction, normalizer, bias, target_types)
        self.p = p

    def score(self, dependency: Any, indices: torch.Tensor) -> torch.Tensor:
        """``|w|**p`` summed over each unit's slice, shape (units,)."""
        power = torch.square if self.p == 2 else lambda w: w.abs().pow(self.p)
        return unit_sums(power, dependency.axis, indices, dependency.tensor)


MagnitudeImportance = GroupMagnitudeImportance
