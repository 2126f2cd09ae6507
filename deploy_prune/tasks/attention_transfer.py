"""Where a network looks, as a further thing that a pruned one learns from the dense one.

A stage's attention map is the sum of its squared channels, so it has no channels and is the same for a network that has
lost some (Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 2  # pixels of a map's side: a single one has nowhere else to look


def find_stages(model: nn.Module, inputs: Tensor) -> tuple[str, ...]:
    """Return per resolution the last module with an output (n, channels, height, width), the whole network excepted.

    ``model`` is run once in eval mode on ``inputs``, of shape (n, 3, H, W).
    """
    ends: dict[tuple[int, ...], str] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) >= SMALLEST:
                ends[tuple(output.shape[2:])] = name

        return hook

    training = model.training
    with contextlib.ExitStack() as stack, torch.no_grad():
        for name, module in model.named_modules():
            if name:
                stack.callback(module.register_forward_hook(note(name)).remove)
        model.eval()(inputs)
        model.train(training)
    return tuple(ends.values())


def attention_map(features: Tensor) -> Tensor:
    """Return the map of features (n, channels, height, width) as unit vectors (n, height * width)."""
    return F.normalize(features.square().mean(1).flatten(1))


class Watched:
    """What the stages of two networks put out while both run, pupil first.

    Args:
        pupil: what learns.
        teacher: what it learns from; the same modules have the same names.
        stages: names of modules in both.
    """

    def __init__(self, pupil: nn.Module, teacher: nn.Module, stages: Sequence[str]) -> None:
        self._networks, self._stages = (pupil, teacher), stages
        self._seen: list[dict[str, Tensor]] = [{}, {}]

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Remember outputs of runs within the block."""
        with contextlib.ExitStack() as stack:
            for network, seen in zip(self._networks, self._seen, strict=True):
                for stage in self._stages:
                    module = network.get_submodule(stage)
                    stack.callback(module.register_forward_hook(_keep(seen, stage)).remove)
            yield

    def distance(self) -> Tensor:
        """Return the squared distance between the maps, mean over the images, summed over the stages."""
        pupil, teacher = self._seen
        terms = [
            (attention_map(pupil[stage]) - attention_map(teacher[stage]).detach()).square().sum(1).mean()
            for stage in self._stages
        ]
        return torch.stack(terms).sum()


def _keep(seen: dict[str, Tensor], stage: str) -> Any:
    def hook(module: nn.Module, _: Any, output: Tensor) -> None:
        seen[stage] = output

    return hook
