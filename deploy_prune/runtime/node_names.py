"""From the names in an engine's optimised graph back to the names in the exported model.

ONNX Runtime renames what it moves into its blocked layout, and whether a node moves there depends on its
width: a convolution is ``/conv1/Conv`` at 30 channels and ``/relu/Relu_output_0_nchwc`` at 32, and reorders
are numbered by a running count. Tables over many widths need one name per node, so each node is named after
the node of the exported model that it computes, and each reorder after the tensor that it converts.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy_prune.errors import MissingDependencyError

_BLOCKED_SUFFIX = "_nchwc"
# What ONNX Runtime folds into a convolution: activations and the residual sum.
_FOLDED = frozenset({"Add", "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "Mul", "BatchNormalization"})


def exported_names(model: Path, optimised: bytes) -> dict[str, str]:
    """Map each node name of the optimised graph to its name in the exported model.

    Args:
        model: the exported ONNX file.
        optimised: the engine's optimised graph as a serialised ONNX model; weights may be missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            f"onnx cannot be imported ({error}), node names need it; pip install 'deploy_prune[onnx]'"
        ) from error
    exported = onnx.load(model, load_external_data=False).graph
    return match_names(exported, onnx.load_from_string(optimised).graph)


def match_names(exported: Any, optimised: Any) -> dict[str, str]:
    """``exported_names`` for two loaded ``onnx.GraphProto``."""
    makers = {tensor: node for node in exported.node for tensor in node.output}
    own_names = {node.name for node in exported.node}
    names: dict[str, str] = {}
    folded: list[tuple[Any, str]] = []
    for node in optimised.node:
        tensor = node.name.removesuffix(_BLOCKED_SUFFIX)
        if node.op_type.startswith("Reorder"):
            names[node.name] = _name_reorder(node, makers)
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
