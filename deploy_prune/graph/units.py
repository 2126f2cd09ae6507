"""From facts to units and groups: what can be removed, together, and why the rest cannot.

A **unit** is a smallest set of parameter slices that live and die together: a connected component of the ``unify``
facts once boxes, sizes and projections are resolved. Units that touch the same parameter axes form a **group**; a plan
says which units of each group stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deploy_prune.graph.resolve import Resolved, resolve
from deploy_prune.graph.trace import Trace
from deploy_prune.graph.values import Facts, Place

Axis = tuple[str, int]
"""A parameter or buffer by name, and one of its axes."""


@dataclass(frozen=True, eq=False)
class Slices:
    """Where a group's units lie on one parameter axis: row ``u`` of ``indices`` (units, m) belongs to unit ``u``."""

    parameter: str
    axis: int
    indices: np.ndarray


@dataclass(frozen=True, eq=False)
class UnitGroup:
    """Units that touch the same axes and can be removed one by one.

    Attributes:
        name: the module whose channels these are (the first that ran), with a suffix where it has several groups.
        width: number of units.
        slices: one entry per parameter axis, in order of execution.
        labels: component number of each unit in :class:`Units`.
    """

    name: str
    width: int
    slices: tuple[Slices, ...]
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class FrozenGroup:
    """Units that must stay, and why."""

    name: str
    width: int
    slices: tuple[Slices, ...]
    reason: str
    place: Place


@dataclass(frozen=True, eq=False)
class Units:
    """The resolved dependency structure of a model.

    Attributes:
        groups: what can be removed.
        frozen: what cannot, with reasons.
        axes: component number of every index of every parameter axis.
        unknown: operators without a rule and how often they ran.
        unreached: parameters that no run used.
    """

    groups: tuple[UnitGroup, ...]
    frozen: tuple[FrozenGroup, ...]
    axes: Mapping[Axis, np.ndarray]
    resolved: Resolved
    unknown: Mapping[str, int]
    unreached: tuple[str, ...]

    def group(self, name: str) -> UnitGroup:
        """The group of this name."""
        return next(g for g in self.groups if g.name == name)


def find_units(trace: Trace, parameter_names: Sequence[str] = ()) -> Units:
    """Resolve the facts of a trace into units and groups.

    Args:
        trace: facts of all runs.
        parameter_names: all parameters of the model, to tell which no run reached.
    """
    facts = trace.facts
    resolved = resolve(facts, trace.attributes)
    axes = {axis: resolved.labels[atoms] for axis, atoms in facts.axes.items() if axis[0] in facts.reached}
    free, frozen = _group_labels(axes, resolved)
    taken: dict[str, int] = {}
    groups = []
    for labels, slices in free:
        groups.append(UnitGroup(_unique(_root(slices), taken), len(labels), slices, labels))
    return Units(
        groups=tuple(groups),
        frozen=tuple(_explain(facts, resolved, labels, slices) for labels, slices in frozen),
        axes=axes,
        resolved=resolved,
        unknown=dict(facts.unknown),
        unreached=tuple(n for n in parameter_names if n not in facts.reached),
    )


_Grouped = list[tuple[np.ndarray, tuple[Slices, ...]]]


def _group_labels(axes: Mapping[Axis, np.ndarray], resolved: Resolved) -> tuple[_Grouped, _Grouped]:
    """Components by the multiset of axes that they touch (and, when frozen, by reason): free ones, frozen ones."""
    if not axes:
        return [], []
    names = list(axes)
    axis_of = np.repeat(np.arange(len(names)), [len(axes[n]) for n in names])
    index_of = np.concatenate([np.arange(len(axes[n])) for n in names])
    label_of = np.concatenate([axes[n] for n in names])

    touched, dense = np.unique(label_of, return_inverse=True)
    # A random 64-bit number per axis, summed over a component, tells multisets of axes apart (wrapping sums).
    numbers = np.random.default_rng(0).integers(1, 2**63, len(names), dtype=np.uint64)
    signature = np.zeros(len(touched), np.uint64)
    np.add.at(signature, dense, numbers[axis_of])
    reason = resolved.reason_of[touched]
    _, first = np.unique(dense, return_index=True)

    order = np.lexsort((index_of, dense))
    bounds = np.searchsorted(dense[order], np.arange(len(touched) + 1))
    keys = list(zip(signature.tolist(), reason.tolist(), strict=True))
    members: dict[tuple[int, int], list[int]] = {}
    for component in np.argsort(first):
        members.setdefault(keys[component], []).append(int(component))

    free: _Grouped = []
    frozen: _Grouped = []
    for (_, why), components in members.items():
        entries = np.concatenate([order[bounds[c] : bounds[c + 1]] for c in components])
        slices = []
        for axis in np.unique(axis_of[entries]):
            on_axis = entries[axis_of[entries] == axis]
            parameter, number = names[axis]
            slices.append(Slices(parameter, number, index_of[on_axis].reshape(len(components), -1)))
        (free if why < 0 and len(components) > 1 else frozen).append((touched[components], tuple(slices)))
    return free, [f for f in frozen if any(s.axis < 2 for s in f[1])]


def _root(slices: Sequence[Slices]) -> str:
    return slices[0].parameter.rpartition(".")[0] or slices[0].parameter


def _unique(name: str, taken: dict[str, int]) -> str:
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name}:{taken[name]}"


def _explain(facts: Facts, resolved: Resolved, labels: np.ndarray, slices: tuple[Slices, ...]) -> FrozenGroup:
    why = int(resolved.reason_of[labels[0]])
    if why < 0:
        return FrozenGroup(_root(slices), 1, slices, "all its indices are tied to one another", Place("", "", ""))
    fact = resolved.frozen[why]
    return FrozenGroup(_root(slices), len(labels), slices, fact.reason, fact.place)
