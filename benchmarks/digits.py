"""scikit-learn's handwritten digits as tensors, and a short training on them, for benchmarks of small networks."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

Data = tuple[torch.Tensor, torch.Tensor]


def split_digits(seed: int) -> tuple[Data, Data]:
    """Two thirds of the 1797 images (n, 1, 8, 8) to train on, one third to test, in the seed's order."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    train, test = order[:1198], order[1198:]
    return (images[train], labels[train]), (images[test], labels[test])


def train(model: nn.Module, data: Data, *, epochs: int, rate: float, batch: int) -> nn.Module:
    """AdamW on one cycle of the learning rate, in place; leaves the model in eval mode."""
    images, labels = data
    steps = epochs * ((len(labels) + batch - 1) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels)).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy_of(model: nn.Module, data: Data) -> float:
    """Share of right answers."""
    images, labels = data
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in zip(images.split(64), labels.split(64), strict=True))
    return right / len(labels)
