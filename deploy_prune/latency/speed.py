"""How fast the machine ran while each variant was profiled.

Clocks move and neighbours come and go between variants, while all nodes of one variant share the moment: a
shared machine was seen to run whole profiles 1.2 and 1.6 times slower than others. What most of a variant's
time deviates by is the machine; what one node deviates by is the node.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deploy_prune.latency.series import NodeSeries
from deploy_prune.latency.smooth import fit_smooth

Floats = npt.NDArray[np.float64]

# Fits and slownesses alternate; measured on two networks, 60 variants each: within 1 % after three rounds.
_ROUNDS = 4
# Nodes that together hold this share of the time decide; the rest are many, short and coarsely timed.
_DECIDING = 0.9


def find_slowness(series: Sequence[NodeSeries]) -> Floats:
    """Slowness of each variant, (variants,): median one, 1.2 where everything took a fifth longer.

    Shrunk towards one by its reliability, which is how far two halves of the nodes agree (Spearman-Brown):
    what is only the nodes' own noise or misfit differs between the halves.
    """
    deciding = _longest(series)
    slowness = np.ones(len(series[0].times_s))
    for _ in range(_ROUNDS):
        expected = np.array([fit_smooth(node.at_speed(slowness)).at(node.i, node.o) for node in deciding])
        times = np.array([node.times_s for node in deciding])
        ratios = times / np.maximum(expected, np.finfo(float).tiny)
        slowness = _weighted_median(ratios, expected)
        slowness /= np.median(slowness)
    if len(deciding) < 4 or np.ptp(slowness) == 0:
        return np.ones_like(slowness)
    halves = np.array([_weighted_median(ratios[k::2], expected[k::2]) for k in (0, 1)])
    agreement = max(float(np.corrcoef(halves)[0, 1]), 0.0)
    return 1 + 2 * agreement / (1 + agreement) * (slowness - 1)


def _longest(series: Sequence[NodeSeries]) -> list[NodeSeries]:
    """The nodes that take most of the time, longest first."""
    ordered = sorted(series, key=lambda node: float(node.times_s.mean()), reverse=True)
    share = np.cumsum([node.times_s.mean() for node in ordered])
    return ordered[: int(np.searchsorted(share, _DECIDING * share[-1])) + 1]


def _weighted_median(values: Floats, weights: Floats) -> Floats:
    """Median of each column of ``values`` (n, m) under ``weights`` (n, m)."""
    order = np.argsort(values, axis=0)
    gathered = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    middle = np.argmax(gathered >= gathered[-1] / 2, axis=0)
    return np.take_along_axis(np.take_along_axis(values, order, axis=0), middle[None], axis=0)[0]
