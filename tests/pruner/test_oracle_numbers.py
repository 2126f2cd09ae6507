"""Networks whose memory layout or number format binds channels: pruned equals masked, whatever goes."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from deploy_prune.importance import RandomImportance
from deploy_prune.pruner import BasePruner, verify

IMAGES = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class TurnsAPart(nn.Module):
    """Four of every head's ten numbers turn as complex ones, read in place: a row of a head needs an even width."""

    def __init__(self):
        super().__init__()
        self.heads, self.width, self.turned = 2, 10, 4
        self.before, self.keys, self.after = nn.Linear(3, 12), nn.Linear(12, 20), nn.Linear(20, 5)
        self.register_buffer("turn", torch.polar(torch.ones(2), torch.arange(2.0)))

    def forward(self, x):
        x = self.keys(self.before(x))
        x = x.view(*x.shape[:-1], self.heads, self.width)
        turned, rest = x[..., : self.turned], x[..., self.turned :]
        turned = torch.view_as_real(torch.view_as_complex(turned.unflatten(-1, (-1, 2))) * self.turn).flatten(-2)
        return self.after(torch.cat([turned, rest], -1).flatten(-2))


class InOffsetGroups(nn.Module):
    def __init__(self, parts, groups):
        super().__init__()
        self.before, self.after = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(12, 4, 1)
        self.offset = nn.Conv2d(3, 2 * 9 * parts, 3, padding=1)
        self.mask = nn.Conv2d(3, 9 * parts, 3, padding=1)
        self.sampled = torchvision.ops.DeformConv2d(16, 12, 3, padding=1, groups=groups)

    def forward(self, x):
        return self.after(self.sampled(self.before(x).relu(), self.offset(x), self.mask(x).sigmoid()))


class Quantised(nn.Module):
    """Activations and a kernel as if in eight bits, with a scale per channel."""

    def __init__(self, trained):
        super().__init__()
        self.trained = trained
        self.before, self.middle, self.after = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 12, 3), nn.Conv2d(12, 4, 1)
        self.scale, self.zero = nn.Parameter(torch.linspace(0.005, 0.01, 16)), nn.Parameter(torch.zeros(16))
        self.register_buffer("kernel_scale", torch.linspace(0.002, 0.004, 12))
        self.register_buffer("kernel_zero", torch.zeros(12, dtype=torch.int32))

    def forward(self, x):
        x = self.before(x).relu()
        if self.trained:
            x = torch._fake_quantize_learnable_per_channel_affine(x, self.scale, self.zero, 1, -128, 127, 1.0)
        else:
            x = torch.fake_quantize_per_channel_affine(x, self.scale, self.zero.int(), 1, -128, 127)
        scale, zero = self.kernel_scale, self.kernel_zero
        kernel = torch.fake_quantize_per_channel_affine(self.middle.weight, scale, zero, 0, -128, 127)
        return self.after(F.conv2d(x, kernel, self.middle.bias).relu())


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.6])
@pytest.mark.parametrize(("make", "inputs", "layers"), [
    (TurnsAPart, torch.rand(2, 5, 3), ["before", "keys"]),
    (lambda: InOffsetGroups(2, 1), IMAGES, ["before", "sampled"]),
    (lambda: InOffsetGroups(4, 2), IMAGES, ["before", "sampled"]),
    (lambda: InOffsetGroups(2, 4), IMAGES, ["before", "sampled"]),
    (lambda: Quantised(trained=False), IMAGES, ["before", "middle"]),
    (lambda: Quantised(trained=True), IMAGES, ["before", "middle"]),
])  # fmt: skip
def test_pruned_equals_masked(make, inputs, layers, ratio):
    torch.manual_seed(0)
    model = make().eval()
    pruner = BasePruner(pruned := copy.deepcopy(model), inputs, RandomImportance(), pruning_ratio=ratio)
    pruner.step()
    verify(model, pruned, pruner.DG.plan, inputs)
    if ratio == 0.6:
        widths = [len(pruned.get_submodule(name).weight) / len(model.get_submodule(name).weight) for name in layers]
        assert max(widths) <= 0.6
