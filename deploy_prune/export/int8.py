"""INT8 versions of an exported file, made by ONNX Runtime's own quantiser."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from deploy_prune.errors import ExportError, MissingDependencyError
from deploy_prune.export.onnx import copy_metadata, input_names, load_shaped

QUANTISED = ("Conv", "MatMul", "Gemm")
"""Operators that compute in INT8; the rest stays float, which was faster than quantising all (docs/report.md)."""
PERCENTILE = 99.999
"""Per cent of an activation's values that its range holds, where ranges are percentiles; ONNX Runtime's default."""

Calibration = Literal["minmax", "entropy", "percentile"]
"""How the range of an activation is found: all values, the least information lost, or all but the outermost."""


@dataclass(frozen=True)
class Scheme:
    """The integers that an engine has kernels for; weights are int8, symmetric and per channel in all of them.

    Attributes:
        name: of the scheme, activations first: ``u8s8``.
        signed: whether activations are int8 around zero; otherwise they are uint8 with a zero point.
        int32_biases: whether biases are quantised too, as ONNX Runtime's kernels take them; TensorRT takes float ones.
        float_weights: whether weights stay float with a pair of Q and DQ nodes behind them, which TensorRT folds.
        reduced: whether weights have 7 bits, so that sums of products do not overflow 16 bits where a processor has no
            instruction of its own for them (x86 without VNNI).
    """

    name: str
    signed: bool = False
    int32_biases: bool = True
    float_weights: bool = False
    reduced: bool = False

    def options(self) -> dict[str, bool]:
        """The quantiser's extra options."""
        return {
            "WeightSymmetric": True,
            "ActivationSymmetric": self.signed,
            "CalibTensorRangeSymmetric": self.signed,
            "QuantizeBias": self.int32_biases,
            "AddQDQPairToWeight": self.float_weights,
        }


X86 = Scheme("u8s8")
X86_WITHOUT_VNNI = Scheme("u8s7", reduced=True)
ARM = Scheme("s8s8", signed=True)
TENSORRT = Scheme("s8s8 for TensorRT", signed=True, int32_biases=False, float_weights=True)


def quantise_static(
    source: Path,
    target: Path,
    inputs: Tensor,
    *,
    scheme: Scheme = X86,
    calibration: Calibration = "minmax",
    keep: Collection[str] | None = None,
) -> Path:
    """Write ``source`` with INT8 weights per channel and activations calibrated on ``inputs`` (n, ...).

    Which integers an engine computes with is for ``scheme`` to say: ONNX Runtime has uint8 by int8 kernels for x86, and
    leaves convolutions of its default, int8 by int8, in float there.

    Args:
        source: the exported file, of one input.
        target: where the quantised one goes; whole or not at all.
        inputs: what the network is used on, one after the other.
        scheme: the integers.
        calibration: how ranges are found.
        keep: names of nodes that stay float; None: ``last_products``.

    Raises:
        ExportError: the quantiser refuses the file.
        MissingDependencyError: onnxruntime is not installed.
    """
    tools, _ = _require_quantiser()
    methods = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}

    def write(prepared: Path, written: Path) -> None:
        nodes, shapes, _ = load_shaped(prepared)
        tools.quantize_static(
            str(prepared), str(written), _reader(tools, prepared, inputs),
            quant_format=tools.QuantFormat.QDQ, weight_type=tools.QuantType.QInt8, per_channel=True,
            activation_type=tools.QuantType.QInt8 if scheme.signed else tools.QuantType.QUInt8,
            reduce_range=scheme.reduced, op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=list(last_products(nodes, shapes) if keep is None else keep),
            calibrate_method=getattr(tools.CalibrationMethod, methods[calibration]),
            # ranges are merged after every input: all activations of all inputs at once would fill the memory
            extra_options={**scheme.options(), "CalibPercentile": PERCENTILE, "CalibStridedMinMax": 1},
        )  # fmt: skip

    return _quantise(source, target, write)


def quantise_dynamic(source: Path, target: Path) -> Path:
    """Write ``source`` with INT8 weights of matrix products, whose activations are quantised as they come.

    Raises:
        ExportError, MissingDependencyError: see :func:`quantise_static`.
    """
    tools, _ = _require_quantiser()

    def write(prepared: Path, written: Path) -> None:
        tools.quantize_dynamic(
            str(prepared), str(written), op_types_to_quantize=["MatMul", "Gemm"], per_channel=True,
            weight_type=tools.QuantType.QInt8,
        )  # fmt: skip

    return _quantise(source, target, write)


def has_products(source: Path) -> bool:
    """Whether a file has matrix products, without which nothing is quantised dynamically."""
    nodes, _, _ = load_shaped(source)
    return sum(node.op_type in ("MatMul", "Gemm") for node in nodes) > 1


def float_nodes(source: Path) -> list[str]:
    """The ``last_products`` of a file."""
    nodes, shapes, _ = load_shaped(source)
    return last_products(nodes, shapes)


def last_products(nodes: tuple[Any, ...], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Names of the convolutions and products (``onnx.NodeProto``) that nothing learned of their kind comes after.

    A convolution to a single channel does not count as learned: so YOLO's box decoding takes the mean of a
    distribution, and the convolution before that is the one that predicts. ``shapes`` are those of the weights.
    """
    feeds: set[str] = set()  # tensors that a product comes after
    last = []
    for node in reversed(nodes):
        followed = any(tensor in feeds for tensor in node.output)
        if node.op_type in QUANTISED and not followed:
            last.append(node.name)
        decodes = node.op_type == "Conv" and not followed and shapes.get(node.input[1], (0,))[0] == 1
        if (node.op_type in QUANTISED and not decodes) or followed:
            feeds.update(node.input)
    return last[::-1]


def _quantise(source: Path, target: Path, write: Callable[[Path, Path], None]) -> Path:
    """Prepare a file for the quantiser, let it write its own, and give that the file's properties."""
    _, prepare = _require_quantiser()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        prepared, written = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the quantiser prints its progress
                prepare(str(source), str(prepared), skip_symbolic_shape=True)
                write(prepared, written)
        except Exception as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise ExportError(f"ONNX Runtime cannot quantise {source.name}: {reason}") from error
        copy_metadata(source, written)
        return written.replace(target)


def _reader(tools: Any, prepared: Path, inputs: Tensor) -> Any:
    """The quantiser's source of calibration data: one input at a time."""
    names = input_names(prepared)
    if len(names) != 1:
        raise ExportError(f"it has the inputs {', '.join(names)}, expected a single one")

    class Reader(tools.CalibrationDataReader):
        def __init__(self) -> None:
            self.set_range(0, len(inputs))

        def __len__(self) -> int:
            return len(inputs)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left: Iterator[np.ndarray] = iter([one.numpy() for one in inputs[start_index:end_index].split(1)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            one = next(self._left, None)
            return None if one is None else {names[0]: one}

    return Reader()


def _require_quantiser() -> tuple[Any, Any]:
    try:
        import onnxruntime.quantization as tools
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingDependencyError(f"INT8 needs {error.name}; run: pip install 'deploy_prune[onnx]'") from error
    return tools, quant_pre_process
