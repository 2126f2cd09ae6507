"""Operators that multiply and sum: a contracted index lives and dies on both sides."""

from __future__ import annotations

import numpy as np

from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Block, Facts, Value


@rule("mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot")
def matrix_product(call: Call) -> list[Value]:
    """``(batch, m, k) @ (batch, k, n)``; addmm, addmv and baddbmm add their first argument element by element."""
    added = call.args[:1] if call.name.startswith(("add", "badd")) else ()
    left, right = call.args[len(added) : len(added) + 2]
    product = contract(call.facts, left, right, call.shape)
    return [combine(call.facts, [product, *added], call.shape)] if added else [product]


def contract(facts: Facts, left: Value, right: Value, shape: tuple[int, ...]) -> Value:
    """Sum over the last axis of ``left`` and the last but one of ``right`` (its only one if it is a vector)."""
    left_axis, right_axis = left.ndim - 1, max(right.ndim - 2, 0)
    tie_contracted(facts, left, left_axis, right, right_axis)
    left, right = without_axis(facts, left, left_axis), without_axis(facts, right, right_axis)
    left_axes = {a: a for a in range(left.ndim)}
    right_axes = {a: a for a in range(right.ndim - 1)} | {right.ndim - 1: len(shape) - 1}
    right_axes = right_axes if right.ndim else {}
    return combine(facts, [_placed(left, left_axes, shape), _placed(right, right_axes, shape)], shape)


def _placed(value: Value, axis_of: dict[int, int], shape: tuple[int, ...]) -> Value:
    """``value`` on the output's axes, broadcast (size 1) over those it does not have."""
    sizes = [1] * len(shape)
    for old, new in axis_of.items():
        sizes[new] = value.shape[old]
    return value.moved(sizes, axis_of)


def tie_contracted(facts: Facts, left: Value, left_axis: int, right: Value, right_axis: int) -> None:
    """Unify the contracted axes of both sides, or freeze the tracked one where the other side has no atoms."""
    a, b = left.block_at(left_axis), right.block_at(right_axis)
    if a is None and b is None:
        return
    if a is None or b is None:
        tracked = a or b
        assert tracked is not None
        facts.freeze(tracked.atoms, "is multiplied with a tensor whose channels are no parameter's")
        return
    if a.atoms.shape == b.atoms.shape and a.axes.index(left_axis) == b.axes.index(right_axis):
        facts.unify(a.atoms, b.atoms)
    else:
        facts.unify(facts.project(a, [left_axis]).atoms, facts.project(b, [right_axis]).atoms)


def without_axis(facts: Facts, value: Value, axis: int) -> Value:
    """``value`` after summing over ``axis``: other axes of a joint block live while anything behind them lives."""
    shape = value.shape[:axis] + value.shape[axis + 1 :]
    blocks = []
    for block in value.blocks:
        kept = [a for a in block.axes if a != axis]
        if kept:
            left = facts.project(block, kept)
            blocks.append(Block(tuple(a - (a > axis) for a in left.axes), left.atoms))
    return Value(shape, tuple(blocks))


@rule("convolution", "_convolution")
def convolution(call: Call) -> list[Value]:
    """(N, C, …) with weight (O, C/groups, …), or (C, O/groups, …) when transposed; N-d, grouped, depthwise."""
    data, weight, bias = call.args[:3]
    transposed, groups = bool(call.args[6]), int(call.args[8])
    facts = call.facts
    for axis in range(2, weight.ndim):
        block = weight.block_at(axis)
        if block is not None:
            facts.freeze(block.atoms, "is the extent of a convolution kernel")
    channel = data.ndim - weight.ndim + 1
    for block in data.blocks:
        if max(block.axes) > channel:
            facts.freeze(block.atoms, "lies along the space of a convolution")
    out_axis, in_axis = (1, 0) if transposed else (0, 1)
    if groups == 1:
        tie_contracted(facts, data, channel, weight, in_axis)
        out = weight.block_at(out_axis)
    else:
        out = _grouped(facts, data.block_at(channel), weight, groups, transposed)
    blocks = [] if out is None else [Block((channel,), out.atoms)]
    blocks += [b for b in data.blocks if max(b.axes) < channel]
    result = Value(call.shape, tuple(sorted(blocks, key=lambda b: b.axes))).without_single_axes()
    if isinstance(bias, Value) and bias.blocks and out is not None:
        facts.unify(out.atoms.ravel(), bias.blocks[0].atoms)
    return [result]


def _grouped(facts: Facts, data: Block | None, weight: Value, groups: int, transposed: bool) -> Block | None:
    """Groups stay; each loses the same inputs and equally many outputs. One input per group: it follows its outputs.

    A transposed weight is (C, O/groups, …): there the channel axis of the data is the weight's long axis.
    """
    long, short = weight.block_at(0), weight.block_at(1)
    if long is None:
        return None
    if short is not None:
        facts.box(long.atoms.reshape(groups, -1), fixed={0})
    if transposed:
        if data is not None:
            facts.unify(data.atoms.ravel(), long.atoms)
        if short is None:
            return long
        spread = np.tile(short.atoms, groups)
        facts.box(spread.reshape(groups, -1), fixed={0})
        return Block((0,), spread)
    if data is None:
        facts.freeze(weight.atoms(), "is a grouped convolution over channels that are no parameter's")
        return long
    per_group = data.atoms.ravel().reshape(groups, -1)
    if short is None:
        outputs = long.atoms.reshape(groups, -1)
        facts.unify(np.broadcast_to(per_group, outputs.shape), outputs)
    else:
        facts.unify(per_group, np.broadcast_to(short.atoms, per_group.shape))
    return long
