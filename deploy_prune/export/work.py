"""What each node of an exported file computes: multiply-accumulates and output channels, from its shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploy_prune.export.onnx import load_shaped

Shape = tuple[int, ...]


@dataclass(frozen=True)
class NodeWork:
    """What one exported node computes.

    Attributes:
        macs: multiply-accumulates.
        channels: of its output.
        output_numel: elements of its output.
        weights: elements of the weight that it multiplies with; 0 for a product of two activations.
    """

    macs: int
    channels: int
    output_numel: int
    weights: int = 0


def read_work(path: Path) -> dict[str, NodeWork]:
    """The work of every node of an ONNX file of fixed shapes that multiplies, by its name.

    MACs are those of ``count``: convolutions and matrix products, without biases. Recurrent layers and operators of
    other domains count nothing here, and nodes whose shapes ONNX's shape inference does not find are left out.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    nodes, shapes, constants = load_shaped(path)
    constants |= {n.output[0] for n in nodes if n.op_type == "DequantizeLinear" and n.input[0] in constants}
    work = {}
    for node in nodes:
        if node.op_type in _COUNTS and all(name in shapes for name in (*node.input[:2], node.output[0])):
            inputs = [shapes[name] for name in node.input[:2]]
            found = _COUNTS[node.op_type](inputs, shapes[node.output[0]])
            weights = sum(math.prod(shapes[name]) for name in node.input[:2] if name in constants)
            work[node.name] = replace(found, weights=weights)
    return work


def _convolution(inputs: list[Shape], output: Shape) -> NodeWork:
    """Weight (out, in / groups, ...): each output element takes the weights of its channel."""
    return NodeWork(math.prod(output) * math.prod(inputs[1][1:]), output[1], math.prod(output))


def _transposed(inputs: list[Shape], output: Shape) -> NodeWork:
    """Weight (in, out / groups, ...): each input element takes the weights of its channel."""
    return NodeWork(math.prod(inputs[0]) * math.prod(inputs[1][1:]), output[1], math.prod(output))


def _product(inputs: list[Shape], output: Shape) -> NodeWork:
    """(..., n, k) by (..., k, m)."""
    return NodeWork(math.prod(output) * inputs[0][-1], output[-1], math.prod(output))


def _gemm(inputs: list[Shape], output: Shape) -> NodeWork:
    """(n, k) by (k, m), either of them transposed: n m k is n k times m."""
    return NodeWork(math.prod(inputs[0]) * output[1], output[1], math.prod(output))


_COUNTS: Mapping[str, Callable[[list[Shape], Shape], NodeWork]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MatMul": _product,
    "Gemm": _gemm,
}
