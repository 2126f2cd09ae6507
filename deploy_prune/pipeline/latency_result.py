"""A pruned model that keeps a latency budget, and how it was found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from torch import nn

from deploy_prune.count import Count
from deploy_prune.graph.units import FrozenGroup
from deploy_prune.latency.floor import Floor
from deploy_prune.pipeline.closed_loop import Round
from deploy_prune.pipeline.limits import SizeKept
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.verify import Verification
from deploy_prune.recovery import Recovered
from deploy_prune.report.front import PhaseTime
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.timing import Timing


@dataclasses.dataclass(frozen=True, eq=False)
class LatencyResult:
    """A pruned model that meets a latency budget, and how it was found.

    Attributes:
        model: the pruned module, recovered without training where there is calibration data, not yet finetuned; the
            dense one is untouched.
        plan: what was removed.
        best: the round whose plan this is, with its predicted and measured seconds and its loss.
        rounds: every plan that was measured, in order, with the bound that the solver proved for any widths.
        also: comparisons under the further profiles that have a budget, by profile.
        sizes: what the plan takes of each further limit.
        floor: what no widths are predicted to go below.
        dense, pruned: timings of both models, taken in turns; ``comparison`` has their ratio and its interval.
        dense_count, pruned_count: MACs and parameters.
        full_widths: units per free group in the dense model.
        frozen: what could not be removed, and why.
        verification: errors of the oracle, before recovery.
        recovered: what recovery tried and what that brought; None without calibration data of at least two samples.
        note: why the plan does not lie closer to the budget, empty where it is close.
        spent: seconds per phase, those shared with other budgets left out.
    """

    model: nn.Module
    plan: Plan
    best: Round
    rounds: tuple[Round, ...]
    floor: Floor
    comparison: Comparison
    dense_count: Count
    pruned_count: Count
    full_widths: Mapping[str, int]
    frozen: tuple[FrozenGroup, ...]
    verification: Verification
    also: Mapping[str, Comparison] = dataclasses.field(default_factory=dict)
    sizes: tuple[SizeKept, ...] = ()
    note: str = ""
    recovered: Recovered | None = None
    spent: tuple[PhaseTime, ...] = ()

    @property
    def budget_s(self) -> float:
        """The latency allowed, in seconds."""
        return self.best.budget_s

    @property
    def dense(self) -> Timing:
        """Timing of the dense model."""
        return self.comparison.baseline

    @property
    def pruned(self) -> Timing:
        """Timing of the pruned model."""
        return self.comparison.candidate
