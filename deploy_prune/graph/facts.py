"""What the runs of a model said about its atoms: which live and die together, which must stay, what must stay full."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy_prune.graph.values import Atoms, Block, Value

if TYPE_CHECKING:
    from deploy_prune.graph.attributes import Comparison, Expression
    from deploy_prune.graph.products import Product

OUTPUT = "output"
"""Stands for an operator where the model's result is handed back."""


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
    """Everything that the runs of a model said about its atoms. Rules only append; nothing here is resolved.

    ``convolution_groups`` is how the code gives the number of groups of the convolution that is running, if heard.
    """

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
        self.convolution_groups: Expression | None = None
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
        assert a.shape == b.shape, f"unify needs equal shapes, got {a.shape} and {b.shape}"
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
        self.follow(atoms, distinct)
        return replace(block, axes=tuple(axes), atoms=atoms[which].reshape(shape), zeros=block.zeros_along(axes))

    def follow(self, atoms: Atoms, rows: Atoms) -> None:
        """``atoms[i]`` lives while any atom of ``rows[i]`` (2-d) does."""
        self.projections.append(Projection(atoms, rows, self._locate()))

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
