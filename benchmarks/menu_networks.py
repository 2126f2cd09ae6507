"""Two small networks of handwritten digits for benchmarks/menu.py: one like ResNet-18, one like MobileNetV2."""

from pathlib import Path

import torch
import torch.nn.functional as F
from digits import Data, train
from torch import nn

EPOCHS, FINETUNE_EPOCHS = 8, 1
LR, FINETUNE_LR = 3e-3, 1e-3
BATCH = 64


def convolution(
    inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1, act: bool = True
) -> list[nn.Module]:
    """A convolution with batch norm and, if asked for, ReLU."""
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return [*layers, nn.ReLU()] if act else layers


class Basic(nn.Module):
    """ResNet's block of two convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolution(inputs, outputs, 3, stride), *convolution(outputs, outputs, act=False))
        fits = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if fits else nn.Sequential(*convolution(inputs, outputs, 1, stride, act=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        return F.relu(self.body(x) + self.shortcut(x))


class Inverted(nn.Module):
    """MobileNetV2's block, four times as wide inside."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inputs
        layers = [*convolution(inputs, wide, 1), *convolution(wide, wide, 3, stride, wide)]
        self.body = nn.Sequential(*layers, *convolution(wide, outputs, 1, act=False))
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        return x + self.body(x) if self.residual else self.body(x)


def build_resnet() -> nn.Module:
    """Eight blocks of 32 to 128 channels."""
    shapes = [(32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 1), (96, 96, 1), (96, 128, 2), (128, 128, 1)]
    blocks = [Basic(*shape) for shape in shapes]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
    return nn.Sequential(*convolution(1, 32), *blocks, *head)


def build_mobilenet() -> nn.Module:
    """Nine blocks of 32 to 96 channels, four times as many inside."""
    shapes = [(32, 32, 1), (32, 32, 1), (32, 48, 2), (48, 48, 1)]
    shapes += [(48, 64, 2), (64, 64, 1), (64, 64, 1), (64, 96, 1), (96, 96, 1)]
    blocks = [Inverted(*shape) for shape in shapes]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10)]
    return nn.Sequential(*convolution(1, 32), *blocks, *convolution(96, 256, 1), *head)


NETWORKS = {"resnet": build_resnet, "mobilenet": build_mobilenet}


def learn(model: nn.Module, data: Data, epochs: int, rate: float, seed: int) -> nn.Module:
    """Train in place, the same way for the same seed."""
    torch.manual_seed(seed)
    return train(model, data, epochs=epochs, rate=rate, batch=BATCH)


def trained(kind: str, seed: int, data: Data, folder: Path) -> nn.Module:
    """The network of a kind and seed, trained or, if ``folder`` has it, read."""
    torch.manual_seed(seed)
    model, file = NETWORKS[kind](), folder / f"{kind}{seed}.pt"
    if file.exists():
        model.load_state_dict(torch.load(file))
        return model.eval()
    learn(model, data, EPOCHS, LR, seed)
    torch.save(model.state_dict(), file)
    return model


@torch.no_grad()
def judge(model: nn.Module, data: Data) -> tuple[float, float]:
    """Share of right answers in percent, and the mean loss."""
    images, labels = data
    output = model(images)
    return 100 * (output.argmax(1) == labels).float().mean().item(), F.cross_entropy(output, labels).item()
