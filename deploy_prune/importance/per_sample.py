"""Gradients of single samples, squared and summed: what second-order criteria are made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance.importance import GroupImportance
from deploy_prune.importance.reduction import Normalizer
from deploy_prune.importance.weights import ScoredGroup, Slice, parameter_name


class PerSampleImportance(GroupImportance):
    """A criterion over squared gradients of single samples; the square of a batch's gradient is something else.

    Example::

        imp.zero_grad()
        losses = F.cross_entropy(model(images), labels, reduction="none")
        for loss in losses:
            model.zero_grad()
            loss.backward(retain_graph=True)
            imp.accumulate_grad(model)

    What was accumulated belongs to the parameters of that moment: accumulate anew after pruning. The arguments are
    those of :class:`GroupImportance`.
    """

    def __init__(
        self,
        group_reduction: str | None = "mean",
        normalizer: Normalizer = "mean",
        bias: bool = False,
        target_types: Sequence[type] | None = None,
    ) -> None:
        super().__init__(group_reduction, normalizer, bias, target_types)
        self.zero_grad()

    def zero_grad(self) -> None:
        """Forget what was accumulated."""
        self._sums: dict[torch.Tensor, list[torch.Tensor]] = {}
        self._samples = 0

    @torch.no_grad()
    def accumulate_grad(self, model: nn.Module) -> None:
        """Add one sample: the gradients that the parameters of ``model`` hold now.

        Raises:
            InputError: no parameter has a gradient.
        """
        reached = [p for p in model.parameters() if p.grad is not None]
        if not reached:
            raise InputError("no parameter of the model has a gradient; call loss.backward() before accumulate_grad()")
        for parameter in reached:
            new = self.squares(parameter)
            old = self._sums.setdefault(parameter, [torch.zeros_like(n) for n in new])
            for total, square in zip(old, new, strict=True):
                total += square
        self._samples += 1

    @abstractmethod
    def squares(self, parameter: torch.Tensor) -> list[torch.Tensor]:
        """What one sample adds for a parameter."""

    def mean_squares(self, dependency: Any) -> list[torch.Tensor]:
        """The mean over the samples of what :meth:`squares` returned."""
        return [total / self._samples for total in self._sums[dependency.tensor]]

    def counted(self, group: ScoredGroup) -> list[Slice]:
        """The slices of parameters that were accumulated.

        Raises:
            InputError: none was.
        """
        slices = super().counted(group)
        reached = [s for s in slices if s[0].tensor in self._sums]
        if slices and not reached:
            raise InputError(
                f"no gradient of {parameter_name(slices[0][0])} or anything else in its group was accumulated; call "
                "accumulate_grad(model) after each sample's loss.backward(), and again after each pruning"
            )
        return reached
