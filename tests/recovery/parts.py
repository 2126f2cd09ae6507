"""Small models whose recovered weights are known."""

import copy

import torch
from torch import nn

from deploy_prune.pruner.dependency import DependencyGraph
from deploy_prune.pruner.surgery import apply_plan


def noise(*shape, seed=0):
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def remove(dense, inputs, layer, indices):
    """The model without these output units of a layer, and the plan."""
    graph = DependencyGraph().build_dependency(copy.deepcopy(dense), inputs)
    plan = graph.make_plan({layer: list(indices)})
    return apply_plan(dense, plan), plan


@torch.no_grad()
def make_dependent(layer, unit, sources, factors):
    """Let one output unit be a linear combination of others."""
    layer.weight[unit] = sum(f * layer.weight[s] for s, f in zip(sources, factors, strict=True))
    if layer.bias is not None:
        layer.bias[unit] = sum(f * layer.bias[s] for s, f in zip(sources, factors, strict=True))


def relative_error(got, wanted):
    """Largest difference over largest magnitude."""
    got, wanted = got.detach(), wanted.detach()
    return float((got - wanted).abs().max() / wanted.abs().max())


class Affine(nn.Sequential):
    """Linear layers without anything between them, in eval mode."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.eval()
