"""Abstract values: which single indices of which parameter axes a tensor's axes are made of.

Every index of every parameter axis is an **atom**, one integer. A tensor's abstract value is its shape and a list of
**blocks**; a block lays an array of atoms over some axes of the tensor. After ``view(B, h, d)`` of a channel axis, one
block of shape ``(h, d)`` lies over two axes. Axes in no block (batch, space, tokens) do not depend on any parameter
axis, so pruning never changes their size.

Operator rules turn the values that enter an operator into the values that leave it and *record* facts in
:class:`Facts`; they never read what was recorded before, so each rule stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from deploy_prune.graph.attributes import Comparison, Expression
    from deploy_prune.graph.products import Product

OUTPUT = "output"
"""Stands for an operator where the model's result is handed back."""

Atoms = np.ndarray
"""Integer array; each entry names one index of one parameter axis."""


@dataclass(frozen=True)
class Place:
    """Where in the user's program something happened."""

    module: str
    operator: str
    source: str

    def __str__(self) -> str:
        """One line for reports: module, operator, file and line."""
        return f"{self.module or 'the model'}: {self.operator}" + (f" ({self.source})" if self.source else "")


@dataclass(frozen=True, eq=False)
class Block:
    """Atoms laid over some axes of a tensor.

    Attributes:
        axes: tensor axes, ascending, each of size > 1.
        atoms: array whose shape is the sizes of these axes.
        zeros: per axis whether the masked network (removed slices set to zero) holds zeros where an index of it is
            removed; one bool stands for all axes.
        square: whether the numbers are squares of such a value, so that their mean is a norm's statistic.
    """

    axes: tuple[int, ...]
    atoms: Atoms
    zeros: bool | tuple[bool, ...] = False
    square: bool = False

    @property
    def zero(self) -> bool:
        """Whether there are zeros wherever an atom is removed."""
        return self.zeros if isinstance(self.zeros, bool) else all(self.zeros)

    def zero_along(self, axis: int) -> bool:
        """Whether there are zeros where an index of the tensor's ``axis`` is removed."""
        return self.zeros if isinstance(self.zeros, bool) else self.zeros[self.axes.index(axis)]

    def zeros_along(self, axes: Iterable[int]) -> tuple[bool, ...]:
        """:meth:`zero_along` several axes."""
        return tuple(map(self.zero_along, axes))


@dataclass(frozen=True, eq=False)
class Value:
    """Abstract value of a tensor: its shape and blocks; of a buffer of positions or of one number, its ``numbers`` too.

    Blocks may share axes (:mod:`deploy_prune.graph.rules.crossing`).
    """

    shape: tuple[int, ...]
    blocks: tuple[Block, ...] = ()
    numbers: np.ndarray | None = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def tracked(self) -> bool:
        """Whether any axis depends on a parameter axis."""
        return bool(self.blocks)

    def block_at(self, axis: int) -> Block | None:
        """The block that lies over ``axis``, or None."""
        axis %= max(self.ndim, 1)
        return next((b for b in self.blocks if axis in b.axes), None)

    def atoms(self) -> Atoms:
        """All atoms of the value, flat, possibly repeated."""
        return np.concatenate([b.atoms.ravel() for b in self.blocks]) if self.blocks else np.empty(0, np.int64)

    def moved(self, shape: Sequence[int], axis_of: dict[int, int]) -> Value:
        """The same blocks on other axes: old axis ``a`` becomes ``axis_of[a]`` (missing: it must lie in no block)."""
        blocks = []
        for block in self.blocks:
            new_axes = [axis_of[a] for a in block.axes]
            order = sorted(range(len(new_axes)), key=new_axes.__getitem__)
            atoms = block.atoms if order == list(range(len(order))) else block.atoms.transpose(order)
            zeros = block.zeros_along(block.axes[k] for k in order)
            blocks.append(Block(tuple(new_axes[k] for k in order), atoms, zeros, block.square))
        return Value(tuple(shape), tuple(blocks))

    def taken(self, axis: int, indices: np.ndarray, shape: Sequence[int]) -> Value:
        """The value after keeping ``indices`` (1-d) along ``axis``; a single kept index leaves its block's axis."""
        axis %= self.ndim
        blocks = []
        for block in self.blocks:
            if axis not in block.axes:
                blocks.append(block)
                continue
            atoms = np.take(block.atoms, indices, axis=block.axes.index(axis))
            blocks.append(replace(block, atoms=atoms))
        return Value(tuple(shape), tuple(blocks)).without_single_axes()

    def without_single_axes(self) -> Value:
        """Blocks freed of axes of size 1, which removal cannot change; a block of an empty axis is nothing."""
        if all(b.atoms.size and all(self.shape[a] > 1 for a in b.axes) for b in self.blocks):
            return self
        blocks = []
        for block in self.blocks:
            kept = [k for k, a in enumerate(block.axes) if self.shape[a] > 1]
            if kept and block.atoms.size:
                axes = tuple(block.axes[k] for k in kept)
                atoms = block.atoms.reshape([self.shape[a] for a in axes])
                blocks.append(replace(block, axes=axes, atoms=atoms, zeros=block.zeros_along(axes)))
        return Value(self.shape, tuple(blocks))


@dataclass(frozen=True, eq=False)
class Frozen:
    """Atoms that may not be removed, why, and where that was found."""

    atoms: Atoms
    reason: str
    place: Place


@dataclass(frozen=True, eq=False)
class Box:
    """An array of atoms that must still be a full box after removal; ``fixed`` axes must keep their size.

    ``counted``: its rows are never seen side by side, so that only how many indices each has matters.
    """

    atoms: Atoms
    fixed: frozenset[int]
    place: Place
    counted: bool = False


@dataclass(frozen=True, eq=False)
class Projection:
    """``atoms[i]`` lives while any atom of ``rows[i]`` (2-d) lives."""

    atoms: Atoms
    rows: Atoms
    place: Place


@dataclass(frozen=True, eq=False)
class Positions:
    """The tensor whose only axis is ``index`` holds positions into the axis ``source``: renumber it after removal."""

    index: Atoms
    source: Atoms


@dataclass(frozen=True, eq=False)
class SizeEquation:
    """The size of ``axis`` of a block is given in the user's code by ``expression``; it must hold after removal."""

    atoms: Atoms
    axis: int
    expression: Expression
    place: Place


class Facts:
    """Everything that the runs of a model said about its atoms. Rules only append; nothing here is resolved."""

    def __init__(self, locate: Callable[[], Place] | None = None) -> None:
        self.count = 0
        self.axes: dict[tuple[str, int], Atoms] = {}
        self.unified: list[tuple[Atoms, Atoms]] = []
        self.frozen: list[Frozen] = []
        self.boxes: list[Box] = []
        self.projections: list[Projection] = []
        self.layouts: list[Atoms] = []
        self.positions: list[Positions] = []
        self.equations: list[SizeEquation] = []
        self.comparisons: list[Comparison] = []
        self.unknown: list[str] = []
        self.products: list[Product] = []
        self.reached: set[str] = set()
        self._locate = locate or (lambda: Place("", "", ""))

    def lists(self) -> tuple[list[Any], ...]:
        """Everything that rules append to."""
        return (self.unified, self.frozen, self.boxes, self.projections, self.layouts, self.positions,
                self.equations, self.comparisons, self.unknown, self.products)  # fmt: skip

    def fresh(self, shape: int | Sequence[int]) -> Atoms:
        """New atoms in an array of ``shape``."""
        size = shape if isinstance(shape, int) else math.prod(shape)
        atoms = np.arange(self.count, self.count + size, dtype=np.int64).reshape(shape)
        self.count += size
        return atoms

    def parameter(self, name: str, shape: Sequence[int], numbers: np.ndarray | None = None) -> Value:
        """The value of a parameter or buffer: fresh atoms on each axis of size > 1."""
        for axis, size in enumerate(shape):
            if size > 1 and (name, axis) not in self.axes:
                self.axes[name, axis] = self.fresh(size)
        blocks = tuple(Block((a,), self.axes[name, a], zeros=True) for a, s in enumerate(shape) if s > 1)
        return Value(tuple(shape), blocks, numbers)

    def unify(self, a: Atoms, b: Atoms) -> None:
        """``a[i]`` and ``b[i]`` live and die together (arrays of one shape)."""
        if a.shape != b.shape:
            raise AssertionError(f"unify needs equal shapes, got {a.shape} and {b.shape}")
        if a is not b:
            self.unified.append((a.ravel(), b.ravel()))

    def freeze(self, atoms: Atoms, reason: str) -> None:
        """None of these atoms may be removed."""
        if atoms.size:
            self.frozen.append(Frozen(atoms.ravel(), reason, self._locate()))

    def freeze_values(self, values: Iterable[Value], reason: str) -> None:
        """Freeze every atom of these values."""
        for value in values:
            self.freeze(value.atoms(), reason)

    def box(self, atoms: Atoms, fixed: Iterable[int] = (), counted: bool = False) -> None:
        """After removal this array must be a full box; see :class:`Box`."""
        self.boxes.append(Box(atoms, frozenset(fixed), self._locate(), counted))

    def lay_out(self, atoms: Atoms) -> None:
        """These indices stand in one axis, in this (row-major) order."""
        self.layouts.append(atoms)

    def renumber(self, index: Atoms, source: Atoms) -> None:
        """The tensor with axis ``index`` holds positions into the axis ``source``."""
        self.positions.append(Positions(index, source))

    def project(self, block: Block, axes: Sequence[int]) -> Block:
        """The block over only ``axes`` of ``block``: an index lives while anything behind it lives."""
        kept = [block.axes.index(a) for a in axes]
        if len(kept) == len(block.axes):
            return block
        gone = [k for k in range(len(block.axes)) if k not in kept]
        shape = [block.atoms.shape[k] for k in kept]
        rows = block.atoms.transpose([*kept, *gone]).reshape(int(np.prod(shape)), -1)
        distinct, which = _distinct_rows(rows)
        atoms = self.fresh(len(distinct))
        self.projections.append(Projection(atoms, distinct, self._locate()))
        return replace(block, axes=tuple(axes), atoms=atoms[which].reshape(shape), zeros=block.zeros_along(axes))

    def equate_size(self, value: Value, axis: int, expression: Expression) -> None:
        """The user's code gives the size of ``axis`` of ``value`` by ``expression``."""
        block = value.block_at(axis)
        if block is not None:
            atoms, place = block.atoms, block.axes.index(axis % value.ndim)
        elif isinstance(expression, int) or value.shape[axis] < 2:
            return
        else:
            atoms, place = self.fresh(value.shape[axis]), 0
            self.freeze(atoms, "gives its size to an axis that is no parameter's")
        self.equations.append(SizeEquation(atoms, place, expression, self._locate()))

    def unknown_operator(self, name: str, values: Iterable[Value]) -> None:
        """An operator without a rule: freeze all that enters it and remember its name."""
        self.unknown.append(name)
        self.freeze_values(values, f"operator {name} has no rule")


def _distinct_rows(rows: Atoms) -> tuple[Atoms, np.ndarray]:
    """The rows that differ, in order, and for each row which of them it is (heads repeat over a merged batch axis)."""
    if len(np.unique(rows[:, 0])) == len(rows):
        return rows, np.arange(len(rows))
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return rows[first[order]], np.argsort(order)[inverse.ravel()]
