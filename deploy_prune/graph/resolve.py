"""Resolve facts: connected components under boxes, sizes given in code, and projections.

Boxes are kept full by *tying*: along one axis the array may shrink, and across all others the same inner index goes
everywhere. A size that the code gives as a literal fixes its axis; axes sized by one attribute shrink alike; whatever
would make a size in the code untrue is frozen with the place of that size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from deploy_prune.graph.attributes import Attribute, AxisSize, Expression, Operation, attributes_in, evaluate
from deploy_prune.graph.values import Atoms, Box, Facts, Frozen, SizeEquation


@dataclass(frozen=True, eq=False)
class Resolved:
    """Components of atoms.

    Attributes:
        labels: component number of every atom.
        reason_of: per component the index into ``frozen`` of the first fact that froze it, or -1.
        frozen: all freezing facts, also those found while resolving.
        equations: sizes that the code gives, each solvable or true after any removal of free components.
        attributes: the attributes that occur in them.
    """

    labels: np.ndarray
    reason_of: np.ndarray
    frozen: tuple[Frozen, ...]
    equations: tuple[SizeEquation, ...]
    attributes: frozenset[Attribute]


def resolve(facts: Facts, values: Mapping[Attribute, int]) -> Resolved:
    """Turn recorded facts into components that may each be removed or kept; ``values`` are the attributes' own."""
    frozen = list(facts.frozen)
    ties = list(facts.unified)
    boxes = _merge_boxes(facts.boxes, facts.equations, frozen)
    for box in boxes:
        _tie_box(box, ties, frozen)
    _tie_by_attribute(facts.equations, boxes, ties)
    labels = _project(facts, ties, frozen)
    frozen += _untrue_sizes(facts.equations, labels, values)
    attributes = {a for e in facts.equations for a in attributes_in(e.expression)}
    return Resolved(
        labels, _first_reasons(labels, frozen), tuple(frozen), tuple(facts.equations), frozenset(attributes)
    )


def _components(count: int, ties: Iterable[tuple[Atoms, Atoms]]) -> np.ndarray:
    pairs = list(ties)
    left = np.concatenate([a for a, _ in pairs]) if pairs else np.empty(0, np.int64)
    right = np.concatenate([b for _, b in pairs]) if pairs else np.empty(0, np.int64)
    graph = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _key(atoms: Atoms) -> tuple[bytes, tuple[int, ...]]:
    return atoms.tobytes(), atoms.shape


def _outer_first(atoms: Atoms, axes: Iterable[int]) -> tuple[Atoms, frozenset[int]]:
    """The array with its axes in the order of memory, so that transposed views of one array are one box.

    ``axes`` are renumbered likewise. The step of an axis is the distance of its first two atoms.
    """
    corner = atoms.ravel()[0]
    steps = [abs(int(np.take(atoms, 1, axis=k).ravel()[0] - corner)) if s > 1 else 0 for k, s in enumerate(atoms.shape)]
    order = sorted(range(atoms.ndim), key=lambda k: (-steps[k], k))
    return np.ascontiguousarray(atoms.transpose(order)), frozenset(order.index(a) for a in axes)


def _merge_boxes(boxes: Iterable[Box], equations: Iterable[SizeEquation], frozen: list[Frozen]) -> list[Box]:
    """One box per array, with all axes that a rule or a literal size in the code keeps from shrinking."""
    merged: dict[tuple[bytes, tuple[int, ...]], Box] = {}

    def add(box: Box) -> None:
        atoms, fixed = _outer_first(box.atoms, box.fixed)
        known = merged.get(_key(atoms))
        merged[_key(atoms)] = Box(atoms, fixed | (known.fixed if known else frozenset()), box.place)

    for box in boxes:
        add(box)
    for equation in equations:
        if isinstance(equation.expression, int):
            if equation.atoms.ndim == 1:
                why = f"has the literal size {equation.expression} in the code"
                frozen.append(Frozen(equation.atoms.ravel(), why, equation.place))
            else:
                add(Box(equation.atoms, frozenset({equation.axis}), equation.place))
    return list(merged.values())


def _varying_axis(box: Box) -> int | None:
    """The axis along which a box shrinks: the last one that is not fixed and longer than 1."""
    free = [a for a in range(box.atoms.ndim) if a not in box.fixed and box.atoms.shape[a] > 1]
    return free[-1] if free else None


def _tie_box(box: Box, ties: list[tuple[Atoms, Atoms]], frozen: list[Frozen]) -> None:
    axis = _varying_axis(box)
    if axis is None:
        frozen.append(Frozen(box.atoms.ravel(), "has a fixed size in the code along every axis", box.place))
        return
    rows = np.moveaxis(box.atoms, axis, -1).reshape(-1, box.atoms.shape[axis])
    ties.append((np.broadcast_to(rows[:1], rows.shape).ravel(), rows.ravel()))


def _tie_by_attribute(equations: Iterable[SizeEquation], boxes: Iterable[Box], ties: list[tuple[Atoms, Atoms]]) -> None:
    """Axes sized by the same attribute shrink at the same indices."""
    varying = {_key(b.atoms): _varying_axis(b) for b in boxes}
    by_attribute: dict[Attribute, list[Atoms]] = defaultdict(list)
    for equation in equations:
        if not isinstance(equation.expression, Attribute):
            continue
        atoms, sized = _outer_first(equation.atoms, {equation.axis})
        axis = varying.get(_key(atoms), 0)
        if axis in sized:
            by_attribute[equation.expression].append(np.moveaxis(atoms, axis, -1).reshape(-1, atoms.shape[axis])[0])
    for vectors in by_attribute.values():
        ties += [(vectors[0], vector) for vector in vectors[1:]]


def _project(facts: Facts, ties: list[tuple[Atoms, Atoms]], frozen: list[Frozen]) -> np.ndarray:
    """Components with projections: a row all of one component is that component, any other row always stays."""
    pending = list(facts.projections)
    while True:
        labels = _components(facts.count, ties)
        whole = [p for p in pending if (labels[p.rows] == labels[p.rows[:, :1]]).all()]
        if not whole:
            break
        ties += [(p.atoms, np.ascontiguousarray(p.rows[:, 0])) for p in whole]
        pending = [p for p in pending if p not in whole]
    for projection in pending:
        why = "lives while anything behind it lives"
        frozen.append(Frozen(projection.atoms.ravel(), why, projection.place))
    return labels


class _Changes:
    """How sizes in the code change when each component is removed alone: vectors of shape (components,).

    Only linear expressions have one; a factor that no removal changes counts as a constant.
    """

    def __init__(self, labels: np.ndarray, values: Mapping[Attribute, int]) -> None:
        self.labels = labels
        self.count = int(labels.max()) + 1 if len(labels) else 0
        self.values = values
        self.known: dict[Attribute, np.ndarray] = {}

    def of_axis(self, atoms: Atoms, axis: int) -> np.ndarray:
        """How many indices along ``axis`` vanish with each component."""
        rows = np.moveaxis(self.labels[atoms], axis, 0).reshape(atoms.shape[axis], -1)
        uniform = (rows == rows[:, :1]).all(axis=1)
        return np.bincount(rows[uniform, 0], minlength=self.count).astype(np.float64)

    def of(self, expression: Expression) -> np.ndarray | None:
        """Change of an expression whose attributes are all known; None where it is not linear."""
        if isinstance(expression, int):
            return np.zeros(self.count)
        if isinstance(expression, Attribute):
            return self.known[expression]
        if isinstance(expression, AxisSize):
            return self.of_axis(expression.atoms, expression.axis)
        left, right = self.of(expression.left), self.of(expression.right)
        if left is None or right is None:
            return None
        if expression.symbol in "+-":
            return left + right if expression.symbol == "+" else left - right
        if not right.any():
            factor = self._dense(expression.right)
            return left * factor if expression.symbol == "*" else left / factor
        return right * self._dense(expression.left) if expression.symbol == "*" and not left.any() else None

    def learn(self, expression: Expression, change: np.ndarray) -> bool:
        """Let the one attribute of ``expression`` not yet known take up ``change``; False if none can or several do."""
        unknown = [a for a in attributes_in(expression) if a not in self.known]
        if len(unknown) != 1:
            return False
        # A linear expression of one unknown x is rest + factor * x: two probes give both.
        probes = []
        for change_of_unknown in (np.zeros(self.count), np.ones(self.count)):
            self.known[unknown[0]] = change_of_unknown
            probes.append(self.of(expression))
        del self.known[unknown[0]]
        if probes[0] is None or probes[1] is None:
            return False
        factor = probes[1] - probes[0]
        if not factor.all() or ((change - probes[0]) % factor).any():
            return False
        self.known[unknown[0]] = (change - probes[0]) / factor
        return True

    def _dense(self, expression: Expression) -> int:
        return evaluate(expression, self.values, lambda size: size.atoms.shape[size.axis])


def _untrue_sizes(
    equations: Iterable[SizeEquation], labels: np.ndarray, values: Mapping[Attribute, int]
) -> list[Frozen]:
    """Freeze the components whose removal would change the two sides of a size equation by different amounts.

    Attributes take up the difference where an equation names one that no other equation determines.
    """
    changes = _Changes(labels, values)
    found = []
    by_unknowns = sorted(
        equations, key=lambda e: (len(attributes_in(e.expression)), isinstance(e.expression, Operation))
    )
    for equation in by_unknowns:
        if isinstance(equation.expression, int):
            continue
        change = changes.of_axis(equation.atoms, equation.axis)
        changes.learn(equation.expression, change)
        decided = attributes_in(equation.expression) <= changes.known.keys()
        expected = changes.of(equation.expression) if decided else None
        hit = np.zeros(changes.count, bool)
        if expected is None:
            hit[labels[equation.atoms.ravel()]] = True
        else:
            hit = change != expected
        if hit.any():
            why = "would make a size that the code computes untrue"
            found.append(Frozen(np.flatnonzero(hit[labels]), why, equation.place))
    return found


def _first_reasons(labels: np.ndarray, frozen: list[Frozen]) -> np.ndarray:
    reasons = np.full(int(labels.max()) + 1 if len(labels) else 0, -1)
    for k in range(len(frozen) - 1, -1, -1):
        reasons[labels[frozen[k].atoms]] = k
    return reasons
