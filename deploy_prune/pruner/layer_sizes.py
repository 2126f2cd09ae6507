"""Sizes that ``torch.nn`` layers keep beside their weights, read off the sliced weights."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from torch import nn


@singledispatch
def update_sizes(layer: Any) -> None:
    """Set a layer's size attributes from the shapes of its parameters; layers that keep none are left alone."""


@update_sizes.register
def _(layer: nn.modules.conv._ConvNd) -> None:
    """Its number of groups is an attribute that the plan sets."""
    long, short = layer.weight.shape[:2]
    if layer.transposed:
        layer.in_channels, layer.out_channels = long, short * layer.groups
    else:
        layer.in_channels, layer.out_channels = short * layer.groups, long


@update_sizes.register
def _(layer: nn.Linear) -> None:
    layer.out_features, layer.in_features = layer.weight.shape


@update_sizes.register
def _(layer: nn.Bilinear) -> None:
    layer.out_features, layer.in1_features, layer.in2_features = layer.weight.shape


@update_sizes.register
def _(layer: nn.modules.batchnorm._NormBase) -> None:
    vector = layer.weight if layer.weight is not None else layer.running_mean
    assert vector is not None, "a norm without tensors is never cut"
    layer.num_features = len(vector)


@update_sizes.register
def _(layer: nn.GroupNorm) -> None:
    """Groups of one channel lose groups; any other layer keeps their number."""
    if layer.num_groups == layer.num_channels:
        layer.num_groups = len(layer.weight)
    layer.num_channels = len(layer.weight)


@update_sizes.register(nn.LayerNorm)
@update_sizes.register(nn.RMSNorm)
def _(layer: Any) -> None:
    layer.normalized_shape = tuple(layer.weight.shape)


@update_sizes.register(nn.Embedding)
@update_sizes.register(nn.EmbeddingBag)
def _(layer: Any) -> None:
    layer.num_embeddings, layer.embedding_dim = layer.weight.shape


@update_sizes.register
def _(layer: nn.PReLU) -> None:
    layer.num_parameters = len(layer.weight)


@update_sizes.register(nn.MultiheadAttention)
def _(layer: Any) -> None:
    """Its forward wants heads x head_dim to be the width of the query; the number of heads is set before."""
    query_weight = layer.in_proj_weight if layer._qkv_same_embed_dim else layer.q_proj_weight
    layer.embed_dim = query_weight.shape[1]
    layer.kdim = layer.embed_dim if layer._qkv_same_embed_dim else layer.k_proj_weight.shape[1]
    layer.vdim = layer.embed_dim if layer._qkv_same_embed_dim else layer.v_proj_weight.shape[1]
    layer.head_dim = layer.embed_dim // layer.num_heads


_GATES = {"LSTM": 4, "GRU": 3}


@update_sizes.register(nn.RNNBase)
def _(layer: Any) -> None:
    """Weights are (gates x hidden, input); the flat list that the kernels read is made anew."""
    layer.input_size = layer.weight_ih_l0.shape[1]
    layer.hidden_size = layer.weight_ih_l0.shape[0] // _GATES.get(layer.mode, 1)
    layer.proj_size = layer.weight_hr_l0.shape[0] if layer.proj_size else 0
    layer._flat_weights = [getattr(layer, name) for name in layer._flat_weights_names]


@update_sizes.register(nn.RNNCellBase)
def _(layer: Any) -> None:
    layer.input_size, layer.hidden_size = layer.weight_ih.shape[1], layer.weight_hh.shape[1]
