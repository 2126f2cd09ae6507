"""The closed loop: solve for widths, measure them, correct the latency model, until a measurement meets the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import isfinite

from rich.progress import Progress

from deploy_prune.errors import UnreachableBudgetError
from deploy_prune.latency.floor import Floor
from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.sample import VariantSample
from deploy_prune.pipeline.device import Device
from deploy_prune.pipeline.device_aim import DeviceAim, OtherDevice
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.phases import MEASURING, PROFILING, SOLVING, PhaseClock
from deploy_prune.pipeline.rounds import LEAST, WINDOW, Round, Search, choose_round
from deploy_prune.search.menu import Menu, prefer_widths
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import Limit, Solution, as_solution, fastest, find_widths, least, unreachable

MAX_ROUNDS = 6
PATIENCE = 4
"""Rounds after which a plan from :data:`~deploy_prune.pipeline.rounds.LEAST` of the budget on is near enough."""
CHANGE_COST = 0.02
"""Share of a plan's loss that changing all of its groups would cost extra in the next round: between plans of nearly
the same loss it decides for the one that resembles what was measured."""
STEP, ATTEMPTS = 0.005, 6
"""Where the solver gives a plan that was measured before, it is asked for so much more or less, and so often."""

COARSE = "the menu is too coarse: every plan that should come closer to the budget was measured already"


@dataclasses.dataclass(eq=False)
class Loop:
    """State of one search: the samples grow by one measured plan per round.

    Attributes:
        prunable: the model and the order of its units.
        device: where plans are measured, in turns with the dense model.
        menu: widths and their losses.
        samples: profiled variants, the dense one first.
        others: further devices; a plan has to keep the budget of each, as measured there.
        limits: what else a plan keeps: memory, parameters …
        measured: every round so far, of all budgets.
        clock: where the time goes.
    """

    prunable: Prunable
    device: Device
    menu: Menu
    samples: list[VariantSample]
    others: tuple[OtherDevice, ...] = ()
    limits: tuple[Limit, ...] = ()
    measured: list[Round] = dataclasses.field(default_factory=list)
    clock: PhaseClock = dataclasses.field(default_factory=PhaseClock)

    def search(self, budget: Budget, progress: Progress | None = None) -> Search:
        """Plans until one measures within the window of the budget, and the one of least loss that keeps every budget.

        Raises:
            UnreachableBudgetError: even the fastest widths are predicted, or were measured, above a budget, or budgets
                and limits cannot be kept together; the message names what is in the way.
        """
        aims = [DeviceAim(self.prunable, self.device, self.samples, budget)]
        aims += [DeviceAim(self.prunable, one.device, one.samples, one.budget) for one in self.others]
        bar = progress.add_task(f"search {budget.name}", total=MAX_ROUNDS) if progress else None
        rounds: list[Round] = []
        note = ""
        while len(rounds) < MAX_ROUNDS:
            with self.clock.phase(SOLVING):
                proposed = self._propose(aims, rounds)
            if proposed is None:
                note = COARSE
                break
            rounds.append(self._measure(proposed, aims))
            if progress and bar is not None:
                said = f"search {budget.name}: round {len(rounds)} took {rounds[-1].share:.1%} of the budget"
                progress.update(bar, advance=1, description=said)
            note = "" if rounds[-1].fits else f"no plan lay within {WINDOW[0]:.0%} and {WINDOW[1]:.1%} of the budget"
            near = any(LEAST <= r.share <= WINDOW[1] for r in rounds)
            if not note or (near and len(rounds) >= PATIENCE):
                break
        best = choose_round(rounds)
        if best.widths == self.prunable.full_widths:
            note = "the dense model keeps this budget as it is"
        return Search(tuple(rounds), best, note)

    def recall(self, rounds: Sequence[Round]) -> None:
        """Take over what an earlier search measured of its plans; the store still has it."""
        self.measured += rounds
        for missed in (r for r in rounds if not r.fits):
            self._profile(missed)

    def account(self) -> tuple[LatencyModel, Floor]:
        """The latency model with all that was measured, and the floor that it predicts."""
        aim = DeviceAim(self.prunable, self.device, self.samples, Budget(latency_s=self.device.dense_s))
        return aim.model, aim.floor(fastest(aim.model.tables(self.menu.widths), self.menu).widths)

    def _measure(self, found: Solution, aims: Sequence[DeviceAim]) -> Round:
        """One round; a plan that misses the window is profiled too, so that the latency models learn from it."""
        with self.clock.phase(MEASURING):
            main, *also = [aim.measure(found.widths) for aim in aims]
        times_s = (main.predicted_s, main.predicted_std_s, main.measured_s, main.upper_s, main.budget_s)
        bound = found.bound if isfinite(found.bound) else None
        tried = Round(found.widths, *times_s, self.menu.loss_at(found.widths), bound, tuple(also))
        if not tried.fits:
            self._profile(tried)
        self.measured.append(tried)
        return tried

    def _profile(self, tried: Round) -> None:
        with self.clock.phase(PROFILING):
            for device, samples in ((self.device, self.samples), *((one.device, one.samples) for one in self.others)):
                samples.append(device.profile_widths(self.prunable, tried.widths))

    def _propose(self, aims: Sequence[DeviceAim], rounds: Sequence[Round]) -> Solution | None:
        """A plan that this budget has not tried; None where the solver knows no other.

        Of plans of nearly the same loss the one is taken that is most like the plan measured nearest to the aim. The
        bound is lowered by as much as that may cost.
        """
        for k, aim in enumerate(aims):
            aim.refit([(r.widths, r.times[k].measured_s) for r in self.measured])
        menu, extra = self.menu, 0.0
        if self.measured:
            nearest = min(self.measured, key=lambda r: aims[0].distance(r.measured_s))
            menu = prefer_widths(menu, nearest.widths, CHANGE_COST)
            extra = CHANGE_COST * abs(nearest.loss)
        tried = {tuple(r.widths.items()): r for r in rounds}
        for _ in range(ATTEMPTS):
            found = self._solve(aims, menu)
            known = tried.get(tuple(found.widths.items()))
            if known is None:
                return dataclasses.replace(found, bound=found.bound - extra)
            step = STEP if known.share < WINDOW[0] else -STEP
            for aim, time in zip(aims, known.times, strict=True):
                aim.insist(known.widths, time.measured_s, step)
        return None

    def _solve(self, aims: Sequence[DeviceAim], menu: Menu) -> Solution:
        """Widths of least loss at the shares of the budgets that are aimed at, else the fastest within the budgets."""
        found = find_widths(menu, [*(aim.limit(menu, aim.share) for aim in aims), *self.limits])
        if found is not None:
            return found
        whole = [*(aim.limit(menu, 1.0) for aim in aims), *self.limits]
        quickest = least(menu, whole)
        if quickest is not None and quickest.predicted_s <= whole[0].budget:
            return as_solution(menu, quickest)
        frozen = f"{len(self.prunable.graph.frozen)} groups are frozen"
        alone = least(menu, whole[:1])
        assert alone is not None, "one budget alone has fastest widths"
        if alone.predicted_s <= whole[0].budget:
            error = unreachable(menu, whole)
            raise UnreachableBudgetError(f"{error} ({frozen})", aims[0].unit * error.fastest_s)
        floor, budget_s = aims[0].floor(alone.widths), aims[0].budget_s
        raise UnreachableBudgetError(
            f"the budget of {budget_s * 1e3:.3f} ms is unreachable: the fastest plan is predicted to take "
            f"{floor.describe()}, {floor.dense_s / floor.total_s:.2f} times as fast as dense "
            f"({frozen}); ask for at least that, or for a smaller input",
            floor.total_s,
        )
