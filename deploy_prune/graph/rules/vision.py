"""torchvision's operators on regions of feature maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deploy_prune.graph.rules.extents import keep_extent
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Value


@rule("torchvision.roi_align", "torchvision.roi_pool", "torchvision.ps_roi_align", "torchvision.ps_roi_pool")
def regions(call: Call) -> list[Value]:
    """(N, C, H, W) and boxes (K, 5) to (K, C, h, w); position-sensitive forms spend h·w channels on each of theirs."""
    facts, (data, boxes) = call.facts, call.args[:2]
    facts.freeze(boxes.atoms(), f"steers {call.name}")
    channels = data.block_at(1)
    for block in data.blocks:
        for axis in set(block.axes) - {1}:
            keep_extent(facts, block, axis, f"{call.name} works along its axis")
    if channels is None:
        return [Value(shape) for shape in call.outputs]
    channels = facts.project(channels, [1])
    if ".ps_" in call.name:
        rows = channels.atoms.reshape(call.shape[1], -1)
        facts.unify(np.broadcast_to(rows[:, :1], rows.shape), rows)
        channels = replace(channels, atoms=rows[:, 0].copy())
    return [Value(shape, (channels,) if len(shape) == 4 else ()).without_single_axes() for shape in call.outputs]
