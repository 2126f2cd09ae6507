"""The closed loop: solve for widths, measure them, correct the latency model, until a measurement meets the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rich.progress import Progress

from deploy_prune.errors import InputError, UnreachableBudgetError
from deploy_prune.latency.floor import Floor, find_floor
from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.sample import VariantSample
from deploy_prune.pipeline.device import Device
from deploy_prune.search.menu import Menu
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import fastest, solve

MAX_ROUNDS = 8
AIM = 0.97
"""Share of the budget to aim at: a fresh measurement on a busy machine must not exceed it (design: [0.95, 1.00])."""
WINDOW = (0.95, 0.985)
"""Shares of the budget at which the loop is content."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """A latency in seconds, or a speed-up over the dense model; exactly one is set."""

    latency_s: float | None = None
    speedup: float | None = None

    @classmethod
    def of(cls, *, latency_ms: float | None, speedup: float | None) -> Budget:
        """Check a budget as a person gives it.

        Raises:
            InputError: both or none are given, or a value that is no budget.
        """
        if (latency_ms is None) == (speedup is None):
            raise InputError(f"got latency_ms={latency_ms} and speedup={speedup}; give exactly one of them")
        if latency_ms is not None and not latency_ms > 0:
            raise InputError(f"latency_ms is {latency_ms}; give a latency above 0 ms")
        if speedup is not None and not speedup > 1:
            raise InputError(f"speedup is {speedup}; give a factor above 1, such as 2")
        return cls(None if latency_ms is None else latency_ms / 1e3, speedup)

    def in_seconds(self, dense_s: float) -> float:
        """The latency allowed when the dense model takes ``dense_s``."""
        if self.latency_s is not None:
            return self.latency_s
        assert self.speedup is not None
        return dense_s / self.speedup


@dataclasses.dataclass(frozen=True)
class Round:
    """One plan of the loop: its widths, what the latency model said of it and what the device said, in seconds.

    ``predicted_std_s`` is the prediction's own doubt, the standard deviation of one fresh measurement.
    ``measured_s`` is the dense model's latency divided by the paired speed-up, so that rounds compare although the
    machine drifts. ``loss`` is the menu's.
    """

    widths: Mapping[str, int]
    predicted_s: float
    predicted_std_s: float
    measured_s: float
    budget_s: float
    loss: float

    @property
    def share(self) -> float:
        """Measured latency as a share of the budget."""
        return self.measured_s / self.budget_s


@dataclasses.dataclass(eq=False)
class Loop:
    """State of one search: the samples grow by one measured plan per round.

    Attributes:
        prunable: the model and the order of its units.
        device: where plans are measured, in turns with the dense model.
        menu: widths and their losses.
        samples: profiled variants, the dense one first.
    """

    prunable: Prunable
    device: Device
    menu: Menu
    samples: list[VariantSample]

    def search(self, budget: Budget, progress: Progress | None = None) -> tuple[tuple[Round, ...], Round]:
        """All rounds, and the one of least loss that keeps the budget.

        Raises:
            UnreachableBudgetError: even the fastest widths are predicted, or were measured, above the budget.
        """
        full = self.prunable.full_widths
        dense_s = self.device.dense_s
        budget_s = budget.in_seconds(dense_s)
        bar = progress.add_task("search widths", total=MAX_ROUNDS) if progress else None
        rounds: list[Round] = []
        aim = AIM
        while len(rounds) < MAX_ROUNDS:
            model = LatencyModel.fit(self.samples, full, self.prunable.branches)
            # What the model gets wrong about the dense network it gets wrong about all: only ratios count.
            unit = dense_s / model.predict(full).total_s
            widths = self._solve(model, aim * budget_s / unit, budget_s, unit)
            if any(r.widths == widths for r in rounds):
                break
            measured_s = dense_s / self.device.compare_widths(self.prunable, widths).speedup
            said = model.predict(widths)
            loss = self.menu.loss_at(widths)
            rounds.append(Round(widths, unit * said.total_s, unit * said.std_s, measured_s, budget_s, loss))
            if progress and bar is not None:
                progress.advance(bar)
            if WINDOW[0] <= rounds[-1].share <= WINDOW[1]:
                break
            self.samples.append(self.device.profile_widths(self.prunable, widths))
            aim = self._next_aim(rounds, unit)
        kept = [r for r in rounds if r.share <= WINDOW[1]] or [r for r in rounds if r.share <= 1]
        if not kept:
            best_s = min(r.measured_s for r in rounds)
            raise UnreachableBudgetError(
                f"no plan kept the budget of {budget_s * 1e3:.3f} ms in {len(rounds)} rounds; the fastest measured "
                f"takes {best_s * 1e3:.3f} ms: allow at least that",
                best_s,
            )
        return tuple(rounds), max(kept, key=lambda r: r.share)

    def account(self) -> tuple[LatencyModel, Floor]:
        """The latency model with all that was measured, and the floor that it predicts."""
        full = self.prunable.full_widths
        model = LatencyModel.fit(self.samples, full, self.prunable.branches)
        quickest = fastest(model.tables(self.menu.widths), self.menu)
        return model, find_floor(model, quickest.widths, self.device.dense_s / model.predict(full).total_s)

    def _next_aim(self, rounds: Sequence[Round], unit: float) -> float:
        """The share to ask of the refitted model, by what it still gets wrong about the last plan."""
        refitted = LatencyModel.fit(self.samples, self.prunable.full_widths, self.prunable.branches)
        last = rounds[-1]
        still_wrong = last.measured_s / (unit * refitted.predict(last.widths).total_s)
        return AIM / min(max(still_wrong, 0.8), 1.25)

    def _solve(self, model: LatencyModel, target_s: float, budget_s: float, unit: float) -> dict[str, int]:
        """Widths of least loss at ``target_s`` of the model's seconds; the error speaks of the user's budget."""
        tables = model.tables(self.menu.widths)
        try:
            return solve(self.menu, tables, target_s).widths
        except UnreachableBudgetError:
            quickest = fastest(tables, self.menu)
            reachable_s = unit * quickest.predicted_s
            if reachable_s <= budget_s:
                return quickest.widths
            floor = find_floor(model, quickest.widths, unit)
            raise UnreachableBudgetError(
                f"the budget of {budget_s * 1e3:.3f} ms is unreachable: the fastest plan is predicted to take "
                f"{floor.describe()}, {floor.dense_s / reachable_s:.2f} times as fast as dense "
                f"({len(self.prunable.graph.frozen)} groups are frozen); ask for at least that, or for a smaller input",
                reachable_s,
            ) from None
