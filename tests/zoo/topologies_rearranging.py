"""Channels that change their place: views, shuffles, windows, groups."""

import torch
from torch import nn
from torch.nn import functional as F
from zoo.topologies_parts import conv


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


class Flatten(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc, self.out = conv(16, 10), nn.Linear(160, 24), nn.Linear(24, 16)

    def forward(self, x):
        return self.out(F.relu(self.fc(F.adaptive_avg_pool2d(self.a(x), 4).flatten(1))))[:, :, None, None]


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


class ShuffleModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.shuffle = conv(16, 24, groups=4), conv(24, 16), nn.ChannelShuffle(4)

    def forward(self, x):
        return self.b(self.shuffle(self.a(x)))


class PixelUnshuffle(nn.Module):
    """To channels and back, once by an operator and once by views."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(16, 6), conv(24, 16)

    def forward(self, x):
        return self.b(F.pixel_unshuffle(self.a(x), 2))


class SpaceToDepth(nn.Module):
    """Slices of every second pixel joined on the channels (YOLOv5's Focus, Swin's patch merging)."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = conv(16, 10), nn.LayerNorm(40), nn.Linear(40, 16, bias=False)

    def forward(self, x):
        x = self.a(x).permute(0, 2, 3, 1)
        corners = [x[:, i::2, j::2, :] for j in (0, 1) for i in (0, 1)]
        return self.b(self.norm(torch.cat(corners, -1))).permute(0, 3, 1, 2)


class FlattenChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc, self.out = conv(16, 10), nn.Linear(160, 24), nn.Linear(24, 16)

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.a(x), 4).permute(0, 2, 3, 1)
        return self.out(F.relu(self.fc(x.flatten(1))))[:, :, None, None]


class GroupStatistics(nn.Module):
    """Mean over groups of channels, and the largest of each pair (maxout)."""

    def __init__(self):
        super().__init__()
        self.groups = 4
        self.a, self.b, self.out = conv(16, 24), conv(6, 20), conv(10, 16)

    def forward(self, x):
        x = self.a(x)
        b, _, h, w = x.shape
        x = self.b(x.view(b, self.groups, -1, h, w).mean(1))
        return self.out(x.view(b, 2, -1, h, w).amax(1))


class SplitAttention(nn.Module):
    """Softmax over the radix of a joint axis (ResNeSt)."""

    def __init__(self):
        super().__init__()
        self.radix = 2
        self.a, self.down, self.up, self.out = (
            conv(16, 24, groups=2),
            nn.Conv2d(12, 8, 1),
            nn.Conv2d(8, 24, 1),
            conv(12, 16),
        )

    def forward(self, x):
        x = self.a(x)
        b, c, h, w = x.shape
        x = x.view(b, self.radix, c // self.radix, h, w)
        gate = self.up(F.relu(self.down(x.sum(1).mean((2, 3), keepdim=True))))
        gate = gate.view(b, self.radix, c // self.radix, 1, 1).softmax(1)
        return self.out((x * gate).sum(1))


class SelectiveKernels(nn.Module):
    """Softmax over stacked branches (SKNet)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(16, 20), conv(16, 20)
        self.down, self.up, self.out = nn.Linear(20, 8), nn.ModuleList(nn.Linear(8, 20) for _ in range(2)), conv(20, 16)

    def forward(self, x):
        branches = torch.stack([self.a(x), self.b(x)], 1)
        z = F.relu(self.down(branches.sum(1).mean((2, 3))))
        gate = torch.stack([up(z) for up in self.up], 1).softmax(1)
        return self.out((branches * gate[..., None, None]).sum(1))


class SoftmaxGate(nn.Module):
    """A gate whose channels compete: they must all stay, the others need not."""

    def __init__(self):
        super().__init__()
        self.a, self.gate, self.b, self.out = conv(16, 24), nn.Linear(24, 20), conv(24, 20), conv(20, 16)

    def forward(self, x):
        x = self.a(x)
        return self.out(self.b(x) * self.gate(x.mean((2, 3))).softmax(1)[..., None, None])


class WindowPartition(nn.Module):
    """Shifted windows, and back."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.up, self.down = conv(16, 20), nn.LayerNorm(20), nn.Linear(20, 28), nn.Linear(28, 16)

    def forward(self, x):
        x = self.a(x).permute(0, 2, 3, 1).roll((-2, -2), (1, 2))
        b, h, w, c = x.shape
        x = x.view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
        x = self.down(F.gelu(self.up(self.norm(x))))
        x = x.view(b, h // 4, w // 4, 4, 4, -1).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, -1)
        return x.roll((2, 2), (1, 2)).permute(0, 3, 1, 2)


class UnfoldedPatches(nn.Module):
    """Patches of every channel as rows, and back to an image."""

    def __init__(self):
        super().__init__()
        self.a, self.mix, self.out = conv(16, 10), nn.Linear(40, 24), conv(6, 16)

    def forward(self, x):
        rows = F.unfold(self.a(x), 2, stride=2)
        rows = self.mix(rows.transpose(1, 2)).transpose(1, 2)
        return self.out(F.fold(rows, (16, 16), 2, stride=2))


class InterleavedPairs(nn.Module):
    """Even and odd channels by strided slices, apart and joined again."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = conv(16, 20), conv(20, 16), conv(16, 24), conv(12, 16)

    def forward(self, x):
        y, z = self.a(x), self.c(x)
        even, odd = y[:, ::2], y[:, 1::2]
        return self.b(torch.stack([even - odd, odd * even], 2).flatten(1, 2)) + self.d(z[:, 1::2])


class ComplexPairs(nn.Module):
    """Neighbouring channels as complex numbers, turned by a parameter."""

    def __init__(self):
        super().__init__()
        self.a, self.angle, self.b = nn.Linear(16, 24), nn.Parameter(torch.randn(12)), nn.Linear(24, 16)

    def forward(self, x):
        x = self.a(x.permute(0, 2, 3, 1))
        z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        z = z * torch.polar(torch.ones_like(self.angle), self.angle)
        return self.b(torch.view_as_real(z).flatten(-2)).permute(0, 3, 1, 2)


class SeparateHalves(nn.Module):
    """Halves of one layer that never meet."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(16, 24), conv(12, 16), conv(12, 16)

    def forward(self, x):
        left, right = self.a(x).chunk(2, 1)
        return self.b(left) + self.c(right)


class StackAndUnbind(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.out, self.width = nn.Conv2d(16, 36, 1), conv(12, 16), 12

    def forward(self, x):
        first, second, third = self.a(x).unflatten(1, (-1, self.width)).unbind(1)
        return self.out(torch.stack([first.sigmoid() * second, third], -1).mean(-1))


class SeparateThirds(nn.Module):
    """Parts by unbind that never meet; an attribute says how wide they are, the code how many."""

    def __init__(self):
        super().__init__()
        self.a, self.width, self.out = nn.Conv2d(16, 24, 1), 8, conv(24, 16)

    def forward(self, x):
        first, second, third = self.a(x).unflatten(1, (-1, self.width)).unbind(1)
        return self.out(torch.cat([first, third.relu(), second.tanh()], 1))


class RepeatedChannels(nn.Module):
    """Every channel several times: end to end, and in place."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(16, 10), conv(20, 8), conv(16, 16)

    def forward(self, x):
        x = self.b(self.a(x).repeat(1, 2, 1, 1))
        return self.out(x.repeat_interleave(2, 1))


class UnevenPieces(nn.Module):
    """Pieces of 7, 7 and 6 channels, each added to the next (EdgeNeXt)."""

    def __init__(self):
        super().__init__()
        self.a, self.out = conv(16, 20), conv(20, 16)
        self.first, self.second = (nn.Conv2d(7, 7, 3, padding=1, groups=7) for _ in range(2))

    def forward(self, x):
        a, b, c = self.a(x).chunk(3, 1)
        a = self.first(a)
        return self.out(torch.cat([a, self.second(a + b), c], 1))


class UnevenByAttribute(nn.Module):
    """The same pieces by a width that the module holds."""

    def __init__(self):
        super().__init__()
        self.width, self.a, self.out = 7, conv(16, 20), conv(20, 16)

    def forward(self, x):
        a, b, c = self.a(x).split(self.width, 1)
        return self.out(torch.cat([a * b, b, c], 1))


BODIES = (
    Shuffle, PixelShuffle, Flatten, Rearranged, ShuffleModule, PixelUnshuffle, SpaceToDepth, FlattenChannelsLast,
    GroupStatistics, SplitAttention, SelectiveKernels, SoftmaxGate, WindowPartition, UnfoldedPatches,
    InterleavedPairs, ComplexPairs, SeparateHalves, SeparateThirds, StackAndUnbind, RepeatedChannels,
    UnevenPieces, UnevenByAttribute,
)  # fmt: skip
