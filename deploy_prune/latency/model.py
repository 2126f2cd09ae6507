"""The latency model of a whole network: fitted to profiled variants, asked about any widths."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deploy_prune.errors import InputError
from deploy_prune.latency.branches import Branches, is_whole
from deploy_prune.latency.calibration import Calibration, calibrate
from deploy_prune.latency.node import NodeModel, fit_node
from deploy_prune.latency.sample import VariantSample
from deploy_prune.latency.series import NodeSeries, collect_series
from deploy_prune.latency.speed import find_slowness
from deploy_prune.latency.tables import CostTables, tabulate

# Fewer leave no observation to check a decoded size, or the calibration, against.
_LEAST_VARIANTS = 6


@dataclass(frozen=True)
class Prediction:
    """End-to-end seconds, their standard deviation, and the seconds of each node by name."""

    total_s: float
    std_s: float
    nodes: Mapping[str, float]


@dataclass(frozen=True)
class Diagnostics:
    """What the fit could not explain, for the report.

    ``unsized`` nodes have a size that follows no known tensor (it counts at its mean), ``approximate`` ones
    follow one nearly, ``intermittent`` ones are absent from some variants. ``residual_by_op`` is the relative
    standard deviation that the smooth node models leave, by op, weighted by time.
    """

    unsized: tuple[str, ...]
    approximate: tuple[str, ...]
    intermittent: tuple[str, ...]
    residual_by_op: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """Latency from group widths: ``scale * sum of node times + overhead_s``, at the machine's usual speed."""

    nodes: tuple[NodeModel, ...]
    full_widths: Mapping[str, int]
    calibration: Calibration
    diagnostics: Diagnostics

    @classmethod
    def fit(
        cls, samples: Sequence[VariantSample], full_widths: Mapping[str, int], branches: Branches | None = None
    ) -> "LatencyModel":
        """Fit to profiled variants; ``InputError`` for too few of them, or one that lacks a group's width.

        Variants with width 0, where some of the ``branches`` are gone, tell which nodes go with each; times are fitted
        to the others. Call it again whenever another variant was measured: every decoded size is then re-checked.
        """
        cut = [sample for sample in samples if not is_whole(sample.widths)]
        samples = [sample for sample in samples if is_whole(sample.widths)]
        if len(samples) < _LEAST_VARIANTS:
            raise InputError(f"got {len(samples)} profiled variants, expected at least {_LEAST_VARIANTS}; profile more")
        series = collect_series(samples, full_widths, cut, branches)
        slowness = find_slowness(series)
        steady = [node.at_speed(slowness) for node in series]
        nodes = tuple(fit_node(node) for node in steady)
        totals_s = np.array([sample.total_s for sample in samples])
        calibration = calibrate(nodes, steady, totals_s, slowness)
        return cls(nodes, dict(full_widths), calibration, _diagnose(nodes, steady))

    def predict(self, widths: Mapping[str, int]) -> Prediction:
        """Latency at these widths; a group that is not named is at its full width.

        ``std_s`` is of one fresh measurement: the nodes' doubt, the calibration's, and the machine's changes
        of speed.
        """
        self._refuse_unknown(widths)
        complete = {**self.full_widths, **widths}
        nodes = [node for node in self.nodes if node.runs_at(complete)]
        sizes = [node.sizes_at(complete) for node in nodes]
        times = {node.name: float(node.time_s(*at)) for node, at in zip(nodes, sizes, strict=True)}
        variance = sum(float(node.variance_s2(*at)) for node, at in zip(nodes, sizes, strict=True))
        fit = self.calibration
        total_s = fit.scale * sum(times.values()) + fit.overhead_s
        std_s = np.sqrt(fit.scale**2 * variance + (fit.total_std**2 + fit.speed_std**2) * total_s**2)
        return Prediction(total_s, float(std_s), times)

    def tables(self, menu: Mapping[str, Sequence[int]]) -> CostTables:
        """Cost tables over ``menu``, equal to ``predict`` at any widths on it (relative 1e-9)."""
        self._refuse_unknown(menu)
        sums = tabulate(self.nodes, menu, self.full_widths)
        scale = self.calibration.scale
        unary = {g: scale * table for g, table in sums.unary.items()}
        pair = {groups: scale * table for groups, table in sums.pair.items()}
        return CostTables(sums.widths, scale * sums.constant_s + self.calibration.overhead_s, unary, pair)

    def _refuse_unknown(self, groups: Mapping[str, object]) -> None:
        unknown = [g for g in groups if g not in self.full_widths]
        if unknown:
            raise InputError(f"group {unknown[0]!r} was not profiled; the model knows {len(self.full_widths)} groups")


def _diagnose(nodes: Sequence[NodeModel], series: Sequence[NodeSeries]) -> Diagnostics:
    times: dict[str, float] = defaultdict(float)
    left: dict[str, float] = defaultdict(float)
    for node, own in zip(nodes, series, strict=True):
        times[node.op] += float(own.times_s.mean())
        left[node.op] += float(own.times_s.mean()) * node.smooth.relative_std
    inexact = [node for node in nodes if not all(size.exact for size in node.sizes)]
    unsized = tuple(n.name for n in inexact if any(not size.exact and not size.groups for size in n.sizes))
    return Diagnostics(
        unsized=unsized,
        approximate=tuple(node.name for node in inexact if node.name not in unsized),
        intermittent=tuple(own.name for own in series if not own.present.all()),
        residual_by_op={op: left[op] / times[op] for op in times if times[op] > 0},
    )
