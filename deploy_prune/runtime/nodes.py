"""Time per node of a model, from the engine's own profile."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from deploy_prune.errors import MeasurementError
from deploy_prune.runtime.node_names import computed_nodes
from deploy_prune.runtime.timing import Timing

# Node times are the mean of the middle half of the runs: deaf to outliers as the median is, and finer than
# the whole microseconds that ONNX Runtime reports, where many nodes take two or three.
MIDDLE_TRIM = 0.25
# Operators with one activation input; what else they read are weights, or a residual added on the way out.
_ONE_ACTIVATION = ("Conv", "MatMul", "Gemm", "FullyConnected", "Deconvolution")
_ITEM_BYTES = {
    "double": 8,
    "int64": 8,
    "uint64": 8,
    "float": 4,
    "int32": 4,
    "uint32": 4,
    "float16": 2,
    "bfloat16": 2,
}


@dataclasses.dataclass(frozen=True)
class NodeTime:
    """One node of the optimised graph.

    ``name`` is that of the exported model's node that it computes, the same at every width; ``fused`` are those that
    it computes besides, as far as the engine tells (OpenVINO does); ``op`` is the engine's operator. ``input_numel``
    counts the elements of the activations read (Conv, MatMul, Gemm: of input 0; others: of all inputs that are no
    weights), ``output_numel`` those written. Shapes are the engine's, so blocked layouts show their padding.
    ``time_s`` is the node's typical kernel time in seconds (the mean of the middle half of its runs).
    """

    name: str
    op: str
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    input_numel: int
    output_numel: int
    time_s: float
    fused: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class NodeProfile:
    """A model's nodes in order of execution, and its timing without profiling, taken by turns with it.

    ``profiled_s`` is the median of whole runs with profiling on, in seconds; what it exceeds ``nodes_s`` by
    is the engine's work between nodes and that of profiling itself. ``reference_s`` is the median of the
    reference model, None without one: profiles of different hours compare as multiples of it.
    """

    timing: Timing
    nodes: tuple[NodeTime, ...]
    profiled_s: float
    reference_s: float | None

    @property
    def nodes_s(self) -> float:
        """Sum over the nodes in seconds."""
        return sum(node.time_s for node in self.nodes)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {
            "timing": self.timing.to_dict(),
            "nodes": [dataclasses.asdict(node) for node in self.nodes],
            "profiled_s": self.profiled_s,
            "reference_s": self.reference_s,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NodeProfile:
        """The inverse of ``to_dict``, also after a way through JSON."""
        nodes = tuple(
            NodeTime(
                **{
                    **node,
                    "fused": tuple(node["fused"]),
                    "input_shapes": tuple(map(tuple, node["input_shapes"])),
                    "output_shapes": tuple(map(tuple, node["output_shapes"])),
                }
            )
            for node in data["nodes"]
        )
        return cls(Timing.from_dict(data["timing"]), nodes, data["profiled_s"], data["reference_s"])


def read_nodes(
    model: Path, reply: Mapping[str, Any], positions: Sequence[int], waits_s: Sequence[float]
) -> tuple[NodeTime, ...]:
    """Node times from a worker's ``nodes`` reply.

    Args:
        model: the exported file, for the nodes' names.
        reply: ``nodes`` (in order of execution, each with its microseconds in every run) and, where the engine
            writes one, its optimised ``graph``.
        positions: the runs that count.
        waits_s: how long each of these runs waited for a core.

    Raises:
        MeasurementError: the engine's profile misses some nodes in some runs.
    """
    raw = reply["nodes"]
    if not raw:
        raise MeasurementError(f"the engine's profile of {model} has no nodes; update the engine")
    incomplete = next((n["name"] for n in raw if len(n["durations_us"]) <= positions[-1]), None)
    if incomplete is not None:
        raise MeasurementError(
            f"the engine's profile of {model} misses runs of node {incomplete!r}; "
            "set a smaller 'min_runs' in the profile"
        )
    durations_s = np.array([node["durations_us"] for node in raw])[:, positions] / 1e6
    times_s = stats.trim_mean(remove_waits(durations_s, np.asarray(waits_s)), MIDDLE_TRIM, axis=1)
    computed = computed_nodes(model, raw, reply["graph"])
    unique = _number_repeats([names[0] for names in computed])
    return tuple(
        _describe_node(name, names[1:], node, float(time_s))
        for name, names, node, time_s in zip(unique, computed, raw, times_s, strict=True)
    )


def remove_waits(durations_s: np.ndarray, waits_s: np.ndarray) -> np.ndarray:
    """Take the time without a core out of the nodes that it fell into.

    The kernel tells how long a run waited, not where. A wait is as long as another process's turn, which is
    milliseconds, so it is taken from the nodes that exceed their own lower quartile most, and never below it.

    Args:
        durations_s: (nodes, runs).
        waits_s: (runs,).

    Returns:
        (nodes, runs), a new array.
    """
    usual = np.percentile(durations_s, 25, axis=1, keepdims=True)  # (nodes, 1)
    excess = np.maximum(durations_s - usual, 0)  # (nodes, runs)
    order = np.argsort(-excess, axis=0)
    ordered = np.take_along_axis(excess, order, axis=0)
    before = np.cumsum(ordered, axis=0) - ordered  # what larger excesses have used up of the run's wait
    cuts = np.clip(waits_s - before, 0, ordered)
    corrected = durations_s.copy()
    np.put_along_axis(corrected, order, np.take_along_axis(durations_s, order, axis=0) - cuts, axis=0)
    return corrected


def _describe_node(name: str, fused: tuple[str, ...], node: Mapping[str, Any], time_s: float) -> NodeTime:
    inputs, outputs = _read_shapes(node["inputs"]), _read_shapes(node["outputs"])
    output_numel = sum(math.prod(shape) for shape in outputs)
    if any(word in node["op"] for word in _ONE_ACTIVATION):
        input_numel = math.prod(inputs[0])
    else:
        input_numel = node["activation_bytes"] // _item_bytes(node["inputs"])
    return NodeTime(name, node["op"], inputs, outputs, input_numel, output_numel, time_s, fused)


def _number_repeats(names: Sequence[str]) -> list[str]:
    """The second "a" becomes "a#2": tables need one name per node."""
    seen: collections.Counter[str] = collections.Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique


def _read_shapes(tensors: Sequence[Mapping[str, Sequence[int]]]) -> tuple[tuple[int, ...], ...]:
    """``[{"float": [1, 3, 8, 8]}, ...]`` without the types."""
    return tuple(tuple(shape) for tensor in tensors for shape in tensor.values())


def _item_bytes(tensors: Sequence[Mapping[str, Sequence[int]]]) -> int:
    return _ITEM_BYTES.get(next(iter(tensors[0])), 1) if tensors else 1
