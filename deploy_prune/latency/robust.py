"""Non-negative least squares that a few bad measurements do not move."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

Floats = npt.NDArray[np.float64]

# Cauchy weights; 2.385 gives 95 % efficiency on normal errors (Holland and Welsch 1977, table 1).
_CAUCHY = 2.385
# Median absolute deviation to standard deviation for normal errors.
_MAD_TO_STD = 1.4826
# Below this relative error timers and clocks have no resolution to speak of; it also keeps exact data finite.
_LEAST_STD = 1e-3
# Reweighting ends when no weight moves by more, or after so many rounds.
_SETTLED = 0.01
_ROUNDS = 12


@dataclass(frozen=True)
class RobustFit:
    """``target ≈ columns @ coefficients``; ``weights`` (n,) in (0, 1] are near zero for outliers."""

    coefficients: Floats
    weights: Floats
    relative_std: float


def fit_nonnegative(columns: Floats, target: Floats) -> RobustFit:
    """Fit non-negative coefficients (k,) for ``columns`` (n, k) to ``target`` (n,) in relative error.

    Iteratively reweighted. A target far below the median (a node absent from a variant has time zero) is
    compared with a quarter of the median instead of with itself.
    """
    unit = np.maximum(target, np.median(target) / 4)
    unit = np.where(unit > 0, unit, float(target.max()) or 1.0)
    rows, wanted = columns / unit[:, None], target / unit
    norms = np.maximum(np.linalg.norm(rows, axis=0), np.finfo(float).tiny)
    weights = np.ones(len(target))
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        scaled, _ = nnls(rows / norms * root[:, None], wanted * root)
        errors = rows / norms @ scaled - wanted
        std = robust_std(errors, dropped=int(np.count_nonzero(scaled)))
        before, weights = weights, 1 / (1 + (errors / (_CAUCHY * std)) ** 2)
        if np.abs(weights - before).max() < _SETTLED:
            break
    return RobustFit(scaled / norms, weights, std)


def robust_std(errors: Floats, dropped: int = 0) -> float:
    """Standard deviation about zero from the median absolute error, ``dropped`` parameters fitted."""
    freedom = max(len(errors) - dropped, 1)
    spread = _MAD_TO_STD * float(np.median(np.abs(errors))) * np.sqrt(len(errors) / freedom)
    return max(spread, _LEAST_STD)
