"""Where the time of a network goes, dense and pruned, in parts that add up to the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deploy_prune.latency.roofline import Bounds, Roofs

PartName = Literal["compute", "memory", "overhead", "glue", "between"]
PARTS: tuple[PartName, ...] = ("compute", "memory", "overhead", "glue", "between")


@dataclass(frozen=True)
class NodeCost:
    """One executed node: what it takes and what it does.

    Attributes:
        name: the exported node that it computes, the same at every width.
        op: the engine's operator.
        time_s: its time in seconds.
        macs: real multiply-accumulates; 0 for glue.
        moved_bytes: of all inputs, weights too, and outputs, padding included.
        weight_bytes: the weights among them.
        all_weight_bytes: those of all nodes of the model.
        channels: real output channels of a node with MACs, else 0.
        padded_channels: the channels that the engine computes for these.
    """

    name: str
    op: str
    time_s: float
    macs: int
    moved_bytes: int
    weight_bytes: int = 0
    all_weight_bytes: int = 0
    channels: int = 0
    padded_channels: int = 0

    def bounds(self, roofs: Roofs) -> Bounds:
        """The node's lower bounds."""
        return roofs.bounds(self.macs, self.moved_bytes, self.weight_bytes, self.all_weight_bytes)

    def part(self, roofs: Roofs) -> PartName:
        """What bounds a node with MACs; ``glue`` without any."""
        return self.bounds(roofs).bound_by(self.time_s) if self.macs else "glue"


@dataclass(frozen=True)
class Part:
    """One share of the time of both models.

    ``nodes`` counts the dense model's and ``pruned_nodes`` the pruned one's. ``between`` has no nodes: it is what the
    whole run takes beyond its nodes.
    """

    name: PartName
    nodes: int
    pruned_nodes: int
    dense_s: float
    pruned_s: float
    dense_macs: int
    pruned_macs: int

    def excess_s(self, mac_reduction: float) -> float:
        """Seconds that the pruned model takes here beyond what it would if this time fell as all MACs do."""
        return self.pruned_s - self.dense_s / mac_reduction


@dataclass(frozen=True)
class Decomposition:
    """The end-to-end seconds of both models as a sum of parts, in the order of :data:`PARTS`."""

    dense_s: float
    pruned_s: float
    parts: tuple[Part, ...]

    def part(self, name: PartName) -> Part:
        """The part of this name."""
        return self.parts[PARTS.index(name)]


def remove_timers(times_s: Sequence[float], total_s: float) -> list[float]:
    """Node times without what taking them costs, where they add up to more than ``total_s``, a run without timers.

    Timing a node costs the same for each, so all lose as much, but none more than it has; then they add up to the run.
    """
    excess_s = sum(times_s) - total_s
    if excess_s <= 0:
        return list(times_s)
    ascending = np.sort(np.asarray(times_s, dtype=float))
    taken_s = np.concatenate([[0.0], np.cumsum(ascending)[:-1]])  # by nodes that have less than the timer costs
    timer_s = (excess_s - taken_s) / np.arange(len(ascending), 0, -1)
    cost_s = float(timer_s[np.argmax(timer_s <= ascending)])
    return [max(time_s - cost_s, 0.0) for time_s in times_s]


def decompose(
    dense: Sequence[NodeCost], pruned: Sequence[NodeCost], dense_s: float, pruned_s: float, roofs: Roofs
) -> Decomposition:
    """Divide the end-to-end seconds of both models into parts.

    A node of the pruned model belongs where the dense model's node of its name does, so that a part's two times are
    those of the same work; a node that only the pruned model has belongs where its own bounds put it.
    """
    home: Mapping[str, PartName] = {node.name: node.part(roofs) for node in dense}
    before = _gather(dense, home, roofs)
    after = _gather(pruned, home, roofs)
    parts = [
        Part(
            name,
            len(before[name]),
            len(after[name]),
            sum(node.time_s for node in before[name]),
            sum(node.time_s for node in after[name]),
            sum(node.macs for node in before[name]),
            sum(node.macs for node in after[name]),
        )
        for name in PARTS[:-1]
    ]
    left = (dense_s - sum(part.dense_s for part in parts), pruned_s - sum(part.pruned_s for part in parts))
    return Decomposition(dense_s, pruned_s, (*parts, Part("between", 0, 0, *left, 0, 0)))


def _gather(nodes: Sequence[NodeCost], home: Mapping[str, PartName], roofs: Roofs) -> dict[PartName, list[NodeCost]]:
    gathered: dict[PartName, list[NodeCost]] = {name: [] for name in PARTS}
    for node in nodes:
        gathered[home.get(node.name) or node.part(roofs)].append(node)
    return gathered
