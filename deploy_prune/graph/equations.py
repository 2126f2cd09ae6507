"""Sizes that the user's code computes: ties that keep them true, and the components that would make one untrue."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from deploy_prune.graph.attributes import (
    Attribute,
    AxisSize,
    Expression,
    Operation,
    attributes_in,
    evaluate,
    numbers_of_parts,
)
from deploy_prune.graph.boxes import ChooseAxis, Ties, canonical, key, rows_of
from deploy_prune.graph.facts import Box, Frozen, SizeEquation
from deploy_prune.graph.values import Atoms


def tie_equal_sizes(
    equations: Sequence[SizeEquation],
    boxes: Iterable[Box],
    shrinking: ChooseAxis,
    connect: Callable[[Ties], np.ndarray],
) -> Ties:
    """Axes that the code gives one size shrink at the same indices.

    Three forms are tied: two axes sized by one attribute (``view(b, self.c)`` twice), one sized by a fraction of
    another (``head_dim = C // num_heads``: the embedding then loses the indices of the same places as the heads do),
    and an axis sized by another one (``view(b, y.shape[1])``) unless they lose equally many anyway.

    Args:
        connect: component number of every atom once these ties are added to all others.
    """
    shrinks = {key(b.atoms): shrinking(b) for b in boxes}
    by_attribute: dict[Attribute, list[Atoms]] = defaultdict(list)
    ties: Ties = []
    alike: Ties = []

    def vector(atoms: Atoms, axis: int) -> Atoms | None:
        """The atoms along an axis, one of each tied set; None where this axis does not shrink."""
        ordered, sized = canonical(atoms, {axis})
        varying = shrinks.get(key(ordered), 0 if atoms.ndim == 1 else None)
        return rows_of(ordered, varying)[0] if varying is not None and varying in sized else None

    uses = Counter(equation.expression for equation in equations if isinstance(equation.expression, Attribute))
    for equation in equations:
        expression = equation.expression
        if isinstance(expression, Attribute) and uses[expression] == 1:
            continue  # nothing to be tied to
        own = vector(equation.atoms, equation.axis)
        if isinstance(expression, Operation) and expression.symbol == "//" and isinstance(expression.left, AxisSize):
            ties += _tie_fraction(equation, expression.left)
        if own is None:
            continue
        if isinstance(expression, Attribute):
            by_attribute[expression].append(own)
        elif isinstance(expression, AxisSize):
            other = vector(expression.atoms, expression.axis)
            if other is not None and other.shape == own.shape:
                alike.append((own, other))
    for vectors in by_attribute.values():
        ties += [(vectors[0], v) for v in vectors[1:] if v.shape == vectors[0].shape]
    if alike:
        labels = connect(ties)
        ties += [_matched(a, b, labels) for a, b in alike if (np.sort(labels[a]) != np.sort(labels[b])).any()]
    return ties


def _matched(own: Atoms, other: Atoms, labels: np.ndarray) -> tuple[Atoms, Atoms]:
    """Ties by which two axes of one size lose equally many: index to index, unless parts to parts are finer.

    Heads of 42 channels against units of 4 meet at their least common multiple: two heads and 21 units at a time.
    """
    parts = [np.unique(labels[a], return_inverse=True, return_counts=True) for a in (own, other)]
    (names, numbers, counts), (other_names, other_numbers, other_counts) = parts
    if (counts != counts[0]).any() or (other_counts != other_counts[0]).any() or np.isin(names, other_names).any():
        return own, other
    together = math.lcm(int(counts[0]), int(other_counts[0]))
    size = len(names) + len(other_names)
    by_index = coo_matrix((np.ones(len(own)), (numbers, len(names) + other_numbers)), shape=(size, size))
    if connected_components(by_index, directed=False)[0] >= len(own) // together:
        return own, other
    ordered = [a[np.argsort(_first_use(n), kind="stable")] for a, n in ((own, numbers), (other, other_numbers))]
    leaders = np.repeat(ordered[0][::together], together)
    return np.concatenate([leaders, leaders]), np.concatenate(ordered)


def _first_use(numbers: np.ndarray) -> np.ndarray:
    """For each entry where its number occurs first."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    places: np.ndarray = first[inverse]
    return places


def _tie_fraction(equation: SizeEquation, whole: AxisSize) -> Ties:
    """``size = whole // parts``: the whole laid out as (parts, size) lies over the array of parts and sizes."""
    size = equation.atoms.shape[equation.axis]
    if whole.atoms.ndim != 1 or not size or len(whole.atoms) % size:
        return []
    laid_out = whole.atoms.reshape(-1, size)
    if len(laid_out) == 1 and equation.atoms.ndim == 1:
        return [(whole.atoms, equation.atoms)]
    parts = [a for a, s in enumerate(equation.atoms.shape) if s == len(laid_out) and a != equation.axis]
    if not parts:
        return []
    moved = np.moveaxis(equation.atoms, (parts[-1], equation.axis), (-2, -1)).reshape(-1, *laid_out.shape)
    return [(laid_out.ravel(), moved[0].ravel())]


def attributes_of(equations: Iterable[SizeEquation]) -> frozenset[Attribute]:
    """All attributes that occur in the equations."""
    return frozenset(a for e in equations for a in attributes_in(e.expression))


def distinct(equations: Iterable[SizeEquation]) -> list[SizeEquation]:
    """Equations without repeats (eval and train mode say much the same)."""
    found = {(key(e.atoms), e.axis, e.expression): e for e in equations}
    return list(found.values())


def untrue_sizes(
    equations: Sequence[SizeEquation], labels: np.ndarray, values: Mapping[Attribute, int]
) -> list[tuple[SizeEquation, Frozen]]:
    """Freeze the components whose removal would change the two sides of a size equation by different amounts.

    Attributes take up the difference where an equation names one that no other equation determines; of several in one
    equation that which divides stays (:func:`~deploy_prune.graph.attributes.numbers_of_parts`).
    """
    changes = _Changes(equations, labels, values)
    open_equations = [e for e in equations if not isinstance(e.expression, int)]
    waiting = open_equations
    while waiting:
        left = [e for e in waiting if not changes.learn(e)]
        staying = numbers_of_parts((e.expression for e in left), changes.known.keys()) if left == waiting else set()
        if left == waiting and not staying:
            break
        changes.known |= {attribute: np.zeros(changes.count) for attribute in staying}
        waiting = left
    for attribute in attributes_of(open_equations) - changes.known.keys():
        changes.known[attribute] = np.zeros(changes.count)
    found = []
    for equation in open_equations:
        expected = changes.of(equation.expression)
        change = changes.of_axis(equation.atoms, equation.axis)
        hit = changes.present[changes.concerned(equation) if expected is None else change != expected]
        if hit.size:
            why = "would make a size that the code computes untrue"
            found.append((equation, Frozen(np.flatnonzero(np.isin(labels, hit)), why, equation.place)))
    return found


def tie_shared_sizes(equations: Sequence[SizeEquation], untrue: Iterable[SizeEquation]) -> Ties:
    """Ties between axes that expressions size, index by index, where one attribute in an untrue one stands in several.

    ``config.num_heads * self.head_dim`` sizes an axis in every layer: heads of all layers then go together.
    """
    shared = attributes_of(untrue)
    sized: dict[tuple[Attribute, int], list[Atoms]] = defaultdict(list)
    for equation in equations:
        for attribute in attributes_in(equation.expression) if equation.atoms.ndim == 1 else ():
            if attribute in shared:
                sized[attribute, len(equation.atoms)].append(equation.atoms)
    return [(vectors[0], v) for vectors in sized.values() for v in vectors[1:]]


def _sizes_in(expression: Expression) -> Iterator[AxisSize]:
    if isinstance(expression, AxisSize):
        yield expression
    elif isinstance(expression, Operation):
        yield from _sizes_in(expression.left)
        yield from _sizes_in(expression.right)


class _Changes:
    """How sizes in the code change when each component is removed alone: vectors of shape (components,).

    Only components that stand in an equation count; ``present`` are their numbers. Only linear expressions have a
    change; a factor that no removal changes counts as a constant.
    """

    def __init__(self, equations: Sequence[SizeEquation], labels: np.ndarray, values: Mapping[Attribute, int]) -> None:
        arrays = [e.atoms.ravel() for e in equations]
        arrays += [size.atoms.ravel() for e in equations for size in _sizes_in(e.expression)]
        atoms = np.unique(np.concatenate(arrays)) if arrays else np.empty(0, np.int64)
        self.present, dense = np.unique(labels[atoms], return_inverse=True)
        self.count = len(self.present)
        self._number = np.zeros(len(labels), np.int64)
        self._number[atoms] = dense
        self._of_axis: dict[tuple[bytes, tuple[int, ...], int], np.ndarray] = {}
        self.values = values
        self.known: dict[Attribute, np.ndarray] = {}

    def of_axis(self, atoms: Atoms, axis: int) -> np.ndarray:
        """How many indices along ``axis`` vanish with each component."""
        name = (*key(atoms), axis)
        if name not in self._of_axis:
            rows = np.moveaxis(self._number[atoms], axis, 0).reshape(atoms.shape[axis], -1)
            uniform = (rows == rows[:, :1]).all(axis=1)
            self._of_axis[name] = np.bincount(rows[uniform, 0], minlength=self.count).astype(np.float64)
        return self._of_axis[name]

    def concerned(self, equation: SizeEquation) -> np.ndarray:
        """Which components have atoms in an equation's array."""
        hit = np.zeros(self.count, bool)
        hit[self._number[equation.atoms.ravel()]] = True
        return hit

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
        if not left.any() and expression.symbol == "*":
            return right * self._dense(expression.left)
        return self._product(expression, left, right)

    def _product(self, expression: Operation, left: np.ndarray, right: np.ndarray) -> np.ndarray | None:
        """``(a - da)(b - db)`` or ``(a - da) / (b - db)``, for components removed one at a time."""
        a, b = self._dense(expression.left), self._dense(expression.right)
        if expression.symbol == "*":
            return a * b - (a - left) * (b - right)
        rest = b - right
        return np.where(rest > 0, a / b - (a - left) / np.where(rest > 0, rest, 1), np.nan)

    def learn(self, equation: SizeEquation) -> bool:
        """Let the one attribute not yet known take up the change of the axis; False if none can or several do."""
        expression, change = equation.expression, self.of_axis(equation.atoms, equation.axis)
        if isinstance(expression, Attribute):
            known = expression in self.known
            self.known.setdefault(expression, change)
            return not known
        unknown = [a for a in attributes_in(expression) if a not in self.known]
        if len(unknown) != 1:
            return False
        # A linear expression of one unknown x is rest + factor * x: two probes give both, a third shows that it is.
        probes = []
        for x in (0.0, 1.0, 2.0):
            self.known[unknown[0]] = np.full(self.count, x)
            probes.append(self.of(expression))
        del self.known[unknown[0]]
        rest, one, two = probes
        if rest is None or one is None or two is None or not np.allclose(two - one, one - rest):
            return False
        factor = one - rest
        if not factor.all():
            return False
        taken_up = (change - rest) / factor
        whole = np.round(taken_up)
        if not np.allclose(taken_up, whole, rtol=0, atol=1e-6):
            return False
        self.known[unknown[0]] = whole
        return True

    def _dense(self, expression: Expression) -> int:
        return evaluate(expression, self.values, lambda size: size.atoms.shape[size.axis])
