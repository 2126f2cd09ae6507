"""Filter pruning via the geometric median (He et al., CVPR 2019)."""

from __future__ import annotations

from typing import Any

import torch

from deploy_prune.importance.magnitude import GroupMagnitudeImportance
from deploy_prune.importance.weights import ScoredGroup, Slice, is_matrix, prefer, unit_rows


class FPGMImportance(GroupMagnitudeImportance):
    """Sum of the distances from a unit's slice to those of all other units: what lies amid the rest is replaceable.

    Norm scales have no distance worth the name and count only where a group has nothing else. The arguments are those
    of :class:`GroupMagnitudeImportance`, with ``p`` the norm of the distance (2: Euclidean, as in the paper's eq. 4).
    """

    def counted(self, group: ScoredGroup) -> list[Slice]:
        """The weights with more than one axis."""
        return prefer(super().counted(group), is_matrix)

    def score(self, dependency: Any, indices: torch.Tensor) -> torch.Tensor:
        """Distances to the other units summed, shape (units,)."""
        rows = unit_rows(dependency.tensor, dependency.axis, indices)
        return torch.cdist(rows, rows, p=self.p).sum(-1)
