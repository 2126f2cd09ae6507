"""From the nodes of an engine's optimised graph back to the nodes of the exported model.

ONNX Runtime renames what it moves into its blocked layout, and whether a node moves there depends on its
width: a convolution is ``/conv1/Conv`` at 30 channels and ``/relu/Relu_output_0_nchwc`` at 32, and reorders
are numbered by a running count. Tables over many widths need one name per node, so each node is named after
the node of the exported model that it computes, and each reorder after the tensor that it converts.

Quantised convolutions move into a layout of channels last, between transposes that are numbered as well; their own
names get a number behind ``_token_``.

OpenVINO says itself which layers of the file each of its nodes computes. Its names are those of ONNX nodes, with
``/WithoutBiases`` behind a convolution whose bias was a node of its own, and of output tensors.
"""

from __future__ import annotations

import base64
import collections
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy_prune.errors import MissingDependencyError

_BLOCKED_SUFFIX = "_nchwc"
_TOKEN = re.compile(r"_token_\d+$")
_UNBIASED_SUFFIX = "/WithoutBiases"
# What ONNX Runtime folds into a convolution: activations and the residual sum.
_FOLDED = frozenset({"Add", "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "Mul", "BatchNormalization"})


def computed_nodes(model: Path, raw: Sequence[Mapping[str, Any]], graph: str | None) -> list[tuple[str, ...]]:
    """For each node that an engine executed the exported nodes that it computes, the one that names it first.

    Args:
        model: the exported file; without names of its own, such as OpenVINO's .xml, the engine's names stay.
        raw: node records of the worker.
        graph: the engine's optimised graph as a serialised ONNX model in base64, weights may be missing; None where
            the records have ``layers`` instead.
    """
    onnx = require_onnx()
    if graph is not None:
        exported = onnx.load(model, load_external_data=False).graph
        names = match_names(exported, onnx.load_from_string(base64.b64decode(graph)).graph)
        return [(names.get(node["name"], node["name"]),) for node in raw]
    nodes = onnx.load(model, load_external_data=False).graph.node if model.suffix == ".onnx" else ()
    return name_layers(nodes, raw)


def name_layers(exported: Sequence[Any], raw: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """``computed_nodes`` from the ``layers`` of OpenVINO's records.

    The node that names it is the one whose name the engine's node has, if it is in the file, else the first layer. A
    node that computes none, such as ``Reorder``, is named after the node whose output it converts.

    Args:
        exported: the ``onnx.NodeProto`` of the file; empty where names stay as they are.
        raw: node records of the worker.
    """
    makers = {tensor: node.name for node in exported for tensor in node.output}
    known = {node.name for node in exported}

    def find(name: str) -> str | None:
        name = name.removesuffix(_UNBIASED_SUFFIX)
        return name if name in known or not exported else makers.get(name)

    origins: dict[str, str] = {}
    computed = []
    for node in raw:
        found = tuple(dict.fromkeys(filter(None, map(find, (node["name"], *node["layers"])))))
        if found:
            origins[node["name"]] = found[0]
            computed.append(found)
        else:
            source = node["source"] or node["name"]
            origins[node["name"]] = origins.get(source) or find(source) or source
            computed.append((f"{node['op']}({origins[node['name']]})",))
    return computed


def match_names(exported: Any, optimised: Any) -> dict[str, str]:
    """Map each node name of ONNX Runtime's optimised graph to its name in the exported one (``onnx.GraphProto``)."""
    makers = {tensor: node for node in exported.node for tensor in node.output}
    own_names = {node.name for node in exported.node}
    names: dict[str, str] = {}
    folded: list[tuple[Any, str]] = []
    for node in optimised.node:
        tensor = node.name.removesuffix(_BLOCKED_SUFFIX)
        untoken = _TOKEN.sub("", node.name)
        if node.op_type.startswith("Reorder") or (node.op_type == "Transpose" and node.name not in own_names):
            names[node.name] = _name_reorder(node, makers)
        elif node.name not in own_names and untoken in own_names:
            names[node.name] = untoken
        elif node.name in own_names or tensor not in makers:
            names[node.name] = node.name
        elif makers[tensor].op_type == node.op_type:
            names[node.name] = makers[tensor].name
        else:
            folded.append((node, tensor))
    for node, tensor in folded:
        taken = set(names.values())
        found = (n.name for n in _upstream(tensor, makers) if n.op_type == node.op_type and n.name not in taken)
        names[node.name] = next(found, node.name)
    return names


def _name_reorder(node: Any, makers: Mapping[str, Any]) -> str:
    tensor = next((t for t in (*node.output, *node.input) if t in makers), node.input[0])
    return f"{node.op_type}({makers[tensor].name if tensor in makers else tensor})"


def _upstream(tensor: str, makers: Mapping[str, Any]) -> Iterator[Any]:
    """Nodes before a tensor, nearest first, through operators that can be folded into one before them."""
    waiting, seen = collections.deque([tensor]), set()
    while waiting:
        node = makers.get(waiting.popleft())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        yield node
        if node.op_type in _FOLDED:
            waiting.extend(node.input)


def require_onnx() -> Any:
    """The package that reads the files.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            f"onnx cannot be imported ({error}), node names need it; pip install 'deploy_prune[onnx]'"
        ) from error
    return onnx
