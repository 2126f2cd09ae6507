"""One device in one search: what its latency model says of a plan, and what to ask of that model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from deploy_prune.latency.floor import Floor, find_floor
from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.sample import VariantSample
from deploy_prune.pipeline.device import Device
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.rounds import DeviceTime
from deploy_prune.search.menu import Menu
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import Limit, latency_limit

AIM = 0.97
"""Share of the budget to aim at: a fresh measurement on a busy machine must not exceed it (design: [0.95, 1.00])."""
NEAR = 0.08
"""Plans whose latencies differ by no more than this share correct the latency model together."""
SHRINKAGE = 0.25
"""How many plans the correction takes to be half believed: some of what a plan is off by is its own, or the noise of
its measurement. Second plans, aimed at 0.97, came at 0.99 on average with 0 and at 0.91 with 1 (docs/budgets.md)."""


@dataclasses.dataclass(frozen=True, eq=False)
class OtherDevice:
    """A further device with a budget of its own: its measurements are like the main one's, and kept apart from them."""

    device: Device
    samples: list[VariantSample]
    budget: Budget


class DeviceAim:
    """A device with its budget and its latency model.

    Attributes:
        budget_s: what is allowed, in seconds.
        share: of the budget, asked of the model.
        unit: seconds of the device per second of the model. What the model gets wrong about the dense network it gets
            wrong about all: only ratios count.
    """

    def __init__(self, prunable: Prunable, device: Device, samples: list[VariantSample], budget: Budget) -> None:
        self.prunable, self.device, self.samples = prunable, device, samples
        self.budget_s = budget.in_seconds(device.dense_s)
        self.refit(())

    def refit(self, measured: Sequence[tuple[Mapping[str, int], float]]) -> None:
        """Fit the model to all samples, and correct it by plans that were ``measured``: widths and seconds of each.

        What the model gets wrong about plans that were measured near the aim, for this budget or another one, it gets
        wrong about the next plan, most nodes of which are the same.
        """
        full = self.prunable.full_widths
        self.share = AIM
        self.model = LatencyModel.fit(self.samples, full, self.prunable.branches)
        self.unit = self.device.dense_s / self.model.predict(full).total_s
        if measured:
            ordered = sorted(measured, key=lambda plan: self.distance(plan[1]))
            near = [plan for plan in ordered if self.distance(plan[1]) < NEAR] or ordered[:1]
            wrong = [math.log(measured_s / self.predict_s(widths)[0]) for widths, measured_s in near]
            self.unit *= math.exp(sum(wrong) / (len(wrong) + SHRINKAGE))

    def distance(self, measured_s: float) -> float:
        """How far a latency lies from the aim, as a logarithm."""
        return abs(math.log(measured_s / (AIM * self.budget_s)))

    def insist(self, widths: Mapping[str, int], measured_s: float, step: float) -> None:
        """Predict a plan from now on as it was measured, and ask for ``step`` of the budget more."""
        self.unit *= measured_s / self.predict_s(widths)[0]
        self.share += step

    def predict_s(self, widths: Mapping[str, int]) -> tuple[float, float]:
        """Seconds on the device as the model foresees them, and their standard deviation."""
        found = self.model.predict(widths)
        return self.unit * found.total_s, self.unit * found.std_s

    def floor(self, fastest: Mapping[str, int]) -> Floor:
        """What the widths of least latency take, by who decides it."""
        return find_floor(self.model, fastest, self.unit)

    def limit(self, menu: Menu, share: float) -> Limit:
        """This share of the budget, in seconds of the model."""
        name = f"latency under {self.device.profile.name}"
        return latency_limit(self.model.tables(menu.widths), share * self.budget_s / self.unit, name, self.unit)

    def measure(self, widths: Mapping[str, int]) -> DeviceTime:
        """Prediction and measurement of a plan."""
        found, dense_s = self.device.compare_widths(self.prunable, widths), self.device.dense_s
        times_s = (*self.predict_s(widths), dense_s / found.speedup, dense_s / found.low)
        return DeviceTime(self.device.profile.name, *times_s, self.budget_s)
