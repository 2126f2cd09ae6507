"""Two small networks of handwritten digits for benchmarks/menu.py: one like ResNet-18, one like MobileNetV2."""

from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

EPOCHS, FINETUNE_EPOCHS = 8, 1
LR, FINETUNE_LR = 3e-3, 1e-3
BATCH = 64

Data = tuple[torch.Tensor, torch.Tensor]


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


def split_digits(seed: int) -> tuple[Data, Data]:
    """Two thirds of scikit-learn's 1797 images (n, 1, 8, 8) to train on, one third to test, in the seed's order."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    train, test = order[:1198], order[1198:]
    return (images[train], labels[train]), (images[test], labels[test])


def train(model: nn.Module, data: Data, epochs: int, rate: float, seed: int) -> nn.Module:
    """AdamW on one cycle of the learning rate, in place; leaves the model in eval mode."""
    torch.manual_seed(seed)
    images, labels = data
    steps = epochs * ((len(labels) + BATCH - 1) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def trained(kind: str, seed: int, data: Data, folder: Path) -> nn.Module:
    """The network of a kind and seed, trained or, if ``folder`` has it, read."""
    torch.manual_seed(seed)
    model, file = NETWORKS[kind](), folder / f"{kind}{seed}.pt"
    if file.exists():
        model.load_state_dict(torch.load(file))
        return model.eval()
    train(model, data, EPOCHS, LR, seed)
    torch.save(model.state_dict(), file)
    return model


@torch.no_grad()
def judge(model: nn.Module, data: Data) -> tuple[float, float]:
    """Share of right answers in percent, and the mean loss."""
    images, labels = data
    output = model(images)
    return 100 * (output.argmax(1) == labels).float().mean().item(), F.cross_entropy(output, labels).item()
