"""Rows picked or written by integers: the indexed axis keeps its indices, all others pass through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.extents import keep_extent
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Block, Value


def _freeze_positions(facts: Facts, indices: Sequence[Value | None]) -> None:
    """Index tensors hold positions: none of their entries may go."""
    for index in indices:
        if index is not None:
            facts.freeze(index.atoms(), "holds positions in another tensor")


def _indexed_axis(facts: Facts, value: Value, axis: int) -> Block | None:
    """Keep the indexed axis whole; returns what is left of a joint block over its other axes."""
    block = value.block_at(axis)
    if block is None:
        return None
    keep_extent(facts, block, axis, f"axis {axis} is indexed by computed numbers")
    others = [a for a in block.axes if a != axis]
    return facts.project(block, others) if others else None


@rule("index_select")
def index_select(call: Call) -> list[Value]:
    """``x.index_select(dim, index)``."""
    facts, (value, dim, index) = call.facts, call.args
    dim %= value.ndim
    if _follows(value, dim, index):
        return [_renumbered(facts, value, dim, index, call.shape)]
    _freeze_positions(facts, [index])
    rest = _indexed_axis(facts, value, dim)
    kept = [b for b in value.blocks if dim not in b.axes] + ([rest] if rest is not None else [])
    return [Value(call.shape, tuple(sorted(kept, key=lambda b: b.axes))).without_single_axes()]


@rule("index", "_unsafe_index")
def index(call: Call) -> list[Value]:
    """``x[:, i, j]`` with index tensors."""
    value, indices = call.args[:2]
    return [_picked(call.facts, value, indices, call.shape)]


def _picked(facts: Facts, value: Value, indices: Sequence[Value | None], shape: tuple[int, ...]) -> Value:
    """Indexed axes keep all their indices, the others move to their place in the result."""
    used = [a for a, i in enumerate(indices) if i is not None]
    given = [i for i in indices if i is not None]
    if len(used) == 1 and _follows(value, used[0], given[0]):
        return _renumbered(facts, value, used[0], given[0], shape)
    _freeze_positions(facts, given)
    left = [_indexed_axis(facts, value, axis) for axis in used]
    rest = [a for a in range(value.ndim) if a not in used]
    index_ndim = len(shape) - len(rest)
    if index_ndim != max(i.ndim for i in given):
        facts.freeze(value.atoms(), "is picked by a mask over several axes")
        return Value(shape)
    adjacent = used == list(range(used[0], used[0] + len(used)))
    start = used[0] if adjacent else 0
    axis_of = {a: (k if k < start else k + index_ndim) for k, a in enumerate(rest)}
    projected = [b for b in left if b is not None and not set(b.axes) & set(used)]
    kept = [b for b in value.blocks if not set(b.axes) & set(used)] + projected
    return Value(value.shape, tuple(kept)).moved(shape, axis_of)


def _follows(value: Value, axis: int, positions: Value) -> bool:
    """Whether a buffer of known positions points into a plain tracked axis, so that both can shrink."""
    block = value.block_at(axis)
    plain = block is not None and len(block.axes) == 1
    return plain and positions.tracked and positions.numbers is not None and bool((positions.numbers >= 0).all())


def _renumbered(facts: Facts, value: Value, axis: int, positions: Value, shape: tuple[int, ...]) -> Value:
    """An index goes with the entries of the buffer that point at it; the others are renumbered after removal."""
    source = value.block_at(axis)
    assert source is not None and positions.numbers is not None
    entries = positions.blocks[0].atoms
    facts.unify(entries, source.atoms[positions.numbers])
    facts.renumber(entries, source.atoms)
    return value.taken(axis, positions.numbers, shape)


@rule("gather", "take_along_dim")
def gather(call: Call) -> list[Value]:
    """``x.gather(dim, index)``: beside ``dim`` the result has the extents of the index, which must follow x's."""
    facts, (value, dim, positions) = call.facts, call.args[:3]
    dim %= max(value.ndim, 1)
    rest = _indexed_axis(facts, value, dim) if value.ndim else None
    kept = [b for b in value.blocks if dim not in b.axes] + ([rest] if rest is not None else [])
    sizes = tuple(1 if a == dim else s for a, s in enumerate(value.shape))
    others = tuple(b for b in positions.blocks if dim not in b.axes)
    facts.freeze(Value(positions.shape, tuple(b for b in positions.blocks if dim in b.axes)).atoms(),
                 "holds positions in another tensor")  # fmt: skip
    whole = tuple(1 if a == dim else s for a, s in enumerate(call.shape))
    if sizes != whole:
        facts.freeze_values([Value(sizes, tuple(kept))], "is gathered in part")
        return [Value(call.shape)]
    met = combine(facts, [Value(sizes, tuple(kept)), Value(whole, others)], whole, lambda flags: bool(flags[0]))
    return [Value(call.shape, met.blocks)]


@rule("embedding")
def embedding(call: Call) -> list[Value]:
    """Rows of a table by number: the number of rows stays, the features pass through."""
    table, index = call.args[:2]
    return [_rows(call, table, index, index.ndim)]


@rule("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(call: Call) -> list[Value]:
    """Sums, means or maxima of rows of a table."""
    table, index = call.args[:2]
    return [_rows(call, table, index, 1), *(Value(shape) for shape in call.outputs[1:])]


def _rows(call: Call, table: Value, index: Value, axis: int) -> Value:
    rows, features = table.block_at(0), table.block_at(1)
    if rows is not None:
        call.facts.freeze(rows.atoms, "is the vocabulary of an embedding")
    _freeze_positions(call.facts, [index])
    return Value(call.shape, () if features is None else (replace(features, axes=(axis,)),)).without_single_axes()
