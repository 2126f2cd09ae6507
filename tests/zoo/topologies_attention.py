"""Attention in the layouts that occur; each mixes 16 tokens of 16 channels in 4 heads of 4."""

import torch
from torch import nn
from torch.nn import functional as F
from zoo.topologies_parts import Tokens

attend = F.scaled_dot_product_attention


class Projected(Tokens):
    """Queries, keys and values from layers of their own, with an output layer."""

    def __init__(self, heads=4, head_dim=4, kv_heads=4):
        super().__init__()
        self.num_heads, self.head_dim, self.kv_heads = heads, head_dim, kv_heads
        self.q, self.out = nn.Linear(16, heads * head_dim), nn.Linear(heads * head_dim, 16)
        self.k, self.v = nn.Linear(16, kv_heads * head_dim), nn.Linear(16, kv_heads * head_dim)

    def split(self, x, heads):
        return x.view(x.shape[0], x.shape[1], heads, self.head_dim).transpose(1, 2)

    def mix(self, x):
        q, k, v = self.split(self.q(x), self.num_heads), self.split(self.k(x), self.kv_heads), self.v(x)
        y = self.attention(q, k, self.split(v, self.kv_heads))
        return self.out(y.transpose(1, 2).flatten(2))

    def attention(self, q, k, v):
        return attend(q, k, v)


class SeparateProjections(Projected):
    pass


class SoftmaxByHand(Projected):
    def attention(self, q, k, v):
        return (q @ k.transpose(-2, -1) * 0.5).softmax(-1) @ v


class EinsumAttention(Projected):
    def attention(self, q, k, v):
        scores = torch.einsum("bhid,bhjd->bhij", q, k) * 0.5
        return torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)


class GroupedQueries(Projected):
    """Keys and values repeated by expand and reshape."""

    def __init__(self):
        super().__init__(kv_heads=2)
        self.groups = 2

    def attention(self, q, k, v):
        b, h, n, d = k.shape
        k = k[:, :, None].expand(b, h, self.groups, n, d).reshape(b, h * self.groups, n, d)
        v = v[:, :, None].expand(b, h, self.groups, n, d).reshape(b, h * self.groups, n, d)
        return attend(q, k, v)


class GroupedQueriesInOneOperator(Projected):
    def __init__(self):
        super().__init__(kv_heads=2)

    def attention(self, q, k, v):
        return attend(q, k, v, enable_gqa=True)


class MultiQuery(Projected):
    """One key and value head for all."""

    def __init__(self):
        super().__init__(kv_heads=1)


class CosineAttention(Projected):
    """Normalised queries and keys, with a temperature per head (Swin v2)."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.rand(4, 1, 1) + 0.5)

    def attention(self, q, k, v):
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return (scores * self.temperature.clamp(max=4.0).exp()).softmax(-1) @ v


class NormalisedHeads(Projected):
    """A root-mean-square norm per head (Qwen 3)."""

    def __init__(self):
        super().__init__()
        self.q_norm, self.k_norm = nn.RMSNorm(4), nn.RMSNorm(4)

    def attention(self, q, k, v):
        return attend(self.q_norm(q), self.k_norm(k), v)


class PooledHeads(Projected):
    """Keys of every head through one depthwise convolution over the image (MViT)."""

    def __init__(self):
        super().__init__(heads=2, head_dim=8, kv_heads=2)
        self.pool = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False)

    def attention(self, q, k, v):
        b, h, _, d = k.shape
        k, v = (self.pool(t.reshape(b * h, 4, 4, d).permute(0, 3, 1, 2)) for t in (k, v))
        k, v = (t.reshape(b, h, d, -1).transpose(2, 3) for t in (k, v))
        return attend(q, k, v)


class ReluAttention(Projected):
    """Linear attention with a kernel that keeps zeros (EfficientViT)."""

    def attention(self, q, k, v):
        q, k = F.relu(q), F.relu(k)
        v = F.pad(v, (0, 1), value=1.0)
        y = q @ (k.transpose(-2, -1) @ v)
        return y[..., :-1] / (y[..., -1:] + 1e-6)


class EluAttention(Projected):
    """Linear attention with a kernel that is one where its input is zero: its inner channels must stay."""

    def attention(self, q, k, v):
        return (F.elu(q) + 1) @ ((F.elu(k) + 1).transpose(-2, -1) @ v)


class ChannelAttention(Projected):
    """Attention between the channels of a head (XCiT): they compete."""

    def attention(self, q, k, v):
        q, k = F.normalize(q, dim=-2), F.normalize(k, dim=-2)
        return v @ (q.transpose(-2, -1) @ k).softmax(-1)


class RotaryHalves(Projected):
    """Rotary embedding on halves of a head: cat of -x2 and x1."""

    def __init__(self):
        super().__init__(heads=2, head_dim=8, kv_heads=2)
        self.register_buffer("cos", torch.randn(16, 4).cos().repeat(1, 2))
        self.register_buffer("sin", torch.randn(16, 4).sin().repeat(1, 2))

    def turn(self, x):
        half = x.shape[-1] // 2
        return x * self.cos + torch.cat([-x[..., half:], x[..., :half]], -1) * self.sin

    def attention(self, q, k, v):
        return attend(self.turn(q), self.turn(k), v)


class RotaryPairs(Projected):
    """Rotary embedding on neighbours: even and odd channels."""

    def __init__(self):
        super().__init__(heads=2, head_dim=8, kv_heads=2)
        self.register_buffer("angle", torch.randn(16, 4))

    def turn(self, x):
        even, odd = x[..., ::2], x[..., 1::2]
        c, s = self.angle.cos(), self.angle.sin()
        return torch.stack([even * c - odd * s, even * s + odd * c], -1).flatten(-2)

    def attention(self, q, k, v):
        return attend(self.turn(q), self.turn(k), v)


class RotaryComplex(RotaryPairs):
    """The same by complex numbers."""

    def turn(self, x):
        z = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2).contiguous())
        z = z * torch.polar(torch.ones_like(self.angle), self.angle).to(z.dtype)
        return torch.view_as_real(z).flatten(-2).type_as(x)


class FusedThreeHeadsInner(Tokens):
    """One layer for all three, laid out as (3, heads, head_dim)."""

    layout = (2, 0, 3, 1, 4)

    def __init__(self):
        super().__init__()
        self.num_heads, self.qkv, self.out = 4, nn.Linear(16, 48), nn.Linear(16, 16)

    def parts(self, y):
        b, n, c = y.shape
        return y.reshape(b, n, 3, self.num_heads, c // 3 // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)

    def mix(self, x):
        return self.out(attend(*self.parts(self.qkv(x))).transpose(1, 2).flatten(2))


class FusedHeadsThreeInner(FusedThreeHeadsInner):
    """(heads, 3, head_dim), cut by split along the inner axis."""

    def parts(self, y):
        b, n, _ = y.shape
        return y.view(b, n, self.num_heads, -1).transpose(1, 2).chunk(3, -1)


class FusedHeadsInnerThree(FusedThreeHeadsInner):
    """(heads, head_dim, 3)."""

    def parts(self, y):
        y = y.unflatten(2, (self.num_heads, -1, 3)).transpose(1, 2)
        return y[..., 0], y[..., 1], y[..., 2]


class FusedChunks(FusedThreeHeadsInner):
    """Cut into three first, into heads afterwards."""

    def parts(self, y):
        return [t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in y.chunk(3, -1)]


class RelativePositions(FusedThreeHeadsInner):
    """A bias per head from a table of relative positions (Swin)."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(49, 4) * 0.2)
        place = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
        offset = place[:, :, None] - place[:, None] + 3
        self.register_buffer("index", (offset[0] * 7 + offset[1]).view(-1))

    def mix(self, x):
        q, k, v = self.parts(self.qkv(x))
        bias = self.table[self.index].view(16, 16, -1).permute(2, 0, 1)
        scores = (q @ k.transpose(-2, -1) * 0.5 + bias.unsqueeze(0)).softmax(-1)
        return self.out((scores @ v).transpose(1, 2).flatten(2))


class ModuleAttention(Tokens):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def mix(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class CrossAttention(Tokens):
    """Keys and values from tokens of another width; learned queries."""

    def __init__(self):
        super().__init__()
        self.queries, self.wide = nn.Parameter(torch.randn(16, 16) * 0.5), nn.Linear(16, 12)
        self.attention = nn.MultiheadAttention(16, 4, kdim=12, vdim=12, batch_first=True)

    def mix(self, x):
        memory = F.relu(self.wide(x))
        return self.attention(self.queries.expand(len(x), -1, -1), memory, memory, need_weights=False)[0]


class ClassToken(Projected):
    """A class token and position embeddings; the token alone goes on."""

    def __init__(self):
        super().__init__()
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))

    def forward(self, x):
        x = F.avg_pool2d(x, 4).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        x = x + self.mix(self.norm1(x))
        return self.norm2(x)[:, 0, :, None, None]


class ResizedPositions(Projected):
    """A grid of position embeddings, resized to the image."""

    def __init__(self):
        super().__init__()
        self.grid = nn.Parameter(torch.randn(1, 16, 3, 3))

    def mix(self, x):
        grid = F.interpolate(self.grid, size=(4, 4), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 16, -1)
        return super().mix(x + grid)


class TokenMixer(Tokens):
    """A layer over the tokens: their number is the image's, the hidden one is free."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 20), nn.Linear(20, 16)

    def mix(self, x):
        return self.b(F.gelu(self.a(x.transpose(1, 2)))).transpose(1, 2)


class ShapeAttribute(Tokens):
    """A scale viewed by a shape that stands in an attribute (ConvFormer)."""

    def __init__(self):
        super().__init__()
        self.shape, self.scale = (1, 1, 16), nn.Parameter(torch.rand(16) + 0.5)
        self.wide, self.narrow = nn.Linear(16, 24), nn.Linear(24, 16)

    def mix(self, x):
        return x * self.scale.view(self.shape) + self.narrow(F.relu(self.wide(x)) ** 2)


BODIES = (
    SeparateProjections, SoftmaxByHand, EinsumAttention, GroupedQueries, GroupedQueriesInOneOperator, MultiQuery,
    CosineAttention, NormalisedHeads, PooledHeads, ReluAttention, EluAttention, ChannelAttention, RotaryHalves,
    RotaryPairs, RotaryComplex, FusedThreeHeadsInner, FusedHeadsThreeInner, FusedHeadsInnerThree, FusedChunks,
    RelativePositions, ModuleAttention, CrossAttention, ClassToken, ResizedPositions, TokenMixer, ShapeAttribute,
)  # fmt: skip
