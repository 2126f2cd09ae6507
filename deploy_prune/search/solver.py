"""The exact solver: least loss within all budgets, by mixed-integer programming (HiGHS through scipy)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

from deploy_prune.errors import InputError, UnreachableBudgetError
from deploy_prune.latency.tables import CostTables
from deploy_prune.search.menu import Menu
from deploy_prune.search.programme import Programme, build_programme
from deploy_prune.search.quiet import quiet_c_output

Floats = npt.NDArray[np.float64]

# HiGHS' tolerances are absolute (1e-6): objective and budgets are scaled to this, so that they become
# relative 1e-9.
_SPAN = 1000.0
_INFEASIBLE = 2
# Finding the least cost is needed to this gap only: it explains an unreachable budget.
_FASTEST_GAP = 1e-4


@dataclass(frozen=True)
class Limit:
    """A cost and its budget, with its tables: seconds on a device, bytes of memory, MACs.

    Messages show ``scale`` times a cost, in ``unit``. Of several limits of one name all are kept, and messages tell of
    the one that needs most.
    """

    name: str
    tables: CostTables
    budget: float
    unit: str = ""
    scale: float = 1.0

    def show(self, cost: float) -> str:
        """A cost as people read it."""
        scaled = cost * self.scale
        number = f"{scaled:.0f}" if scaled >= 1e4 else f"{scaled:#.4g}".rstrip(".")
        return f"{number} {self.unit}".strip()

    def show_least(self, cost: float) -> str:
        """The same, rounded up: a budget that can be kept."""
        digits = 3 - int(np.floor(np.log10(max(cost * self.scale, 1e-12))))
        step = 10.0 ** -min(max(digits, 0), 9) / self.scale
        return self.show(np.ceil(cost / step * (1 - 1e-12)) * step)


@dataclass(frozen=True)
class Solution:
    """Kept width per group, their predicted seconds and loss; no widths on the menu lose less than ``bound``.

    ``gap`` is (loss - bound) / |loss|; above the gap asked for only when the time limit came first.
    """

    widths: dict[str, int]
    predicted_s: float
    loss: float
    bound: float
    gap: float


@dataclass(frozen=True)
class Fastest:
    """The widths of least latency; nothing on the menu is below ``bound_s``."""

    widths: dict[str, int]
    predicted_s: float
    bound_s: float


def latency_limit(tables: CostTables, budget_s: float, name: str = "latency", unit_s: float = 1.0) -> Limit:
    """A limit in the model's seconds, of which each stands for ``unit_s`` on the device; shown in milliseconds."""
    return Limit(name, tables, budget_s, "ms", 1e3 * unit_s)


def solve(
    menu: Menu,
    tables: CostTables,
    budget_s: float,
    *,
    also: Sequence[Limit] = (),
    gap: float = 1e-3,
    time_limit_s: float = 60.0,
) -> Solution:
    """The widths of least total loss whose predicted latency is at most ``budget_s``; ``also`` is kept too.

    Budgets are kept to a relative 1e-9. Raises ``UnreachableBudgetError`` that names the limit in the way and what can
    be reached, with the least seconds, and ``InputError`` when tables and menu differ in groups or widths.
    """
    limits = (latency_limit(tables, budget_s), *also)
    found = find_widths(menu, limits, gap=gap, time_limit_s=time_limit_s)
    if found is None:
        raise unreachable(menu, limits, time_limit_s=time_limit_s)
    return found


def find_widths(
    menu: Menu, limits: Sequence[Limit], *, gap: float = 1e-3, time_limit_s: float = 60.0
) -> Solution | None:
    """As ``solve``, all limits in one sequence and the latency first; None where they cannot be kept together."""
    _check(menu, limits)
    programme = build_programme(menu.widths, [limit.tables for limit in limits], menu.branches, menu.equal)
    loss = np.zeros(programme.size)
    loss[: programme.choices] = np.concatenate([menu.loss[g] for g in menu.widths])
    result = _minimise(programme, loss, [limit.budget for limit in limits], gap, time_limit_s)
    if result.status == _INFEASIBLE:
        return None
    if result.x is None:  # out of time before any widths were found: the fastest ones are safe
        quick = least(menu, limits, time_limit_s=time_limit_s)
        return None if quick is None or quick.predicted_s > limits[0].budget else as_solution(menu, quick)
    widths = programme.read_widths(result.x)
    total = menu.loss_at(widths)
    bound = -np.inf if result.mip_dual_bound is None else min(float(result.mip_dual_bound), total)
    left = 0.0 if total == bound else (total - bound) / max(abs(total), np.finfo(float).tiny)
    return Solution(widths, limits[0].tables.cost_s(widths), total, bound, left)


def fastest(tables: CostTables, menu: Menu, *, time_limit_s: float = 60.0) -> Fastest:
    """The least latency on the menu, whatever the loss; raises ``InputError`` as ``solve`` does."""
    limits = (latency_limit(tables, np.inf),)
    _check(menu, limits)
    found = least(menu, limits, time_limit_s=time_limit_s)
    if found is None:
        raise InputError(f"no widths found within {time_limit_s} s; allow more time")
    return found


def least(menu: Menu, limits: Sequence[Limit], index: int = 0, *, time_limit_s: float = 60.0) -> Fastest | None:
    """Least cost of one limit within the others, whatever the loss; None where these contradict each other."""
    programme = build_programme(menu.widths, [limit.tables for limit in limits], menu.branches, menu.equal)
    budgets = [np.inf if k == index else limit.budget for k, limit in enumerate(limits)]
    result = _minimise(programme, programme.costs[index], budgets, _FASTEST_GAP, time_limit_s)
    if result.x is None:
        return None
    widths = programme.read_widths(result.x)
    tables = limits[index].tables
    return Fastest(widths, tables.cost_s(widths), tables.constant_s + float(result.mip_dual_bound))


def as_solution(menu: Menu, quick: Fastest) -> Solution:
    """The fastest widths where none of least loss were found: nothing bounds their loss."""
    return Solution(quick.widths, quick.predicted_s, menu.loss_at(quick.widths), -np.inf, np.inf)


def unreachable(menu: Menu, limits: Sequence[Limit], *, time_limit_s: float = 60.0) -> UnreachableBudgetError:
    """The error that says which of ``limits`` is in the way and what is reachable; the first one is the latency."""
    alone = [fastest(limit.tables, menu, time_limit_s=time_limit_s).predicted_s for limit in limits]
    for limit, needed in sorted(zip(limits, alone, strict=True), key=lambda pair: -pair[1] / pair[0].budget):
        if needed > limit.budget:
            return UnreachableBudgetError(
                f"{limit.name} budget of {limit.show(limit.budget)} is unreachable: the least on the menu is "
                f"{limit.show_least(needed)}; allow at least that, or offer narrower widths",
                alone[0],
            )
    names = list(dict.fromkeys(limit.name for limit in limits))
    reach: dict[str, str] = {}
    for name in names:
        found = _least_with_others(menu, limits, name, time_limit_s)
        reach |= {} if found is None else {name: found}
    said = "; ".join(f"{name} could be {what} with the others kept" for name, what in reach.items())
    asked = ", ".join(
        f"{limit.name} {limit.show(limit.budget)}" for limit in {limit.name: limit for limit in limits}.values()
    )
    return UnreachableBudgetError(
        f"budgets are unreachable together ({asked}): relax one ({said or 'any two contradict a third'})", alone[0]
    )


def _least_with_others(menu: Menu, limits: Sequence[Limit], name: str, time_limit_s: float) -> str | None:
    """What the limits of one name could be while all others are kept."""
    own = [limit for limit in limits if limit.name == name]
    others = [limit for limit in limits if limit.name != name]
    found = [(limit, least(menu, [limit, *others], time_limit_s=time_limit_s)) for limit in own]
    needed = [(limit, one.predicted_s) for limit, one in found if one is not None]
    if len(needed) < len(own):
        return None
    limit, cost = max(needed, key=lambda pair: pair[1])
    return limit.show_least(cost)


def _check(menu: Menu, limits: Sequence[Limit]) -> None:
    if not menu.widths:
        raise InputError("the menu has no groups, expected at least one: nothing could be pruned")
    for limit in limits:
        if not limit.budget > 0:
            raise InputError(f"budget for {limit.name} is {limit.budget}, expected more than zero")
        if dict(limit.tables.widths) != dict(menu.widths):
            given, wanted = limit.tables.widths, menu.widths
            odd = next(g for g in {**wanted, **given} if given.get(g) != wanted.get(g))
            raise InputError(
                f"{limit.name} tables and menu differ at group {odd!r}: {given.get(odd)} and "
                f"{wanted.get(odd)}; make the tables from the menu's widths"
            )


def _minimise(
    programme: Programme, objective: Floats, budgets: Sequence[float], gap: float, time_limit_s: float
) -> OptimizeResult:
    """Minimise within ``budgets``, one per cost; the dual bound comes back in the unit of ``objective``."""
    unit = _SPAN / max(float(np.abs(objective).sum()), np.finfo(float).tiny)
    kept = [k for k, budget in enumerate(budgets) if np.isfinite(budget)]
    constraints = [LinearConstraint(programme.links, programme.ends, programme.ends)]
    if kept:
        budget = np.array(budgets)[kept]
        rows = programme.costs[kept] * (_SPAN / budget)[:, None]
        room = (budget - programme.constants[kept]) * (_SPAN / budget)
        constraints.append(LinearConstraint(sparse.csr_array(rows), -np.inf, room))
    with quiet_c_output():
        result = milp(
            objective * unit,
            integrality=(np.arange(programme.size) < programme.choices).astype(int),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": gap, "time_limit": time_limit_s},
        )
    if result.mip_dual_bound is not None:
        result.mip_dual_bound /= unit
    return result
