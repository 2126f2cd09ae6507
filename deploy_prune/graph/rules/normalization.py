"""Normalisation layers: statistics over the pruned axis, or per channel, and an affine pair that lives with it."""

from __future__ import annotations

from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Block, Facts, Value


def _like(call: Call, first: Value) -> list[Value]:
    """``first`` as the first output; the saved statistics behind it are nobody's."""
    return [first, *(Value(shape) for shape in call.outputs[1:])]


def _tie_per_channel(facts: Facts, data: Value, axis: int, vectors: list[object]) -> Block | None:
    """Unify the channel axis of the data with every vector (weight, bias, running statistics) that has one."""
    block = data.block_at(axis) if data.ndim > axis else None
    for vector in vectors:
        if not isinstance(vector, Value) or not vector.blocks:
            continue
        own = vector.blocks[0]
        if block is None:
            facts.freeze(own.atoms, "scales channels that are no parameter's")
        else:
            facts.unify(facts.project(block, [axis]).atoms, own.atoms)
    return block


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "batch_norm",
      "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update",
      "_batch_norm_impl_index", "instance_norm")  # fmt: skip
def batch_norm(call: Call) -> list[Value]:
    """(N, C, …): weight, bias, running mean and variance live with C."""
    data, *vectors = call.args[:5]
    _tie_per_channel(call.facts, data, 1, vectors)
    return _like(call, data)


@rule("native_layer_norm", "layer_norm", "rms_norm", "_fused_rms_norm")
def layer_norm(call: Call) -> list[Value]:
    """Statistics over the last axes, which may shrink together with weight and bias."""
    data, extent, *vectors = call.args[:4]
    first = data.ndim - len(extent)
    for vector in vectors:
        if isinstance(vector, Value):
            for own in vector.blocks:
                _tie_per_channel(
                    call.facts, data, own.axes[0] + first, [Value(own.atoms.shape, (Block((0,), own.atoms),))]
                )
    return _like(call, data)


@rule("native_group_norm", "group_norm")
def group_norm(call: Call) -> list[Value]:
    """(N, C, …) in groups of channels: each group loses equally many, their number stays."""
    data, weight, bias = call.args[:3]
    groups = call.args[6] if call.name == "native_group_norm" else call.args[1]
    if call.name == "group_norm":
        weight, bias = call.args[2:4]
    block = _tie_per_channel(call.facts, data, 1, [weight, bias])
    if block is not None and groups > 1:
        channels = call.facts.project(block, [1]).atoms
        per_group = channels.reshape(groups, -1)
        if per_group.shape[1] == 1:
            call.facts.freeze(channels, "is normalised in groups of one channel")
        else:
            call.facts.box(per_group, {0})
    return _like(call, data)


@rule("_weight_norm_interface", "_weight_norm")
def weight_norm(call: Call) -> list[Value]:
    """``v * g / ||v||`` along one axis: v's other axes lose indices only where all of v may."""
    v, g, dim = call.args
    for own in g.blocks:
        other = v.block_at(own.axes[0])
        if other is not None:
            call.facts.unify(own.atoms, other.atoms)
    for block in v.blocks:
        if block.axes != (dim % v.ndim,):
            call.facts.freeze(block.atoms, "shares a weight norm with its neighbours")
    return _like(call, v)


@rule("linalg_vector_norm", "norm", "cdist")
def norm(call: Call) -> list[Value]:
    """A length over an axis changes with what the axis holds."""
    call.facts.freeze_values(call.values(), "goes into a norm")
    return [Value(shape) for shape in call.outputs]
