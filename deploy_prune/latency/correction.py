"""What the smooth time model leaves over: kernels run in blocks, so time has steps and kinks.

A Gaussian process on relative residuals, over relative sizes in (0, 1]. Its kernel is a sum of one part per
axis and their product, so that what an output width costs is shared between points of different inputs. Far
from all measurements it returns zero; at a measured point it moves towards the measurement as far as the
noise allows. Length and strength are chosen by marginal likelihood (Rasmussen and Williams 2006, eq. 5.8),
the mean, variance and leave-one-out residuals are their eq. 2.23, 2.24 and 5.12.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Correlation lengths in relative width, and signal-to-noise variance ratios, that the likelihood chooses
# from.
_LENGTHS = (0.03, 0.1, 0.3)
_STRENGTHS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
# A timing median cannot be trusted better than this (relative), whatever a small sample says.
_LEAST_NOISE = 2e-3


@dataclass(frozen=True, eq=False)
class Correction:
    """The fitted process: ``points`` (n, axes) measured; ``residuals`` (n,); noise variance ``noise`` (n,).

    ``strength`` is the signal variance over the noise variance of a clean measurement, ``noise_variance`` the
    latter.
    """

    points: Floats
    length: float
    strength: float
    noise_variance: float
    inverse: Floats
    residuals: Floats

    def mean(self, points: Floats) -> Floats:
        """Expected relative residual at ``points`` (m, axes), shape (m,)."""
        return self.strength * self._kernel(points) @ (self.inverse @ self.residuals)

    def variance(self, points: Floats) -> Floats:
        """Variance of the true relative residual at ``points`` (m, axes), shape (m,); noise not included."""
        cross = self.strength * self._kernel(points)
        known = np.einsum("mn,nk,mk->m", cross, self.inverse, cross)
        return self.noise_variance * np.maximum(self.strength - known, 0.0)

    def left_out(self) -> Floats:
        """What ``mean`` would be at each measured point without that measurement, shape (n,)."""
        return self.residuals - self.inverse @ self.residuals / np.diag(self.inverse)

    def _kernel(self, points: Floats) -> Floats:
        return _correlation(points, self.points, self.length)


def fit_correction(points: Floats, residuals: Floats, weights: Floats) -> Correction:
    """Fit to ``residuals`` (n,) at ``points`` (n, axes); an outlier has a small weight in (0, 1]."""
    noise = 1 / np.maximum(weights, 1e-3)
    fits = [_fit_length(points, residuals, noise, length) for length in _LENGTHS] if points.shape[1] else []
    if not fits:
        variance = max(float(np.mean(weights * residuals**2)), _LEAST_NOISE**2)
        return Correction(points, 1.0, 0.0, variance, np.diag(weights), residuals)
    return max(fits, key=lambda fit: fit[0])[1]


def _fit_length(points: Floats, residuals: Floats, noise: Floats, length: float) -> tuple[float, Correction]:
    """Best log marginal likelihood over the strengths (noise profiled out), and its process."""
    root = 1 / np.sqrt(noise)
    values, vectors = np.linalg.eigh(_correlation(points, points, length) * np.outer(root, root))
    values = np.maximum(values, 0.0)
    turned = vectors.T @ (residuals * root)
    best = (-np.inf, 0.0, 0.0)
    for strength in _STRENGTHS:
        spectrum = strength * values + 1
        variance = max(float(np.mean(turned**2 / spectrum)), _LEAST_NOISE**2)
        fit = float(np.sum(turned**2 / spectrum)) / variance
        likelihood = -0.5 * (fit + len(residuals) * np.log(variance) + float(np.log(spectrum).sum()))
        best = max(best, (likelihood, strength, variance))
    likelihood, strength, variance = best
    inverse = (vectors / (strength * values + 1)) @ vectors.T * np.outer(root, root)
    return likelihood, Correction(points, length, strength, variance, inverse, residuals)


def _correlation(left: Floats, right: Floats, length: float) -> Floats:
    """One for equal points, zero for far ones; exponential in the distance, for steps are not smooth."""
    if left.shape[1] == 0:
        return np.zeros((len(left), len(right)))
    parts = [np.exp(-np.abs(left[:, None, k] - right[None, :, k]) / length) for k in range(left.shape[1])]
    return (sum(parts) + np.prod(parts, axis=0)) / (len(parts) + 1)
