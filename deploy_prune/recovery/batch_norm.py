"""Statistics of batch norms, estimated anew."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from deploy_prune.recovery.layers import accurate
from deploy_prune.recovery.targets import Run, norm_kind


@torch.no_grad()
def estimate_statistics(model: nn.Module, batches: Sequence[Any], run: Run) -> int:
    """Give every batch norm the mean and the unbiased variance of what it takes on the batches, over all of them.

    While they are taken, batch norms normalise by their batch, so that later ones see what they will see; one that has
    a single value per channel goes on with its old statistics. The model is changed.

    Returns:
        How many batch norms there were.
    """
    norms: list[Any] = [module for module in model.modules() if norm_kind(module)]
    taken = {norm: _Statistics() for norm in norms}
    kept = {norm: (norm.training, norm.momentum) for norm in norms}
    hooks = [norm.register_forward_pre_hook(partial(_take, taken[norm]), with_kwargs=True) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0  # torch leaves the running statistics as they are
        for batch in batches:
            run(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, (training, momentum) in kept.items():
            norm.training, norm.momentum = training, momentum
    for norm, statistics in taken.items():
        if statistics.count > 1:
            mean, variance = statistics.result()
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
    return sum(statistics.count > 1 for statistics in taken.values())


class _Statistics:
    """Sums over samples and positions per channel, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, x: torch.Tensor) -> None:
        x = x.detach().to(accurate(x)).double()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        self.count += x.numel() // x.shape[1]
        self.sum = x.sum(axes) + self.sum.to(x.device)
        self.squares = x.square().sum(axes) + self.squares.to(x.device)

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self.sum / self.count
        return mean, (self.squares - self.count * mean.square()).clamp_min(0) / (self.count - 1)


def _take(statistics: _Statistics, norm: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    x = (*args, *kwargs.values())[0]
    statistics.add(x)
    norm.training = x.numel() > x.shape[1]
