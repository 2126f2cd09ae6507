"""The exact solver: least loss within the budget, by mixed-integer programming (HiGHS through scipy)."""

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

Floats = npt.NDArray[np.float64]

# HiGHS' tolerances are absolute (1e-6): objective and budgets are scaled to this, so that they become
# relative 1e-9.
_SPAN = 1000.0
_INFEASIBLE = 2
# Finding the least cost is needed to this gap only: it explains an unreachable budget.
_FASTEST_GAP = 1e-4


@dataclass(frozen=True)
class Limit:
    """Another budget to keep, with its tables: seconds on another device, bytes of memory, MACs."""

    name: str
    tables: CostTables
    budget: float


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

    Budgets are kept to a relative 1e-9. Raises ``UnreachableBudgetError`` with the fastest reachable seconds,
    and ``InputError`` when tables and menu differ in groups or widths.
    """
    limits = (Limit("latency", tables, budget_s), *also)
    _check(menu, limits)
    programme = build_programme(menu.widths, [limit.tables for limit in limits], menu.branches)
    loss = np.zeros(programme.size)
    loss[: programme.choices] = np.concatenate([menu.loss[g] for g in menu.widths])
    budgets = [limit.budget for limit in limits]
    result = _minimise(programme, loss, budgets, gap, time_limit_s)
    if result.status == _INFEASIBLE:
        raise _unreachable(menu, limits, time_limit_s)
    if result.x is None:  # out of time before any widths were found: the fastest ones are safe
        quick = _least_cost(menu, limits, 0, time_limit_s)
        if quick is None or quick.predicted_s > budget_s:
            raise _unreachable(menu, limits, time_limit_s)
        widths = quick.widths
    else:
        widths = programme.read_widths(result.x)
    total = menu.loss_at(widths)
    bound = -np.inf if result.mip_dual_bound is None else min(float(result.mip_dual_bound), total)
    left = 0.0 if total == bound else (total - bound) / max(abs(total), np.finfo(float).tiny)
    return Solution(widths, tables.cost_s(widths), total, bound, left)


def fastest(tables: CostTables, menu: Menu, *, time_limit_s: float = 60.0) -> Fastest:
    """The least latency on the menu, whatever the loss; raises ``InputError`` as ``solve`` does."""
    limits = (Limit("latency", tables, np.inf),)
    _check(menu, limits)
    found = _least_cost(menu, limits, 0, time_limit_s)
    if found is None:
        raise InputError(f"no widths found within {time_limit_s} s; allow more time")
    return found


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


def _least_cost(menu: Menu, limits: Sequence[Limit], index: int, time_limit_s: float) -> Fastest | None:
    """Least cost of one limit within the others, or None where these contradict each other."""
    programme = build_programme(menu.widths, [limit.tables for limit in limits], menu.branches)
    budgets = [np.inf if k == index else limit.budget for k, limit in enumerate(limits)]
    result = _minimise(programme, programme.costs[index], budgets, _FASTEST_GAP, time_limit_s)
    if result.x is None:
        return None
    widths = programme.read_widths(result.x)
    tables = limits[index].tables
    return Fastest(widths, tables.cost_s(widths), tables.constant_s + float(result.mip_dual_bound))


def _unreachable(menu: Menu, limits: Sequence[Limit], time_limit_s: float) -> UnreachableBudgetError:
    """The error that says which budget cannot be kept and what could be."""
    latency, *others = limits
    quickest = fastest(latency.tables, menu, time_limit_s=time_limit_s).predicted_s
    asked = f"budget of {latency.budget * 1e3:.3f} ms"
    rounded_up_ms = np.ceil(quickest * 1e6) / 1e3
    reach = f"the fastest widths on the menu are predicted to take {rounded_up_ms:.3f} ms"
    if quickest > latency.budget:
        return UnreachableBudgetError(
            f"{asked} is unreachable: {reach}; allow at least that, or offer narrower widths", quickest
        )
    for other in others:
        least = fastest(other.tables, menu, time_limit_s=time_limit_s).predicted_s
        if least > other.budget:
            return UnreachableBudgetError(
                f"{other.name} budget of {other.budget:g} is unreachable: the least on the menu is "
                f"{least:g}; allow at least that, or offer narrower widths",
                quickest,
            )
    names = " and ".join(other.name for other in others)
    return UnreachableBudgetError(f"{asked} is unreachable together with {names}: relax one ({reach} alone)", quickest)
