"""Ten-line networks, one per way in which channels hang together; each takes (B, 3, 16, 16) and returns (B, 5)."""

import torch
from torch import nn
from zoo import (
    topologies_attention,
    topologies_branching,
    topologies_channels,
    topologies_convolution,
    topologies_indexing,
    topologies_normalization,
    topologies_rearranging,
    topologies_recurrent,
)
from zoo.topologies_parts import conv

__all__ = ["BODIES", "Stem", "build", "conv", "enliven"]


class Stem(nn.Module):
    """A convolution before and a classifier after a body that keeps (B, 16, 16, 16)."""

    def __init__(self, body, width=16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.body = body
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


THEMES = (
    topologies_convolution, topologies_normalization, topologies_rearranging, topologies_indexing,
    topologies_attention, topologies_channels, topologies_recurrent, topologies_branching,
)  # fmt: skip
BODIES = {kind.__name__: kind for theme in THEMES for kind in theme.BODIES}


def build(name, seed=0):
    """The topology's network with lively batch norms, so that a wrong channel shows."""
    torch.manual_seed(seed)
    return enliven(Stem(BODIES[name]()))


def enliven(model, seed=0):
    """Random affine parameters and statistics in all norms; returns the model in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.affine:
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
            if module.running_mean is not None:
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()
