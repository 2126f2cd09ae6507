"""How strongly a unit responds to data."""

from __future__ import annotations

from typing import Any

import torch

from deploy_prune.importance.collector import CollectedImportance
from deploy_prune.importance.weights import ScoredGroup, Slice, input_axis, prefer


class ActivationImportance(CollectedImportance):
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

    worth = staticmethod(torch.abs)

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
        return mean[indices.to(mean.device)].mean(-1)


def _reads(dependency: Any) -> bool:
    return bool(dependency.axis == input_axis(dependency.target.module))
