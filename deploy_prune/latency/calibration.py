"""From the sum of node times to the end-to-end latency."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy_prune.latency.node import NodeModel
from deploy_prune.latency.robust import fit_nonnegative
from deploy_prune.latency.series import NodeSeries

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """``total = scale * sum of node times + overhead_s``.

    ``overhead_s`` is negative where the runtime's node timers cost more than the work between nodes.
    ``total_std`` is the relative error of totals that the nodes' own doubt does not explain; ``speed_std``
    that of the machine's speed from one variant to the next, which no model of the network can foresee.
    """

    scale: float
    overhead_s: float
    total_std: float
    speed_std: float


def calibrate(
    nodes: Sequence[NodeModel], series: Sequence[NodeSeries], totals_s: Floats, slowness: Floats
) -> Calibration:
    """Fit to end-to-end ``totals_s`` (variants,) of the variants that ``series`` holds.

    The sums are of left-out times, so that a variant's own noise is not taken for skill. Fitted as ``scale *
    (sum - fixed) + rest`` with both non-negative, ``fixed`` being what the nodes' smooth parts take at any
    width: the overhead may then be negative, but not the latency. Totals are taken at the machine's usual
    speed where that leaves less error: they were then measured in the same moment as the nodes.
    """
    sums = np.sum([node.left_out_s(own) for node, own in zip(nodes, series, strict=True)], axis=0)
    fixed = sum(node.smooth.coefficients[0] for node in nodes)
    columns = np.column_stack([sums - fixed, np.ones(len(sums))])
    usual = totals_s / slowness
    fits = [(fit_nonnegative(columns, totals), totals) for totals in (totals_s, usual)]
    fit, totals = min(fits, key=lambda pair: pair[0].relative_std)
    scale, rest = (float(x) for x in fit.coefficients)
    variances = [node.variance_s2(own.i, own.o) for node, own in zip(nodes, series, strict=True)]
    explained = float(np.median(scale**2 * np.sum(variances, axis=0) / totals**2))
    total_std = float(np.sqrt(max(fit.relative_std**2 - explained, 0.0)))
    speed_std = float(slowness.std()) if totals is usual else 0.0
    return Calibration(scale, rest - scale * fixed, total_std, speed_std)
