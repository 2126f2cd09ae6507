"""Operators that write part of a tensor: the axis written along keeps its size, what is written meets the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.extents import keep_extent, without_blocks_at
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.rules.zeros import all_zero
from deploy_prune.graph.values import Value


def _keep(facts: Facts, value: Value, axes: Sequence[int]) -> None:
    for axis in axes:
        block = value.block_at(axis)
        if block is not None:
            keep_extent(facts, block, axis, f"axis {axis} is written by computed numbers")


def _written(value: Value) -> Value:
    """The tensor after writing: whether removed indices are still zero is no longer known."""
    return Value(value.shape, tuple(replace(b, zeros=False, square=False) for b in value.blocks))


@rule("index_put", "_index_put_impl", "_unsafe_index_put")
def index_put(call: Call) -> list[Value]:
    """``x[:, i] = v``: axes behind the indexed ones meet the last axes of v; a mask may stand for several axes."""
    facts, (value, indices, source) = call.facts, call.args[:3]
    used: list[int] = []
    for axis, index in enumerate(indices):
        if index is not None:
            used += range(axis, min(axis + (index.ndim if len(indices) == 1 else 1), value.ndim))
            facts.freeze(index.atoms(), "holds positions in another tensor")
    _keep(facts, value, used)
    first = max(used, default=-1) + 1
    behind = min(value.ndim - first, source.ndim)
    if source.ndim > behind:
        _keep(facts, value, range(min(used, default=0)))
    outer = tuple(b for b in source.blocks if min(b.axes) < source.ndim - behind)
    facts.freeze(Value(source.shape, outer).atoms(), "is written row by row")
    shift = source.ndim - behind
    inner = tuple(replace(b, axes=tuple(a - shift for a in b.axes)) for b in source.blocks if b not in outer)
    own = tuple(replace(b, axes=tuple(a - first for a in b.axes)) for b in value.blocks if min(b.axes) >= first)
    tail = value.shape[first:]
    combine(facts, [Value(tail, own), Value(source.shape[shift:], inner)], tail, all_zero)
    return [_written(value)]


@rule("scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "index_fill", "index_reduce")
def scatter(call: Call) -> list[Value]:
    """Rows of ``dim`` written by number from a source: along all other axes tensor, index and source meet."""
    facts, (value, dim, index) = call.facts, call.args[:3]
    if not value.ndim:
        return [value]
    dim %= value.ndim
    sources = [a for a in call.args[3:] if isinstance(a, Value) and a.ndim == value.ndim]
    indices = [index] if index.ndim == value.ndim and call.name.startswith("scatter") else []
    facts.freeze(Value(index.shape, tuple(b for b in index.blocks if dim in b.axes or not indices)).atoms(),
                 "holds positions in another tensor")  # fmt: skip
    _keep(facts, value, [dim])
    for source in sources:
        _keep(facts, source, [dim])
    sizes = tuple(1 if a == dim else s for a, s in enumerate(value.shape))
    rows = [Value(tuple(1 if a == dim else s for a, s in enumerate(v.shape)), without_blocks_at(v, dim).blocks)
            for v in (value, *sources, *indices)]  # fmt: skip
    if any(row.shape != sizes for row in rows):
        facts.freeze_values([value, *sources, *indices], "is written in part")
    else:
        combine(facts, rows, sizes, all_zero)
    return [_written(value)]


@rule("masked_scatter", "put", "scatter_nd")
def in_order(call: Call) -> list[Value]:
    """Entries written one after the other in memory: no axis of either side may shrink."""
    call.facts.freeze_values(call.values(), f"is written entry by entry in {call.name}")
    return [Value(shape) for shape in call.outputs]
