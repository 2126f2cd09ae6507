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
from deploy_prune.runtime.operators import Operator, describe_operators
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

    ``operator`` says what it computes, with attributes (None: unknown). ``samples_s`` are its raw kernel times in each
    run that counts, less what the run waited for a core.
    """

    name: str
    op: str
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    input_numel: int
    output_numel: int
    time_s: float
    fused: tuple[str, ...] = ()
    operator: Operator | None = None
    samples_s: tuple[float, ...] = ()


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
        """All fields but the nodes' raw samples, which are many and have a compact place in the store; for JSON."""
        nodes = [dataclasses.asdict(dataclasses.replace(node, samples_s=())) for node in self.nodes]
        return {
            "timing": self.timing.to_dict(),
            "nodes": nodes,
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
                    "operator": Operator.from_dict(node["operator"]) if node["operator"] else None,
                    "samples_s": (),
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
    samples_s = remove_waits(durations_s, np.asarray(waits_s))
    computed = computed_nodes(model, raw, reply["graph"])
    operators = describe_operators(model, raw, computed, reply["graph"])
    unique = _number_repeats([names[0] for names in computed])
    described = (
        dataclasses.replace(_describe_node(name, node), fused=names[1:], operator=operator)
        for name, names, node, operator in zip(unique, computed, raw, operators, strict=True)
    )
    times_s = stats.trim_mean(samples_s, MIDDLE_TRIM, axis=1)
    return tuple(
        dataclasses.replace(node, time_s=float(time_s), samples_s=tuple(samples.tolist()))
        for node, time_s, samples in zip(described, times_s, samples_s, strict=True)
    )


def remove_waits(durations_s: np.ndarray, waits_s: np.ndarray) -> np.ndarray:
    """Take the time without a core out of the nodes that it fell into.

    The kernel tells how long a run waited, not where. A wait is as long as another process's turn, which is
    milliseconds, so it is taken from the nodes that exceed their own fastest run most, and never below that. (Their
    lower quartile, in place of the fastest run, holds waits itself where most runs of a long node are interrupted: with
    thirteen processes on two cores it made YOLOv8n's nodes up to 27 % too long, docs/measuring.md.)

    Args:
        durations_s: (nodes, runs).
        waits_s: (runs,).

    Returns:
        (nodes, runs), a new array.
    """
    excess = durations_s - durations_s.min(axis=1, keepdims=True)  # (nodes, runs)
    order = np.argsort(-excess, axis=0)
    ordered = np.take_along_axis(excess, order, axis=0)
    before = np.cumsum(ordered, axis=0) - ordered  # what larger excesses have used up of the run's wait
    cuts = np.clip(waits_s - before, 0, ordered)
    corrected = durations_s.copy()
    np.put_along_axis(corrected, order, np.take_along_axis(durations_s, order, axis=0) - cuts, axis=0)
    return corrected


def _describe_node(name: str, node: Mapping[str, Any]) -> NodeTime:
    """The node without its times."""
    inputs, outputs = _read_shapes(node["inputs"]), _read_shapes(node["outputs"])
    output_numel = sum(math.prod(shape) for shape in outputs)
    if any(word in node["op"] for word in _ONE_ACTIVATION):
        input_numel = math.prod(inputs[0])
    else:
        input_numel = node["activation_bytes"] // _item_bytes(node["inputs"])
    return NodeTime(name, node["op"], inputs, outputs, input_numel, output_numel, time_s=0.0)


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
