"""In which precision a model's file is written, and whether a profile takes it."""

from __future__ import annotations

from pathlib import Path

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.node_names import require_onnx

_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"})


def read_precision(path: Path) -> str | None:
    """``int8`` with quantised nodes, ``fp16`` with weights of that type, else ``fp32``; None where nothing tells.

    Of OpenVINO's files only INT8 can be told: the type of their weights is that of storage.
    """
    if path.suffix == ".xml":
        return "int8" if 'type="FakeQuantize"' in path.read_text(encoding="utf-8", errors="replace") else None
    if path.suffix != ".onnx":
        return None
    onnx = require_onnx()
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception:  # what protobuf raises has no class in common; the engine will say what is wrong with the file
        return None
    if any(node.op_type in _QUANTISED for node in graph.node):
        return "int8"
    half = any(one.data_type == onnx.TensorProto.FLOAT16 and len(one.dims) > 1 for one in graph.initializer)
    return "fp16" if half else "fp32"


def require_precision(model: Path, profile: HardwareProfile) -> str | None:
    """The precision that a file is written in (``read_precision``), refused where the profile asks for another.

    A profile that asks for FP32 takes all: it may be the question what another file is worth.

    Raises:
        InputError: says both.
    """
    wanted = profile.file_precision
    if profile.engine not in ("onnxruntime", "openvino"):  # TensorRT's files are looked at where they are prepared
        return None
    try:
        found = read_precision(model)
    except MissingDependencyError:
        return None
    if wanted != "fp32" and found not in (wanted, None):
        raise InputError(
            f"{model} does not fit the profile {profile.name!r}: it is written in {found}, and the profile's precision "
            f"is {wanted}; write it in {wanted}: deploy-prune export MODEL --precision {wanted}"
        )
    return found
