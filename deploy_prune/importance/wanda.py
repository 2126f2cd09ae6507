"""Pruning by weights and activations (Wanda: Sun et al., ICLR 2024), over units in place of single weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from deploy_prune.importance.collector import CollectedImportance
from deploy_prune.importance.weights import ScoredGroup, Slice, input_axis, unit_sums


class WandaImportance(CollectedImportance):
    """Sum of ``|w| * ||x||`` over a unit's slice of each weight, ``x`` being the input channel that meets ``w``.

    ``||x||`` is the root mean square over samples and positions, so that layers of different resolution compare.
    Collect activations first, as for :class:`ActivationImportance`; the arguments are the same. A group without a
    convolution or linear layer whose input was seen has no score.
    """

    worth = staticmethod(torch.square)

    def counted(self, group: ScoredGroup) -> list[Slice]:
        """The weights whose layers' inputs were seen.

        Raises:
            InputError: nothing was collected.
        """
        return [s for s in super().counted(group) if self._seen.saw(s[0], of_input=True)]

    def score(self, dependency: Any, indices: torch.Tensor) -> torch.Tensor:
        """``|w| * ||x||`` summed over each unit's slice, shape (units,)."""
        square = self._seen.channel_mean(dependency.target.module, of_input=True)
        weight = dependency.tensor
        inputs = _beside(square.sqrt(), dependency.target.module, weight).to(weight.device).expand_as(weight)
        return unit_sums(lambda w, x: w.abs() * x, dependency.axis, indices, weight, inputs)


def _beside(inputs: torch.Tensor, module: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    """Values of input channels, shape (channels,), shaped to multiply the weight that they meet."""
    rest = (1,) * (weight.ndim - 2)
    if input_axis(module) == 0:
        return inputs.view(-1, 1, *rest)
    # Output row o of a convolution with groups meets only the inputs of its own group.
    by_group = inputs.view(-1, weight.shape[1])  # (groups, inputs per group)
    return by_group.repeat_interleave(weight.shape[0] // len(by_group), 0).view(*weight.shape[:2], *rest)
