"""What each executed node is: operator, attributes, what is fused into it, and the shape of its weights.

ONNX Runtime's optimised graph tells attributes and activations, the exported file operators and weights (the engine
pads those). OpenVINO tells which exported nodes it computes, whose operators and attributes count then.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy_prune.runtime.node_names import require_onnx

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]
# What ONNX says of a node that does not have them; one engine writes them out and another does not.
_DEFAULTS: Mapping[str, Any] = {
    "auto_pad": "NOTSET",
    "ceil_mode": 0,
    "channels_last": 0,
    "dilations": 1,
    "group": 1,
    "pads": 0,
    "storage_order": 0,
    "strides": 1,
}
# ONNX Runtime's convolutions read a residual to add as their fourth input.
_RESIDUAL_INPUT = 3


@dataclasses.dataclass(frozen=True)
class Operator:
    """What a node computes.

    ``kind`` is the exported node's ONNX operator, or the engine's own where it computes none of the file's.
    ``attributes`` are those that differ from ONNX's defaults, by name; tensors and graphs are left out. ``fused`` are
    the operators that are computed in the same pass, ``weight_shape`` that of the exported node's weights, if any.
    """

    kind: str
    attributes: tuple[tuple[str, Attribute], ...] = ()
    fused: tuple[str, ...] = ()
    weight_shape: tuple[int, ...] | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Operator:
        """The inverse of ``dataclasses.asdict``, also after a way through JSON."""
        attributes = tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in data["attributes"])
        shape = data["weight_shape"]
        return cls(data["kind"], attributes, tuple(data["fused"]), None if shape is None else tuple(shape))


def describe_operators(
    model: Path, raw: Sequence[Mapping[str, Any]], computed: Sequence[tuple[str, ...]], graph: str | None
) -> list[Operator]:
    """One operator per executed node.

    Args:
        model: the exported file; what is no ONNX file tells nothing, and the engine's operators stay.
        raw: node records of the worker.
        computed: for each of them the exported nodes that it computes, see ``computed_nodes``.
        graph: the engine's optimised graph as a serialised ONNX model in base64, None where there is none.
    """
    onnx = require_onnx()
    exported = onnx.load(model, load_external_data=False).graph if model.suffix == ".onnx" else onnx.GraphProto()
    nodes = {node.name: node for node in exported.node}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in exported.initializer}
    stored = [node for node in exported.node if node.op_type == "DequantizeLinear" and node.input[0] in shapes]
    shapes |= {node.output[0]: shapes[node.input[0]] for node in stored}
    if graph is not None:
        optimised = {node.name: node for node in onnx.load_from_string(base64.b64decode(graph)).graph.node}
        pairs = ((optimised.get(node["name"]), nodes.get(names[0])) for node, names in zip(raw, computed, strict=True))
        found = [(run, own, _fused_by_onnxruntime(run)) for run, own in pairs]
    else:
        found = []
        for names in computed:
            own, *others = (nodes.get(name) for name in names)
            found.append((own, own, tuple(node.op_type for node in others if node is not None)))
    return [
        Operator(
            kind=own.op_type if own is not None else node["op"],
            attributes=() if run is None else _read_attributes(run, own),
            fused=fused,
            weight_shape=None if own is None else _weight_shape(own, shapes),
        )
        for node, (run, own, fused) in zip(raw, found, strict=True)
    ]


def _fused_by_onnxruntime(node: Any) -> tuple[str, ...]:
    """A residual sum and the activation."""
    if node is None:
        return ()
    activations = [a.s.decode() for a in node.attribute if a.name == "activation"]
    is_convolution = node.op_type in ("Conv", "FusedConv")
    adds = is_convolution and len(node.input) > _RESIDUAL_INPUT and bool(node.input[_RESIDUAL_INPUT])
    return (*(["Add"] if adds else []), *activations)


def _read_attributes(node: Any, exported: Any) -> tuple[tuple[str, Attribute], ...]:
    """Numbers, texts and lists of numbers, sorted by name; groups as exported, since an engine pads their number."""
    found: dict[str, Attribute] = {}
    groups = (node if exported is None else exported).attribute
    for attribute in (*(a for a in node.attribute if a.name != "group"), *(a for a in groups if a.name == "group")):
        value = _read_value(attribute)
        if value is not None and not _is_default(attribute.name, value):
            found[attribute.name] = value
    return tuple(sorted(found.items()))


def _read_value(attribute: Any) -> Attribute | None:
    kind = attribute.AttributeType.Name(attribute.type)
    if kind in ("INT", "FLOAT"):
        value: int | float = attribute.i if kind == "INT" else attribute.f
        return value
    if kind == "STRING":
        return str(attribute.s.decode(errors="replace"))
    return tuple(attribute.ints or attribute.floats) if kind in ("INTS", "FLOATS") else None


def _is_default(name: str, value: Attribute) -> bool:
    if name not in _DEFAULTS:
        return False
    return all(part == _DEFAULTS[name] for part in (value if isinstance(value, tuple) else (value,)))


def _weight_shape(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape of the second input where that is stored in the file."""
    return shapes.get(node.input[1]) if len(node.input) > 1 else None
