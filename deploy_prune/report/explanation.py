"""Why a pruned model is as fast as it is: layers against the device's roofs, and time in parts that add up."""

from __future__ import annotations

import dataclasses
from typing import Literal

Bound = Literal["compute", "memory", "overhead"]
PartName = Literal["compute", "memory", "overhead", "glue", "between"]


@dataclasses.dataclass(frozen=True)
class BandwidthReport:
    """Bytes per second that a node which moves ``moved_bytes`` reaches at best."""

    moved_bytes: int
    bytes_per_s: float


@dataclasses.dataclass(frozen=True)
class RoofsReport:
    """What the engine reaches on the device at its best, and the device's width step in channels."""

    macs_per_s: float
    bandwidths: tuple[BandwidthReport, ...]
    node_ms: float
    step: int


@dataclasses.dataclass(frozen=True)
class LayerSide:
    """A layer of one of the two models; the columns are explained in docs/report.md.

    ``compute_share``, ``memory_share`` and ``overhead_share`` are lower bounds as a share of the layer's time;
    ``bound_by`` is None without MACs. ``padding`` is the share of computed channels that are not real.
    """

    ms: float
    nodes: int
    macs: int
    moved_bytes: int
    compute_share: float
    memory_share: float
    overhead_share: float
    bound_by: Bound | None
    padding: float


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """A layer before and after; None where the model does not have it."""

    name: str
    dense: LayerSide | None
    pruned: LayerSide | None


@dataclasses.dataclass(frozen=True)
class PartReport:
    """A part of the time of both models; ``excess_ms`` is what it takes beyond dense time / MAC reduction."""

    name: PartName
    nodes: int
    pruned_nodes: int
    dense_ms: float
    pruned_ms: float
    dense_macs: int
    pruned_macs: int
    excess_ms: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Where the time goes. The parts' milliseconds add up to ``dense_ms`` and ``pruned_ms``.

    ``unplaced_macs`` are MACs of the dense file whose node the engine's profile does not name.
    """

    roofs: RoofsReport
    dense_ms: float
    pruned_ms: float
    mac_reduction: float
    unplaced_macs: int
    parts: tuple[PartReport, ...]
    layers: tuple[LayerReport, ...]


@dataclasses.dataclass(frozen=True)
class FloorReport:
    """The milliseconds that no width can go below, as a sum of five, by the latency model's prediction.

    ``std_ms`` is the standard deviation of the total as a prediction of one fresh measurement.
    """

    total_ms: float
    narrowest_ms: float
    frozen_ms: float
    undecided_ms: float
    post_processing_ms: float
    overhead_ms: float
    dense_ms: float
    std_ms: float


@dataclasses.dataclass(frozen=True)
class OperatorResidual:
    """Relative standard deviation that the latency model leaves at nodes of an operator."""

    op: str
    residual: float


@dataclasses.dataclass(frozen=True)
class ModelAccount:
    """What the latency model could not explain, after the last round."""

    residuals: tuple[OperatorResidual, ...]
    unsized: tuple[str, ...]
    approximate: tuple[str, ...]
    intermittent: tuple[str, ...]
    scale: float
    overhead_ms: float


@dataclasses.dataclass(frozen=True)
class Account:
    """What the search knows after its last round: the floor, and how far its latency model can be trusted."""

    floor: FloorReport
    model: ModelAccount
