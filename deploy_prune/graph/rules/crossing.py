"""Blocks of one value that share axes: channels against channels within each head.

``q.T @ k`` of heads spans (heads, i, j). One block lies over (heads, i) and another over (heads, j); an entry is there
while its index is in both, and along the axis that they share they agree. So either of the two inner axes may shrink
alone. Rules that look at blocks one by one take such values as they are; for all others crossing blocks are merged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.values import Block, Value

MOST_CELLS = 1 << 20
"""A product of more cells than this is not told apart: whatever enters it stays."""


def crosses(value: Value) -> bool:
    """Whether two blocks of the value share an axis."""
    blocks = value.blocks
    if len(blocks) < 2 or all(len(b.axes) == 1 for b in blocks):
        return False
    axes = [a for b in blocks for a in b.axes]
    return len(set(axes)) < len(axes)


def joint_axes(axes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Axes that blocks connect, as ascending tuples."""
    groups: list[set[int]] = []
    for members in axes:
        touching = [g for g in groups if g & set(members)]
        groups = [g for g in groups if not g & set(members)]
        groups.append(set(members).union(*touching))
    return sorted(tuple(sorted(g)) for g in groups)


def disjoint(facts: Facts, value: Value) -> Value:
    """The value with its crossing blocks merged."""
    blocks = []
    for axes in joint_axes([b.axes for b in value.blocks]):
        together = [b for b in value.blocks if b.axes[0] in axes]
        blocks.append(together[0] if len(together) == 1 else merged(facts, together))
    return Value(value.shape, tuple(blocks))


def single_at(facts: Facts, value: Value, axis: int) -> Value:
    """The value with one block at most over ``axis``."""
    there = [b for b in value.blocks if axis in b.axes]
    return value if len(there) < 2 else disjoint(facts, value)


def merged(facts: Facts, blocks: Sequence[Block]) -> Block:
    """One block over all axes of several: a cell goes with its index in any of them.

    The axes of one parameter laid flat (a kernel as a matrix) are no such case: only the longest may shrink.
    """
    sizes = {a: s for b in blocks for a, s in zip(b.axes, b.atoms.shape, strict=True)}
    axes = tuple(sorted(sizes))
    first = np.sort([b.atoms.min() for b in blocks])
    last = np.sort([b.atoms.max() for b in blocks])
    of_one_parameter = all(len(b.axes) == 1 for b in blocks) and (first[1:] == last[:-1] + 1).all()
    if of_one_parameter or math.prod(sizes.values()) > MOST_CELLS:
        longest = max(blocks, key=lambda b: b.atoms.size)
        for block in blocks:
            if block is not longest:
                facts.freeze(block.atoms, "is merged into one axis with other channels")
        return longest
    cells = facts.fresh([sizes[a] for a in axes])
    zeros = tuple(all(b.zero_along(a) for b in blocks if a in b.axes) for a in axes)
    product = Block(axes, cells, zeros)
    facts.box(cells)
    for block in blocks:
        facts.unify(facts.project(product, block.axes).atoms, block.atoms)
    return product


def maximal(blocks: Iterable[Block]) -> list[Block]:
    """The blocks whose axes no other's contain; of several over the same axes the first."""
    found: list[Block] = []
    for block in sorted(blocks, key=lambda b: -len(b.axes)):
        if not any(set(block.axes) <= set(f.axes) for f in found):
            found.append(block)
    return found


def tie_shared(facts: Facts, blocks: Sequence[Block]) -> None:
    """Where two blocks share axes, these go alike."""
    for k, block in enumerate(blocks):
        for other in blocks[:k]:
            shared = [a for a in block.axes if a in other.axes]
            if shared:
                facts.unify(facts.project(other, shared).atoms, facts.project(block, shared).atoms)
