"""Pruning functions of single layers: which axes of which tensors hold a layer's channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.pruner.pruning_func import BasePruningFunc, cut, cut_tensor, equal_shares, kept_of


class LayerPruner(BasePruningFunc):
    """A layer whose channels are plain axes of its tensors, and whose sizes are plain attributes."""

    out_axes: ClassVar[Mapping[str, int]] = {}
    in_axes: ClassVar[Mapping[str, int]] = {}
    out_size = "out_features"
    in_size = "in_features"

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove output channels in place; returns the layer."""
        return self._prune(layer, idxs, self.out_axes, self.out_size)

    def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove input channels in place; returns the layer."""
        return self._prune(layer, idxs, self.in_axes, self.in_size)

    def get_out_channels(self, layer: Any) -> int | None:
        """Number of output channels."""
        return int(getattr(layer, self.out_size))

    def get_in_channels(self, layer: Any) -> int | None:
        """Number of input channels."""
        return int(getattr(layer, self.in_size))

    def _prune(self, layer: Any, idxs: Sequence[int], axes: Mapping[str, int], size: str) -> Any:
        kept = kept_of(getattr(layer, size), idxs)
        for name, axis in axes.items():
            cut(layer, name, axis, kept)
        setattr(layer, size, len(kept))
        return layer


class SymmetricPruner(LayerPruner):
    """A layer whose inputs are its outputs."""

    prune_in_channels = LayerPruner.prune_out_channels
    get_in_channels = LayerPruner.get_out_channels


class LinearPruner(LayerPruner):
    """Fully connected layers."""

    TARGET_MODULES = nn.Linear
    out_axes: ClassVar = {"weight": 0, "bias": 0}
    in_axes: ClassVar = {"weight": 1}


class EmbeddingPruner(SymmetricPruner):
    """Embeddings lose dimensions, not entries."""

    TARGET_MODULES = nn.Embedding
    out_axes: ClassVar = {"weight": 1}
    out_size = "embedding_dim"


class BatchnormPruner(SymmetricPruner):
    """Batch norms of any rank, with their running statistics."""

    TARGET_MODULES = nn.modules.batchnorm._BatchNorm
    out_axes: ClassVar = {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0}
    out_size = "num_features"


class InstanceNormPruner(SymmetricPruner):
    """Instance norms of any rank."""

    TARGET_MODULES = nn.modules.instancenorm._InstanceNorm
    out_axes: ClassVar = BatchnormPruner.out_axes
    out_size = "num_features"


class GroupNormPruner(SymmetricPruner):
    """Group norms; every group loses equally many channels."""

    TARGET_MODULES = nn.GroupNorm
    out_axes: ClassVar = {"weight": 0, "bias": 0}
    out_size = "num_channels"

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove channels in place; returns the layer."""
        equal_shares(layer.num_channels, layer.num_groups, kept_of(layer.num_channels, idxs))
        return super().prune_out_channels(layer, idxs)

    prune_in_channels = prune_out_channels

    def get_out_channel_groups(self, layer: Any) -> int:
        """Number of groups that statistics run over."""
        return int(layer.num_groups)

    get_in_channel_groups = get_out_channel_groups


class PReLUPruner(SymmetricPruner):
    """PReLU; a single shared slope has no channels and stays."""

    TARGET_MODULES = nn.PReLU
    out_axes: ClassVar = {"weight": 0}
    out_size = "num_parameters"

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove channels in place; returns the layer."""
        return layer if layer.num_parameters == 1 else super().prune_out_channels(layer, idxs)

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Any) -> int | None:
        """Number of slopes, or None for a shared one."""
        return None if layer.num_parameters == 1 else int(layer.num_parameters)

    get_in_channels = get_out_channels


class LayernormPruner(BasePruningFunc):
    """Layer and RMS norms, along ``pruning_dim`` of ``normalized_shape``."""

    TARGET_MODULES = (nn.LayerNorm, nn.RMSNorm)

    def __init__(self, pruning_dim: int = -1) -> None:
        super().__init__(pruning_dim)

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove channels in place; returns the layer."""
        shape = list(layer.normalized_shape)
        kept = kept_of(shape[self.pruning_dim], idxs)
        for name in ("weight", "bias"):
            cut(layer, name, self.pruning_dim, kept)
        shape[self.pruning_dim] = len(kept)
        layer.normalized_shape = tuple(shape)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Any) -> int:
        """Size of the normalised dimension."""
        return int(layer.normalized_shape[self.pruning_dim])

    get_in_channels = get_out_channels


class ConvPruner(LayerPruner):
    """Convolutions of any rank, transposed and grouped ones too; a depthwise one loses whole groups."""

    TARGET_MODULES = nn.modules.conv._ConvNd
    out_size = "out_channels"
    in_size = "in_channels"

    def _prune(self, layer: Any, idxs: Sequence[int], axes: Mapping[str, int], size: str) -> Any:
        kept = kept_of(getattr(layer, size), idxs)
        if is_depthwise(layer):
            return _cut_depthwise(layer, kept)
        shares = equal_shares(getattr(layer, size), layer.groups, kept)
        outwards = size == self.out_size
        if outwards:
            cut(layer, "bias", 0, kept)
        # The weight's axis 1 counts channels within a group and is common to all groups.
        if outwards == layer.transposed:
            if any(not torch.equal(shares[0], share) for share in shares):
                raise InputError("the groups of this convolution share an axis; remove the same channels of each")
            cut(layer, "weight", 1, shares[0])
        else:
            cut(layer, "weight", 0, kept)
        setattr(layer, size, len(kept))
        return layer

    def get_out_channel_groups(self, layer: Any) -> int:
        """Number of groups of the convolution."""
        return int(layer.groups)

    get_in_channel_groups = get_out_channel_groups


class DepthwiseConvPruner(ConvPruner):
    """Depthwise convolutions, whose inputs are their outputs."""

    prune_in_channels = LayerPruner.prune_out_channels
    get_in_channels = LayerPruner.get_out_channels

    def check(self, layer: Any, idxs: Sequence[int], to_output: bool) -> None:
        """Refuse a convolution that is not depthwise, and indices outside it.

        Raises:
            InputError: either of these.
        """
        super().check(layer, idxs, to_output)
        if not is_depthwise(layer):
            raise InputError(f"the convolution has {layer.groups} groups of channels; use prune_conv_out_channels")


def is_depthwise(layer: nn.modules.conv._ConvNd) -> bool:
    """Whether every channel is a group of its own."""
    return 1 < layer.groups == layer.in_channels == layer.out_channels


def _cut_depthwise(layer: Any, kept: torch.Tensor) -> Any:
    cut(layer, "weight", 0, kept)
    cut(layer, "bias", 0, kept)
    layer.in_channels = layer.out_channels = layer.groups = len(kept)
    return layer


class ParameterPruner(BasePruningFunc):
    """Parameters that belong to no standard layer; returns a new parameter, since a tensor cannot shrink in place."""

    TARGET_MODULES = nn.Parameter

    def __init__(self, pruning_dim: int = -1) -> None:
        super().__init__(pruning_dim)

    def prune_out_channels(self, layer: torch.Tensor, idxs: Sequence[int]) -> torch.Tensor:
        """The parameter without the indices ``idxs`` of axis ``pruning_dim``."""
        return cut_tensor(layer, self.pruning_dim, kept_of(layer.shape[self.pruning_dim], idxs))

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: torch.Tensor) -> int:
        """Size of axis ``pruning_dim``."""
        return layer.shape[self.pruning_dim]

    get_in_channels = get_out_channels
