"""What each node of an exported file computes: multiply-accumulates and output channels, from its shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy_prune.export.onnx import load_shaped

Shape = tuple[int, ...]


@dataclass(frozen=True)
class NodeWork:
    """Multiply-accumulates, real output channels and real output elements of one exported node."""

    macs: int
    channels: int
    output_numel: int


def read_work(path: Path) -> dict[str, NodeWork]:
    """The work of every node of an ONNX file of fixed shapes that multiplies, by its name.

    MACs are those of ``count``: convolutions and matrix products, without biases. Recurrent layers and operators of
    other domains count nothing here, and nodes whose shapes ONNX's shape inference does not find are left out.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    nodes, shapes = load_shaped(path)
    work = {}
    for node in nodes:
        if node.op_type in _COUNTS and all(name in shapes for name in (*node.input[:2], node.output[0])):
            inputs = [shapes[name] for name in node.input[:2]]
            work[node.name] = _COUNTS[node.op_type](inputs, shapes[node.output[0]])
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
