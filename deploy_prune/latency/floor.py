"""The latency that no width can go below, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.node import NodeModel

# Operators that multiply with weights or activations, as engines name them.
_MULTIPLYING = ("Conv", "MatMul", "Gemm", "FullyConnected", "Deconvolution")


@dataclass(frozen=True)
class Floor:
    """Predicted seconds of the fastest widths on the menu, as a sum.

    Attributes:
        narrowest_s: nodes whose sizes groups decide, every group as narrow as is fastest.
        frozen_s: convolutions and matrix products that no group decides: all their channels are frozen.
        undecided_s: nodes without MACs that no group decides, before the last node that one does.
        post_processing_s: nodes that no group decides after the last node that one does.
        overhead_s: what a run takes besides its nodes; below zero where timing nodes costs more than that.
        dense_s: the dense model's prediction, for comparison.
        std_s: standard deviation of the floor as a prediction of one fresh measurement.
    """

    narrowest_s: float
    frozen_s: float
    undecided_s: float
    post_processing_s: float
    overhead_s: float
    dense_s: float
    std_s: float

    @property
    def total_s(self) -> float:
        """The floor: the sum of the five."""
        return self.narrowest_s + self.fixed_s

    @property
    def fixed_s(self) -> float:
        """What no width changes."""
        return self.frozen_s + self.undecided_s + self.post_processing_s + self.overhead_s

    def describe(self) -> str:
        """The sum in milliseconds, in one line for people."""
        parts = {
            "nodes at their narrowest widths": self.narrowest_s,
            "frozen layers": self.frozen_s,
            "nodes that no group decides": self.undecided_s,
            "post-processing": self.post_processing_s,
            "overhead": self.overhead_s,
        }
        listed = ", ".join(f"{name} {1e3 * value:.3f}" for name, value in parts.items() if value)
        return f"{1e3 * self.total_s:.3f} ms ({listed})"


def find_floor(model: LatencyModel, fastest: Mapping[str, int], unit: float = 1.0) -> Floor:
    """What the fastest widths take, divided by who decides it.

    Args:
        model: the fitted latency model.
        fastest: the widths of least latency, by group.
        unit: real seconds per second of the model.
    """
    found = model.predict(fastest)
    nodes = [node for node in model.nodes if node.name in found.nodes]
    decided = [k for k, node in enumerate(nodes) if node.groups]
    last = decided[-1] if decided else -1
    seconds = dict.fromkeys(("narrowest", "frozen", "undecided", "post_processing"), 0.0)
    for k, node in enumerate(nodes):
        seconds[_place(node, k > last)] += unit * model.calibration.scale * found.nodes[node.name]
    return Floor(
        narrowest_s=seconds["narrowest"],
        frozen_s=seconds["frozen"],
        undecided_s=seconds["undecided"],
        post_processing_s=seconds["post_processing"],
        overhead_s=unit * model.calibration.overhead_s,
        dense_s=unit * model.predict({}).total_s,
        std_s=unit * found.std_s,
    )


def _place(node: NodeModel, after_the_last: bool) -> str:
    if node.groups:
        return "narrowest"
    if any(word in node.op for word in _MULTIPLYING):
        return "frozen"
    return "post_processing" if after_the_last else "undecided"
