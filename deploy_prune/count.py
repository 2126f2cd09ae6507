"""Multiply-accumulate operations and parameters of a model, whole and per layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deploy_prune.graph.preserve import preserved
from deploy_prune.graph.trace import Inputs, call_model


@dataclass(frozen=True)
class Count:
    """MACs of one forward pass and parameters; ``layers`` maps every module that runs any to its own MACs."""

    macs: int
    params: int
    layers: dict[str, int]


def count(model: nn.Module, example_inputs: Inputs) -> Count:
    """Count MACs in eval mode: half of what ``torch.utils.flop_counter`` counts (convolutions, products, attention).

    Modules include their children; the entry ``""`` is the model. The model is left as it was.
    """
    with preserved(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()
        call_model(model, example_inputs)
    root = type(model).__name__
    layers = {
        str(name).removeprefix(root).removeprefix("."): sum(by_operator.values()) // 2
        for name, by_operator in counter.get_flop_counts().items()
        if name != "Global"
    }
    return Count(counter.get_total_flops() // 2, sum(p.numel() for p in model.parameters()), layers)


def count_ops_and_params(model: nn.Module, example_inputs: Inputs) -> tuple[int, int]:
    """MACs of one forward pass and number of parameters, as Torch-Pruning's function of this name returns them."""
    counted = count(model, example_inputs)
    return counted.macs, counted.params
