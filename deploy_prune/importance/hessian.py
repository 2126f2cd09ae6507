"""Optimal brain damage: the loss to second order with a diagonal Hessian (LeCun et al., NeurIPS 1989)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from deploy_prune.importance.per_sample import PerSampleImportance
from deploy_prune.importance.reduction import Normalizer
from deploy_prune.importance.weights import ScoredGroup, Slice, input_axis, is_matrix, prefer, unit_sums, widened


class GroupHessianImportance(PerSampleImportance):
    """Sum of ``w**2 * h`` over a unit's slice of each weight, with ``h`` the mean of squared gradients over samples.

    The mean of squared gradients is the diagonal of the empirical Fisher matrix, which stands for the Hessian's near a
    minimum; the factor 1/2 of the expansion, the same for all units, is dropped. The protocol and the arguments are
    those of :class:`PerSampleImportance`.
    """

    def squares(self, parameter: torch.Tensor) -> list[torch.Tensor]:
        """The squared gradient, shaped like the parameter."""
        assert parameter.grad is not None
        return [widened(parameter.grad).square()]

    def score(self, dependency: Any, indices: torch.Tensor) -> torch.Tensor:
        """Second-order change of the loss per unit, shape (units,)."""
        (curvature,) = self.mean_squares(dependency)
        return unit_sums(lambda w, h: w.square() * h, dependency.axis, indices, dependency.tensor, curvature)


class OBDCImportance(GroupHessianImportance):
    """Optimal brain damage over the producing filters alone (OBD-C in Wang et al., ICML 2019).

    Args:
        group_reduction: see :class:`GroupImportance`.
        normalizer: see :class:`GroupImportance`.
        bias: see :class:`GroupImportance`.
        target_types: see :class:`GroupImportance`.
        num_classes: Torch-Pruning's mark of the classifier; what reaches the output is frozen without it.
    """

    def __init__(
        self,
        group_reduction: str | None = "mean",
        normalizer: Normalizer = "mean",
        bias: bool = False,
        target_types: Sequence[type] | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(group_reduction, normalizer, bias, target_types)

    def counted(self, group: ScoredGroup) -> list[Slice]:
        """The weights along their output axis, and their biases if asked for."""
        return prefer(super().counted(group), self._produces)

    def _produces(self, dependency: Any) -> bool:
        if is_matrix(dependency):
            return bool(dependency.axis != input_axis(dependency.target.module))
        return self.bias and "bias" in dependency.parameter


HessianImportance = GroupHessianImportance
