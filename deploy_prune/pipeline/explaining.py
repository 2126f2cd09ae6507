"""From two node profiles, their exported files and the device's roofs to an explanation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy_prune.export.work import NodeWork, read_work
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.latency.decomposition import Decomposition, NodeCost, decompose, remove_timers
from deploy_prune.latency.roofline import Bounds, Roofs
from deploy_prune.pipeline.device_roofs import find_roofs
from deploy_prune.pipeline.device_step import find_step
from deploy_prune.pipeline.layers import LayerNames
from deploy_prune.report.explanation import (
    BandwidthReport,
    Explanation,
    LayerReport,
    LayerSide,
    PartReport,
    RoofsReport,
)
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.nodes import NodeProfile, NodeTime
from deploy_prune.store import MeasurementStore

ITEM_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
"""Bytes per element of a profile's precision."""
_PRODUCTS = ("MatMul", "Gemm", "FullyConnected")


@dataclass(frozen=True)
class Profiled:
    """A model as it was measured: its exported file, its nodes, and its end-to-end seconds in the comparison."""

    file: Path
    profile: NodeProfile
    total_s: float


def explain(
    dense: Profiled, pruned: Profiled, names: LayerNames, roofs: Roofs, step: int, item_bytes: int
) -> Explanation:
    """Why the pruned model is as fast as it is.

    Node times are given at the speed at which a whole run took what it took in the comparison.

    Args:
        dense, pruned: both models.
        names: from a node to a layer.
        roofs: of the device.
        step: channels per kernel step of the device.
        item_bytes: of an element of activations and weights.
    """
    work = read_work(dense.file)
    before = find_costs(dense, work, step, item_bytes)
    after = find_costs(pruned, read_work(pruned.file), step, item_bytes)
    parts = decompose(before, after, dense.total_s, pruned.total_s, roofs)
    mac_reduction = sum(node.macs for node in before) / max(sum(node.macs for node in after), 1)
    return Explanation(
        roofs=_report_roofs(roofs, step),
        dense_ms=1e3 * dense.total_s,
        pruned_ms=1e3 * pruned.total_s,
        mac_reduction=mac_reduction,
        unplaced_macs=max(sum(one.macs for one in work.values()) - sum(node.macs for node in before), 0),
        parts=_report_parts(parts, mac_reduction),
        layers=_report_layers(before, after, names, roofs),
    )


def explain_comparison(
    files: tuple[Path, Path],
    profiles: tuple[NodeProfile, NodeProfile],
    comparison: Comparison,
    names: LayerNames,
    profile: HardwareProfile,
    store: MeasurementStore,
) -> Explanation:
    """Why the comparison came out as it did, from the exported files and node profiles of both models, dense first.

    The pruned model's time is the dense one's divided by the paired speed-up, so that drift of the machine cancels.

    Raises:
        InputError, MissingDependencyError, MeasurementError: see ``find_roofs`` and ``find_step``.
    """
    dense_s = comparison.baseline.median_s
    totals_s = (dense_s, dense_s / comparison.speedup)
    dense, pruned = (Profiled(*one) for one in zip(files, profiles, totals_s, strict=True))
    step = find_step(profile, store)
    return explain(dense, pruned, names, find_roofs(profile, store), step, ITEM_BYTES[profile.precision])


def find_costs(model: Profiled, work: Mapping[str, NodeWork], step: int, item_bytes: int) -> tuple[NodeCost, ...]:
    """What each executed node takes and does."""
    speed = model.total_s / model.profile.timing.median_s
    times_s = remove_timers([speed * node.time_s for node in model.profile.nodes], model.total_s)
    pairs = zip(model.profile.nodes, times_s, strict=True)
    costs = [_cost(node, time_s, work, step, item_bytes) for node, time_s in pairs]
    all_weight_bytes = sum(cost.weight_bytes for cost in costs)
    return tuple(replace(cost, all_weight_bytes=all_weight_bytes) for cost in costs)


def _cost(node: NodeTime, time_s: float, work: Mapping[str, NodeWork], step: int, item_bytes: int) -> NodeCost:
    own = [work[name] for name in (node.name, *node.fused) if name in work] or _work_by_shapes(node)
    channels = sum(one.channels for one in own)
    padded = sum(
        max(-(-one.channels // step) * step, round(one.channels * node.output_numel / max(one.output_numel, 1)))
        for one in own
    )
    elements = sum(math.prod(shape) for shape in (*node.input_shapes, *node.output_shapes))
    return NodeCost(
        name=node.name,
        op=node.op,
        time_s=time_s,
        macs=sum(one.macs for one in own),
        moved_bytes=item_bytes * elements,
        weight_bytes=item_bytes * min(sum(one.weights for one in own), elements),
        channels=channels,
        padded_channels=padded,
    )


def _work_by_shapes(node: NodeTime) -> list[NodeWork]:
    """Of a matrix product whose shapes the file does not tell, by the engine's own."""
    if not any(word in node.op for word in _PRODUCTS):
        return []
    inner, outer = node.input_shapes[0][-1], node.output_shapes[0]
    return [NodeWork(math.prod(outer) * inner, outer[-1], math.prod(outer))]


def _report_roofs(roofs: Roofs, step: int) -> RoofsReport:
    bandwidths = tuple(BandwidthReport(one.moved_bytes, one.bytes_per_s) for one in roofs.bandwidths)
    return RoofsReport(roofs.macs_per_s, bandwidths, 1e3 * roofs.node_s, step)


def _report_parts(found: Decomposition, mac_reduction: float) -> tuple[PartReport, ...]:
    return tuple(
        PartReport(
            part.name,
            part.nodes,
            part.pruned_nodes,
            1e3 * part.dense_s,
            1e3 * part.pruned_s,
            part.dense_macs,
            part.pruned_macs,
            1e3 * part.excess_s(mac_reduction),
        )
        for part in found.parts
    )


def _report_layers(
    dense: Sequence[NodeCost], pruned: Sequence[NodeCost], names: LayerNames, roofs: Roofs
) -> tuple[LayerReport, ...]:
    before, after = _by_layer(dense, names), _by_layer(pruned, names)
    return tuple(
        LayerReport(layer, *(_side(nodes[layer], roofs) if layer in nodes else None for nodes in (before, after)))
        for layer in dict.fromkeys([*before, *after])
    )


def _by_layer(nodes: Iterable[NodeCost], names: LayerNames) -> dict[str, list[NodeCost]]:
    found: dict[str, list[NodeCost]] = {}
    for node in nodes:
        found.setdefault(names.layer(node.name), []).append(node)
    return found


def _side(nodes: Sequence[NodeCost], roofs: Roofs) -> LayerSide:
    time_s, macs = sum(node.time_s for node in nodes), sum(node.macs for node in nodes)
    bounds = sum((node.bounds(roofs) for node in nodes), Bounds(0, 0, 0))
    channels, padded = sum(node.channels for node in nodes), sum(node.padded_channels for node in nodes)
    per_s = 1 / time_s if time_s > 0 else 0.0
    return LayerSide(
        ms=1e3 * time_s,
        nodes=len(nodes),
        macs=macs,
        moved_bytes=sum(node.moved_bytes for node in nodes),
        compute_share=bounds.compute_s * per_s,
        memory_share=bounds.memory_s * per_s,
        overhead_share=bounds.overhead_s * per_s,
        bound_by=bounds.bound_by(time_s) if macs else None,
        padding=1 - channels / padded if padded else 0.0,
    )
