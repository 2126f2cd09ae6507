"""Ten-line networks, one per way in which channels hang together; each takes (B, 3, 16, 16) and returns (B, 5)."""

import torch
from torch import nn
from torch.nn import functional as F


class Stem(nn.Module):
    """A convolution before and a classifier after a body that keeps (B, 16, 16, 16)."""

    def __init__(self, body, width=16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.body = body
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def conv(i, o, k=3, **kwargs):
    return nn.Sequential(nn.Conv2d(i, o, k, padding=k // 2, **kwargs), nn.BatchNorm2d(o), nn.SiLU())


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(16, 24), conv(24, 16)

    def forward(self, x):
        return x + self.b(self.a(x))


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(16, 8), conv(16, 12), conv(36, 16)

    def forward(self, x):
        return self.c(torch.cat([self.a(x), x, self.b(x)], 1))


class ChunkWithSplit(nn.Module):
    """Halves by chunk in ``forward``, by the attribute ``c`` in ``forward_split``."""

    def __init__(self):
        super().__init__()
        self.c = 8
        self.cv1, self.cv2, self.m = conv(16, 16, 1), conv(24, 16, 1), conv(8, 8)

    def forward(self, x):
        y = list(self.cv1(x).chunk(2, 1))
        return self.cv2(torch.cat([*y, y[1] + self.m(y[1])], 1))

    def forward_split(self, x):
        y = list(self.cv1(x).split((self.c, self.c), 1))
        return self.cv2(torch.cat([*y, y[1] + self.m(y[1])], 1))


class UnequalSplit(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = 6, 10
        self.cv1, self.a, self.b = conv(16, 16), conv(6, 16), conv(10, 16)

    def forward(self, x):
        a, b = self.cv1(x).split([self.left, self.right], 1)
        return self.a(a) + self.b(b)


class LiteralSplit(nn.Module):
    def __init__(self):
        super().__init__()
        self.cv1, self.a, self.b = conv(16, 16), conv(6, 16), conv(10, 16)

    def forward(self, x):
        a, b = self.cv1(x).split([6, 10], 1)
        return self.a(a) + self.b(b)


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(16, 24, groups=4), conv(24, 24, groups=24), conv(24, 16, 1)

    def forward(self, x):
        return self.c(self.b(self.a(x)))


class DepthMultiplier(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(16, 32, groups=16), conv(32, 16, 1)

    def forward(self, x):
        return self.b(self.a(x))


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.ConvTranspose2d(16, 12, 2, stride=2)
        self.b = nn.ConvTranspose2d(12, 16, 2, stride=2, groups=4)

    def forward(self, x):
        return F.max_pool2d(self.b(F.relu(self.a(x))), 4)


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.down, self.up = conv(16, 16), nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)

    def forward(self, x):
        x = self.a(x)
        return x * self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid()


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.groups = 2
        self.a, self.b = conv(16, 16, groups=2), conv(16, 16)

    def forward(self, x):
        x = self.a(x)
        b, c, h, w = x.shape
        x = x.view(b, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.b(x)


class PixelShuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(16, 32), conv(8, 16)

    def forward(self, x):
        return F.max_pool2d(self.b(F.pixel_shuffle(self.a(x), 2)), 2)


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


class Flatten(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc, self.out = conv(16, 10), nn.Linear(160, 24), nn.Linear(24, 16)

    def forward(self, x):
        return self.out(F.relu(self.fc(F.adaptive_avg_pool2d(self.a(x), 4).flatten(1))))[:, :, None, None]


class CalledTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(16, 16), conv(16, 16)

    def forward(self, x):
        return self.b(self.a(self.a(x)))


class TiedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1), conv(16, 16)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.out(self.b(F.relu(self.a(x))))


class Rearranged(nn.Module):
    """Stack, unbind, flip, roll over space, PReLU, padding, a buffer with a channel axis."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.act = conv(16, 12), conv(12, 16), nn.PReLU(12)
        self.register_buffer("offset", torch.rand(12, 1, 1))

    def forward(self, x):
        x = self.act(self.a(x)) + self.offset
        first, second = torch.stack([x, x.flip(1).flip(1)], 2).unbind(2)
        return self.b(F.pad((first + second).roll(1, 3), (1, 0, 1, 0)))


class Branching(nn.Module):
    """Python control flow on shapes, and a gate of the form broadcast over space."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.gate = conv(16, 20), conv(20, 16), nn.Linear(20, 20)

    def forward(self, x):
        for _ in range(2 if x.shape[-1] > 8 else 1):
            y = self.a(x)
        return self.b(y * self.gate(y.mean((2, 3)))[..., None, None].tanh())


BODIES = {
    kind.__name__: kind
    for kind in (
        Residual, Concat, ChunkWithSplit, UnequalSplit, LiteralSplit, Grouped, DepthMultiplier, Transposed,
        SqueezeExcite, Shuffle, PixelShuffle, GroupNorms, LayerScale, Flatten, CalledTwice, TiedWeights,
        Rearranged, Branching,
    )
}  # fmt: skip


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
