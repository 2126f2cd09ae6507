"""Convolutions, branches and joins."""

import torch
from torch import nn
from torch.nn import functional as F
from zoo.topologies_parts import conv


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


class GroupsBetween(nn.Module):
    """Groups of 4 inputs and 6 outputs, which may go whole (ResNeXt, RegNet)."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(16, 20, 1), conv(20, 30, groups=5), conv(30, 16, 1)

    def forward(self, x):
        return x + self.c(self.b(self.a(x)))


class GroupsByAttribute(nn.Module):
    """The same by a function, the number of groups being an attribute of the user's own."""

    def __init__(self):
        super().__init__()
        self.parts, self.a, self.c = 5, conv(16, 20, 1), conv(30, 16, 1)
        self.weight = nn.Parameter(torch.randn(30, 4, 3, 3) / 6)

    def forward(self, x):
        return x + self.c(F.conv2d(self.a(x), self.weight, padding=1, groups=self.parts))


class GroupsByLiteral(nn.Module):
    """The same with a number in the code, which cannot change: only channels of each group go."""

    def __init__(self):
        super().__init__()
        self.a, self.c, self.weight = conv(16, 20, 1), conv(30, 16, 1), nn.Parameter(torch.randn(30, 4, 3, 3) / 6)

    def forward(self, x):
        return x + self.c(F.conv2d(self.a(x), self.weight, padding=1, groups=5))


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


class Branching(nn.Module):
    """Python control flow on shapes, and a gate of the form broadcast over space."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.gate = conv(16, 20), conv(20, 16), nn.Linear(20, 20)

    def forward(self, x):
        for _ in range(2 if x.shape[-1] > 8 else 1):
            y = self.a(x)
        return self.b(y * self.gate(y.mean((2, 3)))[..., None, None].tanh())


class CascadedConcat(nn.Module):
    """Dense block: every layer sees all before it, in one growing tensor."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(conv(16 + 6 * k, 6) for k in range(3))
        self.out = conv(34, 16, 1)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.out(x)


class OneDimensional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(16, 24, 3, padding=1), nn.ConvTranspose1d(24, 16, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm1d(24)

    def forward(self, x):
        return self.b(F.relu(self.norm(self.a(x.flatten(2))))).view(x.shape)


class ThreeDimensional(nn.Module):
    """Frames made of shifted images."""

    def __init__(self):
        super().__init__()
        self.a, self.norm = nn.Conv3d(16, 24, (3, 3, 3), padding=1), nn.BatchNorm3d(24)
        self.b = nn.Conv3d(24, 16, (2, 1, 1))

    def forward(self, x):
        frames = torch.stack([F.avg_pool2d(x, 2), F.max_pool2d(x, 2)], 2)
        return self.b(F.max_pool3d(F.relu(self.norm(self.a(frames))), (1, 2, 2))).squeeze(2)


class RepVgg(nn.Module):
    """Three branches of one sum, one of them only a norm."""

    def __init__(self):
        super().__init__()
        self.a, self.big, self.small, self.norm = (
            conv(16, 20),
            nn.Conv2d(20, 20, 3, padding=1),
            nn.Conv2d(20, 20, 1),
            nn.BatchNorm2d(20),
        )
        self.out = conv(20, 16)

    def forward(self, x):
        x = self.a(x)
        return self.out(F.relu(self.big(x) + self.small(x) + self.norm(x)))


class ParametersUsedDirectly(nn.Module):
    """A kernel, a bias and a mixing matrix that belong to no layer."""

    def __init__(self):
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.randn(20, 16, 3, 3) * 0.1), nn.Parameter(torch.randn(20))
        self.mix = nn.Parameter(torch.randn(20, 16) * 0.2)

    def forward(self, x):
        x = F.conv2d(x, self.kernel, self.bias, padding=1).relu()
        return (x.movedim(1, -1) @ self.mix).movedim(-1, 1)


class GatedHalves(nn.Module):
    """Gated linear unit in one operator, and by hand."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(16, 24), nn.Conv2d(12, 20, 1), conv(10, 16)

    def forward(self, x):
        gate, value = self.b(F.glu(self.a(x), 1)).chunk(2, 1)
        return self.c(F.silu(gate) * value)


class Deformable(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.offset, self.out = conv(16, 16), nn.Conv2d(16, 18, 3, padding=1), conv(12, 16)
        self.weight = nn.Parameter(torch.randn(12, 16, 3, 3) * 0.1)

    def forward(self, x):
        from torchvision.ops import deform_conv2d

        x = self.a(x)
        return self.out(deform_conv2d(x, self.offset(x), self.weight, padding=1))


class PaddedChannels(nn.Module):
    """A shortcut whose missing channels are zeros (ResNet's option A)."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(16, 24), conv(24, 24), conv(24, 16)

    def forward(self, x):
        return self.out(F.pad(x, (0, 0, 0, 0, 4, 4)) + self.b(self.a(x)))


class CoordinateChannels(nn.Module):
    """Channels that no layer made, joined to those of one."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(16, 20), conv(22, 16)

    def forward(self, x):
        x = self.a(x)
        grid = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
        ys, xs = torch.meshgrid(grid, grid, indexing="ij")
        return self.b(torch.cat([x, torch.stack([xs, ys]).expand(x.shape[0], -1, -1, -1)], 1))


class LevelsMixed(nn.Module):
    """Pooled features of three levels mixed by a convolution that has levels for channels (CoaT)."""

    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList(conv(16, 20) for _ in range(3))
        self.mix, self.out = nn.Conv1d(3, 1, 1), nn.Conv1d(20, 16, 1)

    def forward(self, x):
        pooled = torch.stack([level(x).mean((2, 3)) for level in self.levels], 1)
        return x * self.out(self.mix(pooled).transpose(1, 2))[..., None]


BODIES = (
    Residual, Concat, CascadedConcat, ChunkWithSplit, UnequalSplit, LiteralSplit, Grouped, GroupsBetween,
    GroupsByAttribute, GroupsByLiteral, DepthMultiplier, Transposed, SqueezeExcite, CalledTwice, TiedWeights,
    Branching, OneDimensional, ThreeDimensional, RepVgg, ParametersUsedDirectly, GatedHalves, Deformable,
    PaddedChannels, CoordinateChannels, LevelsMixed,
)  # fmt: skip
