"""Chance: the baseline that every criterion must beat."""

from __future__ import annotations

import torch

from deploy_prune.importance.importance import Importance
from deploy_prune.importance.weights import ScoredGroup


class RandomImportance(Importance):
    """Uniform scores from torch's global generator (``torch.manual_seed`` repeats them)."""

    def __call__(self, group: ScoredGroup) -> torch.Tensor:
        """Scores of shape (units,)."""
        _, indices = next(iter(group.slices()))
        return torch.rand(len(indices))
