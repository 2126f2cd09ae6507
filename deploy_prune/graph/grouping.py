"""Components that touch the same parameter axes, and where they lie on each of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deploy_prune.graph.resolve import Components
from deploy_prune.graph.values import Atoms

Axis = tuple[str, int]
"""A parameter or buffer by name, and one of its axes."""


@dataclass(frozen=True, eq=False)
class Slices:
    """Where a group's units lie on one parameter axis: row ``u`` of ``indices`` (units, m) belongs to unit ``u``.

    ``row`` (m,) says which row of the group each column of ``indices`` belongs to.
    """

    parameter: str
    axis: int
    indices: np.ndarray
    row: np.ndarray


@dataclass(frozen=True, eq=False)
class Grouped:
    """Components of one group: their numbers, their slices, and whether all may be removed but one."""

    labels: np.ndarray
    slices: tuple[Slices, ...]
    free: bool


def group_components(axes: Mapping[Axis, Atoms], components: Components) -> list[Grouped]:
    """Components by the multiset of axes that they touch (and, when frozen, by reason), in order of first use."""
    if not axes:
        return []
    names = list(axes)
    sizes = [len(axes[n]) for n in names]
    axis_of = np.repeat(np.arange(len(names)), sizes)
    index_of = np.concatenate([np.arange(size) for size in sizes])
    label_of = components.labels[np.concatenate([axes[n] for n in names])]

    order = np.argsort(label_of, kind="stable")  # by component, within it by axis and index
    starts = np.flatnonzero(np.diff(label_of[order], prepend=-1))
    touched, bounds = label_of[order[starts]], np.append(starts, len(order))
    # A random 64-bit number per axis, summed over a component, tells multisets of axes apart (wrapping sums).
    numbers = np.random.default_rng(0).integers(1, 2**63, len(names), dtype=np.uint64)
    signature = np.add.reduceat(numbers[axis_of[order]], starts)
    reason = components.reason_of[touched]

    found = []
    for group in _alike(np.stack([signature, reason.astype(np.uint64)]), order[starts]):
        # Components of one signature touch each axis equally often: their entries form one table.
        why = int(reason[group[0]])
        entries = order[_ranges(bounds, group)].reshape(len(group), -1)
        axis, indices = axis_of[entries[0]], index_of[entries]
        edges = [0, *(np.diff(axis).nonzero()[0] + 1).tolist(), len(axis)]
        row = np.zeros(len(axis), np.int64)
        slices = []
        for start, end in itertools.pairwise(edges):
            parameter, number = names[axis[start]]
            slices.append(Slices(parameter, number, indices[:, start:end], row[start:end]))
        found.append(Grouped(touched[group], tuple(slices), why < 0 and len(group) > 1))
    return found


def _alike(keys: np.ndarray, first: np.ndarray) -> list[np.ndarray]:
    """Components of equal ``keys`` (2, components), each set in order of ``first`` use, and so are the sets."""
    by_key = np.lexsort((first, *keys))
    edges = np.flatnonzero((np.diff(keys[:, by_key]) != 0).any(axis=0)) + 1
    return sorted(np.split(by_key, edges), key=lambda group: int(first[group[0]]))


def _ranges(bounds: np.ndarray, group: np.ndarray) -> np.ndarray:
    """All integers of the half-open ranges ``bounds[g] … bounds[g + 1]``, all of one length."""
    length = bounds[group[0] + 1] - bounds[group[0]]
    ranges: np.ndarray = (bounds[group][:, None] + np.arange(length)).ravel()
    return ranges
