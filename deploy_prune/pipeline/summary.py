"""From what was measured to what the report shows: seconds become milliseconds here and nowhere else."""

from collections.abc import Sequence
from typing import Any

from deploy_prune.pipeline import closed_loop
from deploy_prune.report.result import LatencySummary, Round, Speedup
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.timing import Conditions, Timing


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


def summarise_rounds(rounds: Sequence[closed_loop.Round], best: closed_loop.Round) -> tuple[Round, ...]:
    """The rounds of a search in milliseconds, the one that was taken marked."""
    return tuple(Round(1e3 * r.predicted_s, 1e3 * r.measured_s, 1e3 * r.budget_s, r is best) for r in rounds)


def flatten_conditions(conditions: Conditions) -> dict[str, Any]:
    """The conditions as one level of names and printable values."""
    flat: dict[str, Any] = {}
    for name, value in conditions.to_dict().items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": inner_value for inner, inner_value in value.items()}
        elif isinstance(value, list | tuple):
            flat[name] = ", ".join(map(str, value))
        else:
            flat[name] = value
    return flat
