"""Resolve facts into components: which atoms go together when columns go, when rows go, and before boxes tie any.

Boxes are kept full by *tying*: along one axis the array may shrink, and across all others the same inner index goes
everywhere. Where that ties a box to one piece and only the count of each row matters, rows are tied otherwise. A size
that the code gives as a literal fixes its axis; axes sized by one attribute shrink alike; whatever would make a size in
the code untrue is frozen with the place of that size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from deploy_prune.graph.attributes import Attribute
from deploy_prune.graph.boxes import (
    ChooseAxis,
    Ties,
    first_free_axis,
    free_axes,
    last_free_axis,
    merged_boxes,
    tie_boxes,
    tie_counts,
)
from deploy_prune.graph.equations import distinct, tie_equal_sizes, tie_shared_sizes, untrue_sizes
from deploy_prune.graph.facts import OUTPUT, Box, Facts, Frozen, Projection, SizeEquation
from deploy_prune.graph.values import Atoms


@dataclass(frozen=True, eq=False)
class Components:
    """Atoms that go together.

    Attributes:
        labels: component number of every atom.
        reason_of: per component the index into ``frozen`` of the first fact that froze it, or -1.
        frozen: all freezing facts, also those found while resolving.
    """

    labels: np.ndarray
    reason_of: np.ndarray
    frozen: tuple[Frozen, ...]

    @property
    def count(self) -> int:
        """Number of components."""
        return len(self.reason_of)

    @property
    def free(self) -> int:
        """Number of atoms that nothing freezes."""
        return int((self.reason_of[self.labels] < 0).sum())


@dataclass(frozen=True, eq=False)
class Resolved:
    """What may be removed, in three partitions of the atoms.

    Attributes:
        columns: components when boxes lose columns (plain channel axes are such).
        rows: components when boxes lose rows; None where no box can lose either.
        cells: component number of every atom when boxes tie nothing: the finest pieces that live and die together.
        boxes: all boxes, one per array.
    """

    columns: Components
    rows: Components | None
    cells: np.ndarray
    boxes: tuple[Box, ...]


def resolve(facts: Facts, values: Mapping[Attribute, int]) -> Resolved:
    """Turn recorded facts into components that may each be removed or kept; ``values`` are the attributes' own."""
    frozen = sorted(facts.frozen, key=lambda f: f.place.operator != OUTPUT)  # of several reasons the plainest
    boxes = merged_boxes(facts, frozen)
    equations = distinct(facts.equations)
    either = any(len(free_axes(b)) > 1 for b in boxes)
    united = _connected(facts.count, facts.unified)
    columns = _components(facts, united, equations, boxes, last_free_axis, values, frozen)
    untied = not (boxes or facts.projections or equations)  # then columns are the finest already
    return Resolved(
        columns=columns,
        rows=_components(facts, united, equations, boxes, first_free_axis, values, frozen) if either else None,
        cells=columns.labels if untied else _cells(facts, united, columns.labels),
        boxes=tuple(boxes),
    )


def _components(
    facts: Facts,
    united: np.ndarray,
    equations: Sequence[SizeEquation],
    boxes: list[Box],
    shrinking: ChooseAxis,
    values: Mapping[Attribute, int],
    frozen: list[Frozen],
) -> Components:
    def tied(counted: Sequence[Box], shared: Ties) -> tuple[list[Frozen], np.ndarray, list[Projection]]:
        """Reasons, components and split projections when of these boxes only the counts are kept."""
        found = list(frozen)
        ties = [*tie_boxes([b for b in boxes if b not in counted], shrinking, found), *shared]
        ties += tie_equal_sizes(equations, boxes, shrinking, lambda more: _joined(united, ties + more))
        ties += tie_counts(counted, shrinking, lambda more: _joined(united, ties + more))
        return found, *_merge_projections(facts, united, ties)

    def finished(shared: Ties) -> tuple[Components, list[SizeEquation]]:
        """The components, and the equations that some of them would make untrue."""
        reasons, labels, split = tied([], shared)
        collapsed = [b for b in boxes if b.counted and _is_one(labels, b)]
        if collapsed:
            reasons, labels, split = tied(collapsed, shared)
        for projection in split:
            reasons.append(Frozen(projection.atoms.ravel(), "lives while anything behind it lives", projection.place))
        untrue = untrue_sizes(equations, labels, values)
        reasons += [freezing for _, freezing in untrue]
        reasons += [
            Frozen(b.atoms.ravel(), "goes only with all other indices", b.place) for b in boxes if _is_one(labels, b)
        ]
        components = Components(labels, _first_reasons(labels, reasons), tuple(reasons))
        return components, [equation for equation, _ in untrue]

    components, untrue = finished([])
    shared = tie_shared_sizes(equations, untrue) if untrue else []
    if any((components.labels[a] != components.labels[b]).any() for a, b in shared):
        coarser, _ = finished(shared)
        if coarser.free > components.free:
            return coarser
    return components


def _is_one(labels: np.ndarray, box: Box) -> bool:
    """Whether a component holds a box whole, so that nothing would be left of it."""
    found = labels[box.atoms]
    return bool((found == found.flat[0]).all())


def _cells(facts: Facts, united: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Finest components; where columns share one index (a vector broadcast over heads), their cells cannot differ."""
    ties: Ties = []
    for p in facts.projections:
        whole = (columns[p.rows] == columns[p.rows[:, :1]]).all(axis=1)
        rows = p.rows[whole]
        ties.append((np.broadcast_to(p.atoms[whole, None], rows.shape).ravel(), rows.ravel()))
    return _joined(united, ties)


def _merge_projections(facts: Facts, united: np.ndarray, ties: Ties) -> tuple[np.ndarray, list[Projection]]:
    """Labels with projections merged: an atom whose row is all of one component follows it.

    The other atoms, returned as second, live while anything in their rows does.
    """
    ties = list(ties)
    pending = [p for p in facts.projections if p.atoms.size]
    while True:
        labels = _joined(united, ties)
        found, split = False, []
        for p in pending:
            whole = (labels[p.rows] == labels[p.rows[:, :1]]).all(axis=1)
            if whole.any():
                found = True
                ties.append((p.atoms[whole], p.rows[whole, 0]))
            if not whole.all():
                split.append(Projection(p.atoms[~whole], p.rows[~whole], p.place))
        if not found:
            return labels, split
        pending = split


def _joined(labels: np.ndarray, ties: Ties) -> np.ndarray:
    """Components joined by further ties, renumbered."""
    if not ties:
        return labels
    joined = _connected(int(labels.max(initial=-1)) + 1, [(labels[a], labels[b]) for a, b in ties])
    further: np.ndarray = joined[labels]
    return further


def _connected(count: int, ties: Sequence[tuple[Atoms, Atoms]]) -> np.ndarray:
    """Component number of each of ``count`` things, in order of their first."""
    left = np.concatenate([a for a, _ in ties]) if ties else np.empty(0, np.int64)
    right = np.concatenate([b for _, b in ties]) if ties else np.empty(0, np.int64)
    # In the form and type that SciPy works on; from any other it makes a sorted copy first.
    starts = np.concatenate([[0], np.cumsum(np.bincount(left, minlength=count))])
    graph = csr_matrix((np.ones(len(left)), right[np.argsort(left, kind="stable")], starts), shape=(count, count))
    labels: np.ndarray = connected_components(graph, directed=False)[1]
    return labels


def _first_reasons(labels: np.ndarray, frozen: list[Frozen]) -> np.ndarray:
    reasons = np.full(int(labels.max()) + 1 if len(labels) else 0, -1)
    for k in range(len(frozen) - 1, -1, -1):
        reasons[labels[frozen[k].atoms]] = k
    return reasons
