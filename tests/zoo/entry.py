"""A model of the zoo: how to build it, and on what it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Case:
    """A model with random, lively weights and the inputs that it is traced, pruned and verified on.

    Attributes:
        inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments.
        forward_fn: ``forward_fn(model, inputs)`` in place of a plain call.
        output_transform: picks from the output what must keep its shape.
    """

    model: nn.Module
    inputs: Any
    forward_fn: Callable[[nn.Module, Any], Any] | None = None
    output_transform: Callable[[Any], Any] | None = None

    @property
    def options(self):
        """Keyword arguments for everything that runs the model."""
        return {"forward_fn": self.forward_fn, "output_transform": self.output_transform}


@dataclass(frozen=True)
class Entry:
    """One model of a family; ``build`` makes it anew, on the CPU, without any download."""

    family: str
    name: str
    build: Callable[[], Case]


def images(size, batch=2, channels=3):
    """Random images (batch, channels, size, size) in [0, 1), the same ones each time."""
    return torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def tokens(vocabulary, length=12, batch=2):
    """Random token numbers (batch, length), the same ones each time."""
    return torch.randint(3, vocabulary, (batch, length), generator=torch.Generator().manual_seed(0))
