"""What rules say again and again about one axis of a block: it keeps its size, or its indices go only all together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.values import Block, Value


def keep_extent(facts: Facts, block: Block, axis: int, why: str) -> None:
    """Tensor axis ``axis`` of the block keeps its size: a plain block stays whole, a joint one may shrink elsewhere."""
    if len(block.axes) == 1:
        facts.freeze(block.atoms, why)
    else:
        facts.box(block.atoms, [block.axes.index(axis)])


def collapse(facts: Facts, block: Block, axis: int, why: str) -> Block | None:
    """What is left of a block once an operator mixed all indices of ``axis``: they live and die together.

    A plain block is frozen (``why``) and leaves nothing. In a joint block the same index of the other axes goes at
    every index of ``axis``, whose size therefore never changes.
    """
    if len(block.axes) == 1:
        facts.freeze(block.atoms, why)
        return None
    k = block.axes.index(axis)
    first = np.take(block.atoms, [0], axis=k)
    facts.unify(np.broadcast_to(first, block.atoms.shape), block.atoms)
    rest = block.axes[:k] + block.axes[k + 1 :]
    return replace(block, axes=rest, atoms=np.take(block.atoms, 0, axis=k), zeros=block.zeros_along(rest))


def without_blocks_at(value: Value, axis: int) -> Value:
    """The value without the block that lies over ``axis``."""
    return Value(value.shape, tuple(b for b in value.blocks if axis not in b.axes))


def with_block(value: Value, block: Block | None) -> Value:
    """The value with one block more, unless another lies over the same axes and says as much."""
    if block is None or any(set(block.axes) <= set(b.axes) for b in value.blocks):
        return value
    return Value(value.shape, tuple(sorted((*value.blocks, block), key=lambda b: b.axes)))
