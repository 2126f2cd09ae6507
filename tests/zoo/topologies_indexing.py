"""Channels and tokens picked, written and counted by numbers."""

import torch
from torch import nn
from torch.nn import functional as F
from zoo.topologies_parts import Tokens, conv


class PickedTokens(Tokens):
    """The strongest tokens by topk and fancy indexing."""

    def __init__(self):
        super().__init__()
        self.score, self.mixer = nn.Linear(16, 1), nn.Linear(16, 16)

    def forward(self, x):
        x = self.norm1(F.avg_pool2d(x, 4).flatten(2).transpose(1, 2))
        best = self.score(x).squeeze(-1).topk(6, 1).indices
        y = self.down(F.gelu(self.up(x[torch.arange(len(x))[:, None], best])))
        return y.transpose(1, 2)[..., None]


class GatheredTokens(Tokens):
    """The same by gather, with an index as wide as an attribute says."""

    def __init__(self):
        super().__init__()
        self.score, self.a, self.b, self.width = nn.Linear(16, 1), nn.Linear(16, 20), nn.Linear(20, 16), 20

    def mix(self, x):
        best = self.score(x).squeeze(-1).topk(16, 1).indices
        return self.b(F.relu(self.a(x)).gather(1, best.unsqueeze(-1).expand(-1, -1, self.width)))


class PickedByNumber(nn.Module):
    """One channel gates all others: those before it are counted."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(16, 24), conv(24, 16)

    def forward(self, x):
        x = self.a(x)
        return self.b(x * x[:, 5].sigmoid().unsqueeze(1))


class PickedChannels(nn.Module):
    """Channels by a list in the code, and in an order that a buffer holds."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.out = conv(16, 20), conv(16, 12), conv(4, 16), conv(28, 16)
        self.register_buffer("order", torch.randperm(12))

    def forward(self, x):
        y = self.c(self.a(x)[:, [1, 4, 2, 7]])
        z = self.b(x)[:, self.order]
        return self.out(torch.cat([y, z], 1))


class OrderedChannels(nn.Module):
    """index_select by a buffer; the flipped order beside it."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(16, 20), conv(20, 24), conv(24, 16)
        self.register_buffer("order", torch.randperm(20))

    def forward(self, x):
        x = self.a(x)
        x = self.b(x.index_select(1, self.order) + 0.5 * x.flip(1))
        return self.out(x)


class RolledChannels(nn.Module):
    """A roll along the channels: those that it carries over the end are counted."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(16, 24), conv(24, 16)

    def forward(self, x):
        return self.b(self.a(x).roll(3, 1))


class WrittenInPlace(nn.Module):
    """Slices and masks of a tensor are overwritten."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(16, 20), conv(16, 20), conv(20, 16)

    def forward(self, x):
        y, z = self.a(x), self.b(x)
        out = torch.zeros_like(y)
        out[:, :, ::2] = y[:, :, ::2]
        out[:, :, 1::2] += z[:, :, 1::2]
        return self.out(out.masked_fill(out > 3, 3.0))


class ScatteredRows(Tokens):
    """Tokens added by number: index_add, scatter_add."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(16, 20) for _ in range(3))
        self.out = nn.Linear(20, 16)

    def mix(self, x):
        y, z = self.b(x), self.c(x)[:, :8]
        rows = torch.arange(0, 16, 2)
        out = self.a(x).index_add(1, rows, y[:, 8:])
        where = (rows + 1)[None, :, None].expand(len(x), -1, z.shape[-1])
        return self.out(out.scatter_add(1, where, z))


class WrittenRows(Tokens):
    """Tokens written by number, from another layer than the rest."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 20), nn.Linear(16, 20), nn.Linear(20, 16)

    def mix(self, x):
        y, rows = self.a(x), torch.arange(0, 16, 2)
        y[:, rows] = self.b(x)[:, rows]
        return self.c(y)


class IndexedTokens(Tokens):
    """Tokens in another order."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 20), nn.Linear(20, 16)

    def mix(self, x):
        return self.b(F.relu(self.a(x))[:, torch.arange(15, -1, -1)])


class Frequencies(nn.Module):
    """Filters learned in the frequency domain (GFNet): per channel, over space."""

    def __init__(self):
        super().__init__()
        self.a, self.out = conv(16, 20), conv(20, 16)
        self.filter = nn.Parameter(torch.randn(20, 16, 9, 2) * 0.3)

    def forward(self, x):
        y = torch.fft.rfft2(self.a(x), norm="ortho")
        return self.out(torch.fft.irfft2(y * torch.view_as_complex(self.filter), s=(16, 16), norm="ortho"))


class Regions(nn.Module):
    """Features of boxes, sampled points, and a table looked up by computed numbers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(16, 20), conv(20, 12), conv(12, 16)
        self.table = nn.Embedding(8, 12)

    def forward(self, x):
        from torchvision.ops import roi_align

        y = self.a(x)
        boxes = torch.tensor([[k, 1.0, 1.0, 12.0, 12.0] for k in range(len(x))], dtype=y.dtype)
        y = self.b(roi_align(y, boxes, (8, 8)))
        grid = F.affine_grid(
            torch.eye(2, 3, dtype=y.dtype).expand(len(y), 2, 3), (len(y), 1, 6, 6), align_corners=False
        )
        y = F.grid_sample(y, grid, align_corners=False)
        return self.out(y + self.table((5 * torch.arange(len(y)) + 2) % 8)[..., None, None])


class Distances(Tokens):
    """How near tokens are to codewords."""

    def __init__(self):
        super().__init__()
        self.reduce, self.codes = nn.Linear(16, 12, bias=False), nn.Parameter(torch.randn(10, 12))
        self.back = nn.Linear(10, 16)

    def mix(self, x):
        x = self.reduce(x)
        near = (-torch.cdist(x, self.codes.expand(len(x), -1, -1))).exp()
        return self.back(near)


class FourierMixing(nn.Module):
    """A transform over the channels (FNet): they must all stay, those behind it need not."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(16, 20), conv(20, 24), conv(24, 16)

    def forward(self, x):
        return self.out(self.b(torch.fft.fft(self.a(x), dim=1).real))


class ShuffleChain(nn.Module):
    """Two shuffles in a row, with halves of 10 that cannot be quartered: rows lose other indices, equally many."""

    def __init__(self):
        super().__init__()
        self.wide, self.left, self.right = nn.ModuleList((conv(16, 10), conv(16, 10))), conv(10, 10), conv(10, 10)
        self.out = conv(20, 16)

    def forward(self, x):
        x = self.shuffled(torch.cat([branch(x) for branch in self.wide], 1))
        for branch in (self.left, self.right):
            first, second = x.chunk(2, 1)
            x = self.shuffled(torch.cat((first, branch(second)), 1))
        return self.out(x)

    def shuffled(self, x):
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class PartsByAttributes(nn.Module):
    """Pieces as wide as one attribute over another: their number stays."""

    def __init__(self):
        super().__init__()
        self.width, self.parts, self.a, self.b, self.out = 24, 3, conv(16, 24), conv(8, 20), conv(20, 16)

    def forward(self, x):
        first, second, third = self.a(x).split(self.width // self.parts, 1)
        return self.out(self.b(first * second + third))


class Warped(nn.Module):
    """An image read at the places of a flow, whose two channels must stay (optical flow)."""

    def __init__(self):
        super().__init__()
        self.a, self.flow, self.out = conv(16, 20), nn.Conv2d(16, 2, 3, padding=1), conv(20, 16)

    def forward(self, x):
        return self.out(F.grid_sample(self.a(x), self.flow(x).permute(0, 2, 3, 1).tanh(), align_corners=False))


BODIES = (
    PickedTokens, GatheredTokens, PickedByNumber, FourierMixing, PickedChannels, OrderedChannels, RolledChannels,
    WrittenInPlace, WrittenRows, ScatteredRows, IndexedTokens, Frequencies, Regions, Distances, Warped, ShuffleChain,
    PartsByAttributes,
)  # fmt: skip
