"""In which precision a model's file is written."""

from __future__ import annotations

from pathlib import Path

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
