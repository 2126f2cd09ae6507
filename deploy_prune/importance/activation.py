"""How strongly a unit responds to data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from deploy_prune.importance.collector import Collector
from deploy_prune.importance.importance import GroupImportance
from deploy_prune.importance.reduction import Normalizer
from deploy_prune.importance.weights import ScoredGroup, Slice, input_axis, prefer


class ActivationImportance(GroupImportance):
    """Mean ``|x|`` of a unit's channels where they enter the convolutions and linear layers that read them.

    Where no such layer reads them, it is taken where they leave the layers that make them.

    Example::

        with imp.collect(model):
            for images in batches:
                model(images)

    Inside ``nn.MultiheadAttention`` and recurrent layers nothing is seen; a group that lies wholly there has no score.

    Args:
        group_reduction: see :class:`GroupImportance`.
        normalizer: see :class:`GroupImportance`.
        target_types: see :class:`GroupImportance`.
    """

    def __init__(
        self,
        group_reduction: str | None = "mean",
        normalizer: Normalizer = "mean",
        target_types: Sequence[type] | None = None,
    ) -> None:
        super().__init__(group_reduction, normalizer, False, target_types)
        self._seen = Collector(torch.abs)

    def collect(self, model: nn.Module) -> AbstractContextManager[None]:
        """Record the activations of every forward within the ``with``; the hooks go at its end."""
        return self._seen.collect(model)

    def counted(self, group: ScoredGroup) -> list[Slice]:
        """The seen layers that read the units, else those that make them.

        Raises:
            InputError: nothing was collected.
        """
        seen = [s for s in super().counted(group) if self._seen.saw(s[0], _reads(s[0]))]
        return prefer(seen, _reads)

    def score(self, dependency: Any, indices: torch.Tensor) -> torch.Tensor:
        """Mean activation of each unit's channels, shape (units,)."""
        mean = self._seen.mean_along(dependency.target.module, dependency.axis)
        return mean[indices.to(mean.device)].mean(1)


def _reads(dependency: Any) -> bool:
    return bool(dependency.axis == input_axis(dependency.target.module))
