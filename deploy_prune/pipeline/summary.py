"""From what was measured to what the report shows: seconds become milliseconds here and nowhere else."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deploy_prune.latency.floor import Floor
from deploy_prune.latency.model import LatencyModel
from deploy_prune.pipeline.rounds import Round
from deploy_prune.report import result
from deploy_prune.report.explanation import Account, FloorReport, ModelAccount, OperatorResidual
from deploy_prune.report.result import LatencySummary, Speedup
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.timing import Conditions, Timing

NORMAL_95 = 1.96
"""Standard deviations to either side that hold 95 % of a normal distribution."""


def summarise_timing(timing: Timing) -> LatencySummary:
    """The figures of a timing in milliseconds."""
    return LatencySummary(
        median=1e3 * timing.median_s,
        p90=1e3 * timing.p90_s,
        p99=1e3 * timing.p99_s,
        iqr=1e3 * timing.iqr_s,
        n=timing.n,
    )


def summarise_comparison(comparison: Comparison) -> Speedup:
    """The speed-up with its interval and verdict."""
    return Speedup(comparison.speedup, comparison.low, comparison.high, comparison.verdict)


def summarise_rounds(rounds: Sequence[Round], best: Round) -> tuple[result.Round, ...]:
    """The rounds of a search in milliseconds, the one that was taken marked."""
    return tuple(_summarise_round(one, one is best) for one in rounds)


def _summarise_round(one: Round, chosen: bool) -> result.Round:
    """A plan of the closed loop; the model's 95 % interval is 1.96 standard deviations to either side."""
    return result.Round(
        predicted_ms=1e3 * one.predicted_s,
        measured_ms=1e3 * one.measured_s,
        budget_ms=1e3 * one.budget_s,
        predicted_std_ms=1e3 * one.predicted_std_s,
        inside=abs(one.measured_s - one.predicted_s) <= NORMAL_95 * one.predicted_std_s,
        loss=one.loss,
        loss_bound=one.loss_bound,
        chosen=chosen,
    )


def report_account(model: LatencyModel, floor: Floor) -> Account:
    """The floor, and what the latency model could not explain, the operator of the largest residual first."""
    left = sorted(model.diagnostics.residual_by_op.items(), key=lambda pair: -pair[1])
    return Account(
        floor=FloorReport(
            total_ms=1e3 * floor.total_s,
            narrowest_ms=1e3 * floor.narrowest_s,
            frozen_ms=1e3 * floor.frozen_s,
            undecided_ms=1e3 * floor.undecided_s,
            post_processing_ms=1e3 * floor.post_processing_s,
            overhead_ms=1e3 * floor.overhead_s,
            dense_ms=1e3 * floor.dense_s,
            std_ms=1e3 * floor.std_s,
        ),
        model=ModelAccount(
            residuals=tuple(OperatorResidual(op, float(residual)) for op, residual in left),
            unsized=model.diagnostics.unsized,
            approximate=model.diagnostics.approximate,
            intermittent=model.diagnostics.intermittent,
            scale=model.calibration.scale,
            overhead_ms=1e3 * model.calibration.overhead_s,
        ),
    )


def flatten_conditions(conditions: Conditions) -> dict[str, Any]:
    """The conditions as one level of names and printable values."""
    flat: dict[str, Any] = {}
    for name, value in dataclasses.replace(conditions, build=None).to_dict().items():
        if isinstance(value, dict):
            flat |= _flatten(name, value)
        elif isinstance(value, list | tuple):
            flat[name] = ", ".join(map(str, value))
        else:
            flat[name] = value
    if conditions.build is not None:
        flat["build"] = conditions.build.describe()
    return flat


def _flatten(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for inner, value in values.items():
        flat |= _flatten(f"{name}.{inner}", value) if isinstance(value, dict) else {f"{name}.{inner}": value}
    return flat
