"""Attention that multiplies channels with channels, and attention in unusual layouts, masks and norms."""

import torch
from torch import nn
from torch.nn import functional as F
from zoo.topologies_attention import FusedThreeHeadsInner, Projected, attend
from zoo.topologies_parts import Tokens


class CrossCovariance(FusedThreeHeadsInner):
    """Keys' channels compete within each head, so that whole heads go (XCiT)."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.rand(4, 1, 1) + 0.5)

    def mix(self, x):
        q, k, v = (t.transpose(-2, -1) for t in self.parts(self.qkv(x)))
        weights = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        return self.out((weights.softmax(-1) @ v).permute(0, 3, 1, 2).reshape(x.shape))


class CrossCovarianceInOneOperator(FusedThreeHeadsInner):
    def mix(self, x):
        q, k, v = (t.transpose(-2, -1) for t in self.parts(self.qkv(x)))
        y = attend(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, scale=1.0)
        return self.out(y.permute(0, 3, 1, 2).reshape(x.shape))


class ChannelGroups(FusedThreeHeadsInner):
    """Values' channels compete within each group; queries come last (DaViT)."""

    def mix(self, x):
        q, k, v = self.parts(self.qkv(x))
        weights = ((k * 0.5).transpose(-2, -1) @ v).softmax(-1)
        return self.out((weights @ q.transpose(-2, -1)).permute(0, 3, 1, 2).flatten(2))


class FreeQueries(Projected):
    """Channels of queries against competing ones of keys, from layers of their own: queries go one by one."""

    def __init__(self):
        super().__init__()
        self.q, self.out, self.query_dim = nn.Linear(16, 24), nn.Linear(24, 16), 6

    def mix(self, x):
        q = self.q(x).unflatten(-1, (self.num_heads, self.query_dim)).permute(0, 2, 3, 1)
        k, v = self.split(self.k(x), self.num_heads), self.split(self.v(x), self.num_heads)
        y = (q @ k).softmax(-1) @ v.transpose(-2, -1)
        return self.out(y.permute(0, 3, 1, 2).flatten(2))


class FactorisedAttention(FusedThreeHeadsInner):
    """Keys compete along the tokens alone, and a convolution of the values adds positions (CoaT)."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Conv2d(16, 16, 3, padding=1, groups=16)

    def mix(self, x):
        q, k, v = self.parts(self.qkv(x))
        y = q @ (k.softmax(2).transpose(-2, -1) @ v)
        image = v.transpose(-2, -1).reshape(len(x), -1, 4, 4)
        places = self.positions(image).reshape(len(x), self.num_heads, -1, 16).transpose(-2, -1)
        return self.out((0.5 * y + q * places).transpose(1, 2).reshape(x.shape))


class FactorisedWithFreeValues(Projected):
    """The same from layers of their own: values' channels go apart from those of queries and keys."""

    def __init__(self):
        super().__init__()
        self.v, self.out, self.value_dim = nn.Linear(16, 24), nn.Linear(24, 16), 6

    def mix(self, x):
        q, k = self.split(self.q(x), self.num_heads), self.split(self.k(x), self.num_heads)
        v = self.v(x).unflatten(-1, (self.num_heads, self.value_dim)).transpose(1, 2)
        return self.out((q @ (k.softmax(2).transpose(-2, -1) @ v)).transpose(1, 2).flatten(2))


class HeadsInnermost(FusedThreeHeadsInner):
    """The heads' results as (head_dim, heads), other than they came (NesT)."""

    def mix(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        return self.out(attend(*qkv.unbind(0)).permute(0, 2, 3, 1).reshape(b, n, c))


class PooledBesideToken(FusedThreeHeadsInner):
    """One token passes, the others are pooled by one depthwise convolution for all heads; a norm per head (MViT)."""

    def __init__(self):
        super().__init__()
        self.pools = nn.ModuleList(nn.Conv2d(4, 4, 3, 2, 1, groups=4, bias=False) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(3))

    def mix(self, x):
        x = torch.cat((x.mean(1, keepdim=True), x), 1)
        parts = zip(self.pools, self.norms, self.parts(self.qkv(x)), strict=True)
        q, k, v = (norm(self.pooled(pool, t)) for pool, norm, t in parts)
        y = (0.5 * q @ k.transpose(-2, -1)).softmax(-1) @ v + q
        return self.out(y.mean(2, keepdim=True).transpose(1, 2).flatten(2))

    def pooled(self, pool, x):
        token, rest = x.split([1, 16], 2)
        b, h, _, d = x.shape
        rest = pool(rest.transpose(2, 3).reshape(b * h, d, 4, 4))
        return torch.cat((token, rest.reshape(b, h, d, -1).transpose(2, 3)), 2)


class SampledAttention(Tokens):
    """Values of each head are read at places, and weighted, as the queries say (deformable DETR)."""

    def __init__(self, heads=4, points=3):
        super().__init__()
        self.heads, self.points = heads, points
        self.value, self.out = nn.Linear(16, heads * 4), nn.Linear(heads * 4, 16)
        self.places, self.weights = nn.Linear(16, heads * points * 2), nn.Linear(16, heads * points)

    def mix(self, x):
        b, n, _ = x.shape
        image = self.value(x).view(b, n, self.heads, -1).permute(0, 2, 3, 1).reshape(b * self.heads, -1, 4, 4)
        places = self.places(x).view(b, n, self.heads, self.points, 2).transpose(1, 2).flatten(0, 1)
        read = F.grid_sample(image, places.tanh(), align_corners=False)
        weights = self.weights(x).view(b, n, self.heads, self.points).softmax(-1).transpose(1, 2).flatten(0, 1)
        read = (read * weights[:, None]).sum(-1).view(b, -1, n)
        return self.out(read.transpose(1, 2))


class MaskedAttention(Projected):
    """Padded tokens: no position, no say in the scores; norms without weights (Gemma)."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(2, 5, 16) * 0.5)
        self.register_buffer("padding", torch.arange(16) > 12)

    def mix(self, x):
        place = F.one_hot(torch.arange(16) % 5, 5).to(x) @ self.table
        x = x + torch.where(self.padding[:, None], torch.zeros_like(x[:1]), place.sum(0))
        return super().mix(x)

    def attention(self, q, k, v):
        q, k, v = (F.rms_norm(t, t.shape[-1:]) for t in (q, k, v))
        scores = (q @ k.transpose(-2, -1)).masked_fill(self.padding, -1e4)
        return torch.where(self.padding[:, None], 0.0, scores.softmax(-1) @ v)


class BareNorms(Tokens):
    """Norms by hand, without weights, of tokens and within heads."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(16, 24), nn.Linear(24, 16)

    def mix(self, x):
        x = self.wide(x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        return self.narrow(F.layer_norm(x, x.shape[-1:]))


class ClippedLayers(Tokens):
    """Layers whose inputs and outputs are clipped by buffers (Gemma)."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(16, 24, bias=False), nn.Linear(24, 16, bias=False)
        self.register_buffer("low", torch.tensor(-torch.inf))
        self.register_buffer("high", torch.tensor(2.0))

    def mix(self, x):
        x = self.wide(x.clamp(self.low, self.high)).clamp(self.low, self.high)
        return self.narrow(x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6))


class ScalesOfHeads(nn.Module):
    """Linear attention whose further heads are convolved from the first, with a row of ones (EfficientViT)."""

    def __init__(self):
        super().__init__()
        self.dim, self.qkv, self.out = 4, nn.Conv2d(16, 24, 1), nn.Conv2d(16, 16, 1)
        self.more = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.Conv2d(24, 24, 1, groups=6))

    def forward(self, x):
        b, _, h, w = x.shape
        qkv = self.qkv(x)
        qkv = torch.cat([qkv, self.more(qkv)], 1).reshape(b, -1, 3 * self.dim, h * w).transpose(-1, -2)
        q, k, v = qkv.chunk(3, -1)
        y = F.relu(q) @ (F.relu(k).transpose(-1, -2) @ F.pad(v, (0, 1), value=1.0))
        y = y[..., :-1] / (y[..., -1:] + 1e-3)
        return x + self.out(y.transpose(-1, -2).reshape(b, -1, h, w))


BODIES = (
    CrossCovariance, CrossCovarianceInOneOperator, ChannelGroups, FreeQueries, FactorisedAttention,
    FactorisedWithFreeValues, HeadsInnermost, PooledBesideToken, SampledAttention, MaskedAttention, BareNorms,
    ClippedLayers, ScalesOfHeads,
)  # fmt: skip
