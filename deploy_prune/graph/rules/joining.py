"""Concatenation and stacking: atoms are joined along one axis and meet along all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Atoms, Block, Value


@rule("cat", "concat", "stack")
def cat(call: Call) -> list[Value]:
    """Join along one axis; other axes meet element by element, and untracked pieces enter as frozen atoms."""
    pieces = [v for v in call.args[0] if 0 not in v.shape]
    dim = call.args[1] if len(call.args) > 1 else 0
    dim %= len(call.shape)
    if call.name == "stack":
        pieces = [
            v.moved((*v.shape[:dim], 1, *v.shape[dim:]), {a: a + (a >= dim) for a in range(v.ndim)}) for v in pieces
        ]
    block = _joined(call.facts, pieces, dim)
    joined = () if block is None else (block,)
    taken = {dim, *(a for b in joined for a in b.axes)}
    whole = (*call.shape[:dim], 1, *call.shape[dim + 1 :])
    rest = [Value(whole, tuple(b for b in v.blocks if not taken & set(b.axes))) for v in pieces]
    met = combine(call.facts, rest, whole).blocks
    return [Value(call.shape, tuple(sorted((*met, *joined), key=lambda b: b.axes)))]


def _joined(facts: Facts, pieces: Sequence[Value], dim: int) -> Block | None:
    """The block over the joined axis, and over the axes that joint blocks connect with it."""
    parts = [v.block_at(dim) for v in pieces]
    tracked = [p for p in parts if p is not None]
    if not tracked:
        return None
    axes = max((p.axes for p in tracked), key=len)
    fixed: set[int] = set()
    arrays = [_piece(facts, value, part, dim, axes, fixed) for value, part in zip(pieces, parts, strict=True)]
    if any(a is None for a in arrays):
        for value in pieces:
            for block in value.blocks:
                if set(block.axes) & {*axes, dim}:
                    facts.freeze(block.atoms, "is joined with pieces split otherwise")
        return None
    atoms = np.concatenate([a for a in arrays if a is not None], axis=axes.index(dim))
    if len(axes) > 1:
        facts.box(atoms, [axes.index(a) for a in fixed])
    return Block(axes, atoms, all(p.zero for p in tracked))


def _piece(
    facts: Facts, value: Value, part: Block | None, dim: int, axes: tuple[int, ...], fixed: set[int]
) -> Atoms | None:
    """The atoms of one piece over ``axes``; an axis that it has without atoms keeps its size. None: cannot be said."""
    others = [b for b in value.blocks if set(b.axes) & set(axes) and b is not part]
    if others or (part is not None and not set(part.axes) <= set(axes)):
        return None
    own = part
    if own is None:
        own = Block((dim,), facts.fresh(value.shape[dim]))
        facts.freeze(own.atoms, "is joined from a tensor that is no parameter's")
    fixed |= {a for a in axes if a not in own.axes}
    spread = own.atoms.reshape([value.shape[a] if a in own.axes else 1 for a in axes])
    return np.broadcast_to(spread, [value.shape[a] for a in axes])
