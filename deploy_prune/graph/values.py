"""Abstract values: which single indices of which parameter axes a tensor's axes are made of.

Every index of every parameter axis is an **atom**, one integer. A tensor's abstract value is its shape and a list of
**blocks**; a block lays an array of atoms over some axes of the tensor. After ``view(B, h, d)`` of a channel axis, one
block of shape ``(h, d)`` lies over two axes. Axes in no block (batch, space, tokens) do not depend on any parameter
axis, so pruning never changes their size.

Operator rules turn the values that enter an operator into the values that leave it and *record* facts in
:class:`~deploy_prune.graph.facts.Facts`; they never read what was recorded before, so each rule stands alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass

Atoms = np.ndarray
"""Integer array; each entry names one index of one parameter axis."""


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
        return all(self.zeros) if isinstance(self.zeros, tuple) else self.zeros

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
