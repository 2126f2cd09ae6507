"""What else reaches the budget: other answers than pruning, measured beside the dense model in the same run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from deploy_prune.report import figures

Kind = Literal["pruned", "resolution", "smaller", "int8"]
HEADINGS = ("alternative", "latency", "speed-up", "95 % interval", "budget", "metric", "note")


@dataclasses.dataclass(frozen=True)
class Alternative:
    """A model that could be deployed instead; ``low`` and ``high`` are the 95 % interval of ``speedup`` over dense.

    ``metric`` is None where it was not evaluated; ``note`` says what the model is and what it is not.
    """

    name: str
    kind: Kind
    latency_ms: float
    speedup: float
    low: float
    high: float
    met: bool
    metric: float | None
    note: str


def alternative_rows(alternatives: Sequence[Alternative]) -> list[tuple[str, ...]]:
    """The table's rows, fastest first."""
    return [
        (
            one.name,
            figures.milliseconds(one.latency_ms),
            figures.ratio(one.speedup),
            f"{one.low:.2f} to {one.high:.2f}",
            "met" if one.met else "not met",
            "not evaluated" if one.metric is None else f"{one.metric:.4f}",
            one.note,
        )
        for one in sorted(alternatives, key=lambda one: one.latency_ms)
    ]


def verdict_line(alternatives: Sequence[Alternative]) -> str:
    """Which is best at the budget: of those that meet it and have a metric, the one of the highest."""
    met = [one for one in alternatives if one.met]
    judged = [one for one in met if one.metric is not None]
    if not met:
        return "None of these meets the budget."
    if not judged:
        return f"{_names(met)} meet the budget; none of them was evaluated, so which is best is open."
    best = max(judged, key=lambda one: (one.metric or 0.0, one.speedup))
    line = f"Best at this budget: {best.name}, {best.metric:.4f} at {figures.milliseconds(best.latency_ms)}."
    open_ones = [one for one in met if one.metric is None]
    if open_ones:
        line += f" {_names(open_ones)} would have to be trained before they can be compared."
    return line


def _names(ones: Sequence[Alternative]) -> str:
    return ", ".join(one.name for one in ones)
