"""Groups as DepGraph users know them: ``(dependency, indices)`` pairs, the root first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.graph.grouping import Axis
from deploy_prune.pruner.node import Dependency
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.progress import GroupNow, Progress


class GroupItem(tuple[Dependency, list[int]]):
    """A pair ``(dep, idxs)``; ``root_idxs`` is the unit that each index belongs to, counted within the group."""

    root_idxs: list[int]

    def __new__(cls, dep: Dependency, idxs: list[int], root_idxs: list[int]) -> GroupItem:
        """The pair."""
        item = super().__new__(cls, (dep, idxs))
        item.root_idxs = root_idxs
        return item

    @property
    def dep(self) -> Dependency:
        """What loses the indices."""
        return self[0]

    @property
    def idxs(self) -> list[int]:
        """The indices on the dependency's axis."""
        return self[1]


class Graph(Protocol):
    """What a group needs of its dependency graph."""

    progress: Progress

    def dependency(self, axis: Axis, root: Axis | None = None) -> Dependency:
        """The dependency that stands for one parameter axis in a group of this root."""

    def group_at(self, axis: Axis, idxs: Iterable[int] | int) -> Group:
        """The group of these indices of a parameter axis."""

    def remove(self, asked: Mapping[str, np.ndarray], root: Axis | None, record_history: bool) -> Plan:
        """Remove masked units."""


class Group:
    """Units that are to be removed together, or that may be removed one by one; both are said in the same way.

    Iterating gives ``(dependency, indices)`` pairs, the root's first, one per module and direction, its weight's
    before its bias'; :meth:`slices` has every parameter. ``indices`` are Python integers into the dependency's axis,
    unit after unit; an axis that a unit meets several times (both halves of a ``chunk``) has as many per unit. Pairs
    are read off the model as it is now: a group stays valid while others are pruned.

    Args:
        graph: its dependency graph.
        masks: the units, counted in the dense model; see :data:`~deploy_prune.pruner.progress.Masks`.
        root: the parameter axis that comes first.
        row: show only the indices of one row, for ranking.
    """

    def __init__(
        self, graph: Graph, masks: Mapping[str, np.ndarray], root: Axis | None = None, row: int | None = None
    ) -> None:
        self._graph = graph
        self._masks = dict(masks)
        first = self._now(self.name).slices[0]
        self._root = root or (first.parameter, first.axis)
        self._row = row

    def _now(self, name: str) -> GroupNow:
        return self._graph.progress.group(name)

    @property
    def name(self) -> str:
        """The layer whose channels these are."""
        return next(iter(self._masks))

    @property
    def kind(self) -> str:
        """``channels`` or ``heads``."""
        return self._now(self.name).kind

    @property
    def rows(self) -> int:
        """How many rows (halves, heads, norm groups) may lose different indices, equally many each."""
        return self._now(self.name).rows

    @property
    def width(self) -> int:
        """Number of units that the model has now."""
        return sum(self._now(name).width for name in self._masks)

    @property
    def units(self) -> np.ndarray:
        """The units that the group was asked for, counted now: shape (rows, k), of its first part if it has several."""
        return self._graph.progress.units_now(self.name, self._masks[self.name])

    @property
    def masks(self) -> Mapping[str, np.ndarray]:
        """The units that the group was asked for, counted in the dense model."""
        return self._masks

    def by_row(self) -> list[Group]:
        """The same units as each row sees them, to be scored by themselves; one row sees all."""
        rows = self.rows
        return [self] if rows == 1 else [Group(self._graph, self._masks, self._root, row) for row in range(rows)]

    def stacked(self) -> StackedRows | None:
        """All rows of :meth:`by_row` in one view; None where they own unequal parts of an axis."""
        tables = []
        for axis, indices, row in self._tables(self.name):
            parts = np.bincount(row, minlength=self.rows)
            if (parts != parts[0]).any():
                return None
            by_row = indices[:, np.argsort(row, kind="stable")].reshape(len(indices), self.rows, parts[0])
            stacked = torch.from_numpy(np.ascontiguousarray(by_row.transpose(1, 0, 2)))
            tables.append((self._graph.dependency(axis, self._root), stacked))
        return StackedRows(tables)

    def choose(self, units: np.ndarray) -> Group:
        """The group that removes these units, counted now: one vector for all rows alike, or an array (rows, k)."""
        return Group(self._graph, {self.name: self._graph.progress.mask(self.name, units)}, self._root)

    def slices(self) -> Iterator[tuple[Dependency, torch.Tensor]]:
        """Pairs of dependency and indices of shape (units, m), one for each axis of each parameter.

        Raises:
            InputError: the units are of several groups, which have no slices in common.
        """
        if len(self._masks) > 1:
            names = ", ".join(self._masks)
            raise InputError(f"these channels lie in {len(self._masks)} groups ({names}); score each by itself")
        for axis, indices, _ in self._tables(self.name):
            yield self._graph.dependency(axis, self._root), torch.from_numpy(np.ascontiguousarray(indices))

    def _tables(self, name: str) -> Iterator[tuple[Axis, np.ndarray, np.ndarray]]:
        """Axis, indices (k, m) and row of each column, for every slice of one part."""
        now, units = self._now(name), self._graph.progress.units_now(name, self._masks[name])
        whole = units.shape == now.dense.shape
        for s in now.slices:
            columns: Any = slice(None) if self._row is None else np.flatnonzero(s.row == self._row)
            row, indices = s.row[columns], s.indices[:, columns]
            if len(row):
                yield (s.parameter, s.axis), indices if whole else _chosen(indices, units[row]), row

    @property
    def items(self) -> list[GroupItem]:
        """The pairs, each with ``dep``, ``idxs`` and ``root_idxs``."""
        found: dict[tuple[nn.Module, bool], GroupItem] = {}
        first_unit = 0
        for name, mask in self._masks.items():
            chosen: dict[tuple[nn.Module, bool], tuple[Dependency, np.ndarray]] = {}
            for axis, indices, _ in self._tables(name):
                dependency = self._graph.dependency(axis, self._root)
                side = (dependency.target.module, dependency.out)
                chosen.setdefault(side, (dependency, indices))
            for side, (dependency, indices) in chosen.items():
                units = np.repeat(np.arange(len(indices)) + first_unit, indices.shape[1]).tolist()
                item = found.setdefault(side, GroupItem(dependency, [], []))
                item.idxs.extend(indices.ravel().tolist())
                item.root_idxs.extend(units)
            first_unit += int(mask.sum(axis=1).max())
        root = self._graph.dependency(self._root, self._root)
        return sorted(found.values(), key=lambda item: (item.dep.target.module, item.dep.out) != (root.layer, root.out))

    def __iter__(self) -> Iterator[GroupItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, k: int) -> GroupItem:
        return self.items[k]

    def prune(self, idxs: Iterable[int] | None = None, record_history: bool = True) -> Plan:
        """Remove these units (default: all that the group was asked for) from the model, in place.

        Args:
            idxs: channels of the root layer, counted now.
            record_history: whether ``pruning_history()`` shall tell of it.

        Raises:
            PlanError: a group would be left without units.
        """
        if idxs is not None:
            return self._graph.group_at(self._root, idxs).prune(record_history=record_history)
        return self._graph.remove(self._masks, self._root, record_history)

    __call__ = exec = prune

    def details(self) -> str:
        """One line per pair: the root's side, the target's side, and the indices."""
        return self._text(lambda idxs: f"idxs ({len(idxs)}) = {idxs}")

    def __str__(self) -> str:
        return self._text(lambda idxs: f"{len(idxs)} indices")

    def _text(self, show: Callable[[list[int]], str]) -> str:
        lines = [f"group {self.name}: {self.width} units"]
        lines += [f"[{k}] {dep}, {show(idxs)}{'' if k else ' (root)'}" for k, (dep, idxs) in enumerate(self.items)]
        return "\n".join(lines)


def _chosen(indices: np.ndarray, units: np.ndarray) -> np.ndarray:
    """The units (m, k) of each column of indices (all units, m), shape (k, m)."""
    chosen: np.ndarray = np.take_along_axis(indices, units.T, axis=0)
    return chosen


@dataclass(frozen=True)
class StackedRows:
    """What criteria of weights see of a group with several rows: indices of shape (rows, units, m)."""

    tables: list[tuple[Dependency, torch.Tensor]]

    def slices(self) -> Iterator[tuple[Dependency, torch.Tensor]]:
        """Pairs of dependency and indices, one for each axis of each parameter."""
        return iter(self.tables)
