"""What every criterion shares: the interface, and how the slices of a unit become one score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from deploy_prune.errors import InputError
from deploy_prune.importance.reduction import Normalizer, check_names, normalize, normalize_rows, reduce
from deploy_prune.importance.weights import ScoredGroup, Slice, parameter_name, weights_of


class Importance(ABC):
    """A criterion: ``importance(group)`` returns one score per unit, shape (units,); the lowest go first.

    A subclass may also return one number for the whole group, or None for a group that it cannot score (it then stays
    whole). A plain function ``f(group)`` does as well.
    """

    @abstractmethod
    def __call__(self, group: Any) -> torch.Tensor | float | None:
        """Score the units of ``group``."""


class GroupImportance(Importance):
    """A criterion that scores each weight of a group by itself and reduces these scores to one per unit.

    A subclass says what a slice is worth (:meth:`score`), and which slices count where not all do (:meth:`counted`).

    Args:
        group_reduction: over the weights of the group: mean, sum, max, prod, first (in order of execution), gate (the
            last one), or None for all of them, shape (weights, units).
        normalizer: within the group: None, sum, mean, max, gaussian, standardization, lamp, ``sentinel_0.5`` or a
            function; see :func:`~deploy_prune.importance.reduction.normalize`.
        bias: whether biases count as weights of their own.
        target_types: module types whose weights count; None: all, parameters held by the user's own modules included.

    Raises:
        InputError: an unknown reduction or normalizer.
    """

    def __init__(
        self,
        group_reduction: str | None = "mean",
        normalizer: Normalizer = "mean",
        bias: bool = False,
        target_types: Sequence[type] | None = None,
    ) -> None:
        check_names(group_reduction, normalizer)
        self.group_reduction = group_reduction
        self.normalizer = normalizer
        self.bias = bias
        self.target_types = target_types

    @torch.no_grad()
    def __call__(self, group: ScoredGroup) -> torch.Tensor | None:
        """Scores of shape (units,), or (rows, units) of a view of all rows; None where nothing of the group counts.

        Raises:
            InputError: a weight has no numbers.
        """
        counted = self.counted(group)
        if not counted:
            return None
        for dependency, _ in counted:
            if dependency.tensor.is_meta:
                raise InputError(
                    f"{parameter_name(dependency)} is on the meta device and holds no numbers to score; load the "
                    "weights first, or use RandomImportance"
                )
        scores = [self.score(dependency, indices) for dependency, indices in counted]
        reduced = reduce(torch.stack([s.to(scores[0]) for s in scores]), self.group_reduction)
        if scores[0].ndim == 1:
            return normalize(reduced, self.normalizer)
        return normalize_rows(reduced, self.normalizer)

    def counted(self, group: ScoredGroup) -> list[Slice]:
        """The slices of the group that this criterion scores."""
        return weights_of(group, bias=self.bias, target_types=self.target_types)

    @abstractmethod
    def score(self, dependency: Any, indices: torch.Tensor) -> torch.Tensor:
        """What slices of one weight are worth, shape (...): ``indices``, shape (..., m), has those of each unit."""
