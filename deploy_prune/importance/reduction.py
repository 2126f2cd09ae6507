"""How scores of several weights become one per unit, and how groups come on a common scale."""

from __future__ import annotations

from collections.abc import Callable

import torch

from deploy_prune.errors import InputError

Scores = torch.Tensor
Normalizer = str | Callable[[Scores], Scores] | None

_SMALLEST = 1e-30  # a group of zeros stays zero where its sum, mean or maximum divides


def lamp(scores: Scores) -> Scores:
    """Each score over the sum of all that are at least as large (Lee et al., ICLR 2021, eq. 3); the largest becomes 1.

    Equal scores rank by position.
    """
    order = scores.flatten().argsort(stable=True)
    ascending = scores.flatten()[order]
    remaining = ascending.flip(0).cumsum(0).flip(0)
    return torch.empty_like(ascending).scatter_(0, order, ascending / remaining.clamp_min(_SMALLEST)).view_as(scores)


def _standardize(scores: Scores) -> Scores:
    return (scores - scores.amin()) / (scores.amax() - scores.amin()).clamp_min(_SMALLEST)


def _sentinel(scores: Scores, quantile: float) -> Scores:
    ascending = scores.flatten().sort().values
    return scores / ascending[min(int(quantile * len(ascending)), len(ascending) - 1)].clamp_min(_SMALLEST)


_REDUCTIONS: dict[str | None, Callable[[Scores], Scores]] = {
    "sum": lambda s: s.sum(0),
    "mean": lambda s: s.mean(0),
    "max": lambda s: s.amax(0),
    "prod": lambda s: s.prod(0),
    "first": lambda s: s[0],
    "gate": lambda s: s[-1],
    None: lambda s: s,
}

_NORMALIZERS: dict[str | None, Callable[[Scores], Scores]] = {
    None: lambda s: s,
    "none": lambda s: s,
    "sum": lambda s: s / s.sum().clamp_min(_SMALLEST),
    "mean": lambda s: s / s.mean().clamp_min(_SMALLEST),
    "max": lambda s: s / s.amax().clamp_min(_SMALLEST),
    "gaussian": lambda s: (s - s.mean()) / (s.std(unbiased=False) + 1e-8),
    "standardization": _standardize,
    "standarization": _standardize,  # as Torch-Pruning spells it
    "lamp": lamp,
}


def reduce(scores: Scores, how: str | None) -> Scores:
    """Scores of shape (weights, units) to (units,): sum, mean, max, prod, first, gate (the last); None leaves them.

    Raises:
        InputError: an unknown reduction.
    """
    if how not in _REDUCTIONS:
        raise InputError(f"group_reduction is {how!r}; choose from {', '.join(map(str, _REDUCTIONS))}")
    return _REDUCTIONS[how](scores)


def normalize(scores: Scores, how: Normalizer) -> Scores:
    """Scores of one group on a common scale, for comparison between groups.

    Args:
        scores: of shape (units,).
        how: divide by their sum, mean or max; gaussian (mean 0, deviation 1); standardization (from 0 to 1);
            :func:`lamp`; ``sentinel_0.5`` (divide by that quantile); a function of the scores; or None.

    Raises:
        InputError: an unknown normalizer.
    """
    if callable(how):
        return how(scores)
    if how in _NORMALIZERS:
        return _NORMALIZERS[how](scores)
    quantile = _sentinel_quantile(how)
    if quantile is None:
        names = ", ".join(map(str, _NORMALIZERS))
        raise InputError(f"normalizer is {how!r}; choose from {names}, sentinel_0.5 (any quantile), or give a function")
    return _sentinel(scores, quantile)


_DIVISORS: dict[str, Callable[..., Scores]] = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}


def normalize_rows(scores: Scores, how: Normalizer) -> Scores:
    """:func:`normalize` for each row of scores of shape (rows, units)."""
    if isinstance(how, str) and how in _DIVISORS:
        return scores / _DIVISORS[how](scores, dim=-1, keepdim=True).clamp_min(_SMALLEST)
    return torch.stack([normalize(row, how) for row in scores.unbind(-2)])


def _sentinel_quantile(how: str | None) -> float | None:
    word, _, number = str(how).partition("_")
    try:
        return float(number) if word == "sentinel" and 0 <= float(number) <= 1 else None
    except ValueError:
        return None


def check_names(group_reduction: str | None, normalizer: Normalizer) -> None:
    """Refuse a misspelt reduction or normalizer before any work is done.

    Raises:
        InputError: an unknown name.
    """
    one = torch.ones(1, 1)
    reduce(one, group_reduction)
    if not callable(normalizer):
        normalize(one, normalizer)
