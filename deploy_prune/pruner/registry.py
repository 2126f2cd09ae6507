"""Which pruning function belongs to which layer, with those that a user registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.pruner.function import (
    PrunerBox,
    prune_depthwise_conv_out_channels,
    prune_parameter_in_channels,
    prune_parameter_out_channels,
    pruner_of,
)
from deploy_prune.pruner.node import Node, is_out_axis
from deploy_prune.pruner.plan import AxisCut, Plan, architecture_hash
from deploy_prune.pruner.pruning_func import BasePruningFunc
from deploy_prune.pruner.surgery import apply_plan


class Registry:
    """The pruning functions of :data:`~deploy_prune.pruner.function.PrunerBox` and of customised layers."""

    def __init__(self) -> None:
        self._customized: dict[Any, BasePruningFunc] = {}

    def add(self, layer_type_or_instance: Any, pruner: BasePruningFunc) -> None:
        """Let ``pruner`` cut this layer, or all of this type.

        Raises:
            InputError: it is no pruning function but, say, its class.
        """
        if not isinstance(pruner, BasePruningFunc):
            raise InputError(f"the customized pruner is {pruner!r:.80}; give an instance of a BasePruningFunc")
        self._customized[layer_type_or_instance] = pruner

    def customized(self, module: Any) -> BasePruningFunc | None:
        """What a user registered for the module or for its type."""
        return self._customized.get(module) or self._customized.get(type(module))

    def pruner(self, module: Any) -> BasePruningFunc | None:
        """The pruning function of a module, or None for a type that has none."""
        return self.customized(module) or pruner_of(module)

    def keeps_channels(self, module: nn.Module) -> bool:
        """Whether one customised function cuts both sides of the module, whose inputs then are its outputs."""
        pruner = self.customized(module)
        return pruner is not None and bool(pruner.prune_out_channels == pruner.prune_in_channels)

    def function(self, module: nn.Module, out: bool) -> Callable[..., Any]:
        """The function that prunes one side of a module; that of bare parameters where its type has none."""
        pruner = self.pruner(module)
        if pruner is None:
            return prune_parameter_out_channels if out else prune_parameter_in_channels
        return pruner.prune_out_channels if out else pruner.prune_in_channels

    def channels(self, module: Any, out: bool) -> int | None:
        """Number of channels on one side of a layer, None where it has none of its own."""
        pruner = self.pruner(module)
        if pruner is None:
            return None
        return pruner.get_out_channels(module) if out else pruner.get_in_channels(module)

    def prunes_out(self, fn: Any) -> bool:
        """Whether a pruning function removes output channels."""
        known = [p.prune_out_channels for p in (*PrunerBox.values(), *self._customized.values())]
        return fn in [*known, prune_depthwise_conv_out_channels]

    def prunes_in(self, fn: Any) -> bool:
        """Whether a pruning function removes input channels; of a norm it is the one that removes its outputs."""
        known = [p.prune_in_channels for p in (*PrunerBox.values(), *self._customized.values())]
        return fn in [*known, prune_depthwise_conv_out_channels]

    def apply(self, model: nn.Module, plan: Plan) -> None:
        """Apply a plan in place; customised layers are cut by their own functions, outer ones first.

        A function may cut the layers inside its own as well; what it leaves as it was is cut here.
        """
        if not self._customized:
            apply_plan(model, plan, inplace=True)
            return
        own: dict[tuple[nn.Module, bool], AxisCut] = {}
        for cut in plan.cuts:
            owner, _, name = cut.parameter.rpartition(".")
            module = model.get_submodule(owner)
            if self.customized(module) is not None:
                own.setdefault((module, self.keeps_channels(module) or is_out_axis(module, name, cut.axis)), cut)
        for (module, out), cut in sorted(own.items(), key=lambda item: item[1].parameter.count(".")):
            if not _is_done(model, cut):
                self.function(module, out)(module, _removed(cut))
        rest = tuple(cut for cut in plan.cuts if not _is_done(model, cut))
        apply_plan(model, replace(plan, cuts=rest, architecture=architecture_hash(model)), inplace=True)


class LayerFunctions:
    """What a dependency graph says of the pruning functions of single layers; they may be given as nodes too."""

    def __init__(self) -> None:
        self._registry = Registry()

    def register_customized_layer(self, layer_type_or_instance: Any, layer_pruner: BasePruningFunc) -> None:
        """Let ``layer_pruner`` cut a type of layer, or one layer, that holds parameters of its own.

        Which indices go is found without it; it is called with them where surgery would have sliced the tensors. It may
        cut layers inside it too; what it leaves is cut without it.
        """
        self._registry.add(layer_type_or_instance, layer_pruner)

    def get_pruner_of_module(self, module: Any) -> BasePruningFunc | None:
        """The pruning function of a module: the customised one of it or of its type, else that of ``PrunerBox``."""
        return self._registry.pruner(module)

    def get_out_channels(self, module_or_node: Any) -> int | None:
        """Number of a layer's output channels, None where it has none of its own."""
        return self._registry.channels(_module(module_or_node), out=True)

    def get_in_channels(self, module_or_node: Any) -> int | None:
        """Number of a layer's input channels, None where it has none of its own."""
        return self._registry.channels(_module(module_or_node), out=False)

    def is_out_channel_pruning_fn(self, fn: Any) -> bool:
        """Whether a pruning function removes output channels."""
        return self._registry.prunes_out(fn)

    def is_in_channel_pruning_fn(self, fn: Any) -> bool:
        """Whether a pruning function removes input channels; of a norm it is the one that removes its outputs."""
        return self._registry.prunes_in(fn)


def _is_done(model: nn.Module, cut: AxisCut) -> bool:
    """Whether the axis has the size that the cut leaves."""
    owner, _, name = cut.parameter.rpartition(".")
    return bool(getattr(model.get_submodule(owner), name).shape[cut.axis] == len(cut.kept))


def _removed(cut: AxisCut) -> Sequence[int]:
    gone = np.ones(cut.size, bool)
    gone[list(cut.kept)] = False
    removed: list[int] = np.flatnonzero(gone).tolist()
    return removed


def _module(module_or_node: Any) -> Any:
    return module_or_node.module if isinstance(module_or_node, Node) else module_or_node
