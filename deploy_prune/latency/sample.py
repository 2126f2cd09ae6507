"""What the runtime saw of one variant: its widths, its executed nodes and its end-to-end latency."""

from collections.abc import Mapping
from dataclasses import dataclass

from deploy_prune.errors import InputError


@dataclass(frozen=True)
class NodeSample:
    """One executed node of one variant.

    ``input_numel`` and ``output_numel`` are elements of the activation inputs and of the outputs; ``time_s``
    is the median kernel time in seconds.
    """

    name: str
    op: str
    input_numel: int
    output_numel: int
    time_s: float


@dataclass(frozen=True)
class VariantSample:
    """One profiled variant: kept width per group, nodes in execution order, median end-to-end seconds."""

    widths: Mapping[str, int]
    nodes: tuple[NodeSample, ...]
    total_s: float

    def __post_init__(self) -> None:
        if not self.nodes:
            raise InputError("a variant sample has no nodes; profile it with the runtime's node timers on")
        if not self.total_s > 0:
            raise InputError(f"a variant sample has total_s={self.total_s}, expected seconds above zero")
