"""What a layer's pruning function is, and how a tensor loses indices."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.pruner.arguments import as_indices


class BasePruningFunc(ABC):
    """How one type of layer loses channels; subclass it for a customised layer.

    ``prune_in_channels = prune_out_channels`` in a subclass says that the layer's inputs are its outputs.
    """

    TARGET_MODULES: Any = None
    """Type (or tuple of types) that the class accepts; None accepts all."""

    def __init__(self, pruning_dim: int = 1) -> None:
        self.pruning_dim = pruning_dim

    @abstractmethod
    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove output channels ``idxs`` in place; returns the layer."""

    @abstractmethod
    def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove input channels ``idxs`` in place; returns the layer."""

    @abstractmethod
    def get_out_channels(self, layer: Any) -> int | None:
        """Number of output channels, or None where the layer has none of its own."""

    @abstractmethod
    def get_in_channels(self, layer: Any) -> int | None:
        """Number of input channels, or None where the layer has none of its own."""

    def get_out_channel_groups(self, layer: Any) -> int:
        """Number of equal parts that the output channels come in."""
        return 1

    def get_in_channel_groups(self, layer: Any) -> int:
        """Number of equal parts that the input channels come in."""
        return 1

    def check(self, layer: Any, idxs: Sequence[int], to_output: bool) -> None:
        """Refuse a layer of another type and indices outside it.

        Raises:
            InputError: either of these.
        """
        if self.TARGET_MODULES is not None and not isinstance(layer, self.TARGET_MODULES):
            raise InputError(f"{type(self).__name__} got a {type(layer).__name__}; use the function of its type")
        size = self.get_out_channels(layer) if to_output else self.get_in_channels(layer)
        if size is not None:
            check_indices(size, idxs)

    def _prune_parameter_and_grad(
        self, weight: nn.Parameter, keep_idxs: Sequence[int], pruning_dim: int
    ) -> nn.Parameter:
        """A parameter that keeps ``keep_idxs`` of one axis, its gradient too; for subclasses to call."""
        kept = torch.tensor(as_indices(keep_idxs), dtype=torch.int64)
        return cut_tensor(weight, pruning_dim, kept)  # type: ignore[return-value]

    def __call__(
        self, layer: Any, idxs: Sequence[int], to_output: bool = True, inplace: bool = True, dry_run: bool = False
    ) -> Any:
        """Check, then prune one side of the layer (of a copy unless ``inplace``); a dry run only checks."""
        self.check(layer, idxs, to_output)
        if dry_run:
            return layer
        layer = layer if inplace else copy.deepcopy(layer)
        return (self.prune_out_channels if to_output else self.prune_in_channels)(layer, sorted(idxs))


def check_indices(size: int, idxs: Sequence[int]) -> None:
    """Refuse what is no index of ``range(size)``.

    Raises:
        InputError: there are any.
    """
    outside = sorted({i for i in as_indices(idxs) if not 0 <= i < size})
    if outside:
        raise InputError(f"the layer has channels 0 to {size - 1}, got {outside[:8]}")


def kept_of(size: int, idxs: Sequence[int]) -> torch.Tensor:
    """The indices below ``size`` that are not in ``idxs``, ascending.

    Raises:
        InputError: none would be left, or ``idxs`` has one outside.
    """
    check_indices(size, idxs)
    keep = torch.ones(size, dtype=torch.bool)
    keep[as_indices(idxs)] = False
    if not keep.any():
        raise InputError(f"all {size} channels would go; keep at least one")
    return keep.nonzero().squeeze(1)


def cut(layer: nn.Module, name: str, axis: int, kept: torch.Tensor) -> None:
    """Keep ``kept`` of one axis of a parameter or buffer, where the layer has it."""
    tensor = getattr(layer, name, None)
    if isinstance(tensor, torch.Tensor):
        setattr(layer, name, cut_tensor(tensor, axis, kept))


def cut_tensor(tensor: torch.Tensor, axis: int, kept: torch.Tensor) -> torch.Tensor:
    """A parameter (with its gradient) or plain tensor that keeps ``kept`` of one axis."""
    kept = kept.to(tensor.device)
    data = tensor.detach().index_select(axis, kept)
    if not isinstance(tensor, nn.Parameter):
        return data
    parameter = nn.Parameter(data, requires_grad=tensor.requires_grad)
    if tensor.grad is not None:
        parameter.grad = tensor.grad.index_select(axis, kept)
    return parameter


def equal_shares(size: int, parts: int, kept: torch.Tensor) -> list[torch.Tensor]:
    """What each of ``parts`` equal parts keeps, counted within the part.

    Raises:
        InputError: the parts would lose different numbers of channels.
    """
    each = size // parts
    shares = [kept[kept // each == k] - k * each for k in range(parts)]
    lost = [each - len(share) for share in shares]
    if len(set(lost)) > 1:
        raise InputError(f"the {parts} parts of the layer would lose {lost} channels; remove equally many of each")
    return shares
