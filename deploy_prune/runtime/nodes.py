"""Time per node of a model, from the engine's own profile."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from deploy_prune.runtime.node_names import exported_names
from deploy_prune.runtime.timing import Timing

# Operators with one activation input; what else they read are weights, or a residual added on the way out.
_ONE_ACTIVATION = ("Conv", "MatMul", "Gemm")
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

    ``name`` is that of the exported model's node that it computes, the same at every width; ``op`` is the
    engine's operator. ``input_numel`` counts the elements of the activations read (Conv, MatMul, Gemm: of
    input 0; others: of all inputs that are no weights), ``output_numel`` those written. Shapes are the
    engine's, so blocked layouts show their padding. ``time_s`` is the node's median kernel time in seconds.
    """

    name: str
    op: str
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    input_numel: int
    output_numel: int
    time_s: float


@dataclasses.dataclass(frozen=True)
class NodeProfile:
    """A model's nodes in order of execution, and its timing without profiling, taken by turns with it.

    ``profiled_s`` is the median of whole runs with profiling on, in seconds; what it exceeds ``nodes_s`` by
    is the engine's work between nodes and that of profiling itself.
    """

    timing: Timing
    nodes: tuple[NodeTime, ...]
    profiled_s: float

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
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NodeProfile:
        """The inverse of ``to_dict``, also after a way through JSON."""
        nodes = tuple(
            NodeTime(
                **{
                    **node,
                    "input_shapes": tuple(map(tuple, node["input_shapes"])),
                    "output_shapes": tuple(map(tuple, node["output_shapes"])),
                }
            )
            for node in data["nodes"]
        )
        return cls(Timing.from_dict(data["timing"]), nodes, data["profiled_s"])


def read_nodes(model: Path, reply: Mapping[str, Any], kept_runs: Sequence[int]) -> tuple[NodeTime, ...]:
    """Node times from a worker's ``nodes`` reply.

    Args:
        model: the exported file, for the nodes' names.
        reply: ``nodes`` (in order of execution, each with its microseconds in every run) and ``graph``.
        kept_runs: the runs that count, by position.
    """
    names = exported_names(model, base64.b64decode(reply["graph"]))
    used: dict[str, int] = {}
    nodes = []
    for node in reply["nodes"]:
        name = names.get(node["name"], node["name"])
        used[name] = used.get(name, 0) + 1
        if used[name] > 1:
            name = f"{name}#{used[name]}"
        nodes.append(_read_node(name, node, kept_runs))
    return tuple(nodes)


def _read_node(name: str, node: Mapping[str, Any], kept_runs: Sequence[int]) -> NodeTime:
    inputs, outputs = _read_shapes(node["inputs"]), _read_shapes(node["outputs"])
    output_numel = sum(math.prod(shape) for shape in outputs)
    input_numel = math.prod(inputs[0]) if inputs else 0
    if not any(word in node["op"] for word in _ONE_ACTIVATION):
        input_numel = node["activation_bytes"] // _item_bytes(node["inputs"])
    durations_s = [node["durations_us"][run] / 1e6 for run in kept_runs]
    return NodeTime(name, node["op"], inputs, outputs, input_numel, output_numel, middle_mean(durations_s))


def middle_mean(values: Sequence[float]) -> float:
    """Mean of the middle half: deaf to outliers as the median is, and finer than whole microseconds.

    The engine reports whole microseconds and many nodes take two or three, where a plain median would be off
    by up to a fifth.
    """
    return float(stats.trim_mean(values, 0.25))


def _read_shapes(tensors: Sequence[Mapping[str, Sequence[int]]]) -> tuple[tuple[int, ...], ...]:
    """``[{"float": [1, 3, 8, 8]}, ...]`` without the types."""
    return tuple(tuple(shape) for tensor in tensors for shape in tensor.values())


def _item_bytes(tensors: Sequence[Mapping[str, Sequence[int]]]) -> int:
    return _ITEM_BYTES.get(next(iter(tensors[0])), 1) if tensors else 1
