"""Which kernels ONNX Runtime really takes for a file: what was quantised may still be computed in float."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy_prune.export.session import optimised_operators

_MULTIPLYING = ("Conv", "MatMul", "Gemm")
_INTEGER = ("QLinearConv", "QLinearMatMul", "QGemm", "Integer", "DynamicQuantizeMatMul")  # ONNX Runtime's names


@dataclass(frozen=True)
class Kernels:
    """The convolutions and matrix products of a file as ONNX Runtime executes them.

    ``integer`` counts those that compute in INT8 by their operator (``{"QLinearConv": 57}``), ``multiplying`` all of
    them, whatever their type.
    """

    integer: dict[str, int]
    multiplying: int

    def __str__(self) -> str:
        listed = ", ".join(f"{count} {name}" for name, count in sorted(self.integer.items()))
        return f"{sum(self.integer.values())} of {self.multiplying} convolutions and products in INT8" + (
            f" ({listed})" if listed else ""
        )


def read_kernels(path: Path) -> Kernels:
    """Let ONNX Runtime optimise a file for this processor, and count what is left.

    Raises:
        ExportError: it cannot be opened.
        MissingDependencyError: onnxruntime or onnx is not installed.
    """
    return count_kernels(optimised_operators(path))


def count_kernels(operators: Iterable[str]) -> Kernels:
    """The same from the executed operators, as ONNX Runtime names them."""
    counted = collections.Counter(op for op in operators if any(word in op for word in _MULTIPLYING))
    integer = {op: count for op, count in counted.items() if any(word in op for word in _INTEGER)}
    return Kernels(integer, counted.total())
