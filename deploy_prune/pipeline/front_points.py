"""From what was found at a budget to the point of a front that shows it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

from deploy_prune.count import Count
from deploy_prune.errors import UnreachableBudgetError
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_result import LatencyResult
from deploy_prune.pipeline.summary import summarise_comparison, summarise_rounds, summarise_timing
from deploy_prune.report.front import DensePoint, FrontPoint, FurtherLatency, PhaseTime, PrunedPoint
from deploy_prune.report.result import Result, Width
from deploy_prune.runtime.timing import Timing


def describe_dense(timing: Timing, counted: Count, onnx: Path) -> DensePoint:
    """The point of the dense model."""
    return DensePoint(summarise_timing(timing), counted.macs, counted.params, onnx.stat().st_size)


def describe_result(
    budget: Budget,
    result: LatencyResult,
    dense_s: float,
    onnx: Path,
    folder: str = "",
    also_s: Mapping[str, float] | None = None,
) -> FrontPoint:
    """The point of a budget that widths were found for and that was measured just now.

    Args:
        budget: what was asked.
        result: what was found.
        dense_s: the dense model's latency in seconds; the point's times are given at that speed of the machine.
        onnx: the pruned model's file.
        folder: where the files of the budget are, relative to the front's folder.
        also_s: the dense model's latencies in seconds on the further devices, by profile.
    """
    comparison, best = result.comparison, result.best
    mac_reduction = result.dense_count.macs / result.pruned_count.macs
    widths = result.plan.widths
    dense_ms = 1e3 * dense_s
    pruned = PrunedPoint(
        latency_ms=dense_ms / comparison.speedup,
        low_ms=dense_ms / comparison.high,
        high_ms=dense_ms / comparison.low,
        predicted_ms=1e3 * best.predicted_s,
        speedup=summarise_comparison(comparison),
        samples=summarise_timing(comparison.candidate),
        macs=result.pruned_count.macs,
        params=result.pruned_count.params,
        size_bytes=onnx.stat().st_size,
        mac_reduction=mac_reduction,
        speed_efficiency=comparison.speedup / mac_reduction,
        loss=best.loss,
        rounds=summarise_rounds(result.rounds, best),
        widths=tuple(Width(name, full, widths[name]) for name, full in result.full_widths.items()),
    )
    budget_ms = 1e3 * budget.in_seconds(dense_s)
    return FrontPoint(
        budget.name,
        budget_ms,
        pruned,
        reason=result.note,
        spent=result.spent,
        folder=folder,
        also=_further_latencies(result, also_s or {}),
        measured_at=now_utc(),
    )


def now_utc() -> str:
    """This moment, ISO 8601 in UTC to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _further_latencies(result: LatencyResult, dense_s: Mapping[str, float]) -> tuple[FurtherLatency, ...]:
    """Measured and predicted latencies of the plan on the further devices."""
    found = []
    for time in result.best.also:
        comparison, dense_ms = result.also[time.profile], 1e3 * dense_s[time.profile]
        found.append(
            FurtherLatency(
                profile=time.profile,
                budget_ms=1e3 * time.budget_s,
                latency_ms=dense_ms / comparison.speedup,
                low_ms=dense_ms / comparison.high,
                high_ms=dense_ms / comparison.low,
                predicted_ms=1e3 * time.predicted_s,
                speedup=summarise_comparison(comparison),
            )
        )
    return tuple(found)


def describe_unreachable(
    budget: Budget, error: UnreachableBudgetError, dense_s: float, spent: tuple[PhaseTime, ...], measured_at: str = ""
) -> FrontPoint:
    """The point of a budget that no widths keep; arguments as in :func:`describe_result`.

    ``measured_at`` is when that was found, ISO 8601 in UTC.
    """
    budget_ms = 1e3 * budget.in_seconds(dense_s)
    return FrontPoint(budget.name, budget_ms, None, 1e3 * error.fastest_s, str(error), spent, measured_at=measured_at)


def describe_run(
    budget: Budget, result: Result, dense_s: float, spent: tuple[PhaseTime, ...], measured_at: str = ""
) -> FrontPoint:
    """The point of a whole run, with the finetuned network's metric; arguments as in :func:`describe_result`.

    ``measured_at`` is when its benchmark ended, ISO 8601 in UTC.
    """
    dense_ms, speedup, pruned = 1e3 * dense_s, result.speedup, result.pruned
    chosen = next(one for one in result.rounds if one.chosen)
    point = PrunedPoint(
        latency_ms=dense_ms / speedup.value,
        low_ms=dense_ms / speedup.high,
        high_ms=dense_ms / speedup.low,
        predicted_ms=chosen.predicted_ms,
        speedup=speedup,
        samples=pruned.latency_ms,
        macs=pruned.macs,
        params=pruned.params,
        size_bytes=pruned.size_bytes,
        mac_reduction=result.mac_reduction,
        speed_efficiency=result.speed_efficiency,
        loss=result.metric_loss,
        rounds=result.rounds,
        widths=result.widths,
        metric=pruned.metric,
    )
    budget_ms = 1e3 * budget.in_seconds(dense_s)
    return FrontPoint(budget.name, budget_ms, point, spent=spent, folder=budget.name, measured_at=measured_at)
