"""Normalisation layers: statistics over the pruned axis, or per channel, and an affine pair that lives with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.crossing import crosses
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.extents import collapse, keep_extent
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.rules.zeros import all_zero, any_zero
from deploy_prune.graph.values import Value


def _like(call: Call, first: Value) -> list[Value]:
    """``first`` as the first output; the saved statistics behind it are nobody's."""
    return [first, *(Value(shape) for shape in call.outputs[1:])]


def _affine(facts: Facts, data: Value, statistics: list[Any], weight: Any, bias: Any) -> Value:
    """``(data - mean) / std * weight + bias``, all laid along axis 1 of the data."""
    steps = [*((s, all_zero) for s in statistics), (weight, any_zero), (bias, all_zero)]
    vectors = [(v, keeps) for v, keeps in steps if isinstance(v, Value)]
    channels = data.block_at(1)
    if channels is not None and channels.axes == (1,) and all(v.tracked for v, _ in vectors) and not crosses(data):
        zero = channels.zero
        for vector, keeps in vectors:
            facts.unify(channels.atoms, vector.blocks[0].atoms)
            zero = keeps([zero, vector.blocks[0].zero])
        blocks = (replace(b, zeros=zero if b is channels else b.zeros, square=False) for b in data.blocks)
        return Value(data.shape, tuple(blocks))
    result = data
    for vector, keeps in vectors:
        beside = vector.moved((*vector.shape, *[1] * (data.ndim - 2)), {a: a for a in range(vector.ndim)})
        result = combine(facts, [result, beside], data.shape, keeps)
    return result


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "batch_norm",
      "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update",
      "_batch_norm_impl_index", "instance_norm")  # fmt: skip
def batch_norm(call: Call) -> list[Value]:
    """(N, C, …): weight, bias, running mean and variance live with C; statistics run over every other axis.

    Where they are always the data's own (a standardised kernel: no running ones) what is removed counts as zero.
    """
    data, weight, bias, *statistics = call.args[:5]
    own = not any(isinstance(s, Value) for s in statistics)
    blocks = []
    for block in data.blocks:
        outside = [a for a in block.axes if a != 1 and (call.name != "instance_norm" or a > 1)]
        for axis in outside:
            if not (own and block.zero):
                keep_extent(call.facts, block, axis, "shares its statistics in a batch norm")
        blocks.append(replace(block, zeros=block.zero and not outside))
    centred = Value(data.shape, tuple(blocks))
    return _like(call, _affine(call.facts, centred, statistics, weight, bias))


@rule("native_layer_norm", "layer_norm", "rms_norm", "_fused_rms_norm")
def layer_norm(call: Call) -> list[Value]:
    """Statistics over the last axes, which may shrink together with weight and bias; what is removed counts as zero."""
    data, _, weight, bias = call.args[:4]
    result = data
    for vector, keeps in ((weight, any_zero), (bias, all_zero)):
        if isinstance(vector, Value):
            result = combine(call.facts, [result, vector], data.shape, keeps)
    return _like(call, result)


@rule("native_group_norm", "group_norm")
def group_norm(call: Call) -> list[Value]:
    """(N, C, …) in groups of channels: each group loses equally many, their number stays; groups of one go whole."""
    facts, (data, weight, bias) = call.facts, call.args[:3]
    groups = call.args[6] if call.name == "native_group_norm" else call.args[1]
    if call.name == "group_norm":
        weight, bias = call.args[2:4]
    for block in data.blocks:
        for axis in block.axes:
            if axis > 1:
                keep_extent(facts, block, axis, "shares its statistics in a group norm")
    block = data.block_at(1)
    if block is not None and groups > 1:
        channels = facts.project(block, [1]).atoms
        per_group = channels.reshape(groups, -1)
        if per_group.shape[1] > 1:
            facts.box(per_group, {0})
    return _like(call, _affine(facts, data, [], weight, bias))


@rule("_weight_norm_interface", "_weight_norm")
def weight_norm(call: Call) -> list[Value]:
    """``v * g / ||v||`` with a length per index of axis ``dim``; over the other axes removed slices of v are zero.

    Removing an input channel rescales what is left, as in any norm over a pruned axis.
    """
    v, g = call.args[:2]
    return _like(call, combine(call.facts, [v, g], v.shape, any_zero))


@rule("renorm")
def renorm(call: Call) -> list[Value]:
    """Scales each index of axis ``dim`` by the length over all other axes."""
    value, dim = call.args[0], call.args[2] % call.args[0].ndim
    for block in value.blocks:
        if block.axes != (dim,) and not block.zero:
            call.facts.freeze(block.atoms, "goes into a length although removed channels are not zero there")
    return [value]


@rule("linalg_householder_product", "linalg_qr", "linalg_inv_ex", "linalg_solve_ex", "_linalg_solve_ex", "linalg_eigh",
      "_linalg_eigh", "_linalg_svd", "linalg_svd", "linalg_matrix_exp", "matrix_exp", "linalg_matrix_power",
      "linalg_cholesky_ex", "geqrf", "linalg_lu_factor_ex", "linalg_pinv", "triangular_solve",
      "linalg_solve_triangular")  # fmt: skip
def decomposition(call: Call) -> list[Value]:
    """Orthogonal parametrisations, inverses, decompositions: every entry depends on all others."""
    for value in call.values():
        for axis in (value.ndim - 2, value.ndim - 1):
            block = value.block_at(axis)
            if block is not None:
                collapse(call.facts, block, axis, f"{call.name.strip('_')} depends on all entries of a matrix")
    return [Value(shape) for shape in call.outputs]
