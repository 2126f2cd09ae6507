"""From facts to units and groups: what can be removed, together, and why the rest cannot.

A **unit** is a smallest set of parameter slices that live and die together: a connected component of the ``unify``
facts once boxes, sizes and projections are resolved. Units that touch the same parameter axes form a **group**; a plan
says which units of each group stay. Groups of heads, and of a convolution's groups, overlap groups of channels: a
slice is removed if any unit that holds it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deploy_prune.graph.facts import OUTPUT, Facts, Place
from deploy_prune.graph.grouping import Axis, Grouped, Slices, group_components
from deploy_prune.graph.resolve import Components, Resolved, resolve
from deploy_prune.graph.rows import RowFinder
from deploy_prune.graph.trace import Trace
from deploy_prune.graph.values import Atoms

Partition = Literal["columns", "rows", "cells"]
"""One of the three partitions of :class:`~deploy_prune.graph.resolve.Resolved`."""
Kind = Literal["channels", "heads", "groups"]


@dataclass(frozen=True, eq=False)
class UnitGroup:
    """Units that touch the same axes and can be removed one by one.

    Attributes:
        name: the module whose channels these are (the first that ran), with a suffix where it has several groups.
        kind: ``channels``; ``heads`` where each unit is a whole row of channels that another group has singly; or
            ``groups`` where the rows are those of a grouped convolution.
        width: number of units.
        slices: one entry per parameter axis, in order of execution.
        labels: component number of each unit, shape (rows, width); with several rows, each row may lose other units,
            equally many in all.
        partition: what the component numbers count.
    """

    name: str
    kind: Kind
    width: int
    slices: tuple[Slices, ...]
    labels: np.ndarray
    partition: Partition

    @property
    def rows(self) -> int:
        """How many rows choose their own indices."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class FrozenGroup:
    """Units that must stay, and why."""

    name: str
    width: int
    slices: tuple[Slices, ...]
    reason: str
    place: Place

    @property
    def explanation(self) -> str:
        """The reason, and what to do about it where that is in the user's hands."""
        free = "; if it may change, give an output_transform that leaves it out"
        return self.reason + (free if self.place.operator == OUTPUT else "")


@dataclass(frozen=True, eq=False)
class Units:
    """The resolved dependency structure of a model.

    Attributes:
        groups: what can be removed.
        frozen: what cannot, with reasons.
        axes: the atom of every index of every parameter axis.
        facts: what the runs said.
        resolved: the partitions of the atoms.
        unreached: parameters that no run used.
    """

    groups: tuple[UnitGroup, ...]
    frozen: tuple[FrozenGroup, ...]
    axes: Mapping[Axis, Atoms]
    facts: Facts
    resolved: Resolved
    unreached: tuple[str, ...]

    @property
    def unknown(self) -> dict[str, int]:
        """Operators without a rule and how often they ran."""
        return dict(Counter(self.facts.unknown))

    def group(self, name: str) -> UnitGroup:
        """The group of this name."""
        return next(g for g in self.groups if g.name == name)

    def labels(self, partition: Partition) -> np.ndarray:
        """Component number of every atom in a partition."""
        if partition == "cells":
            return self.resolved.cells
        components = self.resolved.columns if partition == "columns" else self.resolved.rows
        assert components is not None
        return components.labels


def find_units(trace: Trace, parameter_names: Sequence[str] = ()) -> Units:
    """Resolve the facts of a trace into units and groups.

    Args:
        trace: facts of all runs.
        parameter_names: all parameters of the model, to tell which no run reached.
    """
    facts = trace.facts
    resolved = resolve(facts, trace.attributes)
    axes = {axis: atoms for axis, atoms in facts.axes.items() if axis[0] in facts.reached}
    columns = group_components(axes, resolved.columns)
    names = _Names()
    finder = RowFinder(facts, resolved)
    groups = [_column_group(names, grouped, axes, finder) for grouped in columns if grouped.free]
    if resolved.rows is not None:
        fresh = _not_in(resolved.columns, resolved.rows)
        whole = group_components(axes, resolved.rows)
        groups += _row_groups(names, [g for g in whole if g.free and fresh[g.labels].all()], axes, facts, resolved)
    removable = np.zeros(facts.count, bool)
    for group in groups:
        for s in group.slices:
            removable[axes[s.parameter, s.axis][s.indices.ravel()]] = True
    return Units(
        groups=tuple(groups),
        frozen=tuple(_frozen_groups(columns, resolved.columns, axes, removable)),
        axes=axes,
        facts=facts,
        resolved=resolved,
        unreached=tuple(n for n in parameter_names if n not in facts.reached),
    )


class _Names:
    """Group names: the first layer's, with a number where it has several."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def of(self, slices: Sequence[Slices], suffix: str = "") -> str:
        name = _root(slices) + suffix
        self._taken[name] = self._taken.get(name, 0) + 1
        return name if self._taken[name] == 1 else f"{name}:{self._taken[name]}"


def _root(slices: Sequence[Slices]) -> str:
    return slices[0].parameter.rpartition(".")[0] or slices[0].parameter


def _column_group(names: _Names, grouped: Grouped, axes: Mapping[Axis, Atoms], finder: RowFinder) -> UnitGroup:
    """A group of channels; its rows choose for themselves where nothing ties their indices."""
    width, name = len(grouped.labels), names.of(grouped.slices)
    cells = finder.rows(grouped.labels)
    if cells is not None:
        row_of = finder.row_of_atoms(cells)
        slices = [_sorted_by_row(s, row_of[axes[s.parameter, s.axis]]) for s in grouped.slices]
        if all(s is not None for s in slices):
            return UnitGroup(name, "channels", width, tuple(s for s in slices if s), cells, "cells")
    return UnitGroup(name, "channels", width, grouped.slices, grouped.labels[None], "columns")


def _sorted_by_row(slices: Slices, row_of: np.ndarray) -> Slices | None:
    """The same slices with each unit's indices in order of rows; None where units differ in how many each row has."""
    row = row_of[slices.indices]
    by_row = np.argsort(row, axis=1, kind="stable")
    row = np.take_along_axis(row, by_row, axis=1)
    if (row != row[:1]).any():
        return None
    return Slices(slices.parameter, slices.axis, np.take_along_axis(slices.indices, by_row, axis=1), row[0])


def _not_in(columns: Components, rows: Components) -> np.ndarray:
    """Per row component, whether it is no column component too."""
    first = np.zeros(rows.count, np.int64)
    first[rows.labels] = columns.labels
    split = np.zeros(rows.count, bool)
    split[rows.labels[first[rows.labels] != columns.labels]] = True
    size_differs = np.bincount(rows.labels, minlength=rows.count) != np.bincount(columns.labels)[first]
    return split | size_differs


def _row_groups(
    names: _Names, whole: Sequence[Grouped], axes: Mapping[Axis, Atoms], facts: Facts, resolved: Resolved
) -> Iterator[UnitGroup]:
    """Groups of rows: ``channels`` where these cannot go singly, else ``heads``, or ``groups`` of a convolution."""
    reason = resolved.columns.reason_of
    in_convolution = np.zeros(facts.count, bool)
    for box in facts.boxes:
        if "conv" in box.place.operator:
            in_convolution[box.atoms] = True
    for grouped in whole:
        atoms = np.concatenate([axes[s.parameter, s.axis][s.indices.ravel()] for s in grouped.slices])
        singly = bool((reason[resolved.columns.labels[atoms]] < 0).any())
        kind: Kind = "channels" if not singly else "groups" if in_convolution[atoms].any() else "heads"
        name = names.of(grouped.slices, f":{kind}" if singly else "")
        yield UnitGroup(name, kind, len(grouped.labels), grouped.slices, grouped.labels[None], "rows")


def _frozen_groups(
    columns: Sequence[Grouped], components: Components, axes: Mapping[Axis, Atoms], removable: np.ndarray
) -> Iterator[FrozenGroup]:
    for grouped in columns:
        first = grouped.slices[0]
        if grouped.free or removable[axes[first.parameter, first.axis][first.indices.ravel()]].all():
            continue
        if not any(s.axis < 2 for s in grouped.slices):
            continue
        why = int(components.reason_of[grouped.labels[0]])
        name, width = _root(grouped.slices), len(grouped.labels)
        if why < 0:
            tied = "all its indices are tied to one another"
            yield FrozenGroup(name, 1, grouped.slices, tied, Place("", "", ""))
        else:
            fact = components.frozen[why]
            yield FrozenGroup(name, width, grouped.slices, fact.reason, fact.place)
