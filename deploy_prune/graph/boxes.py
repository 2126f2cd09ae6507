"""Boxes: arrays of atoms that must still be full after removal, and the axis along which each may shrink.

A joint array of heads x inner indices may lose *columns* (the same inner index of every head: the last axis shrinks) or
*rows* (whole heads: the first axis shrinks). Both removals leave a full box, and so does their union.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from deploy_prune.graph.facts import Box, Facts, Frozen
from deploy_prune.graph.values import Atoms

Ties = list[tuple[Atoms, Atoms]]
ChooseAxis = Callable[[Box], "int | None"]


def merged_boxes(facts: Facts, frozen: list[Frozen]) -> list[Box]:
    """One box per array, with all axes that a rule or a literal size in the code keeps from shrinking."""
    merged: dict[tuple[bytes, tuple[int, ...]], Box] = {}

    def add(box: Box) -> None:
        atoms, fixed = canonical(box.atoms, box.fixed)
        known = merged.get(key(atoms))
        if known is not None:
            fixed |= known.fixed
        merged[key(atoms)] = Box(atoms, fixed, box.place, box.counted and (known is None or known.counted))

    for box in facts.boxes:
        add(box)
    for equation in facts.equations:
        if not isinstance(equation.expression, int):
            continue
        if equation.atoms.ndim == 1:
            why = f"has the literal size {equation.expression} in the code"
            frozen.append(Frozen(equation.atoms.ravel(), why, equation.place))
        else:
            add(Box(equation.atoms, frozenset({equation.axis}), equation.place))
    return list(merged.values())


def key(atoms: Atoms) -> tuple[bytes, tuple[int, ...]]:
    """Equal for equal arrays."""
    return atoms.tobytes(), atoms.shape


def canonical(atoms: Atoms, axes: Iterable[int]) -> tuple[Atoms, frozenset[int]]:
    """The array with its axes in the order of memory, so that transposed views of one array are one box.

    ``axes`` are renumbered likewise. An outer axis steps farther than all that lies within one of its indices; a step
    to padding, which may lie anywhere, does not count.
    """
    lines = [atoms[tuple(slice(None) if a == k else 0 for a in range(atoms.ndim))] for k in range(atoms.ndim)]
    order = sorted(range(atoms.ndim), key=lambda k: (-_step(lines[k]), k))
    return np.ascontiguousarray(atoms.transpose(order)), frozenset(order.index(a) for a in axes)


def _step(line: Atoms) -> int:
    """The smallest distance between neighbours that differ."""
    steps = np.abs(np.diff(line))
    return int(steps[steps > 0].min(initial=np.iinfo(np.int64).max)) if steps.any() else 0


def free_axes(box: Box) -> list[int]:
    """Axes that may shrink: longer than 1 and not fixed."""
    return [a for a in range(box.atoms.ndim) if a not in box.fixed and box.atoms.shape[a] > 1]


def last_free_axis(box: Box) -> int | None:
    """The axis that shrinks when columns go."""
    return next(reversed(free_axes(box)), None)


def first_free_axis(box: Box) -> int | None:
    """The axis that shrinks when rows go."""
    return next(iter(free_axes(box)), None)


def rows_of(atoms: Atoms, axis: int) -> Atoms:
    """The array as rows along ``axis``, shape (others, size of axis)."""
    return np.moveaxis(atoms, axis, -1).reshape(-1, atoms.shape[axis])


def tie_boxes(boxes: Iterable[Box], shrinking: ChooseAxis, frozen: list[Frozen]) -> Ties:
    """Keep boxes full: along the shrinking axis the same index goes everywhere."""
    ties = []
    for box in boxes:
        axis = shrinking(box)
        if axis is None:
            frozen.append(Frozen(box.atoms.ravel(), "has a fixed size in the code along every axis", box.place))
            continue
        rows = rows_of(box.atoms, axis)
        ties.append((np.broadcast_to(rows[:1], rows.shape).ravel(), rows.ravel()))
    return ties


def tie_counts(boxes: Iterable[Box], shrinking: ChooseAxis, connect: Callable[[Ties], np.ndarray]) -> Ties:
    """Keep boxes full of which only the count in each row matters, by ties that join as few components as can be.

    Components with equally many indices in every row need none. Of the others, those that have the same surplus in
    one row each are joined, one per row; what is left over is joined to one.

    Args:
        connect: component number of every atom once these ties are added to all others.
    """
    ties: Ties = []
    for box in boxes:
        axis = shrinking(box)
        if axis is not None:
            rows = rows_of(box.atoms, axis)
            ties += _balanced(rows, connect(ties)[rows])
    return ties


def _balanced(rows: Atoms, labels: np.ndarray) -> Ties:
    """Ties of ``rows`` (rows, size), whose atoms are of the components ``labels``, by which each loses equally many."""
    names, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    row_of = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
    counts = np.zeros((len(names), len(rows)), np.int64)
    np.add.at(counts, (numbers.ravel(), row_of.ravel()), 1)
    surplus = counts - counts.min(axis=1, keepdims=True)
    most, atoms, ties = surplus.max(axis=1), rows.ravel()[first], []
    left = most > 0
    one_row = (surplus > 0).sum(axis=1) == 1
    for size in np.unique(most[one_row]):
        by_row = [np.flatnonzero(one_row & (surplus[:, row] == size)) for row in range(len(rows))]
        together = min(map(len, by_row))
        ties += [(atoms[by_row[0][:together]], atoms[members[:together]]) for members in by_row[1:]]
        left[np.concatenate([members[:together] for members in by_row])] = False
    return [*ties, (np.full(left.sum(), atoms[left][0]), atoms[left])] if left.any() else ties


def size_left(alive: np.ndarray, atoms: Atoms, axis: int) -> int:
    """The size of an axis of a box once only ``alive`` atoms (bool per atom) are left.

    Along the innermost axis each row may keep other indices: its size is what one row keeps. Any other axis counts the
    indices behind which anything lives.
    """
    ordered, (place,) = canonical(atoms, {axis})
    left = alive[ordered]
    if place == left.ndim - 1:
        return int(left.sum(axis=-1).max())
    return int(left.any(tuple(a for a in range(left.ndim) if a != place)).sum())


def is_full(alive: np.ndarray) -> bool:
    """Whether the surviving entries of a box (bool array) again form a box: equal counts along some axis, and a product
    of kept indices along all others."""
    if alive.all() or not alive.any():
        return True
    for axis in range(alive.ndim):
        counts = alive.sum(axis)
        present = counts > 0
        if np.unique(counts[present]).size == 1 and _is_product(present):
            return True
    return False


def _is_product(present: np.ndarray) -> bool:
    """Whether a bool array is the outer product of one bool vector per axis."""
    if present.ndim == 0:
        return True
    product = np.ones(present.shape, bool)
    for axis in range(present.ndim):
        others = tuple(a for a in range(present.ndim) if a != axis)
        shape = [-1 if a == axis else 1 for a in range(present.ndim)]
        product &= present.any(others).reshape(shape) if others else present
    return bool((product == present).all())
