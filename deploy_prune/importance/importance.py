"""What every criterion shares: the interface, and how scores of several layers become one score per unit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from deploy_prune.errors import InputError


class ScoredGroup(Protocol):
    """What a criterion sees of a group: ``(dependency, indices)`` pairs, and the same with one row per unit."""

    def __iter__(self) -> Iterator[tuple[Any, list[int]]]: ...

    def slices(self) -> Iterator[tuple[Any, torch.Tensor]]:
        """Pairs of dependency and indices of shape (units, m)."""


class Importance(ABC):
    """A criterion: ``importance(group)`` returns one score per unit, shape (units,).

    A subclass may also return one number for the whole group, or None for a group that it cannot score (it then stays
    whole).
    """

    @abstractmethod
    def __call__(self, group: Any) -> torch.Tensor | float | None:
        """Score the units of ``group``."""


_REDUCTIONS = {
    "sum": lambda s: s.sum(0),
    "mean": lambda s: s.mean(0),
    "max": lambda s: s.amax(0),
    "prod": lambda s: s.prod(0),
    "first": lambda s: s[0],
}

_NORMALIZERS = {
    None: lambda s: s,
    "none": lambda s: s,
    "sum": lambda s: s / s.sum().clamp_min(1e-30),
    "mean": lambda s: s / s.mean().clamp_min(1e-30),
    "max": lambda s: s / s.amax().clamp_min(1e-30),
    "gaussian": lambda s: (s - s.mean()) / (s.std(unbiased=False) + 1e-8),
}


def reduce(scores: torch.Tensor, how: str) -> torch.Tensor:
    """Scores of shape (layers, units) to (units,): sum, mean, max, prod or first.

    Raises:
        InputError: an unknown reduction.
    """
    if how not in _REDUCTIONS:
        raise InputError(f"group_reduction is {how!r}; choose from {', '.join(_REDUCTIONS)}")
    reduced: torch.Tensor = _REDUCTIONS[how](scores)
    return reduced


def normalize(scores: torch.Tensor, how: str | None) -> torch.Tensor:
    """Scores of one group on a common scale, for comparison between groups: sum, mean, max, gaussian or None.

    Raises:
        InputError: an unknown normalizer.
    """
    if how not in _NORMALIZERS:
        raise InputError(f"normalizer is {how!r}; choose from {', '.join(str(n) for n in _NORMALIZERS)}")
    normalized: torch.Tensor = _NORMALIZERS[how](scores)
    return normalized
