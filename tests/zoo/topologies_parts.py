"""Pieces that the micro models are made of."""

from torch import nn
from torch.nn import functional as F


def conv(i, o, k=3, **kwargs):
    return nn.Sequential(nn.Conv2d(i, o, k, padding=k // 2, **kwargs), nn.BatchNorm2d(o), nn.SiLU())


class Tokens(nn.Module):
    """(B, 16, 16, 16) as 16 tokens of 16 channels, through ``mix`` beside a shortcut and an MLP, and back."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)

    def mix(self, x):
        return x

    def forward(self, x):
        x = F.avg_pool2d(x, 4).flatten(2).transpose(1, 2)
        x = x + self.mix(self.norm1(x))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return x.transpose(1, 2)[..., None]
