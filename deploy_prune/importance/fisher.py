"""Fisher information of a unit's gate (Theis et al., 2018; over groups: Liu et al., ICML 2021)."""

from __future__ import annotations

from typing import Any

import torch

from deploy_prune.importance.per_sample import PerSampleImportance
from deploy_prune.importance.weights import widened


class FisherImportance(PerSampleImportance):
    """Mean over samples of ``(sum w * dw)**2``: the squared gradient of a gate that would multiply a unit's slice.

    Unlike :class:`GroupHessianImportance` it keeps what the weights of a slice do together. Between several indices of
    one unit on one axis (both halves of a chunk) that is left out: their squares are added. The protocol and the
    arguments are those of :class:`PerSampleImportance`.
    """

    def squares(self, parameter: torch.Tensor) -> list[torch.Tensor]:
        """The squared gradient of a gate on each index of each axis: one vector per axis."""
        assert parameter.grad is not None
        change = widened(parameter.detach()) * widened(parameter.grad)
        return [change.movedim(axis, 0).reshape(size, -1).sum(1).square() for axis, size in enumerate(change.shape)]

    def score(self, dependency: Any, indices: torch.Tensor) -> torch.Tensor:
        """Fisher information per unit, shape (units,)."""
        information = self.mean_squares(dependency)[dependency.axis]
        return information[indices.to(information.device)].sum(-1)
