"""Operators that pick, cut and join along an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Block, Facts, Value


@rule("select")
def select(call: Call) -> list[Value]:
    """One index of an axis: what stands there must stay; the axis goes."""
    value, dim, index = call.args
    dim %= value.ndim
    block = value.block_at(dim)
    if block is not None and len(block.axes) == 1:
        call.facts.freeze(
            block.atoms[: index % value.shape[dim] + 1], f"index {index} of axis {dim} is picked by number"
        )
    elif block is not None:
        call.facts.box(block.atoms, [block.axes.index(dim)])
    shape = [*value.shape]
    shape[dim] = 1
    picked = value.taken(dim, np.array([index]), shape)
    return [picked.moved(call.shape, {a: a - (a > dim) for a in range(value.ndim) if a != dim})]


@rule("slice")
def cut(call: Call) -> list[Value]:
    """``x[start:end:step]`` along one axis. Where the bounds come from decides what it binds: see the tracer."""
    value, dim, start, end, step = (*call.args, *(0, None, None, 1)[len(call.args) - 1 :])[:5]
    indices = np.arange(value.shape[dim % value.ndim])[slice(start, end, step)]
    block = value.block_at(dim)
    if step != 1 and block is not None:
        call.facts.freeze(block.atoms, f"every {step}th index of axis {dim} is taken by position")
    return [value.taken(dim, indices, call.shape)]


@rule("split", "split_with_sizes", "unsafe_split", "chunk", "unsafe_chunk", "tensor_split")
def split(call: Call) -> list[Value]:
    """Pieces of one axis. Equal pieces must stay equal: the array (pieces, size) is a box of fixed piece count."""
    value = call.args[0]
    dim = (call.args[2] if len(call.args) > 2 else 0) % value.ndim
    sizes = [shape[dim] for shape in call.outputs]
    bounds = np.cumsum([0, *sizes])
    pieces = [
        value.taken(dim, np.arange(a, b), shape) for a, b, shape in zip(bounds, bounds[1:], call.outputs, strict=False)
    ]
    block = value.block_at(dim)
    if block is not None:
        if len(set(sizes)) == 1:
            atoms = np.moveaxis(block.atoms, block.axes.index(dim), 0)
            call.facts.box(atoms.reshape(len(sizes), sizes[0], *atoms.shape[1:]), {0})
        elif call.name not in {"split_with_sizes"}:
            call.facts.freeze(block.atoms, "is split into unequal pieces by a computed size")
    return pieces


@rule("unbind")
def unbind(call: Call) -> list[Value]:
    """Every index of an axis by itself: their number must stay."""
    value = call.args[0]
    dim = (call.args[1] if len(call.args) > 1 else 0) % value.ndim
    block = value.block_at(dim)
    if block is not None:
        _keep_extent(call.facts, block, dim, "is unbound into single indices")
    shape = [*value.shape]
    shape[dim] = 1
    return [
        value.taken(dim, np.array([k]), shape).moved(out, {a: a - (a > dim) for a in range(value.ndim) if a != dim})
        for k, out in enumerate(call.outputs)
    ]


def _keep_extent(facts: Facts, block: Block, axis: int, why: str) -> None:
    if len(block.axes) == 1:
        facts.freeze(block.atoms, why)
    else:
        facts.box(block.atoms, [block.axes.index(axis)])


@rule("cat", "concat", "stack")
def cat(call: Call) -> list[Value]:
    """Join along one axis; other axes meet element by element, and untracked pieces enter as frozen atoms."""
    pieces = [v for v in call.args[0] if v.shape != (0,)]
    dim = call.args[1] if len(call.args) > 1 else 0
    dim %= len(call.shape)
    if call.name == "stack":
        pieces = [
            v.moved((*v.shape[:dim], 1, *v.shape[dim:]), {a: a + (a >= dim) for a in range(v.ndim)}) for v in pieces
        ]
    blocks = _joined(call.facts, pieces, dim)
    rest = [_without_block_at(v, dim) for v in pieces]
    for axis in range(len(call.shape)):
        if axis != dim:
            blocks += _met(call.facts, rest, axis)
    return [Value(call.shape, tuple(sorted(set_unique(blocks), key=lambda b: b.axes)))]


def _joined(facts: Facts, pieces: Sequence[Value], dim: int) -> list[Block]:
    parts = [v.block_at(dim) for v in pieces]
    if not any(parts):
        return []
    if any(p is not None and len(p.axes) > 1 for p in parts):
        axes = next(p.axes for p in parts if p is not None)
        if all(p is not None and p.axes == axes for p in parts):
            atoms = np.concatenate([p.atoms for p in parts if p is not None], axis=axes.index(dim))
            facts.box(atoms)
            return [Block(axes, atoms)]
        for p in parts:
            facts.freeze(p.atoms if p is not None else np.empty(0, np.int64), "is joined with pieces split otherwise")
        return []
    arrays = []
    for value, part in zip(pieces, parts, strict=True):
        atoms = facts.fresh(value.shape[dim]) if part is None else part.atoms
        if part is None:
            facts.freeze(atoms, "is joined from a tensor that is no parameter's")
        arrays.append(atoms)
    return [Block((dim,), np.concatenate(arrays))]


def _without_block_at(value: Value, dim: int) -> Value:
    return Value(value.shape, tuple(b for b in value.blocks if dim not in b.axes))


def _met(facts: Facts, pieces: Sequence[Value], axis: int) -> list[Block]:
    """What the pieces have on another axis than the joined one must agree."""
    parts = [v.block_at(axis) for v in pieces]
    first = next((p for p in parts if p is not None), None)
    if first is None:
        return []
    for part in parts:
        if part is None:
            facts.freeze(first.atoms, "is joined beside a tensor that is no parameter's")
        elif part.axes == first.axes:
            facts.unify(first.atoms, part.atoms)
        else:
            facts.freeze(np.concatenate([first.atoms.ravel(), part.atoms.ravel()]), "is joined beside other axes")
    return [first]


def set_unique(blocks: Sequence[Block]) -> list[Block]:
    """Blocks without repeats of the same axes (a joint block is met once per axis)."""
    return list({b.axes: b for b in blocks}.values())


@rule("flip", "roll")
def reorder(call: Call) -> list[Value]:
    """Indices of an axis in another order: by position, so a tracked axis rolls only whole."""
    value = call.args[0]
    dims = call.args[1] if call.name == "flip" else call.args[2]
    for axis in [a % value.ndim for a in dims]:
        block = value.block_at(axis)
        if block is None:
            continue
        if call.name == "roll":
            call.facts.freeze(block.atoms, f"axis {axis} is rolled by position")
        else:
            value = value.taken(axis, np.arange(value.shape[axis])[::-1], value.shape)
    return [value]


@rule("index_select", "gather", "index", "take_along_dim")
def indexing(call: Call) -> list[Value]:
    """Rows picked by integers: the picked axis keeps all its indices, untouched axes pass through."""
    value = call.args[0]
    if call.name == "index":
        return [_advanced(call, value, call.args[1])]
    dim = call.args[1] % value.ndim
    block = value.block_at(dim)
    if block is not None:
        call.facts.freeze(block.atoms, f"axis {dim} is indexed by computed numbers")
    if call.name == "index_select":
        kept = tuple(b for b in value.blocks if dim not in b.axes)
        return [Value(call.shape, kept).without_single_axes()]
    call.facts.freeze_values([value], "is gathered by computed numbers")
    return [Value(call.shape)]


def _advanced(call: Call, value: Value, indices: Sequence[Value | None]) -> Value:
    """``x[:, i, j]`` with index tensors: indexed axes are frozen, the others move to their place in the result."""
    used = [a for a, index in enumerate(indices) if index is not None]
    for axis in used:
        block = value.block_at(axis)
        if block is not None:
            call.facts.freeze(block.atoms, f"axis {axis} is indexed by computed numbers")
    rest = [a for a in range(value.ndim) if a not in used]
    index_ndim = len(call.shape) - len(rest)
    if index_ndim != max(index.ndim for index in indices if index is not None):
        call.facts.freeze(value.atoms(), "is picked by a mask over several axes")
        return Value(call.shape)
    adjacent = used == list(range(used[0], used[0] + len(used)))
    start = used[0] if adjacent else 0
    axis_of = {a: (k if k < start else k + index_ndim) for k, a in enumerate(rest)}
    kept = Value(value.shape, tuple(b for b in value.blocks if not set(b.axes) & set(used)))
    return kept.moved(call.shape, axis_of)


@rule("embedding")
def embedding(call: Call) -> list[Value]:
    """Rows of a table by number: the number of rows stays, the features pass through."""
    table, index = call.args[:2]
    rows, features = table.block_at(0), table.block_at(1)
    if rows is not None:
        call.facts.freeze(rows.atoms, "is the vocabulary of an embedding")
    return [Value(call.shape, () if features is None else (Block((index.ndim,), features.atoms),))]
