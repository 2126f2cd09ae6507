"""A model as TensorRT's tools can take it: inputs told beside it, and node names that survive their reports.

trtexec writes layer names into JSON without escaping them, and joins the names of fused nodes by " + " and brackets. So
each node's name has to be one of its own and of plain characters; where the file's are not, a copy is written whose
are, and what the engine says of these is said of the file's own.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy_prune.errors import InputError
from deploy_prune.runtime.node_names import require_onnx

_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9_./-]+")
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# onnx.TensorProto.DataType -> NumPy's names, of what inputs are made of
_KINDS = {"FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BOOL": "bool"}


@dataclasses.dataclass(frozen=True)
class PlainModel:
    """A file with plain node names, and what its names and inputs are.

    ``inputs`` has name, NumPy type and sizes of each input, a dynamic axis by its name. ``renamed`` leads from the
    names in this file to the exported ones, where they differ. ``weighted`` are the exported nodes that hold the
    weights, one of which names a layer that fuses several nodes; ``quantised`` tells whether there are Q/DQ nodes.
    """

    path: Path
    inputs: tuple[tuple[str, str, tuple[int | str, ...]], ...]
    renamed: Mapping[str, str]
    weighted: frozenset[str]
    quantised: bool

    def restore(self, reply: Mapping[str, Any]) -> dict[str, Any]:
        """A worker's ``nodes`` reply under the exported names, weighted nodes first in each layer."""
        nodes = []
        for node in reply["nodes"]:
            layers = [self.renamed.get(name, name) for name in node["layers"]]
            source = self.renamed.get(node["source"], node["source"])
            ordered = sorted(layers, key=lambda name: name not in self.weighted)
            nodes.append({**node, "layers": ordered, "source": source})
        return {**reply, "nodes": nodes}


def make_plain(model: Path, folder: Path) -> PlainModel:
    """The model itself where its names are plain and it is one file, else a copy in ``folder``.

    Raises:
        InputError: the file cannot be read as ONNX.
        MissingDependencyError: onnx is not installed.
    """
    onnx = require_onnx()
    try:
        proto = onnx.load(model, load_external_data=False)
    except Exception as error:  # what protobuf raises has no class in common
        reason = " ".join(str(error).split())
        raise InputError(f"{model} is not a model that tensorrt can run ({reason}); export it again") from error
    names = plain_names([node.name or (node.output[0] if node.output else "") for node in proto.graph.node])
    renamed = {new: node.name for new, node in zip(names, proto.graph.node, strict=True) if new != node.name}
    weighted = frozenset(node.name for node in proto.graph.node if node.op_type in _WEIGHTED)
    quantised = any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
    path = model
    if renamed or any(tensor.external_data for tensor in proto.graph.initializer):
        proto = onnx.load(model)
        for new, node in zip(names, proto.graph.node, strict=True):
            node.name = new
        path = folder / "model.onnx"
        onnx.save(proto, path)
    return PlainModel(path, _read_inputs(onnx, proto.graph), renamed, weighted, quantised)


def plain_names(names: list[str]) -> list[str]:
    """Names of plain characters, each once; those that are so already stay."""
    taken = {name for name in names if name and not _OTHER_CHARACTERS.search(name)}
    seen: set[str] = set()
    plain = []
    for name in names:
        new = candidate = _OTHER_CHARACTERS.sub("_", name) or "node"
        number = 1
        while new in seen or (new in taken and new != name):
            number += 1
            new = f"{candidate}-{number}"
        seen.add(new)
        plain.append(new)
    return plain


def _read_inputs(onnx: Any, graph: Any) -> tuple[tuple[str, str, tuple[int | str, ...]], ...]:
    """The inputs that are no weights."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = []
    for entry in graph.input:
        if entry.name in weights:
            continue
        tensor = entry.type.tensor_type
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        axes = enumerate(tensor.shape.dim)
        shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or f"axis {k}" for k, d in axes)
        inputs.append((entry.name, _KINDS.get(kind, kind.lower()), shape))
    return tuple(inputs)
