"""Write plain PyTorch modules as ONNX files that boards can read."""

import dataclasses
import hashlib
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deploy_prune.errors import ExportError, MissingDependencyError

# ONNX Runtime 1.19, the newest for Python 3.8 boards, reads IR 10 and no later one.
NEWEST_IR = 10


def export_onnx(
    model: nn.Module,
    example_inputs: Tensor,
    path: Path,
    *,
    opset: int = 17,
    metadata: Mapping[str, str] | None = None,
    simplify: bool = True,
    dynamic: bool = False,
) -> Path:
    """Write ``model`` in eval mode as one ONNX file of the input shape of ``example_inputs`` (n, ...).

    The TorchScript-based exporter is used because it names nodes after modules (``/layer1/conv1/Conv``), so
    that measured times find their layer. The module's mode is restored. The file appears whole or not at all.

    Args:
        model: the module to export.
        example_inputs: one input; its shape becomes the file's input shape, but for what ``dynamic`` leaves open.
        path: where the file goes; its folder is made.
        opset: 18 or less, for the kernels of the runtimes in use.
        metadata: written into the file as its properties.
        simplify: fold constants and drop nodes without effect.
        dynamic: leave the axes ``batch`` and, of pictures, ``height`` and ``width`` open. A module that computes with
            its input's size as a number gets the file that computes with this size (``parity`` notices).

    Raises:
        ExportError: the module cannot be traced or simplified.
        MissingDependencyError: onnx or onnxslim is not installed.
    """
    onnx, slim = _require_onnx()
    path.parent.mkdir(parents=True, exist_ok=True)
    was_training, was_fast = model.training, torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # attention as one operator that ONNX does not have
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        raw = Path(folder) / "raw.onnx"
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecation of this exporter; tracer notes on static shapes
                torch.onnx.export(model, (example_inputs,), str(raw), opset_version=opset, dynamo=False,
                                  input_names=["input"], dynamic_axes={"input": _open_axes(example_inputs)}
                                  if dynamic else None)  # fmt: skip
            exported = slim(onnx.load(raw)) if simplify else onnx.load(raw)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise ExportError(f"{type(model).__name__} cannot be exported to ONNX opset {opset}: {reason}") from error
        finally:
            model.train(was_training)
            torch.backends.mha.set_fastpath_enabled(was_fast)
        exported.ir_version = min(exported.ir_version, NEWEST_IR)
        set_metadata(exported, metadata or {})
        onnx.save(exported, raw)
        raw.replace(path)
    return path


def _open_axes(inputs: Tensor) -> dict[int, str]:
    """The axes of pictures that a dynamic file leaves open; of anything else the first."""
    return {0: "batch", 2: "height", 3: "width"} if inputs.ndim == 4 else {0: "batch"}


def set_metadata(exported: Any, metadata: Mapping[str, str]) -> None:
    """Add ``metadata`` to the properties of an ``onnx.ModelProto``, in place; same keys are overwritten."""
    kept = {entry.key: entry.value for entry in exported.metadata_props} | dict(metadata)
    del exported.metadata_props[:]
    for key, value in kept.items():
        exported.metadata_props.add(key=key, value=value)


def copy_metadata(source: Path, target: Path) -> None:
    """Give one ONNX file the properties of another, in place."""
    onnx, _ = _require_onnx()
    written = onnx.load(target)
    set_metadata(written, {entry.key: entry.value for entry in onnx.load(source).metadata_props})
    onnx.save(written, target)


def rewrite_onnx(source: Path, target: Path, change: Callable[[Any], Any]) -> Path:
    """Write what ``change`` makes of a file's ``onnx.ModelProto``, with the file's properties; whole or not at all.

    Raises:
        ExportError: the file is no ONNX model.
        MissingDependencyError: onnx is not installed.
    """
    onnx, _ = _require_onnx()
    try:
        loaded = onnx.load(source)
    except Exception as error:  # what protobuf raises has no class in common
        raise ExportError(f"{source} is not an ONNX model: {' '.join(str(error).split())}") from error
    properties = {entry.key: entry.value for entry in loaded.metadata_props}
    changed = change(loaded)
    set_metadata(changed, properties)
    changed.ir_version = min(changed.ir_version, NEWEST_IR)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    onnx.save(changed, temporary)
    return temporary.replace(target)


def input_names(path: Path) -> tuple[str, ...]:
    """Names of an ONNX file's inputs."""
    onnx, _ = _require_onnx()
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return tuple(value.name for value in graph.input if value.name not in weights)


def read_operators(path: Path) -> list[str]:
    """The operators of an ONNX file's nodes, in order."""
    onnx, _ = _require_onnx()
    return [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]


def graph_digest(path: Path) -> str:
    """sha256 of an ONNX file without the values of its weights: operators, attributes, connections and shapes."""
    onnx, _ = _require_onnx()
    graph = onnx.load(path, load_external_data=False).graph
    for tensor in graph.initializer:
        shape, kind, name = list(tensor.dims), tensor.data_type, tensor.name
        tensor.Clear()
        tensor.dims.extend(shape)
        tensor.data_type, tensor.name = kind, name
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()


@dataclasses.dataclass(frozen=True)
class OnnxNode:
    """A node of a file, in the file's order: names of the activations that it reads and writes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class OnnxFlow:
    """The activations of a file: its nodes in order, each tensor's bytes, and the names of inputs and outputs."""

    nodes: tuple[OnnxNode, ...]
    sizes_bytes: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_flow(path: Path) -> OnnxFlow:
    """The activations of an ONNX file of fixed input shapes, by shape inference; weights and constants are left out.

    Raises:
        ExportError: the size of an activation cannot be inferred.
    """
    onnx, _ = _require_onnx()
    graph = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False)).graph
    fixed = {tensor.name for tensor in graph.initializer}
    fixed |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    infos = {info.name: info.type.tensor_type for info in (*graph.input, *graph.value_info, *graph.output)}
    nodes = tuple(
        OnnxNode(node.op_type, tuple(n for n in node.input if n and n not in fixed), tuple(filter(None, node.output)))
        for node in graph.node
        if node.op_type != "Constant"
    )
    inputs = tuple(info.name for info in graph.input if info.name not in fixed)
    named = (*inputs, *(name for node in nodes for name in node.outputs))
    sizes = {name: _size_bytes(onnx, name, infos.get(name), path) for name in named}
    return OnnxFlow(nodes, sizes, inputs, tuple(info.name for info in graph.output))


def _size_bytes(onnx: Any, name: str, kind: Any, path: Path) -> int:
    dims = [d.dim_value for d in kind.shape.dim] if kind is not None and kind.HasField("shape") else [0]
    if kind is None or not kind.elem_type or not all(dims):
        raise ExportError(f"{path.name}: the size of tensor {name!r} cannot be inferred; export with fixed shapes")
    return math.prod(dims) * int(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize)


def load_shaped(path: Path) -> tuple[tuple[Any, ...], dict[str, tuple[int, ...]], frozenset[str]]:
    """The nodes (``onnx.NodeProto``) of a file in order, the shape of every tensor of a fixed one, the weights' names.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    onnx, _ = _require_onnx()
    loaded = onnx.load(path)
    graph = onnx.shape_inference.infer_shapes(loaded, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        axes = value.type.tensor_type.shape.dim
        if all(axis.HasField("dim_value") for axis in axes):
            shapes[value.name] = tuple(axis.dim_value for axis in axes)
    return tuple(graph.node), shapes, frozenset(tensor.name for tensor in graph.initializer)


def _require_onnx() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxslim
    except ImportError as error:
        raise MissingDependencyError(
            f"export needs the package {error.name}; run: pip install 'deploy_prune[onnx]'"
        ) from error
    logging.getLogger("onnxslim").setLevel(logging.ERROR)
    return onnx, onnxslim.slim
