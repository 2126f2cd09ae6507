"""Which variants to profile."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, qmc

from deploy_prune.errors import InputError

# Typical plans keep 30 to 100 % of a group; narrower widths are sampled at this share of the rate.
_TYPICAL = 0.3
_RARE = 0.4
# How much of a group's width follows the variant as a whole: plans are slim or wide throughout, and totals
# must spread for the overhead to be told from the scale; the rest varies freely, so that groups can be told
# apart.
_COMMON = 0.3


def sample_widths(menu: Mapping[str, Sequence[int]], count: int, *, seed: int = 0) -> tuple[dict[str, int], ...]:
    """``count`` variants over ``menu`` (ascending widths, the last full); the first is dense.

    Each group takes its typical widths about equally often, and narrower ones less. Deterministic by
    ``seed``. Raises ``InputError`` for a count below one or an empty menu.
    """
    if count < 1 or not menu:
        raise InputError(f"got {count} variants over {len(menu)} groups, expected at least one of both")
    dense = {group: widths[-1] for group, widths in menu.items()}
    if count == 1:
        return (dense,)
    ranks = _stratify(count - 1, len(menu), seed)
    chosen = {group: _quantiles(widths, column) for (group, widths), column in zip(menu.items(), ranks.T, strict=True)}
    return (dense, *({group: chosen[group][k] for group in menu} for k in range(count - 1)))


def _stratify(variants: int, groups: int, seed: int) -> npt.NDArray[np.float64]:
    """Numbers in (0, 1), shape (variants, groups); a column has one in each of ``variants`` strata."""
    cube = np.clip(qmc.LatinHypercube(groups + 1, seed=seed).random(variants), 1e-6, 1 - 1e-6)
    normal = norm.ppf(cube)
    mixed = np.sqrt(_COMMON) * normal[:, :1] + np.sqrt(1 - _COMMON) * normal[:, 1:]
    return (np.argsort(np.argsort(mixed, axis=0), axis=0) + 0.5) / variants


def _quantiles(widths: Sequence[int], ranks: npt.NDArray[np.float64]) -> list[int]:
    weights = np.array([1.0 if width >= _TYPICAL * widths[-1] else _RARE for width in widths])
    index = np.searchsorted(np.cumsum(weights) / weights.sum(), ranks)
    return [int(widths[k]) for k in index]
