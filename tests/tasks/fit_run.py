"""A training of seconds on scikit-learn's digits, which can be started as a process and can kill itself.

Usage: python fit_run.py FOLDER [kill STEP]
"""

import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from deploy_prune.tasks.batches import TrainingBatches
from deploy_prune.tasks.fit import Fit
from deploy_prune.tasks.fit_settings import FitSettings

KILL_AT = int(sys.argv[3]) if sys.argv[2:3] == ["kill"] else None
EPOCHS, BATCH = 4, 32
steps = 0


class Noisy(torch.utils.data.Dataset):
    """Digits of shape (1, 8, 8), moved by noise of all three generators."""

    def __init__(self, start, stop):
        images, labels = load_digits(return_X_y=True)
        self.images = torch.tensor(images[start:stop] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
        self.labels = torch.tensor(labels[start:stop])

    def __getitem__(self, index):
        brighter = 0.1 * (random.random() + np.random.rand())
        return self.images[index] + brighter + 0.1 * torch.randn(1, 8, 8), self.labels[index]

    def __len__(self):
        return len(self.images)


def build(norm=False, dropout=0.0):
    torch.manual_seed(0)
    middle = nn.BatchNorm2d(8) if norm else nn.Identity()
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), middle, nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(8 * 6 * 6, 10)
    )


def loss(model, batch):
    global steps
    if steps == KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)
    steps += 1
    images, labels = batch
    return F.cross_entropy(model(images), labels)


def accuracy(model):
    val = Noisy(1400, 1797)
    with torch.no_grad():
        return float((model(val.images).argmax(1) == val.labels).float().mean())


def fit(settings=None, data=None, **changes):
    settings = settings or FitSettings(batch=BATCH, lr0=1e-2)
    batches = TrainingBatches(data or Noisy(0, 320), settings.batch, workers=settings.workers)
    return Fit(
        **{"batches": batches, "loss": loss, "evaluate": accuracy, "settings": settings, "epochs": EPOCHS, **changes}
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with_norm = int(os.environ.get("WORLD_SIZE", 1)) == 1
    trained = fit().run(build(norm=with_norm, dropout=0.2 if with_norm else 0.0), Path(sys.argv[1]))
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(trained.state_dict(), Path(sys.argv[1]) / "result.pt")
