"""First-order Taylor expansion of the loss (Molchanov et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from deploy_prune.errors import InputError
from deploy_prune.importance.importance import GroupImportance
from deploy_prune.importance.reduction import Normalizer
from deploy_prune.importance.weights import ScoredGroup, Slice, parameter_name, unit_sums


class GroupTaylorImportance(GroupImportance):
    """The change of the loss, to first order, when a unit goes: ``sum |w * dw|``, or ``|sum w * dw|``.

    Call ``loss.backward()`` first; gradients of several batches may add up. A parameter without gradient (frozen, or
    off the loss's path) does not count.

    Args:
        group_reduction: see :class:`GroupImportance`.
        normalizer: see :class:`GroupImportance`.
        multivariable: take the absolute value of a slice's sum in place of each weight's, so that effects cancel.
        bias: see :class:`GroupImportance`.
        target_types: see :class:`GroupImportance`.
    """

    def __init__(
        self,
        group_reduction: str | None = "mean",
        normalizer: Normalizer = "mean",
        multivariable: bool = False,
        bias: bool = False,
        target_types: Sequence[type] | None = None,
    ) -> None:
        super().__init__(group_reduction, normalizer, bias, target_types)
        self.multivariable = multivariable

    def counted(self, group: ScoredGroup) -> list[Slice]:
        """The slices of parameters that have a gradient.

        Raises:
            InputError: none has.
        """
        slices = super().counted(group)
        reached = [s for s in slices if s[0].tensor.grad is not None]
        if slices and not reached:
            name = parameter_name(slices[0][0])
            raise InputError(
                f"{name} has no gradient, nor has anything else in its group; call loss.backward() before scoring, "
                "with requires_grad on and a loss that this layer takes part in"
            )
        return reached

    def score(self, dependency: Any, indices: torch.Tensor) -> torch.Tensor:
        """First-order change of the loss per unit, shape (units,)."""
        weight, axis = dependency.tensor, dependency.axis
        if self.multivariable:
            return unit_sums(torch.mul, axis, indices, weight, weight.grad).abs()
        return unit_sums(lambda w, dw: (w * dw).abs(), axis, indices, weight, weight.grad)


TaylorImportance = GroupTaylorImportance
