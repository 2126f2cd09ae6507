"""Time of one node as a function of its sizes: the smooth part, corrected near what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy_prune.latency.correction import Correction, fit_correction
from deploy_prune.latency.series import NodeSeries, Sizes
from deploy_prune.latency.smooth import SmoothTime, fit_smooth

Floats = npt.NDArray[np.float64]

# A corrected time keeps at least this share of the smooth one: no correction makes a time negative.
_LEAST_FACTOR = 0.05
# Two sizes correlated beyond this are one axis: a depthwise convolution's input and output.
_SAME_AXIS = 1 - 1e-9


@dataclass(frozen=True, eq=False)
class NodeModel:
    """``time = smooth(i, o) * (1 + correction)`` in seconds; i and o are sizes over ``dense_sizes``.

    ``axes`` names the sizes that the correction sees, such that cost tables can hold it exactly: where at
    most two groups decide the node, all that vary; else one that a single group decides; else none.
    ``branch`` has the groups of the branch that the node goes with, if any.
    """

    name: str
    op: str
    sizes: Sizes
    dense_sizes: tuple[float, float]
    smooth: SmoothTime
    axes: tuple[str, ...]
    correction: Correction
    branch: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group that the node's time depends on."""
        return _union(self.sizes)

    @property
    def pivot(self) -> str | None:
        """Of a node of more than two groups, the one that decides the size which the correction sees."""
        if len(self.groups) <= 2 or not self.axes:
            return None
        return self.sizes["io".index(self.axes[0])].groups[0]

    @property
    def gate(self) -> str | None:
        """The group at whose width 0 the node is gone; None if it stays, or if no table of two groups can say so."""
        if len(self.groups) > 2:
            return self.pivot if self.pivot in self.branch else None
        inside = [group for group in self.groups if group in self.branch]
        if inside or not self.branch:
            return inside[0] if inside else None
        return self.branch[0] if len(self.groups) < 2 else None

    def runs_at(self, widths: Mapping[str, int]) -> bool:
        """Whether the node is there at these widths."""
        return self.gate is None or widths[self.gate] > 0

    def sizes_at(self, widths: Mapping[str, int]) -> tuple[float, float]:
        """Relative input and output size at these widths."""
        i, o = (size.at(widths) / dense for size, dense in zip(self.sizes, self.dense_sizes, strict=True))
        return i, o

    def time_s(self, i: npt.ArrayLike, o: npt.ArrayLike) -> Floats:
        """Seconds at relative sizes ``i`` and ``o`` (broadcast together)."""
        inputs, outputs = np.broadcast_arrays(np.asarray(i, dtype=float), np.asarray(o, dtype=float))
        residual = self.correction.mean(_points(inputs, outputs, self.axes)).reshape(inputs.shape)
        return self.smooth.at(inputs, outputs) * _factor(residual)

    def variance_s2(self, i: npt.ArrayLike, o: npt.ArrayLike) -> Floats:
        """Variance in s² of the true time: the correction's, or all that is left where none reaches."""
        inputs, outputs = np.broadcast_arrays(np.asarray(i, dtype=float), np.asarray(o, dtype=float))
        if self.axes:
            unseen = self.correction.variance(_points(inputs, outputs, self.axes)).reshape(inputs.shape)
        else:
            unseen = np.full(inputs.shape, self.smooth.relative_std**2)
        spent = np.count_nonzero(self.smooth.coefficients) / len(self.smooth.weights)
        return self.smooth.at(inputs, outputs) ** 2 * (unseen + spent * self.correction.noise_variance)

    def left_out_s(self, series: NodeSeries) -> Floats:
        """Seconds for each variant of its own ``series``, the correction not knowing that variant."""
        return self.smooth.at(series.i, series.o) * _factor(self.correction.left_out())


def fit_node(series: NodeSeries) -> NodeModel:
    """Fit one node to its times."""
    smooth = fit_smooth(series)
    expected = smooth.at(series.i, series.o)
    residuals = np.divide(series.times_s - expected, expected, out=np.zeros_like(expected), where=expected > 0)
    axes = _choose_axes(series)
    correction = fit_correction(_points(series.i, series.o, axes), residuals, smooth.weights)
    return NodeModel(series.name, series.op, series.sizes, series.dense_sizes, smooth, axes, correction, series.branch)


def _choose_axes(series: NodeSeries) -> tuple[str, ...]:
    if len(_union(series.sizes)) > 2:
        single = [axis for axis, size in zip("io", series.sizes, strict=True) if len(size.groups) == 1]
        return tuple(single[-1:])
    varying = tuple(axis for axis, values in (("i", series.i), ("o", series.o)) if np.ptp(values) > 0)
    if len(varying) == 2 and np.corrcoef(series.i, series.o)[0, 1] > _SAME_AXIS:
        return ("o",)
    return varying


def _union(sizes: Sizes) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*sizes[0].groups, *sizes[1].groups)))


def _points(i: Floats, o: Floats, axes: tuple[str, ...]) -> Floats:
    """Sizes along ``axes``, shape (points, axes)."""
    columns = [{"i": i, "o": o}[axis].ravel() for axis in axes]
    return np.column_stack(columns) if columns else np.empty((i.size, 0))


def _factor(residual: Floats) -> Floats:
    return np.maximum(1 + residual, _LEAST_FACTOR)
