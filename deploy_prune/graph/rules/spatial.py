"""Operators on the trailing spatial axes of (N, C, …): pooling, padding, resizing. Channels pass through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.extents import collapse, keep_extent
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Atoms, Block, Value

NAMES = """
    max_pool1d max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d
    adaptive_avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d mkldnn_max_pool2d reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
    replication_pad2d replication_pad3d upsample_nearest1d upsample_nearest2d upsample_nearest3d
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d
    upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
""".split()


@rule(*NAMES)
def spatial(call: Call) -> list[Value]:
    """Axes before the spatial ones keep their atoms; atoms along a spatial axis are frozen.

    How many axes are spatial stands in the operator's name (``…2d``).
    """
    value = call.args[0]
    found = re.search(r"(\d)d", call.name)
    assert found is not None
    first_spatial = value.ndim - int(found.group(1))
    for other in call.values()[1:]:
        call.facts.freeze(other.atoms(), f"steers {call.name}")
    passing = _before(call, value, first_spatial)
    return [Value(shape, passing) for shape in call.outputs]


def _before(call: Call, value: Value, first: int) -> tuple[Block, ...]:
    """The blocks of the axes before ``first``; those from there on keep their size."""
    passing = []
    for block in value.blocks:
        for axis in block.axes:
            if axis >= first:
                keep_extent(call.facts, block, axis, f"{call.name} works along its axis")
        lead = [a for a in block.axes if a < first]
        passing += [call.facts.project(block, lead)] if lead else []
    return tuple(passing)


@rule("grid_sampler_2d", "grid_sampler_3d")
def sampled(call: Call) -> list[Value]:
    """(N, C, *space) read at places (N, *size, 2 or 3), which stay while their index of N does."""
    facts, (data, grid) = call.facts, call.args[:2]
    places: list[Block] = []
    for block in grid.blocks:
        left: Block | None = block
        for axis in sorted({*block.axes} - {0}):
            left = collapse(facts, left, axis, f"steers {call.name}") if left is not None else None
        places += [left] if left is not None else []
    met = combine(facts, [Value(data.shape[:2], _before(call, data, 2)), Value((grid.shape[0], 1), tuple(places))],
                  data.shape[:2], lambda flags: bool(flags[0]))  # fmt: skip
    return [Value(call.shape, met.blocks)]


@rule("max_unpool2d", "max_unpool3d", "fractional_max_pool2d", "fractional_max_pool3d")
def per_channel(call: Call) -> list[Value]:
    """Pooling steered by a tensor that has the same channels: (N, C, …) both."""
    value, *others = call.values()
    spatial_axes = int(call.name[-2])
    first = value.ndim - spatial_axes
    sizes = value.shape[:first]
    lead = []
    for operand in (value, *others):
        kept = [b for b in operand.blocks if max(b.axes) < first]
        call.facts.freeze(Value(operand.shape, tuple(b for b in operand.blocks if b not in kept)).atoms(),
                          f"{call.name} works along its axis")  # fmt: skip
        lead.append(Value(operand.shape[:first], tuple(kept)))
    met = combine(call.facts, lead, sizes, lambda flags: bool(flags[0]))
    return [Value(shape, met.blocks) for shape in call.outputs]


@rule("constant_pad_nd")
def pad(call: Call) -> list[Value]:
    """Padded indices join the axis as atoms that stay; ``pad`` lists (before, after) from the last axis on."""
    value, padding, filling = (*call.args, 0)[:3]
    blocks = [_padded(call.facts, b, value.ndim, padding, filling) for b in value.blocks]
    return [Value(call.shape, tuple(b for b in blocks if b is not None))]


def _padded(facts: Facts, block: Block, ndim: int, padding: Sequence[int], filling: float) -> Block | None:
    atoms, zeros = block.atoms, block.zero and not filling
    for k, axis in enumerate(block.axes):
        place = 2 * (ndim - 1 - axis)
        before, after = padding[place : place + 2] if place < len(padding) else (0, 0)
        if before < 0 or after < 0:
            facts.freeze(atoms, "is cropped")
            return None
        if before or after:
            zeros = block.zero
            ends = [_padding(facts, replace(block, atoms=atoms), k, count) for count in (before, after)]
            atoms = np.concatenate([ends[0], atoms, ends[1]], axis=k)
            if atoms.ndim > 1:
                facts.box(atoms)
    return replace(block, atoms=atoms, zeros=zeros)


def _padding(facts: Facts, block: Block, k: int, count: int) -> Atoms:
    """``count`` indices along axis ``k`` of a block that never go, but with the row that they stand in."""
    shape = [count if j == k else s for j, s in enumerate(block.atoms.shape)]
    if len(block.axes) == 1 or not count:
        atoms = facts.fresh(shape)
        facts.freeze(atoms, "is padding")
        return atoms
    row = facts.project(block, [a for j, a in enumerate(block.axes) if j != k]).atoms
    return np.broadcast_to(np.expand_dims(row, k), shape)
