"""One number in a shared object sizes something in every layer: all layers then lose equally many."""

import copy
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from deploy_prune.pruner import BasePruner, DependencyGraph, verify

DATA = torch.rand(2, 5, 24, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    """Queries, keys and values in one layer, cut at products of the shared number of heads."""

    def __init__(self, config, width):
        super().__init__()
        self.config, self.head_dim = config, width // config.heads
        self.fused, self.back = nn.Linear(24, 3 * width), nn.Linear(width, 24)

    def forward(self, x):
        x, end = self.fused(x), self.config.heads * self.head_dim
        parts = [x[..., :end], x[..., end : 2 * end], x[..., 2 * end :]]
        q, k, v = (p.view(*p.shape[:-1], -1, self.head_dim).transpose(1, 2) for p in parts)
        return self.back(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Layers(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        self.config = SimpleNamespace(heads=4)
        self.layers = nn.ModuleList(Attention(self.config, width) for width in widths)

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x


def heads(model):
    graph = DependencyGraph().build_dependency(model, DATA)
    return [(g.name, g.width, len({s.parameter for s in g.slices})) for g in graph.units.groups if g.kind == "heads"]


def test_heads_of_all_layers_go_together():
    torch.manual_seed(0)
    assert heads(Layers(16)) == [("layers.0.fused:heads", 4, 3)]
    assert heads(Layers(16, 16, 16)) == [("layers.0.fused:heads", 4, 9)]
    model = Layers(16, 16)
    dense = copy.deepcopy(model)
    pruner = BasePruner(model, DATA, pruning_ratio=0.25, prune_num_heads=True, head_pruning_ratio=0.5)
    pruner.step()
    assert model.config.heads == 2 and [layer.fused.out_features for layer in model.layers] == [2 * 3 * 3] * 2
    verify(dense, model, pruner.DG.plan, DATA)


def test_inner_dimensions_stay_each_layers_own():
    model = Layers(16, 16)
    graph = DependencyGraph().build_dependency(model, DATA)
    inner = [g.name for g in graph.units.groups if g.kind == "channels"]
    assert len(inner) >= 2 and {name.split(".")[1] for name in inner} == {"0", "1"}
