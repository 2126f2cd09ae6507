"""What runs depends on numbers, on the mode, or on chance; what is added up depends on positions."""

import torch
from torch import nn
from zoo.topologies_parts import Tokens, conv


class Experts(nn.Module):
    """Of several experts, one gets nothing in the traced run; it must fit all the same."""

    def __init__(self):
        super().__init__()
        self.a, self.out = conv(16, 20), conv(24, 16)
        self.experts = nn.ModuleList(conv(20, 24) for _ in range(3))

    def forward(self, x):
        y = self.a(x)
        first, second = self.experts[0](y), self.experts[int(y.sum() > -1e9)](y)
        return self.out(first + second)


class Noise(nn.Module):
    """Drawn in train mode only, as many numbers as there are channels."""

    def __init__(self):
        super().__init__()
        self.mean, self.spread, self.out = nn.Conv2d(16, 12, 1), nn.Conv2d(16, 12, 1), conv(12, 16)

    def forward(self, x):
        mean, spread = self.mean(x), self.spread(x)
        return self.out(mean + torch.randn_like(spread) * spread.exp() if self.training else mean)


class SummedNeighbours(Tokens):
    """Messages added up per token in a tensor as wide as a layer says; then by a sparse matrix."""

    def __init__(self):
        super().__init__()
        self.message, self.out, self.tokens = nn.Linear(16, 20), nn.Linear(20, 16), 16

    def mix(self, x):
        steps, edges = [], torch.arange(60)
        near = torch.stack([edges % 16, edges * 7 % 16])
        for tokens in self.message(x):
            sums = torch.zeros(self.tokens, self.message.out_features, dtype=x.dtype)
            sums = sums.index_add(0, near[0], tokens[near[1]])
            weights = torch.ones(len(edges), dtype=x.dtype)
            steps.append(self.out(torch.sparse.mm(torch.sparse_coo_tensor(near, weights, (16, 16)), sums)))
        return torch.stack(steps)


class EncoderDecoder(Tokens):
    """The whole nn.Transformer, which compares its inputs with its width."""

    def __init__(self):
        super().__init__()
        self.reduce, self.out = nn.Linear(16, 12), nn.Linear(12, 16)
        self.whole = nn.Transformer(12, 2, 1, 1, 20, batch_first=True)

    def mix(self, x):
        x = self.reduce(x)
        return self.out(self.whole(x, x.flip(1)))


BODIES = (Experts, Noise, SummedNeighbours, EncoderDecoder)
