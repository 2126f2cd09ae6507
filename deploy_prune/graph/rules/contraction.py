"""Operators that multiply and sum: a contracted index lives and dies on both sides."""

from __future__ import annotations

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.crossing import maximal, single_at
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.extents import collapse, keep_extent
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.rules.zeros import any_zero
from deploy_prune.graph.values import Block, Value


@rule("mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot", "vdot", "_sparse_addmm", "_sparse_mm", crossing=True)
def matrix_product(call: Call) -> list[Value]:
    """``(batch, m, k) @ (batch, k, n)``; addmm, addmv and baddbmm add their first argument element by element."""
    added = call.args[:1] if "add" in call.name else ()
    left, right = call.args[len(added) : len(added) + 2]
    product = contract(call.facts, left, right, call.shape)
    ignored = not added or call.args[3] == 0  # the factor of what is added
    return [product] if ignored else [combine(call.facts, [product, *added], call.shape)]


@rule("linear", "matmul", crossing=True)
def whole_product(call: Call) -> list[Value]:
    """``x @ weight.T + bias`` where it arrives in one piece (other devices); matmul over equally many axes."""
    left, right = call.args[:2]
    if call.name == "matmul" and left.ndim != right.ndim:
        call.facts.freeze_values(call.values(), "is multiplied with a tensor of other axes in one piece")
        return [Value(call.shape)]
    if call.name == "linear":
        right = right.moved(right.shape[::-1], {0: 1, 1: 0})
    product = contract(call.facts, left, right, call.shape)
    bias = call.args[2] if len(call.args) > 2 else None
    return [combine(call.facts, [product, bias], call.shape) if isinstance(bias, Value) else product]


@rule("_grouped_mm")
def expert_product(call: Call) -> list[Value]:
    """Rows (T, K) in runs, one run per expert, with weights (E, K, N) to (T, N); the experts stay.

    The operator demands strides of 16 bytes, so K and N lose eight neighbours at a time (four where eight do not fit).
    """
    facts, (rows, weights) = call.facts, call.args[:2]
    if rows.ndim != 2 or weights.ndim != 3:
        facts.freeze_values(call.values(), "is multiplied in groups of other axes")
        return [Value(call.shape)]
    experts = weights.block_at(0)
    if experts is not None:
        keep_extent(facts, experts, 0, "is one expert of a mixture")
    for axis in (1, 2):
        _go_in_runs(facts, weights.block_at(axis))
    rest = Value(weights.shape, tuple(b for b in weights.blocks if 0 not in b.axes))
    matrix = rest.moved((1, *weights.shape[1:]), {1: 1, 2: 2})
    product = contract(facts, Value((1, *rows.shape), rows.moved((1, *rows.shape), {0: 1, 1: 2}).blocks), matrix,
                       (1, *call.shape))  # fmt: skip
    return [product.moved(call.shape, {1: 0, 2: 1})]


def _go_in_runs(facts: Facts, block: Block | None) -> None:
    if block is None:
        return
    run = next((n for n in (8, 4) if block.atoms.size % n == 0), 0)
    if len(block.axes) > 1 or not run:
        facts.freeze(block.atoms, "must keep strides of 16 bytes")
        return
    runs = block.atoms.reshape(-1, run)
    facts.unify(np.broadcast_to(runs[:, :1], runs.shape), runs)


@rule("addbmm")
def summed_batch_product(call: Call) -> list[Value]:
    """``input + sum over batch of left @ right``."""
    added, left, right = call.args[:3]
    product = contract(call.facts, left, right, (left.shape[0], *call.shape))
    return [combine(call.facts, [without_axis(call.facts, product, 0), added], call.shape)]


@rule("_trilinear")
def bilinear(call: Call) -> list[Value]:
    """nn.Bilinear: ``x1 (N, 1, I, 1)``, ``weight (O, I, J)`` and ``x2 (N, 1, 1, J)``, summed over I and J.

    The arguments arrive as (N, I), (O, I, J), (N, J) with the axes that each lacks and those that are summed.
    """
    facts = call.facts
    placed = []
    for value, missing in zip(call.args[:3], call.args[3:6], strict=True):
        places = [a for a in range(value.ndim + len(missing)) if a not in missing]
        shape = [1] * (value.ndim + len(missing))
        for old, new in enumerate(places):
            shape[new] = value.shape[old]
        placed.append(value.moved(shape, dict(enumerate(places))))
    whole = tuple(max(v.shape[a] for v in placed) for a in range(placed[0].ndim))
    product = combine(facts, placed, whole, any_zero)
    for axis in sorted(call.args[6], reverse=True):
        product = summed(facts, product, axis)
    return [product]


def contract(facts: Facts, left: Value, right: Value, shape: tuple[int, ...]) -> Value:
    """Sum over the last axis of ``left`` and the last but one of ``right`` (its only one if it is a vector)."""
    left_axis, right_axis = left.ndim - 1, max(right.ndim - 2, 0)
    left, right = single_at(facts, left, left_axis), single_at(facts, right, right_axis)
    tie_contracted(facts, left, left_axis, right, right_axis)
    left, right = without_axis(facts, left, left_axis), without_axis(facts, right, right_axis)
    left_axes = {a: a for a in range(left.ndim)}
    right_axes = {a: a for a in range(right.ndim - 1)} | {right.ndim - 1: len(shape) - 1}
    right_axes = right_axes if right.ndim else {}
    return combine(facts, [_placed(left, left_axes, shape), _placed(right, right_axes, shape)], shape, any_zero)


def _placed(value: Value, axis_of: dict[int, int], shape: tuple[int, ...]) -> Value:
    """``value`` on the output's axes, broadcast (size 1) over those it does not have."""
    sizes = [1] * len(shape)
    for old, new in axis_of.items():
        sizes[new] = value.shape[old]
    return value.moved(sizes, axis_of)


def tie_contracted(facts: Facts, left: Value, left_axis: int, right: Value, right_axis: int) -> None:
    """Unify the contracted axes of both sides, or freeze the tracked one where the other side has no atoms.

    One side at least must be zero at removed indices, or masking and removal differ by what they add.
    """
    a, b = left.block_at(left_axis), right.block_at(right_axis)
    if a is None and b is None:
        return
    if a is None or b is None:
        tracked = a or b
        assert tracked is not None
        facts.freeze(tracked.atoms, "is multiplied with a tensor whose channels are no parameter's")
        return
    if not (a.zero_along(left_axis) or b.zero_along(right_axis)):
        for block in (a, b):
            facts.freeze(block.atoms, "is summed over although removed channels are not zero there")
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
            blocks.append(Block(tuple(a - (a > axis) for a in left.axes), left.atoms, left.zeros))
    return Value(shape, tuple(maximal(blocks) if len(blocks) > 1 else blocks))


def summed(facts: Facts, value: Value, axis: int) -> Value:
    """``value`` summed over ``axis``; along a tracked axis indices that are not zero when removed must stay."""
    value = single_at(facts, value, axis)
    block = value.block_at(axis)
    if block is not None and not block.zero_along(axis):
        collapse(facts, block, axis, "is summed over although removed channels are not zero there")
    return without_axis(facts, value, axis)
