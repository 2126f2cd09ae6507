"""Convolutions of any dimension: plain, grouped, depthwise, transposed, deformable; and their unfolded form."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.contraction import tie_contracted
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.extents import keep_extent
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Atoms, Block, Value


@rule("convolution", "_convolution", "convolution_overrideable")
def convolution(call: Call) -> list[Value]:
    """(N, C, …) with weight (O, C/groups, …), or (C, O/groups, …) when transposed; N-d, grouped, depthwise."""
    data, weight, bias = call.args[:3]
    strides, paddings, _, transposed = call.args[3:7]
    in_place = all(s == 1 for s in strides) and not any(paddings)
    return [_convolve(call, data, weight, bias, int(call.args[8]), bool(transposed), in_place)]


@rule("conv1d", "conv2d", "conv3d", "mkldnn_convolution", "_mkldnn_convolution", "_slow_conv2d_forward",
      "thnn_conv2d", "slow_conv3d_forward", "_conv_depthwise2d", "conv_depthwise3d", "mkldnn._convolution_pointwise",
      "cudnn_convolution", "miopen_convolution")  # fmt: skip
def other_convolution(call: Call) -> list[Value]:
    """Backends' own forms: the number of groups follows from the weight."""
    data, weight = call.args[:2]
    bias = next((a for a in call.args[2:] if isinstance(a, Value) and a.ndim == 1), None)
    groups = data.shape[data.ndim - weight.ndim + 1] // weight.shape[1]
    return [_convolve(call, data, weight, bias, groups, False)]


def _convolve(
    call: Call, data: Value, weight: Value, bias: Value | None, groups: int, transposed: bool, in_place: bool = False
) -> Value:
    """The convolved value; ``in_place``: strides of 1 and no padding, so that a kernel of extent 1 keeps its axis."""
    facts = call.facts
    for axis in range(2, weight.ndim):
        block = weight.block_at(axis)
        if block is not None:
            keep_extent(facts, block, axis, "is the extent of a convolution kernel")
    channel = data.ndim - weight.ndim + 1
    kept = {
        a for a in range(data.ndim) if a < channel or (in_place and a > channel and weight.shape[a - channel + 1] == 1)
    }
    for block in data.blocks:
        for axis in set(block.axes) - kept - {channel}:
            keep_extent(facts, block, axis, "lies along the space of a convolution")
    out_axis, in_axis = (1, 0) if transposed else (0, 1)
    if groups == 1:
        tie_contracted(facts, data, channel, weight, in_axis)
        out = weight.block_at(out_axis)
    else:
        block = data.block_at(channel)
        inputs = facts.project(block, [channel]) if block is not None else None
        out = _grouped(facts, inputs, weight, groups, transposed)
    blocks = [facts.project(b, [a for a in b.axes if a in kept]) for b in data.blocks if kept & set(b.axes)]
    if out is not None:
        blocks.append(replace(out, axes=(channel,), atoms=out.atoms))
    result = Value(call.shape, tuple(sorted(blocks, key=lambda b: b.axes))).without_single_axes()
    if not isinstance(bias, Value):
        return result
    along = (*bias.shape, *[1] * (data.ndim - channel - 1))
    return combine(facts, [result, bias.moved(along, {0: 0})], call.shape)


def _grouped(facts: Facts, data: Block | None, weight: Value, groups: int, transposed: bool) -> Block | None:
    """Each group loses the same inputs and equally many outputs, or goes with both where its number is an attribute.

    One input per group: it follows its outputs. A transposed weight is (C, O/groups, …): there the channel axis of the
    data is the weight's long axis, all groups share the outputs' axis, and groups of several inputs stay.
    """
    long, short = weight.block_at(0), weight.block_at(1)
    if long is None:
        for block in (data, short):
            if block is not None:
                facts.freeze(block.atoms, "meets a grouped convolution whose outputs are no parameter's")
        return None
    per_group = None if data is None else data.atoms.reshape(groups, -1)
    may_go = not (transposed or facts.convolution_groups is None or isinstance(facts.convolution_groups, int))
    if short is not None:
        facts.box(long.atoms.reshape(groups, -1), fixed=() if may_go and data is not None else {0})
    if per_group is not None:
        _count_groups(facts, per_group)
    if transposed:
        if data is not None:
            facts.unify(data.atoms, long.atoms)
        if short is None:
            return long
        spread = np.tile(short.atoms, groups)
        facts.box(spread.reshape(groups, -1), fixed={0})
        return replace(short, axes=(0,), atoms=spread)
    if per_group is None:
        facts.freeze(weight.atoms(), "is a grouped convolution over channels that are no parameter's")
        return long
    outputs = long.atoms.reshape(groups, -1)
    if short is None:
        facts.unify(np.broadcast_to(per_group, outputs.shape), outputs)
    elif may_go:
        facts.box(per_group)
        facts.follow(short.atoms, per_group.T)
        facts.unify(*(facts.project(Block((0, 1), side), [0]).atoms for side in (per_group, outputs)))
    else:
        facts.unify(per_group, np.broadcast_to(short.atoms, per_group.shape))
    return long


def _count_groups(facts: Facts, per_group: Atoms) -> None:
    """As many rows as the code says that there are groups: a number in an attribute can change, no other."""
    expression = facts.convolution_groups
    if expression is not None:
        facts.equate_size(Value(per_group.shape, (Block((0, 1), per_group),)), 0, expression)


@rule("im2col", "col2im")
def unfolded(call: Call) -> list[Value]:
    """(N, C, H, W) to (N, C·k, L) and back: every channel becomes k = prod(kernel) rows in a row."""
    value = call.args[0]
    extent = math.prod(call.args[1] if call.name == "im2col" else call.args[2])
    channel = 1 if len(call.shape) == (3 if call.name == "im2col" else 4) else 0
    blocks = []
    for block in value.blocks:
        if max(block.axes) > channel:
            call.facts.freeze(block.atoms, f"lies along the space of {call.name}")
            blocks += [call.facts.project(block, [0])] if channel and 0 in block.axes else []
        elif block.axes != (channel,):
            blocks.append(_whole_rows(call.facts, block, channel))
        elif call.name == "im2col":
            blocks.append(replace(block, atoms=np.repeat(block.atoms, extent)))
        else:
            rows = block.atoms.reshape(-1, extent)
            call.facts.unify(np.broadcast_to(rows[:, :1], rows.shape), rows)
            blocks.append(replace(block, atoms=rows[:, 0].copy()))
    return [Value(call.shape, tuple(blocks)).without_single_axes()]


def _whole_rows(facts: Facts, block: Block, channel: int) -> Block:
    """A block that shares the channel axis with the batch keeps its channels."""
    if channel in block.axes:
        facts.freeze(block.atoms, "is unfolded while split over several axes")
        return facts.project(block, [a for a in block.axes if a != channel])
    return block


@rule("torchvision.deform_conv2d")
def deformable(call: Call) -> list[Value]:
    """Deformable convolution: (input, weight, offset, mask, bias, …); what steers the sampling stays.

    Offsets are given per group of input channels: their number stays, and each loses equally many.
    """
    data, weight, offset, mask, bias = call.args[:5]
    for steering in (offset, mask):
        if isinstance(steering, Value):
            call.facts.freeze(steering.atoms(), "steers a deformable convolution")
    groups = data.shape[1] // weight.shape[1]
    channels = data.block_at(1)
    if call.args[12] > 1 and channels is not None:
        call.facts.box(call.facts.project(channels, [1]).atoms.reshape(call.args[12], -1), fixed={0})
    return [_convolve(call, data, weight, bias, groups, False)]
