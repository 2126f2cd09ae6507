"""Functions that prune one layer alone, by the names that Torch-Pruning gave them.

Each takes ``(layer, idxs)``, cuts that layer in place and knows nothing of its neighbours; a ``DependencyGraph`` does.
They also name a direction: ``graph.get_pruning_group(layer, prune_conv_in_channels, idxs)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from deploy_prune.pruner.block_pruners import LSTMPruner, MultiheadAttentionPruner
from deploy_prune.pruner.layer_pruners import (
    BatchnormPruner,
    ConvPruner,
    DepthwiseConvPruner,
    EmbeddingPruner,
    GroupNormPruner,
    InstanceNormPruner,
    LayernormPruner,
    LinearPruner,
    ParameterPruner,
    PReLUPruner,
    is_depthwise,
)
from deploy_prune.pruner.pruning_func import BasePruningFunc

_DEPTHWISE, _NORM, _RECURRENT = DepthwiseConvPruner(), LayernormPruner(), LSTMPruner()

PrunerBox: dict[Any, BasePruningFunc] = {
    nn.modules.conv._ConvNd: ConvPruner(),
    nn.Linear: LinearPruner(),
    nn.modules.batchnorm._BatchNorm: BatchnormPruner(),
    nn.modules.instancenorm._InstanceNorm: InstanceNormPruner(),
    nn.GroupNorm: GroupNormPruner(),
    nn.LayerNorm: _NORM,
    nn.RMSNorm: _NORM,
    nn.PReLU: PReLUPruner(),
    nn.Embedding: EmbeddingPruner(),
    nn.LSTM: _RECURRENT,
    nn.GRU: _RECURRENT,
    nn.MultiheadAttention: MultiheadAttentionPruner(),
    nn.Parameter: ParameterPruner(),
}
"""Type of layer -> its pruning function; depthwise convolutions have their own, see :func:`pruner_of`."""


def pruner_of(layer: Any) -> BasePruningFunc | None:
    """The pruning function of a layer or parameter, or None for a type that has none."""
    if isinstance(layer, nn.modules.conv._ConvNd) and is_depthwise(layer):
        return _DEPTHWISE
    return next((pruner for kind, pruner in PrunerBox.items() if isinstance(layer, kind)), None)


_Function = Callable[..., Any]

prune_conv_out_channels: _Function = PrunerBox[nn.modules.conv._ConvNd].prune_out_channels
prune_conv_in_channels: _Function = PrunerBox[nn.modules.conv._ConvNd].prune_in_channels
prune_depthwise_conv_out_channels: _Function = _DEPTHWISE.prune_out_channels
prune_depthwise_conv_in_channels: _Function = _DEPTHWISE.prune_in_channels
prune_batchnorm_out_channels: _Function = PrunerBox[nn.modules.batchnorm._BatchNorm].prune_out_channels
prune_batchnorm_in_channels: _Function = PrunerBox[nn.modules.batchnorm._BatchNorm].prune_in_channels
prune_linear_out_channels: _Function = PrunerBox[nn.Linear].prune_out_channels
prune_linear_in_channels: _Function = PrunerBox[nn.Linear].prune_in_channels
prune_prelu_out_channels: _Function = PrunerBox[nn.PReLU].prune_out_channels
prune_prelu_in_channels: _Function = PrunerBox[nn.PReLU].prune_in_channels
prune_layernorm_out_channels: _Function = PrunerBox[nn.LayerNorm].prune_out_channels
prune_layernorm_in_channels: _Function = PrunerBox[nn.LayerNorm].prune_in_channels
prune_embedding_out_channels: _Function = PrunerBox[nn.Embedding].prune_out_channels
prune_embedding_in_channels: _Function = PrunerBox[nn.Embedding].prune_in_channels
prune_parameter_out_channels: _Function = PrunerBox[nn.Parameter].prune_out_channels
prune_parameter_in_channels: _Function = PrunerBox[nn.Parameter].prune_in_channels
prune_multihead_attention_out_channels: _Function = PrunerBox[nn.MultiheadAttention].prune_out_channels
prune_multihead_attention_in_channels: _Function = PrunerBox[nn.MultiheadAttention].prune_in_channels
prune_lstm_out_channels: _Function = PrunerBox[nn.LSTM].prune_out_channels
prune_lstm_in_channels: _Function = PrunerBox[nn.LSTM].prune_in_channels
prune_groupnorm_out_channels: _Function = PrunerBox[nn.GroupNorm].prune_out_channels
prune_groupnorm_in_channels: _Function = PrunerBox[nn.GroupNorm].prune_in_channels
prune_instancenorm_out_channels: _Function = PrunerBox[nn.modules.instancenorm._InstanceNorm].prune_out_channels
prune_instancenorm_in_channels: _Function = PrunerBox[nn.modules.instancenorm._InstanceNorm].prune_in_channels

__all__ = ["BasePruningFunc", "PrunerBox", *(name for name in globals() if name.startswith("prune_"))]
