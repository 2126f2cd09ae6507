"""Pruning functions of layers that hold several projections: LSTM, GRU and multi-head attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.pruner.pruning_func import BasePruningFunc, cut, equal_shares, kept_of


class LSTMPruner(BasePruningFunc):
    """LSTM and GRU of one layer, in one or both directions: outputs are hidden units."""

    TARGET_MODULES = (nn.LSTM, nn.GRU)

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove hidden units in place (of both directions); returns the layer.

        Raises:
            InputError: the layer has several layers or a projection.
        """
        if layer.num_layers > 1 or layer.proj_size:
            raise InputError("prune_lstm_out_channels takes one layer without projection; use a DependencyGraph")
        kept = kept_of(layer.hidden_size, idxs)
        gates = len(layer.weight_ih_l0) // layer.hidden_size
        rows = torch.cat([kept + k * layer.hidden_size for k in range(gates)])
        for suffix in ("l0", "l0_reverse"):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                cut(layer, f"{name}_{suffix}", 0, rows)
            cut(layer, f"weight_hh_{suffix}", 1, kept)
        layer.hidden_size = len(kept)
        layer.flatten_parameters()
        return layer

    def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove input features in place; returns the layer."""
        kept = kept_of(layer.input_size, idxs)
        for suffix in ("l0", "l0_reverse"):
            cut(layer, f"weight_ih_{suffix}", 1, kept)
        layer.input_size = len(kept)
        layer.flatten_parameters()
        return layer

    def get_out_channels(self, layer: Any) -> int:
        """Number of hidden units."""
        return int(layer.hidden_size)

    def get_in_channels(self, layer: Any) -> int:
        """Number of input features."""
        return int(layer.input_size)


class MultiheadAttentionPruner(BasePruningFunc):
    """``nn.MultiheadAttention``: one set of embedding channels goes from inputs, heads and output alike."""

    TARGET_MODULES = nn.MultiheadAttention

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Remove embedding channels in place, equally many of each head; returns the layer."""
        size = layer.embed_dim
        kept = kept_of(size, idxs)
        equal_shares(size, layer.num_heads, kept)
        if layer.in_proj_weight is None:
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                cut(layer, name, 0, kept)
            cut(layer, "q_proj_weight", 1, kept)
        else:
            cut(layer, "in_proj_weight", 0, _threefold(kept, size))
            cut(layer, "in_proj_weight", 1, kept)
            layer.kdim = layer.vdim = len(kept)
        cut(layer, "in_proj_bias", 0, _threefold(kept, size))
        for name in ("bias_k", "bias_v"):
            cut(layer, name, 2, kept)
        cut(layer.out_proj, "weight", 0, kept)
        cut(layer.out_proj, "weight", 1, kept)
        cut(layer.out_proj, "bias", 0, kept)
        layer.out_proj.in_features = layer.out_proj.out_features = layer.embed_dim = len(kept)
        layer.head_dim = layer.embed_dim // layer.num_heads
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Any) -> int:
        """Number of embedding channels."""
        return int(layer.embed_dim)

    get_in_channels = get_out_channels


def _threefold(kept: torch.Tensor, size: int) -> torch.Tensor:
    """The same indices in the stacked query, key and value projections."""
    return torch.cat([kept, kept + size, kept + 2 * size])
