"""The smooth part of a node's time: what it costs to start, to read, to write and to multiply."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy_prune.latency.robust import fit_nonnegative
from deploy_prune.latency.series import NodeSeries

Floats = npt.NDArray[np.float64]

# The product term (work of a contraction) is kept where it lowers the error at least to this share.
_PRODUCT_PAYS = 0.9


@dataclass(frozen=True, eq=False)
class SmoothTime:
    """``a + b i + c o + d i o`` in seconds at relative sizes i and o; no coefficient is negative.

    ``weights`` (variants,) are near zero for outliers, ``relative_std`` is the error left in the others.
    """

    coefficients: tuple[float, float, float, float]
    weights: Floats
    relative_std: float

    def at(self, i: Floats, o: Floats) -> Floats:
        """Seconds at relative sizes of one shape."""
        return _terms(i, o) @ np.array(self.coefficients)


def fit_smooth(series: NodeSeries) -> SmoothTime:
    """Fit robustly; sizes that never vary are left out, the product is kept where it pays."""
    terms = _terms(series.i, series.o)
    used = [0] + [k for k in (1, 2) if np.ptp(terms[:, k]) > 0]
    fit = fit_nonnegative(terms[:, used], series.times_s)
    if len(used) > 1:
        with_product = fit_nonnegative(terms[:, [*used, 3]], series.times_s)
        if with_product.relative_std < _PRODUCT_PAYS * fit.relative_std:
            used, fit = [*used, 3], with_product
    found = np.zeros(4)
    found[used] = fit.coefficients
    a, b, c, d = (float(x) for x in found)
    return SmoothTime((a, b, c, d), fit.weights, fit.relative_std)


def _terms(i: Floats, o: Floats) -> Floats:
    """1, i, o and i o in a new last axis."""
    return np.stack([np.ones_like(i), i, o, i * o], axis=-1)
