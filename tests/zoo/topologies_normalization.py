"""Normalisation of activations and of weights."""

import torch
from torch import nn
from torch.nn import functional as F
from zoo.topologies_parts import conv


class GroupNorms(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(24, 16, 3, padding=1)
        self.gn, self.inorm = nn.GroupNorm(4, 24), nn.InstanceNorm2d(16, affine=True)

    def forward(self, x):
        return self.inorm(self.b(F.relu(self.gn(self.a(x)))))


class LayerScale(nn.Module):
    """Channels last, layer norm, two linear layers, a scale used directly (ConvNeXt's block)."""

    def __init__(self):
        super().__init__()
        self.dw, self.norm = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 40), nn.Linear(40, 16)
        self.gamma = nn.Parameter(torch.rand(16, 1, 1))

    def forward(self, x):
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        return x + self.gamma * self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)


class GroupNormAfterConcat(nn.Module):
    """Groups of the norm that reach over the seam of a concatenation."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm, self.out = conv(16, 10), conv(16, 14), nn.GroupNorm(4, 24), conv(24, 16)

    def forward(self, x):
        return self.out(F.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1))))


class ChannelsFirstLayerNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(16, 20, 1), nn.Conv2d(20, 16, 1), nn.LayerNorm(20)

    def forward(self, x):
        x = F.layer_norm(self.a(x).permute(0, 2, 3, 1), self.norm.normalized_shape, self.norm.weight, self.norm.bias)
        return self.b(F.gelu(x.permute(0, 3, 1, 2)))


class RootMeanSquare(nn.Module):
    """nn.RMSNorm, and the same by hand."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 20), nn.Linear(20, 24), nn.Linear(24, 16)
        self.norm, self.scale = nn.RMSNorm(20), nn.Parameter(torch.rand(24) + 0.5)

    def forward(self, x):
        x = self.b(self.norm(self.a(x.permute(0, 2, 3, 1))))
        x = self.scale * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        return self.c(x).permute(0, 3, 1, 2)


class WeightNorm(nn.Module):
    def __init__(self):
        super().__init__()
        normed = nn.utils.parametrizations.weight_norm
        self.a, self.b = normed(nn.Conv2d(16, 20, 3, padding=1)), normed(nn.Conv2d(20, 16, 1))

    def forward(self, x):
        return self.b(F.relu(self.a(x)))


class SpectralNorm(nn.Module):
    """One number for all channels, from vectors kept in buffers."""

    def __init__(self):
        super().__init__()
        normed = nn.utils.parametrizations.spectral_norm
        self.a, self.b = normed(nn.Conv2d(16, 20, 3, padding=1)), normed(nn.Conv2d(20, 16, 1))

    def forward(self, x):
        return self.b(F.relu(self.a(x)))


class DepthwiseWeightNorm(nn.Module):
    """The layers own no cut tensor themselves: a parametrization's parts, or a hook's."""

    def __init__(self):
        super().__init__()
        self.a = nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False))
        self.b = nn.utils.spectral_norm(nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False))
        self.c = conv(16, 16)

    def forward(self, x):
        return self.c(self.b(self.a(x)))


class UnitLength(nn.Module):
    """Vectors divided by their length, by hand."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 20), nn.Linear(20, 16)

    def forward(self, x):
        x = F.relu(self.a(x.permute(0, 2, 3, 1)))
        x = x / (x.norm(dim=-1, keepdim=True) + 0.1) + x / (1 + x.sum(-1, keepdim=True))
        return self.b(x).permute(0, 3, 1, 2)


class VarianceNorm(nn.Module):
    """Scaled by the variance over the channels (timm's simple norm), and gated by one that no channel may leave."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.scale = nn.Linear(16, 20), nn.Linear(20, 16), nn.Parameter(torch.rand(20) + 0.5)
        self.c = nn.Linear(16, 10)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        gate, x = (3 * self.c(x)).sigmoid().var(-1, keepdim=True), self.a(x)
        x = x * (x.var(-1, keepdim=True) + 1e-6).rsqrt() * self.scale * (0.1 + 5 * gate)
        return self.b(x).permute(0, 3, 1, 2)


class Lengths(nn.Module):
    """The length of every channel's map as a gate from another layer, and one length that no channel may leave."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.out = conv(16, 20), nn.Linear(20, 12), conv(16, 10), conv(12, 16)
        self.d = conv(16, 12)

    def forward(self, x):
        gate = self.b(self.a(x).norm(dim=(2, 3))).sigmoid()
        size = self.c(x).sigmoid().norm(dim=1, keepdim=True)
        return self.out(self.d(x) * gate[..., None, None] / size)


class ResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt v2): lengths over their mean."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 24), nn.Linear(24, 16)
        self.gamma, self.beta = nn.Parameter(torch.rand(24)), nn.Parameter(torch.rand(24))

    def forward(self, x):
        x = F.gelu(self.a(x.permute(0, 2, 3, 1)))
        g = x.norm(p=2, dim=(1, 2), keepdim=True)
        g = g / (g.mean(-1, keepdim=True) + 1e-6)
        return self.b(x + self.gamma * (x * g) + self.beta).permute(0, 3, 1, 2)


class FrozenBatchNorm(nn.Module):
    """Statistics and scale are buffers (detection backbones)."""

    def __init__(self):
        super().__init__()
        from torchvision.ops import FrozenBatchNorm2d

        self.a, self.norm, self.b = nn.Conv2d(16, 20, 3, padding=1), FrozenBatchNorm2d(20), conv(20, 16)
        self.norm.weight.uniform_(0.5, 1.5)
        self.norm.running_mean.normal_()

    def forward(self, x):
        return self.b(F.relu(self.norm(self.a(x))))


class InstanceNorms(nn.Module):
    """With running statistics, with a style computed from the input, and without anything."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(16, 20, 3, padding=1), nn.Conv2d(20, 12, 3, padding=1), conv(12, 16)
        self.norm, self.style = nn.InstanceNorm2d(20, affine=True, track_running_stats=True), nn.Linear(20, 24)

    def forward(self, x):
        x = F.relu(self.norm(self.a(x)))
        scale, shift = self.style(x.mean((2, 3))).chunk(2, 1)
        x = F.instance_norm(self.b(x))
        return self.out(x * (1 + scale[..., None, None]) + shift[..., None, None])


class WeightStandardised(nn.Module):
    """The kernel is normalised over its inputs at every call."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(16, 20, 3, padding=1), conv(20, 16), nn.GroupNorm(4, 20)

    def forward(self, x):
        w = self.a.weight
        w = F.batch_norm(w.reshape(1, w.shape[0], -1), None, None, training=True).reshape_as(w)
        return self.b(F.relu(self.norm(F.conv2d(x, w, self.a.bias, padding=1))))


class PerChannelActivations(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.act = conv(16, 20), conv(20, 16), nn.PReLU(20)
        self.scale, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.b(self.scale * F.rrelu(self.act(self.a(x)), 0.2, 0.2) ** 2 + self.bias)


class ProductsBetweenNorms(nn.Module):
    """Each block squares its input's size, and only the norms' statistics keep that in bounds."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(12))
        self.a = nn.ModuleList(nn.Linear(16, 16) for _ in range(12))
        self.b = nn.ModuleList(nn.Linear(16, 16) for _ in range(12))

    def forward(self, x):
        x = F.avg_pool2d(x, 4).permute(0, 2, 3, 1)
        for norm, a, b in zip(self.norms, self.a, self.b, strict=True):
            y = 20 * norm(x)
            x = x + a(y) * b(y)
        return x.permute(0, 3, 1, 2)


BODIES = (
    GroupNorms, LayerScale, GroupNormAfterConcat, ChannelsFirstLayerNorm, RootMeanSquare, WeightNorm, SpectralNorm,
    UnitLength, VarianceNorm, Lengths, ResponseNorm, FrozenBatchNorm, InstanceNorms, WeightStandardised,
    PerChannelActivations, DepthwiseWeightNorm,
    ProductsBetweenNorms,
)  # fmt: skip
