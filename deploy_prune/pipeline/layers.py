"""Which layer of a module a node of its exported file belongs to."""

import re
from collections.abc import Iterable

from torch import nn

from deploy_prune.report.result import LayerTime
from deploy_prune.runtime.nodes import NodeTime

OUTSIDE = "(between layers)"
# "ReorderInput(/model.1/conv/Conv)#2" -> "/model.1/conv/Conv"
_CALL = re.compile(r"^\w+\((.*)\)$")


class LayerNames:
    """From a node's name to the layer's.

    A layer is the largest module around a node that holds at most one weight (a tensor of two axes or more):
    so a convolution with its norm and activation is one layer, and what stands between the layers of a block
    counts for the block.
    """

    def __init__(self, model: nn.Module) -> None:
        self._weights = {
            name: sum(parameter.ndim > 1 for parameter in module.parameters()) for name, module in model.named_modules()
        }

    def layer(self, node: str) -> str:
        """The layer of an exported node; names are as the TorchScript exporter writes them."""
        path = ""
        for part in _module_path(node):
            if part not in self._weights:
                break
            path = part
        while path and self._weights.get(parent := path.rpartition(".")[0], 2) <= 1:
            path = parent
        return path or OUTSIDE

    def layer_times(self, dense: Iterable[NodeTime], pruned: Iterable[NodeTime]) -> tuple[LayerTime, ...]:
        """Time per layer of both models, in the dense model's order of execution."""
        before, after = self._sum_times(dense), self._sum_times(pruned)
        names = dict.fromkeys([*before, *after])
        return tuple(LayerTime(name, before.get(name, 0.0), after.get(name, 0.0)) for name in names)

    def _sum_times(self, nodes: Iterable[NodeTime]) -> dict[str, float]:
        times_ms: dict[str, float] = {}
        for node in nodes:
            name = self.layer(node.name)
            times_ms[name] = times_ms.get(name, 0.0) + 1e3 * node.time_s
        return times_ms


def _module_path(node: str) -> list[str]:
    """``/layer1/layer1.0/conv1/Conv`` -> ``["layer1", "layer1.0", "layer1.0.conv1"]``.

    A part is a module's name below the one before it, or, where a container handed the call on, repeats the
    container's name.
    """
    node = node.partition("#")[0]
    called = _CALL.match(node)
    parts = (called[1] if called else node).strip("/").split("/")[:-1]
    paths: list[str] = []
    last = ""
    for part in parts:
        if last and part.startswith(f"{last}."):
            paths.append(paths[-1].removesuffix(last) + part)
        else:
            paths.append(f"{paths[-1]}.{part}" if paths else part)
        last = part
    return paths
