"""OpenVINO IR: an ``.xml`` file with the graph and a ``.bin`` file with the weights, made from an ONNX file."""

from __future__ import annotations

import collections
import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deploy_prune.errors import ExportError, MissingDependencyError
from deploy_prune.export.int8 import last_products
from deploy_prune.export.kernels import Kernels
from deploy_prune.export.onnx import load_shaped

# The ONNX reader names a convolution after its node and a Gemm after its output; of either it splits the bias off.
_WITHOUT_BIAS = "/WithoutBiases"
_PRODUCTS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
_MULTIPLYING = ("Convolution", "FullyConnected", "MatMul", "Deconvolution")


def write_ir(source: Path, target: Path, *, float16: bool = False) -> Path:
    """Write an ONNX file as IR; with ``float16`` its weights are stored in half precision.

    That halves the ``.bin`` file. What the network is computed in is not said there: the engine's setting says it.

    Raises:
        ExportError: OpenVINO cannot convert the file.
        MissingDependencyError: openvino is not installed.
    """
    openvino = _require_openvino()
    return _save(openvino, _convert(openvino, source), target, float16=float16)


def write_int8_ir(source: Path, target: Path, inputs: Tensor) -> Path:
    """Write an ONNX file as IR in INT8, quantised by NNCF on ``inputs`` (n, ...).

    What lies between the last convolutions or products and the outputs, these included, stays float.

    Raises:
        ExportError: OpenVINO cannot convert the file, or NNCF not quantise it.
        MissingDependencyError: openvino or nncf is not installed.
    """
    openvino = _require_openvino()
    os.environ.setdefault("NNCF_CI", "1")  # read at its import: without it usage is reported to its makers
    try:
        import nncf
    except ImportError as error:
        raise MissingDependencyError(
            "INT8 for OpenVINO needs nncf; run: pip install 'deploy_prune[openvino]'"
        ) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)  # a line for each node that it leaves alone
    model = _convert(openvino, source)
    first, last = _heads(model, source)
    head = nncf.IgnoredScope(subgraphs=[nncf.Subgraph(inputs=first, outputs=last)] if first else [])
    data = nncf.Dataset([one.numpy() for one in inputs.split(1)])
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # progress bars
            quantised = nncf.quantize(model, data, subset_size=len(inputs), ignored_scope=head)
    except Exception as error:  # nncf's errors have no class in common
        raise ExportError(f"NNCF cannot quantise {source.name}: {_first_line(error)}") from error
    return _save(openvino, quantised, target, float16=False)


def _heads(model: Any, source: Path) -> tuple[list[str], list[str]]:
    """Names that OpenVINO gives to the last products of a file and to what makes its outputs, both sorted."""
    nodes, shapes, _ = load_shaped(source)
    products = set(last_products(nodes, shapes))
    kept = {name for node in nodes if node.name in products for name in (node.name, *node.output)}
    names = [op.get_friendly_name() for op in model.get_ops() if op.get_type_name() in _PRODUCTS]
    first = {name for name in names if name.removesuffix(_WITHOUT_BIAS) in kept}
    last = {result.input_value(0).get_node().get_friendly_name() for result in model.get_results()}
    return sorted(first), sorted(last)


def open_ir(path: Path) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """The function that an IR file computes on the CPU, in float32 where it is not quantised.

    Raises:
        ExportError: OpenVINO cannot read the file.
        MissingDependencyError: openvino is not installed.
    """
    compiled = _compile(_require_openvino(), path)

    def run(data: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found = compiled([data])
        return [np.array(found[output]) for output in compiled.outputs]

    return run


def read_ir_kernels(path: Path) -> Kernels:
    """The convolutions and products of an IR file as OpenVINO executes them here, by the precision that it names.

    Raises:
        ExportError, MissingDependencyError: see ``open_ir``.
    """
    compiled = _compile(_require_openvino(), path)
    ran: collections.Counter[str] = collections.Counter()
    for op in compiled.get_runtime_model().get_ops():
        about = op.get_rt_info()
        if about["layerType"].astype(str) in _MULTIPLYING:
            ran[about["runtimePrecision"].astype(str)] += 1
    integer = {f"{precision} layers": count for precision, count in ran.items() if precision in ("u8", "i8")}
    return Kernels(integer, ran.total())


def _compile(openvino: Any, path: Path) -> Any:
    try:
        return openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise ExportError(f"{path} is not a model that OpenVINO can open: {_first_line(error)}") from error


def _convert(openvino: Any, source: Path) -> Any:
    try:
        return openvino.Core().read_model(str(source))  # convert_model does no more for ONNX, but reports usage
    except Exception as error:
        raise ExportError(f"OpenVINO cannot convert {source.name}: {_first_line(error)}") from error


def _save(openvino: Any, model: Any, target: Path, *, float16: bool) -> Path:
    """Both files, the weights first: where there is an ``.xml``, its ``.bin`` is there too."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        written = Path(folder) / target.name
        openvino.save_model(model, str(written), compress_to_fp16=float16)
        written.with_suffix(".bin").replace(target.with_suffix(".bin"))
        return written.replace(target)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _require_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError(
            "OpenVINO's files need openvino; run: pip install 'deploy_prune[openvino]'"
        ) from error
    return openvino
