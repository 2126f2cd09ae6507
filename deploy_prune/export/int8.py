"""INT8 versions of an exported file, made by ONNX Runtime's own quantiser."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from deploy_prune.errors import ExportError, MissingDependencyError
from deploy_prune.export.onnx import copy_metadata, input_names, load_shaped

QUANTISED = ("Conv", "MatMul", "Gemm")
"""Operators that compute in INT8; the rest stays float, which was faster than quantising all (docs/report.md)."""


def quantise_static(source: Path, target: Path, inputs: Tensor) -> Path:
    """Write ``source`` with INT8 weights per channel and activations calibrated on ``inputs`` (n, ...).

    Activations are uint8 and weights int8: x86 kernels exist for this pair, while ONNX Runtime leaves convolutions of
    its default, int8 by int8, in float there. The last product before each output stays float.

    Raises:
        ExportError: the quantiser refuses the file.
        MissingDependencyError: onnxruntime is not installed.
    """
    tools, prepare = _require_quantiser()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        prepared, written = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        try:
            prepare(str(source), str(prepared), skip_symbolic_shape=True)
            nodes, _, _ = load_shaped(prepared)
            tools.quantize_static(
                str(prepared), str(written), _reader(tools, prepared, inputs),
                quant_format=tools.QuantFormat.QDQ, activation_type=tools.QuantType.QUInt8,
                weight_type=tools.QuantType.QInt8, per_channel=True, op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=last_products(nodes),
            )  # fmt: skip
        except Exception as error:
            raise _refused(source, error) from error
        copy_metadata(source, written)
        return written.replace(target)


def quantise_dynamic(source: Path, target: Path) -> Path:
    """Write ``source`` with INT8 weights of matrix products, whose activations are quantised as they come.

    Raises:
        ExportError, MissingDependencyError: see :func:`quantise_static`.
    """
    tools, prepare = _require_quantiser()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        prepared, written = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        try:
            prepare(str(source), str(prepared), skip_symbolic_shape=True)
            tools.quantize_dynamic(
                str(prepared), str(written), op_types_to_quantize=["MatMul", "Gemm"], per_channel=True,
                weight_type=tools.QuantType.QInt8,
            )  # fmt: skip
        except Exception as error:
            raise _refused(source, error) from error
        copy_metadata(source, written)
        return written.replace(target)


def has_products(source: Path) -> bool:
    """Whether a file has matrix products, without which nothing is quantised dynamically."""
    nodes, _, _ = load_shaped(source)
    return sum(node.op_type in ("MatMul", "Gemm") for node in nodes) > 1


def last_products(nodes: tuple[Any, ...]) -> list[str]:
    """Names of the convolutions and products (``onnx.NodeProto``) that no other of them comes after."""
    feeds: set[str] = set()  # tensors that a product comes after
    last = []
    for node in reversed(nodes):
        followed = any(tensor in feeds for tensor in node.output)
        if node.op_type in QUANTISED and not followed:
            last.append(node.name)
        if node.op_type in QUANTISED or followed:
            feeds.update(node.input)
    return last[::-1]


def _reader(tools: Any, prepared: Path, inputs: Tensor) -> Any:
    """The quantiser's source of calibration data: one input at a time."""
    names = input_names(prepared)
    if len(names) != 1:
        raise ExportError(f"it has the inputs {', '.join(names)}, expected a single one")

    class Reader(tools.CalibrationDataReader):
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter([one.numpy() for one in inputs.split(1)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            one = next(self._left, None)
            return None if one is None else {names[0]: one}

    return Reader()


def _refused(source: Path, error: Exception) -> ExportError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return ExportError(f"ONNX Runtime cannot quantise {source.name}: {reason}")


def _require_quantiser() -> tuple[Any, Any]:
    try:
        import onnxruntime.quantization as tools
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingDependencyError(f"INT8 needs {error.name}; run: pip install 'deploy_prune[onnx]'") from error
    return tools, quant_pre_process
