"""What a search tried: plans, each with its prediction, its measurement and its price."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from deploy_prune.errors import UnreachableBudgetError

WINDOW = (0.95, 0.985)
"""Shares of the budget at which the loop is content."""
LEAST = 0.93
"""Below this share a plan is worth less than one that measures between the window's end and the budget; above it, it is
near enough once the loop's patience has ended."""


@dataclasses.dataclass(frozen=True)
class DeviceTime:
    """What a device that has a budget said of a plan, in seconds as in :class:`Round`."""

    profile: str
    predicted_s: float
    predicted_std_s: float
    measured_s: float
    upper_s: float
    budget_s: float

    @property
    def share(self) -> float:
        """Measured latency as a share of the budget."""
        return self.measured_s / self.budget_s

    @property
    def safe(self) -> bool:
        """Whether the share lies within :data:`WINDOW` or below it, or below 1 beyond the doubt of its measurement."""
        return self.share <= WINDOW[1] or self.upper_s <= self.budget_s


@dataclasses.dataclass(frozen=True)
class Round:
    """One plan of the loop: its widths, what the latency model said of it and what the device said, in seconds.

    ``predicted_std_s`` is the prediction's own doubt, the standard deviation of one fresh measurement.
    ``measured_s`` is the dense model's latency divided by the paired speed-up, so that rounds compare although the
    machine drifts, ``upper_s`` the upper end of its 95 % interval. ``loss`` is the menu's; no widths within the
    budgets, as predicted, lose less than ``loss_bound`` (None where nothing is known: the fastest widths were taken, or
    time ran out). ``also`` are the other devices.
    """

    widths: Mapping[str, int]
    predicted_s: float
    predicted_std_s: float
    measured_s: float
    upper_s: float
    budget_s: float
    loss: float
    loss_bound: float | None = None
    also: tuple[DeviceTime, ...] = ()

    @property
    def times(self) -> tuple[DeviceTime, ...]:
        """Each device's, the main one's first."""
        main = (self.predicted_s, self.predicted_std_s, self.measured_s, self.upper_s, self.budget_s)
        return (DeviceTime("the first device", *main), *self.also)

    @property
    def share(self) -> float:
        """Measured latency as a share of the budget; the largest over all devices that have one."""
        return max(time.share for time in self.times)

    @property
    def fits(self) -> bool:
        """Whether every device is safely below its budget, and one of them near it."""
        return self.share >= WINDOW[0] and all(time.safe for time in self.times)

    @property
    def gap(self) -> float | None:
        """``(loss - loss_bound) / |loss|``; None without a bound."""
        if self.loss_bound is None or self.loss == self.loss_bound:
            return None if self.loss_bound is None else 0.0
        return (self.loss - self.loss_bound) / max(abs(self.loss), 1e-300)


@dataclasses.dataclass(frozen=True)
class Search:
    """All rounds of a search, and the one of least loss that keeps the budget; ``note`` says why it is not closer."""

    rounds: tuple[Round, ...]
    best: Round
    note: str = ""


def choose_round(rounds: Sequence[Round]) -> Round:
    """The round of least loss among those that fit, else among those safely below the budget, else among the rest.

    Raises:
        UnreachableBudgetError: no round keeps every budget.
    """
    for kept in (
        [r for r in rounds if r.fits],
        [r for r in rounds if LEAST <= r.share <= WINDOW[1]],
        [r for r in rounds if r.share <= 1],
    ):
        if kept:
            return min(kept, key=lambda r: r.loss)
    best_s = min(r.measured_s for r in rounds)
    if not rounds[0].also:
        raise UnreachableBudgetError(
            f"no plan kept the budget of {rounds[0].budget_s * 1e3:.3f} ms in {len(rounds)} rounds; the fastest "
            f"measured takes {best_s * 1e3:.3f} ms: allow at least that",
            best_s,
        )
    closest = min(rounds, key=lambda r: r.share)
    over = " and ".join(f"{one.profile} at {one.share:.0%}" for one in closest.times if one.share > 1)
    raise UnreachableBudgetError(
        f"no plan kept all latency budgets in {len(rounds)} rounds; the closest has {over} of its budget; "
        "allow more there",
        best_s,
    )
