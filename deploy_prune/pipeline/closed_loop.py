"""The closed loop: solve for widths, measure them, correct the latency model, until a measurement meets the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from math import isfinite

from rich.progress import Progress

from deploy_prune.errors import InputError, UnreachableBudgetError
from deploy_prune.latency.floor import Floor, find_floor
from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.sample import VariantSample
from deploy_prune.pipeline.device import Device
from deploy_prune.search.menu import Menu
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import (
    Limit,
    Solution,
    as_solution,
    fastest,
    find_widths,
    latency_limit,
    least,
    unreachable,
)

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
class DeviceTime:
    """What a device that has a budget too said of a plan, in seconds as in :class:`Round`."""

    profile: str
    predicted_s: float
    predicted_std_s: float
    measured_s: float
    budget_s: float

    @property
    def share(self) -> float:
        """Measured latency as a share of the budget."""
        return self.measured_s / self.budget_s


@dataclasses.dataclass(frozen=True)
class Round:
    """One plan of the loop: its widths, what the latency model said of it and what the device said, in seconds.

    ``predicted_std_s`` is the prediction's own doubt, the standard deviation of one fresh measurement.
    ``measured_s`` is the dense model's latency divided by the paired speed-up, so that rounds compare although the
    machine drifts. ``loss`` is the menu's; no widths within the budgets, as predicted, lose less than ``loss_bound``
    (None where nothing is known: the fastest widths were taken, or time ran out). ``also`` are the other devices.
    """

    widths: Mapping[str, int]
    predicted_s: float
    predicted_std_s: float
    measured_s: float
    budget_s: float
    loss: float
    loss_bound: float | None = None
    also: tuple[DeviceTime, ...] = ()

    @property
    def share(self) -> float:
        """Measured latency as a share of the budget; the largest over all devices that have one."""
        return max(self.measured_s / self.budget_s, *(one.share for one in self.also), 0.0)

    @property
    def gap(self) -> float | None:
        """``(loss - loss_bound) / |loss|``; None without a bound."""
        if self.loss_bound is None or self.loss == self.loss_bound:
            return None if self.loss_bound is None else 0.0
        return (self.loss - self.loss_bound) / max(abs(self.loss), 1e-300)


@dataclasses.dataclass(frozen=True, eq=False)
class OtherDevice:
    """A further device with a budget of its own: its measurements are like the main one's, and kept apart from them."""

    device: Device
    samples: list[VariantSample]
    budget: Budget


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
    """

    prunable: Prunable
    device: Device
    menu: Menu
    samples: list[VariantSample]
    others: tuple[OtherDevice, ...] = ()
    limits: tuple[Limit, ...] = ()

    def search(self, budget: Budget, progress: Progress | None = None) -> tuple[tuple[Round, ...], Round]:
        """All rounds, and the one of least loss that keeps every budget.

        Raises:
            UnreachableBudgetError: even the fastest widths are predicted, or were measured, above a budget, or budgets
                and limits cannot be kept together; the message names what is in the way.
        """
        aims = [DeviceAim(self.prunable, self.device, self.samples, budget)]
        aims += [DeviceAim(self.prunable, one.device, one.samples, one.budget) for one in self.others]
        bar = progress.add_task("search widths", total=MAX_ROUNDS) if progress else None
        rounds: list[Round] = []
        while len(rounds) < MAX_ROUNDS:
            found = self._solve(aims)
            if any(r.widths == found.widths for r in rounds):
                break
            main, *also = [aim.measure(found.widths) for aim in aims]
            bound = found.bound if isfinite(found.bound) else None
            times = (main.predicted_s, main.predicted_std_s, main.measured_s, main.budget_s)
            rounds.append(Round(found.widths, *times, found.loss, bound, tuple(also)))
            if progress and bar is not None:
                progress.advance(bar)
            if WINDOW[0] <= rounds[-1].share <= WINDOW[1]:
                break
            for aim, time in zip(aims, (main, *also), strict=True):
                aim.learn(found.widths, time)
        kept = [r for r in rounds if r.share <= WINDOW[1]] or [r for r in rounds if r.share <= 1]
        if not kept:
            raise _none_kept(rounds)
        return tuple(rounds), min(kept, key=lambda r: (r.loss, -r.share))

    def account(self) -> tuple[LatencyModel, Floor]:
        """The latency model with all that was measured, and the floor that it predicts."""
        full = self.prunable.full_widths
        model = LatencyModel.fit(self.samples, full, self.prunable.branches)
        quickest = fastest(model.tables(self.menu.widths), self.menu)
        return model, find_floor(model, quickest.widths, self.device.dense_s / model.predict(full).total_s)

    def _solve(self, aims: Sequence[DeviceAim]) -> Solution:
        """Widths of least loss at the shares of the budgets that are aimed at, else the fastest within the budgets."""
        found = find_widths(self.menu, [*(aim.limit(self.menu, aim.share) for aim in aims), *self.limits])
        if found is not None:
            return found
        whole = [*(aim.limit(self.menu, 1.0) for aim in aims), *self.limits]
        quickest = least(self.menu, whole)
        if quickest is not None and quickest.predicted_s <= whole[0].budget:
            return as_solution(self.menu, quickest)
        frozen = f"{len(self.prunable.graph.frozen)} groups are frozen"
        if len(whole) > 1:
            error = unreachable(self.menu, whole)
            raise UnreachableBudgetError(f"{error} ({frozen})", aims[0].unit * error.fastest_s)
        assert quickest is not None, "one budget alone has fastest widths"
        floor, budget_s = find_floor(aims[0].model, quickest.widths, aims[0].unit), aims[0].budget_s
        raise UnreachableBudgetError(
            f"the budget of {budget_s * 1e3:.3f} ms is unreachable: the fastest plan is predicted to take "
            f"{floor.describe()}, {floor.dense_s / floor.total_s:.2f} times as fast as dense "
            f"({frozen}); ask for at least that, or for a smaller input",
            floor.total_s,
        )


class DeviceAim:
    """One device in one search: its latency model, and the share of its budget to ask of that model.

    Attributes:
        budget_s: what is allowed, in seconds.
        share: of the budget, asked of the model; corrected by what the model got wrong about the last plan.
        unit: seconds of the device per second of the model. What the model gets wrong about the dense network it gets
            wrong about all: only ratios count.
    """

    def __init__(self, prunable: Prunable, device: Device, samples: list[VariantSample], budget: Budget) -> None:
        self.prunable, self.device, self.samples = prunable, device, samples
        self.budget_s = budget.in_seconds(device.dense_s)
        self.share = AIM
        self._refit()

    def _refit(self) -> None:
        full = self.prunable.full_widths
        self.model = LatencyModel.fit(self.samples, full, self.prunable.branches)
        self.unit = self.device.dense_s / self.model.predict(full).total_s

    def predict_s(self, widths: Mapping[str, int]) -> tuple[float, float]:
        """Seconds on the device as the model foresees them, and their standard deviation."""
        found = self.model.predict(widths)
        return self.unit * found.total_s, self.unit * found.std_s

    def limit(self, menu: Menu, share: float) -> Limit:
        """This share of the budget, in seconds of the model."""
        name = f"latency under {self.device.profile.name}"
        return latency_limit(self.model.tables(menu.widths), share * self.budget_s / self.unit, name, self.unit)

    def measure(self, widths: Mapping[str, int]) -> DeviceTime:
        """Prediction and measurement of a plan."""
        measured_s = self.device.dense_s / self.device.compare_widths(self.prunable, widths).speedup
        return DeviceTime(self.device.profile.name, *self.predict_s(widths), measured_s, self.budget_s)

    def learn(self, widths: Mapping[str, int], time: DeviceTime) -> None:
        """Profile a plan, and ask less or more of the refitted model by what it still gets wrong about that plan."""
        self.samples.append(self.device.profile_widths(self.prunable, widths))
        self._refit()
        self.share = AIM / min(max(time.measured_s / self.predict_s(widths)[0], 0.8), 1.25)


def _none_kept(rounds: Sequence[Round]) -> UnreachableBudgetError:
    best_s = min(r.measured_s for r in rounds)
    if not rounds[0].also:
        return UnreachableBudgetError(
            f"no plan kept the budget of {rounds[0].budget_s * 1e3:.3f} ms in {len(rounds)} rounds; the fastest "
            f"measured takes {best_s * 1e3:.3f} ms: allow at least that",
            best_s,
        )
    closest = min(rounds, key=lambda r: r.share)
    shares = {"the first device": closest.measured_s / closest.budget_s} | {o.profile: o.share for o in closest.also}
    over = " and ".join(f"{name} at {share:.0%}" for name, share in shares.items() if share > 1)
    return UnreachableBudgetError(
        f"no plan kept all latency budgets in {len(rounds)} rounds; the closest has {over} of its budget; "
        "allow more there",
        best_s,
    )
