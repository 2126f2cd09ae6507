"""What bounds a node's time: the device's roofs against the node's arithmetic, data and mere existence.

The roofline model (Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 52(4), 2009) bounds a kernel's speed by peak arithmetic and by memory bandwidth. Bandwidth depends
on which cache holds the data (Ilic, Pratas and Sousa, "Cache-aware roofline model", IEEE CAL 13(1), 2014), so it is
known at several amounts of data; and a node that does next to nothing still takes the engine some time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deploy_prune.errors import InputError

Bound = Literal["compute", "memory", "overhead"]

MOST = 0.5
"""A bound explains most of a node's time when it is at least this share of it."""


@dataclass(frozen=True)
class Bandwidth:
    """Bytes per second, read and written together, at which a node that moves ``moved_bytes`` was seen to move them."""

    moved_bytes: int
    bytes_per_s: float


@dataclass(frozen=True)
class Bounds:
    """The least seconds that a node's arithmetic, its data and the engine's work per node take."""

    compute_s: float
    memory_s: float
    overhead_s: float

    def __add__(self, other: Bounds) -> Bounds:
        return Bounds(
            self.compute_s + other.compute_s, self.memory_s + other.memory_s, self.overhead_s + other.overhead_s
        )

    def bound_by(self, time_s: float) -> Bound:
        """The largest of the three, where it is at least :data:`MOST` of ``time_s``; else overhead.

        Time that neither arithmetic nor data explain is spent on something else than the node's purpose.
        """
        largest = max(self.compute_s, self.memory_s, self.overhead_s)
        if largest < MOST * time_s or largest == self.overhead_s:
            return "overhead"
        return "compute" if largest == self.compute_s else "memory"


@dataclass(frozen=True)
class Roofs:
    """What an engine reaches on a device at its best.

    Attributes:
        macs_per_s: multiply-accumulates per second.
        bandwidths: by amount of data, least first; the last is far above the last-level cache.
        node_s: seconds that one more node takes that does next to nothing.
    """

    macs_per_s: float
    bandwidths: tuple[Bandwidth, ...]
    node_s: float

    def __post_init__(self) -> None:
        amounts = [one.moved_bytes for one in self.bandwidths]
        if not amounts or amounts != sorted(set(amounts)):
            raise InputError(f"bandwidths are known at {amounts} bytes, expected one or more rising amounts")

    @property
    def memory_bytes_per_s(self) -> float:
        """Bandwidth of the memory itself, when no cache holds the data."""
        return self.bandwidths[-1].bytes_per_s

    def bytes_per_s(self, moved_bytes: float) -> float:
        """Bandwidth for a node that moves ``moved_bytes``, interpolated over their logarithm."""
        amounts = np.log([one.moved_bytes for one in self.bandwidths])
        return float(np.interp(np.log(max(moved_bytes, 1.0)), amounts, [one.bytes_per_s for one in self.bandwidths]))

    def bounds(
        self, macs: float, moved_bytes: float, weight_bytes: float = 0.0, all_weight_bytes: float = 0.0
    ) -> Bounds:
        """The lower bounds of one node.

        Args:
            macs: its multiply-accumulates.
            moved_bytes: its inputs and outputs, weights included.
            weight_bytes: its weights. They are read once per run, so that a cache still holds them only if it holds
                all weights of the model:
            all_weight_bytes: how many these are. Activations were just written, and count by their own amount.
        """
        moved = moved_bytes - weight_bytes
        memory_s = moved / self.bytes_per_s(moved) + weight_bytes / self.bytes_per_s(all_weight_bytes)
        return Bounds(macs / self.macs_per_s, memory_s, self.node_s)


def fit_node_s(nodes: Sequence[int], totals_s: Sequence[float]) -> float:
    """Seconds per node: the slope between the shortest and the longest chain of nodes that do next to nothing."""
    shortest, longest = int(np.argmin(nodes)), int(np.argmax(nodes))
    if nodes[shortest] == nodes[longest]:
        raise InputError(f"got chains of {list(nodes)} nodes, expected two different lengths")
    return max((totals_s[longest] - totals_s[shortest]) / (nodes[longest] - nodes[shortest]), 0.0)
