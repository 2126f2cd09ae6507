"""What a group is made of: modules, and the axes of their parameters that lose indices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from deploy_prune.importance.weights import input_axis
from deploy_prune.pruner.function import prune_parameter_in_channels, prune_parameter_out_channels
from deploy_prune.pruner.pruning_func import BasePruningFunc, cut, kept_of


@dataclass(frozen=True)
class Node:
    """A module and its dotted name in the model."""

    module: nn.Module
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.module})"


@dataclass(frozen=True)
class Dependency:
    """One axis of one parameter that loses indices with a group.

    Attributes:
        source: the root of the group.
        trigger: the root's pruning function.
        target: the module that owns the parameter.
        handler: the pruning function of this side of the module; that of a bare parameter where its type has none.
        parameter: the parameter's own name, such as ``weight``.
        axis: the axis of it.
        out: whether the axis holds the module's output channels (else its input channels).
    """

    source: Node
    trigger: Callable[..., Any]
    target: Node
    handler: Callable[..., Any]
    parameter: str
    axis: int
    out: bool

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter or buffer itself."""
        tensor: torch.Tensor = getattr(self.target.module, self.parameter)
        return tensor

    @property
    def layer(self) -> nn.Module:
        """The target module."""
        return self.target.module

    @property
    def pruning_fn(self) -> Callable[..., Any]:
        """The handler."""
        return self.handler

    def is_triggered_by(self, pruning_fn: Callable[..., Any]) -> bool:
        """Whether the root is pruned by this function."""
        return bool(pruning_fn == self.trigger)

    def __call__(self, idxs: Iterable[int]) -> Any:
        """Prune the target alone, in place; returns it."""
        module, size = self.target.module, self.tensor.shape[self.axis]
        if self.handler in (prune_parameter_out_channels, prune_parameter_in_channels):
            cut(module, self.parameter, self.axis, kept_of(size, list(idxs)))
            return module
        pruner: BasePruningFunc = self.handler.__self__  # type: ignore[attr-defined]
        channels = (pruner.get_out_channels if self.out else pruner.get_in_channels)(module) or size
        # An axis holds channels several times (gates of an LSTM), or once for all groups of a convolution.
        idxs = {i % channels + k for i in idxs for k in range(0, channels, min(size, channels))}
        return self.handler(module, sorted(idxs))

    def __str__(self) -> str:
        return f"{self.trigger.__name__} on {self.source} => {self.handler.__name__} on {self.target}"


def is_out_axis(module: nn.Module, parameter: str, axis: int) -> bool:
    """Whether an axis of a module's parameter counts the module's outputs."""
    if isinstance(module, nn.RNNBase):
        return not (parameter.startswith("weight_ih_l0") and axis == 1)
    tensor = getattr(module, parameter, None)
    if parameter != "weight" or tensor is None or tensor.ndim < 2:
        return axis == 0
    return axis == 1 - input_axis(module)


def modules_named(modules: Iterable[nn.Module], listed: Iterable[Any]) -> set[nn.Module]:
    """Those of the modules that a list of layers and types of layers names, with all modules inside."""
    listed = list(listed)
    kinds = tuple(i for i in listed if isinstance(i, type))
    named = {i for i in listed if isinstance(i, nn.Module)}
    return {inner for m in modules if m in named or isinstance(m, kinds) for inner in m.modules()}


def parameters_named(model: nn.Module, listed: Iterable[Any]) -> set[str]:
    """Names of the model's parameters that a list of layers and parameters holds."""
    ids = {id(thing) for thing in listed if isinstance(thing, nn.Parameter)}
    return {name for name, parameter in model.named_parameters() if id(parameter) in ids} if ids else set()
