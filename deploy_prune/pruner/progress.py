"""What has been removed of a model since it was analysed, and its groups as they are now.

The analysis is done once. Every later removal is counted in the units of the dense model, so a step is the difference
of two plans from there, and nothing is traced again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from deploy_prune.errors import PlanError
from deploy_prune.graph.attributes import Attribute
from deploy_prune.graph.grouping import Axis, Slices
from deploy_prune.graph.units import UnitGroup, Units
from deploy_prune.pruner.branches import lies_within
from deploy_prune.pruner.plan import Plan, architecture_hash, make_plan

Masks = Mapping[str, np.ndarray]
"""Group name -> which units of the dense model, boolean of shape (rows, dense width)."""


@dataclass(frozen=True, eq=False)
class GroupNow:
    """A group of units as the model has it now.

    Attributes:
        name: its name in :class:`~deploy_prune.graph.units.Units`.
        kind: ``channels``, ``heads`` or ``groups``.
        slices: where its units lie now; ``row`` of a slice counts the rows that are left.
        dense: the number that each unit had in the dense model, shape (rows, width).
        dense_rows: the number that each row had, shape (rows,).
    """

    name: str
    kind: str
    slices: tuple[Slices, ...]
    dense: np.ndarray
    dense_rows: np.ndarray

    @property
    def rows(self) -> int:
        """How many rows choose their own indices."""
        return self.dense.shape[0]

    @property
    def width(self) -> int:
        """Number of units."""
        return self.dense.shape[1]


class Progress:
    """Removals from a model since its analysis.

    Args:
        model: the model that is analysed, still dense.
        units: its dependency structure.
        attributes: its traced attribute values.

    Attributes:
        plan: from the dense model to the model as it is now; None while nothing is removed.
    """

    def __init__(self, model: nn.Module, units: Units, attributes: Mapping[Attribute, int]) -> None:
        self._units = units
        self._attributes = attributes
        self._dense_architecture = self._architecture = architecture_hash(model)
        self.plan: Plan | None = None
        self._gone = {g.name: np.zeros((g.rows, g.width), bool) for g in units.groups}
        self._alive: dict[Axis, np.ndarray] = {}
        self._now: dict[str, GroupNow] = {}
        self._dense = {g.name: g for g in units.groups}
        self._on_axis: dict[Axis, list[str]] = {}
        for group in units.groups:
            for s in group.slices:
                self._on_axis.setdefault((s.parameter, s.axis), []).append(group.name)

    @property
    def _branches(self) -> tuple[str, ...]:
        return self.plan.branches if self.plan else ()

    def group(self, name: str) -> GroupNow:
        """A group as it is now.

        Raises:
            PlanError: there is none of this name.
        """
        if name not in self._dense:
            raise PlanError(f"unknown group {name!r}; the model's groups are {', '.join(list(self._dense)[:8])}, …")
        if name not in self._now:
            self._now[name] = _living(self._dense[name], self._alive, self._branches)
        return self._now[name]

    def whole(self, name: str) -> np.ndarray:
        """All units that a group has now, as a mask over the dense model's."""
        now = self.group(name)
        mask = np.zeros_like(self._gone[name])
        mask[now.dense_rows[:, None], now.dense] = True
        return mask

    def units_now(self, name: str, mask: np.ndarray) -> np.ndarray:
        """Those of the masked units that are left, as indices (rows, k) into the group as it is now."""
        now = self.group(name)
        chosen = mask[now.dense_rows[:, None], now.dense]
        return np.stack([row.nonzero()[0] for row in chosen])

    def mask(self, name: str, units: Any) -> np.ndarray:
        """Units of a group as it is now, as a mask over the dense model's.

        Args:
            name: the group.
            units: indices, one vector for all rows alike or an array (rows, k).

        Raises:
            PlanError: an unknown group, indices of another shape, or outside the group.
        """
        now = self.group(name)
        units = np.asarray(units, dtype=np.int64)
        if units.ndim not in (1, 2) or (units.ndim == 2 and len(units) != now.rows):
            raise PlanError(f"group {name} has {now.rows} rows, got indices of shape {units.shape}; give one row each")
        if units.size and (units.min() < 0 or units.max() >= now.width):
            raise PlanError(f"group {name} has units 0 to {now.width - 1}, got {units.min()} to {units.max()}")
        mask = np.zeros_like(self._gone[name])
        given_by_row = units.ndim == 2
        units = np.broadcast_to(units, (now.rows, units.shape[-1]))
        mask[now.dense_rows[:, None], np.take_along_axis(now.dense, units, axis=1)] = True
        if given_by_row and mask.sum() < units.size:
            raise PlanError(f"a row of group {name} names an index twice; every row must lose equally many")
        return mask

    def at(self, axis: Axis, idxs: Sequence[int]) -> dict[str, np.ndarray]:
        """The units that hold these indices of a parameter axis as it is now, as masks; frozen indices have none.

        Indices that make up whole heads, or groups of a convolution, name these. Rows that lose equally many keep their
        own indices; else every row loses all indices that any row is asked for.
        """
        wanted = np.unique(np.asarray(idxs, dtype=np.int64))
        masks = {}
        for name in sorted(self._on_axis.get(axis, ()), key=lambda n: self._dense[n].kind == "channels"):
            now = self.group(name)
            for s in (s for s in now.slices if (s.parameter, s.axis) == axis):
                hit = np.isin(s.indices, wanted)
                if now.kind != "channels":
                    if not (len(wanted) and hit.sum() == len(wanted) and (hit.all(1) == hit.any(1)).all()):
                        continue
                    return {name: self.mask(name, np.flatnonzero(hit.all(1)))}
                if hit.any():
                    masks[name] = self.mask(name, _by_row(hit, s.row, now.rows))
        return masks

    def covered(self, axis: Axis, masks: Masks) -> set[int]:
        """Indices that masked units have on an axis as it is now."""
        found: set[int] = set()
        for name, mask in masks.items():
            units = self.units_now(name, mask)
            for s in self.group(name).slices:
                if (s.parameter, s.axis) == axis:
                    found.update(s.indices[units[s.row].T, np.arange(len(s.row))].ravel().tolist())
        return found

    def gone_with(self, asked: Masks) -> list[np.ndarray]:
        """Per asked group, what would be gone of it, as a mask."""
        return [self._gone[name] | mask for name, mask in asked.items()]

    def dense_indices(self, axis: Axis, masks: Masks) -> list[int]:
        """Indices that masked units have on an axis of the dense model, ascending."""
        found: set[int] = set()
        for name, mask in masks.items():
            for s in self._dense[name].slices:
                if (s.parameter, s.axis) == axis:
                    found.update(s.indices[mask[s.row].T].tolist())
        return sorted(found)

    def at_dense(self, axis: Axis, idxs: Sequence[int]) -> dict[str, np.ndarray]:
        """:meth:`at` for indices of the dense model's axis; those already removed count as done."""
        alive = self._alive.get(axis)
        if alive is not None:
            idxs = (np.cumsum(alive) - 1)[[i for i in idxs if alive[i]]].tolist()
        return self.at(axis, idxs)

    def step(self, asked: Masks, branches: Collection[str] = ()) -> tuple[Plan, Plan]:
        """Plans that remove what is asked and all that went before: from the model as it is now, from the dense one.

        Raises:
            PlanError: see :func:`~deploy_prune.pruner.plan.make_plan`.
        """
        gone = {name: mask | asked.get(name, False) for name, mask in self._gone.items()}
        removed = {name: _equal_rows(mask) for name, mask in gone.items() if mask.any()}
        gone_branches = self._branches
        dense = make_plan(self._dense_architecture, self._units, removed, self._attributes, {*gone_branches, *branches})
        cuts = []
        for cut in dense.cuts:
            alive = self._alive.get((cut.parameter, cut.axis))
            if alive is None:
                cuts.append(cut)
            elif (size := int(alive.sum())) > len(cut.kept):
                kept = (np.cumsum(alive) - 1)[list(cut.kept)]
                cuts.append(replace(cut, size=size, kept=tuple(kept.tolist())))
        fresh = tuple(b for b in dense.branches if b not in gone_branches)
        return replace(dense, cuts=tuple(cuts), architecture=self._architecture, branches=fresh), dense

    def advance(self, model: nn.Module, asked: Masks, dense: Plan) -> None:
        """Take note that the asked units are gone from the model, which now is as ``dense`` leaves it."""
        self.plan = dense
        for name, mask in asked.items():
            self._gone[name] |= mask
        self._now.clear()
        self._architecture = architecture_hash(model)
        alive: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}  # the axes of a group mostly keep the same indices
        for cut in dense.cuts:
            if (cut.size, cut.kept) not in alive:
                alive[cut.size, cut.kept] = np.zeros(cut.size, bool)
                alive[cut.size, cut.kept][list(cut.kept)] = True
            self._alive[cut.parameter, cut.axis] = alive[cut.size, cut.kept]


def _by_row(hit: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
    """Units to remove from hits (units, m): per row if the rows lose equally many, else the same in each."""
    per_row = [np.flatnonzero(hit[:, row == r].any(axis=1)) for r in range(rows)]
    if rows > 1 and len({len(units) for units in per_row}) == 1:
        return np.stack(per_row)
    return np.flatnonzero(hit.any(axis=1))


def _equal_rows(mask: np.ndarray) -> np.ndarray:
    """Masked units as (rows, k); a row that has fewer went as a whole, as a head, and is filled up with any others."""
    k = int(mask.sum(axis=1).max())
    masked_first: np.ndarray = np.argsort(~mask, axis=1, kind="stable")
    return masked_first[:, :k]


def _living(group: UnitGroup, alive: Mapping[Axis, np.ndarray], branches: Collection[str]) -> GroupNow:
    """The group without what is dead on its axes; nothing is left of one that lies within a removed branch."""
    left_over = [s for s in group.slices if not lies_within(s.parameter, branches)]
    if not left_over:
        return GroupNow(group.name, group.kind, (), np.empty((group.rows, 0), np.int64), np.arange(group.rows))
    tables = [(s, alive[axis][s.indices]) for s in left_over if (axis := (s.parameter, s.axis)) in alive]
    if not tables:
        dense = np.broadcast_to(np.arange(group.width), (group.rows, group.width))
        return GroupNow(group.name, group.kind, tuple(left_over), dense, np.arange(group.rows))
    cells = np.ones((group.rows, group.width), bool)
    for s, living in tables:
        for row in np.unique(s.row):
            cells[row] = living[:, s.row == row].any(axis=1)
    rows = np.flatnonzero(cells.any(axis=1))
    dense = np.stack([np.flatnonzero(cells[row]) for row in rows])
    slices = []
    for s in left_over:
        here = alive.get((s.parameter, s.axis))
        if here is None:
            slices.append(replace(s, row=np.searchsorted(rows, s.row)))
            continue
        living = here[s.indices]
        columns = living.any(axis=0)
        if group.rows > 1:  # every column keeps as many units as the group has
            left = s.indices.T[columns][living.T[columns]].reshape(int(columns.sum()), -1).T
            row = np.searchsorted(rows, s.row[columns])
        else:  # every unit keeps as many columns
            left = s.indices[living].reshape(dense.shape[1], -1)
            row = np.zeros(left.shape[1], np.int64)
        slices.append(replace(s, indices=(np.cumsum(here) - 1)[left], row=row))
    return GroupNow(group.name, group.kind, tuple(slices), dense, rows)
