"""Weight magnitude over all layers of a group (Li et al., ICLR 2017; over groups: Fang et al., CVPR 2023)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from deploy_prune.importance.importance import Importance, ScoredGroup, normalize, reduce

TARGETS: tuple[type, ...] = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.LayerNorm)


class GroupMagnitudeImportance(Importance):
    """Sum of ``|w|**p`` over every slice of a unit, reduced over the layers that the unit runs through.

    Args:
        p: exponent of the norm; 1 and 2 are the usual ones.
        group_reduction: over the slices of a unit: mean, sum, max, prod or first.
        normalizer: within the group: mean, sum, max, gaussian or None.
        bias: whether biases count as slices of their own.
        target_types: module types whose weights count.
    """

    def __init__(
        self,
        p: float = 2,
        group_reduction: str = "mean",
        normalizer: str | None = "mean",
        bias: bool = False,
        target_types: tuple[type, ...] | list[type] = TARGETS,
    ) -> None:
        self.p = p
        self.group_reduction = group_reduction
        self.normalizer = normalizer
        self.parameters = ("weight", "bias") if bias else ("weight",)
        self.target_types = tuple(target_types)

    @torch.no_grad()
    def __call__(self, group: ScoredGroup) -> torch.Tensor | None:
        """Scores of shape (units,), or None where no slice of the group has one of the target types."""
        rows = [
            self.score(dependency)[indices.to(dependency.tensor.device)].T
            for dependency, indices in group.slices()
            if dependency.parameter in self.parameters and isinstance(dependency.target.module, self.target_types)
        ]
        return normalize(reduce(torch.cat(rows), self.group_reduction), self.normalizer) if rows else None

    def score(self, dependency: Any) -> torch.Tensor:
        """``|w|**p`` summed over all but the dependency's axis, shape (size of that axis,)."""
        weight = dependency.tensor.detach()
        total: torch.Tensor = (
            weight.abs().pow(self.p).transpose(0, dependency.axis).flatten(1).sum(1)
            if weight.ndim > 1
            else (weight.abs().pow(self.p))
        )
        return total


MagnitudeImportance = GroupMagnitudeImportance
