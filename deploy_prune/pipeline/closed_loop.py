"""The closed loop: solve for widths, measure them, correct the latency model, until a measurement meets the budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from rich.progress import Progress

from deploy_prune.errors import UnreachableBudgetError
from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.sample import VariantSample
from deploy_prune.pipeline.device import Device
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.phases import MEASURING, PROFILING, SOLVING, PhaseClock
from deploy_prune.search.menu import Menu, prefer_widths
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import fastest, solve

MAX_ROUNDS = 6
AIM = 0.97
"""Share of the budget to aim at: a fresh measurement on a busy machine must not exceed it (design: [0.95, 1.00])."""
WINDOW = (0.95, 0.985)
"""Shares of the budget at which the loop is content."""
LEAST = 0.93
"""Below this share a plan is worth less than one that measures between the window's end and the budget; above it, it is
near enough once :data:`PATIENCE` rounds were spent."""
PATIENCE = 4
CHANGE_COST = 0.02
"""Share of a plan's loss that changing all of its groups would cost extra in the next round: between plans of nearly
the same loss it decides for the one that resembles what was measured."""
NEAR = 0.08
"""Plans whose latencies differ by no more than this share correct the latency model together."""
SHRINKAGE = 0.25
"""How many plans the correction takes to be half believed: some of what a plan is off by is its own, or the noise of
its measurement. Second plans, aimed at 0.97, came at 0.99 on average with 0 and at 0.91 with 1 (docs/budgets.md)."""
STEP, ATTEMPTS = 0.005, 6
"""Where the solver gives a plan that was measured before, it is asked for so much more or less, and so often."""

COARSE = "the menu is too coarse: every plan that should come closer to the budget was measured already"


@dataclasses.dataclass(frozen=True)
class Round:
    """One plan of the loop: its widths, what the latency model said of it and what the device said, in seconds.

    ``measured_s`` is the dense model's latency divided by the paired speed-up, so that rounds compare although the
    machine drifts, ``upper_s`` the upper end of its 95 % interval. ``loss`` is the menu's.
    """

    widths: Mapping[str, int]
    predicted_s: float
    measured_s: float
    upper_s: float
    budget_s: float
    loss: float

    @property
    def share(self) -> float:
        """Measured latency as a share of the budget."""
        return self.measured_s / self.budget_s

    @property
    def fits(self) -> bool:
        """Whether the share lies within :data:`WINDOW`, or above it and below 1 beyond the doubt of its measurement."""
        return WINDOW[0] <= self.share and (self.share <= WINDOW[1] or self.upper_s <= self.budget_s)


@dataclasses.dataclass(frozen=True)
class Search:
    """All rounds of a search, and the one of least loss that keeps the budget; ``note`` says why it is not closer."""

    rounds: tuple[Round, ...]
    best: Round
    note: str = ""


@dataclasses.dataclass(eq=False)
class Loop:
    """State of one search: the samples grow by one measured plan per round.

    Attributes:
        prunable: the model and the order of its units.
        device: where plans are measured, in turns with the dense model.
        menu: widths and their losses.
        samples: profiled variants, the dense one first.
        measured: every round so far, of all budgets.
        clock: where the time goes.
    """

    prunable: Prunable
    device: Device
    menu: Menu
    samples: list[VariantSample]
    measured: list[Round] = dataclasses.field(default_factory=list)
    clock: PhaseClock = dataclasses.field(default_factory=PhaseClock)

    def search(self, budget: Budget, progress: Progress | None = None) -> Search:
        """Plans until one measures within :data:`WINDOW` of the budget, and the one of least loss that keeps it.

        Raises:
            UnreachableBudgetError: even the fastest widths are predicted, or were measured, above the budget.
        """
        budget_s = budget.in_seconds(self.device.dense_s)
        bar = progress.add_task(f"search {budget.name}", total=MAX_ROUNDS) if progress else None
        rounds: list[Round] = []
        note = ""
        while len(rounds) < MAX_ROUNDS:
            with self.clock.phase(SOLVING):
                proposed = self._propose(budget_s, rounds)
            if proposed is None:
                note = COARSE
                break
            rounds.append(self._measure(*proposed, budget_s))
            if progress and bar is not None:
                said = f"search {budget.name}: round {len(rounds)} took {rounds[-1].share:.1%} of the budget"
                progress.update(bar, advance=1, description=said)
            note = "" if rounds[-1].fits else f"no plan lay within {WINDOW[0]:.0%} and {WINDOW[1]:.1%} of the budget"
            near = any(LEAST <= r.share <= WINDOW[1] for r in rounds)
            if not note or (near and len(rounds) >= PATIENCE):
                break
        best = _choose(rounds, budget_s)
        if best.widths == self.prunable.full_widths:
            note = "the dense model keeps this budget as it is"
        return Search(tuple(rounds), best, note)

    def recall(self, rounds: Sequence[Round]) -> None:
        """Take over what an earlier search measured of its plans; the store still has it."""
        self.measured += rounds
        self.samples += [self.device.profile_widths(self.prunable, r.widths) for r in rounds if not r.fits]

    def _measure(self, widths: Mapping[str, int], predicted_s: float, budget_s: float) -> Round:
        """One round; a plan that misses the window is profiled too, so that the latency model learns from it."""
        with self.clock.phase(MEASURING):
            found = self.device.compare_widths(self.prunable, widths)
        times_s = (self.device.dense_s / found.speedup, self.device.dense_s / found.low)
        tried = Round(widths, predicted_s, *times_s, budget_s, self.menu.loss_at(widths))
        if not tried.fits:
            with self.clock.phase(PROFILING):
                self.samples.append(self.device.profile_widths(self.prunable, widths))
        self.measured.append(tried)
        return tried

    def _propose(self, budget_s: float, rounds: Sequence[Round]) -> tuple[Mapping[str, int], float] | None:
        """A plan that this budget has not tried, and its predicted seconds; None where the solver knows no other.

        What the model gets wrong about plans that were measured near the aim, for this budget or another one, it gets
        wrong about the next plan, most nodes of which are the same: their ratio of measured to predicted corrects it.
        """
        full = self.prunable.full_widths
        model = LatencyModel.fit(self.samples, full, self.prunable.branches)
        # What the model gets wrong about the dense network it gets wrong about all: only ratios count.
        unit = self.device.dense_s / model.predict(full).total_s
        aim_s, menu = AIM * budget_s, self.menu
        if self.measured:
            ordered = sorted(self.measured, key=lambda r: abs(math.log(r.measured_s / aim_s)))
            near = [r for r in ordered if abs(math.log(r.measured_s / aim_s)) < NEAR] or ordered[:1]
            wrong = [math.log(r.measured_s / (unit * model.predict(r.widths).total_s)) for r in near]
            unit *= math.exp(sum(wrong) / (len(wrong) + SHRINKAGE))
            menu = prefer_widths(menu, ordered[0].widths, CHANGE_COST)
        tried = {tuple(r.widths.items()): r for r in rounds}
        share = AIM
        for _ in range(ATTEMPTS):
            widths = self._solve(model, menu, share * budget_s / unit, budget_s, unit)
            predicted_s = unit * model.predict(widths).total_s
            known = tried.get(tuple(widths.items()))
            if known is None:
                return widths, predicted_s
            unit *= known.measured_s / predicted_s  # now the plan that the solver insists on is predicted as it was
            share += STEP if known.share < WINDOW[0] else -STEP
        return None

    def _solve(self, model: LatencyModel, menu: Menu, target_s: float, budget_s: float, unit: float) -> dict[str, int]:
        """Widths of least loss at ``target_s`` of the model's seconds; the error speaks of the user's budget."""
        tables = model.tables(self.menu.widths)
        try:
            return solve(menu, tables, target_s).widths
        except UnreachableBudgetError:
            quickest = fastest(tables, self.menu)
            reachable_s = unit * quickest.predicted_s
            if reachable_s <= budget_s:
                return quickest.widths
            raise UnreachableBudgetError(
                f"the budget of {budget_s * 1e3:.3f} ms is unreachable: the fastest plan is predicted to take "
                f"{reachable_s * 1e3:.3f} ms, {self.device.dense_s / reachable_s:.2f} times as fast as dense "
                f"({len(self.prunable.graph.frozen)} groups are frozen); ask for at least that, or for a smaller input",
                reachable_s,
            ) from None


def _choose(rounds: Sequence[Round], budget_s: float) -> Round:
    """The round of least loss among those that fit, else among those safely below the budget, else among the rest.

    Raises:
        UnreachableBudgetError: no round is within the budget.
    """
    for kept in (
        [r for r in rounds if r.fits],
        [r for r in rounds if LEAST <= r.share <= WINDOW[1]],
        [r for r in rounds if r.share <= 1],
    ):
        if kept:
            return min(kept, key=lambda r: r.loss)
    best_s = min(r.measured_s for r in rounds)
    raise UnreachableBudgetError(
        f"no plan kept the budget of {budget_s * 1e3:.3f} ms in {len(rounds)} rounds; the fastest measured "
        f"takes {best_s * 1e3:.3f} ms: allow at least that",
        best_s,
    )
